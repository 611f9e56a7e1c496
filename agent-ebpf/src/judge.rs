//! One action, one verdict: subject, object, rule, decision, event. Every hook ends here.

use crate::kernel::asking::Asking;
use crate::kernel::lookup;
use crate::kernel::member::Member;
use crate::kernel::progress::Shared;
use crate::kernel::weigh::{self, Outcome};
use crate::kernel::{counts, names, record, state};
use crate::maps::{NETWORKS, PORTS, RULES};
use crate::tell::{self, Judged};
use agent_common::action::Action;
use agent_common::counter::Counter;
use agent_common::decide::{
    LISTS, NO_LIST, NO_RULE, Reason, SCOPES, TRAIT_DIRECT, Verdict, Weighing, allows_always,
};
use agent_common::divert::STRAIGHT;
use agent_common::egress::{self, Endpoint, NetworkKey, PortKey};
use agent_common::session::{Allowed, Cause, Label, Pass, Session};
use aya_ebpf::maps::lpm_trie::Key;

/// An action is allowed, or what to tell of one that is not.
pub type Judgement = Result<(), Judged>;

/// Judges whether the session may go where it wants to go. Where a person must say yes, the task stops
/// until somebody has answered.
#[inline(always)]
pub fn egress(member: Member, action: Action, endpoint: &Endpoint) -> Judgement {
    network(member, action, endpoint, 0, Way::STOPS)
}

/// The same where no task can stop. `granted` says that the action itself was approved a moment ago.
#[inline(always)]
pub fn egress_at_once(
    member: Member,
    action: Action,
    endpoint: &Endpoint,
    granted: bool,
) -> Judgement {
    let how = if granted { weigh::GRANTED } else { 0 };
    network(member, action, endpoint, 0, Way::of(how))
}

/// A judgement in one number; 0 where the action is allowed. Where judgements of many kinds come together
/// the compiler carries along what has no value, and the verifier wants one.
#[inline(always)]
pub fn number(judgement: Judgement) -> u64 {
    match judgement {
        Ok(()) => ALLOWED,
        Err(judged) => names::packed(judged),
    }
}

/// [`number`] of what is allowed.
pub const ALLOWED: u64 = 0;

/// Judges whether the session may listen at an address of this host's, or only whether it could, or still
/// may.
#[inline(always)]
pub fn listen(member: Member, endpoint: &Endpoint, way: Way) -> Judgement {
    network(member, Action::Listen, endpoint, NetworkKey::LISTEN, way)
}

/// How an action is judged.
#[derive(Clone, Copy)]
pub struct Way {
    /// What is known of it beside its object.
    pub traits: u32,
    /// Bits of [`weigh::LOOK`] and its like.
    pub how: u32,
    /// Whether the task can stop.
    pub stops: bool,
    /// Whether anybody is asked.
    pub asks: bool,
}

impl Way {
    /// The task can stop.
    pub const STOPS: Self = Self {
        traits: 0,
        how: 0,
        stops: true,
        asks: true,
    };

    /// Nobody is asked: what needs a yes is denied.
    pub const ASKS_NOBODY: Self = Self {
        stops: false,
        asks: false,
        ..Self::STOPS
    };

    /// Whoever only tries what another hook will judge, which cannot stop the task.
    pub const TRIES: Self = Self {
        how: weigh::TRY,
        ..Self::STOPS
    };

    /// Whoever only looks; `granted` where somebody was asked, or will be, so that nobody is now.
    #[inline(always)]
    pub const fn look(granted: bool) -> Self {
        Self {
            how: weigh::LOOK | if granted { weigh::GRANTED } else { 0 },
            ..Self::STOPS
        }
    }

    /// It cannot.
    #[inline(always)]
    pub const fn of(how: u32) -> Self {
        Self {
            how,
            stops: false,
            ..Self::STOPS
        }
    }
}

