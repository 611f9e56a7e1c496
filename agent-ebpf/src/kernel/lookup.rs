//! Lookups of names: where they go instead, who asks, and what was answered.
//!
//! The resolver sees an address and a port, which anybody could use again. So whose a question is says
//! the socket: what leaves one that asks is noted, with its session, before it is delivered.

use super::btf_map::BtfMap;
use super::member::Member;
use super::record;
use super::state;
use super::storage;
use super::task::Task;
use crate::maps::{ANSWERS, ASKERS, POLICIES, PORTS, RESOLVERS, RULES};
use agent_common::decide::{NO_LIST, allows_always};
use agent_common::egress::{AF_INET, AF_INET6, Endpoint, PortKey, TCP, UDP};
use agent_common::names::{
    AnswerKey, Asked, Asker, AskerKey, HOST, MAX_NAMES_OF_ADDRESS, is_server,
};
use agent_common::session::{Owner, Session};
use aya_ebpf::bindings::{
    BPF_F_NO_PREALLOC, BPF_LOCAL_STORAGE_GET_F_CREATE, bpf_map_type, bpf_sock_addr,
};
use aya_ebpf::helpers::generated::{bpf_get_netns_cookie, bpf_sk_storage_get};
use aya_ebpf::macros::btf_map;
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::programs::{SkBuffContext, SockAddrContext};
use core::ffi::c_void;
use core::ptr;

const SK_STORAGE: usize = bpf_map_type::BPF_MAP_TYPE_SK_STORAGE as usize;

#[btf_map]
static ASKED: BtfMap<i32, Asked, SK_STORAGE, 0, { BPF_F_NO_PREALLOC as usize }> = BtfMap::pinned();

/// 127.0.0.1 as the kernel stores it.
const LOOPBACK4: u32 = u32::from_ne_bytes([127, 0, 0, 1]);
/// The word before an IPv4 address that is written as IPv6, and the last one of `::1`.
const MAPPED: u32 = 0xffff_u32.to_be();
const ONE: u32 = 1_u32.to_be();

/// What a socket has asked, where it has asked anything.
#[inline(always)]
fn asked_of(sk: *mut c_void) -> Option<*mut Asked> {
    // SAFETY: the map is the loader's, and the verifier checks the type of `sk`.
    let found = unsafe { bpf_sk_storage_get(ASKED.raw(), sk, ptr::null_mut(), 0) };
    (!found.is_null()).then_some(found.cast())
}

/// Whether a member that wants to go somewhere asks for names, and its policy speaks of such. Begins a
/// judgement. Whose permission has ended asks nobody.
#[inline(always)]
pub fn begins(member: Member, endpoint: &Endpoint) -> bool {
    is_server(endpoint)
        && state::begin(member).is_some_and(|session| session.flags & Session::REVOKED == 0)
        && has_names(member.policy())
}

/// Whether a policy speaks of names.
#[inline(always)]
pub fn has_names(policy: u32) -> bool {
    POLICIES.get(policy).is_some_and(|policy| policy.names != 0)
}

/// Sends a lookup to the resolver instead. False where there is none.
#[inline(always)]
pub fn redirect4(ctx: &SockAddrContext, member: Member, server: &Endpoint) -> bool {
    let resolver = Endpoint::own_v4([127, 0, 0, 1], 0, server.protocol);
    let Some(port) = note(ctx.sock_addr, member, server, &resolver) else {
        return false;
    };
    // SAFETY: the context is the kernel's; each field is written whole, as the verifier demands.
    unsafe {
        ptr::write_volatile(&raw mut (*ctx.sock_addr).user_ip4, LOOPBACK4);
        ptr::write_volatile(&raw mut (*ctx.sock_addr).user_port, port);
    }
    true
}

