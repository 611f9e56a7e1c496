//! Which lists of rules speak of the path that was walked: what the table of paths has for it.

use super::directory::{self, Directory};
use super::member::Member;
use super::path::{NAMES, Path, Walk, of_current, place};
use super::task::Task;
use crate::maps::{INDEX, PATHS};
use agent_common::action::Action;
use agent_common::decide::{NO_LIST, SCOPES};
use agent_common::path::{
    ACCESS_SLOTS, Access, EntryKind, Index, KEEP_OUT, Lanes, PathKey, PathRules, Scope, filter_bits,
};
use core::arch::asm;

/// What [`path_find`] answers where there is no such entry; no list has that number.
const NOT_THERE: u64 = u64::MAX - 1;
/// A list that cannot be read, for what cannot be judged.
const UNREADABLE: u32 = u32::MAX - 3;
/// No list in either half of an answer.
const NO_LISTS: u64 = u64::MAX;
const _: () = assert!((NO_LIST as u64) << 32 | (KEEP_OUT as u64) != NOT_THERE);
const _: () = assert!(NO_LISTS as u32 == NO_LIST && (NO_LISTS >> 32) as u32 == NO_LIST);

/// What is looked for in the table, in one number.
#[derive(Clone, Copy)]
struct Wanted(u64);

impl Wanted {
    #[inline(always)]
    fn new(scope: Scope, number: usize, access: Access) -> Self {
        let scope = u64::from(scope.policy) << 32 | u64::from(scope.tool) << 16;
        Self(scope | (number as u64) << 8 | u64::from(access.wire()))
    }

    #[inline(always)]
    fn scope(self) -> Scope {
        Scope {
            policy: (self.0 >> 32) as u32,
            tool: (self.0 >> 16) as u16,
        }
    }

    #[inline(always)]
    fn number(self) -> usize {
        (self.0 >> 8) as usize & (SCOPES - 1)
    }

    #[inline(always)]
    fn access(self) -> u64 {
        self.0 & (ACCESS_SLOTS as u64 - 1)
    }

    /// The lists of an entry: those that are asked first in the lower half, those that come last in
    /// the upper. Most keys are not in the table, which the filter knows.
    #[inline(always)]
    fn find(self, index: &Index, kind: EntryKind, lanes: Lanes) -> u64 {
        if !may_be_there(index, PathKey::new(self.scope(), kind, lanes)) {
            return NOT_THERE;
        }
        let rest = self.0 & !0xffff | u64::from(kind.wire());
        path_find(lanes.key, lanes.check, rest, self.access())
    }

    /// The same; no lists where there is no entry.
    #[inline(always)]
    fn found(self, index: &Index, kind: EntryKind, lanes: Lanes) -> u64 {
        match self.find(index, kind, lanes) {
            NOT_THERE => NO_LISTS,
            lists => lists,
        }
    }
}

