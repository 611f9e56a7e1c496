//! Networks and addresses as policies write them.
//!
//! An address has one spelling here. Those that the kernel takes for another address (unspecified,
//! v4-mapped, NAT64) are refused with the spelling that says what they mean, so that what a
//! reviewer reads is what is compared.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bits in front of the IPv4 address in its folded form.
const MAPPED_BITS: u8 = 96;

/// A network in the folded address space of [`agent_common::egress`]: IPv4 lies at `::ffff:0:0/96`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: [u8; 16],
    prefix_len: u8,
}

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NetworkError {
    pub(crate) found: String,
    pub(crate) expected: String,
}

fn error<T>(found: impl Into<String>, expected: impl Into<String>) -> Result<T, NetworkError> {
    Err(NetworkError {
        found: found.into(),
        expected: expected.into(),
    })
}

/// What a network looks like, for messages.
pub(crate) const NETWORK: &str =
    "an IPv4 or IPv6 address or network, such as 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32";

impl Network {
    /// The IPv4 loopback network.
    pub const LOOPBACK_V4: Network = Network::v4(Ipv4Addr::new(127, 0, 0, 0), 8);
    /// The IPv6 loopback address.
    pub const LOOPBACK_V6: Network = Network {
        address: Ipv6Addr::LOCALHOST.octets(),
        prefix_len: 128,
    };
    /// The address of a host's metadata service, as the large clouds have it: whoever reaches it
    /// has the host's own credentials.
    pub const METADATA_V4: Network = Network::v4(Ipv4Addr::new(169, 254, 169, 254), 32);
    /// The same by IPv6.
    pub const METADATA_V6: Network = Network {
        address: Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254).octets(),
        prefix_len: 128,
    };
    /// Whoever listens, on IPv4.
    const MULTICAST_V4: Network = Network::v4(Ipv4Addr::new(224, 0, 0, 0), 4);
    /// The same by IPv6.
    const MULTICAST_V6: Network = Network {
        address: Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0).octets(),
        prefix_len: 8,
    };
    /// Everybody on the link.
    const BROADCAST: Network = Network::v4(Ipv4Addr::BROADCAST, 32);
    /// Networks that no network around them includes: they must be named, or what lies in them.
    pub const WALLS: [Network; 8] = [
        Self::ALL_V4,
        Self::LOOPBACK_V4,
        Self::LOOPBACK_V6,
        Self::METADATA_V4,
        Self::METADATA_V6,
        Self::MULTICAST_V4,
        Self::MULTICAST_V6,
        Self::BROADCAST,
    ];
    /// All of IPv4.
    pub const ALL_V4: Network = Network::v4(Ipv4Addr::UNSPECIFIED, 0);
    /// All of IPv6; what covers IPv4 in the folded space never covers it in a policy.
    pub const ALL_V6: Network = Network {
        address: [0; 16],
        prefix_len: 0,
    };

    const fn v4(address: Ipv4Addr, prefix_len: u8) -> Self {
        // Not `map_v4`: that one turns 0.0.0.0 into loopback, which a network address is not.
        Self {
            address: address.to_ipv6_mapped().octets(),
            prefix_len: MAPPED_BITS + prefix_len,
        }
    }

    /// The network of a folded address.
    pub(crate) const fn of(address: [u8; 16], prefix_len: u8) -> Self {
        Self {
            address,
            prefix_len,
        }
    }

    /// The folded address; bits beyond the prefix are zero.
    pub const fn address(&self) -> [u8; 16] {
        self.address
    }

    /// Bits that count, of 128.
    pub const fn prefix_len(&self) -> u8 {
        self.prefix_len
    }

    /// Whether this is IPv4.
    pub fn is_v4(&self) -> bool {
        self.prefix_len >= MAPPED_BITS && agent_common::egress::is_v4(&self.address)
    }

    fn bits(&self) -> u128 {
        u128::from_be_bytes(self.address)
    }

    /// Whether every address of `other` is one of this network, by prefix alone.
    pub fn covers(&self, other: &Network) -> bool {
        self.prefix_len <= other.prefix_len
            && (self.bits() ^ other.bits()) & mask(self.prefix_len) == 0
    }

    /// Whether a rule for this network speaks of the other as well: it covers it, and no wall stands
    /// between them.
    pub fn reaches(&self, other: &Network) -> bool {
        self.covers(other)
            && Self::WALLS
                .iter()
                .all(|wall| !wall.covers(other) || wall.covers(self))
    }

    /// Whether a folded address lies in this network, by prefix alone.
    pub fn contains(&self, address: &[u8; 16]) -> bool {
        (self.bits() ^ u128::from_be_bytes(*address)) & mask(self.prefix_len) == 0
    }

    /// Reads an address or a network.
    pub(crate) fn read(text: &str) -> Result<Self, NetworkError> {
        let found = || crate::text::quoted(text);
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        if address.contains('%') {
            return error(
                format!("{} with a zone", found()),
                "an address without one: a zone names an interface of one host",
            );
        }
        let Ok(parsed) = address.parse::<IpAddr>() else {
            return unreadable(text, address);
        };
        let most: u8 = if parsed.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => most,
            Some(digits) => match number(digits).and_then(|length| u8::try_from(length).ok()) {
                Some(length) if length <= most => length,
                _ => {
                    let shown = crate::text::quoted(digits);
                    return error(
                        format!("prefix length {shown} in {}", found()),
                        format!("a number from 0 to {most}"),
                    );
                }
            },
        };
        let network = match parsed {
            IpAddr::V4(v4) => Self::v4(v4, length),
            IpAddr::V6(v6) => Self {
                address: v6.octets(),
                prefix_len: length,
            },
        };
        network.one_spelling(parsed, length, text)?;
        let meant = Self {
            address: (network.bits() & mask(network.prefix_len)).to_be_bytes(),
            ..network
        };
        if meant != network {
            return error(
                format!("{} with bits set beyond its prefix", found()),
                format!("the network {meant}, or the address {parsed} alone"),
            );
        }
        Ok(network)
    }

    /// Refuses what the kernel takes for another address than it reads as.
    fn one_spelling(&self, address: IpAddr, length: u8, text: &str) -> Result<(), NetworkError> {
        let found = crate::text::quoted(text);
        match address {
            IpAddr::V4(v4) if v4.is_unspecified() && length == 32 => error(
                found,
                "127.0.0.1, which is where the kernel connects 0.0.0.0, or 0.0.0.0/0 for all of IPv4",
            ),
            IpAddr::V6(v6) if v6.is_unspecified() && length == 128 => error(
                found,
                "::1, which is where the kernel connects ::, or ::/0 for all of IPv6",
            ),
            IpAddr::V6(v6) => {
                let mapped = v6.to_ipv4_mapped();
                let nat64 = || {
                    let octets = v6.octets();
                    let well_known =
                        octets.starts_with(&[0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0]);
                    well_known
                        .then(|| Ipv4Addr::new(octets[12], octets[13], octets[14], octets[15]))
                };
                match mapped.or_else(nat64) {
                    Some(v4) if length >= MAPPED_BITS => error(
                        format!("{found}, an IPv4 address written as IPv6"),
                        format!("{v4}/{}", length - MAPPED_BITS),
                    ),
                    Some(_) => error(
                        format!("{found}, which covers IPv4 addresses written as IPv6"),
                        "an IPv6 network, or an IPv4 network written as one",
                    ),
                    None => Ok(()),
                }
            }
            IpAddr::V4(_) => Ok(()),
        }
    }
}

