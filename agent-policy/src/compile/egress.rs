//! Egress rules as a network table and a port table, each answered by one longest-prefix lookup.
//!
//! A narrower network inherits the rules of every network that covers it, so the answer of its
//! port set is final. Which rule speaks of a port is settled here, by precedence: the narrowest
//! network, then the narrowest port range, then a rule that denies, then the first in the file.
//!
//! Three networks inherit nothing from outside: IPv4 as a whole (an IPv6 network never includes
//! it), and loopback in both families (it must be named to be allowed).

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use crate::policy::{Destination, Direction, Effect, Network, Policy, PortRange, Protocol};
use crate::text::Diagnostics;

use super::NO_LIST;
use super::authored::{AnyRule, Authored};
use super::list::Lists;
use super::ports::{self, PortRule, Ranged};
use super::{MAX_NETWORKS, MAX_PORTS, NetworkEntry, PortEntry};

/// Pairs of a network and a rule that speaks of it, over the whole policy.
const MAX_PAIRS: usize = 1_000_000;

const WALLS: [Network; 3] = [Network::ALL_V4, Network::LOOPBACK_V4, Network::LOOPBACK_V6];

/// Port sets of a whole policy, each stored once.
#[derive(Default)]
pub(super) struct Sets {
    numbers: HashMap<Vec<PortRule>, u32>,
}

impl Sets {
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.numbers.len()).unwrap_or(u32::MAX)
    }

    /// The number of a set, and whether it is new.
    fn number(&mut self, rules: &[PortRule]) -> (u32, bool) {
        let next = self.count();
        match self.numbers.get(rules) {
            Some(known) => (*known, false),
            None => {
                self.numbers.insert(rules.to_vec(), next);
                (next, true)
            }
        }
    }
}

/// A rule's claim on the ports of a network.
#[derive(Clone, Copy)]
struct Claim {
    network_len: u8,
    effect: Effect,
    rule: u32,
    ports: PortRange,
    protocol: Option<Protocol>,
}

impl Claim {
    /// Lower comes first.
    fn precedence(&self) -> (Reverse<u8>, u16, Effect, u32) {
        (
            Reverse(self.network_len),
            self.ports.width(),
            self.effect,
            self.rule,
        )
    }
}

/// Adds the networks of one direction to the tables.
pub(super) fn compile(
    policy: &Policy,
    rules: &[(u32, Authored<'_>)],
    direction: Direction,
    lists: &mut Lists<'_>,
    sets: &mut Sets,
    ports: &mut Vec<PortEntry>,
) -> Result<Vec<NetworkEntry>, Diagnostics> {
    let claims = claims(rules, direction);
    let mut networks = Vec::new();
    policy.bound("networks", claims.len(), MAX_NETWORKS)?;
    let mut enclosing: Vec<Enclosing> = Vec::new();
    let mut pairs = 0;
    // Sorted by address and then length, a network comes after all that cover it.
    for (network, own) in &claims {
        while enclosing
            .last()
            .is_some_and(|outer| !outer.network.covers(network))
        {
            enclosing.pop();
        }
        let mut inherited = own.clone();
        if !WALLS.contains(network)
            && let Some(outer) = enclosing.last()
        {
            inherited.extend(&outer.claims);
        }
        pairs += inherited.len();
        policy.bound("pairs of overlapping networks and rules", pairs, MAX_PAIRS)?;
        inherited.sort_by_key(Claim::precedence);
        let rules = port_rules(&inherited, lists)?;
        let (set, new) = sets.number(&rules);
        if new {
            ports.extend(rules.iter().map(|rule| PortEntry {
                set,
                protocol: rule.protocol,
                port: rule.port,
                prefix_len: rule.prefix_len,
                rule: rule.rule,
            }));
            policy.bound("port prefixes", ports.len(), MAX_PORTS)?;
        }
        // A network that says what its surroundings say needs no entry of its own.
        if enclosing.last().is_none_or(|outer| outer.set != set) {
            networks.push(NetworkEntry {
                prefix_len: network.prefix_len(),
                address: network.address(),
                set,
            });
        }
        enclosing.push(Enclosing {
            network: *network,
            set,
            claims: inherited,
        });
    }
    networks.sort();
    Ok(networks)
}

struct Enclosing {
    network: Network,
    set: u32,
    claims: Vec<Claim>,
}

/// What each network says by itself, the walls included where anything lies around them.
fn claims(rules: &[(u32, Authored<'_>)], direction: Direction) -> BTreeMap<Network, Vec<Claim>> {
    let mut claims: BTreeMap<Network, Vec<Claim>> = BTreeMap::new();
    for (number, authored) in rules {
        let AnyRule::Egress(rule) = authored.rule else {
            continue;
        };
        if rule.direction != direction {
            continue;
        }
        for (destination, _) in &rule.to {
            let Destination::Network(network) = destination else {
                continue;
            };
            let own = claims.entry(*network).or_default();
            own.extend(rule.ports.iter().map(|ports| Claim {
                network_len: network.prefix_len(),
                effect: rule.common.effect,
                rule: *number,
                ports: *ports,
                protocol: rule.protocol,
            }));
        }
    }
    for wall in WALLS {
        if claims
            .keys()
            .any(|network| *network != wall && network.covers(&wall))
        {
            claims.entry(wall).or_default();
        }
    }
    claims
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
                level: (claim.network_len, claim.ports.width()),
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
