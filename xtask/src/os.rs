//! Which system this machine runs.

use std::fs;

/// The code name of the Debian suite, where this is Debian.
pub(crate) fn debian_suite() -> Option<String> {
    suite(&fs::read_to_string("/etc/os-release").ok()?)
}

/// The system's name, for a person.
pub(crate) fn name() -> String {
    fs::read_to_string("/etc/os-release")
        .ok()
        .and_then(|text| value(&text, "PRETTY_NAME").map(str::to_owned))
        .unwrap_or_else(|| "an unknown system".to_owned())
}

fn suite(release: &str) -> Option<String> {
    (value(release, "ID")? == "debian")
        .then(|| value(release, "VERSION_CODENAME").map(str::to_owned))
        .flatten()
}

fn value<'a>(release: &'a str, key: &str) -> Option<&'a str> {
    release
        .lines()
        .filter_map(|line| line.split_once('='))
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites() {
        let debian = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_CODENAME=bookworm\nID=debian\n";
        assert_eq!(suite(debian).as_deref(), Some("bookworm"));
        let ubuntu = "ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n";
        assert_eq!(suite(ubuntu), None);
        assert_eq!(suite(""), None);
    }
}