/// Goes down again, and finds the lists of rules that speak of a use of the file, for a scope: what
/// `Objects::lists_for_path` of agent-policy says. Puts them where they are weighed. 1 where any
/// speaks, or 0. A function of its own, so that its stack does not add to that of what comes next.
#[inline(never)]
fn look(walk: *mut Walk, index: &Index, wanted: u64, member: Member) -> u64 {
    // Not the number that the verifier knows: it would follow all of this again for each use of a file.
    // SAFETY: as in `path::climb`.
    let wanted = unsafe {
        core::ptr::write_volatile(&raw mut (*walk).wanted, wanted);
        Wanted(core::ptr::read_volatile(&raw const (*walk).wanted))
    };
    let lists = member.lists(wanted.number());
    // SAFETY: as in `path::climb`.
    let (count, inode) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*walk).count),
            (*walk).inode,
        )
    };
    if inode == 0 {
        descend(walk, index, wanted, count);
    } else {
        let known = directory::of(walk, inode);
        // SAFETY: as in `path::climb`.
        unsafe {
            if wanted.number() != 0 || (*known).policy != wanted.scope().policy {
                // Nobody walks so; what cannot be is denied.
                *lists = [UNREADABLE, NO_LIST, NO_LIST, NO_LIST, NO_LIST, NO_LIST];
                return 1;
            }
            (*walk).above = (*walk).from;
            let list = of(&raw const (*known).under, wanted.access());
            core::ptr::write_volatile(&raw mut (*walk).under, u64::from(list));
        }
    }
    // SAFETY: as in `path::climb`.
    let (mut lanes, mut under) = unsafe {
        (
            (*walk).above,
            core::ptr::read_volatile(&raw const (*walk).under),
        )
    };
    if count != 0 {
        // SAFETY: as in `path::climb`.
        lanes = lanes.with(unsafe { core::ptr::read_volatile(&raw const (*walk).names[0]) });
        let found = wanted.find(index, EntryKind::Under, lanes);
        if found != NOT_THERE {
            under = found;
        }
    }
    // SAFETY: as in `path::climb`.
    let (name, extension) = unsafe {
        (*walk).exact = lanes;
        ((*walk).name, (*walk).extension)
    };
    let mut first = wanted.find(index, EntryKind::Exact, lanes);
    let (mut by_name, mut by_extension) = (NO_LISTS, NO_LISTS);
    if first == NOT_THERE {
        let secret = index.secret;
        by_name = wanted.found(index, EntryKind::Name, secret.anywhere(name));
        if extension != 0 {
            by_extension = wanted.found(index, EntryKind::Extension, secret.anywhere(extension));
        }
        first = by_name;
    } else {
        under = NO_LISTS;
    }
    let [a, b, c, d, e] = [
        first as u32,
        by_extension as u32,
        under as u32,
        (by_name >> 32) as u32,
        (by_extension >> 32) as u32,
    ];
    *lists = [a, b, c, d, e, NO_LIST];
    // Not one by one: the compiler would call a loop over their bytes.
    u64::from(a & b & c & d & e != NO_LIST)
}

/// Goes down the directories, from the root of the file system. Leaves behind the lists of the deepest that has any,
/// and where the last name begins.
#[inline(always)]
fn descend(walk: *mut Walk, index: &Index, wanted: Wanted, count: u64) {
    // SAFETY: as in `path::climb`.
    let mut lanes = unsafe { (*walk).from };
    keep_deepest(walk, lanes, wanted.found(index, EntryKind::Under, lanes));
    let mut i = 1;
    while i < NAMES {
        if i as u64 >= count {
            break;
        }
        // From the root, whose name was noted last.
        let at = place(count - i as u64);
        // SAFETY: as in `path::climb`. By pointer: a bound that only the verifier sees would leave a panic
        // in the program.
        lanes = unsafe {
            let names = (&raw const (*walk).names).cast::<u64>();
            lanes.with(core::ptr::read_volatile(names.add(at)))
        };
        let found = wanted.find(index, EntryKind::Under, lanes);
        if found != NOT_THERE {
            keep_deepest(walk, lanes, found);
        }
        i += 1;
    }
    // SAFETY: as in `path::climb`.
    unsafe {
        (*walk).above = lanes;
        if (*walk).unknown.index != 0 && wanted.number() == 0 {
            path_learn(wanted.scope().policy);
        }
    }
}

/// Notes the deepest directory with rules, and their lists. At once: carried along, it would be one more thing in which the
/// verifier finds states to differ.
#[inline(always)]
fn keep_deepest(walk: *mut Walk, lanes: Lanes, lists: u64) {
    // SAFETY: as in `path::climb`.
    unsafe {
        core::ptr::write_volatile(&raw mut (*walk).under, lists);
        core::ptr::write_volatile(&raw mut (*walk).deepest.key, lanes.key);
        core::ptr::write_volatile(&raw mut (*walk).deepest.check, lanes.check);
    }
}