/// Judges an action on an endpoint in a way; `networks` says which ones are looked up.
#[inline(always)]
pub fn network(
    member: Member,
    action: Action,
    endpoint: &Endpoint,
    networks: u32,
    way: Way,
) -> Judgement {
    let Some(session) = state::begin(member) else {
        return doubt(action, Reason::SessionUnknown);
    };
    // What was connected already is not asked how long ago its name was looked up.
    let begins = way.how & (weigh::LOOK | weigh::GRANTED) != weigh::LOOK | weigh::GRANTED;
    note_lists(member, endpoint, networks, u32::from(begins));
    let way = Way {
        traits: egress::traits(endpoint, way.traits & TRAIT_DIRECT != 0),
        ..way
    };
    weighed(member, &session, action, way, || {
        Asking::about_endpoint(member, action, endpoint)
    })
}

/// Judges an action on what has a name and no path, by the name's hash; its lists of rules lie in the task's
/// entry.
#[inline(always)]
pub fn named(
    member: Member,
    session: &Session,
    action: Action,
    hash: u64,
    stops: bool,
) -> Judgement {
    let way = Way {
        stops,
        ..Way::STOPS
    };
    weighed(member, session, action, way, || {
        Asking::about_name(member, action, hash)
    })
}

/// Judges an action on a path whose lists of rules lie in the task's entry, for each of its scopes. Where
/// somebody must be asked, the entry says so, and nothing is decided.
#[inline(always)]
pub fn listed(
    member: Member,
    session: &Session,
    action: Action,
    (traits, how): (u32, u32),
) -> Judgement {
    if is_allowed_at_once(member, session) {
        return Ok(());
    }
    match weigh_first(member, traits, how) {
        Outcome::Decided => {}
        Outcome::Busy => return doubt(action, Reason::Busy),
        Outcome::Lost => return doubt(action, Reason::SessionUnknown),
    }
    if member.weighing().verdict == Verdict::Hold.wire() && !state::is_watched(member) {
        member.weighing().hold = Weighing::TO_ASK;
    }
    decided(member, action)
}

/// Whether somebody must be asked for what was just judged.
#[inline(always)]
pub fn must_ask(member: Member) -> bool {
    member.weighing().hold == Weighing::TO_ASK
}

/// Gets an answer to what must be asked of the program to which the running task's walk led, with the hash of
/// its words.
#[inline(always)]
pub fn ask_of_program(member: Member, way: Way, words: u64) -> Judgement {
    let Some(asking) = Asking::about_program(member, words) else {
        return doubt(Action::Exec, Reason::Questions);
    };
    asking.get_answer(way.traits, way.how);
    asking.wait(Action::Exec, way.how);
    decided(member, Action::Exec)
}

/// Looks whether the program that runs was asked about in the same `execve`, with the words that it has.
#[inline(always)]
pub fn look_for_answer(member: Member, traits: u32, words: Option<u64>) -> Judgement {
    let asking = words.and_then(|words| Asking::about_program_again(member, words));
    match asking {
        Some(asking) => asking.get_answer(traits, weigh::QUIET),
        None => {
            let weighing = member.weighing();
            weighing.verdict = Verdict::Deny.wire();
            weighing.reason = Reason::ApprovalPending.wire();
            weighing.hold = Weighing::NOBODY_ASKED;
        }
    }
    decided(member, Action::Exec)
}

#[inline(always)]
fn weigh_first(member: Member, traits: u32, how: u32) -> Outcome {
    member.weighing().approved = [0; SCOPES];
    weigh::weigh(traits, 0, how)
}

#[inline(always)]
fn weighed(
    member: Member,
    session: &Session,
    action: Action,
    way: Way,
    ask: impl FnOnce() -> Option<Asking>,
) -> Judgement {
    if is_allowed_at_once(member, session) {
        return Ok(());
    }
    match weigh_first(member, way.traits, way.how) {
        Outcome::Decided => {}
        Outcome::Busy => return doubt(action, Reason::Busy),
        Outcome::Lost => return doubt(action, Reason::SessionUnknown),
    }
    if member.weighing().verdict == Verdict::Hold.wire() && !state::is_watched(member) {
        if !way.asks {
            return refuse(action, Reason::ApprovalPending);
        }
        let Some(asking) = ask() else {
            return doubt(action, Reason::Questions);
        };
        asking.get_answer(way.traits, way.how);
        if way.stops {
            asking.wait(action, way.how);
        }
    }
    decided(member, action)
}

