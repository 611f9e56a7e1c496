//! Path rules in the kernel's tables.
//!
//! A rule names a path as people see it; the kernel programs see the path inside one file system.
//! So each rule becomes an entry for every file system that it reaches, and the entries follow the
//! mounts: until the tables say where a new mount lies, what is on it has no rules and is denied.

use super::mounts::{FsPath, MountInfo, Mounts};
use super::tables::{InstallError, Place};
use crate::events::process::readable;
use crate::kernel::maps::{Maps, MapsError};
use agent_common::abi::MAX_PATHS;
use agent_common::path::{
    ACCESSES, EntryKind, FILTER_WORDS, Index, Lanes, MAX_EXTENSION, NO_LIST, PathKey, PathRules,
    Scope, Secret, filter_bits,
};
use agent_policy::{Compiled, Objects, PathEntry, PathKind};
use std::collections::{BTreeMap, HashMap};
use std::io;
use tracing::warn;

/// The entries of one policy, with the depth of their directory.
type Entries = BTreeMap<PathKey, Entry>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    rules: PathRules,
    depth: usize,
}

/// The path tables.
pub struct Paths {
    info: MountInfo,
    mounts: Mounts,
    index: Box<Index>,
    /// What the kernel has, by policy.
    installed: HashMap<u32, Entries>,
}

/// Two names of one directory of which rules say different things.
#[derive(Debug, PartialEq, Eq)]
struct Disagreement {
    one: Vec<u8>,
    other: Vec<u8>,
}

impl Paths {
    /// Takes over what is in the tables, or begins with a secret of its own.
    pub fn open(maps: &mut Maps) -> Result<Self, MapsError> {
        let mut info = MountInfo::open().map_err(MapsError::Mounts)?;
        let mounts = info.read().map_err(MapsError::Mounts)?;
        let mut index = maps.index()?;
        if index.generation == 0 {
            index.secret = secret().map_err(MapsError::Mounts)?;
            index.generation = 1;
            maps.set_index(&index)?;
        }
        let mut installed: HashMap<u32, Entries> = HashMap::new();
        for entry in maps.paths() {
            let (key, rules) = entry?;
            let entries = installed.entry(key.policy).or_default();
            entries.insert(key, Entry { rules, depth: 0 });
        }
        Ok(Self {
            info,
            mounts,
            index,
            installed,
        })
    }

    /// What is mounted where.
    pub fn mounts(&self) -> &Mounts {
        &self.mounts
    }

    /// Writes the path rules of a policy that no session is under yet.
    pub fn install(
        &mut self,
        maps: &mut Maps,
        compiled: &Compiled,
        place: Place,
    ) -> Result<(), InstallError> {
        let entries = self.entries(compiled, place)?;
        let taken: usize = self.installed.values().map(BTreeMap::len).sum();
        if taken + entries.len() > MAX_PATHS as usize {
            return Err(InstallError::Paths {
                needed: entries.len(),
                taken,
            });
        }
        Ok(self.replace(maps, place.policy, entries)?)
    }

    /// Takes the path rules of a policy away.
    pub fn remove(&mut self, maps: &mut Maps, policy: u32) -> Result<(), MapsError> {
        self.replace(maps, policy, Entries::new())?;
        self.installed.remove(&policy);
        Ok(())
    }

    /// Follows the mounts. `policies` are those in force, each with its place.
    pub fn follow(
        &mut self,
        maps: &mut Maps,
        policies: &[(&Compiled, Place)],
    ) -> Result<(), MapsError> {
        if !self.info.has_changed().map_err(MapsError::Mounts)? {
            return Ok(());
        }
        self.mounts = self.info.read().map_err(MapsError::Mounts)?;
        self.rewrite(maps, policies)
    }

    /// Makes the tables say of some policies what the mounts make of them.
    pub fn rewrite(
        &mut self,
        maps: &mut Maps,
        policies: &[(&Compiled, Place)],
    ) -> Result<(), MapsError> {
        for (compiled, place) in policies {
            match self.entries(compiled, *place) {
                Ok(entries) => self.replace(maps, place.policy, entries)?,
                Err(error) => warn!(agent = compiled.name, %error, "its path rules stay"),
            }
        }
        Ok(())
    }