/// Keeps what was found for the directory that the running task's walk came through. A global function.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn path_learn(policy: u32) -> u64 {
    let Some(path) = of_current() else {
        return 0;
    };
    let walk = path.walk;
    // SAFETY: as in `path::climb`.
    unsafe {
        let unknown = &raw mut (*walk).unknown;
        // Where a name has changed meanwhile, the walk may have gone through both.
        if directory::renames() != Some((*unknown).renames) {
            (*unknown).index = 0;
            return 0;
        }
        let known = directory::of(walk, (*unknown).inode);
        let key = PathKey::new(Scope { policy, tool: 0 }, EntryKind::Under, (*walk).deepest);
        // Two lists at a time, and not by way of the stack, as all that follows.
        let under = (&raw mut (*known).under).cast::<u64>();
        let found = rules(key, (*walk).deepest.check);
        let mut i = 0;
        while i < ACCESS_SLOTS / 2 {
            let lists = match found {
                Some(rules) => {
                    core::ptr::read_volatile((&raw const rules.lists).cast::<u64>().add(i))
                }
                None => NO_LISTS,
            };
            core::ptr::write_volatile(under.add(i), lists);
            i += 1;
        }
        (*known).path.key = (*walk).above.key;
        (*known).path.check = (*walk).above.check;
        (*known).policy = policy;
        (*known).id.inode = (*unknown).inode;
        (*known).id.super_block = (*unknown).super_block;
        (*known).id.generation = (*unknown).generation;
        (*known).id.renames = (*unknown).renames;
        core::ptr::write_volatile(&raw mut (*known).id.index, (*unknown).index);
        (*unknown).index = 0;
    }
    1
}

/// Whether no rule speaks of a name in a directory but those for what lies under that. Where the filter does not know, the
/// answer is no.
#[inline(always)]
pub(super) fn is_of_directory_alone(
    index: &Index,
    directory: &Directory,
    name: u64,
    extension: u64,
) -> bool {
    let scope = Scope {
        policy: directory.policy,
        tool: 0,
    };
    let path = directory.path.with(name);
    let anywhere = |hash| index.secret.anywhere(hash);
    // As one number: the verifier would follow each of them.
    let is = |kind, lanes| u64::from(may_be_there(index, PathKey::new(scope, kind, lanes)));
    let others = is(EntryKind::Under, path)
        | is(EntryKind::Exact, path)
        | is(EntryKind::Name, anywhere(name));
    if extension == 0 {
        return others == 0;
    }
    others | is(EntryKind::Extension, anywhere(extension)) == 0
}

/// The list of a directory's rules for an action on a file.
#[inline(always)]
pub fn list_under(directory: &Directory, action: u64) -> u32 {
    const FIRST: u16 = Action::Read.wire();
    const _: () = assert!(Action::Exec.wire() - FIRST == Access::Exec.wire() as u16);
    of(
        &raw const directory.under,
        action.wrapping_sub(u64::from(FIRST)),
    )
}

/// The same for any scope of the running task. A global function.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn path_look(wanted: u64) -> u64 {
    let (Some(path), Some(member)) = (of_current(), Task::current().member()) else {
        return 0;
    };
    look(path.walk, path.index, wanted, member)
}

/// Puts the lists that speak of a use of the file to which the running task's walk led where the
/// task's are weighed, for a scope. False where none does.
#[inline(always)]
pub fn note_lists(scope: Scope, number: usize, access: Access) -> bool {
    path_look(Wanted::new(scope, number, access).0) != 0
}

/// Puts the list that speaks of what has a name and no path where the task's are weighed, for each
/// of its scopes. A global function.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn path_keyed(kind: u64, hash: u64) -> u64 {
    let (Some(member), Some(index)) = (Task::current().member(), INDEX.get(0)) else {
        return 0;
    };
    let lanes = index.secret.anywhere(hash);
    let access = u64::from(Access::Connect.wire());
    let mut number = 0;
    while number < SCOPES {
        let Some(tool) = member.tool(number) else {
            break;
        };
        let rest = rest(member, tool, kind);
        let found = match path_find(lanes.key, lanes.check, rest, access) {
            NOT_THERE => NO_LIST,
            lists => lists as u32,
        };
        let lists = member.lists(number);
        lists[0] = found;
        lists[1] = NO_LIST;
        lists[2] = NO_LIST;
        lists[3] = NO_LIST;
        lists[4] = NO_LIST;
        lists[5] = NO_LIST;
        number += 1;
    }
    1
}

/// Puts the list that speaks of a Unix socket without a path, or of an agent, by the hash of its
/// name, where the task's are weighed, for each of its scopes.
#[inline(always)]
pub fn note_named(kind: EntryKind, hash: u64) -> bool {
    path_keyed(u64::from(kind.wire()), hash) != 0
}