fn unreadable(text: &str, address: &str) -> Result<Network, NetworkError> {
    let found = crate::text::quoted(text);
    let octets: Vec<&str> = address.split('.').collect();
    let digits = |octet: &&str| !octet.is_empty() && octet.bytes().all(|b| b.is_ascii_digit());
    if octets.iter().all(digits) {
        if octets
            .iter()
            .any(|octet| octet.len() > 1 && octet.starts_with('0'))
        {
            return error(
                format!("{found} with a leading zero, which some programs read as octal"),
                "each part as a number from 0 to 255 without leading zeros",
            );
        }
        return error(
            found,
            "four parts from 0 to 255, such as 192.0.2.7 or 10.0.0.0/8",
        );
    }
    error(found, NETWORK)
}

/// A decimal number without sign or leading zero.
pub(crate) fn number(digits: &str) -> Option<u32> {
    let plain = !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    plain.then(|| digits.parse().ok()).flatten()
}

/// The bits that a prefix of this length counts.
pub(crate) fn mask(prefix_len: u8) -> u128 {
    u128::MAX
        .checked_shl(128 - u32::from(prefix_len.min(128)))
        .unwrap_or(0)
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, length, most) = if self.is_v4() {
            let [.., a, b, c, d] = self.address;
            (
                IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
                self.prefix_len - MAPPED_BITS,
                32,
            )
        } else {
            (
                IpAddr::V6(Ipv6Addr::from(self.address)),
                self.prefix_len,
                128,
            )
        };
        write!(f, "{address}")?;
        if length < most {
            write!(f, "/{length}")?;
        }
        Ok(())
    }
}
