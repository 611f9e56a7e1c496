//! Connections and lookups that go to the daemon instead, and whose they are.

use super::btf_map::BtfMap;
use super::member::Member;
use super::owner;
use super::storage;
use super::task::Task;
use crate::judge;
use crate::maps::{ORIGINS, STATIONS};
use agent_common::divert::{Diverted, HOST, LOOKUP, Origin, OriginKey};
use agent_common::egress::{AF_INET6, Endpoint, TCP, UDP, is_v4};
use agent_common::session::Owner;
use aya_ebpf::bindings::{
    BPF_F_NO_PREALLOC, BPF_LOCAL_STORAGE_GET_F_CREATE, bpf_map_type, bpf_sock_addr,
};
use aya_ebpf::helpers::generated::{bpf_get_netns_cookie, bpf_sk_storage_get};
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::{SkBuffContext, SockAddrContext};
use core::ffi::c_void;
use core::ptr;

const SK_STORAGE: usize = bpf_map_type::BPF_MAP_TYPE_SK_STORAGE as usize;

#[btf_map]
static DIVERTED: BtfMap<i32, Diverted, SK_STORAGE, 0, { BPF_F_NO_PREALLOC as usize }> =
    BtfMap::pinned();

/// 127.0.0.1 as the kernel stores it.
const LOOPBACK4: u32 = u32::from_ne_bytes([127, 0, 0, 1]);
/// The word before an IPv4 address that is written as IPv6, and the last one of `::1`.
const MAPPED: u32 = 0xffff_u32.to_be();
const ONE: u32 = 1_u32.to_be();

/// What a socket was meant for, where it was diverted.
#[inline(always)]
fn of(sk: *mut c_void) -> Option<*mut Diverted> {
    // SAFETY: the map is the loader's, and the verifier checks the type of `sk`.
    let found = unsafe { bpf_sk_storage_get(DIVERTED.raw(), sk, ptr::null_mut(), 0) };
    (!found.is_null()).then_some(found.cast())
}

/// Sends what is on its way to an IPv4 address to the daemon instead. False where it does not listen.
#[inline(always)]
pub fn redirect4(ctx: &SockAddrContext, member: Member, server: &Endpoint, why: u8) -> bool {
    let station = Endpoint::own_v4([127, 0, 0, 1], 0, server.protocol);
    let port = note(ctx.sock_addr, member, server, &station, why);
    if port == 0 {
        return false;
    }
    // SAFETY: the context is the kernel's; each field is written whole, as the verifier demands.
    unsafe {
        ptr::write_volatile(&raw mut (*ctx.sock_addr).user_ip4, LOOPBACK4);
        ptr::write_volatile(&raw mut (*ctx.sock_addr).user_port, port);
    }
    true
}

/// The same for a socket of IPv6, which goes by IPv4 where the program wrote such an address.
#[inline(always)]
pub fn redirect6(ctx: &SockAddrContext, member: Member, server: &Endpoint, why: u8) -> bool {
    // SAFETY: as in `redirect4`.
    let third = unsafe { ptr::read_volatile(&raw const (*ctx.sock_addr).user_ip6[2]) };
    let is_mapped = is_v4(&server.address) && third == MAPPED;
    let station = if is_mapped {
        Endpoint::own_v4([127, 0, 0, 1], 0, server.protocol)
    } else {
        Endpoint::own_v6(1_u128.to_be_bytes(), 0, server.protocol)
    };
    let port = note(ctx.sock_addr, member, server, &station, why);
    if port == 0 {
        return false;
    }
    let (third, last) = if is_mapped {
        (MAPPED, LOOPBACK4)
    } else {
        (0, ONE)
    };
    // SAFETY: as in `redirect4`.
    unsafe {
        ptr::write_volatile(&raw mut (*ctx.sock_addr).user_ip6[0], 0);
        ptr::write_volatile(&raw mut (*ctx.sock_addr).user_ip6[1], 0);
        ptr::write_volatile(&raw mut (*ctx.sock_addr).user_ip6[2], third);
        ptr::write_volatile(&raw mut (*ctx.sock_addr).user_ip6[3], last);
        ptr::write_volatile(&raw mut (*ctx.sock_addr).user_port, port);
    }
    true
}

