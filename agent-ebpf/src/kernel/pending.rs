//! What is kept for a task between the question whether it may execute a program and the moment
//! when the program's arguments are final. Only where rules speak of arguments.

use super::member::Member;
use super::memory::Address;
use super::offsets::DENTRY_INODE;
use super::task::Task;
use crate::maps::{NOTHING_PENDING, PENDING, POLICIES};
use agent_common::argument::{ARGUMENT_EIGHTS, mask};
use agent_common::decide::{LISTS, SCOPES};
use agent_common::event::MAX_ARGUMENT_BYTES;
use agent_common::path::Lanes;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use core::ptr;

/// Programs of one execve that can wait: a script, its interpreter, that one's, and so on.
pub const LEVELS: usize = 4;

/// Bytes of a word that are read at a time.
pub const CHUNK: usize = 1024;

/// A program that waits for its arguments.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Program {
    /// Its name in the kernel, to be told of.
    pub dentry: u64,
    /// What had the name.
    pub inode: u64,
    /// Words that it was given, its own name included. Interpreters put more in front.
    pub words: u32,
    /// What is known of the action without its arguments.
    pub traits: u32,
    /// The policy by which it is judged.
    pub policy: u32,
    /// Whose policy the number was when the judgement began.
    pub edition: u32,
}

impl Program {
    /// Beside `words`: somebody was asked whether it may run with these words.
    pub const ASKED: u32 = 1 << 31;
}

/// Of a size by which the verifier's arithmetic is easy.
const _: () = assert!(size_of::<Level>().is_power_of_two());

/// Whose a policy's number is now.
#[inline(always)]
pub fn edition(policy: u32) -> u32 {
    POLICIES.get(policy).map_or(0, |head| head.edition)
}

impl Program {
    /// Whether the number of its policy still is the same policy's. The daemon keeps the tables of one
    /// that it takes out long enough for any program to start.
    #[inline(always)]
    pub fn is_policy_in_force(&self) -> bool {
        self.edition != 0 && edition(self.policy) == self.edition
    }

    /// The program's name, if it still is one: after an interpreter was opened, nobody may hold the
    /// script's any more.
    #[inline(always)]
    pub fn dentry(&self) -> Address {
        let inode = Address(self.dentry).read::<u64>(&DENTRY_INODE);
        Address(if inode == Some(self.inode) {
            self.dentry
        } else {
            0
        })
    }
}

#[repr(C)]
struct Level {
    lists: [[u32; LISTS]; SCOPES],
    program: Program,
}

/// The value of the map.
#[repr(C)]
pub struct State {
    levels: [Level; LEVELS],
    /// The first bytes of the word that was read last, with zeros behind its end.
    start: [u64; ARGUMENT_EIGHTS],
    bytes: [u64; CHUNK / 8],
    /// Where the words of the program begin that is looked at, and where they end.
    span: [u64; 2],
    /// Bytes of the word that was read last.
    length: u32,
    /// How many programs wait.
    count: u32,
    /// The argument traits of the words read so far.
    traits: u32,
    /// 1 while the words that are read are hashed.
    hashes: u32,
    /// Their hash so far.
    lanes: Lanes,
    /// The words as they were read, each with a zero behind it. Behind the first half there is room for
    /// what does not fit.
    text: [u8; 2 * MAX_ARGUMENT_BYTES],
    /// Bytes of it.
    text_length: u32,
    /// 1 while the words that are read are kept there.
    keeps: u32,
}

/// What is kept for the running task. Only its own programs look at it, and it stays until the
/// task executes something or is freed.
#[derive(Clone, Copy)]
pub struct Pending(*mut State);

/// Judges one of the programs that wait, in a function that the verifier checks once.
#[inline(always)]
pub fn judge_waiting(level: u32, words: u32, top: u64) -> bool {
    exec_waiting(level, words, top) != 0
}

/// Judges a program to which the running task's walk led, in the same way.
#[inline(always)]
pub fn judge_program(end: u64, words: u32, inode: u64, kind: u64) -> bool {
    exec_program(end, words, inode, kind) != 0
}

