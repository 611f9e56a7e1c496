//! The kinds of sockets: family, type and protocol, as they are asked for.

use crate::egress::{AF_INET, AF_INET6, TCP, UDP};
use crate::privilege::Privilege;

/// `AF_UNIX`.
pub const AF_UNIX: u8 = 1;
/// `AF_NETLINK`.
pub const AF_NETLINK: u8 = 16;
/// `AF_PACKET`.
pub const AF_PACKET: u8 = 17;
/// `AF_VSOCK`.
pub const AF_VSOCK: u8 = 40;
/// `AF_XDP`.
pub const AF_XDP: u8 = 44;

/// `SOCK_STREAM`.
pub const STREAM: u8 = 1;
/// `SOCK_DGRAM`.
pub const DATAGRAM: u8 = 2;
/// `SOCK_RAW`.
pub const RAW: u8 = 3;

/// `IPPROTO_MPTCP`.
pub const MPTCP: u16 = 262;
/// `IPPROTO_ICMP`.
const ICMP: u16 = 1;
/// `IPPROTO_ICMPV6`.
const ICMP6: u16 = 58;
/// `NETLINK_ROUTE`: addresses, links and routes. Reading them is everybody's, changing them takes
/// `CAP_NET_ADMIN`.
const ROUTE: u16 = 0;

/// One kind of socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketKind {
    /// The address family.
    pub family: u8,
    /// The type, without flags.
    pub kind: u8,
    /// The protocol; 0 is the family's own choice.
    pub protocol: u16,
}

impl SocketKind {
    /// Made of what `socket(2)` is given. Numbers that do not fit become the largest ones, which
    /// are no kind's.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "each number was compared with the largest that fits"
    )]
    pub const fn of(family: u32, kind: u32, protocol: u32) -> Self {
        Self {
            family: if family > 255 { u8::MAX } else { family as u8 },
            kind: if kind > 255 { u8::MAX } else { kind as u8 },
            protocol: if protocol > 65_535 {
                u16::MAX
            } else {
                protocol as u16
            },
        }
    }

    /// As one number, which is 0 for no kind that a session is denied.
    #[inline(always)]
    pub const fn packed(self) -> u32 {
        (self.family as u32) << 24 | (self.kind as u32) << 16 | self.protocol as u32
    }

    /// From one number.
    pub const fn unpacked(number: u32) -> Self {
        let [family, kind, high, low] = number.to_be_bytes();
        Self {
            family,
            kind,
            protocol: u16::from_be_bytes([high, low]),
        }
    }

    /// The privilege without which a session does not get such a socket; nothing for those that
    /// every session may have: what goes through them is judged when it goes.
    #[inline(always)]
    pub const fn privilege(self) -> Option<Privilege> {
        let (kind, protocol) = (self.kind, self.protocol);
        match self.family {
            AF_UNIX => None,
            AF_INET | AF_INET6 => match kind {
                STREAM if protocol == 0 || protocol == TCP as u16 => None,
                DATAGRAM if protocol == 0 || protocol == UDP as u16 => None,
                STREAM if protocol == MPTCP => Some(Privilege::Mptcp),
                DATAGRAM if protocol == ICMP || protocol == ICMP6 => Some(Privilege::Ping),
                RAW => Some(Privilege::CapNetRaw),
                _ => Some(Privilege::Sockets),
            },
            AF_PACKET | AF_XDP => Some(Privilege::CapNetRaw),
            AF_NETLINK if protocol == ROUTE => None,
            AF_NETLINK => Some(Privilege::Netlink),
            AF_VSOCK => Some(Privilege::Vsock),
            _ => Some(Privilege::Sockets),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kind that a session gets without a privilege, and no other.
    #[test]
    fn what_every_session_may_have_is_a_short_list() {
        let mut free = [(0, 0, 0); 16];
        let mut count = 0;
        for family in 0..=255 {
            for kind in 0..12 {
                for protocol in 0..300 {
                    let socket = SocketKind::of(family, kind, protocol);
                    let known = family == u32::from(AF_UNIX)
                        || family == u32::from(AF_NETLINK) && protocol == 0;
                    if socket.privilege().is_none() && !known {
                        free[count] = (family, kind, protocol);
                        count += 1;
                    }
                }
            }
        }
        let expected = [
            (2, 1, 0),
            (2, 1, 6),
            (2, 2, 0),
            (2, 2, 17),
            (10, 1, 0),
            (10, 1, 6),
            (10, 2, 0),
            (10, 2, 17),
        ];
        assert_eq!(&free[..count], &expected);
    }

    #[test]
    fn numbers_that_do_not_fit_are_nobodys() {
        for socket in [
            SocketKind::of(2 + 256, 1, 0),
            SocketKind::of(2, 1 + 256, 0),
            SocketKind::of(2, 1, 6 + 65_536),
            SocketKind::of(u32::MAX, u32::MAX, u32::MAX),
        ] {
            assert_eq!(socket.privilege(), Some(Privilege::Sockets), "{socket:?}");
        }
    }

    #[test]
    fn a_kind_is_the_same_after_packing() {
        let socket = SocketKind::of(10, 2, 58);
        assert_eq!(SocketKind::unpacked(socket.packed()), socket);
    }
}
