//! Compiled policies in the kernel's tables.
//!
//! A compiled policy numbers its rules and port sets from zero; here they get their places in the
//! tables that all policies share. Sessions under the same policy share one copy.

use crate::kernel::clock::{self, wall_s};
use crate::kernel::maps::{Maps, MapsError};
use agent_common::abi::{MAX_ARGUMENTS, MAX_PATHS, MAX_POLICIES, MAX_RULES};
use agent_common::argument::Pattern;
use agent_common::decide::{NO_RULE, Rule, Verdict};
use agent_common::egress::{NetworkKey, PortKey};
use agent_common::path::MAX_EXTENSION;
use agent_common::policy::PolicyHead;
use agent_common::session::Session as State;
use agent_policy::{Compiled, NetworkEntry, PortEntry};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Where a compiled policy lies in the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The policy's number.
    pub policy: u32,
    /// The number of its first port set.
    pub sets: u32,
    /// The index of its first rule.
    pub rules: u32,
}

impl Place {
    /// The list of the rule that denies, for what the author's rules contradict each other on.
    pub fn denial(&self, compiled: &Compiled) -> u32 {
        self.rules + length(&compiled.rules)
    }
}

/// Which parts of the tables are taken.
#[derive(Debug, Default)]
pub struct Tables {
    /// The numbers of the policies.
    policies: BTreeSet<u32>,
    next_set: u32,
    /// Port sets that an earlier daemon wrote: the first, and how many.
    sets: BTreeMap<u32, u32>,
    /// First rule to number of rules.
    rules: BTreeMap<u32, u32>,
}

/// Why a policy is not in the tables.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Every policy number is taken.
    #[error("no room for another policy: {MAX_POLICIES} are in force")]
    Policies,
    /// No room for the rules.
    #[error("no room for {needed} rules: the policies in force take up {taken} of {MAX_RULES}")]
    Rules {
        /// Rules of the new policy.
        needed: u32,
        /// Rules that are there.
        taken: u32,
    },
    /// No room for the paths.
    #[error(
        "no room for {needed} path entries: the policies in force take up {taken} of {MAX_PATHS}"
    )]
    Paths {
        /// Entries of the new policy.
        needed: usize,
        /// Entries that are there.
        taken: usize,
    },
    /// An extension is too long for the kernel programs.
    #[error("found `*.{0}`, expected an extension of at most {MAX_EXTENSION} bytes")]
    Extension(String),
    /// The kernel does not tell what a program contains.
    #[error(
        "the policy names programs by digest, which this kernel cannot tell: expected bpf_ima_file_hash (Linux 5.18, with IMA)"
    )]
    Digests,
    /// A table is full or cannot be written.
    #[error("cannot write the policy into the kernel's tables")]
    Map(#[from] MapsError),
}

impl Tables {
    /// Counts in what an earlier daemon put there.
    pub fn adopt(&mut self, place: Place, compiled: &Compiled) {
        self.policies.insert(place.policy);
        self.next_set = self.next_set.max(place.sets + compiled.sets());
        self.sets.insert(place.sets, compiled.sets());
        self.rules.insert(place.rules, rules(compiled));
    }

    /// Keeps a policy's number from being given again.
    pub fn keep(&mut self, policy: u32) {
        self.policies.insert(policy);
    }

    /// Whether a number is a policy's.
    pub fn has(&self, policy: u32) -> bool {
        self.policies.contains(&policy)
    }

    /// Takes out what an earlier daemon left in the tables of policies that are nobody's any more.
    pub fn sweep(&self, maps: &mut Maps) -> Result<(), MapsError> {
        for (bits, key) in maps.networks()? {
            if !self.has(State::policy_of(key.scope)) {
                maps.remove_network(bits, key)?;
            }
        }
        for (bits, key) in maps.ports()? {
            let is_ours = self
                .sets
                .iter()
                .any(|(first, count)| key.set.checked_sub(*first).is_some_and(|at| at < *count));
            if !is_ours {
                maps.remove_port(bits, key)?;
            }
        }
        for policy in (0..MAX_POLICIES).filter(|policy| !self.has(*policy)) {
            maps.set_policy(policy, PolicyHead::NONE)?;
        }
        Ok(())
    }

    /// Writes a policy; `agent` is the hash of its agent's name. Its networks come last, so that until
    /// all is there nothing is allowed.
    pub fn install(
        &mut self,
        maps: &mut Maps,
        compiled: &Compiled,
        agent: u64,
    ) -> Result<Place, InstallError> {
        let policy = (0..MAX_POLICIES)
            .find(|policy| !self.policies.contains(policy))
            .ok_or(InstallError::Policies)?;
        let count = rules(compiled);
        let rules = self.free_range(count).ok_or_else(|| InstallError::Rules {
            needed: count,
            taken: self.rules_taken(),
        })?;
        let place = Place {
            policy,
            sets: self.next_set,
            rules,
        };
        self.policies.insert(policy);
        self.next_set += compiled.sets();
        self.rules.insert(rules, count);
        match write(maps, compiled, place, agent) {
            Ok(()) => Ok(place),
            Err(error) => {
                self.remove(maps, compiled, place);
                Err(error.into())
            }
        }
    }

