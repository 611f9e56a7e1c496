//! The name of a compiled policy: SHA-256 over one canonical encoding. Lengths stand before what
//! they count and integers are little-endian, so no two policies share an encoding.

use sha2::{Digest, Sha256};

use crate::policy::{Policy, Protocol};

use super::{Compiled, NetworkEntry, Objects};

/// Grows whenever the encoding changes.
const VERSION: u32 = 2;

struct Encoder(Sha256);

impl Encoder {
    fn number(&mut self, value: u64) {
        self.0.update(value.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }
}

pub(super) fn of(policy: &Policy, compiled: &Compiled) -> [u8; 32] {
    let mut encoder = Encoder(Sha256::new());
    encoder.text("interlock policy");
    encoder.number(VERSION.into());
    people(&mut encoder, policy);
    networks(&mut encoder, &compiled.networks);
    encoder.number(compiled.ports.len() as u64);
    for port in &compiled.ports {
        encoder.number(port.set.into());
        encoder.number(port.protocol.into());
        encoder.number(port.port.into());
        encoder.number(port.prefix_len.into());
        encoder.number(port.rule.into());
    }
    objects(&mut encoder, &compiled.objects);
    encoder.number(compiled.tools.len() as u64);
    for tool in &compiled.tools {
        encoder.text(&tool.name);
        networks(&mut encoder, &tool.networks);
        objects(&mut encoder, &tool.objects);
    }
    rules(&mut encoder, compiled);
    terms(&mut encoder, compiled);
    encoder.0.finalize().into()
}

/// What the tables do not hold: names, owners, and how sessions begin and end.
fn people(encoder: &mut Encoder, policy: &Policy) {
    encoder.text(&policy.name);
    let mut labels = policy.labels.clone();
    labels.sort();
    encoder.text(&format!("{labels:?}"));
    encoder.text(&format!("{:?}", policy.owner));
    encoder.text(policy.purpose.as_deref().unwrap_or(""));
    encoder.text(&format!("{:?}", policy.identity));
    encoder.text(&format!("{:?}", policy.recognised));
    encoder.text(&format!("{:?}", policy.end));
    encoder.text(&format!("{:?} {:?}", policy.mode, policy.min_enforcement));
    let failed: Vec<&str> = policy
        .chain
        .failed_by
        .iter()
        .map(|word| word.text.as_str())
        .collect();
    encoder.text(&format!("{failed:?}"));
    for tool in &policy.tools {
        encoder.text(&format!("{:?}", tool.owner));
    }
}

fn networks(encoder: &mut Encoder, networks: &[NetworkEntry]) {
    encoder.number(networks.len() as u64);
    for network in networks {
        encoder.number(network.prefix_len.into());
        encoder.bytes(&network.address);
        encoder.number(network.set.into());
    }
}

fn objects(encoder: &mut Encoder, objects: &Objects) {
    networks(encoder, &objects.listen);
    encoder.number(objects.paths.len() as u64);
    for path in &objects.paths {
        encoder.number(path.kind as u64);
        encoder.text(&path.text);
        for list in path.lists.iter().chain(&path.fallback) {
            encoder.number(u64::from(*list));
        }
    }
    encoder.number(objects.digests.len() as u64);
    for entry in &objects.digests {
        encoder.bytes(&entry.digest);
        encoder.number(entry.list.into());
    }
    encoder.number(objects.hosts.len() as u64);
    for entry in &objects.hosts {
        encoder.text(&entry.name);
        encoder.number(entry.ports.first.into());
        encoder.number(entry.ports.last.into());
        encoder.number(entry.protocol.map_or(0, Protocol::number).into());
        encoder.number(entry.list.into());
    }
    encoder.number(objects.agents.len() as u64);
    for entry in &objects.agents {
        encoder.text(&entry.name);
        encoder.number(entry.list.into());
    }
    encoder.number(objects.privileges);
}

fn rules(encoder: &mut Encoder, compiled: &Compiled) {
    encoder.number(compiled.rules.len() as u64);
    for rule in &compiled.rules {
        for mask in [rule.require, rule.forbid, rule.set, rule.clear] {
            encoder.number(mask);
        }
        for number in [rule.number, rule.traits, rule.refuse, rule.renew.into()] {
            encoder.number(number.into());
        }
        encoder.bytes(&[
            rule.verdict,
            rule.approval,
            rule.window,
            rule.tool,
            rule.flags,
            rule.step,
        ]);
        encoder.bytes(&rule.limits);
    }
    encoder.number(compiled.sources.len() as u64);
    for source in &compiled.sources {
        encoder.text(&source.text);
        encoder.text(source.id.as_deref().unwrap_or(""));
    }
}

fn terms(encoder: &mut Encoder, compiled: &Compiled) {
    for timer in &compiled.terms.timers {
        encoder.number(timer.lifetime_ns);
        encoder.number(timer.fact);
    }
    for limit in &compiled.terms.limits {
        encoder.number(limit.kind.into());
        encoder.number(limit.amount);
        encoder.number(limit.burst_ns);
    }
    for window in &compiled.terms.windows {
        encoder.number(window.opens.into());
        encoder.number(window.closes.into());
        encoder.number(window.days.into());
    }
    encoder.number(compiled.terms.on_deviation.into());
    encoder.text(&format!("{:?}", compiled.zones));
    encoder.text(&format!("{:?}", compiled.facts));
    encoder.number(compiled.initial_facts);
    encoder.number(compiled.completion);
    encoder.text(&format!("{:?}", compiled.approvals));
    encoder.text(&format!("{:?}", compiled.arguments));
}
