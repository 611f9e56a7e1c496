//! What a policy says of names, for who looks them up for its sessions and who relays its connections.

use std::collections::BTreeSet;

use agent_common::decide::{Rule, TRAIT_DIRECT, Verdict, allows_always};
use agent_common::egress::TCP;

use super::host::{HostEntry, below, set_of};
use super::{Compiled, PortEntry, list_for_port};

/// What a policy says of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Speech {
    /// The names of the agent itself and then of each tool.
    scopes: Vec<Vec<HostEntry>>,
    /// The port sets in which anything is allowed.
    allowing: BTreeSet<u32>,
    /// The ports of these sets.
    ports: Vec<PortEntry>,
    /// The lists that allow at all times and without counting.
    free: BTreeSet<u32>,
}

/// What a policy says of a port of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spoken {
    /// The list of rules, counted from 0 within the policy.
    pub list: u32,
    /// Whether its first rule allows at all times and without counting.
    pub is_free: bool,
}

impl Speech {
    pub(super) fn of(compiled: &Compiled) -> Self {
        let allows = |entry: &PortEntry| {
            let mut rules = compiled.list(entry.rule);
            rules.any(|rule| rule.verdict == Verdict::Allow.wire())
        };
        let allowing: BTreeSet<u32> = compiled
            .ports
            .iter()
            .filter(|entry| allows(entry))
            .map(|entry| entry.set)
            .collect();
        let of_names: BTreeSet<u32> = compiled
            .scopes()
            .flat_map(|scope| scope.hosts.iter().map(|host| host.set))
            .filter(|set| allowing.contains(set))
            .collect();
        let ports: Vec<PortEntry> = compiled
            .ports
            .iter()
            .filter(|entry| of_names.contains(&entry.set) && entry.protocol == TCP)
            .copied()
            .collect();
        let free = ports.iter().map(|entry| entry.rule);
        Self {
            scopes: compiled.scopes().map(|scope| scope.hosts.clone()).collect(),
            allowing: of_names,
            free: free
                .filter(|list| {
                    compiled
                        .rule_at(*list, 0)
                        .is_some_and(|rule| is_free(&rule))
                })
                .collect(),
            ports,
        }
    }

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

    /// What the policy says of a name at a port, by TCP; nothing where no rule speaks of it.
    pub fn spoken(&self, scope: usize, name: &str, port: u16) -> Option<Spoken> {
        let list = list_for_port(&self.ports, self.set(scope, name)?, TCP, port)?;
        Some(Spoken {
            list,
            is_free: self.free.contains(&list),
        })
    }

    /// What stands before the domain of the `*.` by which a name is spoken of in a scope; nothing where
    /// it is named itself.
    pub fn below<'a>(&self, scope: usize, name: &'a str) -> Option<&'a str> {
        below(self.scopes.get(scope)?, name)
    }
}

/// Whether a rule allows at all times and without counting what is relayed.
fn is_free(rule: &Rule) -> bool {
    allows_always(&Rule {
        refuse: rule.refuse & !TRAIT_DIRECT,
        ..*rule
    })
}
