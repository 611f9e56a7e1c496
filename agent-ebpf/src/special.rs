//! Files that are not files: what is written to them changes the kernel, other processes, or a disk
//! below its file system. No rule about paths allows that.

use crate::kernel::file::File;
use crate::kernel::inode::{Inode, Owner};
use crate::kernel::member::Member;
use crate::kernel::verdict;
use crate::privilege::{self, Act, doubt, member};
use agent_common::privilege::Privilege;
use agent_common::session::Label;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;

/// What changing a file needs besides the policy's rules about files.
enum Special {
    /// Nothing.
    Ordinary,
    /// A privilege, to reach this process (or 0).
    Needs(Privilege, u32),
    /// It cannot be told.
    Unreadable,
}

/// What opening a file needs. Reading is ordinary, but for disks.
#[inline(always)]
fn open(label: Label, file: File) -> Special {
    let Some(inode) = file.inode() else {
        return Special::Unreadable;
    };
    if inode.is_disk() {
        return Special::Needs(Privilege::Disk, 0);
    }
    if !file.is_to_change() {
        return Special::Ordinary;
    }
    change(label, inode)
}

/// What changing a file, or what is in a folder, needs.
#[inline(always)]
fn change(label: Label, inode: Inode) -> Special {
    let Some(magic) = inode.magic() else {
        return Special::Unreadable;
    };
    // The numbers of linux/magic.h.
    match magic {
        // procfs
        0x9fa0 => proc(label, inode),
        // cgroup v2, cgroup v1
        0x6367_7270 | 0x0027_e0eb => Special::Needs(Privilege::Cgroup, 0),
        // bpffs
        0xcafe_4a11 => Special::Needs(Privilege::Bpf, 0),
        // sysfs, securityfs, debugfs, tracefs, configfs, binfmt_misc, efivarfs, pstore, resctrl,
        // fusectl, selinuxfs, smackfs
        0x6265_6572 | 0x7363_6673 | 0x6462_6720 | 0x7472_6163 | 0x6265_6570 | 0x4249_4e4d
        | 0xde5e_81e4 | 0x6165_676c | 0x0765_5821 | 0x6573_5543 | 0xf97c_ff8c | 0x4341_5d53 => {
            Special::Needs(Privilege::KernelKnobs, 0)
        }
        _ => Special::Ordinary,
    }
}

/// A session's processes may write what is theirs.
#[inline(always)]
fn proc(label: Label, inode: Inode) -> Special {
    match inode.address().proc_owner() {
        Some(Owner::Kernel) => Special::Needs(Privilege::KernelKnobs, 0),
        Some(Owner::Process(Some(task))) => {
            let owner = task.member().map(Member::label);
            if owner.is_some_and(|owner| owner.session == label.session) {
                Special::Ordinary
            } else {
                Special::Needs(Privilege::Ptrace, task.tgid())
            }
        }
        Some(Owner::Process(None)) => Special::Needs(Privilege::Ptrace, 0),
        None => Special::Unreadable,
    }
}

/// Whether a member may do what needs this.
#[inline(always)]
fn allows(member: Member, special: &Special) -> bool {
    match special {
        Special::Ordinary => true,
        Special::Needs(privilege, target) => privilege::allows(
            member,
            Act {
                target: *target,
                ..Act::of(*privilege)
            },
        ),
        Special::Unreadable => doubt(member, Act::of(Privilege::KernelKnobs)),
    }
}

/// Whether a member may open a file, whatever the rules about its path.
#[inline(always)]
pub fn allows_open(member: Member, file: File) -> bool {
    allows(member, &open(member.label(), file))
}

/// What happens in a folder.
#[inline(always)]
fn in_folder(earlier: i32, folder: *const core::ffi::c_void) -> i32 {
    match member(earlier) {
        Ok(member) => {
            let label = member.label();
            verdict::lsm(allows(member, &change(label, Inode::given(folder))))
        }
        Err(answer) => answer,
    }
}

/// `security_inode_mkdir(struct inode *, struct dentry *, umode_t)`.
#[lsm(hook = "inode_mkdir")]
pub fn special_mkdir(ctx: LsmContext) -> i32 {
    in_folder(ctx.arg(3), ctx.arg(0))
}

/// `security_inode_rmdir(struct inode *, struct dentry *)`.
#[lsm(hook = "inode_rmdir")]
pub fn special_rmdir(ctx: LsmContext) -> i32 {
    in_folder(ctx.arg(2), ctx.arg(0))
}

/// `security_inode_unlink(struct inode *, struct dentry *)`.
#[lsm(hook = "inode_unlink")]
pub fn special_unlink(ctx: LsmContext) -> i32 {
    in_folder(ctx.arg(2), ctx.arg(0))
}

/// `security_inode_rename(struct inode *, struct dentry *, struct inode *, struct dentry *)`: both
/// folders are of one file system.
#[lsm(hook = "inode_rename")]
pub fn special_rename(ctx: LsmContext) -> i32 {
    in_folder(ctx.arg(4), ctx.arg(0))
}

/// `security_inode_symlink(struct inode *, struct dentry *, const char *)`.
#[lsm(hook = "inode_symlink")]
pub fn special_symlink(ctx: LsmContext) -> i32 {
    in_folder(ctx.arg(3), ctx.arg(0))
}
