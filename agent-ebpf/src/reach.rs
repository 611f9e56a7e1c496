//! Reaching other processes: looking into them, changing them, signalling them. Within a session
//! everything goes; an outsider that reaches into a session is nobody's business here.

use crate::kernel::file::File;
use crate::kernel::inode::Inode;
use crate::kernel::member::Member;
use crate::kernel::memory::{Address, is_null};
use crate::kernel::task::Task;
use crate::kernel::verdict;
use crate::privilege::{Act, allows, is_daemon, judge, member};
use agent_common::privilege::Privilege;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use core::ffi::c_void;

/// `PTRACE_MODE_NOAUDIT`: a list of processes is made, and what may not be seen is left out.
const QUIET: u32 = 4;

/// `F_SETOWN` and `F_SETOWN_EX`, `FIOSETOWN` and `SIOCSPGRP`: whom the kernel signals when a file
/// is ready.
const SET_OWNER: [u32; 4] = [8, 15, 0x8901, 0x8902];

/// `F_SETFL` with `O_ASYNC`, `F_SETSIG`, and `FIOASYNC`: that the kernel signals, and how. A terminal signals those
/// before it, whoever asked.
const SET_FLAGS: u32 = 4;
const ASYNC: u64 = 0o20000;
const SET_SIGNAL: u32 = 10;
const SIGNAL_WHEN_READY: u32 = 0x5452;

/// `BTRFS_IOC_SNAP_CREATE`, `BTRFS_IOC_SUBVOL_CREATE`, `BTRFS_IOC_SNAP_DESTROY`, and the second versions of the
/// three: a whole tree of files gets other names, or loses them, and no hook for names is asked.
const TREES: [u32; 6] = [
    0x5000_9401,
    0x5000_940e,
    0x5000_940f,
    0x5000_9417,
    0x5000_9418,
    0x5000_943f,
];

/// `TIOCSTI` and `TIOCLINUX`: what is put into a terminal is read by whoever reads next, and that
/// may be the shell around the session.
const TYPE_INTO: [u32; 2] = [0x5412, 0x541c];

/// `RLIMIT_RTPRIO`: who has any needs no capability to go before everybody else.
const REAL_TIME: u32 = 14;

/// Whether the running task may reach a task that the hook was given.
#[inline(always)]
fn reach(earlier: i32, task: *const c_void, privilege: Privilege, is_probe: bool) -> i32 {
    let member = match member(earlier) {
        Ok(member) => member,
        Err(answer) => return answer,
    };
    let (label, task) = (member.label(), Task::given(task));
    let other = task.member().map(Member::label);
    if other.is_some_and(|other| other.session == label.session) {
        return verdict::lsm(true);
    }
    let act = Act {
        privilege: privilege.wire(),
        target: task.tgid(),
        is_probe,
    };
    judge(member, act)
}

/// `security_ptrace_access_check(struct task_struct *, unsigned int mode)`: ptrace, process_vm,
/// pidfd_getfd, kcmp, and what /proc shows of a process's memory, files and surroundings.
#[lsm(hook = "ptrace_access_check")]
pub fn ptrace_access(ctx: LsmContext) -> i32 {
    let mode: u32 = ctx.arg(1);
    reach(ctx.arg(2), ctx.arg(0), Privilege::Ptrace, mode & QUIET != 0)
}

/// `security_ptrace_traceme(struct task_struct *parent)`.
#[lsm(hook = "ptrace_traceme")]
pub fn ptrace_traceme(ctx: LsmContext) -> i32 {
    reach(ctx.arg(1), ctx.arg(0), Privilege::Ptrace, false)
}

/// `security_task_kill(struct task_struct *, struct kernel_siginfo *, int, const struct cred *)`.
/// What the kernel sends by itself does not come here. With credentials it is sent for somebody
/// who is not running: for a USB device, to who asked for it.
#[lsm(hook = "task_kill")]
pub fn task_kill(ctx: LsmContext) -> i32 {
    // Asked first: 6.18's verifier does not follow an answer that is loaded after the other look.
    let earlier: i32 = ctx.arg(4);
    if earlier != 0 {
        return earlier;
    }
    let for_another: u64 = ctx.arg(3);
    if !is_null(for_another) {
        return verdict::lsm(true);
    }
    reach(earlier, ctx.arg(0), Privilege::Signal, false)
}

/// `security_task_setnice(struct task_struct *, int)`.
#[lsm(hook = "task_setnice")]
pub fn task_setnice(ctx: LsmContext) -> i32 {
    reach(ctx.arg(2), ctx.arg(0), Privilege::Signal, false)
}

