//! The way from a name up to the root of its file system, and what rules there are on it.
//!
//! Mounts are never crossed: a path is one inside its own file system, hashed with the device, so
//! that no bind mount and no mount namespace gives a file another path. User space turns the paths
//! that people write into such ones.

use super::file::{Dentry, Detached, Super};
use super::inode::{InodeAddress, Owner};
use super::memory::Address;
use super::offsets::{
    DENTRY_INODE, DENTRY_NAME, DENTRY_NAME_LENGTH, DENTRY_PARENT, INODE_NUMBER, SUPER_DEVICE,
};
use super::short;
use super::task::Task;
use crate::maps::{EMPTY_WALK, INDEX, PATHS, WALKS};
use agent_common::decide::{LISTS, NO_LIST, SCOPES};
use agent_common::path::{
    ACCESS_SLOTS, Access, EntryKind, Index, Lanes, MAX_DIRECTORIES, MAX_EXTENSION, MAX_NAME,
    PathKey, PathRules, Scope, Secret, filter_bits,
};
use agent_common::session::Label;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use core::arch::asm;

/// Names of a path: its directories and its own.
const NAMES: usize = MAX_DIRECTORIES + 1;
/// Room for them: a power of two, so that a mask keeps within it.
const SLOTS: usize = 64;

/// What one task needs while it walks. A program's stack has no room for it, and a place that tasks
/// of one processor share would be written by another task in the middle of a walk.
#[repr(C)]
pub struct Walk {
    /// The hashes of the names, from the file upwards.
    names: [u64; SLOTS],
    /// How many there are.
    count: u64,
    /// The root of the file system.
    root: Lanes,
    /// The path.
    exact: Lanes,
    /// The hash of the base name.
    name: u64,
    /// The hash of the extension; 0 where there is none that a rule might name.
    extension: u64,
    /// The path that the kernel was asked to look up after this walk, or 0.
    asked: u64,
    /// The same after the walk before.
    asked_before: u64,
    /// The address of the name that was walked up from. A pointer that is read back from a map is
    /// but a number, which is all that a global function takes.
    subject: u64,
    /// The address of the bytes of a name, to the same end.
    bytes: u64,
    /// 1 where the path is that of the sessions' denials, or of one of them; or 0.
    denials: u64,
}

/// Where a walk ended.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum End {
    /// At the root of the file system.
    Root = 0,
    /// Nowhere: it is an object of the kernel's, such as a pipe.
    Object = 1,
    /// Nowhere: the file is memory.
    Memory = 2,
    /// Nowhere: it has a descriptor, and no directory.
    Elsewhere = 3,
    /// Too far away, or a name on the way could not be read.
    Lost = 4,
}

/// What the kernel knows of a path.
#[derive(Clone, Copy)]
pub struct Path {
    walk: *mut Walk,
    index: &'static Index,
}

/// Walks up from a name, for the running task.
#[inline(always)]
pub fn walk(dentry: Dentry) -> u64 {
    let task = Task::current().address();
    let walk = match WALKS.get_ptr_mut(task) {
        Some(walk) => walk,
        None => {
            let Some(empty) = EMPTY_WALK.get(0) else {
                return End::Lost as u64;
            };
            if WALKS.insert(task, empty, 0).is_err() {
                return End::Lost as u64;
            }
            let Some(walk) = WALKS.get_ptr_mut(task) else {
                return End::Lost as u64;
            };
            walk
        }
    };
    let Some(index) = INDEX.get(0) else {
        return End::Lost as u64;
    };
    // SAFETY: as in `climb`.
    unsafe {
        core::ptr::write_volatile(&raw mut (*walk).subject, dentry.0.address().0);
        (*walk).asked_before = (*walk).asked;
        (*walk).asked = 0;
    }
    climb(walk, index, dentry)
}

/// The running task's last walk.
#[inline(always)]
pub fn of_current() -> Option<Path> {
    let walk = WALKS.get_ptr_mut(Task::current().address())?;
    let index = INDEX.get(0)?;
    Some(Path { walk, index })
}

/// Judges one use of the file to which the last walk led. `end` is what [`walk`] said.
#[inline(always)]
pub fn judge_use(action: u64, end: u64, flags: u64) -> bool {
    path_use(action, end, flags) != 0
}

