//! Paths as policies write them: exact, a directory with all below it, a base name, an extension.

use std::fmt;

use crate::text::quoted;

/// Directories of a path; what lies deeper is denied by the kernel programs in any case.
const MAX_DEPTH: usize = 32;
/// Bytes of a path, as in the kernel's `PATH_MAX`.
const MAX_PATH: usize = 4095;
/// Bytes of one name, as in the kernel's `NAME_MAX`.
const MAX_NAME: usize = 255;

/// What a path rule is looked up by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pattern {
    /// One path.
    Exact(String),
    /// A directory and everything below it; the root is the empty text.
    Under(String),
    /// A base name, wherever it lies.
    Name(String),
    /// The text behind the last dot of a base name, wherever it lies.
    Extension(String),
    /// A Unix socket that has no path, by its name behind `@`.
    Abstract(String),
}

pub(crate) const PATTERN: &str =
    "an absolute path, dir/** for all below a directory, a base name such as .env, or *.ext";

/// Bytes of a Unix socket's name without a path, as in the kernel's `UNIX_PATH_MAX`.
const MAX_ABSTRACT: usize = 107;

impl Pattern {
    /// Reads what a rule for Unix sockets names: a pattern of paths, or `@` and a name without one.
    pub(crate) fn read_socket(text: &str) -> Result<Self, (String, String)> {
        let Some(name) = text.strip_prefix('@') else {
            return Self::read(text);
        };
        if name.is_empty() || name.len() > MAX_ABSTRACT || name.contains('*') {
            return Err((
                quoted(text),
                format!("@ and the whole name, of 1 to {MAX_ABSTRACT} bytes"),
            ));
        }
        Ok(Self::Abstract(name.to_owned()))
    }

    /// Reads a pattern; the error is the "found" and the "expected" half of a message.
    pub(crate) fn read(text: &str) -> Result<Self, (String, String)> {
        let wrong = |what: &str, expected: &str| {
            Err((format!("{}{what}", quoted(text)), expected.to_owned()))
        };
        if text.len() > MAX_PATH {
            return wrong(", which is too long", "at most 4095 bytes");
        }
        if !text.starts_with('/') {
            if text.contains('/') {
                return wrong(
                    ", a relative path",
                    "a path that begins with /, or a base name without /",
                );
            }
            let (name, make): (&str, fn(String) -> Self) = match text.strip_prefix("*.") {
                Some(extension) if extension.contains('.') => {
                    return wrong(" with two dots", "one extension, such as *.gz");
                }
                Some(extension) => (extension, Self::Extension),
                None => (text, Self::Name),
            };
            let no_name = name.is_empty() || name == "." || name == "..";
            if no_name || name.contains(['*', '?', '[']) || name.len() > MAX_NAME {
                return wrong("", PATTERN);
            }
            return Ok(make(name.to_owned()));
        }
        let (path, under) = match text.strip_suffix("/**") {
            Some(directory) => (directory, true),
            None => (text, false),
        };
        if path.contains(['*', '?']) {
            return wrong(" with a wildcard inside", PATTERN);
        }
        if path.len() > 1 && path.ends_with('/') {
            return wrong(
                " with / at its end",
                "the directory as dir/**, or the path without /",
            );
        }
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        if path != "/"
            && parts
                .iter()
                .any(|part| part.is_empty() || *part == "." || *part == "..")
        {
            return wrong(
                " with an empty part, . or ..",
                "the path as the kernel resolves it",
            );
        }
        if parts.len() > MAX_DEPTH || parts.iter().any(|part| part.len() > MAX_NAME) {
            return wrong(
                ", which is too deep or has too long a name",
                "at most 32 directories, names of at most 255 bytes",
            );
        }
        let path = path.to_owned();
        Ok(if under {
            Self::Under(path)
        } else {
            Self::Exact(path)
        })
    }

    /// Whether a path, absolute and resolved, is meant; or, with `@` before it, a Unix socket's name
    /// without a path.
    pub fn matches(&self, path: &str) -> bool {
        if let Some(name) = path.strip_prefix('@') {
            return matches!(self, Self::Abstract(own) if own == name);
        }
        let name = path.rsplit('/').next().unwrap_or(path);
        match self {
            Self::Exact(own) => own == path,
            Self::Under(directory) => is_under(directory, path),
            Self::Name(own) => own == name,
            Self::Extension(own) => name
                .rsplit_once('.')
                .is_some_and(|(_, extension)| extension == own),
            Self::Abstract(_) => false,
        }
    }

    /// Whether whatever `other` means is meant by this pattern as well.
    pub fn covers(&self, other: &Pattern) -> bool {
        match (self, other) {
            (own, Self::Exact(path)) => own.matches(path),
            (own, Self::Abstract(_)) | (own @ Self::Abstract(_), _) => own == other,
            (Self::Under(own), Self::Under(other)) => is_under(own, other),
            (Self::Under(own), _) => own.is_empty(),
            (Self::Extension(_), Self::Name(name)) => self.matches(name),
            (own, other) => own == other,
        }
    }

    /// The text that is looked up.
    pub fn text(&self) -> &str {
        match self {
            Self::Exact(text)
            | Self::Under(text)
            | Self::Name(text)
            | Self::Extension(text)
            | Self::Abstract(text) => text,
        }
    }
}

/// Whether a path is a directory or lies below it.
fn is_under(directory: &str, path: &str) -> bool {
    path.strip_prefix(directory)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) | Self::Name(path) => f.write_str(path),
            Self::Under(directory) => write!(f, "{directory}/**"),
            Self::Extension(extension) => write!(f, "*.{extension}"),
            Self::Abstract(name) => write!(f, "@{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_without_a_path_is_meant_by_its_whole_name_alone() {
        let name = Pattern::read_socket("@bus.sock").expect("a name");
        assert_eq!(name, Pattern::Abstract("bus.sock".to_owned()));
        assert_eq!(name.to_string(), "@bus.sock");
        assert!(name.matches("@bus.sock"));
        assert!(!name.matches("@bus") && !name.matches("/run/bus.sock"));
        for wider in ["/**", "*.sock", "bus.sock", "/bus.sock"] {
            let wider = Pattern::read_socket(wider).expect("a pattern");
            assert!(!wider.matches("@bus.sock"), "{wider}");
            assert!(!wider.covers(&name) && !name.covers(&wider), "{wider}");
        }
        assert!(name.covers(&name));
        let long = format!("@{}", "x".repeat(108));
        for wrong in ["@", "@a*", &long] {
            assert!(Pattern::read_socket(wrong).is_err(), "{wrong}");
        }
    }
}
