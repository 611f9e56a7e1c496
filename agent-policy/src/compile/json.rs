//! Compiled tables as JSON, for people who want to see them and for other programs. The loader does
//! not read this form. Facts stand by their names: a reader need not know which bit is which, and
//! many programs that read JSON keep 53 bits of a number.

use serde_json::{Map, Value, json};

use agent_common::decide::{Rule, Verdict};
use agent_common::egress::{TCP, UDP};
use agent_common::path::Access;
use agent_common::privilege::Privilege;
use agent_common::terms::{Limit, Terms};

use super::tables::Objects;
use super::{Compiled, NO_LIST, NetworkEntry};
use crate::policy::{Network, Pace};

impl Compiled {
    /// Everything that is looked up, by the names that people use. A list is named by where it
    /// begins in `rules`, limits and windows by their place in `terms`.
    pub fn json(&self) -> Value {
        json!({
            "agent": self.name,
            "file": *self.file,
            "digest": self.digest_hex(),
            "needs": self.needs(),
            "facts": self.fact_names(u64::MAX),
            "initialFacts": self.fact_names(self.initial_facts),
            "completion": self.fact_names(self.terms.completion),
            "approvals": list(self.approvals.iter().map(|approval| json!({
                "fact": self.fact_names(1 << (approval.fact & 63)),
                "by": approval.by, "expiresS": approval.expires_s,
                "once": approval.once, "show": approval.show, "waitS": approval.wait_s,
                "people": approval.people, "answer": approval.answer,
                "waitsAlone": approval.waits_alone,
            }))),
            "arguments": list(self.arguments.iter().map(|argument| json!({
                "at": argument.at, "text": argument.text, "prefix": argument.prefix,
            }))),
            "authored": list(self.sources.iter().map(|source| json!({
                "file": *source.file, "line": source.span.line, "id": source.id, "step": source.step,
                "text": source.text, "because": source.because,
            }))),
            "rules": list(self.rules.iter().map(|rule| self.rule(rule))),
            "networks": networks(&self.networks),
            "ports": list(self.ports.iter().map(|entry| json!({
                "set": entry.set, "protocol": protocol(entry.protocol), "port": entry.port,
                "prefixLen": entry.prefix_len, "list": entry.rule,
            }))),
            "objects": objects(&self.objects),
            "tools": list(self.tools.iter().map(|tool| json!({
                "name": tool.name, "networks": networks(&tool.networks), "objects": objects(&tool.objects),
            }))),
            "terms": self.terms_json(),
            "gateway": self.gateway.as_ref().map(ToString::to_string),
            "lookups": self.lookups_json(),
        })
    }

    fn lookups_json(&self) -> Value {
        let lookups = &self.lookups;
        let pace = |pace: &Pace| json!({"count": pace.count, "periodS": pace.period_s, "burst": pace.burst});
        json!({
            "records": list(lookups.records.iter().map(|kind| json!(kind.word()))),
            "pace": pace(&lookups.pace), "newNames": pace(&lookups.new_names),
            "label": lookups.label, "below": lookups.below, "labels": lookups.labels,
        })
    }

    fn rule(&self, rule: &Rule) -> Value {
        json!({
            "authored": rule.number,
            "verdict": Verdict::from_wire(rule.verdict).map(Verdict::word),
            "more": rule.flags & Rule::MORE != 0,
            "levelEnd": rule.flags & Rule::LEVEL_END != 0,
            "hoursOrApproval": rule.flags & Rule::HOURS_OR_APPROVAL != 0,
            "named": rule.flags & Rule::NAMED != 0,
            "gateway": rule.flags & Rule::GATEWAY != 0,
            "require": self.fact_names(rule.require),
            "forbid": self.fact_names(rule.forbid),
            "set": self.fact_names(rule.set),
            "clear": self.fact_names(rule.clear),
            "approval": self.fact(rule.approval),
            "step": self.fact(rule.step),
            "traits": rule.traits,
            "refuse": rule.refuse,
            "renew": (0..16).filter(|at| rule.renew >> at & 1 != 0).collect::<Vec<u32>>(),
            "window": index(rule.window),
            "tool": index(rule.tool),
            "limits": rule.limits.iter().filter_map(|limit| index(*limit)).collect::<Vec<_>>(),
        })
    }

