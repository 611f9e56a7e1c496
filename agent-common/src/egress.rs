//! The object of an egress action: an address, a port, a protocol.
//!
//! IPv4 and IPv6 are one address space here. An IPv4 address is its v4-mapped IPv6 form, and the
//! other spellings of an IPv4 address inside IPv6 fold to the same, so that no spelling reaches
//! what another is denied.

use crate::decide::TRAIT_DIRECT;
use crate::wire::{assert_layout, wire_struct};

/// `AF_UNSPEC`.
pub const AF_UNSPEC: u8 = 0;
/// `AF_UNIX`.
pub const AF_UNIX: u8 = 1;
/// `AF_INET`.
pub const AF_INET: u8 = 2;
/// `AF_INET6`.
pub const AF_INET6: u8 = 10;
/// `IPPROTO_TCP`.
pub const TCP: u8 = 6;
/// `IPPROTO_UDP`.
pub const UDP: u8 = 17;

/// The high 96 bits of a v4-mapped address, `::ffff:0:0/96`.
const MAPPED: u128 = 0xffff;
/// The high 96 bits of the well-known NAT64 prefix, `64:ff9b::/96` (RFC 6052).
const NAT64: u128 = 0x64_ff9b << 64;
/// `::1`.
const LOOPBACK_V6: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// Bits of an address in its folded form.
pub const ADDRESS_BITS: u32 = 128;

wire_struct! {
    /// Where an action wants to go.
    Endpoint {
        /// The folded address, in network order.
        address: [u8; 16],
        /// The port, in host order.
        port: u16,
        /// The IP protocol of the socket.
        protocol: u8,
        /// The address family that was asked for; an address of no family is all zero.
        family: u8,
    }
}

assert_layout!(Endpoint, size 20, address at 0, port at 16, protocol at 18);

impl Endpoint {
    /// No place at all.
    pub const NOWHERE: Self = Self::of_family(AF_UNSPEC, 0);

    /// An address of a family that has no place in the address space.
    #[inline(always)]
    pub const fn of_family(family: u8, protocol: u8) -> Self {
        Self {
            address: [0; 16],
            port: 0,
            protocol,
            family,
        }
    }

    /// In numbers: the address, then port, protocol and family in one.
    #[inline(always)]
    pub const fn packed(&self) -> [u64; 3] {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = self.address;
        [
            u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
            self.port as u64 | (self.protocol as u64) << 16 | (self.family as u64) << 24,
        ]
    }

    /// The endpoint of such numbers.
    pub const fn unpacked([high, low, rest]: [u64; 3]) -> Self {
        let [a, b, c, d, e, f, g, h] = high.to_ne_bytes();
        let [i, j, k, l, m, n, o, p] = low.to_ne_bytes();
        let [port, more, protocol, family, ..] = rest.to_le_bytes();
        Self {
            address: [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p],
            port: u16::from_le_bytes([port, more]),
            protocol,
            family,
        }
    }

    /// An endpoint reached by an IPv4 address.
    #[inline(always)]
    pub const fn v4(address: [u8; 4], port: u16, protocol: u8) -> Self {
        Self {
            address: map_v4(address),
            port,
            protocol,
            family: AF_INET,
        }
    }

    /// An IPv4 address of this host's to be bound. Here the unspecified address is every address.
    #[inline(always)]
    pub const fn own_v4(address: [u8; 4], port: u16, protocol: u8) -> Self {
        let [a, b, c, d] = address;
        Self {
            address: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d],
            port,
            protocol,
            family: AF_INET,
        }
    }

    /// The same by an IPv6 address, which is not folded unless it is an IPv4 address.
    #[inline(always)]
    pub const fn own_v6(address: [u8; 16], port: u16, protocol: u8) -> Self {
        Self {
            address,
            port,
            protocol,
            family: AF_INET6,
        }
    }

    /// An endpoint reached by an IPv6 address, folded.
    #[inline(always)]
    pub const fn v6(address: [u8; 16], port: u16, protocol: u8) -> Self {
        Self {
            address: fold_v6(address),
            port,
            protocol,
            family: AF_INET6,
        }
    }
}

/// The v4-mapped form of an IPv4 address. The kernel connects 0.0.0.0 to this host's loopback, so
/// that is what it is.
#[inline(always)]
pub const fn map_v4(a: [u8; 4]) -> [u8; 16] {
    let a = if u32::from_ne_bytes(a) == 0 {
        [127, 0, 0, 1]
    } else {
        a
    };
    [
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a[0], a[1], a[2], a[3],
    ]
}

