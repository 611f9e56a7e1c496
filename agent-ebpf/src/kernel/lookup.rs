//! Lookups of names: what asks for them, and what was answered.

use super::member::Member;
use super::record;
use super::state;
use crate::maps::{ANSWERS, POLICIES, PORTS, RULES};
use agent_common::decide::{NO_LIST, allows_always};
use agent_common::egress::{AF_INET, AF_INET6, Endpoint, PortKey};
use agent_common::names::{AnswerKey, MAX_NAMES_OF_ADDRESS, is_server};
use agent_common::session::Session;
use aya_ebpf::maps::lpm_trie::Key;

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
        // SAFETY: an entry that user space removes meanwhile stays readable until the program ends.
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
