//! The tables of one scope: the agent's own, or a tool's.

use agent_common::path::Access;

use crate::policy::{Destination, Direction, Policy};
use crate::text::Diagnostics;

use super::NO_LIST;
use super::authored::{AnyRule, Authored};
use super::host::{self, HostEntry};
use super::list::Lists;
use super::path::{self, PathEntry, PathKind, directories};
use super::set::Sets;
use super::{NetworkEntry, egress};

/// A program known by its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DigestEntry {
    /// SHA-256 of the file.
    pub digest: [u8; 32],
    /// Its list, asked before those of the path.
    pub list: u32,
}

/// Another agent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentEntry {
    /// Its name.
    pub name: String,
    /// Its list.
    pub list: u32,
}

/// Everything that is looked up for one scope, except the agent's own egress networks and the ports,
/// which are in [`super::Compiled`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    /// Networks that may be bound and listened on.
    pub listen: Vec<NetworkEntry>,
    /// Paths.
    pub paths: Vec<PathEntry>,
    /// Programs by digest.
    pub digests: Vec<DigestEntry>,
    /// Hosts by name.
    pub hosts: Vec<HostEntry>,
    /// Other agents, to which a session may hand off.
    pub agents: Vec<AgentEntry>,
    /// The bits of every privilege that is given.
    pub privileges: u64,
}

/// The tables of a tool: an action inside it must be allowed by them and by the agent's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolTables {
    /// The tool's name.
    pub name: String,
    /// Networks that it may connect to.
    pub networks: Vec<NetworkEntry>,
    /// Everything else.
    pub objects: Objects,
}

pub(super) fn compile(
    policy: &Policy,
    rules: &[(u32, Authored<'_>)],
    lists: &mut Lists<'_>,
    sets: &mut Sets,
) -> Result<(Vec<NetworkEntry>, Objects), Diagnostics> {
    let networks = egress::compile(policy, rules, Direction::Egress, lists, sets)?;
    let mut objects = Objects {
        listen: egress::compile(policy, rules, Direction::Listen, lists, sets)?,
        paths: path::compile(policy, rules, lists)?,
        hosts: host::compile(policy, rules, lists, sets)?,
        ..Objects::default()
    };
    let mut digests: Vec<([u8; 32], Vec<u32>)> = Vec::new();
    let mut agents: Vec<(String, Vec<u32>)> = Vec::new();
    for (number, authored) in rules {
        match authored.rule {
            AnyRule::Exec(rule) => {
                digests.extend(
                    rule.digests
                        .iter()
                        .map(|(digest, _)| (*digest, vec![*number])),
                );
            }
            AnyRule::Egress(rule) => {
                agents.extend(rule.to.iter().filter_map(|(to, _)| match to {
                    Destination::Agent(name) => Some((name.clone(), vec![*number])),
                    _ => None,
                }));
            }
            AnyRule::File(_) => {}
        }
    }
    for (digest, numbers) in merged(digests) {
        let list = lists.intern(&[numbers])?;
        objects.digests.push(DigestEntry { digest, list });
    }
    for (name, numbers) in merged(agents) {
        let list = lists.intern(&[numbers])?;
        objects.agents.push(AgentEntry { name, list });
    }
    Ok((networks, objects))
}

/// One entry for each key, with the rules of all.
fn merged<K: Ord>(mut entries: Vec<(K, Vec<u32>)>) -> Vec<(K, Vec<u32>)> {
    entries.sort();
    let mut merged: Vec<(K, Vec<u32>)> = Vec::new();
    for (key, numbers) in entries {
        match merged.last_mut() {
            Some((last, all)) if *last == key => all.extend(numbers),
            _ => merged.push((key, numbers)),
        }
    }
    merged
}

impl Objects {
    /// The lists that speak of a use of a file, in the order in which they are asked. `path` is
    /// absolute and resolved; or `@` and the name of a Unix socket that has none.
    pub fn lists_for_path(&self, path: &str, access: Access) -> Vec<u32> {
        let at = usize::from(access.wire());
        let find = |kind: PathKind, text: &str| {
            let found = self
                .paths
                .binary_search_by(|entry| (entry.kind, entry.text.as_str()).cmp(&(kind, text)));
            found.ok().and_then(|at| self.paths.get(at))
        };
        let whole = match path.strip_prefix('@') {
            Some(name) => (PathKind::Abstract, name),
            None => (PathKind::Exact, path),
        };
        if let Some(entry) = find(whole.0, whole.1) {
            return Vec::from_iter((entry.lists[at] != NO_LIST).then_some(entry.lists[at]));
        }
        if whole.0 == PathKind::Abstract {
            return Vec::new();
        }
        let name = path.rsplit('/').next().unwrap_or(path);
        let name_entry = find(PathKind::Name, name);
        let extension = name
            .rsplit_once('.')
            .and_then(|(_, text)| find(PathKind::Extension, text));
        let under = directories(path).find_map(|directory| find(PathKind::Under, directory.text()));
        let lists = [name_entry, extension, under].map(|entry| entry.map(|entry| entry.lists[at]));
        let fallback = [name_entry, extension].map(|entry| entry.map(|entry| entry.fallback[at]));
        lists
            .into_iter()
            .chain(fallback)
            .flatten()
            .filter(|list| *list != NO_LIST)
            .collect()
    }
}
