//! The number of a question.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A question's number, shown as sixteen hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HoldId(pub u64);

/// A text that is no question's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected the number of a question, sixteen hexadecimal digits: `interlock holds` lists them"
)]
pub struct NoHoldId;

impl fmt::Display for HoldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for HoldId {
    type Err = NoHoldId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 16 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NoHoldId);
        }
        u64::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| NoHoldId)
    }
}

impl Serialize for HoldId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HoldId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_survives_the_way_to_text_and_back() {
        let id = HoldId(0x2a);
        assert_eq!(id.to_string(), "000000000000002a");
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "2a", "+00000000000002a", "00000000000000002a"] {
            assert_eq!(text.parse::<HoldId>(), Err(NoHoldId), "{text}");
        }
    }
}