/// A global function of numbers, like those below.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn path_use(action: u64, end: u64, flags: u64) -> u64 {
    let end = match end {
        0 => End::Root,
        1 => End::Object,
        2 => End::Memory,
        3 => End::Elsewhere,
        _ => End::Lost,
    };
    u64::from(crate::paths::judge_one(action, end, flags))
}

/// Forgets what was kept for a task.
#[inline(always)]
pub fn forget(task: Task) {
    let _ = WALKS.remove(task.address());
}

/// A function of its own, so that its stack does not add to that of the telling of a denial.
#[inline(never)]
fn climb(walk: *mut Walk, index: &Index, dentry: Dentry) -> u64 {
    let Some(super_block) = dentry.super_block() else {
        return End::Lost as u64;
    };
    let Some(root) = Super(super_block).root() else {
        return End::Lost as u64;
    };
    let mut at = dentry;
    let mut count = 0;
    loop {
        let Some(parent) = at.parent() else {
            return End::Lost as u64;
        };
        if parent.0.is(at.0) {
            break;
        }
        if count >= NAMES {
            return End::Lost as u64;
        }
        let hash = name_of(walk, index, at);
        if hash == 0 {
            return End::Lost as u64;
        }
        // SAFETY: `count` is below the array's length.
        unsafe { core::ptr::write_volatile(&raw mut (*walk).names[count], hash) };
        count += 1;
        at = parent;
    }
    if !at.0.is(root.0) {
        return match Super(super_block).detached() {
            Detached::Object => End::Object as u64,
            Detached::Memory => End::Memory as u64,
            Detached::Other => End::Elsewhere as u64,
        };
    }
    // SAFETY: the pointer came from a successful lookup, and the entry outlives the task.
    unsafe {
        (*walk).name = (*walk).names[0];
        (*walk).extension = extension_of(walk, index, dentry);
    }
    // SAFETY: as above.
    unsafe {
        (*walk).count = count as u64;
        let device = super_block.load(&SUPER_DEVICE);
        (*walk).root = index.secret.root(device);
        // Nearly all files lie elsewhere, and cost this one comparison.
        (*walk).denials = if device == index.denials_device {
            path_in_denials(core::ptr::read_volatile(&raw const (*walk).subject))
        } else {
            0
        };
    }
    End::Root as u64
}

/// Whether a name is that of the folder of the sessions' denials, or lies in it: 1, or 0. By the
/// folder's inode, so that no other name of it and of what lies above it matters.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn path_in_denials(dentry: u64) -> u64 {
    let Some(index) = INDEX.get(0) else {
        return 0;
    };
    let mut above = 0u64;
    Address(dentry).copy(&DENTRY_PARENT, &mut above);
    let (own, above) = (inode_number(dentry), inode_number(above));
    u64::from(index.denials != 0 && (own == index.denials || above == index.denials))
}

/// The number of the inode that has a name; 0 where nothing has it.
#[inline(always)]
fn inode_number(dentry: u64) -> u64 {
    let (mut inode, mut number) = (0u64, 0u64);
    Address(dentry).copy(&DENTRY_INODE, &mut inode);
    Address(inode).copy(&INODE_NUMBER, &mut number);
    number
}

/// What [`path_find`] answers where there is no such entry; no list has that number.
const NOT_THERE: u64 = u64::MAX - 1;
/// No list in either half of an answer.
const NO_LISTS: u64 = u64::MAX;
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
fn look(walk: *mut Walk, index: &Index, wanted: u64, lists: *mut [u32; LISTS]) -> u64 {
    let wanted = Wanted(wanted);
    // SAFETY: as in `climb`.
    let (mut lanes, count) = unsafe {
        let count = core::ptr::read_volatile(&raw const (*walk).count);
        ((*walk).root, count)
    };
    let mut under = wanted.found(index, EntryKind::Under, lanes);
    let mut i = 0;
    while i < NAMES {
        if i as u64 >= count {
            break;
        }
        // From the root, whose name was noted last.
        let at = place(count - 1 - i as u64);
        // SAFETY: as in `climb`. By pointer: a bound that only the verifier sees would leave a panic
        // in the program.
        lanes = unsafe {
            let names = (&raw const (*walk).names).cast::<u64>();
            lanes.with(core::ptr::read_volatile(names.add(at)))
        };
        let found = wanted.find(index, EntryKind::Under, lanes);
        if found != NOT_THERE {
            under = found;
        }
        i += 1;
    }
    // SAFETY: as in `climb`.
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
    // SAFETY: the caller's pointer is to the running task's entry.
    unsafe { *lists = [a, b, c, d, e, NO_LIST] };
    // Not one by one: the compiler would call a loop over their bytes.
    u64::from(a & b & c & d & e != NO_LIST)
}

