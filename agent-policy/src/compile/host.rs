//! Host names as a table that is asked once: the name itself, or else the nearest domain above it.
//!
//! A name inherits the rules of every `*.` above it, as a network does from those around it, so the
//! answer of its port set is final.

use std::collections::BTreeMap;

use crate::policy::{Destination, Host, Policy, is_plain};
use crate::text::Diagnostics;

use super::MAX_NETWORKS;
use super::authored::{AnyRule, Authored};
use super::list::Lists;
use super::set::{Claim, Sets};

/// A host that is known by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostEntry {
    /// `*.example.com` or `api.example.com`.
    pub name: String,
    /// The port set.
    pub set: u32,
}

/// What is nearest: the name itself. A name has at most 127 labels.
const ITSELF: u8 = u8::MAX;

/// The names of a scope, sorted.
pub(super) fn compile(
    policy: &Policy,
    rules: &[(u32, Authored<'_>)],
    lists: &mut Lists<'_>,
    sets: &mut Sets,
) -> Result<Vec<HostEntry>, Diagnostics> {
    let mut claims: BTreeMap<&Host, Vec<Claim>> = BTreeMap::new();
    for (number, authored) in rules {
        let AnyRule::Egress(rule) = authored.rule else {
            continue;
        };
        for (destination, _) in &rule.to {
            if let Destination::Host(host) = destination {
                let own = claims.entry(host).or_default();
                own.extend(Claim::of(rule, *number, depth(host)));
            }
        }
    }
    policy.bound("host names", claims.len(), MAX_NETWORKS)?;
    let mut hosts = Vec::new();
    for (host, own) in &claims {
        let mut all = own.clone();
        for above in host.above() {
            all.extend(claims.get(&above).into_iter().flatten());
        }
        hosts.push(HostEntry {
            name: host.to_string(),
            set: sets.set(policy, &mut all, lists)?,
        });
    }
    hosts.sort();
    Ok(hosts)
}

fn depth(host: &Host) -> u8 {
    if host.below {
        u8::try_from(host.name.split('.').count()).unwrap_or(ITSELF - 1)
    } else {
        ITSELF
    }
}

/// The port set that speaks of a name, if any does.
pub(crate) fn set_of(entries: &[HostEntry], name: &str) -> Option<u32> {
    if is_plain(name) {
        return nearest(entries, name);
    }
    let host = Host::read(name).ok().filter(|host| !host.below)?;
    nearest(entries, &host.name)
}

/// The same of a name in its one form. What [`Host::read`] does not take otherwise is in no entry, nor below one.
fn nearest(entries: &[HostEntry], name: &str) -> Option<u32> {
    let mut domains = domains(name);
    let entry =
        find(entries, "", name).or_else(|| domains.find_map(|(_, at)| find(entries, "*.", at)));
    Some(entry?.set)
}

/// What stands before the domain of the `*.` by which a name is spoken of; nothing where it is named itself.
pub(super) fn below<'a>(entries: &[HostEntry], name: &'a str) -> Option<&'a str> {
    if find(entries, "", name).is_some() {
        return None;
    }
    let (below, _) = domains(name).find(|(_, at)| find(entries, "*.", at).is_some())?;
    Some(below)
}

/// The domains in which a name lies, the nearest first, each with what stands before it.
fn domains(name: &str) -> impl Iterator<Item = (&str, &str)> {
    name.match_indices('.')
        .filter_map(|(at, _)| Some((name.get(..at)?, name.get(at + 1..)?)))
}

fn find<'a>(entries: &'a [HostEntry], star: &str, name: &str) -> Option<&'a HostEntry> {
    let sought = || star.bytes().chain(name.bytes());
    let at = entries.binary_search_by(|entry| entry.name.bytes().cmp(sought()));
    entries.get(at.ok()?)
}
