//! Whose a socket is: its session, in the socket's own storage.
//!
//! The label is stored before the socket can be used, and the kernel frees it with the socket. What
//! a listening socket accepts is labelled as the listener is, in the kernel's own copy of it.

use super::btf_map::BtfMap;
use super::divert;
use super::member::Member;
use super::memory::Typed;
use super::offsets::SOCKET_SK;
use super::storage;
use crate::judge;
use agent_common::decide::NO_RULE;
use agent_common::divert::{Origin, STRAIGHT};
use agent_common::egress::Endpoint;
use agent_common::session::Owner;
use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{
    BPF_F_CLONE, BPF_F_NO_PREALLOC, BPF_LOCAL_STORAGE_GET_F_CREATE, bpf_map_type,
};
use aya_ebpf::helpers::generated::bpf_sk_storage_get;
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::{SkBuffContext, SockAddrContext, SockContext};
use core::ffi::c_void;
use core::ptr;

const SK_STORAGE: usize = bpf_map_type::BPF_MAP_TYPE_SK_STORAGE as usize;
const FLAGS: usize = (BPF_F_NO_PREALLOC | BPF_F_CLONE) as usize;

#[btf_map]
static OWNERS: BtfMap<i32, Owner, SK_STORAGE, 0, FLAGS> = BtfMap::pinned();

/// A socket's owner, where it has one.
#[inline(always)]
fn of(sk: *mut c_void) -> Option<*mut Owner> {
    // SAFETY: the map is the loader's, and the verifier checks the type of `sk`.
    let found = unsafe { bpf_sk_storage_get(OWNERS.raw(), sk, ptr::null_mut(), 0) };
    (!found.is_null()).then_some(found.cast())
}

/// Makes a member's session the owner of a socket that has none. False where that cannot be stored. A
/// function of its own, because of what it needs of the stack.
#[inline(never)]
fn claim_sk(sk: *mut c_void, member: Member) -> bool {
    let label = member.label();
    let mut owner = Owner {
        session: label.session,
        slot: label.slot,
        policy: member.policy(),
        rule: NO_RULE,
        tool: member.innermost_tool(),
        diverted: STRAIGHT,
        budgets: 0,
        free: Endpoint::NOWHERE,
        edition: 0,
    };
    storage::insist(|| {
        // SAFETY: as in `of`; where there is an owner already, the kernel leaves it.
        let found = unsafe {
            bpf_sk_storage_get(
                OWNERS.raw(),
                sk,
                ptr::from_mut(&mut owner).cast(),
                u64::from(BPF_LOCAL_STORAGE_GET_F_CREATE),
            )
        };
        !found.is_null()
    })
}

/// The owner of the socket of a packet, where it has one.
#[inline(always)]
pub fn of_packet(ctx: &SkBuffContext) -> Option<&'static mut Owner> {
    // SAFETY: the context is the kernel's, and the field is read whole, as the verifier demands.
    let sk = unsafe { ptr::read_volatile(&raw const (*ctx.skb.skb).__bindgen_anon_2.sk) };
    if sk.is_null() {
        return None;
    }
    // SAFETY: the pointer came from a successful lookup, and the socket outlives its packet.
    of(sk.cast()).map(|owner| unsafe { &mut *owner })
}

/// The `sock` of a `socket` that an LSM hook was given.
#[inline(always)]
fn sk_of(socket: *const c_void) -> Option<*mut c_void> {
    let sk = Typed::given(socket).follow(&SOCKET_SK)?;
    Some(sk.address().0 as *mut c_void)
}

/// Makes a member's session the owner of the socket of an LSM hook, unless it has one. False where
/// that cannot be stored; a socket without its other half needs no owner.
#[inline(always)]
pub fn claim(socket: *const c_void, member: Member) -> bool {
    sk_of(socket).is_none_or(|sk| claim_sk(sk, member))
}

/// The same for a socket that somebody who came gets.
#[inline(always)]
pub fn claim_accepted(sk: *mut c_void, member: Member) -> bool {
    claim_sk(sk, member)
}

