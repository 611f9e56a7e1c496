//! Egress rules as a network table and a port table, each answered by one longest-prefix lookup.
//!
//! A narrower network inherits the rules of every network that covers it, so the answer of its
//! port set is final. Which rule speaks of a port is settled here, by precedence: the narrowest
//! network, then the narrowest port range, then a rule that denies, then the first in the file.
//!
//! Some networks inherit nothing from outside, [`Network::WALLS`]: IPv4 as a whole (an IPv6 network
//! never includes it), and what must be named to be allowed.

use std::collections::BTreeMap;

use crate::policy::{Destination, Direction, Network, Policy};
use crate::text::Diagnostics;

use super::authored::{AnyRule, Authored};
use super::list::Lists;
use super::set::{Claim, Sets};
use super::{MAX_NETWORKS, NetworkEntry};

/// Adds the networks of one direction to the tables.
pub(super) fn compile(
    policy: &Policy,
    rules: &[(u32, Authored<'_>)],
    direction: Direction,
    lists: &mut Lists<'_>,
    sets: &mut Sets,
) -> Result<Vec<NetworkEntry>, Diagnostics> {
    let claims = claims(rules, direction);
    let mut networks = Vec::new();
    policy.bound("networks", claims.len(), MAX_NETWORKS)?;
    let mut enclosing: Vec<Enclosing> = Vec::new();
    // Sorted by address and then length, a network comes after all that cover it.
    for (network, own) in &claims {
        while enclosing
            .last()
            .is_some_and(|outer| !outer.network.covers(network))
        {
            enclosing.pop();
        }
        let mut inherited = own.clone();
        if !Network::WALLS.contains(network)
            && let Some(outer) = enclosing.last()
        {
            inherited.extend(&outer.claims);
        }
        let set = sets.set(policy, &mut inherited, lists)?;
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
            own.extend(Claim::of(rule, *number, network.prefix_len()));
        }
    }
    for wall in Network::WALLS {
        if claims
            .keys()
            .any(|network| *network != wall && network.covers(&wall))
        {
            claims.entry(wall).or_default();
        }
    }
    claims
}
