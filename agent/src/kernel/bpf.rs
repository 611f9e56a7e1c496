//! bpf(2) itself, for what aya has no word for: programs of a few instructions, and what they are put at.

#![expect(
    unsafe_code,
    reason = "bpf(2) takes a union and plain pointers, and aya loads whole object files only"
)]

use aya_obj::generated::{
    bpf_attach_type, bpf_attr, bpf_cmd, bpf_insn, bpf_map_type, bpf_prog_type,
};
use nix::errno::Errno;
use nix::libc;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Where a program is put.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// An LSM hook, by the BTF number of its function `bpf_lsm_...`.
    Lsm(u32),
    /// A tracepoint, by the BTF number of its type `btf_trace_...`.
    Tracepoint(u32),
    /// The beginning of a function of the kernel's, by its BTF number.
    Function(u32),
    /// A cgroup, at one of its attach points for addresses, sockets or packets.
    Cgroup(bpf_attach_type, &'a File),
    /// Nowhere: a raw tracepoint program that user space runs.
    Run,
    /// A walk over objects, by the BTF number of its function `bpf_iter_...`.
    Iter(u32),
}

impl Place<'_> {
    /// What a program answers there that wants nothing: 0 to an LSM hook, a tracepoint and a function, 1 to a cgroup.
    pub const fn go_on(self) -> i32 {
        matches!(self, Self::Cgroup(..)) as i32
    }
}

/// Bytes of a name that the kernel keeps, without the zero at its end.
pub const NAME: usize = 15;

/// `BPF_PSEUDO_MAP_FD`: the immediate is a map, and it itself is meant.
pub const MAP: u8 = 1;

/// `BPF_PSEUDO_MAP_VALUE`: the immediate is a map, and its first value's address is meant.
pub const MAP_VALUE: u8 = 2;

/// `bpf_tail_call(r1 = what the hook was given, r2 = the array, r3 = the entry)`; goes on behind it where that is empty.
pub const TAIL_CALL: bpf_insn = instruction(0x85, 0, 0, 12);

/// The end of a program.
pub const EXIT: bpf_insn = instruction(0x95, 0, 0, 0);

/// `register = value`.
pub const fn set(register: u8, value: i32) -> bpf_insn {
    instruction(0xb7, register, 0, value)
}

/// `register = ` what `meaning` says of a map.
pub fn set_map(register: u8, meaning: u8, map: &OwnedFd) -> [bpf_insn; 2] {
    [
        instruction(0x18, register, meaning, map.as_raw_fd()),
        instruction(0, 0, 0, 0),
    ]
}

/// Any instruction without an offset.
pub const fn instruction(code: u8, to: u8, from: u8, immediate: i32) -> bpf_insn {
    bpf_insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1: aya_obj::generated::__BindgenBitfieldUnit::new([from << 4 | to]),
        off: 0,
        imm: immediate,
    }
}

/// The same with an offset: of memory in bytes, of a jump in instructions that are left out.
pub const fn with_offset(instruction: bpf_insn, offset: i16) -> bpf_insn {
    bpf_insn {
        off: offset,
        ..instruction
    }
}

