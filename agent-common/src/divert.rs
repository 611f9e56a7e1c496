//! Connections that go to the daemon instead: lookups to its resolver, and what rules want relayed to its
//! relay.
//!
//! The daemon sees an address and a port, which anybody could use again. So the kernel notes with the socket
//! what it was meant for, and whose it is when its first packet leaves.

use crate::decide::Rule;
use crate::egress::Endpoint;
use crate::event::Process;
use crate::wire::{assert_layout, wire_struct};

/// Sockets that were diverted, the latest.
pub const MAX_ORIGINS: u32 = 65_536;

/// Network namespaces in which the daemon listens.
pub const MAX_STATIONS: u32 = 1_024;

/// The number of the host's own network namespace, whatever the kernel calls it.
pub const HOST: u64 = 0;

/// Why something is diverted: nothing is.
pub const STRAIGHT: u8 = 0;
/// It asks for a name.
pub const LOOKUP: u8 = 1;
/// A rule wants it relayed: [`Rule::NAMED`] or [`Rule::GATEWAY`], or both.
pub const RELAYED: u8 = Rule::RELAYED;
const _: () = assert!(LOOKUP & RELAYED == 0);

/// Where the daemon listens in a network namespace, on its loopback addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Station {
    /// The port of the resolver; 0 where there is none.
    pub resolver: u32,
    /// The port of the relay; 0 where there is none.
    pub relay: u32,
    /// Not zero where both listen on the IPv6 address, too.
    pub v6: u32,
    /// Padding, zero.
    pub reserved: u32,
}

assert_layout!(Station, size 16, resolver at 0, relay at 4, v6 at 8);

/// Key of an origin: what the daemon sees of a connection, or of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct OriginKey {
    /// The network namespace, as [`Station`]s are found by.
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

assert_layout!(OriginKey, size 32, namespace at 0, address at 8, port at 24, protocol at 26);

wire_struct! {
    /// Whose it is that came to the daemon, and what it was meant for.
    Origin {
        /// The session.
        session: u64,
        /// Its slot.
        slot: u32,
        /// The innermost tool, counted from 1, or 0.
        tool: u32,
        /// The process.
        process: Process,
        /// Where the program wanted to go.
        server: Endpoint,
        /// The list of rules by which the agent was allowed it.
        list: u32,
        /// The same of the innermost tool; the agent's where it is in none.
        tools_list: u32,
        /// Why it was diverted: [`LOOKUP`], or bits of [`RELAYED`].
        why: u32,
    }
}

assert_layout!(Origin, size 80, session at 0, slot at 8, tool at 12, process at 16, server at 48, list at 68, tools_list at 72, why at 76);

wire_struct! {
    /// What a socket was meant for and where it goes, in the socket's own storage.
    Diverted {
        /// The network namespace of the daemon's socket.
        namespace: u64,
        /// Whose it is.
        origin: Origin,
        /// Where it goes instead.
        station: Endpoint,
        /// Padding, zero.
        reserved: u32,
    }
}

assert_layout!(Diverted, size 112, namespace at 0, origin at 8, station at 88);
