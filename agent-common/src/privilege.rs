//! What a session may not do, whatever user it runs as, unless its policy names it: acts that reach
//! other processes or the kernel itself, and so round every rule about files, programs and networks.

use crate::wire::wire_enum;

wire_enum! {
    /// One such act, or a capability that stands for many. The number is the bit in a policy's
    /// mask; a capability has the number that the kernel gives it.
    Privilege: u8 {
        /// `CAP_DAC_READ_SEARCH`.
        CapDacReadSearch = 2 => "cap_dac_read_search",
        /// `CAP_LINUX_IMMUTABLE`.
        CapLinuxImmutable = 9 => "cap_linux_immutable",
        /// `CAP_NET_ADMIN`.
        CapNetAdmin = 12 => "cap_net_admin",
        /// `CAP_NET_RAW`.
        CapNetRaw = 13 => "cap_net_raw",
        /// `CAP_SYS_MODULE`.
        CapSysModule = 16 => "cap_sys_module",
        /// `CAP_SYS_RAWIO`.
        CapSysRawio = 17 => "cap_sys_rawio",
        /// `CAP_SYS_CHROOT`.
        CapSysChroot = 18 => "cap_sys_chroot",
        /// `CAP_SYS_PTRACE`.
        CapSysPtrace = 19 => "cap_sys_ptrace",
        /// `CAP_SYS_PACCT`.
        CapSysPacct = 20 => "cap_sys_pacct",
        /// `CAP_SYS_ADMIN`.
        CapSysAdmin = 21 => "cap_sys_admin",
        /// `CAP_SYS_BOOT`.
        CapSysBoot = 22 => "cap_sys_boot",
        /// `CAP_SYS_NICE`.
        CapSysNice = 23 => "cap_sys_nice",
        /// `CAP_SYS_TIME`.
        CapSysTime = 25 => "cap_sys_time",
        /// `CAP_MKNOD`.
        CapMknod = 27 => "cap_mknod",
        /// `CAP_AUDIT_CONTROL`.
        CapAuditControl = 30 => "cap_audit_control",
        /// `CAP_MAC_OVERRIDE`.
        CapMacOverride = 32 => "cap_mac_override",
        /// `CAP_MAC_ADMIN`.
        CapMacAdmin = 33 => "cap_mac_admin",
        /// `CAP_SYSLOG`.
        CapSyslog = 34 => "cap_syslog",
        /// `CAP_AUDIT_READ`.
        CapAuditRead = 37 => "cap_audit_read",
        /// `CAP_PERFMON`.
        CapPerfmon = 38 => "cap_perfmon",
        /// `CAP_BPF`.
        CapBpf = 39 => "cap_bpf",
        /// `CAP_CHECKPOINT_RESTORE`.
        CapCheckpointRestore = 40 => "cap_checkpoint_restore",
        /// Processes outside the session are looked into or changed.
        Ptrace = 44 => "ptrace",
        /// Processes outside the session get signals or other limits.
        Signal = 45 => "signal",
        /// File systems, or parts of one, are mounted, moved, doubled or taken away.
        Mount = 46 => "mount",
        /// User namespaces are made.
        Userns = 47 => "userns",
        /// `bpf()` is called.
        Bpf = 48 => "bpf",
        /// The kernel loads a module.
        Module = 49 => "module",
        /// Cgroups are changed.
        Cgroup = 50 => "cgroup",
        /// The kernel's own file systems are written to.
        KernelKnobs = 51 => "kernel-knobs",
        /// Performance events are opened.
        Perf = 52 => "perf",
        /// `io_uring` acts from a thread of its own or for somebody else.
        Uring = 53 => "uring",
        /// Disks are opened.
        Disk = 54 => "disk",
        /// A terminal is typed into.
        Terminal = 55 => "terminal",
        /// Memory becomes code.
        Jit = 56 => "jit",
        /// ICMP echoes are sent, to anybody.
        Ping = 57 => "ping",
        /// TCP goes by several ways at once.
        Mptcp = 58 => "mptcp",
        /// The kernel is talked to beyond asking for addresses and routes.
        Netlink = 59 => "netlink",
        /// The hypervisor and other virtual machines are talked to.
        Vsock = 60 => "vsock",
        /// Sockets of every other kind are made.
        Sockets = 61 => "sockets",
        /// Shared memory, messages and semaphores of System V that others have made are used.
        Ipc = 62 => "ipc",
    }
}

/// The first number that is no capability's.
const FIRST_ACT: u8 = 44;

impl Privilege {
    /// Its bit in a mask.
    #[inline(always)]
    pub const fn bit(self) -> u64 {
        1 << (self as u8 & 63)
    }

    /// The privileges that are capabilities.
    pub const CAPABILITIES: u64 = {
        let mut mask = 0;
        let mut i = 0;
        while i < Self::ALL.len() {
            if Self::ALL[i].is_capability() {
                mask |= Self::ALL[i].bit();
            }
            i += 1;
        }
        mask
    };

