//! Every act, by the row of the red team's catalogue that it is of.

use super::act::{Act, FOLDER, On, PLAIN};
use crate::harness::kernel;
use crate::sys::entry;

/// An act on a process outside.
const fn process(name: &'static str, act: &'static str, needs: &'static [&'static str]) -> Act {
    Act {
        name,
        act,
        needs,
        on: On::Process,
        by_anybody: true,
        ..PLAIN
    }
}

/// A file of procfs about a process outside.
const fn looked_into(name: &'static str, act: &'static str) -> Act {
    Act {
        denied: "EACCES",
        ..process(name, act, &["ptrace"])
    }
}

/// An act on a path.
const fn path(
    name: &'static str,
    act: &'static str,
    path: &'static str,
    needs: &'static [&'static str],
) -> Act {
    Act {
        name,
        act,
        needs,
        on: On::Path(path),
        ..PLAIN
    }
}

/// An act that needs one capability.
const fn system(name: &'static str, act: &'static str, needs: &'static [&'static str]) -> Act {
    Act {
        name,
        act,
        needs,
        ..PLAIN
    }
}

/// Every act.
pub(super) const ACTS: &[Act] = &[
    process("red.x6.ptrace", "ptrace", &["ptrace"]),
    Act {
        allowed: "EFAULT",
        ..process("red.x6.process_vm_readv", "vm-read", &["ptrace"])
    },
    Act {
        allowed: "EFAULT",
        ..process("red.x6.process_vm_writev", "vm-write", &["ptrace"])
    },
    Act {
        // Which of the two depends on the kernel.
        denied: "EACCES or EPERM",
        ..looked_into("red.x6.proc_mem", "proc-mem")
    },
    process("red.x6.pidfd_getfd", "pidfd-getfd", &["ptrace"]),
    process("red.x6.oom_score", "proc-oom", &["ptrace"]),
    looked_into("red.f12.environ", "proc-environ"),
    looked_into("red.f12.maps", "proc-maps"),
    looked_into("red.f12.fd", "proc-fd"),
    looked_into("red.f12.root", "proc-root"),
    looked_into("red.f12.exe", "proc-exe"),
    process("red.t1.kill", "kill", &["signal"]),
    process("red.t1.kill_0", "kill-0", &["signal"]),
    process("red.t1.tgkill", "tgkill", &["signal"]),
    process("red.t1.sigqueue", "sigqueue", &["signal"]),
    process("red.t1.pidfd_send_signal", "pidfd-signal", &["signal"]),
    process("red.t1.sigio", "sigio", &["signal"]),
    process("red.t1.sigio_ex", "sigio-ex", &["signal"]),
    process("red.t1.sigio_ioctl", "sigio-ioctl", &["signal"]),
    process("red.t1.priority", "priority", &["signal"]),
    process("red.t1.limit", "limit", &["signal"]),
    process("red.t1.cpus", "cpus", &["signal"]),
    Act {
        unless: unless_i386,
        ..process("red.x12.i386_kill", "kill-i386", &["signal"])
    },
    Act {
        unless: unless_x32,
        ..process("red.x12.x32_kill", "kill-x32", &["signal"])
    },
    Act {
        unless: unless_i386,
        ..path(
            "red.x12.i386_open",
            "write-i386",
            "/proc/sys/kernel/core_pattern",
            &["kernel-knobs"],
        )
    },
    path(
        "red.x11.core_pattern",
        "write",
        "/proc/sys/kernel/core_pattern",
        &["kernel-knobs"],
    ),
    path(
        "red.x11.modprobe",
        "write",
        "/proc/sys/kernel/modprobe",
        &["kernel-knobs"],
    ),
    path(
        "red.x11.sysrq",
        "write",
        "/proc/sysrq-trigger",
        &["kernel-knobs"],
    ),
    path(
        "red.x11.sysfs",
        "write",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        &["kernel-knobs"],
    ),
    path(
        "red.f3.bind_mount",
        "mount",
        FOLDER,
        &["mount", "cap_sys_admin"],
    ),
    path(
        "red.f3.move_mount",
        "move-mount",
        FOLDER,
        &["cap_sys_admin", "mount"],
    ),
    Act {
        on: On::Mount,
        ..system("red.f3.umount", "umount", &["cap_sys_admin", "mount"])
    },
    Act {
        on: On::Mount,
        ..system(
            "red.f3.reconfigure",
            "reconfigure",
            &["cap_sys_admin", "mount"],
        )
    },
    Act {
        on: On::Mount,
        ..system("red.f3.remount", "remount", &["mount", "cap_sys_admin"])
    },
    Act {
        allowed: "EINVAL",
        ..path(
            "red.f3.pivot_root",
            "pivot-root",
            FOLDER,
            &["cap_sys_admin", "mount"],
        )
    },
    system("red.f3.chroot", "chroot", &["cap_sys_chroot"]),
    Act {
        by_anybody: true,
        unless: unless_userns_hook,
        ..system("red.f3.userns", "userns", &["userns"])
    },
    system("red.p3.mount_namespace", "mountns", &["cap_sys_admin"]),
    system("red.p3.setns", "setns", &["cap_sys_admin"]),
    Act {
        // The folder lies in no btrfs.
        allowed: "ENOTTY",
        by_anybody: true,
        ..path("red.f3.snapshot", "snapshot", FOLDER, &["mount"])
    },
    path("red.f4.open_tree", "clone-tree", "/tmp", &["cap_sys_admin"]),
    Act {
        unless: unless_call_is_known,
        ..path(
            "red.f5.by_handle",
            "by-handle",
            "/etc/passwd",
            &["cap_dac_read_search"],
        )
    },
    path(
        "red.p2.cgroup_move",
        "write",
        "/sys/fs/cgroup/cgroup.procs",
        &["cgroup"],
    ),
    path(
        "red.p2.cgroup_new",
        "folder",
        "/sys/fs/cgroup/interlock-overreach",
        &["cgroup"],
    ),
    system("red.t2.bpf", "bpf-list", &["bpf", "cap_sys_admin"]),
    path("red.t2.bpffs", "folder", "/sys/fs/bpf/overreach", &["bpf"]),
    system("red.e3.clock_settime", "clock", &["cap_sys_time"]),
    system("red.e3.settimeofday", "time-of-day", &["cap_sys_time"]),
    system("red.e3.adjtimex", "clock-adjust", &["cap_sys_time"]),
    Act {
        allowed: "ENOEXEC",
        ..system("privilege.module", "module", &["cap_sys_module"])
    },
    path(
        "privilege.device",
        "device",
        "/tmp/interlock-device",
        &["cap_mknod"],
    ),
    Act {
        on: On::Disk,
        ..system("privilege.disk", "read", &["disk"])
    },
    system("privilege.perf", "perf", &["perf"]),
    Act {
        unless: unless_ports,
        ..system("privilege.ports", "ports", &["cap_sys_rawio"])
    },
    system("privilege.reboot", "ctrl-alt-delete", &["cap_sys_boot"]),
    system("privilege.syslog", "console-level", &["cap_syslog"]),
    system("privilege.accounting", "accounting", &["cap_sys_pacct"]),
    Act {
        unless: unless_asked_early,
        ..system("privilege.real_time", "real-time", &["cap_sys_nice"])
    },
    system(
        "privilege.real_time_limit",
        "real-time-limit",
        &["cap_sys_nice"],
    ),
    system("privilege.host_name", "host-name", &["cap_sys_admin"]),
    Act {
        by_anybody: true,
        ..system("red.t1.terminal_signal", "terminal-signal", &["signal"])
    },
    Act {
        by_anybody: true,
        ..system("red.t1.terminal_async", "terminal-async", &["signal"])
    },
    Act {
        by_anybody: true,
        ..system(
            "red.t1.terminal_async_ioctl",
            "terminal-async-ioctl",
            &["signal"],
        )
    },
    Act {
        by_anybody: true,
        ..system("privilege.terminal", "terminal", &["terminal"])
    },
    Act {
        by_anybody: true,
        unless: unless_uring_hooks,
        ..system("privilege.uring_poll", "uring-poll", &["uring"])
    },
    Act {
        by_anybody: true,
        unless: unless_uring_hooks,
        ..system("privilege.uring_as_another", "uring-as-another", &["uring"])
    },
];