/// Puts the list that speaks of a program's contents before those that speak of its path, for each
/// of the running task's scopes. A global function.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn path_digest(hash: u64) -> u64 {
    let (Some(member), Some(index)) = (Task::current().member(), INDEX.get(0)) else {
        return 0;
    };
    let lanes = index.secret.anywhere(hash);
    let mut number = 0;
    while number < SCOPES {
        let Some(tool) = member.tool(number) else {
            break;
        };
        let rest = rest(member, tool, EntryKind::Digest.wire().into());
        let found = path_find(lanes.key, lanes.check, rest, Access::Exec.wire().into());
        let lists = member.lists(number);
        // What is the enforcer's own no contents make a session's.
        if found != NOT_THERE && lists[0] != KEEP_OUT && lists[2] != KEEP_OUT {
            lists[5] = lists[4];
            lists[4] = lists[3];
            lists[3] = lists[2];
            lists[2] = lists[1];
            lists[1] = lists[0];
            lists[0] = found as u32;
        }
        number += 1;
    }
    1
}

/// Puts the list that speaks of a program's contents before those that speak of its path.
#[inline(always)]
pub fn note_digest(hash: u64) {
    path_digest(hash);
}

/// What is looked for besides the hash, in one number.
#[inline(always)]
fn rest(member: Member, tool: u8, kind: u64) -> u64 {
    u64::from(member.policy()) << 32 | u64::from(tool) << 16 | kind
}

impl Path {
    /// What [`note_lists`] does for the agent itself, where walk and member are known already.
    #[inline(always)]
    pub fn note_lists(self, scope: Scope, access: Access, member: Member) -> bool {
        let wanted = Wanted::new(scope, 0, access);
        look(self.walk, self.index, wanted.0, member) != 0
    }

    /// Whether there are rules further down, which would no longer hold if it had another name.
    #[inline(always)]
    pub fn is_above_rules(self, scope: Scope) -> bool {
        // SAFETY: as in `path::climb`.
        let exact = unsafe { (*self.walk).exact };
        let key = PathKey::new(scope, EntryKind::Above, exact);
        may_be_there(self.index, key) && rules(key, exact.check).is_some()
    }
}

/// The lists of an entry, as [`Wanted::find`] says. A global function.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn path_find(hash: u64, check: u64, rest: u64, access: u64) -> u64 {
    let key = PathKey {
        hash,
        policy: (rest >> 32) as u32,
        tool: (rest >> 16) as u16,
        kind: rest as u16,
    };
    let Some(rules) = rules(key, check) else {
        return NOT_THERE;
    };
    let first = of(&raw const rules.lists, access);
    let last = of(&raw const rules.fallback, access);
    u64::from(last) << 32 | u64::from(first)
}

/// False where the filter knows that the table has no such entry.
#[inline(always)]
fn may_be_there(index: &Index, key: PathKey) -> bool {
    let (word, bits) = filter_bits(key);
    // SAFETY: 14 bits number the words of the filter.
    let present =
        unsafe { core::ptr::read_volatile((&raw const index.filter).cast::<u64>().add(word)) };
    present & bits == bits
}

/// The rules of a key, if the entry is really for what the check value stands for.
#[inline(always)]
fn rules(key: PathKey, check: u64) -> Option<&'static PathRules> {
    // SAFETY: an entry that user space removes meanwhile stays readable until the program ends.
    let rules = unsafe { PATHS.get(key) }?;
    (rules.check == check).then_some(rules)
}

/// One of the lists of an entry. The mask stands right before the use, as in [`place`].
#[inline(always)]
fn of(lists: *const [u32; ACCESS_SLOTS], access: u64) -> u32 {
    const _: () = assert!(ACCESS_SLOTS == 16);
    let mut at = access;
    // SAFETY: the instruction changes nothing but its register, which then is below 16.
    unsafe {
        asm!("{at} &= 15", at = inout(reg) at, options(pure, nomem, nostack));
        core::ptr::read_volatile(lists.cast::<u32>().add(at as usize))
    }
}
