//! Compiled tables as JSON. Words of 64 bits are hexadecimal texts: many programs that read JSON
//! keep 53 bits of a number.

use agent_common::decide::{Rule, Verdict};
use agent_common::path::Access;
use agent_policy::{Compiled, NO_LIST, NetworkEntry, Objects};
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// All tables of a policy.
pub(super) fn of(compiled: &Compiled) -> Value {
    let sources = compiled.sources.iter().enumerate().map(|(number, source)| {
        json!({
            "number": number,
            "file": *source.file,
            "line": source.span.line,
            "id": source.id,
            "text": source.text,
        })
    });
    let ports = compiled.ports.iter().map(|entry| {
        json!({
            "set": entry.set,
            "protocol": entry.protocol,
            "port": entry.port,
            "prefixLen": entry.prefix_len,
            "list": entry.rule,
        })
    });
    let tools = compiled.tools.iter().map(|tool| {
        json!({
            "name": tool.name,
            "networks": networks(&tool.networks),
            "objects": objects(&tool.objects),
        })
    });
    let arguments = compiled
        .arguments
        .iter()
        .map(|argument| json!({"at": argument.at, "text": argument.text}));
    json!({
        "agent": compiled.name,
        "file": *compiled.file,
        "digest": compiled.digest_hex(),
        "needs": compiled.needs(),
        "facts": compiled.facts,
        "initialFacts": word(compiled.initial_facts),
        "completion": word(compiled.terms.completion),
        "approvals": compiled.approvals,
        "arguments": list(arguments),
        "authored": list(sources),
        "rules": list(compiled.rules.iter().enumerate().map(rule)),
        "networks": networks(&compiled.networks),
        "ports": list(ports),
        "objects": objects(&compiled.objects),
        "tools": list(tools),
        "terms": terms(compiled),
    })
}

fn rule((at, rule): (usize, &Rule)) -> Value {
    json!({
        "at": at,
        "number": rule.number,
        "verdict": Verdict::from_wire(rule.verdict).map(Verdict::word),
        "more": rule.flags & Rule::MORE != 0,
        "levelEnd": rule.flags & Rule::LEVEL_END != 0,
        "hoursOrApproval": rule.flags & Rule::HOURS_OR_APPROVAL != 0,
        "require": word(rule.require),
        "forbid": word(rule.forbid),
        "set": word(rule.set),
        "clear": word(rule.clear),
        "traits": rule.traits,
        "refuse": rule.refuse,
        "renew": rule.renew,
        "approval": rule.approval,
        "window": rule.window,
        "tool": rule.tool,
        "limits": rule.limits,
        "step": rule.step,
    })
}

fn networks(entries: &[NetworkEntry]) -> Value {
    list(entries.iter().map(|entry| {
        json!({
            "address": IpAddr::from(entry.address).to_string(),
            "prefixLen": entry.prefix_len,
            "set": entry.set,
        })
    }))
}

fn objects(objects: &Objects) -> Value {
    let paths = objects.paths.iter().map(|entry| {
        json!({
            "kind": entry.kind,
            "text": entry.text,
            "lists": by_access(&entry.lists),
            "fallback": by_access(&entry.fallback),
        })
    });
    let digests = objects.digests.iter().map(|entry| {
        let digest: String = entry
            .digest
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        json!({"digest": format!("sha256:{digest}"), "list": entry.list})
    });
    let hosts = objects.hosts.iter().map(|entry| {
        json!({
            "name": entry.name,
            "firstPort": entry.ports.first,
            "lastPort": entry.ports.last,
            "protocol": entry.protocol.map(|protocol| protocol.number()),
            "list": entry.list,
        })
    });
    let agents = objects
        .agents
        .iter()
        .map(|entry| json!({"name": entry.name, "list": entry.list}));
    json!({
        "listen": networks(&objects.listen),
        "paths": list(paths),
        "digests": list(digests),
        "hosts": list(hosts),
        "agents": list(agents),
    })
}

/// The lists there are, by what is done to the file.
fn by_access(lists: &[u32]) -> Value {
    Access::ALL
        .iter()
        .zip(lists)
        .filter(|(_, list)| **list != NO_LIST)
        .map(|(access, list)| (access.word().to_owned(), json!(list)))
        .collect::<Map<String, Value>>()
        .into()
}

/// Timers, limits and windows, those that are used.
fn terms(compiled: &Compiled) -> Value {
    let terms = &compiled.terms;
    let timers = terms.timers.iter().filter(|timer| timer.fact != 0);
    let limits = terms.limits.iter().filter(|limit| limit.kind != 0);
    let windows = terms.windows.iter().zip(&compiled.zones);
    json!({
        "timers": list(timers.map(|timer| {
            json!({"fact": word(timer.fact), "lifetimeNs": timer.lifetime_ns})
        })),
        "limits": list(limits.map(|limit| {
            json!({"kind": limit.kind, "amount": limit.amount, "burstNs": limit.burst_ns})
        })),
        "windows": list(windows.map(|(window, zone)| {
            json!({
                "zone": zone,
                "opens": window.opens,
                "closes": window.closes,
                "days": window.days,
            })
        })),
        "onDeviation": terms.flags,
    })
}

fn word(bits: u64) -> Value {
    Value::String(format!("{bits:#018x}"))
}

fn list(items: impl Iterator<Item = Value>) -> Value {
    items.collect()
}
