//! Port sets: what one network or one name says of each port, by precedence: the narrowest network or
//! nearest name, then the narrowest port range, then a rule that denies, then the first in the file.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::policy::{Effect, EgressRule, Policy, PortRange, Protocol};
use crate::text::Diagnostics;

use super::list::Lists;
use super::ports::{self, PortRule, Ranged};
use super::{MAX_PORTS, NO_LIST, PortEntry};

/// Pairs of a network or name and a rule that speaks of it, over the whole policy.
const MAX_PAIRS: usize = 1_000_000;

/// A rule's claim on ports.
#[derive(Clone, Copy)]
pub(super) struct Claim {
    /// How narrow its network, or how near its name, is.
    depth: u8,
    effect: Effect,
    rule: u32,
    ports: PortRange,
    protocol: Option<Protocol>,
}

impl Claim {
    /// The claims of a rule, one for each of its ranges of ports.
    pub(super) fn of(rule: &EgressRule, number: u32, depth: u8) -> impl Iterator<Item = Self> {
        rule.ports.iter().map(move |ports| Self {
            depth,
            effect: rule.common.effect,
            rule: number,
            ports: *ports,
            protocol: rule.protocol,
        })
    }

    /// Lower comes first.
    fn precedence(&self) -> (Reverse<u8>, u16, Effect, u32) {
        (
            Reverse(self.depth),
            self.ports.width(),
            self.effect,
            self.rule,
        )
    }
}

/// Port sets of a whole policy, each stored once.
#[derive(Default)]
pub(super) struct Sets {
    numbers: HashMap<Vec<PortRule>, u32>,
    entries: Vec<PortEntry>,
    pairs: usize,
}

impl Sets {
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.numbers.len()).unwrap_or(u32::MAX)
    }

    /// The ports of all sets, sorted.
    pub(super) fn into_entries(mut self) -> Vec<PortEntry> {
        self.entries.sort();
        self.entries
    }

    /// The set of everything that is claimed of one network or name.
    pub(super) fn set(
        &mut self,
        policy: &Policy,
        claims: &mut [Claim],
        lists: &mut Lists<'_>,
    ) -> Result<u32, Diagnostics> {
        self.pairs += claims.len();
        let what = "pairs of overlapping networks or names and rules";
        policy.bound(what, self.pairs, MAX_PAIRS)?;
        claims.sort_by_key(Claim::precedence);
        let rules = port_rules(claims, lists)?;
        if let Some(known) = self.numbers.get(&rules) {
            return Ok(*known);
        }
        let set = self.count();
        self.entries.extend(rules.iter().map(|rule| PortEntry {
            set,
            protocol: rule.protocol,
            port: rule.port,
            prefix_len: rule.prefix_len,
            rule: rule.rule,
        }));
        policy.bound("port prefixes", self.entries.len(), MAX_PORTS)?;
        self.numbers.insert(rules, set);
        Ok(set)
    }
}

/// The rules of every port, as prefixes. `claims` are in the order of precedence.
fn port_rules(claims: &[Claim], lists: &mut Lists<'_>) -> Result<Vec<PortRule>, Diagnostics> {
    let mut rules = Vec::new();
    for protocol in Protocol::ALL {
        let speaking: Vec<Ranged> = claims
            .iter()
            .filter(|claim| claim.protocol.is_none_or(|own| own == protocol))
            .map(|claim| Ranged {
                ports: claim.ports,
                level: (claim.depth, claim.ports.width()),
                rule: claim.rule,
                closes: lists.always_denies(claim.rule),
                claims: lists.claims(claim.rule),
            })
            .collect();
        for (first, last, levels) in ports::segments(&speaking) {
            let list = lists.intern(&levels)?;
            if list != NO_LIST {
                ports::prefixes(protocol.number(), first, last, list, &mut rules);
            }
        }
    }
    Ok(rules)
}
