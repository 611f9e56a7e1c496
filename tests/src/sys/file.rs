//! Every way to use a file.

use super::{check, check_long};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

fn text(path: &str) -> io::Result<CString> {
    CString::new(path).map_err(io::Error::other)
}

/// `openat(2)`.
pub(crate) fn open(path: &str, flags: libc::c_int) -> io::Result<OwnedFd> {
    let path = text(path)?;
    // SAFETY: the path is a terminated string.
    let fd = check(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, 0o644) })?;
    // SAFETY: the descriptor was opened just now and is known to nothing else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `openat2(2)`, which resolves no symbolic links if told so.
pub(crate) fn openat2(path: &str, flags: libc::c_int) -> io::Result<OwnedFd> {
    let path = text(path)?;
    // `struct open_how`: flags, mode, resolve.
    let how: [u64; 3] = [u64::from(flags.unsigned_abs()), 0, 0];
    // SAFETY: path and structure live past the call, and the size is the structure's.
    let fd = check_long(unsafe {
        libc::syscall(
            libc::SYS_openat2,
            libc::AT_FDCWD,
            path.as_ptr(),
            how.as_ptr(),
            size_of_val(&how),
        )
    })?;
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: as in `open`.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `name_to_handle_at(2)`, then `open_by_handle_at(2)` with the mount's root.
pub(crate) fn open_by_handle(path: &str, mount: &str) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Handle {
        bytes: u32,
        kind: i32,
        rest: [u8; 128],
    }
    let mut handle = Handle {
        bytes: 128,
        kind: 0,
        rest: [0; 128],
    };
    let mut mount_id = 0_i32;
    let path = text(path)?;
    // SAFETY: the structure says how much room it has; the kernel fills it and the integer.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            libc::AT_FDCWD,
            path.as_ptr(),
            &raw mut handle,
            &raw mut mount_id,
            0,
        )
    })?;
    let mount = open(mount, libc::O_PATH | libc::O_DIRECTORY)?;
    let mount = match open_directory(mount.as_raw_fd()) {
        Ok(readable) => readable,
        Err(_) => mount,
    };
    // SAFETY: the handle is one that the kernel has just made.
    let fd = check_long(unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            mount.as_raw_fd(),
            &raw mut handle,
            libc::O_RDONLY,
        )
    })?;
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: as in `open`.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn open_directory(fd: RawFd) -> io::Result<OwnedFd> {
    open(&format!("/proc/self/fd/{fd}"), libc::O_RDONLY)
}

/// `unlink(2)`.
pub(crate) fn unlink(path: &str) -> io::Result<()> {
    let path = text(path)?;
    // SAFETY: the path is a terminated string.
    check(unsafe { libc::unlink(path.as_ptr()) }).map(drop)
}

/// `rmdir(2)`.
pub(crate) fn rmdir(path: &str) -> io::Result<()> {
    let path = text(path)?;
    // SAFETY: the path is a terminated string.
    check(unsafe { libc::rmdir(path.as_ptr()) }).map(drop)
}

/// `mkdir(2)`.
pub(crate) fn mkdir(path: &str) -> io::Result<()> {
    let path = text(path)?;
    // SAFETY: the path is a terminated string.
    check(unsafe { libc::mkdir(path.as_ptr(), 0o755) }).map(drop)
}

/// `mknod(2)` of a file, which is not opened.
pub(crate) fn make(path: &str) -> io::Result<()> {
    let path = text(path)?;
    // SAFETY: the path is a terminated string.
    check(unsafe { libc::mknod(path.as_ptr(), libc::S_IFREG | 0o644, 0) }).map(drop)
}

/// `mknod(2)` of a FIFO.
pub(crate) fn mkfifo(path: &str) -> io::Result<()> {
    let path = text(path)?;
    // SAFETY: the path is a terminated string.
    check(unsafe { libc::mknod(path.as_ptr(), libc::S_IFIFO | 0o644, 0) }).map(drop)
}

/// `symlink(2)`.
pub(crate) fn symlink(target: &str, path: &str) -> io::Result<()> {
    let (target, path) = (text(target)?, text(path)?);
    // SAFETY: both are terminated strings.
    check(unsafe { libc::symlink(target.as_ptr(), path.as_ptr()) }).map(drop)
}

/// `linkat(2)`, without following a symbolic link.
pub(crate) fn link(old: &str, new: &str) -> io::Result<()> {
    linkat(old, new, 0)
}

