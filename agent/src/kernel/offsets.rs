//! Which fields of which kernel structs the kernel programs read, and where they are here.
//!
//! The compiler's BPF target writes no relocations for struct fields, so every offset is a global
//! of the kernel programs that the loader overrides before load. No offset comes from a header.

use super::btf::{Btf, Kind};
use super::processor::{self, Processor};

pub use super::btf::OffsetError;

/// A field that the kernel programs read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The global of the kernel programs that holds the offset.
    pub global: &'static str,
    /// The kernel's struct.
    pub name: &'static str,
    /// The field in it.
    pub path: &'static str,
    /// Bytes that the programs read there. A field of another width would be misread, so it counts
    /// as missing.
    pub size: u32,
    /// Which of its values of that width, where it is an array of them.
    pub element: Option<u32>,
    /// Whether every kernel that we support has it.
    pub presence: Presence,
}

/// Whether a field may be absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Without it nothing is loaded.
    Required,
    /// Without it the global stays 0, which is no field's place, and the programs do without.
    Optional,
}

/// A field that is there on every kernel.
pub(super) const fn required(
    global: &'static str,
    name: &'static str,
    path: &'static str,
    size: u32,
) -> Field {
    Field {
        global,
        name,
        path,
        size,
        element: None,
        presence: Presence::Required,
    }
}

/// One of the values of an array that is there on every kernel.
pub(super) const fn element(
    global: &'static str,
    name: &'static str,
    path: &'static str,
    size: u32,
    number: u32,
) -> Field {
    Field {
        element: Some(number),
        ..required(global, name, path, size)
    }
}

/// The fields that the kernel programs read on every processor, by the names of `agent-ebpf/src/kernel/offsets.rs`.
pub const NEEDED: &[Field] = &[
    // Task storage came with 5.11. Without it the label is found by the task's address alone.
    Field {
        presence: Presence::Optional,
        ..required("TASK_BPF_STORAGE", "task_struct", "bpf_storage", 8)
    },
    required("TASK_REAL_PARENT", "task_struct", "real_parent", 8),
    required("TASK_GROUP_LEADER", "task_struct", "group_leader", 8),
    required("TASK_PID", "task_struct", "pid", 4),
    required("TASK_TGID", "task_struct", "tgid", 4),
    required("TASK_START_BOOTTIME", "task_struct", "start_boottime", 8),
    required("TASK_COMM", "task_struct", "comm", 16),
    required("TASK_EXIT_STATE", "task_struct", "exit_state", 4),
    required("TASK_EXIT_CODE", "task_struct", "exit_code", 4),
    required("TASK_SIGNAL", "task_struct", "signal", 8),
    required("SIGNAL_LIVE", "signal_struct", "live", 4),
    required("BINPRM_FILENAME", "linux_binprm", "filename", 8),
    required("BINPRM_INTERPRETER", "linux_binprm", "interp", 8),
    required("BINPRM_FILE", "linux_binprm", "file", 8),
    required("BINPRM_ARGUMENTS", "linux_binprm", "argc", 4),
    required("BINPRM_START", "linux_binprm", "buf", 256),
    required("BINPRM_TOP", "linux_binprm", "p", 8),
    required("SOCKET_SK", "socket", "sk", 8),
    required("SOCK_FAMILY", "sock", "__sk_common.skc_family", 2),
    required("SOCK_PROTOCOL", "sock", "sk_protocol", 2),
    required("UNIX_PEER", "unix_sock", "peer", 8),
    required("UNIX_ADDRESS", "unix_sock", "addr", 8),
    required("UNIX_DENTRY", "unix_sock", "path.dentry", 8),
    required("ADDRESS_LENGTH", "unix_address", "len", 4),
    required("ADDRESS_NAME", "unix_address", "name", 0),
    required("SOCK_REMOTE", "sock", "__sk_common.skc_daddr", 4),
    required("SOCK_REMOTE_V6", "sock", "__sk_common.skc_v6_daddr", 16),
    required("SOCK_REMOTE_PORT", "sock", "__sk_common.skc_dport", 2),
    required("TCP_TAKEN", "tcp_sock", "write_seq", 4),
    required("TCP_SENT", "tcp_sock", "snd_nxt", 4),
    required("FILE_PRIVATE", "file", "private_data", 8),
    required("MESSAGE_NAME", "msghdr", "msg_name", 8),
    required("SOCK_PORT", "sock", "__sk_common.skc_num", 2),
    required("SOCK_ADDRESS", "sock", "__sk_common.skc_rcv_saddr", 4),
    required("SOCK_ADDRESS6", "sock", "__sk_common.skc_v6_rcv_saddr", 16),
    required("TASK_CRED", "task_struct", "cred", 8),
    required("TASK_REAL_CRED", "task_struct", "real_cred", 8),
    // There are kernels that are built without rings.
    Field {
        presence: Presence::Optional,
        ..required("TASK_IO_URING", "task_struct", "io_uring", 8)
    },
    required("TASK_PID_LINKS", "task_struct", "pid_links", 64),
    required("PID_TASKS", "pid", "tasks", 32),
    required("FILE_FLAGS", "file", "f_flags", 4),
    required("FILE_INODE", "file", "f_inode", 8),
    required("INODE_SB", "inode", "i_sb", 8),
    required("INODE_MODE", "inode", "i_mode", 2),
    required("INODE_LINKS", "inode", "i_nlink", 4),
    required("SB_MAGIC", "super_block", "s_magic", 8),
    required("PROC_INODE_PID", "proc_inode", "pid", 8),
    required("PROC_INODE_MODE", "proc_inode", "vfs_inode.i_mode", 2),
    required("TASK_FLAGS", "task_struct", "flags", 4),
    required("TASK_MM", "task_struct", "mm", 8),
    required("MM_EXE_FILE", "mm_struct", "exe_file", 8),
    required("FILE_DENTRY", "file", "f_path.dentry", 8),
    required("FILE_MODE", "file", "f_mode", 4),
    required("DENTRY_PARENT", "dentry", "d_parent", 8),
    required("DENTRY_NAME_LENGTH", "dentry", "d_name.len", 4),
    required("DENTRY_NAME", "dentry", "d_name.name", 8),
    required("DENTRY_INODE", "dentry", "d_inode", 8),
    required("DENTRY_SUPER", "dentry", "d_sb", 8),
    required("DENTRY_HASHED", "dentry", "d_hash.pprev", 8),
    required("SUPER_DEVICE", "super_block", "s_dev", 4),
    required("SUPER_ROOT", "super_block", "s_root", 8),
    required("AREA_FILE", "vm_area_struct", "vm_file", 8),
    required("AREA_FLAGS", "vm_area_struct", "vm_flags", 8),
    required("AREA_COPIED", "vm_area_struct", "anon_vma", 8),
    required("ATTRIBUTES_VALID", "iattr", "ia_valid", 4),
    required("TASK_CGROUPS", "task_struct", "cgroups", 8),
    required("CGROUPS_UNIFIED", "css_set", "dfl_cgrp", 8),
    required("CGROUP_NODE", "cgroup", "kn", 8),
    required("CGROUP_ROOT", "cgroup", "root", 8),
    required("ROOT_HIERARCHY", "cgroup_root", "hierarchy_id", 4),
    required("CGROUP_PARENT", "cgroup", "self.parent", 8),
    required("STATE_PARENT", "cgroup_subsys_state", "parent", 8),
    required("NODE_ID", "kernfs_node", "id", 8),
    required("NODE_NAME", "kernfs_node", "name", 8),
    required("TASK_NAMESPACES", "task_struct", "nsproxy", 8),
    required("NAMESPACES_MOUNTS", "nsproxy", "mnt_ns", 8),
    required("SIGNAL_THREADS", "signal_struct", "nr_threads", 4),
    required("INODE_NUMBER", "inode", "i_ino", 8),
    required("INODE_GENERATION", "inode", "i_generation", 4),
    required("MM_ARGUMENTS", "mm_struct", "arg_start", 8),
    required("MM_ARGUMENTS_END", "mm_struct", "arg_end", 8),
];

