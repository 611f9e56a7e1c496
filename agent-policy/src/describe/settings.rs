//! What a policy says besides its rules, in words.

use super::condition::{duration, pace, words};
use crate::policy::{
    Chain, Grant, Lookups, MinEnforcement, Mode, OnChange, OnDeviation, Pace, Policy, Recognised,
    RecordKind, RevokeOn,
};

pub(super) fn who(policy: &Policy) -> Vec<String> {
    let mut all = vec![format!(
        "Agent \"{}\" is answered for by {} ({}).",
        policy.name, policy.owner.name, policy.owner.contact
    )];
    all.extend(
        policy
            .purpose
            .as_ref()
            .map(|purpose| format!("Its purpose: {purpose}")),
    );
    if let Some(spiffe) = &policy.identity.spiffe {
        all.push(format!("Its identity is {spiffe}."));
    }
    if !policy.identity.models.is_empty() {
        all.push(format!("It uses {}.", policy.identity.models.join(", ")));
    }
    if let Some(version) = &policy.identity.version {
        all.push(format!("Its version is {version}."));
    }
    for (name, value) in &policy.labels {
        all.push(format!("It is labelled {name}={value}."));
    }
    all.extend(policy.recognised.iter().map(recognised));
    for fact in &policy.facts {
        let meaning = fact.meaning.as_deref().unwrap_or("a fact of its author's");
        let expires = fact
            .expires_s
            .map(|s| format!(" It expires after {}.", duration(s)));
        all.push(format!(
            "\"{}\" means: {meaning}.{}",
            fact.name,
            expires.unwrap_or_default()
        ));
    }
    all
}

/// How its connections and lookups go, whatever rule allows them.
pub(super) fn ways(policy: &Policy) -> Vec<String> {
    let via = policy.rules.via.as_ref();
    let via = via.map(|via| format!("What it may connect to it reaches through {via} alone."));
    let lookups = policy.rules.lookups.as_ref();
    let lookups = lookups.map(|(lookups, _)| looks_up(lookups));
    via.into_iter().chain(lookups).collect()
}

fn looks_up(lookups: &Lookups) -> String {
    let Lookups {
        records,
        label,
        below,
        labels,
        ..
    } = lookups;
    let records: Vec<&str> = records.iter().copied().map(RecordKind::word).collect();
    let often = |of: Pace| pace(of.count, of.period_s, of.burst);
    format!(
        "It may look up {} of allowed names, {}; new names below a \"*.\" {}, with at most {labels} \
         labels there, of {label} bytes each and {below} together.",
        records.join(", "),
        often(lookups.pace),
        often(lookups.new_names)
    )
}

fn recognised(by: &Recognised) -> String {
    match by {
        Recognised::Run => "Its sessions are started by \"interlock run\".".to_owned(),
        Recognised::Executable(path) => format!("Who executes {path} is a session of it."),
        Recognised::SystemdUnit(unit) => format!("The systemd unit {unit} is a session of it."),
        Recognised::Cgroup(path) => format!("The cgroup {path} is a session of it."),
        Recognised::Kubernetes(pods) => format!("Its sessions are {pods}."),
        Recognised::Container(containers) => format!("Its sessions are {containers}."),
    }
}

fn outcome(chain: &Chain) -> Vec<String> {
    let completed = chain.completed_by.as_ref();
    let completed = completed.map(|step| format!("Step \"{}\" completes the chain.", step.text));
    let failed = (!chain.failed_by.is_empty())
        .then(|| format!("The chain has failed by {}.", words(&chain.failed_by)));
    completed.into_iter().chain(failed).collect()
}

pub(super) fn end(policy: &Policy) -> Vec<String> {
    let mut all = outcome(&policy.chain);
    if let Some(seconds) = policy.end.ttl_s {
        all.push(format!(
            "Its permission lasts {} at most.",
            duration(seconds)
        ));
    }
    for on in &policy.end.revoke_on {
        all.push(match on {
            RevokeOn::Completion => "It ends when the chain is complete.".to_owned(),
            RevokeOn::Failure => "It ends when the chain has failed.".to_owned(),
            RevokeOn::Timeout => "It ends when a step comes too late.".to_owned(),
            RevokeOn::Budget => "It ends when an action finds a budget spent.".to_owned(),
            RevokeOn::Deviation => "It ends at the first action that deviates.".to_owned(),
            RevokeOn::ControllerLost(seconds) => {
                format!(
                    "It ends when the controller has been out of reach for {}.",
                    duration(*seconds)
                )
            }
        });
    }
    all.push(match policy.end.on_deviation {
        OnDeviation::Deny => "What it may not do is denied.".to_owned(),
        OnDeviation::Kill => {
            "What it may not do is denied, and its processes are killed.".to_owned()
        }
        OnDeviation::Revoke => "What it may not do is denied, and its permission ends.".to_owned(),
    });
    if policy.mode == Mode::Audit {
        all.push("It is only watched: nothing is held back, everything is recorded.".to_owned());
    }
    if policy.on_change == OnChange::Move {
        all.push("When this version comes, running sessions are held to it at once.".to_owned());
    }
    if policy.grant == Grant::Required {
        all.push("No session begins without a grant of the controller.".to_owned());
    }
    match policy.min_enforcement {
        MinEnforcement::Block => {}
        MinEnforcement::Kill => {
            all.push("It may run where actors can be killed but not blocked.".to_owned());
        }
        MinEnforcement::Observe => {
            all.push("It may run where actions can only be observed.".to_owned());
        }
    }
    all
}
