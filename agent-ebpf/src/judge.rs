//! One action, one verdict: subject, object, rule, decision, event. Every hook ends here.

use crate::kernel::file::Dentry;
use crate::kernel::memory::Address;
use crate::kernel::task::Member;
use crate::kernel::walk::{self, End, Path};
use crate::kernel::{counts, names, state};
use crate::maps::{NETWORKS, PORTS, RULES};
use crate::tell::{self, Judged};
use agent_common::action::Action;
use agent_common::counter::Counter;
use agent_common::decide::{Reason, Rule, Verdict, decide};
use agent_common::egress::{Endpoint, NetworkKey, PortKey};
use agent_common::path::{Lists, NO_LIST, Scope};
use agent_common::session::{Label, Pass, Session};
use aya_ebpf::maps::lpm_trie::Key;

/// The session's facts after an action that is allowed, or what to tell of one that is not.
pub type Judgement = Result<u64, Judged>;

/// Judges whether the session may go where it wants to go.
#[inline(always)]
pub fn egress(label: Label, action: Action, endpoint: &Endpoint) -> Judgement {
    let Some(session) = state::of(label) else {
        return doubt(action, Reason::SessionUnknown);
    };
    let rule = egress_rule(&session, endpoint);
    let decision = decide(&session, rule);
    if decision.verdict == Verdict::Allow {
        return Ok(decision.facts);
    }
    Err(Judged {
        rule: rule.map_or(0, |rule| rule.number),
        action,
        verdict: decision.verdict,
        reason: decision.reason,
    })
}

/// Judges a use of an object of which lists of rules speak. `_traits` are those of the action.
#[inline(always)]
pub fn object(member: Member, action: Action, lists: &Lists, _traits: u32) -> Judgement {
    let Some(session) = state::of(member.label()) else {
        return doubt(action, Reason::SessionUnknown);
    };
    let mut rule = None;
    let mut i = 0;
    while i < lists.starts.len() {
        if rule.is_none() && lists.starts[i] != NO_LIST {
            rule = RULES.get(lists.starts[i]);
            if rule.is_none() {
                return doubt(action, Reason::Unreadable);
            }
        }
        i += 1;
    }
    let decision = decide(&session, rule);
    if decision.verdict == Verdict::Allow {
        return Ok(decision.facts);
    }
    Err(Judged {
        rule: rule.map_or(0, |rule| rule.number),
        action,
        verdict: decision.verdict,
        reason: decision.reason,
    })
}

/// Uses of one file that are attempted at once, at most three; all must be allowed. Put together
/// without a branch: the verifier would follow each combination through all that comes.
#[derive(Clone, Copy)]
pub struct Uses(u64);

impl Uses {
    const BITS: u32 = 16;
    const MOST: u32 = 3;
    /// A path with rules further down is refused.
    const NOT_ABOVE: u64 = 1 << 63;
    /// Nothing is said of a denial.
    const QUIET: u64 = 1 << 62;
    /// What has no path is none of a policy's.
    const PATHS_ONLY: u64 = 1 << 61;

    /// One.
    #[inline(always)]
    pub fn of(action: Action) -> Self {
        Self(u64::from(action.wire()))
    }

    /// One that is attempted if `bit` is 1, and not if it is 0.
    #[inline(always)]
    pub fn when(bit: u64, action: Action) -> Self {
        Self(bit * u64::from(action.wire()))
    }

    /// Rules further down would no longer hold, or hold for other files: then it is not allowed.
    #[inline(always)]
    pub fn unless_above_rules(self) -> Self {
        Self(self.0 | Self::NOT_ABOVE)
    }

    /// Only to know: what is denied is neither counted nor told.
    #[inline(always)]
    pub fn quietly(self) -> Self {
        Self(self.0 | Self::QUIET)
    }

    /// What has no path is allowed.
    #[inline(always)]
    pub fn if_it_has_a_path(self) -> Self {
        Self(self.0 | Self::PATHS_ONLY)
    }

    /// More of them.
    #[inline(always)]
    pub fn and(self, more: Self) -> Self {
        Self(self.0 << Self::BITS | more.0)
    }

    /// Takes one, if it is attempted.
    #[inline(always)]
    fn take(&mut self) -> Option<Action> {
        let action = Action::from_wire(self.0 as u16);
        self.0 >>= Self::BITS;
        action
    }
}

