//! What changes the whole system. Every call sets what is there already, or asks for nothing.

use super::{check, check_long};
use std::ffi::CString;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

fn text(word: &str) -> CString {
    CString::new(word).expect("no zero byte in a path")
}

fn owned(returned: libc::c_long) -> io::Result<OwnedFd> {
    let fd = i32::try_from(check_long(returned)?).expect("a descriptor is an int");
    // SAFETY: the kernel has just made this descriptor, and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `umount2(2)`.
pub(crate) fn umount(target: &str) -> io::Result<()> {
    let target = text(target);
    // SAFETY: the string is terminated and lives past the call.
    check(unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) }).map(drop)
}

/// `pivot_root(2)`.
pub(crate) fn pivot_root(new: &str, old: &str) -> io::Result<()> {
    let (new, old) = (text(new), text(old));
    // SAFETY: the strings are terminated and live past the call.
    check_long(unsafe { libc::syscall(libc::SYS_pivot_root, new.as_ptr(), old.as_ptr()) }).map(drop)
}

/// `chroot(2)`.
pub(crate) fn chroot(to: &str) -> io::Result<()> {
    let to = text(to);
    // SAFETY: the string is terminated and lives past the call.
    check(unsafe { libc::chroot(to.as_ptr()) }).map(drop)
}

/// `open_tree(2)` with `OPEN_TREE_CLONE`: a copy of a mount that nothing sees.
pub(crate) fn clone_tree(of: &str) -> io::Result<OwnedFd> {
    const OPEN_TREE_CLONE: u32 = 1;
    let of = text(of);
    // SAFETY: the string is terminated and lives past the call.
    owned(unsafe {
        libc::syscall(
            libc::SYS_open_tree,
            libc::AT_FDCWD,
            of.as_ptr(),
            OPEN_TREE_CLONE,
        )
    })
}

/// `move_mount(2)` of a copy onto a folder.
pub(crate) fn place_tree(tree: &OwnedFd, at: &str) -> io::Result<()> {
    const F_EMPTY_PATH: u32 = 4;
    let (empty, at) = (text(""), text(at));
    // SAFETY: the strings are terminated and live past the call.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            empty.as_ptr(),
            libc::AT_FDCWD,
            at.as_ptr(),
            F_EMPTY_PATH,
        )
    })
    .map(drop)
}

/// `fspick(2)` and `fsconfig(2)`: sets a mounted file system's options to what they are.
pub(crate) fn reconfigure(at: &str) -> io::Result<()> {
    const CMD_RECONFIGURE: u32 = 7;
    let at = text(at);
    let none = ptr::null::<u8>();
    // SAFETY: the string is terminated and lives past the call.
    let picked = owned(unsafe { libc::syscall(libc::SYS_fspick, libc::AT_FDCWD, at.as_ptr(), 0) })?;
    // SAFETY: takes numbers and no texts.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            picked.as_raw_fd(),
            CMD_RECONFIGURE,
            none,
            none,
            0,
        )
    })
    .map(drop)
}

/// `setns(2)`.
pub(crate) fn enter(namespace: &OwnedFd) -> io::Result<()> {
    // SAFETY: takes numbers.
    check(unsafe { libc::setns(namespace.as_raw_fd(), 0) }).map(drop)
}

#[repr(C)]
struct Handle {
    bytes: u32,
    kind: i32,
    handle: [u8; 128],
}

/// `name_to_handle_at(2)`, and `open_by_handle_at(2)` of what it says.
pub(crate) fn open_by_handle(path: &str) -> io::Result<OwnedFd> {
    let mut handle = Handle {
        bytes: 128,
        kind: 0,
        handle: [0; 128],
    };
    let mut mount = 0_i32;
    let path = text(path);
    // SAFETY: the kernel fills the handle, whose size it is told, and the integer.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            libc::AT_FDCWD,
            path.as_ptr(),
            &raw mut handle,
            &raw mut mount,
            0,
        )
    })?;
    let root = text("/");
    // SAFETY: the path is a terminated string.
    let root = owned(libc::c_long::from(unsafe {
        libc::open(root.as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY)
    }))?;
    // SAFETY: the kernel reads the handle that it has just filled.
    owned(unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            root.as_raw_fd(),
            &raw const handle,
            libc::O_RDONLY,
        )
    })
}

