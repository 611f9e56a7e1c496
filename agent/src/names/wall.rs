//! Addresses to which no name leads.

use agent_common::egress::{Endpoint, TCP};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address as the kernel programs compare it.
pub(super) fn folded(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => Endpoint::v4(address.octets(), 0, TCP).address,
        IpAddr::V6(address) => Endpoint::v6(address.octets(), 0, TCP).address,
    }
}

/// Whether an address is one that only a rule for addresses can give: this host's own, a cloud's
/// metadata service, multicast, broadcast. Who answers for a name could say anything.
pub(super) fn is_walled(folded: [u8; 16]) -> bool {
    const METADATA4: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
    const METADATA6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    let address = Ipv6Addr::from(folded);
    match address.to_ipv4_mapped() {
        Some(v4) => v4.is_loopback() || v4.is_multicast() || v4.is_broadcast() || v4 == METADATA4,
        None => address.is_loopback() || address.is_multicast() || address == METADATA6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_behind_a_wall() {
        for text in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "169.254.169.254",
            "fd00:ec2::254",
            "224.0.0.1",
            "255.255.255.255",
            "ff02::1",
        ] {
            assert!(is_walled(folded(text.parse().unwrap())), "{text}");
        }
        for text in ["192.0.2.7", "10.0.0.1", "2001:db8::7", "169.254.1.1"] {
            assert!(!is_walled(folded(text.parse().unwrap())), "{text}");
        }
    }
}