    /// Brings the entries of one policy from what they are to what they should be. What lies deeper
    /// comes first and goes last, so that no wider rule speaks meanwhile where a narrower one
    /// should; the filter lets through what was and what will be until all is done.
    fn replace(&mut self, maps: &mut Maps, policy: u32, wanted: Entries) -> Result<(), MapsError> {
        let old = self.installed.remove(&policy).unwrap_or_default();
        if old.keys().eq(wanted.keys()) && old.iter().all(|(key, entry)| wanted[key].rules == entry.rules) {
            self.installed.insert(policy, wanted);
            return Ok(());
        }
        let both = old.keys().chain(wanted.keys()).copied();
        self.publish(maps, both)?;
        let mut coming: Vec<_> = wanted
            .iter()
            .filter(|(key, entry)| old.get(key).is_none_or(|was| was.rules != entry.rules))
            .collect();
        coming.sort_by_key(|(key, entry)| order(key, entry));
        let mut going: Vec<_> = old
            .iter()
            .filter(|(key, _)| !wanted.contains_key(key))
            .collect();
        going.sort_by_key(|(key, entry)| std::cmp::Reverse(order(key, entry)));
        for (key, entry) in coming {
            maps.set_path(*key, entry.rules)?;
        }
        for (key, _) in going {
            maps.remove_path(*key)?;
        }
        self.installed.insert(policy, wanted);
        self.publish(maps, std::iter::empty())
    }

    /// Writes the filter for what is installed and some more keys, under a new generation.
    fn publish(
        &mut self,
        maps: &mut Maps,
        more: impl Iterator<Item = PathKey>,
    ) -> Result<(), MapsError> {
        let index = &mut self.index;
        index.filter = [0; FILTER_WORDS];
        index.extensions = 0;
        let installed = self.installed.values().flat_map(BTreeMap::keys).copied();
        for key in installed.chain(more) {
            let (word, bits) = filter_bits(key);
            if let Some(word) = index.filter.get_mut(word) {
                *word |= bits;
            }
            index.extensions += u64::from(key.kind == EntryKind::Extension.wire());
        }
        index.generation += 1;
        maps.set_index(index)
    }

    /// The entries of a policy and its tools.
    fn entries(&self, compiled: &Compiled, place: Place) -> Result<Entries, InstallError> {
        let mut entries = Entries::new();
        let own = std::iter::once(&compiled.objects);
        let scopes = own.chain(compiled.tools.iter().map(|tool| &tool.objects));
        for (tool, objects) in (0u16..).zip(scopes) {
            let scope = Scope {
                policy: place.policy,
                tool,
            };
            let found = Placing {
                mounts: &self.mounts,
                secret: &self.index.secret,
                scope,
                first_rule: place.rules,
                denial: place.denial(compiled),
            }
            .entries(objects, &mut entries)?;
            for Disagreement { one, other } in found {
                warn!(
                    agent = compiled.name,
                    one = readable(&one),
                    other = readable(&other),
                    "two names of the same files, of which the rules say different things: what \
                     they do not agree on is denied"
                );
            }
        }
        Ok(entries)
    }
}

/// What comes first when entries are added, and goes last when they are removed.
fn order(key: &PathKey, entry: &Entry) -> (bool, std::cmp::Reverse<usize>) {
    (
        key.kind == EntryKind::Under.wire(),
        std::cmp::Reverse(entry.depth),
    )
}

/// Draws the secret.
fn secret() -> io::Result<Secret> {
    use rand::TryRngCore;
    let draw = || rand::rngs::OsRng.try_next_u64().map_err(io::Error::other);
    let lanes = || {
        Ok::<_, io::Error>(Lanes {
            key: draw()?,
            check: draw()?,
        })
    };
    Ok(Secret {
        name: lanes()?,
        path: lanes()?,
    })
}

/// Entries in the making.
struct Placing<'a> {
    mounts: &'a Mounts,
    secret: &'a Secret,
    scope: Scope,
    first_rule: u32,
    /// A list that denies.
    denial: u32,
}

/// What lands on one path of a file system, each with the path as people see it.
type Claims<'a> = BTreeMap<(FsPath, EntryKindOrd), Vec<(Vec<u8>, &'a PathEntry)>>;
/// Whether it is a directory with all below it.
type EntryKindOrd = bool;