/// Notes with the socket what it was meant for, and answers the port of the daemon in network order, or 0. A
/// function of its own because of what it needs of the stack, with as many arguments as there can be.
#[inline(never)]
fn note(
    ctx: *mut bpf_sock_addr,
    member: Member,
    server: &Endpoint,
    station: &Endpoint,
    why: u8,
) -> u32 {
    // SAFETY: the helper takes the context, or nothing for the host's own namespace.
    let (own, host) = unsafe {
        (
            bpf_get_netns_cookie(ctx.cast()),
            bpf_get_netns_cookie(ptr::null_mut()),
        )
    };
    let namespace = if own == host { HOST } else { own };
    // SAFETY: an entry that user space removes meanwhile stays readable until the program ends.
    let Some(at) = (unsafe { STATIONS.get(namespace) }) else {
        return 0;
    };
    let port = if why == LOOKUP { at.resolver } else { at.relay } as u16;
    if port == 0 || station.family == AF_INET6 && at.v6 == 0 {
        return 0;
    }
    // SAFETY: as in `owner::of_packet`.
    let sk = unsafe { ptr::read_volatile(&raw const (*ctx).__bindgen_anon_1.sk) };
    if sk.is_null() || !owner::divert(sk.cast(), member, why) {
        return 0;
    }
    // Written where it belongs, which the stack has no room for.
    let mut found: *mut Diverted = ptr::null_mut();
    let stored = storage::insist(|| {
        // SAFETY: as in `of`.
        found = unsafe {
            bpf_sk_storage_get(
                DIVERTED.raw(),
                sk.cast(),
                ptr::null_mut(),
                u64::from(BPF_LOCAL_STORAGE_GET_F_CREATE),
            )
        }
        .cast();
        !found.is_null()
    });
    if !stored || found.is_null() {
        return 0;
    }
    let label = member.label();
    let [list, tools_list] = judge::lists_of(member);
    // SAFETY: the pointer came from a successful lookup, and the socket outlives its use.
    unsafe {
        (*found).namespace = namespace;
        (*found).station = *station;
        (*found).station.port = port;
        let origin = &raw mut (*found).origin;
        (*origin).session = label.session;
        (*origin).slot = label.slot;
        (*origin).tool = u32::from(member.innermost_tool());
        (*origin).server = *server;
        (*origin).list = list;
        (*origin).tools_list = tools_list;
        (*origin).why = u32::from(why);
        Task::current().describe(&mut (*origin).process);
    }
    u32::from(port.to_be())
}

/// What a socket of an LSM hook was meant for, where it is connected to the daemon instead.
#[inline(always)]
pub fn origin(sk: *mut c_void, peer: &Endpoint) -> Option<&'static Origin> {
    // SAFETY: the pointer came from a successful lookup, and the socket outlives its use.
    let diverted = unsafe { &*of(sk)? };
    let station = &diverted.station;
    (station.address == peer.address && station.port == peer.port).then_some(&diverted.origin)
}

/// The flag of the segment that begins a connection.
const SYN: u8 = 2;

/// Notes whose a packet is that leaves a diverted socket; of a relayed connection its first is enough.
#[inline(never)]
pub fn note_origin(ctx: &SkBuffContext, owner: &Owner) -> u32 {
    // SAFETY: as in `owner::of_packet`.
    let sk = unsafe { ptr::read_volatile(&raw const (*ctx.skb.skb).__bindgen_anon_2.sk) };
    if sk.is_null() {
        return 0;
    }
    let Some(diverted) = of(sk.cast()) else {
        return 0;
    };
    // SAFETY: as in `origin`.
    let diverted = unsafe { &*diverted };
    let Ok(first) = ctx.load::<[u8; 10]>(0) else {
        return 0;
    };
    let (source, protocol, start) = if first[0] >> 4 == 4 {
        let Ok([a, b, c, d]) = ctx.load::<[u8; 4]>(12) else {
            return 0;
        };
        let source = Endpoint::own_v4([a, b, c, d], 0, 0).address;
        (source, first[9], usize::from(first[0] & 15) * 4)
    } else {
        let Ok(source) = ctx.load::<[u8; 16]>(8) else {
            return 0;
        };
        (source, first[6], 40)
    };
    if protocol != UDP && protocol != TCP {
        return 0;
    }
    let Ok([a, b, c, d]) = ctx.load::<[u8; 4]>(start) else {
        return 0;
    };
    if u16::from_be_bytes([c, d]) != diverted.station.port {
        return 0;
    }
    if owner.diverted != LOOKUP {
        match ctx.load::<u8>(start + 13) {
            Ok(flags) if flags & SYN != 0 => {}
            _ => return 0,
        }
    }
    let key = OriginKey {
        namespace: diverted.namespace,
        address: source,
        port: u16::from_be_bytes([a, b]),
        protocol,
        reserved: [0; 5],
    };
    // Where the packet leaves for somebody else by then, it is theirs.
    if diverted.origin.session == owner.session {
        let _ = ORIGINS.insert(key, diverted.origin, 0);
    }
    0
}