/// Loads a program, under a name if one is given.
pub fn load(place: Place<'_>, name: &str, instructions: &[bpf_insn]) -> Result<OwnedFd, Errno> {
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
        Place::Function(id) => (
            bpf_prog_type::BPF_PROG_TYPE_TRACING,
            bpf_attach_type::BPF_TRACE_FENTRY as u32,
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
        u32::try_from(instructions.len()).expect("these programs are short");
    attr.__bindgen_anon_3.license = c"GPL".as_ptr() as u64;
    let mut kept = [0; NAME + 1];
    for (to, from) in kept.iter_mut().zip(name.bytes().take(NAME)) {
        // Which of both a character is depends on the processor.
        *to = from as std::ffi::c_char;
    }
    attr.__bindgen_anon_3.prog_name = kept;
    // SAFETY: `instructions` and the licence outlive the call; the kernel only reads them.
    unsafe { call_for_fd(bpf_cmd::BPF_PROG_LOAD, &mut attr) }
}

/// The type of the programs of an attach point.
const fn of_cgroup(point: bpf_attach_type) -> bpf_prog_type {
    match point {
        bpf_attach_type::BPF_CGROUP_INET_EGRESS | bpf_attach_type::BPF_CGROUP_INET_INGRESS => {
            bpf_prog_type::BPF_PROG_TYPE_CGROUP_SKB
        }
        bpf_attach_type::BPF_CGROUP_INET_SOCK_CREATE => bpf_prog_type::BPF_PROG_TYPE_CGROUP_SOCK,
        _ => bpf_prog_type::BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
    }
}

/// The program stays attached as long as the result is kept, or pinned. What is attached nowhere gives nothing.
pub fn attach(place: Place<'_>, program: impl AsFd) -> Result<Option<OwnedFd>, Errno> {
    let number = program.as_fd().as_raw_fd().cast_unsigned();
    let mut attr = empty();
    let command = match place {
        Place::Lsm(_) | Place::Tracepoint(_) | Place::Function(_) => {
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
        Place::Run => return Ok(None),
    };
    // SAFETY: the attribute names no memory.
    unsafe { call_for_fd(command, &mut attr) }.map(Some)
}

/// Runs a program that is attached nowhere.
pub fn run(program: &OwnedFd) -> Result<(), Errno> {
    let mut attr = empty();
    attr.test.prog_fd = program.as_raw_fd().cast_unsigned();
    // SAFETY: the attribute names no memory.
    unsafe { call(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr) }.map(drop)
}

/// Makes a map.
pub fn create(
    sort: bpf_map_type,
    (key, value, entries): (u32, u32, u32),
    flags: u32,
) -> Result<OwnedFd, Errno> {
    let mut attr = empty();
    attr.__bindgen_anon_1.map_type = sort as u32;
    attr.__bindgen_anon_1.key_size = key;
    attr.__bindgen_anon_1.value_size = value;
    attr.__bindgen_anon_1.max_entries = entries;
    attr.__bindgen_anon_1.map_flags = flags;
    // SAFETY: the attribute names no memory.
    unsafe { call_for_fd(bpf_cmd::BPF_MAP_CREATE, &mut attr) }
}

/// Makes the map that task storage is, for values of four bytes.
pub fn create_task_storage(flags: u32) -> Result<OwnedFd, Errno> {
    // The kernel wants the type of what it stores, so a little BTF goes first: one `int`.
    const INT: [u8; 43] = *b"\x9f\xeb\x01\x00\x18\x00\x00\x00\x00\x00\x00\x00\x10\x00\x00\x00\
        \x10\x00\x00\x00\x03\x00\x00\x00\
        \x01\x00\x00\x00\x00\x00\x00\x01\x04\x00\x00\x00\x20\x00\x00\x01\
        \x00i\x00";
    let mut attr = empty();
    attr.__bindgen_anon_7.btf = INT.as_ptr() as u64;
    attr.__bindgen_anon_7.btf_size = u32::try_from(INT.len()).expect("it is 43 bytes");
    // SAFETY: `INT` outlives the call, which only reads it.
    let types = unsafe { call_for_fd(bpf_cmd::BPF_BTF_LOAD, &mut attr) }?;
    let mut attr = empty();
    attr.__bindgen_anon_1.map_type = bpf_map_type::BPF_MAP_TYPE_TASK_STORAGE as u32;
    attr.__bindgen_anon_1.key_size = 4;
    attr.__bindgen_anon_1.value_size = 4;
    attr.__bindgen_anon_1.map_flags = flags;
    attr.__bindgen_anon_1.btf_fd = types.as_raw_fd().cast_unsigned();
    attr.__bindgen_anon_1.btf_key_type_id = 1;
    attr.__bindgen_anon_1.btf_value_type_id = 1;
    // SAFETY: the attribute names no memory.
    unsafe { call_for_fd(bpf_cmd::BPF_MAP_CREATE, &mut attr) }
}

/// The first value of a map whose keys are numbers and whose values are so many.
pub fn first<const N: usize>(map: &OwnedFd) -> Result<[u64; N], Errno> {
    let key: u32 = 0;
    let mut value = [0; N];
    let mut attr = empty();
    attr.__bindgen_anon_2.map_fd = map.as_raw_fd().cast_unsigned();
    attr.__bindgen_anon_2.key = &raw const key as u64;
    attr.__bindgen_anon_2.__bindgen_anon_1.value = &raw mut value as u64;
    // SAFETY: `key` and `value` have the sizes that the map was created with, and outlive the call.
    unsafe { call(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut attr) }.map(|_| value)
}

/// Makes a program an entry of an array of programs.
pub fn set_program(array: &OwnedFd, entry: u32, program: impl AsFd) -> Result<(), Errno> {
    let value: u32 = program.as_fd().as_raw_fd().cast_unsigned();
    // SAFETY: a descriptor has the size of such an array's values.
    unsafe { set_entry(array, entry, &raw const value as u64) }
}

/// Writes the first value of a map whose keys are numbers and whose value these are.
pub fn set_first<const N: usize>(map: &OwnedFd, value: &[u64; N]) -> Result<(), Errno> {
    // SAFETY: whoever made the map knows how many numbers its value has.
    unsafe { set_entry(map, 0, value.as_ptr() as u64) }
}

/// # Safety
/// At `value` lies what is as large as the map's values.
unsafe fn set_entry(map: &OwnedFd, entry: u32, value: u64) -> Result<(), Errno> {
    let mut attr = empty();
    attr.__bindgen_anon_2.map_fd = map.as_raw_fd().cast_unsigned();
    attr.__bindgen_anon_2.key = &raw const entry as u64;
    attr.__bindgen_anon_2.__bindgen_anon_1.value = value;
    // SAFETY: `entry` has the size of the keys and outlives the call; the caller answers for the value.
    unsafe { call(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr) }.map(drop)
}

/// Gives a program, map or link a name in bpffs, by which it lives on.
pub fn pin(object: impl AsFd, path: &Path) -> Result<(), Errno> {
    let name = c_string(path)?;
    let mut attr = empty();
    attr.__bindgen_anon_4.bpf_fd = object.as_fd().as_raw_fd().cast_unsigned();
    attr.__bindgen_anon_4.pathname = name.as_ptr() as u64;
    // SAFETY: `name` outlives the call, which only reads it.
    unsafe { call(bpf_cmd::BPF_OBJ_PIN, &mut attr) }.map(drop)
}

/// Opens what has a name in bpffs.
pub fn pinned(path: &Path) -> Result<OwnedFd, Errno> {
    let name = c_string(path)?;
    let mut attr = empty();
    attr.__bindgen_anon_4.pathname = name.as_ptr() as u64;
    // SAFETY: `name` outlives the call, which only reads it.
    unsafe { call_for_fd(bpf_cmd::BPF_OBJ_GET, &mut attr) }
}

fn c_string(path: &Path) -> Result<CString, Errno> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)
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
