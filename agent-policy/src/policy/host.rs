//! Host names, in the one form in which they are compared.

use std::fmt;

use crate::text::quoted;

/// A host name or all names below one, in lower-case ASCII labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host {
    /// The name without `*.`.
    pub name: String,
    /// Whether every name below it is meant, and not the name itself.
    pub below: bool,
}

/// Bytes of a host name in its ASCII form (RFC 1035, without the root's dot).
const MAX_HOST: usize = 253;

impl Host {
    /// Reads a host name; the error is the "found" and the "expected" half of a message.
    pub fn read(text: &str) -> Result<Self, (String, String)> {
        let wrong = |what: &str, expected: &str| {
            Err((format!("{}{what}", quoted(text)), expected.to_owned()))
        };
        let (name, below) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        if name.contains('*') {
            return wrong(
                " with * inside",
                "* as the whole first label, as in *.example.com",
            );
        }
        // One trailing dot names the root and changes nothing; two are a mistake.
        let name = name.strip_suffix('.').unwrap_or(name);
        let ascii = if is_plain(name) {
            name.to_owned()
        } else {
            match idna::domain_to_ascii_strict(name) {
                Ok(ascii) if !ascii.is_empty() => ascii,
                _ => return wrong("", "a host name such as api.example.com or *.example.com"),
            }
        };
        if ascii.len() > MAX_HOST {
            return wrong(", which is too long", "a host name of at most 253 bytes");
        }
        if ascii == "localhost" || ascii.ends_with(".localhost") {
            return wrong("", "loopback, which names it without asking a resolver");
        }
        let Some((_, last)) = ascii.rsplit_once('.') else {
            return wrong(", a single label", "a full name such as api.example.com");
        };
        if last.starts_with("0x") || last.bytes().all(|byte| byte.is_ascii_digit()) {
            return wrong(
                ", which some resolvers read as an address",
                "an address as 192.0.2.7, or a name that ends in letters",
            );
        }
        Ok(Self { name: ascii, below })
    }

    /// The domains of names in which it lies, the nearest first.
    pub(crate) fn above(&self) -> impl Iterator<Item = Self> {
        let parent = |name: &str| Some(name.split_once('.')?.1.to_owned());
        let domains = std::iter::successors(parent(&self.name), move |name| parent(name));
        domains.map(|name| Self { name, below: true })
    }

    /// Whether all that is meant by another is meant by this one.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self == other || ((self.below || !other.below) && self.matches(&other.name))
    }

    /// Whether a canonical name is meant.
    pub fn matches(&self, name: &str) -> bool {
        if self.below {
            name.strip_suffix(self.name.as_str())
                .is_some_and(|head| head.len() > 1 && head.ends_with('.'))
        } else {
            name == self.name
        }
    }
}

/// Whether a name has that form already, as nearly all have: then nothing need be asked of Unicode's tables, which takes long
/// for who asks at each lookup.
pub(crate) fn is_plain(name: &str) -> bool {
    name.len() <= MAX_HOST && name.split('.').all(is_plain_label)
}

fn is_plain_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    let mut all = bytes.iter();
    (1..=63).contains(&bytes.len())
        && all.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
        // Encoded, or reserved.
        && bytes.get(2..4) != Some(b"--")
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.below { "*." } else { "" }, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_plain_name_is_what_the_tables_make_of_it(name in "[a-cx1-]{1,5}(\\.[a-cx1-]{1,5}){0,3}") {
            if is_plain(&name) {
                prop_assert_eq!(idna::domain_to_ascii_strict(&name).ok(), Some(name));
            }
        }
    }

    #[test]
    fn what_is_not_plain_is_said_to_be_so() {
        let long = "a".repeat(64);
        for name in [
            "", "a..b", "-a.b", "a-.b", "A.b", "xn--a.b", "a_b.c", "a.b.", &long,
        ] {
            assert!(!is_plain(name), "{name}");
        }
        assert!(is_plain("api-1.example.com") && is_plain(&long[1..]));
        let longest = "a.".repeat(MAX_HOST / 2) + "a";
        assert!(is_plain(&longest) && !is_plain(&(longest + "a")));
    }
}
