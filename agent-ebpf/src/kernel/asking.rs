//! What a task asks a person: which action on what, put down where the answer is looked for.

use super::hold;
use super::member::Member;
use super::memory::Address;
use super::offsets::{DENTRY_INODE, DENTRY_SUPER, INODE_NUMBER, SUPER_DEVICE};
use super::path;
use super::pending::edition;
use super::task::Task;
use crate::maps::{ASKING, NOTHING_ASKED};
use agent_common::action::Action;
use agent_common::decide::SCOPES;
use agent_common::egress::Endpoint;
use agent_common::hold::Asking as Asked;

/// What is kept for the running task. Only its own programs look at it, and it stays until the task
/// is freed.
#[derive(Clone, Copy)]
pub struct Asking(pub(super) *mut Asked);

impl Asking {
    /// That, if there is any.
    #[inline(always)]
    pub(super) fn of_current() -> Option<Self> {
        ASKING.get_ptr_mut(Task::current().address()).map(Self)
    }

    /// Begins a question about an action of the running task's.
    #[inline(always)]
    fn begin(member: Member, action: Action) -> Option<Self> {
        let task = Task::current().address();
        let asking = match Self::of_current() {
            Some(asking) => asking,
            None => {
                ASKING.insert(task, NOTHING_ASKED.get(0)?, 0).ok()?;
                Self::of_current()?
            }
        };
        // SAFETY: the pointer came from a successful lookup, and nobody but the running task uses it.
        unsafe {
            (*asking.0).key.session = member.label().session;
            (*asking.0).key.edition = edition(member.policy());
            (*asking.0).key.action = u32::from(action.wire());
            // What was claimed belongs to this action alone.
            (*asking.0).claimed = 0;
            (*asking.0).carried = [0; SCOPES];
        }
        Some(asking)
    }

    /// A place on a network.
    #[inline(always)]
    pub fn about_endpoint(member: Member, action: Action, endpoint: &Endpoint) -> Option<Self> {
        let asking = Self::begin(member, action)?;
        let [high, low, rest] = endpoint.packed();
        asking.note([high, low, rest, 0]);
        Some(asking)
    }

    /// The file to which the running task's walk led.
    #[inline(always)]
    pub fn about_path(member: Member, action: Action) -> Option<Self> {
        let asking = Self::begin(member, action)?;
        let path = path::of_current()?;
        let [hash, check] = path.hashes();
        let (mut inode, mut number, mut super_block, mut device) = (0u64, 0u64, 0u64, 0u32);
        path.subject().copy(&DENTRY_INODE, &mut inode);
        Address(inode).copy(&INODE_NUMBER, &mut number);
        path.subject().copy(&DENTRY_SUPER, &mut super_block);
        Address(super_block).copy(&SUPER_DEVICE, &mut device);
        asking.note([hash, check, number, u64::from(device)]);
        Some(asking)
    }

    /// The program to which the running task's walk led, with these words.
    #[inline(always)]
    pub fn about_program(member: Member, words: u64) -> Option<Self> {
        let asking = Self::about_path(member, Action::Exec)?;
        asking.note_words(words);
        Some(asking)
    }

    /// The program that was asked about in the same `execve`, with the words that it was given.
    #[inline(always)]
    pub fn about_program_again(member: Member, words: u64) -> Option<Self> {
        let before = Self::of_current()?;
        // SAFETY: as in `begin`.
        let key = unsafe { (*before.0).key };
        let is_same = key.session == member.label().session
            && key.edition == edition(member.policy())
            && key.action == u32::from(Action::Exec.wire())
            && key.object[3] == words;
        // SAFETY: as in `begin`.
        let carried = unsafe { (*before.0).carried };
        let asking = Self::begin(member, Action::Exec)?;
        if is_same {
            // SAFETY: as in `begin`.
            unsafe { (*asking.0).carried = carried }
        }
        asking.note_words(words);
        Some(asking)
    }

    /// Forgets by which rules an earlier program had its yes.
    #[inline(always)]
    pub fn forget_carried() {
        if let Some(asking) = Self::of_current() {
            // SAFETY: as in `begin`.
            unsafe { (*asking.0).carried = [0; SCOPES] }
        }
    }

    /// Whether what is being executed has its yes by a rule.
    #[inline(always)]
    pub(super) fn carries(self, rule: u32) -> bool {
        let mut scope = 0;
        while scope < SCOPES {
            // SAFETY: as in `begin`.
            if unsafe { (*self.0).carried[scope] } == rule.wrapping_add(1) {
                return true;
            }
            scope += 1;
        }
        false
    }

    #[inline(always)]
    fn note_words(self, words: u64) {
        // SAFETY: as in `begin`.
        unsafe { (*self.0).key.object[3] = words }
    }

    /// What has a name and nothing else.
    #[inline(always)]
    pub fn about_name(member: Member, action: Action, hash: u64) -> Option<Self> {
        let asking = Self::begin(member, action)?;
        asking.note([hash, 0, 0, 0]);
        Some(asking)
    }

    #[inline(always)]
    fn note(self, object: [u64; 4]) {
        // SAFETY: as in `begin`.
        unsafe { (*self.0).key.object = object }
    }

    /// Gets an answer to it, and puts what follows into the task's entry.
    #[inline(always)]
    pub fn get_answer(self, traits: u32, how: u32) {
        hold::answer(traits, how);
    }

    /// As [`hold::wait`].
    #[inline(always)]
    pub fn wait(self, action: Action, how: u32) {
        hold::wait(action, how);
    }
}
