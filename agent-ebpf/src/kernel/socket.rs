//! Where to: sockets and addresses, from the kernel's own copies only.

use super::memory::{Address, Typed};
use super::offsets::{
    MESSAGE_NAME, SOCK_ADDRESS, SOCK_ADDRESS6, SOCK_FAMILY, SOCK_PORT, SOCK_PROTOCOL, SOCK_REMOTE,
    SOCK_REMOTE_PORT, SOCK_REMOTE_V6, SOCKET_SK, TCP_SENT, TCP_TAKEN,
};
use agent_common::egress::{AF_INET, AF_INET6, AF_UNIX, AF_UNSPEC, Endpoint, TCP, UDP};
use agent_common::socket::MPTCP;
use aya_ebpf::Global;
use aya_ebpf::programs::SockAddrContext;
use core::ffi::c_void;

/// Where in a `sockaddr` reading begins.
static START: Global<u32> = Global::new(0);

/// The shortest `sockaddr_in` and `sockaddr_in6` that the kernel takes.
const V4_LENGTH: i32 = 16;
const V6_LENGTH: i32 = 24;

/// What an address passed to `connect` turned out to be.
pub enum Target {
    /// Somewhere on a network.
    Network,
    /// A Unix socket.
    Local,
    /// Nowhere: the address that takes a socket's peer away.
    Disconnect,
    /// A family that no policy can speak of.
    Other,
    /// Too short to tell.
    Unreadable,
}

/// Where to a message goes.
pub enum Peer {
    /// To the socket's peer on a network.
    Network,
    /// Where the message says, which other hooks judge.
    Addressed,
    /// To nobody yet.
    Nobody,
    /// Where no rule can speak of.
    Other,
    /// That cannot be told.
    Unreadable,
}

/// A protocol number as policies know it: TCP by several ways is TCP, and whatever does not fit is none
/// of theirs.
#[inline(always)]
fn protocol(number: u32) -> u8 {
    if number == u32::from(MPTCP) {
        TCP
    } else if number > 255 {
        0
    } else {
        number as u8
    }
}

/// Reads the address that `socket_connect` was given. A function of its own, so that what it needs
/// of the stack is free again when the rules are weighed.
#[inline(never)]
pub fn target(
    socket: *const c_void,
    address: *const c_void,
    length: i32,
    endpoint: &mut Endpoint,
) -> Target {
    let Some(sk) = Typed::given(socket).follow(&SOCKET_SK) else {
        return Target::Unreadable;
    };
    let number: u16 = sk.load(&SOCK_PROTOCOL);
    let protocol = protocol(u32::from(number));
    let address = Address(address as u64);
    if length < 2 {
        return Target::Unreadable;
    }
    // The kernel copied the address into a `sockaddr_storage` of 128 bytes, whatever its length, so
    // one read of the longest form serves every family.
    let Some(given) = address.read::<SockAddr>(&START) else {
        return Target::Unreadable;
    };
    let (family, port) = (given.family, u16::from_be(given.port));
    if family == u16::from(AF_INET) && length >= V4_LENGTH {
        *endpoint = Endpoint::v4(given.v4, port, protocol);
        return Target::Network;
    }
    if family == u16::from(AF_INET6) && length >= V6_LENGTH {
        *endpoint = Endpoint::v6(given.v6, port, protocol);
        return Target::Network;
    }
    let own: u16 = sk.load(&SOCK_FAMILY);
    if own == u16::from(AF_UNIX) && family == u16::from(AF_UNIX) {
        return Target::Local;
    }
    if family == u16::from(AF_UNSPEC)
        && (own == u16::from(AF_INET) || own == u16::from(AF_INET6) || own == u16::from(AF_UNIX))
    {
        return Target::Disconnect;
    }
    let family = if family > 255 { u8::MAX } else { family as u8 };
    *endpoint = Endpoint::of_family(family, protocol);
    Target::Other
}

