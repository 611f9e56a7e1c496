//! Sockets.

use super::sockaddr::{Shared, SockAddr};
use super::{check, check_long};
use std::io;
use std::mem;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::AtomicU8;

/// `AF_INET`.
pub(crate) const INET: libc::c_int = libc::AF_INET;
/// `AF_INET6`.
pub(crate) const INET6: libc::c_int = libc::AF_INET6;
/// `SOCK_STREAM`.
pub(crate) const STREAM: libc::c_int = libc::SOCK_STREAM;
/// `SOCK_DGRAM`.
pub(crate) const DGRAM: libc::c_int = libc::SOCK_DGRAM;
/// `MSG_FASTOPEN`: connect by sending.
pub(crate) const FASTOPEN: libc::c_int = libc::MSG_FASTOPEN;

/// A new socket.
pub(crate) fn socket(family: libc::c_int, kind: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    let fd = check(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel has just made this descriptor, and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A new socket of any kind.
pub(crate) fn socket_of(
    family: libc::c_int,
    kind: libc::c_int,
    protocol: libc::c_int,
) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    let fd = check(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) })?;
    // SAFETY: the kernel has just made this descriptor, and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A descriptor that this process was started with. It must be asked for once.
pub(crate) fn adopt(fd: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::fcntl(fd, libc::F_GETFD) })?;
    // SAFETY: the descriptor is open, and nothing else in this process knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Lets the programs that this process executes have a descriptor.
pub(crate) fn hand_on(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_SETFD, 0) })?;
    Ok(())
}

/// `bind(2)`.
pub(crate) fn bind(socket: BorrowedFd<'_>, address: &SockAddr) -> io::Result<()> {
    let bytes = address.bytes();
    // SAFETY: the pointer and length are those of a live slice, which the kernel only reads.
    check(unsafe { libc::bind(socket.as_raw_fd(), bytes.as_ptr().cast(), length_of(bytes)) })?;
    Ok(())
}

/// `listen(2)`.
pub(crate) fn listen(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::listen(socket.as_raw_fd(), 8) })?;
    Ok(())
}

/// `accept4(2)`.
pub(crate) fn accept(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let (none, flags) = (ptr::null_mut(), libc::SOCK_CLOEXEC);
    // SAFETY: the kernel takes null pointers for nobody who wants the address.
    let fd = check(unsafe { libc::accept4(socket.as_raw_fd(), none, ptr::null_mut(), flags) })?;
    // SAFETY: as in `socket_of`.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Has every packet of a socket go to a place first, and from there to where it is sent.
pub(crate) fn go_by_way_of(socket: BorrowedFd<'_>, place: IpAddr) -> io::Result<()> {
    match place {
        IpAddr::V4(place) => {
            // `IPOPT_LSRR` of one place: kind, length, where the next lies, the place; and an end.
            let mut option = [131, 7, 4, 0, 0, 0, 0, 0];
            option[3..7].copy_from_slice(&place.octets());
            set(socket, libc::IPPROTO_IP, libc::IP_OPTIONS, &option)
        }
        IpAddr::V6(place) => {
            // A segment routing header: who comes next, its length in words of 8 bytes, the type, two segments
            // (the last, and before it the place), of which one is left.
            let mut header = [0; 40];
            header[..5].copy_from_slice(&[0, 4, 4, 1, 1]);
            header[24..].copy_from_slice(&place.octets());
            set(socket, libc::IPPROTO_IPV6, libc::IPV6_RTHDR, &header)
        }
    }
}

/// Sends the first packet of a connection twice, and no more often.
pub(crate) fn give_up_soon(socket: BorrowedFd<'_>) -> io::Result<()> {
    let times: libc::c_int = 1;
    let value = times.to_ne_bytes();
    set(socket, libc::IPPROTO_TCP, libc::TCP_SYNCNT, &value)
}

/// `setsockopt(2)`.
fn set<T: ?Sized>(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of_val(value)).expect("options are small");
    let value = ptr::from_ref(value).cast();
    // SAFETY: the pointer and length are those of a live value, which the kernel only reads.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, value, length) }).map(drop)
}

/// `sendfile(2)` of the beginning of a file.
pub(crate) fn send_file(
    socket: BorrowedFd<'_>,
    file: &std::fs::File,
    bytes: usize,
) -> io::Result<()> {
    // SAFETY: takes numbers, and a null pointer for the file's own position.
    let sent =
        unsafe { libc::sendfile(socket.as_raw_fd(), file.as_raw_fd(), ptr::null_mut(), bytes) };
    check_long(sent as libc::c_long).map(drop)
}

/// `connect(2)`.
pub(crate) fn connect(socket: BorrowedFd<'_>, address: &SockAddr) -> io::Result<()> {
    let bytes = address.bytes();
    // SAFETY: the pointer and length are those of a live slice, which the kernel only reads.
    check(unsafe { libc::connect(socket.as_raw_fd(), bytes.as_ptr().cast(), length_of(bytes)) })?;
    Ok(())
}

/// `sendto(2)`; without an address, `send(2)`.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    data: &[u8],
    flags: libc::c_int,
    to: Option<&SockAddr>,
) -> io::Result<()> {
    let (address, length) = to.map_or((ptr::null(), 0), |to| {
        (to.bytes().as_ptr(), length_of(to.bytes()))
    });
    // SAFETY: both pointers and lengths are those of live slices (or null and zero), which the
    // kernel only reads.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            data.as_ptr().cast(),
            data.len(),
            flags | libc::MSG_NOSIGNAL,
            address.cast(),
            length,
        )
    };
    check_long(sent as libc::c_long).map(drop)
}

