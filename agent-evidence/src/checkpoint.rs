//! Signatures over all that was recorded up to a record.

use crate::chain::{Hash, from_hex};
use crate::key::Key;
use ed25519_dalek::{Signature, VerifyingKey};
use serde::{Deserialize, Serialize};

/// What the node's signature begins with.
const OURS: &[u8] = b"interlock evidence checkpoint 1\0";

/// What the controller's begins with.
const THEIRS: &[u8] = b"interlock evidence countersignature 1\0";

/// What is signed: the hash carries all that came before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Checkpoint {
    /// The number of the last record.
    pub sequence: u64,
    /// Its hash.
    pub hash: Hash,
    /// The node.
    pub node: String,
    /// The boot during which it was signed.
    pub boot: String,
    /// When, in RFC 3339.
    pub time: String,
}

/// A checkpoint with the node's signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Signed {
    /// What is signed.
    pub checkpoint: Checkpoint,
    /// Ed25519, in hexadecimal digits.
    pub signature: String,
}

/// The controller's signature over a checkpoint that it has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Countersigned {
    /// What is signed.
    pub checkpoint: Checkpoint,
    /// The controller's public key, in hexadecimal digits.
    pub key: String,
    /// Ed25519, in hexadecimal digits.
    pub signature: String,
}

impl Checkpoint {
    fn message(&self, domain: &[u8]) -> Vec<u8> {
        let mut message = domain.to_vec();
        let text = serde_json::to_vec(self).expect("a checkpoint has no maps, and text is text");
        message.extend_from_slice(&text);
        message
    }
}

impl Signed {
    /// Signs a checkpoint.
    pub fn sign(checkpoint: Checkpoint, key: &Key) -> Self {
        let signature = key.sign(&checkpoint.message(OURS));
        Self {
            checkpoint,
            signature: hex::encode(signature),
        }
    }

    /// Whether a key made it, given as bytes.
    pub fn is_by_bytes(&self, key: &[u8]) -> bool {
        let key = key.try_into().ok();
        let key = key.and_then(|key| VerifyingKey::from_bytes(key).ok());
        key.is_some_and(|key| self.is_by(&key))
    }

    /// Whether a key made it.
    pub fn is_by(&self, key: &VerifyingKey) -> bool {
        holds(&self.signature, &self.checkpoint.message(OURS), key)
    }
}

impl Countersigned {
    /// What a controller does when it acknowledges. How it signs with its key is its own affair.
    pub fn sign(checkpoint: Checkpoint, key: &[u8], sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Self {
        let signature = sign(&checkpoint.message(THEIRS));
        Self {
            checkpoint,
            key: hex::encode(key),
            signature: hex::encode(&signature),
        }
    }

    /// Whether the key that it names made it. Whether that is the controller's, somebody else knows.
    pub fn is_sound(&self) -> bool {
        let key = from_hex(&self.key).and_then(|key| VerifyingKey::from_bytes(&key).ok());
        key.is_some_and(|key| holds(&self.signature, &self.checkpoint.message(THEIRS), &key))
    }
}

fn holds(signature: &str, message: &[u8], key: &VerifyingKey) -> bool {
    let signature = from_hex::<64>(signature).map(|bytes| Signature::from_bytes(&bytes));
    signature.is_some_and(|signature| key.verify_strict(message, &signature).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(sequence: u64) -> Checkpoint {
        Checkpoint {
            sequence,
            hash: Hash([3; 32]),
            node: "n1".into(),
            boot: "b".into(),
            time: "2026-03-02T10:00:00Z".into(),
        }
    }

    #[test]
    fn a_signature_is_for_one_checkpoint_by_one_key_in_one_role() {
        let (ours, other) = (Key::draw().unwrap(), Key::draw().unwrap());
        let signed = Signed::sign(checkpoint(7), &ours);
        assert!(signed.is_by(&ours.public()));
        assert!(!signed.is_by(&other.public()));
        let moved = Signed {
            checkpoint: checkpoint(8),
            ..signed.clone()
        };
        assert!(!moved.is_by(&ours.public()));
        let sign = |message: &[u8]| other.sign(message).to_vec();
        let theirs = Countersigned::sign(checkpoint(7), other.public().as_bytes(), sign);
        assert!(theirs.is_sound());
        let borrowed = Countersigned {
            key: ours.public_hex(),
            signature: signed.signature,
            ..theirs
        };
        assert!(
            !borrowed.is_sound(),
            "the node cannot sign as the controller"
        );
    }
}