/// The same for any scope of the running task. A global function.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn path_look(wanted: u64) -> u64 {
    let (Some(path), Some(member)) = (of_current(), Task::current().member()) else {
        return 0;
    };
    let lists = member.lists(Wanted(wanted).number());
    look(path.walk, path.index, wanted, lists)
}

/// Puts the lists that speak of a use of the file to which the running task's walk led where the
/// task's are weighed, for a scope. False where none does.
#[inline(always)]
pub fn note_lists(scope: Scope, number: usize, access: Access) -> bool {
    path_look(Wanted::new(scope, number, access).0) != 0
}

/// A place among the names. The mask changes nothing, but the verifier must see the bound on the
/// very register that is added to a pointer, and the compiler would take it away.
#[inline(always)]
fn place(at: u64) -> usize {
    const _: () = assert!(NAMES <= SLOTS && SLOTS == 64);
    let mut at = at;
    // SAFETY: the instruction changes nothing but its register.
    unsafe { asm!("{at} &= 63", at = inout(reg) at, options(pure, nomem, nostack)) }
    at as usize
}

/// The hash of a dentry's name; 0 when it cannot be read.
#[inline(always)]
fn name_of(walk: *mut Walk, index: &Index, dentry: Dentry) -> u64 {
    let length: u32 = dentry.0.load(&DENTRY_NAME_LENGTH);
    if let Some([a, b, c, d]) = dentry.short_name(length) {
        return short::path_short_name(a, b, c, d, u64::from(length));
    }
    let secret = index.secret.name;
    let (bytes, length) = bytes_of(walk, dentry);
    path_name(bytes, length, secret.key, secret.check)
}

/// The hash of its extension; 0 when there is none that a rule might name.
#[inline(always)]
fn extension_of(walk: *mut Walk, index: &Index, dentry: Dentry) -> u64 {
    if index.extensions == 0 {
        return 0;
    }
    let length: u32 = dentry.0.load(&DENTRY_NAME_LENGTH);
    if let Some([a, b, c, d]) = dentry.short_name(length) {
        return short::path_short_extension(a, b, c, d, u64::from(length));
    }
    let secret = index.secret.name;
    let (bytes, length) = bytes_of(walk, dentry);
    path_extension(bytes, length, secret.key, secret.check)
}

/// Where the bytes of a name lie, and how many there are.
#[inline(always)]
fn bytes_of(walk: *mut Walk, dentry: Dentry) -> (u64, u64) {
    let length: u32 = dentry.0.load(&DENTRY_NAME_LENGTH);
    let bytes: u64 = dentry.0.load(&DENTRY_NAME);
    // SAFETY: as in `climb`.
    let bytes = unsafe {
        core::ptr::write_volatile(&raw mut (*walk).bytes, bytes);
        core::ptr::read_volatile(&raw const (*walk).bytes)
    };
    (bytes, u64::from(length))
}

/// Bytes of a name that are read at once.
const CHUNK: usize = 32;

/// Hashes a name. A global function of numbers, like the two below: the verifier looks at such a
/// one once, and not at every place that calls it.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn path_name(name: u64, length: u64, key: u64, check: u64) -> u64 {
    if length == 0 || length > MAX_NAME as u64 {
        return 0;
    }
    let mut lanes = Lanes { key, check };
    let mut i = 0;
    while i < MAX_NAME.div_ceil(CHUNK) {
        let at = (i * CHUNK) as u64;
        if at >= length {
            break;
        }
        let mut chunk = [0u64; CHUNK / 8];
        if !read(&mut chunk, name + at, length - at) {
            return 0;
        }
        let mut j = 0;
        while j < CHUNK / 8 {
            if at + (j as u64) * 8 < length {
                lanes = lanes.with(chunk[j]);
            }
            j += 1;
        }
        i += 1;
    }
    Secret::finish(lanes, length)
}

