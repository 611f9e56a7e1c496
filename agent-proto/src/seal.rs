//! What the controller signs, and how it is checked.

use crate::wire::AuditEntry;
use ring::digest::{Context, SHA256};
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use std::sync::Arc;

/// What is signed, so that a signature over one thing is none over another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A directive.
    Directive,
    /// A grant.
    Grant,
    /// The newest entry of the audit.
    Audit,
}

impl Purpose {
    fn prefix(self) -> &'static [u8] {
        match self {
            Self::Directive => b"interlock directive v1\0",
            Self::Grant => b"interlock grant v1\0",
            Self::Audit => b"interlock audit v1\0",
        }
    }

    fn message(self, body: &[u8]) -> Vec<u8> {
        [self.prefix(), body].concat()
    }
}

/// What is wrong with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is not one.
    #[error("found no Ed25519 key in PKCS #8")]
    Wrong,
    /// The machine has no random numbers.
    #[error("cannot draw a key")]
    Random,
}

/// The key of a controller.
#[derive(Debug, Clone)]
pub struct Key(Arc<Ed25519KeyPair>);

impl Key {
    /// A new key, as PKCS #8.
    pub fn draw() -> Result<Vec<u8>, KeyError> {
        let drawn = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
        drawn
            .map(|key| key.as_ref().to_vec())
            .map_err(|_| KeyError::Random)
    }

    /// A key from PKCS #8.
    pub fn from_pkcs8(bytes: &[u8]) -> Result<Self, KeyError> {
        let read = Ed25519KeyPair::from_pkcs8(bytes);
        read.map(|key| Self(Arc::new(key)))
            .map_err(|_| KeyError::Wrong)
    }

    /// What others need to check its signatures.
    pub fn public(&self) -> Vec<u8> {
        self.0.public_key().as_ref().to_vec()
    }

    /// Signs what says itself what it is for, as evidence's checkpoints do.
    pub fn sign_as_it_is(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }

    /// Signs.
    pub fn sign(&self, purpose: Purpose, body: &[u8]) -> Vec<u8> {
        self.0.sign(&purpose.message(body)).as_ref().to_vec()
    }
}

/// Whether one of the keys has signed this.
pub fn is_signed(keys: &[Vec<u8>], purpose: Purpose, body: &[u8], signature: &[u8]) -> bool {
    let message = purpose.message(body);
    keys.iter().any(|key| {
        UnparsedPublicKey::new(&ED25519, key)
            .verify(&message, signature)
            .is_ok()
    })
}

/// The hash of an audit's entry, which is that of all that it says and of the entry before it.
pub fn audit_hash(entry: &AuditEntry) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    context.update(&entry.sequence.to_be_bytes());
    context.update(&entry.time_ms.to_be_bytes());
    let AuditEntry {
        who,
        action,
        object,
        outcome,
        ..
    } = entry;
    for part in [who, action, object, outcome].map(String::as_bytes) {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context.update(&entry.hash_before);
    context.finish().as_ref().to_vec()
}

/// The first entry of an audit that is not what was written, if there is one.
pub fn audit_fault(entries: &[AuditEntry]) -> Option<u64> {
    let mut before: Option<&AuditEntry> = None;
    entries.iter().find_map(|entry| {
        let follows = before.is_none_or(|before| {
            before.hash == entry.hash_before && before.sequence + 1 == entry.sequence
        });
        before = Some(entry);
        (!follows || audit_hash(entry) != entry.hash).then_some(entry.sequence)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_key_its_purpose_and_its_bytes() {
        let key = Key::from_pkcs8(&Key::draw().expect("a key")).expect("a key");
        let other = Key::from_pkcs8(&Key::draw().expect("a key")).expect("a key");
        let signature = key.sign(Purpose::Grant, b"body");
        let keys = [other.public(), key.public()];
        assert!(is_signed(&keys, Purpose::Grant, b"body", &signature));
        assert!(!is_signed(&keys[..1], Purpose::Grant, b"body", &signature));
        assert!(!is_signed(&keys, Purpose::Directive, b"body", &signature));
        assert!(!is_signed(&keys, Purpose::Grant, b"bodY", &signature));
        assert!(!is_signed(&keys, Purpose::Grant, b"body", &signature[1..]));
    }

    #[test]
    fn a_changed_dropped_or_swapped_audit_entry_is_found() {
        let mut entries: Vec<AuditEntry> = Vec::new();
        for sequence in 1..=3 {
            let before = entries
                .last()
                .map(|last| last.hash.clone())
                .unwrap_or_default();
            let mut entry = AuditEntry {
                sequence,
                who: "operator/ada".into(),
                action: "revoke".into(),
                hash_before: before,
                ..AuditEntry::default()
            };
            entry.hash = audit_hash(&entry);
            entries.push(entry);
        }
        assert_eq!(audit_fault(&entries), None);
        assert_eq!(audit_fault(&entries[1..]), None);
        let mut changed = entries.clone();
        changed[1].who = "operator/eve".into();
        assert_eq!(audit_fault(&changed), Some(2));
        changed[1].hash = audit_hash(&changed[1]);
        assert_eq!(audit_fault(&changed), Some(3));
        let dropped = [entries[0].clone(), entries[2].clone()];
        assert_eq!(audit_fault(&dropped), Some(3));
    }
}