/// What the task's entry says of an action.
#[inline(always)]
pub fn decided(member: Member, action: Action) -> Judgement {
    let weighing = member.weighing();
    if weighing.allows() {
        return Ok(());
    }
    Err(Judged {
        rule: weighing.number(),
        action,
        verdict: weighing.verdict,
        reason: weighing.reason,
        revoke: weighing.flags & Weighing::REVOKE,
        hold: weighing.hold,
    })
}

/// Whether the very first rule that speaks allows the action to everybody, as most do, so that
/// nothing is to be weighed.
#[inline(always)]
fn is_allowed_at_once(member: Member, session: &Session) -> bool {
    if session.flags & Session::REVOKED != 0 || member.tool(1).is_some() {
        return false;
    }
    let first = member.lists(0).iter().find(|list| **list != NO_LIST);
    first
        .and_then(|list| RULES.get(*list))
        .is_some_and(allows_always)
}

/// Whether a list begins with a rule that allows its object to everybody at all times.
#[inline(always)]
pub fn allows_always_by(list: u32) -> bool {
    RULES.get(list).is_some_and(allows_always)
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
        rule: NO_RULE,
        action,
        verdict: Verdict::Deny.wire(),
        reason: reason.wire(),
        revoke: 0,
        hold: 0,
    })
}

/// Denies an action for which a budget of bytes has no room.
#[inline(always)]
pub fn spent(member: Member, action: Action) -> Judgement {
    let (verdict, reason) = (Verdict::Deny.wire(), Reason::Spent.wire());
    let ends = state::terms(member).is_some_and(|terms| terms.follow(verdict, reason).1);
    Err(Judged {
        rule: NO_RULE,
        action,
        verdict,
        reason,
        revoke: if ends { Weighing::REVOKE } else { 0 },
        hold: 0,
    })
}

/// Ends a judgement: counts it, tells what was not allowed, and says whether the action goes on. A
/// hook calls this once, at its end: the verifier walks through it again for every call.
#[inline(always)]
pub fn settle(member: Member, endpoint: &Endpoint, judgement: Judgement) -> bool {
    let Err(judged) = judgement else {
        allowed_at(member, Allowed::Network, rule_of(member), endpoint.packed());
        return true;
    };
    let judged = follow_up(member, judged);
    tell::denial(member.label(), judged, endpoint);
    judged.verdict == Verdict::Audit.wire()
}

/// Counts an action that is allowed by a rule, and notes when it was.
#[inline(always)]
pub fn allowed(member: Member, kind: Allowed, rule: u32) {
    counts::allowed(member, kind, rule);
    member.note_action(record::now());
}

/// The same by what it is about.
#[inline(always)]
pub fn allowed_at(member: Member, kind: Allowed, rule: u32, object: [u64; 3]) {
    counts::allowed_at(member, kind, rule, object);
    member.note_action(record::now());
}

/// What a session may do without a rule, unless it may do nothing at all any more.
#[inline(always)]
pub fn by_default(member: Member, session: &Session, action: Action) -> Judgement {
    if session.flags & Session::REVOKED != 0 {
        return refuse(action, Reason::Revoked);
    }
    // Nor is it the one that allowed the last.
    *member.lists(0) = [NO_LIST; LISTS];
    Ok(())
}

/// The rule that a list begins with, by its number in its policy.
#[inline(always)]
pub fn first_of(list: u32) -> u32 {
    RULES.get(list).map_or(NO_RULE, |rule| rule.number)
}

/// The number of the agent's rule that allowed what the task attempted last, in its policy.
#[inline(always)]
pub fn rule_of(member: Member) -> u32 {
    let first = member.lists(0).iter().find(|list| **list != NO_LIST);
    match first.and_then(|list| RULES.get(*list)) {
        Some(rule) if allows_always(rule) && member.tool(1).is_none() => rule.number,
        Some(_) => member.weighing().agents_number(),
        None => NO_RULE,
    }
}

/// The lists of rules for the endpoint that was judged last: the agent's, and that of the innermost tool.
#[inline(always)]
pub fn lists_of(member: Member) -> [u32; 2] {
    let agents = member.lists(0)[0];
    let mut innermost = agents;
    let mut scope = 1;
    while scope < SCOPES && member.tool(scope).is_some() {
        innermost = member.lists(scope)[0];
        scope += 1;
    }
    [agents, innermost]
}

