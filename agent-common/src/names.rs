//! Names: what was answered to a session that looked one up, and who it was that asked.
//!
//! Lookups of a session whose policy speaks of names go to the daemon's resolver, whatever server they
//! were meant for. What it answers it writes here first, so that the connection that comes next finds it.

use crate::egress::{Endpoint, TCP, UDP};
use crate::event::Process;
use crate::wire::{assert_layout, wire_struct};

/// The port of lookups.
pub const PORT: u16 = 53;

/// Addresses that were answered, of all sessions together. Memory for an entry is taken when it comes.
pub const MAX_ANSWERS: u32 = 262_144;

/// Sockets from which sessions have asked, the latest.
pub const MAX_ASKERS: u32 = 65_536;

/// Network namespaces in which there is a resolver.
pub const MAX_RESOLVERS: u32 = 1_024;

/// Different sets of ports that names of one scope can give one address at once.
pub const MAX_NAMES_OF_ADDRESS: u32 = 4;

/// The number of the host's own network namespace, whatever the kernel calls it.
pub const HOST: u64 = 0;

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

/// Key of who asked: what the resolver sees of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct AskerKey {
    /// The network namespace, as [`Resolver`]s are found by.
    pub namespace: u64,
    /// The folded address from which it came.
    pub address: [u8; 16],
    /// The port from which it came.
    pub port: u16,
    /// The protocol.
    pub protocol: u8,
    /// Padding, zero.
    pub reserved: [u8; 5],
}

assert_layout!(AskerKey, size 32, namespace at 0, address at 8, port at 24, protocol at 26);

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Asker {
    /// The session.
    pub session: u64,
    /// Its slot.
    pub slot: u32,
    /// The innermost tool in which it was asked, counted from 1, or 0.
    pub tool: u32,
    /// The process.
    pub process: Process,
}

assert_layout!(Asker, size 48, session at 0, slot at 8, tool at 12, process at 16);

/// Where the resolver of a network namespace listens, on its loopback addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Resolver {
    /// The port.
    pub port: u32,
    /// Not zero where it listens on the IPv6 address, too.
    pub v6: u32,
}

assert_layout!(Resolver, size 8, port at 0, v6 at 4);

wire_struct! {
    /// What a socket's lookups were meant for and where they went, in the socket's own storage.
    Asked {
        /// The namespace of the resolver.
        namespace: u64,
        /// What the program asked.
        server: Endpoint,
        /// Who answers instead.
        resolver: Endpoint,
        /// The innermost tool in which it was asked, counted from 1, or 0.
        tool: u32,
        /// Padding, zero.
        reserved: u32,
        /// The process that asked.
        process: Process,
    }
}

assert_layout!(Asked, size 88, namespace at 0, server at 8, resolver at 28, tool at 48, process at 56);

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