/// Whether an i386 program's way into the kernel is there.
pub(super) fn unless_i386() -> Option<String> {
    kernel::unless_with_bpf_lsm().or_else(|| match entry::has_i386() {
        Ok(true) => None,
        Ok(false) => Some("this kernel does not take i386 calls".to_owned()),
        Err(error) => Some(format!("cannot try an i386 call: {error}")),
    })
}

fn unless_ports() -> Option<String> {
    let lacks = !cfg!(target_arch = "x86_64");
    let lacks = lacks.then(|| "this processor has no I/O ports".to_owned());
    kernel::unless_with_bpf_lsm().or(lacks)
}

fn unless_x32() -> Option<String> {
    kernel::unless_with_bpf_lsm().or_else(|| {
        let own = i32::try_from(std::process::id()).ok()?;
        entry::kill_x32(own, 0)
            .err()
            .map(|error| format!("this kernel does not take x32 calls: {error}"))
    })
}

fn unless_userns_hook() -> Option<String> {
    kernel::unless_with_bpf_lsm()
        .or_else(|| kernel::before(6, 1).then(|| "no hook for user namespaces before 6.1".into()))
}

fn unless_uring_hooks() -> Option<String> {
    kernel::unless_with_bpf_lsm()
        .or_else(|| kernel::before(5, 16).then(|| "no hooks for io_uring before 5.16".into()))
}

/// Without the number of the system call the denial is counted and not told.
fn unless_call_is_known() -> Option<String> {
    kernel::unless_with_bpf_lsm()
        .or_else(|| kernel::before(5, 15).then(|| "the call is not known before 5.15".into()))
}

/// Before 6.0 the kernel asks for this capability whatever is set, and a denial is none worth telling.
fn unless_asked_early() -> Option<String> {
    kernel::unless_with_bpf_lsm().or_else(|| {
        kernel::before(6, 0).then(|| "its denial is counted as a probe, and not told".to_owned())
    })
}
