//! Socket addresses as bytes, right and wrong ones.

use std::net::SocketAddr;

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

    /// The bytes that the kernel is told of.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

fn family(number: libc::c_int) -> [u8; 2] {
    u16::try_from(number)
        .expect("address families are small numbers")
        .to_ne_bytes()
}
