//! The names that this host knows by itself: `/etc/hosts`.

use std::collections::HashMap;
use std::net::IpAddr;

/// Reads the file's text: addresses by canonical name. What makes no sense is passed over, as every
/// resolver does.
pub(super) fn read(text: &str) -> HashMap<String, Vec<IpAddr>> {
    let mut known: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or("");
        let mut words = line.split_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse().ok()) else {
            continue;
        };
        for name in words {
            let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
            let addresses = known.entry(name).or_default();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_aliases_are_known_by_their_addresses() {
        let known = read(
            "127.0.0.1 localhost\n# no\n192.0.2.7\tApi.Example.com api # 1.2.3.4 x\n\
             2001:db8::7 api.example.com.\nnonsense api.example.com\n192.0.2.7 api.example.com\n",
        );
        let api = ["192.0.2.7", "2001:db8::7"].map(|text| text.parse::<IpAddr>().unwrap());
        assert_eq!(known["api.example.com"], api);
        assert_eq!(known["api"], &api[..1]);
        assert!(!known.contains_key("x"));
    }
}
