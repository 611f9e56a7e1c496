//! Trying what the kernel lets us do, with programs of a few instructions that change nothing.
//!
//! Each trial loads its program, attaches it and takes it away again. Lists tell too little: there
//! are kernels that list `bpf` among their LSMs and refuse its programs, and kernels that take LSM
//! programs and never call them, because `bpf` is not listed.

#![expect(
    unsafe_code,
    reason = "bpf(2) takes a union and plain pointers, and aya loads whole object files only"
)]

use aya_obj::generated::{
    bpf_attach_type, bpf_attr, bpf_cmd, bpf_insn, bpf_map_type, bpf_prog_type,
};
use nix::errno::Errno;
use nix::libc;
use std::fs::File;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// Where a program is tried.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// An LSM hook, by the BTF number of its function `bpf_lsm_...`.
    Lsm(u32),
    /// A tracepoint, by the BTF number of its type `btf_trace_...`.
    Tracepoint(u32),
    /// A cgroup, at one of its attach points for addresses, sockets or packets.
    Cgroup(bpf_attach_type, &'a File),
    /// Nowhere: a raw tracepoint program that user space runs.
    Run,
    /// A walk over objects, by the BTF number of its function `bpf_iter_...`.
    Iter(u32),
}

/// A map that is tried.
#[derive(Debug, Clone, Copy)]
pub enum Map {
    /// `BPF_MAP_TYPE_RINGBUF`.
    RingBuffer,
    /// `BPF_MAP_TYPE_LPM_TRIE`.
    PrefixTrie,
    /// `BPF_MAP_TYPE_HASH`.
    Hash,
    /// `BPF_MAP_TYPE_TASK_STORAGE`.
    TaskStorage,
}

/// `BPF_F_NO_PREALLOC`, which the kernel demands of a prefix trie and of task storage.
const NO_PREALLOC: u32 = 1;