/// Gives an address its one form: mapped and NAT64 addresses are the IPv4 address inside, and the
/// unspecified address is loopback, as it is to the kernel when connected to.
#[inline(always)]
pub const fn fold_v6(address: [u8; 16]) -> [u8; 16] {
    let bits = u128::from_be_bytes(address);
    let high = bits >> 32;
    if high == MAPPED || high == NAT64 {
        let [a, b, c, d] = ((bits & 0xffff_ffff) as u32).to_be_bytes();
        return map_v4([a, b, c, d]);
    }
    if bits == 0 {
        return LOOPBACK_V6;
    }
    address
}

/// Whether an endpoint is this host's own, which nothing is relayed to.
#[inline(always)]
pub const fn is_loopback(endpoint: &Endpoint) -> bool {
    let bits = u128::from_be_bytes(endpoint.address);
    bits == 1 || bits >> 32 == MAPPED && bits >> 24 & 0xff == 127
}

/// What a connection, or a message, has as traits by where it goes: what is no TCP cannot be relayed.
#[inline(always)]
pub const fn traits(endpoint: &Endpoint, is_direct: bool) -> u32 {
    if (is_direct || endpoint.protocol != TCP) && !is_loopback(endpoint) {
        TRAIT_DIRECT
    } else {
        0
    }
}

/// Whether a folded address is an IPv4 address.
pub fn is_v4(address: &[u8; 16]) -> bool {
    u128::from_be_bytes(*address) >> 32 == MAPPED
}

/// Key of the network map: the longest prefix of (scope, address) names a port set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct NetworkKey {
    /// The scope, as [`Session::scope`](crate::session::Session::scope) numbers them; always matched
    /// whole.
    pub scope: u32,
    /// The folded address.
    pub address: [u8; 16],
}

assert_layout!(NetworkKey, size 20, scope at 0, address at 4);

impl NetworkKey {
    /// Beside the number of a scope: the networks on which it may listen.
    pub const LISTEN: u32 = 1 << 31;
    /// Bits of the part that is always matched whole.
    pub const FIXED_BITS: u32 = 32;
    /// Bits of a whole key.
    pub const BITS: u32 = Self::FIXED_BITS + ADDRESS_BITS;
}

/// Key of the port map: the longest prefix of (port set, protocol, port) names a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct PortKey {
    /// The port set, always matched whole.
    pub set: u32,
    /// Padding, zero, always matched whole.
    pub reserved: u8,
    /// The protocol, always matched whole.
    pub protocol: u8,
    /// The port, in network order so that its high bits come first.
    pub port: [u8; 2],
}

assert_layout!(PortKey, size 8, set at 0, protocol at 5, port at 6);

impl PortKey {
    /// Bits of the part that is always matched whole.
    pub const FIXED_BITS: u32 = 48;
    /// Bits of a whole key.
    pub const BITS: u32 = Self::FIXED_BITS + 16;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_survives_being_numbers() {
        for endpoint in [
            Endpoint::v4([192, 0, 2, 7], 65_535, UDP),
            Endpoint::of_family(AF_UNIX, 255),
            Endpoint {
                address: [0x20, 1, 13, 184, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
                ..Endpoint::v4([0; 4], 443, TCP)
            },
        ] {
            assert_eq!(Endpoint::unpacked(endpoint.packed()), endpoint);
            assert!(endpoint.packed()[2] <= u64::from(u32::MAX));
        }
    }

    #[test]
    fn spellings_of_one_v4_address_are_one_address() {
        let plain = Endpoint::v4([192, 0, 2, 7], 443, TCP);
        let mut mapped = [0; 16];
        mapped[10] = 0xff;
        mapped[11] = 0xff;
        mapped[12..].copy_from_slice(&[192, 0, 2, 7]);
        let mut nat64 = [0; 16];
        nat64[..4].copy_from_slice(&[0, 0x64, 0xff, 0x9b]);
        nat64[12..].copy_from_slice(&[192, 0, 2, 7]);
        assert_eq!(Endpoint::v6(mapped, 443, TCP).address, plain.address);
        assert_eq!(Endpoint::v6(nat64, 443, TCP).address, plain.address);
        assert!(is_v4(&plain.address));
    }

    #[test]
    fn the_unspecified_address_is_loopback() {
        assert_eq!(map_v4([0; 4]), map_v4([127, 0, 0, 1]));
        assert_eq!(fold_v6([0; 16]), LOOPBACK_V6);
        assert_eq!(
            Endpoint::v6(map_v4([0; 4]), 1, UDP).address,
            map_v4([127, 0, 0, 1])
        );
    }

    #[test]
    fn other_v6_addresses_stay_as_they_are() {
        let mut near_nat64 = [0; 16];
        near_nat64[..4].copy_from_slice(&[0, 0x64, 0xff, 0x9b]);
        near_nat64[11] = 1;
        assert_eq!(fold_v6(near_nat64), near_nat64);
        assert!(!is_v4(&near_nat64));
    }
}