/// `linkat(2)` through a descriptor's name in procfs.
pub(crate) fn link_descriptor(fd: BorrowedFd<'_>, new: &str) -> io::Result<()> {
    let old = format!("/proc/self/fd/{}", fd.as_raw_fd());
    linkat(&old, new, libc::AT_SYMLINK_FOLLOW)
}

fn linkat(old: &str, new: &str, flags: libc::c_int) -> io::Result<()> {
    let (old, new) = (text(old)?, text(new)?);
    // SAFETY: both are terminated strings.
    check(unsafe {
        libc::linkat(
            libc::AT_FDCWD,
            old.as_ptr(),
            libc::AT_FDCWD,
            new.as_ptr(),
            flags,
        )
    })
    .map(drop)
}

/// `renameat2(2)`.
pub(crate) fn rename(old: &str, new: &str, flags: libc::c_uint) -> io::Result<()> {
    let (old, new) = (text(old)?, text(new)?);
    // SAFETY: both are terminated strings.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            old.as_ptr(),
            libc::AT_FDCWD,
            new.as_ptr(),
            flags,
        )
    })
    .map(drop)
}

/// `truncate(2)`.
pub(crate) fn truncate(path: &str) -> io::Result<()> {
    let path = text(path)?;
    // SAFETY: the path is a terminated string.
    check(unsafe { libc::truncate(path.as_ptr(), 0) }).map(drop)
}

/// Gives a file capabilities, which the kernel takes away when it is changed.
pub(crate) fn give_capabilities(path: &str) -> io::Result<()> {
    // `VFS_CAP_REVISION_2`, and CAP_NET_BIND_SERVICE as permitted.
    let value: [u8; 20] = [0, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    set_attribute(path, c"security.capability", &value)
}

/// `mq_open(3)`: makes a queue, if it is not there.
pub(crate) fn make_queue(name: &str) -> io::Result<()> {
    let name = text(name)?;
    let (mode, attributes) = (0o666, ptr::null::<libc::mq_attr>());
    // SAFETY: the name is a terminated string; without attributes the kernel takes its own.
    check(unsafe {
        libc::mq_open(
            name.as_ptr(),
            libc::O_RDWR | libc::O_CREAT,
            mode,
            attributes,
        )
    })
    .map(drop)
}

/// `mq_open(3)` of a queue that is there, for both ways, with further flags.
pub(crate) fn open_queue(name: &str, flags: i32) -> io::Result<()> {
    let name = text(name)?;
    // SAFETY: the name is a terminated string, and nothing is made that would need more.
    check(unsafe { libc::mq_open(name.as_ptr(), libc::O_RDWR | flags) }).map(drop)
}

/// `chmod(2)`.
pub(crate) fn chmod(path: &str) -> io::Result<()> {
    let path = text(path)?;
    // SAFETY: the path is a terminated string.
    check(unsafe { libc::chmod(path.as_ptr(), 0o600) }).map(drop)
}

/// `fchmod(2)` through a descriptor that was opened for reading.
pub(crate) fn fchmod(path: &str) -> io::Result<()> {
    let file = open(path, libc::O_RDONLY)?;
    // SAFETY: takes numbers.
    check(unsafe { libc::fchmod(file.as_raw_fd(), 0o600) }).map(drop)
}

/// `chown(2)`.
pub(crate) fn chown(path: &str) -> io::Result<()> {
    let path = text(path)?;
    // SAFETY: the path is a terminated string.
    check(unsafe { libc::chown(path.as_ptr(), 1, 1) }).map(drop)
}

/// `setxattr(2)`.
pub(crate) fn setxattr(path: &str) -> io::Result<()> {
    set_attribute(path, c"user.interlock", b"1")
}

fn set_attribute(path: &str, name: &CStr, value: &[u8]) -> io::Result<()> {
    let path = text(path)?;
    let (bytes, length) = (value.as_ptr().cast(), value.len());
    // SAFETY: path and name are terminated strings, and the value is as long as is said.
    check(unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), bytes, length, 0) }).map(drop)
}

/// `removexattr(2)`.
pub(crate) fn removexattr(path: &str) -> io::Result<()> {
    let path = text(path)?;
    // SAFETY: path and name are terminated strings.
    check(unsafe { libc::removexattr(path.as_ptr(), c"user.interlock".as_ptr()) }).map(drop)
}