/// Shows a program the place where it wanted to go, where the daemon has answered.
#[inline(always)]
pub fn show_server4(ctx: &SockAddrContext) {
    // SAFETY: as in `redirect4`.
    let (address, port) = unsafe {
        (
            ptr::read_volatile(&raw const (*ctx.sock_addr).user_ip4),
            ptr::read_volatile(&raw const (*ctx.sock_addr).user_port),
        )
    };
    if address != LOOPBACK4 {
        return;
    }
    let Some(origin) = origin_at(ctx, port) else {
        return;
    };
    let [.., a, b, c, d] = origin.server.address;
    // SAFETY: as in `redirect4`.
    unsafe {
        ptr::write_volatile(
            &raw mut (*ctx.sock_addr).user_ip4,
            u32::from_ne_bytes([a, b, c, d]),
        );
        ptr::write_volatile(
            &raw mut (*ctx.sock_addr).user_port,
            u32::from(origin.server.port.to_be()),
        );
    }
}

/// The same for a socket of IPv6.
#[inline(always)]
pub fn show_server6(ctx: &SockAddrContext) {
    // SAFETY: as in `redirect4`.
    let (first, second, third, last, port) = unsafe {
        (
            ptr::read_volatile(&raw const (*ctx.sock_addr).user_ip6[0]),
            ptr::read_volatile(&raw const (*ctx.sock_addr).user_ip6[1]),
            ptr::read_volatile(&raw const (*ctx.sock_addr).user_ip6[2]),
            ptr::read_volatile(&raw const (*ctx.sock_addr).user_ip6[3]),
            ptr::read_volatile(&raw const (*ctx.sock_addr).user_port),
        )
    };
    let is_loopback = third == 0 && last == ONE || third == MAPPED && last == LOOPBACK4;
    if first != 0 || second != 0 || !is_loopback {
        return;
    }
    let Some(origin) = origin_at(ctx, port) else {
        return;
    };
    let address = &origin.server.address;
    let word = |at: usize| {
        u32::from_ne_bytes([
            address[at],
            address[at + 1],
            address[at + 2],
            address[at + 3],
        ])
    };
    let (first, second, third, last) = (word(0), word(4), word(8), word(12));
    // SAFETY: as in `redirect4`.
    unsafe {
        ptr::write_volatile(&raw mut (*ctx.sock_addr).user_ip6[0], first);
        ptr::write_volatile(&raw mut (*ctx.sock_addr).user_ip6[1], second);
        ptr::write_volatile(&raw mut (*ctx.sock_addr).user_ip6[2], third);
        ptr::write_volatile(&raw mut (*ctx.sock_addr).user_ip6[3], last);
        ptr::write_volatile(
            &raw mut (*ctx.sock_addr).user_port,
            u32::from(origin.server.port.to_be()),
        );
    }
}

/// What a socket was meant for that hears from, or is connected to, a port of this host's, if that is the
/// daemon's.
#[inline(always)]
fn origin_at(ctx: &SockAddrContext, port: u32) -> Option<&'static Origin> {
    // SAFETY: as in `owner::of_packet`.
    let sk = unsafe { ptr::read_volatile(&raw const (*ctx.sock_addr).__bindgen_anon_1.sk) };
    if sk.is_null() {
        return None;
    }
    // SAFETY: as in `origin`.
    let diverted = unsafe { &*of(sk.cast())? };
    (u32::from(diverted.station.port.to_be()) == port).then_some(&diverted.origin)
}
