//! Numbers that people copy from one command into the next.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A number shown as sixteen hexadecimal digits, and what is said of a text that is none.
macro_rules! id {
    ($(#[$what:meta])* $id:ident, $(#[$not:meta])* $none:ident, $expected:literal) => {
        $(#[$what])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $id(pub u64);

        $(#[$not])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
        #[error($expected)]
        pub struct $none;

        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }

        impl FromStr for $id {
            type Err = $none;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                digits(text).map(Self).ok_or($none)
            }
        }

        impl Serialize for $id {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $id {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id! {
    /// A session's number.
    SessionId,
    /// A text that is no session's number.
    NoSessionId,
    "expected a session number of sixteen hexadecimal digits"
}

id! {
    /// A question's number.
    HoldId,
    /// A text that is no question's number.
    NoHoldId,
    "expected the number of a question, sixteen hexadecimal digits: `interlock holds` lists them"
}

fn digits(text: &str) -> Option<u64> {
    let hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (text.len() == 16 && hexadecimal)
        .then(|| u64::from_str_radix(text, 16).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_survives_the_way_to_text_and_back() {
        let id = SessionId(0x00ff_0000_0000_0001);
        assert_eq!(id.to_string(), "00ff000000000001");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "",
            "1",
            "00ff00000000000g",
            "+0ff000000000001",
            "00ff0000000000011",
        ] {
            assert_eq!(text.parse::<SessionId>(), Err(NoSessionId), "{text}");
            assert_eq!(text.parse::<HoldId>(), Err(NoHoldId), "{text}");
        }
    }
}