/// Reads the address of this host's that `socket_bind` was given. A function of its own as `target`.
#[inline(never)]
pub fn own(
    socket: *const c_void,
    address: *const c_void,
    length: i32,
    endpoint: &mut Endpoint,
) -> Target {
    let Some(sk) = Typed::given(socket).follow(&SOCKET_SK) else {
        return Target::Unreadable;
    };
    let family: u16 = sk.load(&SOCK_FAMILY);
    if family != u16::from(AF_INET) && family != u16::from(AF_INET6) {
        return Target::Other;
    }
    let number: u16 = sk.load(&SOCK_PROTOCOL);
    let protocol = protocol(u32::from(number));
    // Nothing is bound to so short an address: the kernel says so itself.
    if length < V4_LENGTH {
        return Target::Disconnect;
    }
    let Some(given) = Address(address as u64).read::<SockAddr>(&START) else {
        return Target::Unreadable;
    };
    let port = u16::from_be(given.port);
    if family == u16::from(AF_INET6) && given.family == family {
        *endpoint = Endpoint::own_v6(given.v6, port, protocol);
        return Target::Network;
    }
    // An IPv4 socket takes no family for IPv4.
    let is_v4 = given.family == u16::from(AF_INET) || given.family == u16::from(AF_UNSPEC);
    if family == u16::from(AF_INET) && is_v4 {
        *endpoint = Endpoint::own_v4(given.v4, port, protocol);
        return Target::Network;
    }
    // The kernel takes no other.
    Target::Disconnect
}

/// Reads where to a message goes that is sent without an address: to the socket's peer. One with an
/// address is judged by the hooks that see that.
#[inline(always)]
pub fn peer(socket: *const c_void, message: *const c_void, endpoint: &mut Endpoint) -> Peer {
    let Some(sk) = Typed::given(socket).follow(&SOCKET_SK) else {
        return Peer::Unreadable;
    };
    let family: u16 = sk.load(&SOCK_FAMILY);
    if family != u16::from(AF_INET) && family != u16::from(AF_INET6) {
        return Peer::Other;
    }
    let number: u16 = sk.load(&SOCK_PROTOCOL);
    let protocol = protocol(u32::from(number));
    let address: u64 = Typed::given(message).load(&MESSAGE_NAME);
    if protocol == UDP && address != 0 {
        let given: Option<SockAddr> = Address(address).read(&START);
        // An IPv6 socket takes no family for no address.
        let is_none = |given: &SockAddr| {
            family == u16::from(AF_INET6) && given.family == u16::from(AF_UNSPEC)
        };
        if !given.as_ref().is_some_and(is_none) {
            if let Some(given) = given {
                let port = u16::from_be(given.port);
                *endpoint = if given.family == u16::from(AF_INET6) {
                    Endpoint::v6(given.v6, port, protocol)
                } else {
                    Endpoint::v4(given.v4, port, protocol)
                };
            }
            return Peer::Addressed;
        }
    }
    if protocol != TCP && protocol != UDP {
        return Peer::Other;
    }
    let port = u16::from_be(sk.load(&SOCK_REMOTE_PORT));
    let is_anywhere = if family == u16::from(AF_INET) {
        let address: u32 = sk.load(&SOCK_REMOTE);
        *endpoint = Endpoint::v4(address.to_ne_bytes(), port, protocol);
        address == 0
    } else {
        let Some(address) = sk.address().read::<[u8; 16]>(&SOCK_REMOTE_V6) else {
            return Peer::Unreadable;
        };
        *endpoint = Endpoint::v6(address, port, protocol);
        u128::from_ne_bytes(address) == 0
    };
    if is_anywhere && port == 0 {
        return Peer::Nobody;
    }
    Peer::Network
}

/// Bytes that a socket of TCP has taken and not sent yet.
#[inline(always)]
pub fn unsent(socket: *const c_void) -> u64 {
    let Some(sk) = Typed::given(socket).follow(&SOCKET_SK) else {
        return 0;
    };
    if sk.load::<u16>(&SOCK_PROTOCOL) != u16::from(TCP) {
        return 0;
    }
    let at = sk.address();
    let (taken, sent) = (at.read::<u32>(&TCP_TAKEN), at.read::<u32>(&TCP_SENT));
    u64::from(taken.unwrap_or(0).wrapping_sub(sent.unwrap_or(0)))
}