/// Asks whether it may run, in the same way.
#[inline(always)]
pub fn ask_program(end: u64, words: u32, inode: u64, kind: u64) -> bool {
    exec_ask(end, words, inode, kind) != 0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn exec_ask(end: u64, words: u32, inode: u64, kind: u64) -> u32 {
    u32::from(crate::exec::ask(end, words, inode, kind))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn exec_program(end: u64, words: u32, inode: u64, kind: u64) -> u32 {
    u32::from(crate::exec::program(end, words, inode, kind))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn exec_waiting(level: u32, words: u32, top: u64) -> u32 {
    u32::from(crate::exec::waiting(level, words, top))
}

impl Pending {
    /// What is kept for the running task.
    #[inline(always)]
    pub fn of_current() -> Option<Self> {
        PENDING.get_ptr_mut(Task::current().address()).map(Self)
    }

    /// Forgets what is kept for a task.
    #[inline(always)]
    pub fn forget(task: Task) {
        let _ = PENDING.remove(task.address());
    }

    /// Lets a program wait whose lists lie in the task's entry. False when there is no room.
    #[inline(always)]
    pub fn defer(member: Member, program: Program) -> bool {
        let Some(pending) = Self::ensure() else {
            return false;
        };
        let count = pending.count() as usize;
        if count >= LEVELS {
            return false;
        }
        // SAFETY: the pointer came from a successful lookup, nobody but the running task uses it,
        // and the index is below the array's length.
        unsafe {
            let level = &raw mut (*pending.0).levels[count];
            (*level).program = program;
            let mut scope = 0;
            while scope < SCOPES {
                (*level).lists[scope] = *member.lists(scope);
                scope += 1;
            }
            (*pending.0).count = count as u32 + 1;
        }
        true
    }

    /// How many programs wait.
    #[inline(always)]
    pub fn count(self) -> u32 {
        // SAFETY: as in `defer`.
        unsafe { ptr::read_volatile(&raw const (*self.0).count) }
    }

    /// A program that waits. Its lists and its policy are put back into the task's entry.
    #[inline(always)]
    pub fn take(self, member: Member, level: usize) -> Program {
        // SAFETY: as in `defer`; the index is cut to the array's length.
        unsafe {
            let level = &raw const (*self.0).levels[level & (LEVELS - 1)];
            let mut scope = 0;
            while scope < SCOPES {
                *member.lists(scope) = (*level).lists[scope];
                scope += 1;
            }
            member.set_policy((*level).program.policy);
            (*level).program
        }
    }

    /// Begins to look at the words of a program.
    #[inline(always)]
    pub fn begin(self) {
        // SAFETY: as in `defer`.
        unsafe {
            (*self.0).traits = 0;
            (*self.0).span = [0; 2];
        }
    }

    /// Notes where the program's own name begins.
    #[inline(always)]
    pub fn set_begin(self, address: u64) {
        // SAFETY: as in `defer`.
        unsafe { (*self.0).span[0] = address }
    }

    /// Notes where the last word ends.
    #[inline(always)]
    pub fn set_end(self, address: u64) {
        // SAFETY: as in `defer`.
        unsafe { (*self.0).span[1] = address }
    }

    /// Where the program's words begin and end; zeros where they could not be read.
    #[inline(always)]
    pub fn span(self) -> [u64; 2] {
        // SAFETY: as in `defer`.
        unsafe { (*self.0).span }
    }

    /// The traits of the words that were looked at.
    #[inline(always)]
    pub fn traits(self) -> u32 {
        // SAFETY: as in `defer`.
        unsafe { ptr::read_volatile(&raw const (*self.0).traits) }
    }

    /// Lets the words that are read from now on be hashed, or not.
    #[inline(always)]
    pub fn set_hashes(self, hashes: bool) {
        // SAFETY: as in `defer`.
        unsafe { ptr::write_volatile(&raw mut (*self.0).hashes, u32::from(hashes)) }
    }

    /// Whether they are.
    #[inline(always)]
    pub fn hashes(self) -> bool {
        // SAFETY: as in `defer`.
        unsafe { ptr::read_volatile(&raw const (*self.0).hashes) != 0 }
    }

    /// Begins to keep the words that are read, or ends it.
    #[inline(always)]
    pub fn set_keeps(self, keeps: bool) {
        // SAFETY: as in `defer`.
        unsafe {
            ptr::write_volatile(&raw mut (*self.0).keeps, u32::from(keeps));
            if keeps {
                ptr::write_volatile(&raw mut (*self.0).text_length, 0);
            }
        }
    }

    /// Keeps what was read last, if it is to be kept and as far as there is room.
    #[inline(always)]
    pub fn keep_text(self, bytes: u32) {
        const HALF: u32 = MAX_ARGUMENT_BYTES as u32;
        // SAFETY: as in `defer`; what is copied begins in the first half and is shorter than the second.
        unsafe {
            let length = ptr::read_volatile(&raw const (*self.0).text_length);
            if ptr::read_volatile(&raw const (*self.0).keeps) == 0 || length >= HALF {
                return;
            }
            let mut bytes = bytes;
            if bytes > HALF - 1 {
                bytes = HALF - 1;
            }
            let text = (&raw mut (*self.0).text).cast::<u8>();
            let from = (&raw const (*self.0).bytes).cast();
            let at = text.add((length & (HALF - 1)) as usize);
            bpf_probe_read_kernel(at.cast(), bytes, from);
            let end = length.wrapping_add(bytes) & (2 * HALF - 1);
            ptr::write_volatile(text.add(end as usize), 0);
            ptr::write_volatile(&raw mut (*self.0).text_length, end.wrapping_add(1));
        }
    }

    /// Copies the words that were kept. Answers how many bytes they are.
    #[inline(always)]
    pub fn copy_text(self, to: &mut [u8; MAX_ARGUMENT_BYTES]) -> u32 {
        // SAFETY: as in `defer`; the text is longer than what is copied.
        unsafe {
            let from = (&raw const (*self.0).text).cast();
            let room = MAX_ARGUMENT_BYTES as u32;
            if bpf_probe_read_kernel(to.as_mut_ptr().cast(), room, from) != 0 {
                return 0;
            }
            ptr::read_volatile(&raw const (*self.0).text_length).min(room)
        }
    }

    /// The hash of the words so far.
    #[inline(always)]
    pub fn lanes(self) -> Lanes {
        // SAFETY: as in `defer`.
        unsafe { (*self.0).lanes }
    }

    /// Notes the hash of the words so far.
    #[inline(always)]
    pub fn set_lanes(self, lanes: Lanes) {
        // SAFETY: as in `defer`.
        unsafe { (*self.0).lanes = lanes }
    }

    /// Some of what was read last.
    #[inline(always)]
    pub fn eight(self, i: usize) -> u64 {
        // SAFETY: as in `keep_start`; the index is cut to the array's length.
        unsafe { ptr::read_volatile(&raw const (*self.0).bytes[i & (CHUNK / 8 - 1)]) }
    }

    /// What is kept for the running task, made where there is none.
    #[inline(always)]
    pub fn ensure() -> Option<Self> {
        if let Some(pending) = Self::of_current() {
            return Some(pending);
        }
        let empty = NOTHING_PENDING.get(0)?;
        PENDING.insert(Task::current().address(), empty, 0).ok()?;
        Self::of_current()
    }

    /// Adds traits of a word.
    #[inline(always)]
    pub fn add_traits(self, traits: u32) {
        // SAFETY: as in `defer`.
        unsafe { (*self.0).traits |= traits }
    }

    /// Room for a chunk of a word.
    #[inline(always)]
    pub fn room(self) -> *mut core::ffi::c_void {
        // SAFETY: as in `defer`.
        unsafe { (&raw mut (*self.0).bytes).cast() }
    }

    /// Keeps some of the beginning of a word, of which so many bytes were read.
    #[inline(always)]
    pub fn keep_start(self, i: u32, bytes: u32) {
        let at = i as usize & (ARGUMENT_EIGHTS - 1);
        // SAFETY: as in `defer`; volatile, because a helper wrote the bytes.
        unsafe {
            let eight = ptr::read_volatile(&raw const (*self.0).bytes[at]);
            (*self.0).start[at] = eight & mask(bytes, i & (ARGUMENT_EIGHTS as u32 - 1));
        }
    }

    /// Notes the length of the word.
    #[inline(always)]
    pub fn set_length(self, length: u32) {
        // SAFETY: as in `defer`.
        unsafe { (*self.0).length = length }
    }

    /// The word that was read last: its length, and how it begins.
    #[inline(always)]
    pub fn word(self) -> (u32, &'static [u64; ARGUMENT_EIGHTS]) {
        // SAFETY: as in `defer`; no program of the task writes while the reference is used.
        unsafe { ((*self.0).length, &(*self.0).start) }
    }
}