/// The owner of the socket of an LSM hook, where it has one.
#[inline(always)]
pub fn of_socket(socket: *const c_void) -> Option<&'static mut Owner> {
    // SAFETY: as in `of_packet`.
    of(sk_of(socket)?).map(|owner| unsafe { &mut *owner })
}

/// Makes a member's session the owner of a socket that goes to the daemon instead.
#[inline(always)]
pub fn divert(sk: *mut c_void, member: Member, why: u8) -> bool {
    if !claim_sk(sk, member) {
        return false;
    }
    let Some(owner) = of(sk) else {
        return false;
    };
    // SAFETY: as in `of_packet`.
    unsafe {
        (*owner).diverted = why;
        (*owner).session == member.label().session
    }
}

/// Notes that a cgroup program's socket goes straight to where it is connected now. A second `connect`, which
/// only asks whether the first is done, does not come here.
#[inline(always)]
pub fn go_straight(ctx: &SockAddrContext) {
    // SAFETY: as in `of_packet`.
    let sk = unsafe { ptr::read_volatile(&raw const (*ctx.sock_addr).__bindgen_anon_1.sk) };
    if sk.is_null() {
        return;
    }
    if let Some(owner) = of(sk.cast()) {
        // SAFETY: as in `of_packet`.
        unsafe { (*owner).diverted = STRAIGHT }
    }
}

/// What a socket of an LSM hook was meant for, where it goes to the daemon instead.
#[inline(always)]
pub fn origin(socket: *const c_void, owner: &Owner, peer: &Endpoint) -> Option<&'static Origin> {
    if owner.diverted == STRAIGHT {
        return None;
    }
    divert::origin(sk_of(socket)?, peer)
}

/// Notes to which budgets of bytes the packets of a cgroup program's socket count from now on.
#[inline(always)]
pub fn note_budgets_in(ctx: &SockAddrContext, member: Member) -> bool {
    let budgets = judge::budgets(member);
    if budgets == 0 {
        return true;
    }
    // SAFETY: as in `of_packet`.
    let sk = unsafe { ptr::read_volatile(&raw const (*ctx.sock_addr).__bindgen_anon_1.sk) };
    if sk.is_null() || !claim_sk(sk.cast(), member) {
        return false;
    }
    let Some(owner) = of(sk.cast()) else {
        return false;
    };
    // SAFETY: as in `of_packet`.
    unsafe { (*owner).budgets |= budgets };
    true
}

/// The same for a socket of a cgroup program that is just being made.
#[inline(always)]
pub fn claim_new(ctx: &SockContext, member: Member) -> bool {
    claim_sk(ctx.as_ptr(), member)
}

/// Notes what allowed the connection of a socket of an LSM hook, which gets an owner if it has none.
#[inline(always)]
pub fn note_connection(socket: *const c_void, member: Member) -> bool {
    let Some(sk) = sk_of(socket) else {
        return true;
    };
    claim_sk(sk, member) && {
        note(of(sk), member);
        true
    }
}

/// The same for a socket of a cgroup program.
#[inline(always)]
pub fn note_connection_in(ctx: &SockAddrContext, member: Member) -> bool {
    // SAFETY: as in `of_packet`.
    let sk = unsafe { ptr::read_volatile(&raw const (*ctx.sock_addr).__bindgen_anon_1.sk) };
    if sk.is_null() {
        return false;
    }
    claim_sk(sk.cast(), member) && {
        note(of(sk.cast()), member);
        true
    }
}

#[inline(always)]
fn note(owner: Option<*mut Owner>, member: Member) {
    let Some(owner) = owner else {
        return;
    };
    let rule = judge::rule_of(member);
    // SAFETY: as in `of_packet`; whoever reads meanwhile reads each field whole.
    unsafe {
        if (*owner).session == member.label().session {
            (*owner).policy = member.policy();
            (*owner).rule = rule;
            (*owner).tool = member.innermost_tool();
        }
        (*owner).budgets |= judge::budgets(member);
    }
}