/// `clock_settime(2)` to what it says.
pub(crate) fn set_clock() -> io::Result<()> {
    // SAFETY: a `timespec` is made of integers.
    let mut now: libc::timespec = unsafe { mem::zeroed() };
    // SAFETY: the kernel writes and reads the structure, which is live.
    check(unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut now) })?;
    // SAFETY: as above.
    check(unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &raw const now) }).map(drop)
}

/// `clock_settime(2)` to a number of seconds since 1970.
pub(crate) fn set_clock_to(seconds: i64) -> io::Result<()> {
    // SAFETY: a `timespec` is made of integers.
    let mut then: libc::timespec = unsafe { mem::zeroed() };
    then.tv_sec = seconds;
    // SAFETY: the kernel reads the structure, which is live.
    check(unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &raw const then) }).map(drop)
}

/// `settimeofday(2)` of the time zone that the kernel has anyway.
pub(crate) fn set_time_of_day() -> io::Result<()> {
    // SAFETY: a `timeval` is made of integers.
    let mut now: libc::timeval = unsafe { mem::zeroed() };
    // SAFETY: the kernel writes and reads the structure, which is live.
    check(unsafe { libc::gettimeofday(&raw mut now, ptr::null_mut()) })?;
    // SAFETY: as above.
    check(unsafe { libc::settimeofday(&raw const now, ptr::null()) }).map(drop)
}

/// `adjtimex(2)`: adjusts the clock by nothing.
pub(crate) fn adjust_clock() -> io::Result<()> {
    // SAFETY: a `timex` is made of integers.
    let mut adjustment: libc::timex = unsafe { mem::zeroed() };
    adjustment.modes = libc::ADJ_OFFSET_SINGLESHOT;
    // SAFETY: the kernel reads and writes the structure, which is live.
    check(unsafe { libc::adjtimex(&raw mut adjustment) }).map(drop)
}

/// `bpf(2)` with `BPF_OBJ_GET`.
pub(crate) fn bpf_get(path: &str) -> io::Result<OwnedFd> {
    const BPF_OBJ_GET: libc::c_int = 7;
    let path = text(path);
    let attr = [path.as_ptr() as u64, 0];
    // SAFETY: the kernel reads the attribute and the path in it; both live past the call.
    owned(unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_OBJ_GET,
            attr.as_ptr(),
            size_of_val(&attr),
        )
    })
}

/// `bpf(2)` with `BPF_PROG_GET_NEXT_ID`: the number of the first program that is loaded.
pub(crate) fn bpf_list() -> io::Result<()> {
    const BPF_PROG_GET_NEXT_ID: libc::c_int = 11;
    let mut attr = [0_u32; 4];
    // SAFETY: the kernel reads and writes the attribute, which is live.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_GET_NEXT_ID,
            attr.as_mut_ptr(),
            size_of_val(&attr),
        )
    })
    .map(drop)
}

/// `init_module(2)` of nothing, which is no module.
pub(crate) fn load_module() -> io::Result<()> {
    let none = [0_u8; 1];
    // SAFETY: the kernel reads at most the byte that it is told of.
    check_long(unsafe { libc::syscall(libc::SYS_init_module, none.as_ptr(), 1, c"".as_ptr()) })
        .map(drop)
}

/// `mknod(2)` of the device that swallows everything.
pub(crate) fn make_device(path: &str) -> io::Result<()> {
    let path = text(path);
    let null = libc::makedev(1, 3);
    // SAFETY: the string is terminated and lives past the call.
    check(unsafe { libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o600, null) }).map(drop)
}

/// `perf_event_open(2)` of a software clock for this process, user space only.
pub(crate) fn perf_event() -> io::Result<OwnedFd> {
    const SOFTWARE: u32 = 1;
    /// `exclude_kernel` and `exclude_hv`.
    const EXCLUDE: u64 = 0b11 << 5;
    let mut attr = [0_u64; 8];
    attr[0] = u64::from(SOFTWARE) | (64 << 32);
    attr[5] = EXCLUDE;
    // SAFETY: the kernel reads the attribute, which says its own size.
    owned(unsafe { libc::syscall(libc::SYS_perf_event_open, attr.as_ptr(), 0, -1, -1, 0) })
}

