//! Host names as a table that is asked once: the name itself, or else the nearest domain above it.
//!
//! A name inherits the rules of every `*.` above it, as a network does from those around it, so the
//! answer of its port set is final.

use std::collections::{BTreeMap, BTreeSet};

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

/// What a policy says of names, for who looks them up for its sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speech {
    /// The names of the agent itself and then of each tool.
    pub(super) scopes: Vec<Vec<HostEntry>>,
    /// The port sets in which anything is allowed.
    pub(super) allowing: BTreeSet<u32>,
}

impl Speech {
    /// How many scopes there are: the agent's, and one for each tool.
    pub fn scopes(&self) -> usize {
        self.scopes.len()
    }

    /// The port set of a name in its one form, for the agent (0) or inside a tool, counted from 1, and
    /// the rule's own name for it; nothing where no rule allows any port of it.
    pub fn set(&self, scope: usize, name: &str) -> Option<u32> {
        let set = set_of(self.scopes.get(scope)?, name)?;
        self.allowing.contains(&set).then_some(set)
    }

    /// What stands before the domain of the `*.` by which a name is spoken of in a scope; nothing where
    /// it is named itself.
    pub fn below<'a>(&self, scope: usize, name: &'a str) -> Option<&'a str> {
        let entries = self.scopes.get(scope)?;
        let is_there = |text: &str| {
            let found = entries.binary_search_by(|entry| entry.name.as_str().cmp(text));
            found.is_ok()
        };
        if is_there(name) {
            return None;
        }
        let dots = name.match_indices('.').map(|(at, _)| at);
        dots.map(|at| name.split_at(at))
            .find(|(_, rest)| is_there(&format!("*{rest}")))
            .map(|(below, _)| below)
    }
}
