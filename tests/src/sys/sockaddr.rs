//! Socket addresses as bytes, right and wrong ones.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicU32, Ordering};

/// The bytes of a `sockaddr`, with the length that the kernel is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SockAddr {
    bytes: [u8; 28],
    length: u8,
}

impl SockAddr {
    /// The address as it should be written.
    pub(crate) fn of(address: SocketAddr) -> Self {
        let mut bytes = [0; 28];
        let length = match address {
            SocketAddr::V4(v4) => {
                bytes[..2].copy_from_slice(&family(libc::AF_INET));
                bytes[2..4].copy_from_slice(&v4.port().to_be_bytes());
                bytes[4..8].copy_from_slice(&v4.ip().octets());
                16
            }
            SocketAddr::V6(v6) => {
                bytes[..2].copy_from_slice(&family(libc::AF_INET6));
                bytes[2..4].copy_from_slice(&v6.port().to_be_bytes());
                bytes[8..24].copy_from_slice(&v6.ip().octets());
                28
            }
        };
        Self { bytes, length }
    }

    /// The same address whose family says `AF_UNSPEC`. The kernel takes it for IPv4 when a
    /// datagram is sent on an IPv4 socket (`udp_sendmsg`).
    pub(crate) fn without_family(mut self) -> Self {
        self.bytes[..2].copy_from_slice(&family(libc::AF_UNSPEC));
        self
    }

    /// The same address, of which the kernel is told only so many bytes.
    pub(crate) fn cut(mut self, length: usize) -> Self {
        let length = u8::try_from(length).unwrap_or(u8::MAX);
        self.length = self.length.min(length);
        self
    }

    /// The bytes that the kernel is told of.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// A `sockaddr_in` whose address one thread changes while another has the kernel read it.
#[derive(Debug)]
pub(crate) struct Shared([AtomicU32; 4]);

impl Shared {
    /// Bytes of it.
    pub(crate) const LENGTH: usize = 16;

    /// An address to begin with.
    pub(crate) fn of(address: SocketAddrV4) -> Self {
        let bytes = SockAddr::of(address.into()).bytes;
        let word = |i: usize| {
            let word = bytes.get(i * 4..).and_then(<[u8]>::first_chunk);
            AtomicU32::new(u32::from_ne_bytes(*word.expect("28 bytes")))
        };
        Self([word(0), word(1), word(2), word(3)])
    }

    /// Changes it.
    pub(crate) fn set(&self, address: Ipv4Addr) {
        self.0[1].store(u32::from_ne_bytes(address.octets()), Ordering::Relaxed);
    }

    /// Where it lies.
    pub(crate) fn at(&self) -> *const libc::sockaddr {
        self.0.as_ptr().cast()
    }
}

fn family(number: libc::c_int) -> [u8; 2] {
    u16::try_from(number)
        .expect("address families are small numbers")
        .to_ne_bytes()
}