    /// Whether it is a capability.
    pub const fn is_capability(self) -> bool {
        (self as u8) < FIRST_ACT
    }

    /// Whether a privilege, given by its number, is a property of one program and reaches nothing
    /// else: then the innermost tool alone has it or has it not.
    #[inline(always)]
    pub const fn is_of_program(number: u8) -> bool {
        number == Self::Jit as u8
    }

    /// Whether it is a kind of socket that is asked for, which a denial of it then names.
    pub const fn is_of_sockets(self) -> bool {
        matches!(
            self,
            Self::CapNetRaw
                | Self::Ping
                | Self::Mptcp
                | Self::Netlink
                | Self::Vsock
                | Self::Sockets
        )
    }

    /// The privileges of a mask, in the order of their numbers.
    pub fn of_mask(mask: u64) -> impl Iterator<Item = Self> {
        Self::ALL
            .iter()
            .copied()
            .filter(move |privilege| mask & privilege.bit() != 0)
    }

    /// What a session may do with it, in words that follow "may".
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::CapDacReadSearch => "open files by handle, past every folder",
            Self::CapLinuxImmutable => "make files immutable, and mutable again",
            Self::CapNetAdmin => "change interfaces, routes and packet filters",
            Self::CapNetRaw => "use raw and packet sockets",
            Self::CapSysModule => "load kernel modules",
            Self::CapSysRawio => "reach ports, physical memory and devices directly",
            Self::CapSysChroot => "change its root folder",
            Self::CapSysPtrace => "look into processes of other users",
            Self::CapSysPacct => "switch process accounting",
            Self::CapSysAdmin => {
                "mount, enter namespaces, clone mounts, and much else of the system's"
            }
            Self::CapSysBoot => "reboot the machine, or load another kernel",
            Self::CapSysNice => "go before every other process, the daemon among them",
            Self::CapSysTime => "set the clock",
            Self::CapMknod => "make device files",
            Self::CapAuditControl => "change what the kernel audits",
            Self::CapMacOverride => "pass over other security modules",
            Self::CapMacAdmin => "change the policies of other security modules",
            Self::CapSyslog => "read the kernel's log and addresses",
            Self::CapAuditRead => "read the kernel's audit log",
            Self::CapPerfmon => "observe the whole system's performance",
            Self::CapBpf => "load BPF programs",
            Self::CapCheckpointRestore => "choose process ids and open mapped files",
            Self::Ptrace => "look into, and change, processes outside the session",
            Self::Signal => "signal processes outside the session, and change their limits",
            Self::Mount => "mount, move and unmount file systems, and make snapshots of btrfs",
            Self::Userns => "make user namespaces",
            Self::Bpf => "call bpf(), and change what is pinned",
            Self::Module => "have the kernel load modules that it asks for",
            Self::Cgroup => "change cgroups, and move to another",
            Self::KernelKnobs => "write to /proc, /sys and the kernel's other file systems",
            Self::Perf => "open performance events",
            Self::Uring => "have io_uring poll from a thread, act for others, and command devices",
            Self::Disk => "open disks, past every file system",
            Self::Terminal => "type into its terminal for whoever reads it next",
            Self::Jit => "run code that it has written into memory, as just-in-time compilers do",
            Self::Ping => "send ICMP echoes to any address",
            Self::Mptcp => "use Multipath TCP, whose further paths no rule is asked about",
            Self::Netlink => "talk to the kernel by netlink, beyond addresses and routes",
            Self::Vsock => "have sockets to the hypervisor and to other virtual machines",
            Self::Sockets => "have sockets of every other family and protocol (SCTP, AF_ALG, ...)",
            Self::Ipc => "use the shared memory, messages and semaphores of System V of others",
        }
    }

    /// Whether a session that has it, and runs as root, can take its own enforcement away.
    pub const fn undoes_enforcement(self) -> bool {
        matches!(
            self,
            Self::Ptrace
                | Self::Bpf
                | Self::KernelKnobs
                | Self::Disk
                | Self::CapSysAdmin
                | Self::CapSysModule
                | Self::CapSysRawio
                | Self::CapSysBoot
                | Self::CapMknod
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_has_the_kernels_number_and_no_act_has_one() {
        assert_eq!(Privilege::CapSysAdmin.bit(), 1 << 21);
        assert_eq!(Privilege::CAPABILITIES >> 41, 0);
        for privilege in Privilege::ALL {
            let named = privilege.word().starts_with("cap_");
            assert_eq!(privilege.is_capability(), named, "{privilege}");
        }
    }

    #[test]
    fn a_mask_names_its_privileges() {
        let mask = Privilege::Signal.bit() | Privilege::CapNetRaw.bit();
        let words: [&str; 2] = ["cap_net_raw", "signal"];
        assert!(Privilege::of_mask(mask).map(Privilege::word).eq(words));
    }
}
