//! Host names as a table that is asked once: the name itself, or else the nearest domain above it.
//!
//! A name inherits the rules of every `*.` above it, as a network does from those around it, so the
//! answer of its port set is final.

use std::collections::BTreeMap;

use crate::policy::{Destination, Host, Policy};
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
    let Ok(host @ Host { below: false, .. }) = Host::read(name) else {
        return None;
    };
    let find = |host: &Host| {
        let name = host.to_string();
        let at = entries.binary_search_by(|entry| entry.name.cmp(&name));
        Some(entries.get(at.ok()?)?.set)
    };
    find(&host).or_else(|| host.above().find_map(|above| find(&above)))
}
