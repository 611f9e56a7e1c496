//! Compiled tables as JSON, for people who want to see them and for other programs. The loader does
//! not read this form.

use serde_json::{Value, json};

use agent_common::decide::{Rule, Verdict};
use agent_common::path::Access;
use agent_common::privilege::Privilege;

use super::tables::Objects;
use super::{Compiled, NO_LIST, NetworkEntry};

impl Compiled {
    /// Everything that is looked up, by the names that people use.
    pub fn json(&self) -> Value {
        json!({
            "agent": self.name,
            "file": &*self.file,
            "digest": format!("sha256:{}", self.digest_hex()),
            "needs": self.needs(),
            "facts": self.facts.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "initialFacts": self.fact_names(self.initial_facts),
            "completion": self.fact_names(self.completion),
            "approvals": self.approvals,
            "zones": self.zones,
            "arguments": self.arguments.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "sources": self.sources.iter().map(|source| json!({
                "file": &*source.file, "line": source.span.line, "id": source.id, "text": source.text,
            })).collect::<Vec<_>>(),
            "rules": self.rules.iter().map(|rule| self.rule(rule)).collect::<Vec<_>>(),
            "networks": networks(&self.networks),
            "ports": self.ports.iter().map(|port| json!({
                "set": port.set, "protocol": port.protocol, "port": port.port,
                "prefixLength": port.prefix_len, "rule": port.rule,
            })).collect::<Vec<_>>(),
            "objects": objects(&self.objects),
            "tools": self.tools.iter().map(|tool| json!({
                "name": tool.name, "networks": networks(&tool.networks), "objects": objects(&tool.objects),
            })).collect::<Vec<_>>(),
        })
    }

    fn rule(&self, rule: &Rule) -> Value {
        json!({
            "source": rule.number,
            "verdict": Verdict::from_wire(rule.verdict).map(Verdict::word),
            "require": self.fact_names(rule.require),
            "forbid": self.fact_names(rule.forbid),
            "set": self.fact_names(rule.set),
            "clear": self.fact_names(rule.clear),
            "more": rule.flags & Rule::MORE != 0,
            "levelEnd": rule.flags & Rule::LEVEL_END != 0,
            "hoursOrApproval": rule.flags & Rule::HOURS_OR_APPROVAL != 0,
            "approval": index(rule.approval),
            "window": index(rule.window),
            "tool": index(rule.tool),
            "limits": rule.limits.iter().filter_map(|limit| index(*limit)).collect::<Vec<_>>(),
            "traits": rule.traits,
            "refuse": rule.refuse,
        })
    }
}

/// Indices are stored plus one, so that 0 is none.
fn index(number: u8) -> Option<u8> {
    number.checked_sub(1)
}

fn networks(networks: &[NetworkEntry]) -> Vec<Value> {
    let entry = |entry: &NetworkEntry| {
        let network = crate::policy::Network::of(entry.address, entry.prefix_len);
        json!({"network": network.to_string(), "set": entry.set})
    };
    networks.iter().map(entry).collect()
}

fn objects(objects: &Objects) -> Value {
    let lists = |of: &[u32]| {
        let named = Access::ALL
            .iter()
            .zip(of)
            .filter(|(_, list)| **list != NO_LIST);
        let map = named.map(|(access, list)| (access.word().to_owned(), json!(list)));
        Value::Object(map.collect())
    };
    json!({
        "listen": networks(&objects.listen),
        "paths": objects.paths.iter().map(|entry| json!({
            "kind": entry.kind, "text": entry.text,
            "lists": lists(&entry.lists), "fallback": lists(&entry.fallback),
        })).collect::<Vec<_>>(),
        "digests": objects.digests.iter().map(|entry| json!({
            "digest": entry.digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
            "list": entry.list,
        })).collect::<Vec<_>>(),
        "hosts": objects.hosts.iter().map(|entry| json!({
            "name": entry.name, "ports": entry.ports.to_string(), "list": entry.list,
            "protocol": entry.protocol.map(crate::policy::Protocol::word),
        })).collect::<Vec<_>>(),
        "agents": objects.agents.iter().map(|entry| json!({
            "name": entry.name, "list": entry.list,
        })).collect::<Vec<_>>(),
        "privileges": Privilege::of_mask(objects.privileges).map(Privilege::word).collect::<Vec<_>>(),
    })
}
