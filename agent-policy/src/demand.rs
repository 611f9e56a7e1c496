//! What a policy demands and a kernel side cannot enforce, and where the policy says so. A rule that
//! looks enforced and is not is worse than none.

use std::sync::Arc;

use crate::compile::{AnyRule, Authored, Compiled, Need, Place};
use crate::policy::{Destination, Direction, Effect, EgressRule, LimitKind, Policy, RevokeOn};
use crate::text::{Diagnostics, Severity, Source, Span};

/// One error for each need that is not among those that are enforced.
pub fn not_enforced(policy: &Policy, compiled: &Compiled, enforced: &[Need]) -> Diagnostics {
    let needs = compiled.needs().into_iter();
    let found = needs
        .filter(|need| !enforced.contains(need))
        .map(|need| {
            let (source, span) = place(policy, need);
            let message = format!(
                "found {}, which no kernel program enforces yet, expected a policy that can be held whole",
                need.word()
            );
            source.diagnostic(Severity::Error, span, message).with_help(
                "take it out to run the agent; offline, `interlock policy test`, `explain` and `simulate` take it as it is",
            )
        });
    Diagnostics::new(found.collect())
}

/// The first place where a policy asks for something.
fn place(policy: &Policy, need: Need) -> (&Arc<Source>, Span) {
    let by_rule = policy
        .authored()
        .into_iter()
        .find(|rule| rule_needs(rule, need))
        .map(|rule| {
            let named = destination(&rule, need);
            (&rule.common().source, named.unwrap_or(rule.common().span))
        });
    let spans = &policy.spans;
    let revokes = |test: fn(&RevokeOn) -> bool| {
        let event = spans.revoke_on.iter().find(|(on, _)| test(on));
        event.map(|(_, span)| *span)
    };
    let failed_by = |what: &str| {
        let mut words = policy.chain.failed_by.iter();
        Some(words.find(|word| word.text == what)?.span)
    };
    let steps = || policy.chain.steps().map(|(_, step)| step);
    let elsewhere = || match need {
        Need::Timers => {
            let fact = policy.facts.iter().find(|fact| fact.expires_s.is_some());
            let step = || steps().find(|step| step.within_s.is_some());
            fact.map(|fact| fact.span).or_else(|| Some(step()?.span))
        }
        Need::Approvals => steps().find_map(|step| Some(step.approval.as_ref()?.span)),
        Need::Kill => spans.on_deviation,
        Need::Revoke => revokes(|on| *on == RevokeOn::Deviation)
            .or(spans.on_deviation)
            .or(failed_by("deviation")),
        Need::Audit => spans.mode,
        Need::Ttl => spans.ttl,
        Need::Completion => revokes(|on| *on == RevokeOn::Completion),
        Need::Failure => revokes(|on| *on == RevokeOn::Failure),
        Need::Timeout => revokes(|on| *on == RevokeOn::Timeout).or(failed_by("timeout")),
        Need::ControllerLost => revokes(|on| matches!(on, RevokeOn::ControllerLost(_))),
        Need::Cgroups | Need::Executables | Need::Pods | Need::Engines | Need::ServiceAccounts => {
            let mut ways = spans.recognised.iter();
            let way = ways.find(|(way, _)| way.need() == Some(need));
            way.map(|(_, span)| *span)
        }
        _ => None,
    };
    by_rule.unwrap_or_else(|| (&policy.source, elsewhere().unwrap_or(policy.name_span)))
}

/// The destination for which a rule needs something.
fn destination(rule: &Authored<'_>, need: Need) -> Option<Span> {
    let AnyRule::Egress(rule) = rule.rule else {
        return None;
    };
    let is = |to: &Destination| match need {
        Need::UnixSockets => matches!(to, Destination::Unix(_)),
        Need::HostNames => matches!(to, Destination::Host(_)),
        Need::Handoffs => matches!(to, Destination::Agent(_)),
        _ => false,
    };
    let (_, span) = rule.to.iter().find(|(to, _)| is(to))?;
    Some(*span)
}

/// Whether a rule is one of those for which a policy needs something.
fn rule_needs(rule: &Authored<'_>, need: Need) -> bool {
    let common = rule.common();
    match need {
        Need::Alternatives
        | Need::Timers
        | Need::Revoke
        | Need::Audit
        | Need::Ttl
        | Need::Completion
        | Need::Failure
        | Need::Timeout
        | Need::ControllerLost
        | Need::Cgroups
        | Need::Executables
        | Need::Pods
        | Need::Engines
        | Need::ServiceAccounts => false,
        Need::Kill => common.effect == Effect::Kill,
        Need::Limits => !common.limits.is_empty(),
        Need::Bytes => common
            .limits
            .iter()
            .any(|limit| matches!(limit.kind, LimitKind::Bytes(_))),
        Need::OtherBytes => {
            let elsewhere = |rule: &EgressRule| {
                let is_network = |(to, _): &(_, Span)| matches!(to, Destination::Network(_));
                rule.direction == Direction::Listen || !rule.to.iter().all(is_network)
            };
            rule_needs(rule, Need::Bytes)
                && match rule.rule {
                    AnyRule::Egress(rule) => elsewhere(rule),
                    AnyRule::Exec(_) | AnyRule::File(_) => true,
                }
        }
        Need::Hours => common.hours.is_some(),
        Need::Approvals => common.approval.is_some(),
        Need::Listen => {
            matches!(rule.rule, AnyRule::Egress(rule) if rule.direction == Direction::Listen)
        }
        Need::UnixSockets | Need::HostNames | Need::Handoffs => destination(rule, need).is_some(),
        Need::Exec => matches!(rule.rule, AnyRule::Exec(rule) if !rule.programs.is_empty()),
        Need::Digests => matches!(rule.rule, AnyRule::Exec(rule) if !rule.digests.is_empty()),
        Need::Files => matches!(rule.rule, AnyRule::File(_)),
        Need::Tools => matches!(rule.place, Place::Tool(_) | Place::ToolStart(_)),
    }
}
