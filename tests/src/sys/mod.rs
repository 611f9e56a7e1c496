//! System calls in the raw form that an attacker would use, behind a safe face. Nothing here
//! knows what it is used for.

#![expect(
    unsafe_code,
    reason = "the only module that calls libc and the kernel directly"
)]

pub(crate) mod call;
#[cfg(target_arch = "x86_64")]
pub(crate) mod entry;
#[cfg(not(target_arch = "x86_64"))]
#[path = "no_entry.rs"]
pub(crate) mod entry;
pub(crate) mod exec;
pub(crate) mod file;
pub(crate) mod host;
pub(crate) mod ipc;
pub(crate) mod map;
pub(crate) mod memory;
pub(crate) mod net;
pub(crate) mod pass;
pub(crate) mod process;
pub(crate) mod processes;
pub(crate) mod shared;
pub(crate) mod sockaddr;
pub(crate) mod stop;
pub(crate) mod system;
pub(crate) mod trace;
pub(crate) mod uring;

use std::io;

/// Turns libc's -1 into the error it stands for.
fn check(returned: libc::c_int) -> io::Result<libc::c_int> {
    if returned < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(returned)
    }
}

/// The same for results as wide as a register.
fn check_long(returned: libc::c_long) -> io::Result<libc::c_long> {
    if returned < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(returned)
    }
}

/// The name of an error number, as manual pages write it.
pub(crate) fn errno_name(number: i32) -> String {
    let name = match number {
        libc::EPERM => "EPERM",
        libc::EACCES => "EACCES",
        libc::EAGAIN => "EAGAIN",
        libc::ENOMEM => "ENOMEM",
        libc::ENOENT => "ENOENT",
        libc::EEXIST => "EEXIST",
        libc::ENOTDIR => "ENOTDIR",
        libc::ENOTEMPTY => "ENOTEMPTY",
        libc::ESTALE => "ESTALE",
        libc::EXDEV => "EXDEV",
        libc::ENODATA => "ENODATA",
        libc::ENXIO => "ENXIO",
        libc::EINVAL => "EINVAL",
        libc::ENOTTY => "ENOTTY",
        libc::EFAULT => "EFAULT",
        libc::ENOEXEC => "ENOEXEC",
        libc::EBUSY => "EBUSY",
        libc::ENOSYS => "ENOSYS",
        libc::EINPROGRESS => "EINPROGRESS",
        libc::ECONNREFUSED => "ECONNREFUSED",
        libc::ENETUNREACH => "ENETUNREACH",
        libc::EHOSTUNREACH => "EHOSTUNREACH",
        libc::EAFNOSUPPORT => "EAFNOSUPPORT",
        libc::EOPNOTSUPP => "EOPNOTSUPP",
        libc::EDESTADDRREQ => "EDESTADDRREQ",
        libc::EISCONN => "EISCONN",
        libc::ENOTCONN => "ENOTCONN",
        libc::EPIPE => "EPIPE",
        libc::ETIMEDOUT => "ETIMEDOUT",
        libc::ECANCELED => "ECANCELED",
        _ => return format!("errno {number}"),
    };
    name.to_owned()
}

/// `ok`, or the name of the error.
pub(crate) fn outcome<T>(result: &io::Result<T>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(error) => match error.raw_os_error() {
            Some(number) => errno_name(number),
            None => error.to_string(),
        },
    }
}