/// How a connection goes that was just allowed: straight, or through the relay, and then why. A rule that
/// wants the relay allows nothing without being weighed.
#[inline(always)]
pub fn route(member: Member, endpoint: &Endpoint) -> u8 {
    match state::during(member) {
        Some(session)
            if !egress::is_loopback(endpoint)
                && !is_allowed_at_once(member, &session)
                && !state::is_watched(member) =>
        {
            member.weighing().route
        }
        _ => STRAIGHT,
    }
}

/// The budgets of bytes that the action draws on that was allowed last, a bit for each limit.
#[inline(always)]
pub fn budgets(member: Member) -> u16 {
    match (state::during(member), state::terms(member)) {
        (Some(session), Some(terms)) if !is_allowed_at_once(member, &session) => {
            member.weighing().budgets(terms)
        }
        _ => 0,
    }
}

/// Whether what was just allowed is so for the agent itself, at all times and without counting.
#[inline(always)]
pub fn was_free(member: Member) -> bool {
    state::during(member).is_some_and(|session| is_allowed_at_once(member, &session))
}

/// What an action that is not allowed brings upon its session. The daemon kills the processes of a
/// session whose permission has ended.
#[inline(always)]
pub fn follow_up(member: Member, judged: Judged) -> Judged {
    let watched = state::is_watched(member);
    if watched && judged.reason != Reason::Revoked.wire() {
        counts::add(Counter::Allowed);
        return Judged {
            verdict: Verdict::Audit.wire(),
            ..judged
        };
    }
    if judged.verdict == Verdict::Hold.wire() {
        return judged;
    }
    counts::add(Counter::Denied);
    if judged.reason == Reason::Revoked.wire() {
        state::note_denied(member.label());
    }
    let kill = judged.verdict == Verdict::Kill.wire();
    if kill || judged.revoke != 0 {
        let cause = if judged.reason == Reason::Spent.wire() {
            Cause::Budget
        } else {
            Cause::Deviation
        };
        state::revoke(member.label(), cause);
    }
    judged
}

/// Whether an earlier hook of the same system call has allowed this very connection.
#[inline(always)]
pub fn has_passed(label: Label, pass: &Pass, socket: u64, endpoint: &Endpoint) -> bool {
    pass.socket == socket
        && pass.endpoint == *endpoint
        && state::of(label).is_some_and(|session| session.lasts_for_what_completed_it())
        && Shared::of(label.slot).is_some_and(|progress| progress.version() == pass.version)
}

/// Puts the lists that speak of an endpoint where the task's are weighed, for each of its scopes: those of
/// its network, or else those of the names that led to it. A function of its own: what it needs of the stack is
/// free again when they are weighed.
#[inline(never)]
fn note_lists(member: Member, endpoint: &Endpoint, networks: u32, begins: u32) -> u32 {
    let policy = member.policy();
    let by_name = networks == 0 && lookup::has_names(policy);
    let mut scope = 0;
    while scope < SCOPES {
        let Some(tool) = member.tool(scope) else {
            break;
        };
        let own = Session::scope_of(policy, tool);
        let mut list = network_list(own | networks, endpoint);
        if list == NO_LIST && by_name {
            list = lookup::list_by_name(member.label().session, own, endpoint, begins != 0);
        }
        let lists = member.lists(scope);
        *lists = [NO_LIST; LISTS];
        lists[0] = list;
        scope += 1;
    }
    0
}

/// The list of rules that speaks of an endpoint: the narrowest network names a set of ports, the
/// narrowest range of ports in it names the list. The compiler has put into each network's set
/// what the wider networks around it allow.
#[inline(never)]
fn network_list(scope: u32, endpoint: &Endpoint) -> u32 {
    let network = NetworkKey {
        scope,
        address: endpoint.address,
    };
    let Some(set) = NETWORKS.get(Key::new(NetworkKey::BITS, network)) else {
        return NO_LIST;
    };
    let port = PortKey {
        set: *set,
        reserved: 0,
        protocol: endpoint.protocol,
        port: endpoint.port.to_be_bytes(),
    };
    PORTS
        .get(Key::new(PortKey::BITS, port))
        .map_or(NO_LIST, |list| *list)
}