/// `sendto(2)` to an address that changes meanwhile.
pub(crate) fn send_shared(socket: BorrowedFd<'_>, data: &[u8], to: &Shared) -> io::Result<()> {
    let length = libc::socklen_t::try_from(Shared::LENGTH).expect("addresses are short");
    let (start, bytes) = (data.as_ptr().cast(), data.len());
    // SAFETY: both pointers and lengths are those of live values, which the kernel only reads.
    let sent = unsafe { libc::sendto(socket.as_raw_fd(), start, bytes, 0, to.at(), length) };
    check_long(sent as libc::c_long).map(drop)
}

/// `connect(2)` to an address that changes meanwhile.
pub(crate) fn connect_shared(socket: BorrowedFd<'_>, to: &Shared) -> io::Result<()> {
    let length = libc::socklen_t::try_from(Shared::LENGTH).expect("addresses are short");
    // SAFETY: as in `send_shared`.
    check(unsafe { libc::connect(socket.as_raw_fd(), to.at(), length) })?;
    Ok(())
}

/// `connect(2)` to an address that another process changes meanwhile.
pub(crate) fn connect_at(socket: BorrowedFd<'_>, to: &[AtomicU8]) -> io::Result<()> {
    let length = libc::socklen_t::try_from(to.len()).expect("addresses are short");
    // SAFETY: the pointer and length are those of a live slice, which the kernel only reads.
    check(unsafe { libc::connect(socket.as_raw_fd(), to.as_ptr().cast(), length) })?;
    Ok(())
}

/// `sendmmsg(2)` of one piece of data to several addresses: how many the kernel sent.
pub(crate) fn send_many(socket: BorrowedFd<'_>, data: &[u8], to: &[SockAddr]) -> io::Result<usize> {
    let mut piece = libc::iovec {
        iov_base: data.as_ptr().cast_mut().cast(),
        iov_len: data.len(),
    };
    let mut messages: Vec<libc::mmsghdr> = to
        .iter()
        .map(|address| {
            // SAFETY: a `mmsghdr` is made of integers and pointers, for which zero is a value.
            let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
            message.msg_hdr.msg_name = address.bytes().as_ptr().cast_mut().cast();
            message.msg_hdr.msg_namelen = length_of(address.bytes());
            message.msg_hdr.msg_iov = &raw mut piece;
            message.msg_hdr.msg_iovlen = 1;
            message
        })
        .collect();
    // SAFETY: every pointer in `messages` is to something that outlives the call; the kernel
    // writes only the length fields of `messages` itself.
    let sent = check(unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            libc::c_uint::try_from(messages.len()).expect("a handful of messages"),
            0,
        )
    })?;
    Ok(usize::try_from(sent).unwrap_or(0))
}

/// `splice(2)` from a pipe to a socket: how many bytes went.
pub(crate) fn splice(
    pipe: BorrowedFd<'_>,
    socket: BorrowedFd<'_>,
    count: usize,
) -> io::Result<usize> {
    // SAFETY: takes numbers, and no offsets.
    let went = check_long(unsafe {
        libc::splice(
            pipe.as_raw_fd(),
            ptr::null_mut(),
            socket.as_raw_fd(),
            ptr::null_mut(),
            count,
            0,
        )
    } as libc::c_long)?;
    Ok(usize::try_from(went).unwrap_or(0))
}

/// Has the kernel note when data came to a socket.
pub(crate) fn stamp(socket: BorrowedFd<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    set(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &on)
}

/// Reads from a socket that is stamped: how many bytes, and when the last of them came, in
/// nanoseconds since 1970.
pub(crate) fn receive_stamped(
    socket: BorrowedFd<'_>,
    room: &mut [u8],
) -> io::Result<(usize, Option<i128>)> {
    #[repr(C, align(8))]
    struct Control([u8; 64]);
    let mut control = Control([0; 64]);
    let mut piece = libc::iovec {
        iov_base: room.as_mut_ptr().cast(),
        iov_len: room.len(),
    };
    // SAFETY: a `msghdr` is made of integers and pointers, for which zero is a value.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len();
    // SAFETY: every pointer in `message` is to something that outlives the call.
    let read = check_long(
        unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) } as libc::c_long,
    )?;
    // SAFETY: the kernel has just filled `control`, which is aligned for its headers.
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    let stamp = if header.is_null() {
        None
    } else {
        // SAFETY: the header lies in `control`; its data is a `timespec`, if it is what was asked for.
        unsafe {
            ((*header).cmsg_type == libc::SCM_TIMESTAMPNS).then(|| {
                libc::CMSG_DATA(header)
                    .cast::<libc::timespec>()
                    .read_unaligned()
            })
        }
    };
    let stamp = stamp.map(|at| i128::from(at.tv_sec) * 1_000_000_000 + i128::from(at.tv_nsec));
    Ok((usize::try_from(read).unwrap_or(0), stamp))
}

/// Makes `close` reset the connection, so that no port lingers in TIME_WAIT.
pub(crate) fn reset_on_close(socket: BorrowedFd<'_>) -> io::Result<()> {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    set(socket, libc::SOL_SOCKET, libc::SO_LINGER, &linger)
}

fn length_of(bytes: &[u8]) -> libc::socklen_t {
    libc::socklen_t::try_from(bytes.len()).expect("addresses are short")
}
