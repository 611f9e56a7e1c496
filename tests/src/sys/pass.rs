//! Descriptors that go from one process to another by a socket.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

/// Room for one descriptor, aligned as its head must be.
#[repr(C)]
union Control {
    head: libc::cmsghdr,
    bytes: [u8; 64],
}

/// A message of one byte, with room for one descriptor.
fn message(
    byte: &mut u8,
    part: &mut libc::iovec,
    control: &mut Control,
    length: usize,
) -> libc::msghdr {
    part.iov_base = ptr::from_mut(byte).cast();
    part.iov_len = 1;
    // SAFETY: a `msghdr` is made of integers and pointers.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message.msg_control = ptr::from_mut(control).cast();
    message.msg_controllen = length;
    message
}

const NO_PART: libc::iovec = libc::iovec {
    iov_base: ptr::null_mut(),
    iov_len: 0,
};

/// `sendmsg(2)` with `SCM_RIGHTS`.
pub(crate) fn send(socket: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> io::Result<()> {
    let (mut byte, mut part, mut control) = (b'x', NO_PART, Control { bytes: [0; 64] });
    // SAFETY: takes a number.
    let (space, length) = unsafe { (libc::CMSG_SPACE(4), libc::CMSG_LEN(4)) };
    let message = message(&mut byte, &mut part, &mut control, space as usize);
    // SAFETY: the control data is live, aligned and has room for a head and a descriptor.
    unsafe {
        let head = libc::CMSG_FIRSTHDR(&raw const message);
        (*head).cmsg_level = libc::SOL_SOCKET;
        (*head).cmsg_type = libc::SCM_RIGHTS;
        (*head).cmsg_len = length as usize;
        ptr::write_unaligned(libc::CMSG_DATA(head).cast(), fd.as_raw_fd());
    }
    // SAFETY: all that the message points to is live.
    if unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// `recvmsg(2)`: the descriptor that came, if one did.
pub(crate) fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let (mut byte, mut part, mut control) = (0, NO_PART, Control { bytes: [0; 64] });
    let mut message = message(&mut byte, &mut part, &mut control, size_of::<Control>());
    // SAFETY: all that the message points to is live.
    if unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has written whole heads with their data into the control data.
    unsafe {
        let head = libc::CMSG_FIRSTHDR(&raw const message);
        if head.is_null() || (*head).cmsg_type != libc::SCM_RIGHTS {
            return Ok(None);
        }
        let fd: i32 = ptr::read_unaligned(libc::CMSG_DATA(head).cast());
        Ok(Some(OwnedFd::from_raw_fd(fd)))
    }
}
