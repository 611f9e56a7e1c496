//! The name of a compiled policy: SHA-256 over one canonical encoding. Lengths stand before what
//! they count and integers are little-endian, so no two policies share an encoding.

use sha2::{Digest, Sha256};

use crate::policy::Policy;

use super::Compiled;

/// Grows whenever the encoding changes.
const VERSION: u32 = 1;

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
    encoder.text(&policy.name);
    let mut labels = policy.labels.clone();
    labels.sort();
    encoder.number(labels.len() as u64);
    for (name, text) in &labels {
        encoder.text(name);
        encoder.text(text);
    }
    encoder.text(&policy.owner.name);
    encoder.text(&policy.owner.contact);
    encoder.text(policy.purpose.as_deref().unwrap_or(""));
    encoder.number(compiled.networks.len() as u64);
    for network in &compiled.networks {
        encoder.number(network.prefix_len.into());
        encoder.bytes(&network.address);
        encoder.number(network.set.into());
    }
    encoder.number(compiled.ports.len() as u64);
    for port in &compiled.ports {
        encoder.number(port.set.into());
        encoder.number(port.protocol.into());
        encoder.number(port.port.into());
        encoder.number(port.prefix_len.into());
        encoder.number(port.rule.into());
    }
    encoder.number(compiled.rules.len() as u64);
    for (rule, source) in compiled.rules.iter().zip(&compiled.sources) {
        for mask in [rule.require, rule.forbid, rule.set, rule.clear] {
            encoder.number(mask);
        }
        encoder.number(rule.number.into());
        encoder.number(rule.verdict.into());
        encoder.text(&source.text);
    }
    encoder.0.finalize().into()
}