    /// Takes a policy away. Its networks go first.
    pub fn remove(&mut self, maps: &mut Maps, compiled: &Compiled, place: Place) {
        // What was never written cannot be removed; nothing else can fail here.
        for (scope, network) in networks(compiled, place) {
            let _ = maps.remove_network(network_bits(network), network_key(scope, network));
        }
        for port in &compiled.ports {
            let _ = maps.remove_port(
                PortKey::FIXED_BITS + u32::from(port.prefix_len),
                port_key(port, place),
            );
        }
        // A number that is given again must not come with what the last policy gave.
        let cleared = maps.set_policy(place.policy, PolicyHead::NONE);
        if cleared.is_ok() {
            self.policies.remove(&place.policy);
        }
        self.rules.remove(&place.rules);
    }

    /// How many policies there are, and how many rules they take up.
    pub fn taken(&self) -> (u64, u64) {
        (self.policies.len() as u64, self.rules_taken().into())
    }

    fn rules_taken(&self) -> u32 {
        self.rules.values().sum()
    }

    fn free_range(&self, count: u32) -> Option<u32> {
        let mut start = 0;
        for (taken, length) in &self.rules {
            if start + count <= *taken {
                return Some(start);
            }
            start = start.max(taken + length);
        }
        (start + count <= MAX_RULES).then_some(start)
    }
}

/// Writes what hours mean now: a time zone changes its offset in summer and winter.
pub fn refresh_hours(maps: &mut Maps, compiled: &Compiled, place: Place) -> Result<(), MapsError> {
    if compiled.zones.is_empty() {
        return Ok(());
    }
    maps.set_terms(place.policy, compiled.terms_at(wall_s()))
}

fn write(maps: &mut Maps, compiled: &Compiled, place: Place, agent: u64) -> Result<(), MapsError> {
    let head = PolicyHead {
        edition: edition(),
        agent,
        ..compiled.head()
    };
    maps.set_policy(place.policy, head)?;
    maps.set_terms(place.policy, compiled.terms_at(wall_s()))?;
    maps.set_rule(place.denial(compiled), Rule::always(Verdict::Deny, NO_RULE))?;
    for (index, rule) in (place.rules..).zip(&compiled.rules) {
        maps.set_rule(index, *rule)?;
    }
    for (index, pattern) in arguments(compiled, place) {
        maps.set_argument(index, pattern)?;
    }
    for port in &compiled.ports {
        let bits = PortKey::FIXED_BITS + u32::from(port.prefix_len);
        maps.add_port(bits, port_key(port, place), place.rules + port.rule)?;
    }
    for (scope, network) in networks(compiled, place) {
        let set = place.sets + network.set;
        maps.add_network(network_bits(network), network_key(scope, network), set)?;
    }
    Ok(())
}

/// Another number for each policy that is written: milliseconds since boot, which one policy takes
/// longer than to write. It is compared with those of seconds before, so it may begin anew.
fn edition() -> u32 {
    let milliseconds = clock::boot_ns() / 1_000_000;
    u32::try_from(milliseconds % u64::from(u32::MAX)).map_or(1, |now| now + 1)
}

/// What the arguments of programs must be, each with its place in the table. Places that are not
/// needed are emptied: an earlier policy of the number may have used them.
fn arguments(compiled: &Compiled, place: Place) -> impl Iterator<Item = (u32, Pattern)> {
    let first = place.policy * MAX_ARGUMENTS;
    // The parser takes no longer text; what could not be compared would fit nothing.
    let patterns = compiled.arguments.iter().map(|argument| {
        Pattern::new(argument.at, argument.text.as_bytes(), argument.prefix)
            .unwrap_or(Pattern::NEVER)
    });
    (first..first + MAX_ARGUMENTS).zip(patterns.chain(std::iter::repeat(Pattern::NONE)))
}

/// The networks of every scope, with the scope's number: where it may go, and where it may listen.
fn networks(compiled: &Compiled, place: Place) -> impl Iterator<Item = (u32, &NetworkEntry)> {
    let policy = State {
        policy: place.policy,
        ..State::FREE
    };
    let own = std::iter::once((0, &compiled.networks, &compiled.objects.listen));
    let tools = (1..).zip(&compiled.tools);
    let tools = tools.map(|(number, tool)| (number, &tool.networks, &tool.objects.listen));
    own.chain(tools).flat_map(move |(tool, out, listen)| {
        let scope = policy.scope(tool);
        let out = out.iter().map(move |network| (scope, network));
        let listen = listen.iter();
        out.chain(listen.map(move |network| (scope | NetworkKey::LISTEN, network)))
    })
}

fn network_bits(network: &NetworkEntry) -> u32 {
    NetworkKey::FIXED_BITS + u32::from(network.prefix_len)
}

fn network_key(scope: u32, network: &NetworkEntry) -> NetworkKey {
    NetworkKey {
        scope,
        address: network.address,
    }
}

fn port_key(port: &PortEntry, place: Place) -> PortKey {
    PortKey {
        set: place.sets + port.set,
        reserved: 0,
        protocol: port.protocol,
        port: port.port.to_be_bytes(),
    }
}

/// How many rules a policy takes up: its own, and one that denies.
fn rules(compiled: &Compiled) -> u32 {
    length(&compiled.rules).saturating_add(1)
}

fn length<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).unwrap_or(u32::MAX)
}