/// Reads the address of this host's that a socket is bound to.
#[inline(never)]
pub fn bound(socket: *const c_void, endpoint: &mut Endpoint) -> Target {
    let Some(sk) = Typed::given(socket).follow(&SOCKET_SK) else {
        return Target::Unreadable;
    };
    let family: u16 = sk.load(&SOCK_FAMILY);
    let number: u16 = sk.load(&SOCK_PROTOCOL);
    let protocol = protocol(u32::from(number));
    let port: u16 = sk.load(&SOCK_PORT);
    if family == u16::from(AF_INET) {
        let address: u32 = sk.load(&SOCK_ADDRESS);
        *endpoint = Endpoint::own_v4(address.to_ne_bytes(), port, protocol);
        return Target::Network;
    }
    if family != u16::from(AF_INET6) {
        return Target::Other;
    }
    let Some(address) = sk.address().read::<[u8; 16]>(&SOCK_ADDRESS6) else {
        return Target::Unreadable;
    };
    *endpoint = Endpoint::own_v6(address, port, protocol);
    Target::Network
}

/// The kernel's name for the socket of an LSM hook: the address of its `sock`.
#[inline(always)]
pub fn name(socket: *const c_void) -> u64 {
    Typed::given(socket).load(&SOCKET_SK)
}

/// The same for the socket of a cgroup program.
#[inline(always)]
pub fn name_in(ctx: &SockAddrContext) -> u64 {
    // SAFETY: as in `endpoint4`; the pointer is compared and never followed.
    unsafe { core::ptr::read_volatile(&raw const (*ctx.sock_addr).__bindgen_anon_1.sk) as u64 }
}

/// The beginnings of `sockaddr_in` and `sockaddr_in6`, one over the other.
#[derive(Clone, Copy)]
#[repr(C)]
struct SockAddr {
    family: u16,
    port: u16,
    /// The address in `sockaddr_in`, the flow label in `sockaddr_in6`.
    v4: [u8; 4],
    v6: [u8; 16],
}

/// The IPv4 address of a cgroup program.
#[inline(always)]
pub fn endpoint4(ctx: &SockAddrContext) -> Endpoint {
    // SAFETY: the context is the kernel's; each field is read whole, as the verifier demands.
    unsafe {
        let address = core::ptr::read_volatile(&raw const (*ctx.sock_addr).user_ip4);
        Endpoint::v4(address.to_ne_bytes(), port(ctx), protocol_of(ctx))
    }
}

/// The IPv6 address of a cgroup program.
#[inline(always)]
pub fn endpoint6(ctx: &SockAddrContext) -> Endpoint {
    Endpoint::v6(address6(ctx), port(ctx), protocol_of(ctx))
}

#[inline(always)]
fn address6(ctx: &SockAddrContext) -> [u8; 16] {
    let mut address = [0; 16];
    let mut word = 0;
    while word < 4 {
        // SAFETY: as in `endpoint4`; the index is below four.
        let part = unsafe { core::ptr::read_volatile(&raw const (*ctx.sock_addr).user_ip6[word]) };
        let [a, b, c, d] = part.to_ne_bytes();
        address[word * 4] = a;
        address[word * 4 + 1] = b;
        address[word * 4 + 2] = c;
        address[word * 4 + 3] = d;
        word += 1;
    }
    address
}

/// The IPv4 address of this host's of a cgroup program.
#[inline(always)]
pub fn own4(ctx: &SockAddrContext) -> Endpoint {
    // SAFETY: as in `endpoint4`.
    unsafe {
        let address = core::ptr::read_volatile(&raw const (*ctx.sock_addr).user_ip4);
        Endpoint::own_v4(address.to_ne_bytes(), port(ctx), protocol_of(ctx))
    }
}

/// The IPv6 address of this host's of a cgroup program.
#[inline(always)]
pub fn own6(ctx: &SockAddrContext) -> Endpoint {
    Endpoint::own_v6(address6(ctx), port(ctx), protocol_of(ctx))
}

#[inline(always)]
fn port(ctx: &SockAddrContext) -> u16 {
    // SAFETY: as in `endpoint4`. The port stands in network order in the low half.
    u16::from_be(unsafe { core::ptr::read_volatile(&raw const (*ctx.sock_addr).user_port) } as u16)
}

#[inline(always)]
fn protocol_of(ctx: &SockAddrContext) -> u8 {
    // SAFETY: as in `endpoint4`.
    protocol(unsafe { core::ptr::read_volatile(&raw const (*ctx.sock_addr).protocol) })
}
