//! What a session does with files. A file is judged by its path inside its own file system, when
//! it is opened and whenever a name or an attribute changes.

use crate::kernel::argument::shifted;
use crate::kernel::file::{self, Dentry, File};
use crate::kernel::inode::Inode;
use crate::kernel::member::Member;
use crate::kernel::offsets::{
    REMOVEXATTR_DENTRY, RENAME_HAS_FLAGS, SETATTR_DENTRY, SETXATTR_DENTRY,
};
use crate::kernel::task::Task;
use crate::kernel::{path, state, verdict};
use crate::paths::{self, Uses};
use crate::privilege::{self, Act};
use crate::special;
use crate::unix;
use agent_common::action::Action;
use agent_common::privilege::Privilege;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use aya_ebpf::{EbpfContext as _, Global};
use core::ffi::c_void;

/// The running task if it is a member, and acts by its own will.
#[inline(always)]
fn actor() -> Option<Member> {
    let task = Task::current_if_marked()?;
    acting(task.member()?)
}

/// The same of a member that is known already.
#[inline(always)]
fn acting(member: Member) -> Option<Member> {
    if Task::is_kernel_at_work(member) {
        return None;
    }
    // One policy for all that the action does to files.
    let _ = state::begin(member);
    Some(member)
}

/// `security_file_open(struct file *)`: every way to open a file, `openat2`, `open_by_handle_at` and
/// io_uring included; not `O_PATH`, which reads and writes nothing. What is no file is asked first,
/// whoever's credentials it is opened with.
#[lsm(hook = "file_open")]
pub fn file_open(ctx: LsmContext) -> i32 {
    let member = match privilege::member(ctx.arg(1)) {
        Ok(member) => member,
        Err(answer) => return answer,
    };
    let file = File::given(ctx.arg(0));
    if !special::allows_open(member, file) {
        return verdict::lsm(false);
    }
    let Some(member) = acting(member) else {
        return verdict::lsm(true);
    };
    verdict::lsm(open(member, file))
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
    paths::judge(member, dentry, uses(file).of_created(file.is_created()))
}

/// What can be done through an open file.
#[inline(always)]
fn uses(file: File) -> Uses {
    Uses::when(file.reads(), Action::Read)
        .and(Uses::when(file.writes(), Action::Write))
        .and(Uses::when(file.is_temporary(), Action::Create))
}

/// `security_file_receive(struct file *)`: a descriptor of somebody else's comes by a socket, or is
/// taken from another process. A socket is judged by whom it reaches; what else has no path is judged
/// elsewhere.
#[lsm(hook = "file_receive")]
pub fn file_receive(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(1);
    if earlier != 0 {
        return earlier;
    }
    let Some(member) = actor() else {
        return verdict::lsm(true);
    };
    let file = File::given(ctx.arg(0));
    if file.inode().is_some_and(Inode::is_socket) {
        return verdict::lsm(unix::may_take(member, file));
    }
    let Some(dentry) = file.dentry() else {
        return verdict::lsm(false);
    };
    verdict::lsm(paths::judge(member, dentry, uses(file).if_it_has_a_path()))
}

/// `security_path_mknod(const struct path *, struct dentry *, umode_t, unsigned int)`: regular files
/// are created through it as well.
///
/// `open(O_CREAT)` comes here before the kernel has looked whether the file is there (`lookup_open`),
/// and heeds the answer only if it is not. So a denial is told only of a name of which the kernel
/// knows; of another it is made to look first.
#[lsm(hook = "path_mknod")]
pub fn path_mknod(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(4);
    if earlier != 0 {
        return earlier;
    }
    let Some(member) = actor() else {
        return verdict::lsm(true);
    };
    let dentry = Dentry::given(ctx.arg(1));
    let create = Uses::of(Action::Create);
    if !dentry.is_known() {
        if paths::judge(member, dentry, create.quietly()) {
            return verdict::lsm(true);
        }
        if path::should_look_first(Task::current()) {
            return verdict::look_first();
        }
    }
    verdict::lsm(paths::judge(member, dentry, create))
}

/// `security_path_mkdir(const struct path *, struct dentry *, umode_t)`.
#[lsm(hook = "path_mkdir")]
pub fn path_mkdir(ctx: LsmContext) -> i32 {
    name(ctx.arg(3), ctx.arg(1), Uses::of(Action::Create))
}

/// `security_path_symlink(const struct path *, struct dentry *, const char *)`. A link where there are
/// rules further down would give others, who follow it, other files than the rules protect.
#[lsm(hook = "path_symlink")]
pub fn path_symlink(ctx: LsmContext) -> i32 {
    let uses = Uses::of(Action::Create).unless_above_rules();
    name(ctx.arg(3), ctx.arg(1), uses)
}

/// `security_path_unlink(const struct path *, struct dentry *)`.
#[lsm(hook = "path_unlink")]
pub fn path_unlink(ctx: LsmContext) -> i32 {
    name(ctx.arg(2), ctx.arg(1), Uses::of(Action::Delete))
}

/// `security_path_rmdir(const struct path *, struct dentry *)`.
#[lsm(hook = "path_rmdir")]
pub fn path_rmdir(ctx: LsmContext) -> i32 {
    name(ctx.arg(2), ctx.arg(1), Uses::of(Action::Delete))
}

