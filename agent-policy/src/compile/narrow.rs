//! A tool can only narrow: whatever it allows, the agent allows too.

use agent_common::privilege::Privilege;

use crate::policy::{
    Destination, Effect, EgressRule, ExecRule, FileRule, Pattern, Policy, privilege_mask,
};
use crate::text::{Diagnostic, Diagnostics, Severity, Span};

use super::authored::{AnyRule, Authored, Place};

/// Finds what a tool allows and the agent does not.
pub(super) fn check(policy: &Policy, authored: &[Authored<'_>]) -> Result<(), Diagnostics> {
    let agent: Vec<AnyRule<'_>> = authored
        .iter()
        .filter(|rule| matches!(rule.place, Place::Agent | Place::Step(_)))
        .filter(|rule| rule.common().effect == Effect::Allow)
        .map(|rule| rule.rule)
        .collect();
    let mut found = Vec::new();
    for rule in authored {
        let Place::Tool(index) = rule.place else {
            continue;
        };
        if rule.common().effect != Effect::Allow {
            continue;
        }
        let name = policy
            .tools
            .get(index)
            .map_or("", |tool| tool.name.as_str());
        let wider = match rule.rule {
            AnyRule::Egress(rule) => egress(rule, &agent),
            AnyRule::Exec(rule) => exec(rule, &agent),
            AnyRule::File(rule) => files(rule, &agent),
        };
        for (what, span) in wider {
            found.push(widening(rule, name, &what, span));
        }
    }
    found.extend(privileges(policy));
    if found.is_empty() {
        Ok(())
    } else {
        Err(Diagnostics::new(found))
    }
}

fn widening(rule: &Authored<'_>, tool: &str, what: &str, span: Span) -> Diagnostic {
    let message = format!(
        "found tool \"{tool}\" allowing {what}, which the agent does not, expected a tool to narrow what the agent may do"
    );
    rule.common()
        .source
        .diagnostic(Severity::Error, span, message)
        .with_help("allow it for the agent as well, or take it from the tool")
}

fn privileges(policy: &Policy) -> Vec<Diagnostic> {
    let given = privilege_mask(&policy.privileges);
    let mut found = Vec::new();
    for tool in &policy.tools {
        for (privilege, span) in &tool.privileges {
            // What is of one program reaches nothing that the agent does not.
            if privilege.bit() & given == 0 && !Privilege::is_of_program(privilege.wire()) {
                let message = format!(
                    "found tool \"{}\" with privilege \"{privilege}\", which the agent does not have, expected a tool to narrow what the agent may do",
                    tool.name
                );
                let diagnostic = policy.source.diagnostic(Severity::Error, *span, message);
                found.push(
                    diagnostic.with_help("give it to the agent as well, or take it from the tool"),
                );
            }
        }
    }
    found
}

fn egress(rule: &EgressRule, agent: &[AnyRule<'_>]) -> Vec<(String, Span)> {
    let covered = |destination: &Destination| {
        agent.iter().any(|other| {
            let AnyRule::Egress(other) = other else {
                return false;
            };
            let to = other.to.iter().any(|(own, _)| match (own, destination) {
                (Destination::Network(own), Destination::Network(network)) => own.reaches(network),
                (Destination::Unix(own), Destination::Unix(path)) => own.covers(path),
                (Destination::Host(own), Destination::Host(host)) => own.covers(host),
                (own, other) => own == other,
            });
            let ports = rule.ports.iter().all(|range| {
                other
                    .ports
                    .iter()
                    .any(|own| own.first <= range.first && range.last <= own.last)
            });
            other.direction == rule.direction
                && to
                && ports
                && (other.protocol.is_none() || other.protocol == rule.protocol)
        })
    };
    let wider = rule
        .to
        .iter()
        .filter(|(destination, _)| !covered(destination));
    wider
        .map(|(destination, span)| (format!("egress to {destination}"), *span))
        .collect()
}

fn exec(rule: &ExecRule, agent: &[AnyRule<'_>]) -> Vec<(String, Span)> {
    let execs = || {
        agent.iter().filter_map(|other| match other {
            AnyRule::Exec(other) => Some(*other),
            _ => None,
        })
    };
    let arguments = |other: &ExecRule| {
        other
            .arguments
            .iter()
            .all(|own| rule.arguments.contains(own))
    };
    let program = |pattern: &Pattern| {
        execs().any(|other| {
            arguments(other) && other.programs.iter().any(|(own, _)| own.covers(pattern))
        })
    };
    let digest = |digest: &[u8; 32]| {
        execs().any(|other| arguments(other) && other.digests.iter().any(|(own, _)| own == digest))
    };
    let programs = rule
        .programs
        .iter()
        .filter(|(pattern, _)| !program(pattern));
    let mut wider: Vec<(String, Span)> = programs
        .map(|(pattern, span)| (format!("exec of {pattern}"), *span))
        .collect();
    let digests = rule.digests.iter().filter(|(own, _)| !digest(own));
    wider.extend(digests.map(|(_, span)| ("exec of that digest".to_owned(), *span)));
    wider
}

fn files(rule: &FileRule, agent: &[AnyRule<'_>]) -> Vec<(String, Span)> {
    let covered = |pattern: &Pattern, access| {
        agent.iter().any(|other| match other {
            AnyRule::File(other) => {
                other.access.contains(&access)
                    && other.paths.iter().any(|(own, _)| own.covers(pattern))
            }
            _ => false,
        })
    };
    let mut wider = Vec::new();
    for (pattern, span) in &rule.paths {
        let access = rule
            .access
            .iter()
            .find(|access| !covered(pattern, **access));
        wider.extend(access.map(|access| (format!("{access} of {pattern}"), *span)));
    }
    wider
}