/// Judges uses of a file by its path, counts the judgements and tells what was not allowed. A
/// function of its own: a hook may ask of several files, and the verifier walks through each.
#[inline(never)]
pub fn path(member: Member, dentry: Dentry, mut uses: Uses) -> bool {
    let label = member.label();
    let flags = uses.0;
    let Some(session) = state::of(label) else {
        return settle_path(
            label,
            Address(0),
            doubt(Action::Read, Reason::SessionUnknown),
        );
    };
    let scope = Scope {
        policy: session.policy,
        tool: 0,
    };
    let Some((path, end)) = walk::path_of(dentry, scope) else {
        return settle_path(label, Address(0), doubt(Action::Read, Reason::Unreadable));
    };
    let mut i = 0;
    while i < Uses::MOST {
        i += 1;
        let Some(action) = uses.take() else {
            continue;
        };
        let judgement = if end != End::Root {
            if end != End::Lost && flags & Uses::PATHS_ONLY != 0 {
                continue;
            }
            nowhere(&session, end, action)
        } else if flags & Uses::NOT_ABOVE != 0 && path.is_above_rules() {
            refuse(action, Reason::NoRule)
        } else {
            on_path(member, &session, dentry, path, action)
        };
        if judgement.is_err() {
            return flags & Uses::QUIET == 0 && settle_path(label, path.subject(), judgement);
        }
        counts::add(Counter::Allowed);
    }
    true
}

/// A pipe's end, and memory, a task can have only because it was given them; but code comes from
/// files that have a path.
#[inline(always)]
fn nowhere(session: &Session, end: End, action: Action) -> Judgement {
    match end {
        End::Pipe => allow_by_default(session, action),
        End::Memory if action != Action::Map => allow_by_default(session, action),
        End::Memory => refuse(action, Reason::NoRule),
        End::Elsewhere => refuse(action, Reason::NoRule),
        End::Root | End::Lost => doubt(action, Reason::Unreadable),
    }
}

#[inline(always)]
fn settle_path(label: Label, dentry: Address, judgement: Judgement) -> bool {
    if let Err(judged) = judgement {
        counts::add(Counter::Denied);
        names::tell(label, judged, dentry);
    }
    false
}

#[inline(always)]
fn on_path(
    member: Member,
    session: &Session,
    dentry: Dentry,
    path: Path,
    action: Action,
) -> Judgement {
    let Some(access) = action.access() else {
        return doubt(action, Reason::Unreadable);
    };
    let lists = path.lists(access);
    if lists == Lists::NONE && is_own(dentry, member.label(), action) {
        return allow_by_default(session, action);
    }
    object(member, action, &lists, 0)
}

/// What a session may do unless it may do nothing at all any more.
#[inline(always)]
fn allow_by_default(session: &Session, action: Action) -> Judgement {
    if session.flags & Session::REVOKED != 0 {
        return refuse(action, Reason::Revoked);
    }
    Ok(session.facts)
}

/// Whether a file tells a member of the session of the session itself: no rule can name it, and
/// every libc reads such.
#[inline(always)]
fn is_own(dentry: Dentry, label: Label, action: Action) -> bool {
    action == Action::Read && walk::is_of_session(dentry, label)
}

/// Denies an action that cannot be judged.
#[inline(always)]
pub fn doubt(action: Action, reason: Reason) -> Judgement {
    counts::add(Counter::Doubts);
    refuse(action, reason)
}

/// Denies an action of which no rule can speak.
#[inline(always)]
pub fn refuse(action: Action, reason: Reason) -> Judgement {
    Err(Judged {
        rule: 0,
        action,
        verdict: Verdict::Deny,
        reason,
    })
}

/// Counts the judgement and tells what was not allowed. A hook calls this once, at its end: the
/// verifier walks through it again for every call.
#[inline(always)]
pub fn settle(label: Label, endpoint: &Endpoint, judgement: Judgement) -> Option<u64> {
    match judgement {
        Ok(facts) => {
            counts::add(Counter::Allowed);
            Some(facts)
        }
        Err(judged) => {
            counts::add(Counter::Denied);
            tell::denial(label, judged, endpoint);
            None
        }
    }
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
