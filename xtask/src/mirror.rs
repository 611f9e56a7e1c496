//! The mirror that this machine's own package sources name.

use std::fs;
use std::path::PathBuf;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The two halves of Debian's archive.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mirror {
    main: String,
    security: String,
}

impl Default for Mirror {
    fn default() -> Self {
        Self {
            main: "http://deb.debian.org/debian".to_owned(),
            security: "http://deb.debian.org/debian-security".to_owned(),
        }
    }
}

impl Mirror {
    /// Reads the machine's sources; what they do not name comes from Debian's own servers.
    pub(crate) fn of_this_machine() -> Self {
        let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
        if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
            files.extend(entries.flatten().map(|entry| entry.path()));
        }
        files.sort();
        let texts = files
            .iter()
            .filter_map(|file| fs::read_to_string(file).ok());
        Self::parse(&texts.collect::<Vec<_>>().join("\n"))
    }

    /// Finds the addresses in either format of apt's sources.
    fn parse(sources: &str) -> Self {
        let mut mirror = Self::default();
        // The first in the files wins, as it does for apt.
        for address in sources.lines().rev().filter_map(address) {
            let address = address.trim_end_matches('/').to_owned();
            if address.ends_with("/debian") {
                mirror.main = address;
            } else if address.ends_with("/debian-security") {
                mirror.security = address;
            }
        }
        mirror
    }

    /// The line of a sources.list for a suite.
    pub(crate) fn line(&self, suite: &str) -> String {
        let address = if suite.ends_with("-security") {
            &self.security
        } else {
            &self.main
        };
        format!("deb [signed-by={KEYRING}] {address} {suite} main\n")
    }
}

fn address(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let mut words = line.split_whitespace();
    match words.next()? {
        "deb" | "URIs:" => line
            .split_whitespace()
            .find(|word| word.starts_with("http://") || word.starts_with("https://")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stanzas() {
        let mirror = Mirror::parse(
            "Types: deb\n# http://snapshot.debian.org/archive/debian/2025\n\
             URIs: http://mirror.example/debian\nSuites: bookworm\n\n\
             URIs: https://mirror.example/debian-security/\n",
        );
        assert_eq!(mirror.main, "http://mirror.example/debian");
        assert_eq!(mirror.security, "https://mirror.example/debian-security");
    }

    #[test]
    fn lines() {
        let mirror = Mirror::parse(
            "deb [signed-by=/x.gpg] http://one.example/debian bookworm main\n\
             deb-src http://two.example/debian bookworm main\n\
             deb https://packages.example/apt stable main\n",
        );
        assert_eq!(mirror.main, "http://one.example/debian");
        assert_eq!(mirror.security, Mirror::default().security);
        assert_eq!(
            mirror.line("bullseye"),
            format!("deb [signed-by={KEYRING}] http://one.example/debian bullseye main\n")
        );
    }

    #[test]
    fn nothing_named() {
        assert_eq!(Mirror::parse(""), Mirror::default());
    }
}