/// The same for a socket of IPv6, which asks by IPv4 where the program wrote such an address.
#[inline(always)]
pub fn redirect6(ctx: &SockAddrContext, member: Member, server: &Endpoint) -> bool {
    // SAFETY: as in `redirect4`.
    let third = unsafe { ptr::read_volatile(&raw const (*ctx.sock_addr).user_ip6[2]) };
    let is_mapped = agent_common::egress::is_v4(&server.address) && third == MAPPED;
    let resolver = if is_mapped {
        Endpoint::own_v4([127, 0, 0, 1], 0, server.protocol)
    } else {
        Endpoint::own_v6(1_u128.to_be_bytes(), 0, server.protocol)
    };
    let Some(port) = note(ctx.sock_addr, member, server, &resolver) else {
        return false;
    };
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

/// Notes with the socket what was asked, and answers the port of the resolver in network order. A
/// function of its own because of what it needs of the stack.
#[inline(never)]
fn note(
    ctx: *mut bpf_sock_addr,
    member: Member,
    server: &Endpoint,
    resolver: &Endpoint,
) -> Option<u32> {
    // SAFETY: the helper takes the context, or nothing for the host's own namespace.
    let (own, host) = unsafe {
        (
            bpf_get_netns_cookie(ctx.cast()),
            bpf_get_netns_cookie(ptr::null_mut()),
        )
    };
    let namespace = if own == host { HOST } else { own };
    // SAFETY: an entry that user space removes meanwhile stays readable until the program ends.
    let at = unsafe { RESOLVERS.get(namespace) }?;
    if resolver.family == AF_INET6 && at.v6 == 0 {
        return None;
    }
    // SAFETY: as in `owner::of_packet`.
    let sk = unsafe { ptr::read_volatile(&raw const (*ctx).__bindgen_anon_1.sk) };
    if sk.is_null() || !super::owner::asks(sk.cast(), member) {
        return None;
    }
    // Written where it belongs, which the stack has no room for.
    let mut found: *mut Asked = ptr::null_mut();
    let stored = storage::insist(|| {
        // SAFETY: as in `asked_of`.
        found = unsafe {
            bpf_sk_storage_get(
                ASKED.raw(),
                sk.cast(),
                ptr::null_mut(),
                u64::from(BPF_LOCAL_STORAGE_GET_F_CREATE),
            )
        }
        .cast();
        !found.is_null()
    });
    if !stored || found.is_null() {
        return None;
    }
    // SAFETY: the pointer came from a successful lookup, and the socket outlives its use.
    unsafe {
        (*found).namespace = namespace;
        (*found).server = *server;
        (*found).resolver = *resolver;
        (*found).resolver.port = at.port as u16;
        (*found).tool = u32::from(member.innermost_tool());
        Task::current().describe(&mut (*found).process);
    }
    Some(u32::from((at.port as u16).to_be()))
}

/// Whether what is sent through a socket of an LSM hook goes to the resolver.
#[inline(always)]
pub fn goes_to_resolver(sk: *mut c_void, peer: &Endpoint) -> bool {
    let Some(asked) = asked_of(sk) else {
        return false;
    };
    // SAFETY: the pointer came from a successful lookup, and the socket outlives its use.
    let asked = unsafe { &*asked };
    asked.resolver.address == peer.address && asked.resolver.port == peer.port
}

/// Notes who asks, of a packet that leaves a socket that does.
#[inline(never)]
pub fn note_asker(ctx: &SkBuffContext, owner: &Owner) -> u32 {
    // SAFETY: as in `owner::of_packet`.
    let sk = unsafe { ptr::read_volatile(&raw const (*ctx.skb.skb).__bindgen_anon_2.sk) };
    if sk.is_null() {
        return 0;
    }
    let Some(asked) = asked_of(sk.cast()) else {
        return 0;
    };
    // SAFETY: as in `goes_to_resolver`.
    let asked = unsafe { &*asked };
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
    if u16::from_be_bytes([c, d]) != asked.resolver.port {
        return 0;
    }
    let key = AskerKey {
        namespace: asked.namespace,
        address: source,
        port: u16::from_be_bytes([a, b]),
        protocol,
        reserved: [0; 5],
    };
    let asker = Asker {
        session: owner.session,
        slot: owner.slot,
        tool: asked.tool,
        process: asked.process,
    };
    let _ = ASKERS.insert(key, asker, 0);
    0
}

/// Shows a program the server that it asked, where the resolver has answered.
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
    let Some(asked) = answered_by(ctx, port) else {
        return;
    };
    let [.., a, b, c, d] = asked.server.address;
    // SAFETY: as in `redirect4`.
    unsafe {
        ptr::write_volatile(
            &raw mut (*ctx.sock_addr).user_ip4,
            u32::from_ne_bytes([a, b, c, d]),
        );
        ptr::write_volatile(
            &raw mut (*ctx.sock_addr).user_port,
            u32::from(asked.server.port.to_be()),
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
    let Some(asked) = answered_by(ctx, port) else {
        return;
    };
    let address = &asked.server.address;
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
            u32::from(asked.server.port.to_be()),
        );
    }
}