    /// The name of a fact that is counted from 1.
    fn fact(&self, number: u8) -> Option<String> {
        let bit = index(number)?;
        self.fact_names(1 << (bit & 63)).pop()
    }

    /// Timers, limits and windows, those that are used.
    fn terms_json(&self) -> Value {
        let timers = self.terms.timers.iter().filter(|timer| timer.fact != 0);
        let limits = self.terms.limits.iter().filter(|limit| limit.kind != 0);
        let windows = self.terms.windows.iter().zip(&self.zones);
        json!({
            "timers": list(timers.map(|timer| json!({
                "fact": self.fact_names(timer.fact), "lifetimeNs": timer.lifetime_ns,
            }))),
            "limits": list(limits.map(|limit| json!({
                "kind": kind(limit), "amount": limit.amount, "burstNs": limit.burst_ns,
            }))),
            "windows": list(windows.map(|(window, zone)| json!({
                "zone": zone, "opens": window.opens, "closes": window.closes, "days": window.days,
            }))),
            "flags": flags(self.terms.flags),
        })
    }
}

fn kind(limit: &Limit) -> &'static str {
    match limit.kind {
        Limit::RATE => "rate",
        Limit::COUNT => "count",
        _ => "bytes",
    }
}

/// What follows from how sessions end and how firmly the policy is held.
fn flags(bits: u32) -> Value {
    let words = [
        (Terms::DEVIATION_KILL, "deviationKills"),
        (Terms::DEVIATION_REVOKE, "deviationRevokes"),
        (Terms::COMPLETION_REVOKE, "completionRevokes"),
        (Terms::SPENT_REVOKE, "spentRevokes"),
        (Terms::AUDIT, "audit"),
        (Terms::APPROVALS, "approvals"),
    ];
    let held = words.iter().filter(|(bit, _)| bits & bit != 0);
    list(held.map(|(_, word)| json!(word)))
}

fn protocol(number: u8) -> &'static str {
    match number {
        TCP => "tcp",
        UDP => "udp",
        _ => "other",
    }
}

/// Indices are stored plus one, so that 0 is none.
fn index(number: u8) -> Option<u8> {
    number.checked_sub(1)
}

fn networks(networks: &[NetworkEntry]) -> Value {
    list(networks.iter().map(|entry| {
        let network = Network::of(entry.address, entry.prefix_len);
        json!({"network": network.to_string(), "set": entry.set})
    }))
}

fn objects(objects: &Objects) -> Value {
    json!({
        "listen": networks(&objects.listen),
        "paths": list(objects.paths.iter().map(|entry| json!({
            "kind": entry.kind, "text": entry.text,
            "lists": by_access(&entry.lists), "fallback": by_access(&entry.fallback),
        }))),
        "digests": list(objects.digests.iter().map(|entry| {
            json!({"digest": format!("sha256:{}", hex::encode(entry.digest)), "list": entry.list})
        })),
        "hosts": list(objects.hosts.iter().map(|entry| json!({
            "name": entry.name, "set": entry.set,
        }))),
        "agents": list(objects.agents.iter().map(|entry| json!({
            "name": entry.name, "list": entry.list,
        }))),
        "privileges": list(Privilege::of_mask(objects.privileges).map(|privilege| privilege.word().into())),
    })
}

/// The lists there are, by what is done to the file.
fn by_access(lists: &[u32]) -> Value {
    let named = Access::ALL
        .iter()
        .zip(lists)
        .filter(|(_, list)| **list != NO_LIST);
    named
        .map(|(access, list)| (access.word().to_owned(), json!(list)))
        .collect::<Map<String, Value>>()
        .into()
}

fn list(items: impl Iterator<Item = Value>) -> Value {
    items.collect()
}