impl Placing<'_> {
    fn entries(
        &self,
        objects: &Objects,
        entries: &mut Entries,
    ) -> Result<Vec<Disagreement>, InstallError> {
        let mut claims = Claims::new();
        for entry in &objects.paths {
            let text = entry.text.as_bytes();
            match entry.kind {
                PathKind::Exact => self.claim(&mut claims, text, false, entry),
                PathKind::Under => self.claim(&mut claims, visible(text), true, entry),
                PathKind::Name => self.anywhere(entries, EntryKind::Name, entry),
                PathKind::Extension if text.len() > MAX_EXTENSION => {
                    return Err(InstallError::Extension(entry.text.clone()));
                }
                PathKind::Extension => self.anywhere(entries, EntryKind::Extension, entry),
            }
        }
        for (point, what) in self.mounts.visible() {
            if let Some(entry) = deepest(&objects.paths, point) {
                let claims = claims.entry((what.clone(), true)).or_default();
                if !claims.iter().any(|(seen, _)| seen == point) {
                    claims.push((point.to_vec(), entry));
                }
            }
        }
        let mut disagreements = Vec::new();
        for ((at, is_directory), claims) in &claims {
            let mut rules = PathRules {
                check: 0,
                lists: [NO_LIST; ACCESSES],
                fallback: [NO_LIST; ACCESSES],
            };
            let agreed = self.agree(claims, &mut rules, &mut disagreements);
            debug_assert!(agreed || !disagreements.is_empty());
            let kind = if *is_directory {
                EntryKind::Under
            } else {
                EntryKind::Exact
            };
            self.place(entries, at, kind, rules);
        }
        Ok(disagreements)
    }

    fn claim<'e>(
        &self,
        claims: &mut Claims<'e>,
        seen: &[u8],
        is_directory: bool,
        entry: &'e PathEntry,
    ) {
        if let Some(at) = self.mounts.resolve(seen) {
            claims
                .entry((at, is_directory))
                .or_default()
                .push((seen.to_vec(), entry));
        }
    }

    /// What several names of one thing say together: the deepest decides where the others lie on
    /// the way to it; names that lie apart must agree.
    fn agree(
        &self,
        claims: &[(Vec<u8>, &PathEntry)],
        rules: &mut PathRules,
        disagreements: &mut Vec<Disagreement>,
    ) -> bool {
        let Some((deepest, entry)) = claims.iter().max_by_key(|(seen, _)| depth(seen)) else {
            return true;
        };
        rules.lists = self.absolute(&entry.lists);
        let mut agreed = true;
        for (seen, other) in claims {
            let lists = self.absolute(&other.lists);
            if lists == rules.lists || is_below(deepest, seen) {
                continue;
            }
            agreed = false;
            for (list, other) in rules.lists.iter_mut().zip(lists) {
                if *list != other {
                    *list = self.denial;
                }
            }
            disagreements.push(Disagreement {
                one: deepest.clone(),
                other: seen.clone(),
            });
        }
        agreed
    }

    /// An entry of a path, and marks on the directories above it.
    fn place(&self, entries: &mut Entries, at: &FsPath, kind: EntryKind, rules: PathRules) {
        let mut lanes = self.secret.root(at.device);
        let mut depth = 0;
        for name in at.names() {
            if depth > 0 {
                let mark = PathRules {
                    check: lanes.check,
                    lists: [NO_LIST; ACCESSES],
                    fallback: [NO_LIST; ACCESSES],
                };
                let key = PathKey::new(self.scope, EntryKind::Above, lanes);
                entries.insert(key, Entry { rules: mark, depth });
            }
            lanes = lanes.with(self.secret.name_of(name));
            depth += 1;
        }
        let rules = PathRules {
            check: lanes.check,
            ..rules
        };
        let key = PathKey::new(self.scope, kind, lanes);
        entries.insert(key, Entry { rules, depth });
    }

    /// An entry of a name or an extension.
    fn anywhere(&self, entries: &mut Entries, kind: EntryKind, entry: &PathEntry) {
        let name = self.secret.name_of(entry.text.as_bytes());
        let lanes = self.secret.anywhere(name);
        let rules = PathRules {
            check: lanes.check,
            lists: self.absolute(&entry.lists),
            fallback: self.absolute(&entry.fallback),
        };
        let key = PathKey::new(self.scope, kind, lanes);
        entries.insert(key, Entry { rules, depth: 0 });
    }

    /// Lists by their place in the table of all rules.
    fn absolute(&self, lists: &[u32; ACCESSES]) -> [u32; ACCESSES] {
        lists.map(|list| {
            if list == NO_LIST {
                NO_LIST
            } else {
                self.first_rule + list
            }
        })
    }
}

/// The deepest directory rule that speaks of a path.
fn deepest<'e>(paths: &'e [PathEntry], path: &[u8]) -> Option<&'e PathEntry> {
    paths
        .iter()
        .filter(|entry| entry.kind == PathKind::Under)
        .filter(|entry| is_below(path, entry.text.as_bytes()))
        .max_by_key(|entry| entry.text.len())
}

/// The root as a directory is the empty text.
fn visible(directory: &[u8]) -> &[u8] {
    if directory.is_empty() { b"/" } else { directory }
}

/// Whether a path is a directory or lies below it.
fn is_below(path: &[u8], directory: &[u8]) -> bool {
    let directory = directory.strip_suffix(b"/").unwrap_or(directory);
    path.strip_prefix(directory)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

fn depth(path: &[u8]) -> usize {
    path.split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
        .count()
}
