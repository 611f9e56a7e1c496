//! Which fields of which kernel structs the kernel programs read, and where they are here.
//!
//! The compiler's BPF target writes no relocations for struct fields, so every offset is a global
//! of the kernel programs that the loader overrides before load. No offset comes from a header.

use super::btf::{Btf, Kind};

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

const fn required(
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
        presence: Presence::Required,
    }
}

/// Every field that the kernel programs read, by the names of `agent-ebpf/src/kernel/offsets.rs`.
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
    required("SOCKET_SK", "socket", "sk", 8),
    required("SOCK_FAMILY", "sock", "__sk_common.skc_family", 2),
    required("SOCK_PROTOCOL", "sock", "sk_protocol", 2),
    required("TASK_CRED", "task_struct", "cred", 8),
    required("TASK_REAL_CRED", "task_struct", "real_cred", 8),
    required("TASK_PID_LINKS", "task_struct", "pid_links", 64),
    required("PID_TASKS", "pid", "tasks", 32),
    required("FILE_FLAGS", "file", "f_flags", 4),
    required("FILE_INODE", "file", "f_inode", 8),
    required("INODE_SB", "inode", "i_sb", 8),
    required("INODE_MODE", "inode", "i_mode", 2),
    required("SB_MAGIC", "super_block", "s_magic", 8),
    required("PROC_INODE_PID", "proc_inode", "pid", 8),
    required("PROC_INODE_MODE", "proc_inode", "vfs_inode.i_mode", 2),
    required("REGS_CALL", "pt_regs", "orig_ax", 8),
];

/// Helpers that some kernels lack, each with the global that says so.
const HELPERS: &[(&str, &str)] = &[
    // From 5.15.
    ("HAS_TASK_REGS", "bpf_task_pt_regs"),
];

/// Finds every needed field in the running kernel, and which helpers it has.
pub fn of_running_kernel() -> Result<Vec<(&'static str, u32)>, OffsetError> {
    let btf = Btf::of_running_kernel()?;
    let mut globals = resolve(&btf)?;
    globals.extend(HELPERS.iter().map(|(global, helper)| {
        let found = btf.find(Kind::Function, helper).is_some();
        (*global, u32::from(found))
    }));
    Ok(globals)
}

/// Finds every needed field. The result pairs each global with its value.
pub fn resolve(btf: &Btf) -> Result<Vec<(&'static str, u32)>, OffsetError> {
    NEEDED
        .iter()
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
        if member.size != self.size {
            return Err(OffsetError::Size {
                release: btf.release().to_owned(),
                name: self.name.to_owned(),
                path: self.path.to_owned(),
                expected: self.size,
                found: member.size,
            });
        }
        Ok(member.offset)
    }
}
