//! The machine: who we are, what is mounted, what the kernel says of itself.

use super::check::{Check, Group, State, Weight};
use crate::cgroups;
use crate::chain::chain;
use crate::kernel::btf::{Btf, BtfError, Kind};
use crate::kernel::{offsets, pins, processor};
use crate::netns;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::unistd::AccessFlags;
use procfs::process::Process;
use procfs::sys::kernel::Version;
use std::fs;

const LSM_LIST: &str = "/sys/kernel/security/lsm";
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";
const SECURITYFS: &str = "mount securityfs: mount -t securityfs securityfs /sys/kernel/security";

/// The running kernel.
pub(super) fn release() -> String {
    crate::kernel::release().unwrap_or_else(|| "unknown".to_owned())
}

pub(super) fn root(is_root: bool) -> Check {
    let check = Check::ok(
        Group::Host,
        "root",
        "load kernel programs, and try them here",
        "this is root",
    );
    if is_root {
        return check;
    }
    let user = nix::unistd::geteuid();
    check
        .missing(format!(
            "this is user {user}, so no kernel program was tried"
        ))
        .remedy("run it as root: sudo interlock doctor")
}

/// `CAP_SYS_ADMIN` includes the three that 5.8 split off, and either is enough.
pub(super) fn capabilities() -> Check {
    const SYS_ADMIN: u32 = 21;
    const SPLIT_OFF: [(&str, u32); 3] =
        [("CAP_BPF", 39), ("CAP_PERFMON", 38), ("CAP_NET_ADMIN", 12)];
    let check = Check::ok(
        Group::Host,
        "capabilities",
        "load and attach kernel programs",
        "",
    );
    let held = match Process::myself().and_then(|process| process.status()) {
        Ok(status) => status.capeff,
        Err(error) => return check.unknown(format!("cannot read /proc/self/status: {error}")),
    };
    let lacking: Vec<&str> = SPLIT_OFF
        .iter()
        .filter(|(_, bit)| held & (1 << bit) == 0)
        .map(|(name, _)| *name)
        .collect();
    let has_sys_admin = held & (1 << SYS_ADMIN) != 0;
    let found = match (has_sys_admin, lacking.is_empty()) {
        (true, _) => "CAP_SYS_ADMIN, which includes CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN".into(),
        (false, true) => "CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN".into(),
        (false, false) => {
            return check
                .missing(format!("no CAP_SYS_ADMIN, and no {}", lacking.join(", ")))
                .remedy("give the process these capabilities, in a container by securityContext");
        }
    };
    Check { found, ..check }
}

/// Before 5.11 the memory of maps and programs counts against a limit, which root can lift. It is
/// lifted for this process, as the daemon does for itself, so that the trials tell the truth.
pub(super) fn memory_limit(is_root: bool) -> Option<Check> {
    let version = Version::current().ok()?;
    if (version.major, version.minor) >= (5, 11) {
        return None;
    }
    let check = Check::ok(
        Group::Host,
        "memory-limit",
        "memory for maps, which counts as locked before 5.11",
        "",
    );
    let (soft, hard) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
    if soft == RLIM_INFINITY {
        return Some(Check {
            found: "unlimited".to_owned(),
            ..check
        });
    }
    if is_root && setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).is_ok() {
        return Some(Check {
            found: format!("{soft} bytes, can be lifted"),
            ..check
        });
    }
    Some(
        check
            .missing(format!("{soft} bytes, can be raised to {hard} only"))
            .remedy("lift it: `ulimit -l unlimited`, or LimitMEMLOCK=infinity in the systemd unit"),
    )
}

/// Whether an action can wait for a person in the middle of its system call: it must be known which call
/// that is (`bpf_task_pt_regs`, since 5.15).
pub(super) fn hold(btf: &Result<Btf, BtfError>) -> Check {
    let check = Check::ok(
        Group::Host,
        "hold",
        "let an action wait for a person's yes in the middle of its system call",
        "a call that was entered by the process itself begins anew after the answer",
    )
    .weighing(Weight::Informing)
    .without("what needs an approval is denied as \"approval pending\", and passes when it is tried again after the yes; programs that need one are not run");
    match btf {
        Ok(btf) if btf.find(Kind::Function, "bpf_task_pt_regs").is_some() => check.settled(),
        Ok(_) => check
            .missing("this kernel does not say in which system call a process is")
            .remedy("use a kernel since 5.15"),
        Err(error) => check.unknown(chain(error)),
    }
}

pub(super) fn fields(btf: &Result<Btf, BtfError>) -> Check {
    let check = Check::ok(
        Group::Host,
        "kernel-types",
        "find the kernel's functions and the fields of its structs (BTF)",
        "",
    );
    let resolved = match btf {
        Ok(btf) => offsets::resolve(btf, processor::HERE),
        Err(error) => {
            return check
                .missing(chain(error))
                .remedy("use a kernel built with CONFIG_DEBUG_INFO_BTF=y");
        }
    };
    match resolved {
        Ok(fields) => Check {
            found: format!("all {} fields found", fields.len()),
            ..check
        },
        Err(error) => check
            .missing(chain(&error))
            .remedy("this version of Interlock does not know this kernel: use another of either"),
    }
}

/// In confidentiality mode the kernel takes away the helper by which programs read its memory.
pub(super) fn lockdown() -> Option<Check> {
    let text = fs::read_to_string(LOCKDOWN).ok()?;
    let mode = text.split(['[', ']']).nth(1)?;
    let check = Check::ok(
        Group::Host,
        "lockdown",
        "read the kernel's own copies of what is judged",
        format!("lockdown={mode}"),
    );
    Some(if mode == "confidentiality" {
        check
            .missing("lockdown=confidentiality, in which no program may read the kernel's memory")
            .remedy("start the kernel with lockdown=integrity")
    } else {
        check
    })
}