/// Bytes of a dentry's own name that the programs read, its end included.
const SHORT_NAME: u32 = 32;

/// Helpers that some kernels lack, each with the global that says so.
const HELPERS: &[(&str, &str)] = &[
    // From 5.15.
    ("HAS_TASK_REGS", "bpf_task_pt_regs"),
];

/// Arguments of hooks that moved from one kernel to the other: the global, the hook, the argument.
const MOVED: &[(&str, &str, &str)] = &[
    ("SETATTR_DENTRY", "bpf_lsm_inode_setattr", "dentry"),
    ("SETXATTR_DENTRY", "bpf_lsm_inode_setxattr", "dentry"),
    ("REMOVEXATTR_DENTRY", "bpf_lsm_inode_removexattr", "dentry"),
];

/// Finds every needed field in the running kernel, and which helpers it has.
pub fn of_running_kernel() -> Result<Vec<(&'static str, u32)>, OffsetError> {
    let btf = Btf::of_running_kernel()?;
    let mut globals = resolve(&btf, processor::HERE)?;
    globals.extend(processor::HERE.numbers);
    globals.extend(HELPERS.iter().map(|(global, helper)| {
        let found = btf.find(Kind::Function, helper).is_some();
        (*global, u32::from(found))
    }));
    // A kernel without these functions has no BPF LSM, and asks no program for them.
    globals.extend(MOVED.iter().map(|(global, hook, argument)| {
        let arguments = btf.arguments(hook).unwrap_or_default();
        let place = arguments.iter().position(|name| name == argument);
        let place = place.and_then(|place| u32::try_from(place).ok());
        (*global, place.unwrap_or(0))
    }));
    // Without it names are read by a helper, which takes longer.
    let short = ["d_iname", "d_shortname"]
        .into_iter()
        .find_map(|field| btf.member("dentry", field).ok())
        .filter(|member| member.size >= SHORT_NAME && member.offset.is_multiple_of(8));
    globals.push(("DENTRY_SHORT_NAME", short.map_or(0, |member| member.offset)));
    let rename = btf.arguments("bpf_lsm_path_rename").unwrap_or_default();
    globals.push(("RENAME_HAS_FLAGS", u32::from(rename.len() > 4)));
    Ok(globals)
}

/// Finds every needed field. The result pairs each global with its value.
pub fn resolve(btf: &Btf, processor: &Processor) -> Result<Vec<(&'static str, u32)>, OffsetError> {
    let fields = NEEDED.iter().chain(processor.registers);
    fields
        .map(|field| Ok((field.global, field.find(btf)?)))
        .collect()
}

impl Field {
    fn find(&self, btf: &Btf) -> Result<u32, OffsetError> {
        let member = match btf.member(self.name, self.path) {
            Err(OffsetError::NoField { .. }) if self.presence == Presence::Optional => {
                return Ok(0);
            }
            found => found?,
        };
        let (place, fits) = match self.element {
            None => (0, member.size == self.size),
            Some(number) => (number * self.size, member.size > number * self.size),
        };
        if !fits {
            return Err(OffsetError::Size {
                release: btf.release().to_owned(),
                name: self.name.to_owned(),
                path: self.path.to_owned(),
                expected: self.size,
                found: member.size,
            });
        }
        Ok(member.offset.saturating_add(place))
    }
}
