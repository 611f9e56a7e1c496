//! What a session does with files. A file is judged by its path inside its own file system, when
//! it is opened and whenever a name or an attribute changes.

use crate::judge::{self, Uses};
use crate::kernel::file::{self, Dentry, File};
use crate::kernel::task::{Member, Task};
use crate::kernel::verdict;
use agent_common::action::Action;
use aya_ebpf::EbpfContext as _;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use core::ffi::c_void;

/// The running task if it is a member, and acts by its own will.
#[inline(always)]
fn actor() -> Option<Member> {
    let task = Task::current_if_marked()?;
    let member = task.member()?;
    (!task.is_kernel_at_work()).then_some(member)
}

/// `security_file_open(struct file *)`: every way to open a file, `openat2`, `open_by_handle_at` and
/// io_uring included; not `O_PATH`, which reads and writes nothing.
#[lsm(hook = "file_open")]
pub fn file_open(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(1);
    if earlier != 0 {
        return earlier;
    }
    let Some(member) = actor() else {
        return verdict::lsm(true);
    };
    verdict::lsm(open(member, File::given(ctx.arg(0))))
}

#[inline(always)]
fn open(member: Member, file: File) -> bool {
    // What is executed is judged as that.
    if file.is_executed() {
        return true;
    }
    let Some(dentry) = file.dentry() else {
        return false;
    };
    if !file.is_of(dentry) {
        return true;
    }
    let uses = Uses::when(file.reads(), Action::Read)
        .and(Uses::when(file.writes(), Action::Write))
        .and(Uses::when(file.is_temporary(), Action::Create));
    judge::path(member, dentry, uses)
}

/// `security_path_mknod(const struct path *, struct dentry *, umode_t, unsigned int)`: regular files
/// are created through it as well.
#[lsm(hook = "path_mknod")]
pub fn path_mknod(ctx: LsmContext) -> i32 {
    name(ctx.arg(4), ctx.arg(1), Action::Create)
}

/// `security_path_mkdir(const struct path *, struct dentry *, umode_t)`.
#[lsm(hook = "path_mkdir")]
pub fn path_mkdir(ctx: LsmContext) -> i32 {
    name(ctx.arg(3), ctx.arg(1), Action::Create)
}

/// `security_path_symlink(const struct path *, struct dentry *, const char *)`.
#[lsm(hook = "path_symlink")]
pub fn path_symlink(ctx: LsmContext) -> i32 {
    name(ctx.arg(3), ctx.arg(1), Action::Create)
}

/// `security_path_unlink(const struct path *, struct dentry *)`.
#[lsm(hook = "path_unlink")]
pub fn path_unlink(ctx: LsmContext) -> i32 {
    name(ctx.arg(2), ctx.arg(1), Action::Delete)
}

/// `security_path_rmdir(const struct path *, struct dentry *)`.
#[lsm(hook = "path_rmdir")]
pub fn path_rmdir(ctx: LsmContext) -> i32 {
    name(ctx.arg(2), ctx.arg(1), Action::Delete)
}

#[inline(always)]
fn name(earlier: i32, dentry: *const c_void, action: Action) -> i32 {
    if earlier != 0 {
        return earlier;
    }
    let Some(member) = actor() else {
        return verdict::lsm(true);
    };
    verdict::lsm(judge::path(member, Dentry::given(dentry), Uses::of(action)))
}

/// `security_path_link(struct dentry *, const struct path *, struct dentry *)`.
#[lsm(hook = "path_link")]
pub fn path_link(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(3);
    if earlier != 0 {
        return earlier;
    }
    let Some(member) = actor() else {
        return verdict::lsm(true);
    };
    let old = Dentry::given(ctx.arg(0));
    let new = Dentry::given(ctx.arg(2));
    let allowed = judge::path(member, old, Uses::of(Action::Link))
        && judge::path(member, new, Uses::of(Action::Create));
    verdict::lsm(allowed)
}

/// `security_path_rename(const struct path *, struct dentry *, const struct path *, struct dentry *)`;
/// since 5.19 with flags. The old name and the new are both renamed, an exchange included; a name
/// that nothing had comes into being as well.
#[lsm(hook = "path_rename")]
pub fn path_rename(ctx: LsmContext) -> i32 {
    let Some(member) = actor() else {
        return verdict::lsm(true);
    };
    let old = Dentry::given(ctx.arg(1));
    let new = Dentry::given(ctx.arg(3));
    let created =
        Uses::when(u64::from(!new.exists()), Action::Create).and(Uses::of(Action::Rename));
    let allowed =
        judge::path(member, old, Uses::of(Action::Rename)) && judge::path(member, new, created);
    verdict::lsm(allowed)
}

/// `security_mmap_file(struct file *, unsigned long reqprot, unsigned long prot, unsigned long)`.
#[lsm(hook = "mmap_file")]
pub fn mmap_file(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(4);
    if earlier != 0 {
        return earlier;
    }
    let protection: u64 = ctx.arg(2);
    if protection & EXECUTABLE == 0 {
        return verdict::lsm(true);
    }
    let Some(member) = actor() else {
        return verdict::lsm(true);
    };
    // Without a file it is memory of nobody else's.
    if file::first_argument(ctx.as_ptr()) == 0 {
        return verdict::lsm(true);
    }
    verdict::lsm(map(member, File::given(ctx.arg(0))))
}

/// `security_file_mprotect(struct vm_area_struct *, unsigned long reqprot, unsigned long prot)`.
#[lsm(hook = "file_mprotect")]
pub fn file_mprotect(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(3);
    if earlier != 0 {
        return earlier;
    }
    let protection: u64 = ctx.arg(2);
    if protection & EXECUTABLE == 0 {
        return verdict::lsm(true);
    }
    let Some(member) = actor() else {
        return verdict::lsm(true);
    };
    let area: *const c_void = ctx.arg(0);
    let Some(file) = File::of_area(area) else {
        return verdict::lsm(true);
    };
    verdict::lsm(file::is_code(area) || map(member, file))
}

/// `PROT_EXEC`.
const EXECUTABLE: u64 = 4;

/// A program's own file is mapped by the kernel when it is executed; what that takes is asked there.
#[inline(always)]
fn map(member: Member, file: File) -> bool {
    if file.address().0 == Task::current().executable() {
        return true;
    }
    let Some(dentry) = file.dentry() else {
        return false;
    };
    judge::path(member, dentry, Uses::of(Action::Map))
}
