//! How each record carries all that came before it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// What a record's hash begins with, so that it is no hash of anything else.
const DOMAIN: &[u8] = b"interlock evidence record 1\0";

/// A SHA-256, shown as 64 hexadecimal digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// What stands before the first record of a node.
    pub const START: Self = Self([0; 32]);
}

/// The hash of a record that follows another. The body is what is stored, byte for byte.
pub fn link(previous: &Hash, sequence: u64, body: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(DOMAIN);
    hasher.update(previous.0);
    hasher.update(sequence.to_le_bytes());
    hasher.update(body);
    Hash(hasher.finalize().into())
}

/// `N` bytes from hexadecimal digits.
pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A text that is no hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 64 hexadecimal digits")]
pub struct NoHash;

impl FromStr for Hash {
    type Err = NoHash;

    fn from_str(text: &str) -> Result<Self, NoHash> {
        from_hex(text).map(Self).ok_or(NoHash)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_the_first_record_is_what_it_always_was() {
        // sha256sum of the domain, 32 zero bytes, 1 in eight bytes little endian, and `{}`.
        let hash = link(&Hash::START, 1, b"{}");
        assert_eq!(
            hash.to_string(),
            "933de2c7cd8972898e959267b7425d289925ed95d1e1740cde48f1c8affbe5f1"
        );
        assert_eq!(hash.to_string().parse(), Ok(hash));
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        let long = "0".repeat(65);
        let odd = "g".repeat(64);
        for text in ["", "00", &long, &odd, &"+".repeat(64)] {
            assert_eq!(text.parse::<Hash>(), Err(NoHash), "{text}");
        }
    }
}