/// The LSMs that the kernel asks.
#[derive(Debug)]
pub(super) struct LsmList(Result<String, std::io::Error>);

pub(super) fn lsm_list() -> LsmList {
    LsmList(fs::read_to_string(LSM_LIST).map(|list| list.trim().to_owned()))
}

impl LsmList {
    pub(super) fn has_bpf(&self) -> bool {
        matches!(&self.0, Ok(list) if list.split(',').any(|name| name == "bpf"))
    }

    /// How to have the kernel ask BPF as well.
    pub(super) fn remedy(&self) -> String {
        match &self.0 {
            Ok(list) if self.has_bpf() => format!("the list has bpf already: {list}"),
            Ok(list) => kernel_parameter(list),
            Err(_) => SECURITYFS.to_owned(),
        }
    }

    pub(super) fn check(&self) -> Check {
        let check = Check::ok(
            Group::Host,
            "lsm-list",
            "have the kernel ask LSM programs",
            "",
        )
        .weighing(Weight::Degrading);
        match &self.0 {
            Ok(list) if self.has_bpf() => Check {
                found: list.clone(),
                ..check
            },
            Ok(list) => check
                .missing(format!("{list}: no bpf"))
                .remedy(self.remedy()),
            Err(error) => check
                .missing(format!("cannot read {LSM_LIST}: {error}"))
                .without("the daemon does not use LSM programs that it cannot rely on")
                .remedy(self.remedy()),
        }
    }
}

/// The kernel takes the list as it is given, so what is active now must stay in it.
pub(super) fn kernel_parameter(list: &str) -> String {
    format!(
        "start the kernel with the parameter lsm={list},bpf (Debian, Ubuntu: append it to \
         GRUB_CMDLINE_LINUX in /etc/default/grub, run update-grub, reboot)"
    )
}

pub(super) fn cgroup() -> Check {
    let check = Check::ok(Group::Host, "cgroup-v2", "attach the cgroup programs", "");
    match cgroups::find() {
        Some(place) => Check {
            found: format!("mounted at {}", place.display()),
            ..check
        },
        None => check
            .missing(format!("no cgroup v2 at {}", cgroups::PLACES.join(" or ")))
            .remedy(
                "start the kernel with systemd.unified_cgroup_hierarchy=1, or without systemd: \
                 mount -t cgroup2 none /sys/fs/cgroup",
            ),
    }
}

/// A runtime may make its containers' cgroups in the hierarchies of version 1 alone, and then nobody sees them.
pub(super) fn cgroup_v1() -> Option<Check> {
    let place = cgroups::of_version_1().first()?;
    let check = Check::ok(
        Group::Host,
        "cgroup-v1",
        "recognise every container by its cgroup",
        "",
    );
    Some(
        check
            .weighing(Weight::Informing)
            .missing(format!("version 1 is in use too, at {}", place.display()))
            .without("a container whose runtime makes its cgroups of version 1 alone is not recognised, and status says so; all else is as with version 2")
            .remedy("let runtimes use systemd's cgroup driver, or start the kernel with systemd.unified_cgroup_hierarchy=1"),
    )
}

pub(super) fn bpffs() -> Check {
    let place = pins::BPFFS;
    let check = Check::ok(
        Group::Host,
        "bpffs",
        "pin programs and maps, so that they outlive the daemon",
        format!("mounted at {place}, writable"),
    );
    if !is_mounted(place, "bpf") {
        return check
            .missing(format!("no bpf file system at {place}"))
            .remedy(format!("mount it: mount -t bpf bpf {place}"));
    }
    match nix::unistd::access(place, AccessFlags::W_OK) {
        Ok(()) => check,
        Err(error) => check
            .missing(format!("mounted at {place}, not writable: {error}"))
            .remedy(format!("mount it writable: mount -o remount,rw {place}")),
    }
}

/// Whether the kernel tells network namespaces apart to user space, too (`SO_NETNS_COOKIE`, since 5.14).
pub(super) fn namespaces() -> Check {
    let check = Check::ok(
        Group::Host,
        "network-namespaces",
        "look names up and relay connections in network namespaces of their own, as pods have them",
        "the kernel tells which is which",
    )
    .weighing(Weight::Informing)
    .without(
        "there, lookups of names and connections that must be relayed are denied; rules for addresses hold \
         as elsewhere",
    );
    match netns::cookie() {
        Ok(_) => check.settled(),
        Err(error) => check
            .missing(format!("the kernel does not tell which is which: {error}"))
            .remedy("use a kernel since 5.14"),
    }
}

/// Tried on a connection of our own, over loopback.
pub(super) fn sockets() -> Check {
    let check = Check::ok(
        Group::Host,
        "sock-diag",
        "list the connections of sessions, and cut those of revoked ones",
        "tried",
    )
    .weighing(Weight::Informing);
    match crate::sockets::try_out() {
        Ok(()) => check,
        Err(error) => check
            .missing(chain(&error))
            .without(
                "a revoked session's connections are silent both ways, and end with its processes; \
                 their peers are not told",
            )
            .remedy(
                "load the module tcp_diag; the kernel needs CONFIG_INET_DIAG_DESTROY, which the \
                 kernels of distributions have",
            ),
    }
}

fn is_mounted(place: &str, sort: &str) -> bool {
    // The last mount at a place hides the others.
    Process::myself()
        .and_then(|process| process.mountinfo())
        .is_ok_and(|mounts| {
            mounts
                .into_iter()
                .rfind(|mount| mount.mount_point.as_os_str() == place)
                .is_some_and(|mount| mount.fs_type == sort)
        })
}

impl State {
    pub(super) fn is_ok(self) -> bool {
        self == State::Ok
    }
}