/// `security_task_setioprio(struct task_struct *, int)`.
#[lsm(hook = "task_setioprio")]
pub fn task_setioprio(ctx: LsmContext) -> i32 {
    reach(ctx.arg(2), ctx.arg(0), Privilege::Signal, false)
}

/// `security_task_setscheduler(struct task_struct *)`.
#[lsm(hook = "task_setscheduler")]
pub fn task_setscheduler(ctx: LsmContext) -> i32 {
    reach(ctx.arg(1), ctx.arg(0), Privilege::Signal, false)
}

/// `security_task_setrlimit(struct task_struct *, unsigned int, struct rlimit *)`.
#[lsm(hook = "task_setrlimit")]
pub fn task_setrlimit(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(3);
    let resource: u32 = ctx.arg(1);
    if resource == REAL_TIME
        && Address(ctx.arg(2)).value() != Some([0u64; 2])
        && let Ok(member) = member(earlier)
        && !allows(member, Act::of(Privilege::CapSysNice))
    {
        return verdict::lsm(false);
    }
    reach(earlier, ctx.arg(0), Privilege::Signal, false)
}

/// `security_task_movememory(struct task_struct *)`.
#[lsm(hook = "task_movememory")]
pub fn task_movememory(ctx: LsmContext) -> i32 {
    reach(ctx.arg(1), ctx.arg(0), Privilege::Signal, false)
}

/// `security_file_fcntl(struct file *, unsigned int cmd, unsigned long arg)`: a file's owner is
/// signalled by the kernel, with any signal, when nobody can tell any more who asked for it.
#[lsm(hook = "file_fcntl")]
pub fn file_fcntl(ctx: LsmContext) -> i32 {
    let member = match member(ctx.arg(3)) {
        Ok(member) => member,
        Err(answer) => return answer,
    };
    let command: u32 = ctx.arg(1);
    let argument: u64 = ctx.arg(2);
    let signals = command == SET_SIGNAL || command == SET_FLAGS && argument & ASYNC != 0;
    if signals && is_device(ctx.arg(0)) {
        return judge(member, Act::of(Privilege::Signal));
    }
    if command != SET_OWNER[0] && command != SET_OWNER[1] {
        return verdict::lsm(true);
    }
    let owner = argument as u32;
    let to_itself = owner == 0 || owner == Task::current().tgid();
    if command == SET_OWNER[0] && to_itself {
        return verdict::lsm(true);
    }
    // A group of processes has the number of the one that leads it.
    let target = if command == SET_OWNER[0] {
        (owner as i32).unsigned_abs()
    } else {
        0
    };
    judge(
        member,
        Act {
            target,
            ..Act::of(Privilege::Signal)
        },
    )
}

/// `security_file_send_sigiotask(struct task_struct *, struct fown_struct *, int)`: what the kernel sends
/// for a file, when nobody can tell any more who asked for it. The daemon wants none of it.
#[lsm(hook = "file_send_sigiotask")]
pub fn file_signal(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(3);
    if earlier != 0 {
        return earlier;
    }
    verdict::lsm(!is_daemon(Task::given(ctx.arg(0))))
}

/// `security_file_ioctl(struct file *, unsigned int cmd, unsigned long arg)`.
#[lsm(hook = "file_ioctl")]
pub fn file_ioctl(ctx: LsmContext) -> i32 {
    ioctl(&ctx)
}

/// The same from a 32-bit program, from 6.8 and where it was carried back.
#[lsm(hook = "file_ioctl_compat")]
pub fn file_ioctl_compat(ctx: LsmContext) -> i32 {
    ioctl(&ctx)
}

/// Whether a file may be a terminal.
#[inline(always)]
fn is_device(file: *const c_void) -> bool {
    let inode = File::given(file).inode();
    inode.is_none_or(Inode::is_character_device)
}

#[inline(always)]
fn ioctl(ctx: &LsmContext) -> i32 {
    let member = match member(ctx.arg(3)) {
        Ok(member) => member,
        Err(answer) => return answer,
    };
    let command: u32 = ctx.arg(1);
    if command == SET_OWNER[2] || command == SET_OWNER[3] {
        return judge(member, Act::of(Privilege::Signal));
    }
    if command == SIGNAL_WHEN_READY && is_device(ctx.arg(0)) {
        return judge(member, Act::of(Privilege::Signal));
    }
    if TREES.contains(&command) {
        return judge(member, Act::of(Privilege::Mount));
    }
    if command == TYPE_INTO[0] || command == TYPE_INTO[1] {
        return judge(member, Act::of(Privilege::Terminal));
    }
    verdict::lsm(true)
}