#[inline(always)]
fn name(earlier: i32, dentry: *const c_void, uses: Uses) -> i32 {
    if earlier != 0 {
        return earlier;
    }
    let Some(member) = actor() else {
        return verdict::lsm(true);
    };
    verdict::lsm(paths::judge(member, Dentry::given(dentry), uses))
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
    let (link, create) = (Uses::of(Action::Link), Uses::of(Action::Create));
    let allowed = may_begin(member, &ctx, (0, link), (2, create))
        && paths::judge(member, old, link)
        && paths::judge(member, new, create);
    verdict::lsm(allowed)
}

/// `security_path_rename(const struct path *, struct dentry *, const struct path *, struct dentry *)`;
/// since 5.19 with flags. The old name and the new are both renamed, an exchange included; a name
/// that nothing had comes into being as well. A directory with rules further down keeps its name,
/// and gets none that another has: the rules are for what lies there.
#[lsm(hook = "path_rename")]
pub fn path_rename(ctx: LsmContext) -> i32 {
    let earlier = shifted::<4>(&ctx, &RENAME_HAS_FLAGS) as i32;
    if earlier != 0 {
        return earlier;
    }
    let Some(member) = actor() else {
        return verdict::lsm(true);
    };
    let old = Dentry::given(ctx.arg(1));
    let new = Dentry::given(ctx.arg(3));
    let rename = Uses::of(Action::Rename).unless_above_rules();
    let appear = Uses::when(u64::from(!new.exists()), Action::Create)
        .and(Uses::of(Action::Rename))
        .unless_above_rules();
    let allowed = may_begin(member, &ctx, (1, rename), (3, appear))
        && paths::judge(member, old, rename)
        && paths::judge(member, new, appear);
    verdict::lsm(allowed)
}

/// Whether nobody must be asked for one of two names of which both are used: neither takes effect while the
/// other waits. Each by its argument's number.
#[inline(always)]
fn may_begin(member: Member, ctx: &LsmContext, one: (usize, Uses), other: (usize, Uses)) -> bool {
    if !state::has_approvals(member) {
        return true;
    }
    let arguments = file::arguments(ctx.as_ptr());
    paths::try_name(arguments[one.0], one.1) && paths::try_name(arguments[other.0], other.1)
}

/// `security_inode_setattr(struct dentry *, struct iattr *)`: mode, owner, size and times, whatever
/// the system call.
#[lsm(hook = "inode_setattr")]
pub fn inode_setattr(ctx: LsmContext) -> i32 {
    let attributes = shifted::<1>(&ctx, &SETATTR_DENTRY) as *const c_void;
    if !file::is_wanted(attributes) {
        return shifted::<2>(&ctx, &SETATTR_DENTRY) as i32;
    }
    named::<0, 2>(&ctx, &SETATTR_DENTRY, Uses::of(Action::Write))
}

/// A hook whose dentry and earlier verdict stand here, or one further.
#[inline(always)]
fn named<const DENTRY: usize, const EARLIER: usize>(
    ctx: &LsmContext,
    shift: &Global<u32>,
    uses: Uses,
) -> i32 {
    let earlier = shifted::<EARLIER>(ctx, shift) as i32;
    name(
        earlier,
        shifted::<DENTRY>(ctx, shift) as *const c_void,
        uses,
    )
}

/// `security_inode_setxattr(struct dentry *, const char *, const void *, size_t, int)`.
#[lsm(hook = "inode_setxattr")]
pub fn inode_setxattr(ctx: LsmContext) -> i32 {
    named::<0, 5>(&ctx, &SETXATTR_DENTRY, Uses::of(Action::Write))
}

/// `security_inode_removexattr(struct dentry *, const char *)`.
#[lsm(hook = "inode_removexattr")]
pub fn inode_removexattr(ctx: LsmContext) -> i32 {
    named::<0, 2>(&ctx, &REMOVEXATTR_DENTRY, Uses::of(Action::Write))
}

/// `security_inode_set_acl(struct mnt_idmap *, struct dentry *, const char *, struct posix_acl *)`, since
/// 6.2; before, a list was an extended attribute like others.
#[lsm(hook = "inode_set_acl")]
pub fn inode_set_acl(ctx: LsmContext) -> i32 {
    name(ctx.arg(4), ctx.arg(1), Uses::of(Action::Write))
}

/// `security_inode_remove_acl(struct mnt_idmap *, struct dentry *, const char *)`, since 6.2.
#[lsm(hook = "inode_remove_acl")]
pub fn inode_remove_acl(ctx: LsmContext) -> i32 {
    name(ctx.arg(3), ctx.arg(1), Uses::of(Action::Write))
}

/// `security_mmap_file(struct file *, unsigned long reqprot, unsigned long prot, unsigned long)`:
/// what `shmat` maps comes here, too.
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
    // Newer verifiers want the look at the pointer itself, older ones drop it.
    let file: *const c_void = ctx.arg(0);
    if file::first_argument(ctx.as_ptr()) != 0 && !file.is_null() {
        if !map(member, File::given(file)) {
            return verdict::lsm(false);
        }
        if protection & WRITABLE == 0 {
            return verdict::lsm(true);
        }
    }
    privilege::judge(member, Act::of(Privilege::Jit))
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
    if protection & WRITABLE == 0 && file::is_code(area) {
        return verdict::lsm(true);
    }
    if let Some(file) = File::of_area(area) {
        if !file::is_code(area) && !map(member, file) {
            return verdict::lsm(false);
        }
        if protection & WRITABLE == 0 && !file::is_changed(area) {
            return verdict::lsm(true);
        }
    }
    // Code that comes from no file, or not as it is there.
    privilege::judge(member, Act::of(Privilege::Jit))
}

/// `PROT_WRITE`.
const WRITABLE: u64 = 2;
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
    paths::judge(member, dentry, Uses::of(Action::Map))
}