/// `iopl(2)`: every I/O port.
#[cfg(target_arch = "x86_64")]
pub(crate) fn ports() -> io::Result<()> {
    // SAFETY: takes a number; no port is used.
    check_long(unsafe { libc::syscall(libc::SYS_iopl, 3) }).map(drop)
}

/// Other processors have none.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn ports() -> io::Result<()> {
    Err(io::Error::from_raw_os_error(libc::ENOSYS))
}

/// `reboot(2)`: what Ctrl-Alt-Delete does, as it is.
pub(crate) fn ctrl_alt_delete() -> io::Result<()> {
    // SAFETY: takes a number; this command does not reboot.
    check(unsafe { libc::reboot(libc::RB_DISABLE_CAD) }).map(drop)
}

/// `syslog(2)`: the level of messages on the console, as high as it goes.
pub(crate) fn console_level() -> io::Result<()> {
    const CONSOLE_LEVEL: libc::c_int = 8;
    // SAFETY: takes numbers and no buffer.
    check(unsafe { libc::klogctl(CONSOLE_LEVEL, ptr::null_mut(), 7) }).map(drop)
}

/// `acct(2)`: switches accounting off, which it is.
pub(crate) fn accounting() -> io::Result<()> {
    // SAFETY: takes no path.
    check(unsafe { libc::acct(ptr::null()) }).map(drop)
}

/// `sched_setscheduler(2)` to `SCHED_FIFO`, and back.
pub(crate) fn go_first_for_a_moment() -> io::Result<()> {
    super::process::go_first()?;
    super::process::go_with_others()
}

/// `setrlimit(2)`, after which no capability is needed to go before everybody else.
pub(crate) fn let_go_first() -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: 1,
        rlim_max: 1,
    };
    // SAFETY: the limit outlives the call, which only reads it.
    check(unsafe { libc::setrlimit(libc::RLIMIT_RTPRIO, &raw const limit) }).map(drop)
}

/// `sethostname(2)` to what it is.
pub(crate) fn host_name() -> io::Result<()> {
    let mut name = [0_u8; 256];
    // SAFETY: the kernel writes at most as many bytes as there are.
    check(unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len()) })?;
    let length = name.iter().position(|byte| *byte == 0).unwrap_or(0);
    // SAFETY: the kernel reads as many bytes as it is told.
    check(unsafe { libc::sethostname(name.as_ptr().cast(), length) }).map(drop)
}

/// The main end of a new terminal.
pub(crate) fn terminal() -> io::Result<OwnedFd> {
    // SAFETY: takes numbers.
    owned(libc::c_long::from(unsafe {
        libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY)
    }))
}

/// `BTRFS_IOC_SNAP_CREATE`. Other file systems do not know it.
pub(crate) fn snapshot(folder: &str) -> io::Result<()> {
    const SNAP_CREATE: libc::c_ulong = 0x5000_9401;
    let folder = std::fs::File::open(folder)?;
    let arguments = [0_u8; 4096];
    // SAFETY: the kernel reads as much as there is.
    check(unsafe { libc::ioctl(folder.as_raw_fd(), SNAP_CREATE, arguments.as_ptr()) }).map(drop)
}

/// A terminal of one's own, into which `TIOCSTI` types a letter.
pub(crate) fn type_into_terminal() -> io::Result<()> {
    let main = terminal()?;
    // SAFETY: takes numbers.
    check(unsafe { libc::unlockpt(main.as_raw_fd()) })?;
    let mut number = 0_u32;
    // SAFETY: the kernel writes the integer.
    check(unsafe { libc::ioctl(main.as_raw_fd(), libc::TIOCGPTN, &raw mut number) })?;
    let path = text(&format!("/dev/pts/{number}"));
    // SAFETY: takes no arguments. A leader of a session already is one for good.
    let _ = check(unsafe { libc::setsid() });
    // SAFETY: the string is terminated; the first terminal that is opened becomes the caller's.
    let own = owned(libc::c_long::from(unsafe {
        libc::open(path.as_ptr(), libc::O_RDWR)
    }))?;
    // SAFETY: the kernel reads one letter.
    let typed = check(unsafe { libc::ioctl(own.as_raw_fd(), libc::TIOCSTI, c"x".as_ptr()) });
    // Closing it would end the caller by SIGHUP.
    mem::forget(main);
    typed.map(drop)
}