/// Hashes the text behind the last dot of a name, if there is one of a length that rules can have.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn path_extension(name: u64, length: u64, key: u64, check: u64) -> u64 {
    if length == 0 || length > MAX_NAME as u64 {
        return 0;
    }
    // The extension and its dot, as far as they can reach.
    let tail = if length > REACH as u64 {
        REACH as u64
    } else {
        length
    };
    let mut bytes = [0u8; REACH];
    // SAFETY: the helper checks the address; `bytes` has room for `tail`.
    let read_tail = unsafe {
        bpf_probe_read_kernel(
            bytes.as_mut_ptr().cast(),
            tail as u32,
            (name + length - tail) as *const _,
        )
    };
    if read_tail != 0 {
        return 0;
    }
    let mut behind = 0;
    let mut i = 0;
    while i < REACH {
        if bytes[i] == b'.' {
            behind = i as u64 + 1;
        }
        i += 1;
    }
    let extension = tail - behind;
    if behind == 0 || behind >= tail || extension > MAX_EXTENSION as u64 {
        return 0;
    }
    let mut chunk = [0u64; CHUNK / 8];
    if !read(&mut chunk, name + length - extension, extension) {
        return 0;
    }
    let mut lanes = Lanes { key, check };
    let mut j = 0;
    while j < CHUNK / 8 {
        if (j as u64) * 8 < extension {
            lanes = lanes.with(chunk[j]);
        }
        j += 1;
    }
    Secret::finish(lanes, extension)
}

/// Bytes of the longest extension with its dot.
const REACH: usize = MAX_EXTENSION + 1;
const _: () = assert!(MAX_EXTENSION == CHUNK);

/// Reads at most a chunk; what is not read stays zero.
#[inline(always)]
fn read(chunk: &mut [u64; CHUNK / 8], from: u64, length: u64) -> bool {
    let length = if length > CHUNK as u64 {
        CHUNK as u64
    } else {
        length
    };
    // SAFETY: the helper checks the address; the chunk has room for `length`.
    unsafe {
        bpf_probe_read_kernel(chunk.as_mut_ptr().cast(), length as u32, from as *const _) == 0
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

impl Path {
    /// What [`note_lists`] does, where walk and lists are known already.
    #[inline(always)]
    pub fn note_lists(self, scope: Scope, access: Access, lists: &mut [u32; LISTS]) -> bool {
        look(
            self.walk,
            self.index,
            Wanted::new(scope, 0, access).0,
            lists,
        ) != 0
    }

    /// Whether there are rules further down, which would no longer hold if it had another name.
    #[inline(always)]
    pub fn is_above_rules(self, scope: Scope) -> bool {
        // SAFETY: as in `climb`.
        let exact = unsafe { (*self.walk).exact };
        let key = PathKey::new(scope, EntryKind::Above, exact);
        may_be_there(self.index, key) && rules(key, exact.check).is_some()
    }

    /// Whether it is that of the sessions' denials, or of one of them.
    #[inline(always)]
    pub fn is_of_denials(self) -> bool {
        // SAFETY: as in `climb`.
        unsafe { core::ptr::read_volatile(&raw const (*self.walk).denials) != 0 }
    }

    /// The hash of its last name.
    #[inline(always)]
    pub fn name(self) -> u64 {
        // SAFETY: as in `climb`.
        unsafe { core::ptr::read_volatile(&raw const (*self.walk).name) }
    }

    /// The address of the name that was walked up from.
    #[inline(always)]
    pub fn subject(self) -> Address {
        // SAFETY: as in `climb`.
        Address(unsafe { core::ptr::read_volatile(&raw const (*self.walk).subject) })
    }
}

/// Whether the kernel should look first what there is at the path that was walked last: yes, unless
/// that was just asked of it.
#[inline(always)]
pub fn should_look_first(task: Task) -> bool {
    let Some(walk) = WALKS.get_ptr_mut(task.address()) else {
        return false;
    };
    // SAFETY: as in `climb`.
    unsafe {
        let path = (*walk).exact.key;
        let again = (*walk).asked_before == path;
        (*walk).asked = if again { 0 } else { path };
        !again
    }
}

/// Whether a file of procfs tells of a member of the session.
#[inline(always)]
pub fn is_of_session(dentry: Address, label: Label) -> bool {
    /// `PROC_SUPER_MAGIC`.
    const PROC: u64 = 0x9fa0;
    let inode = InodeAddress(Address(dentry.read(&DENTRY_INODE).unwrap_or(0)));
    if inode.magic() != Some(PROC) {
        return false;
    }
    let owner = match inode.proc_owner() {
        Some(Owner::Process(Some(task))) => task.member(),
        _ => None,
    };
    owner.is_some_and(|member| member.label().session == label.session)
}
