//! Names: what was answered to a session that looked one up.
//!
//! Lookups of a session whose policy speaks of names are diverted to the daemon's resolver. What it answers
//! it writes here first, so that the connection that comes next finds it.

use crate::egress::{Endpoint, TCP, UDP};
use crate::wire::assert_layout;

/// The port of lookups.
pub const PORT: u16 = 53;

/// Addresses that were answered, of all sessions together. Memory for an entry is taken when it comes.
pub const MAX_ANSWERS: u32 = 262_144;

/// Different sets of ports that names of one scope can give one address at once.
pub const MAX_NAMES_OF_ADDRESS: u32 = 4;

/// Whether an endpoint is a server of names, as far as can be told.
#[inline(always)]
pub const fn is_server(endpoint: &Endpoint) -> bool {
    endpoint.port == PORT && (endpoint.protocol == UDP || endpoint.protocol == TCP)
}

/// Key of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct AnswerKey {
    /// The session that asked.
    pub session: u64,
    /// The scope whose rules allow the name, as [`Session::scope`](crate::session::Session::scope)
    /// numbers them.
    pub scope: u32,
    /// Which of the names that led to the address, below [`MAX_NAMES_OF_ADDRESS`].
    pub number: u32,
    /// The folded address.
    pub address: [u8; 16],
}

assert_layout!(AnswerKey, size 32, session at 0, scope at 8, number at 12, address at 16);

/// What a name says of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Answer {
    /// Until when connections may begin, in nanoseconds since boot.
    pub expires_ns: u64,
    /// The port set of the name.
    pub set: u32,
    /// Padding, zero.
    pub reserved: u32,
}

assert_layout!(Answer, size 16, expires_ns at 0, set at 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_port_of_lookups_is_one_by_udp_and_tcp() {
        let at = |port, protocol| is_server(&Endpoint::v4([192, 0, 2, 53], port, protocol));
        assert!(at(53, UDP) && at(53, TCP));
        assert!(!at(853, TCP) && !at(443, UDP) && !at(53, 132) && !at(0, UDP));
    }
}