/// What the kernel refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// To load the program.
    #[error("the kernel refuses to load it")]
    Load(#[source] Errno),
    /// To attach it once loaded.
    #[error("the kernel loads it and refuses to attach it")]
    Attach(#[source] Errno),
    /// To run it once loaded.
    #[error("the kernel loads it and refuses to run it")]
    Run(#[source] Errno),
    /// To create a map.
    #[error("the kernel refuses to create it")]
    Create(#[source] Errno),
}

/// Loads a program that allows everything, attaches it, and takes it away.
pub fn program(place: Place<'_>) -> Result<(), Refusal> {
    // What says "go on": 0 to an LSM hook and to a tracepoint, 1 to a cgroup.
    let answer = i32::from(matches!(place, Place::Cgroup(..)));
    let program = load(place, &[set(0, answer), EXIT])?;
    attach(place, &program).map(drop)
}

/// Creates a map of this sort, and lets it go.
pub fn map(map: Map) -> Result<(), Refusal> {
    let (sort, key, value, entries, flags) = match map {
        Map::RingBuffer => (bpf_map_type::BPF_MAP_TYPE_RINGBUF, 0, 0, 4096, 0),
        Map::PrefixTrie => (bpf_map_type::BPF_MAP_TYPE_LPM_TRIE, 8, 4, 1, NO_PREALLOC),
        Map::Hash => (bpf_map_type::BPF_MAP_TYPE_HASH, 8, 16, 1, 0),
        Map::TaskStorage => return task_storage(),
    };
    create(sort, key, value, entries, flags).map(drop)
}

/// The kernel wants the type of what it stores, so a little BTF goes first: one `int`.
fn task_storage() -> Result<(), Refusal> {
    const INT: [u8; 43] = *b"\x9f\xeb\x01\x00\x18\x00\x00\x00\x00\x00\x00\x00\x10\x00\x00\x00\
        \x10\x00\x00\x00\x03\x00\x00\x00\
        \x01\x00\x00\x00\x00\x00\x00\x01\x04\x00\x00\x00\x20\x00\x00\x01\
        \x00i\x00";
    let mut attr = empty();
    attr.__bindgen_anon_7.btf = INT.as_ptr() as u64;
    attr.__bindgen_anon_7.btf_size = u32::try_from(INT.len()).expect("it is 43 bytes");
    // SAFETY: `INT` outlives the call, which only reads it.
    let types =
        unsafe { call_for_fd(bpf_cmd::BPF_BTF_LOAD, &mut attr) }.map_err(Refusal::Create)?;
    let mut attr = empty();
    attr.__bindgen_anon_1.map_type = bpf_map_type::BPF_MAP_TYPE_TASK_STORAGE as u32;
    attr.__bindgen_anon_1.key_size = 4;
    attr.__bindgen_anon_1.value_size = 4;
    attr.__bindgen_anon_1.map_flags = NO_PREALLOC;
    attr.__bindgen_anon_1.btf_fd = types.as_raw_fd().cast_unsigned();
    attr.__bindgen_anon_1.btf_key_type_id = 1;
    attr.__bindgen_anon_1.btf_value_type_id = 1;
    // SAFETY: the attribute names no memory.
    unsafe { call_for_fd(bpf_cmd::BPF_MAP_CREATE, &mut attr) }
        .map(drop)
        .map_err(Refusal::Create)
}

/// Whether the kernel calls LSM programs at all: attaches one that counts to the hook with this
/// BTF number, does `action`, and looks whether it counted.
pub fn lsm_is_called(hook: u32, action: impl FnOnce()) -> Result<bool, Refusal> {
    let counter = create(bpf_map_type::BPF_MAP_TYPE_ARRAY, 4, 8, 1, 0)?;
    let program = load(
        Place::Lsm(hook),
        &[
            // r1 = the address of the counter, r2 = 1, *r1 += r2 atomically, return 0
            instruction(0x18, 1, MAP_VALUE, counter.as_raw_fd()),
            instruction(0, 0, 0, 0),
            set(2, 1),
            instruction(0xdb, 1, 2, 0),
            set(0, 0),
            EXIT,
        ],
    )?;
    let link = attach(Place::Lsm(hook), &program)?;
    action();
    drop(link);
    read_counter(&counter).map(|count| count > 0)
}

const EXIT: bpf_insn = instruction(0x95, 0, 0, 0);

/// `BPF_PSEUDO_MAP_VALUE`: the immediate is a map, and its first value's address is meant.
const MAP_VALUE: u8 = 2;

/// `register = value`.
const fn set(register: u8, value: i32) -> bpf_insn {
    instruction(0xb7, register, 0, value)
}

const fn instruction(code: u8, to: u8, from: u8, immediate: i32) -> bpf_insn {
    bpf_insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1: aya_obj::generated::__BindgenBitfieldUnit::new([from << 4 | to]),
        off: 0,
        imm: immediate,
    }
}

fn load(place: Place<'_>, instructions: &[bpf_insn]) -> Result<OwnedFd, Refusal> {
    let mut attr = empty();
    let (sort, attach_type, btf_id) = match place {
        Place::Lsm(id) => (
            bpf_prog_type::BPF_PROG_TYPE_LSM,
            bpf_attach_type::BPF_LSM_MAC as u32,
            id,
        ),
        Place::Tracepoint(id) => (
            bpf_prog_type::BPF_PROG_TYPE_TRACING,
            bpf_attach_type::BPF_TRACE_RAW_TP as u32,
            id,
        ),
        Place::Iter(id) => (
            bpf_prog_type::BPF_PROG_TYPE_TRACING,
            bpf_attach_type::BPF_TRACE_ITER as u32,
            id,
        ),
        Place::Cgroup(point, _) => (of_cgroup(point), point as u32, 0),
        Place::Run => (bpf_prog_type::BPF_PROG_TYPE_RAW_TRACEPOINT, 0, 0),
    };
    attr.__bindgen_anon_3.prog_type = sort as u32;
    attr.__bindgen_anon_3.expected_attach_type = attach_type;
    attr.__bindgen_anon_3.attach_btf_id = btf_id;
    attr.__bindgen_anon_3.insns = instructions.as_ptr() as u64;
    attr.__bindgen_anon_3.insn_cnt =
        u32::try_from(instructions.len()).expect("the programs above are short");
    attr.__bindgen_anon_3.license = c"GPL".as_ptr() as u64;
    // SAFETY: `instructions` and the licence outlive the call; the kernel only reads them.
    unsafe { call_for_fd(bpf_cmd::BPF_PROG_LOAD, &mut attr) }.map_err(Refusal::Load)
}

/// The type of the programs of an attach point.
fn of_cgroup(point: bpf_attach_type) -> bpf_prog_type {
    match point {
        bpf_attach_type::BPF_CGROUP_INET_EGRESS | bpf_attach_type::BPF_CGROUP_INET_INGRESS => {
            bpf_prog_type::BPF_PROG_TYPE_CGROUP_SKB
        }
        bpf_attach_type::BPF_CGROUP_INET_SOCK_CREATE => bpf_prog_type::BPF_PROG_TYPE_CGROUP_SOCK,
        _ => bpf_prog_type::BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
    }
}

/// The program stays attached as long as the result is kept.
fn attach(place: Place<'_>, program: &OwnedFd) -> Result<Option<OwnedFd>, Refusal> {
    let number = program.as_raw_fd().cast_unsigned();
    let mut attr = empty();
    let command = match place {
        Place::Lsm(_) | Place::Tracepoint(_) => {
            attr.raw_tracepoint.prog_fd = number;
            bpf_cmd::BPF_RAW_TRACEPOINT_OPEN
        }
        Place::Cgroup(point, cgroup) => {
            attr.link_create.__bindgen_anon_1.prog_fd = number;
            attr.link_create.__bindgen_anon_2.target_fd = cgroup.as_raw_fd().cast_unsigned();
            attr.link_create.attach_type = point as u32;
            bpf_cmd::BPF_LINK_CREATE
        }
        Place::Iter(_) => {
            attr.link_create.__bindgen_anon_1.prog_fd = number;
            attr.link_create.attach_type = bpf_attach_type::BPF_TRACE_ITER as u32;
            bpf_cmd::BPF_LINK_CREATE
        }
        Place::Run => {
            attr.test.prog_fd = number;
            // SAFETY: the attribute names no memory.
            return unsafe { call(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr) }
                .map(|_| None)
                .map_err(Refusal::Run);
        }
    };
    // SAFETY: the attribute names no memory.
    unsafe { call_for_fd(command, &mut attr) }
        .map(Some)
        .map_err(Refusal::Attach)
}

fn create(
    sort: bpf_map_type,
    key: u32,
    value: u32,
    entries: u32,
    flags: u32,
) -> Result<OwnedFd, Refusal> {
    let mut attr = empty();
    attr.__bindgen_anon_1.map_type = sort as u32;
    attr.__bindgen_anon_1.key_size = key;
    attr.__bindgen_anon_1.value_size = value;
    attr.__bindgen_anon_1.max_entries = entries;
    attr.__bindgen_anon_1.map_flags = flags;
    // SAFETY: the attribute names no memory.
    unsafe { call_for_fd(bpf_cmd::BPF_MAP_CREATE, &mut attr) }.map_err(Refusal::Create)
}

fn read_counter(counter: &OwnedFd) -> Result<u64, Refusal> {
    let key: u32 = 0;
    let mut value: u64 = 0;
    let mut attr = empty();
    attr.__bindgen_anon_2.map_fd = counter.as_raw_fd().cast_unsigned();
    attr.__bindgen_anon_2.key = &raw const key as u64;
    attr.__bindgen_anon_2.__bindgen_anon_1.value = &raw mut value as u64;
    // SAFETY: `key` and `value` have the sizes that the map was created with, and outlive the call.
    unsafe { call(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut attr) }
        .map(|_| value)
        .map_err(Refusal::Run)
}

fn empty() -> bpf_attr {
    // SAFETY: every field of the union is made of integers, and zero means "not set" to the kernel.
    unsafe { std::mem::zeroed() }
}

/// # Safety
/// Every address in `attr` must be valid for what `command` does with it.
unsafe fn call(command: bpf_cmd, attr: &mut bpf_attr) -> Result<i64, Errno> {
    // SAFETY: `attr` is whole and zeroed where not set, so an older kernel that knows less of it
    // takes it too; the caller answers for the addresses in it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_int,
            &raw mut *attr,
            size_of::<bpf_attr>(),
        )
    };
    Errno::result(result)
}

/// # Safety
/// As for [`call`]; `command` must be one that answers with a new descriptor.
unsafe fn call_for_fd(command: bpf_cmd, attr: &mut bpf_attr) -> Result<OwnedFd, Errno> {
    // SAFETY: the caller's promise.
    let number = unsafe { call(command, attr) }?;
    let number = i32::try_from(number).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made the descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
