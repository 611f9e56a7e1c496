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

use crate::policy::{Effect, Network, Policy, PortRange, Protocol};
use crate::text::Diagnostics;

use super::ports::{self, PortRule};
use super::{MAX_NETWORKS, MAX_PORTS, NetworkEntry, PortEntry};

/// Pairs of a network and a rule that speaks of it, over the whole policy.
const MAX_PAIRS: usize = 1_000_000;

const WALLS: [Network; 3] = [Network::ALL_V4, Network::LOOPBACK_V4, Network::LOOPBACK_V6];

pub(super) struct Tables {
    pub(super) networks: Vec<NetworkEntry>,
    pub(super) ports: Vec<PortEntry>,
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

pub(super) fn compile(policy: &Policy) -> Result<Tables, Diagnostics> {
    let claims = claims(policy);
    let mut tables = Tables {
        networks: Vec::new(),
        ports: Vec::new(),
    };
    if claims.is_empty() {
        return Ok(tables);
    }
    policy.bound("networks", claims.len(), MAX_NETWORKS)?;
    let mut sets: HashMap<Vec<PortRule>, u32> = HashMap::new();
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
        let rules = port_rules(&inherited);
        let next = u32::try_from(sets.len()).unwrap_or(u32::MAX);
        let set = *sets.entry(rules.clone()).or_insert(next);
        if set == next {
            tables.ports.extend(rules.iter().map(|rule| PortEntry {
                set,
                protocol: rule.protocol,
                port: rule.port,
                prefix_len: rule.prefix_len,
                rule: rule.rule,
            }));
            policy.bound("port prefixes", tables.ports.len(), MAX_PORTS)?;
        }
        // A network that says what its surroundings say needs no entry of its own.
        if enclosing.last().is_none_or(|outer| outer.set != set) {
            tables.networks.push(NetworkEntry {
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
    tables.networks.sort();
    tables.ports.sort();
    Ok(tables)
}

struct Enclosing {
    network: Network,
    set: u32,
    claims: Vec<Claim>,
}

/// What each network says by itself, the walls included where anything lies around them.
fn claims(policy: &Policy) -> BTreeMap<Network, Vec<Claim>> {
    let mut claims: BTreeMap<Network, Vec<Claim>> = BTreeMap::new();
    for (index, rule) in policy.egress.rules.iter().enumerate() {
        for (network, _) in &rule.to {
            let own = claims.entry(*network).or_default();
            own.extend(rule.ports.iter().map(|ports| Claim {
                network_len: network.prefix_len(),
                effect: rule.effect,
                rule: u32::try_from(index).unwrap_or(u32::MAX),
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

/// The rule of every port, as prefixes. `claims` are in the order of precedence.
fn port_rules(claims: &[Claim]) -> Vec<PortRule> {
    let mut rules = Vec::new();
    for protocol in Protocol::ALL {
        let speaking: Vec<(PortRange, u32)> = claims
            .iter()
            .filter(|claim| claim.protocol.is_none_or(|own| own == protocol))
            .map(|claim| (claim.ports, claim.rule))
            .collect();
        ports::prefixes(protocol.number(), &speaking, &mut rules);
    }
    rules
}