/// What a socket has asked that hears from, or is connected to, a port of this host's, if that is the
/// resolver's.
#[inline(always)]
fn answered_by(ctx: &SockAddrContext, port: u32) -> Option<&'static Asked> {
    // SAFETY: as in `owner::of_packet`.
    let sk = unsafe { ptr::read_volatile(&raw const (*ctx.sock_addr).__bindgen_anon_1.sk) };
    if sk.is_null() {
        return None;
    }
    // SAFETY: as in `goes_to_resolver`.
    let asked = unsafe { &*asked_of(sk.cast())? };
    (u32::from(asked.resolver.port.to_be()) == port).then_some(asked)
}

/// The list of rules that speaks of an endpoint by the names that led to it; no list where none did, or
/// too long ago to begin a connection. Of several names one is enough that allows always; otherwise
/// the one speaks that will be good for longest. `place` holds the protocol, the port, and whether time matters.
///
/// A global function, see `weigh.rs`.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn name_list(session: u64, scope: u32, place: u64, high: u64, low: u64) -> u32 {
    let now = record::now();
    let (mut found, mut until) = (NO_LIST, 0);
    let mut number = 0;
    while number < MAX_NAMES_OF_ADDRESS {
        let key = AnswerKey {
            session,
            scope,
            number,
            address: (u128::from(high) << 64 | u128::from(low)).to_be_bytes(),
        };
        number += 1;
        // SAFETY: as in `note`.
        let Some(answer) = (unsafe { ANSWERS.get(key) }) else {
            continue;
        };
        if place & BEGINS != 0 && answer.expires_ns <= now {
            continue;
        }
        let port = PortKey {
            set: answer.set,
            reserved: 0,
            protocol: (place >> 16) as u8,
            port: (place as u16).to_be_bytes(),
        };
        let Some(list) = PORTS.get(Key::new(PortKey::BITS, port)) else {
            continue;
        };
        if RULES.get(*list).is_some_and(allows_always) {
            return *list;
        }
        if answer.expires_ns >= until {
            (found, until) = (*list, answer.expires_ns);
        }
    }
    found
}

/// Beside the place: what is judged begins now, and was not allowed before.
const BEGINS: u64 = 1 << 32;

/// The list of rules that speaks of an endpoint by its names. What was connected by one may go on when
/// the name's time has passed.
#[inline(always)]
pub fn list_by_name(session: u64, scope: u32, endpoint: &Endpoint, begins: bool) -> u32 {
    if endpoint.family != AF_INET && endpoint.family != AF_INET6 {
        return NO_LIST;
    }
    let place = u64::from(endpoint.port)
        | u64::from(endpoint.protocol) << 16
        | if begins { BEGINS } else { 0 };
    let address = u128::from_be_bytes(endpoint.address);
    name_list(
        session,
        scope,
        place,
        (address >> 64) as u64,
        address as u64,
    )
}
