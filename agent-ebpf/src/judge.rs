//! One action, one verdict: subject, object, rule, decision, event. Every hook ends here.

use crate::kernel::{counts, state};
use crate::maps::{NETWORKS, PORTS, RULES};
use crate::tell::{self, Judged};
use agent_common::action::Action;
use agent_common::counter::Counter;
use agent_common::decide::{Reason, Rule, Verdict, decide};
use agent_common::egress::{Endpoint, NetworkKey, PortKey};
use agent_common::session::{Label, Pass, Session};
use aya_ebpf::maps::lpm_trie::Key;

/// Whether the session may go where it wants to go; if so, its facts afterwards.
#[inline(always)]
pub fn egress(label: Label, action: Action, endpoint: &Endpoint) -> Option<u64> {
    let Some(session) = state::of(label) else {
        return doubt(label, action, endpoint, Reason::SessionUnknown);
    };
    let rule = egress_rule(&session, endpoint);
    let decision = decide(&session, rule);
    if decision.verdict == Verdict::Allow {
        counts::add(Counter::Allowed);
        return Some(decision.facts);
    }
    counts::add(Counter::Denied);
    let judged = Judged {
        rule: rule.map_or(0, |rule| rule.number),
        action,
        verdict: decision.verdict,
        reason: decision.reason,
    };
    tell::denial(label, judged, endpoint);
    None
}

/// Whether an earlier hook of the same system call has allowed this very connection.
#[inline(always)]
pub fn has_passed(label: Label, pass: &Pass, socket: u64, endpoint: &Endpoint) -> bool {
    pass.socket == socket
        && pass.endpoint == *endpoint
        && state::of(label).is_some_and(|session| {
            session.facts == pass.facts && session.flags & Session::REVOKED == 0
        })
}

/// Denies an action that cannot be judged.
#[inline(always)]
pub fn doubt(label: Label, action: Action, endpoint: &Endpoint, reason: Reason) -> Option<u64> {
    counts::add(Counter::Doubts);
    refuse(label, action, endpoint, reason)
}

/// Denies an action of which no rule can speak.
#[inline(always)]
pub fn refuse(label: Label, action: Action, endpoint: &Endpoint, reason: Reason) -> Option<u64> {
    counts::add(Counter::Denied);
    let judged = Judged {
        rule: 0,
        action,
        verdict: Verdict::Deny,
        reason,
    };
    tell::denial(label, judged, endpoint);
    None
}

/// The rule that speaks of an endpoint: the narrowest network names a set of ports, the narrowest
/// range of ports in it names the rule. The compiler has put into each network's set what the
/// wider networks around it allow.
#[inline(always)]
fn egress_rule(session: &Session, endpoint: &Endpoint) -> Option<&'static Rule> {
    let network = NetworkKey {
        policy: session.policy,
        address: endpoint.address,
    };
    let set = *NETWORKS.get(Key::new(NetworkKey::BITS, network))?;
    let port = PortKey {
        set,
        reserved: 0,
        protocol: endpoint.protocol,
        port: endpoint.port.to_be_bytes(),
    };
    let rule = *PORTS.get(Key::new(PortKey::BITS, port))?;
    RULES.get(rule)
}