/// `setxattr(2)` of an access control list of one entry for each class.
pub(crate) fn set_acl(path: &str) -> io::Result<()> {
    // Version 2, then (tag, permissions, id) of owner, group and others.
    let mut list = vec![2_u8, 0, 0, 0];
    for (tag, permissions) in [(1_u16, 6_u16), (4, 4), (0x20, 4)] {
        list.extend(tag.to_le_bytes());
        list.extend(permissions.to_le_bytes());
        list.extend(u32::MAX.to_le_bytes());
    }
    set_attribute(path, c"system.posix_acl_access", &list)
}

/// `utimensat(2)`, to the beginning of time.
pub(crate) fn utimes(path: &str) -> io::Result<()> {
    let path = text(path)?;
    let zero = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let times = [zero, zero];
    // SAFETY: the path is a terminated string, the times are two.
    check(unsafe { libc::utimensat(libc::AT_FDCWD, path.as_ptr(), times.as_ptr(), 0) }).map(drop)
}

/// `memfd_create(2)`.
pub(crate) fn memfd() -> io::Result<OwnedFd> {
    // SAFETY: the name is a terminated string.
    let fd = check(unsafe { libc::memfd_create(c"memory".as_ptr(), 0) })?;
    // SAFETY: as in `open`.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `pipe2(2)`: the ends to read from and to write to.
pub(crate) fn pipe() -> io::Result<[OwnedFd; 2]> {
    let mut fds = [0; 2];
    // SAFETY: the kernel writes two integers.
    check(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: as in `open`.
    Ok(fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// A page of a file in memory, unmapped again.
pub(crate) struct Mapping(*mut libc::c_void);

const PAGE: usize = 4096;

impl Mapping {
    /// `mmap(2)`.
    pub(crate) fn new(file: BorrowedFd<'_>, protection: libc::c_int) -> io::Result<Self> {
        // SAFETY: a new mapping, at a place of the kernel's choice.
        let at = unsafe {
            libc::mmap(
                ptr::null_mut(),
                PAGE,
                protection,
                libc::MAP_PRIVATE,
                file.as_raw_fd(),
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(at))
    }

    /// A page of no file.
    pub(crate) fn anonymous() -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, at a place of the kernel's choice.
        let at = unsafe { libc::mmap(ptr::null_mut(), PAGE, libc::PROT_READ, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(at))
    }

    /// `mprotect(2)`.
    pub(crate) fn protect(&self, protection: libc::c_int) -> io::Result<()> {
        // SAFETY: the page is ours, and nothing refers to what is in it.
        check(unsafe { libc::mprotect(self.0, PAGE, protection) }).map(drop)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the page is ours, and nothing refers to what is in it.
        unsafe { libc::munmap(self.0, PAGE) };
    }
}

/// A path in memory that one task writes while another has the kernel read it: threads, and processes that
/// descend from its maker.
pub(crate) struct Rewritten(&'static [std::sync::atomic::AtomicU8]);

impl Rewritten {
    /// A path; those that are written over it are as long.
    pub(crate) fn new(path: &str) -> io::Result<Self> {
        let path = text(path)?;
        let bytes = path.as_bytes_with_nul();
        let memory = super::shared::bytes(bytes.len())?;
        for (at, byte) in memory.iter().zip(bytes) {
            at.store(*byte, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(Self(memory))
    }

    /// Writes another path, byte by byte.
    pub(crate) fn write(&self, path: &str) {
        for (at, byte) in self.0.iter().zip(path.bytes()) {
            at.store(byte, std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// Opens what it says.
    pub(crate) fn open(&self) -> io::Result<OwnedFd> {
        // SAFETY: the kernel reads a string that always ends where it ended at first.
        let fd =
            check(unsafe { libc::open(self.0.as_ptr().cast(), libc::O_RDONLY | libc::O_CLOEXEC) })?;
        // SAFETY: as in `open`.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Executes a program with what it says as its one word. Returns only when it fails.
    pub(crate) fn execute(&self, program: &str) -> io::Result<()> {
        let program = text(program)?;
        let words = [program.as_ptr(), self.0.as_ptr().cast(), ptr::null()];
        // SAFETY: the kernel reads strings that always end where they ended at first.
        check(unsafe { libc::execv(program.as_ptr(), words.as_ptr()) }).map(drop)
    }
}
