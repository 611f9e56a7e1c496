//! Path rules in the kernel's tables.
//!
//! A rule names a path as people see it; the kernel programs see the path inside one file system.
//! So each rule becomes an entry for every file system that it reaches, and the entries follow the
//! mounts: until the tables say where a new mount lies, what is on it has no rules and is denied.

use super::guarded::{Guarded, Held};
use super::mounts::{FsPath, MountInfo, Mounts};
use super::tables::{InstallError, Place};
use super::views::Views;
use crate::kernel::maps::{Maps, MapsError};
use agent_common::abi::MAX_PATHS;
use agent_common::path::{
    ACCESS_SLOTS, ACCESSES, Access, EntryKind, FILTER_WORDS, Index, Lanes, MAX_EXTENSION, NO_LIST,
    PathKey, PathRules, Scope, Secret, filter_bits,
};
use agent_policy::{Compiled, Objects, PathEntry, PathKind};
use std::collections::{BTreeMap, BTreeSet, HashMap};
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
    /// What agents see in their containers, by cgroup.
    views: Views,
    guarded: Guarded,
    index: Box<Index>,
    /// What the kernel has, by policy.
    installed: HashMap<u32, Entries>,
}

/// Two directories' rules that say different things, though the directories are one.
#[derive(Debug, PartialEq, Eq)]
struct Disagreement {
    one: String,
    other: String,
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
            views: Views::default(),
            guarded: Guarded::default(),
            index,
            installed,
        })
    }

    /// Says what is the enforcer's own, and who the daemon is. Holds for what is installed from then on.
    pub fn protect(&mut self, maps: &mut Maps, guarded: Guarded) -> Result<(), MapsError> {
        self.guarded = guarded;
        self.index.daemon = std::process::id();
        maps.set_index(&self.index)
    }

    /// Says where the sessions' denials lie: in a folder of this number, on this device.
    pub fn set_denials(
        &mut self,
        maps: &mut Maps,
        (device, inode): (u32, u64),
    ) -> Result<(), MapsError> {
        if (self.index.denials_device, self.index.denials) == (device, inode) {
            return Ok(());
        }
        (self.index.denials_device, self.index.denials) = (device, inode);
        self.index.generation += 1;
        maps.set_index(&self.index)
    }

    /// The hash of a name, as the kernel programs make it.
    pub fn hash(&self, name: &str) -> u64 {
        self.index.secret.name_of(name.as_bytes())
    }

    /// How many entries of the table are taken.
    pub fn taken(&self) -> usize {
        self.installed.values().map(BTreeMap::len).sum()
    }

    /// What is mounted where.
    pub fn mounts(&self) -> &Mounts {
        &self.mounts
    }

    /// What agents see in their containers.
    pub fn views(&mut self) -> &mut Views {
        &mut self.views
    }

    /// Writes the path rules of a policy that no session is under yet.
    pub fn install(
        &mut self,
        maps: &mut Maps,
        compiled: &Compiled,
        place: Place,
    ) -> Result<(), InstallError> {
        let entries = self.entries(compiled, place)?;
        self.room(place.policy, &entries)?;
        Ok(self.replace(maps, place.policy, entries)?)
    }

    /// Whether there is room for a policy's entries beside those of all others, and for a while
    /// beside its own of before.
    fn room(&self, policy: u32, wanted: &Entries) -> Result<(), InstallError> {
        let taken = self.taken();
        let known = self.installed.get(&policy);
        let is_new = |key: &&PathKey| known.is_none_or(|known| !known.contains_key(*key));
        let needed = wanted.keys().filter(is_new).count();
        if taken + needed > MAX_PATHS as usize {
            return Err(InstallError::Paths { needed, taken });
        }
        Ok(())
    }

    /// Takes the path rules of all policies away but those of some numbers.
    pub fn keep_only(
        &mut self,
        maps: &mut Maps,
        wanted: impl Fn(u32) -> bool,
    ) -> Result<(), MapsError> {
        let known: Vec<u32> = self.installed.keys().copied().collect();
        for policy in known.into_iter().filter(|policy| !wanted(*policy)) {
            self.remove(maps, policy)?;
        }
        Ok(())
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
        self.rewrite(maps, policies)?;
        // Another file system may stand where one was that is gone, and nothing be known of it.
        self.publish(maps, std::iter::empty())
    }

    /// Makes the tables say of some policies what the mounts make of them.
    pub fn rewrite(
        &mut self,
        maps: &mut Maps,
        policies: &[(&Compiled, Place)],
    ) -> Result<(), MapsError> {
        for (compiled, place) in policies {
            let entries = self.entries(compiled, *place).and_then(|entries| {
                self.room(place.policy, &entries)?;
                Ok(entries)
            });
            match entries {
                Ok(entries) => self.replace(maps, place.policy, entries)?,
                // What its rules do not reach yet is denied.
                Err(error) => warn!(
                    agent = compiled.name, %error,
                    "its path rules do not follow the mounts: what was mounted since is denied to it"
                ),
            }
        }
        Ok(())
    }

    /// Brings the entries of one policy from what they are to what they should be. What lies deeper
    /// comes first and goes last, so that no wider rule speaks meanwhile where a narrower one
    /// should; the filter lets through what was and what will be until all is done.
    fn replace(&mut self, maps: &mut Maps, policy: u32, wanted: Entries) -> Result<(), MapsError> {
        let old = self.installed.remove(&policy).unwrap_or_default();
        if old.keys().eq(wanted.keys())
            && old
                .iter()
                .all(|(key, entry)| wanted[key].rules == entry.rules)
        {
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
        let host = self.views.taken_from(&self.mounts);
        let mut entries = self.entries_by(&host, compiled, place, false)?;
        for view in self.views.of(&compiled.name) {
            let seen = self.entries_by(view, compiled, place, true)?;
            agree(&mut entries, seen, place.denial(compiled));
        }
        Ok(entries)
    }

    /// The same by what is mounted where for somebody: on the host, or in a container.
    fn entries_by(
        &self,
        mounts: &Mounts,
        compiled: &Compiled,
        place: Place,
        is_view: bool,
    ) -> Result<Entries, InstallError> {
        let mut entries = Entries::new();
        let own = std::iter::once(&compiled.objects);
        let scopes = own.chain(compiled.tools.iter().map(|tool| &tool.objects));
        for (tool, objects) in (0u16..).zip(scopes) {
            let scope = Scope {
                policy: place.policy,
                tool,
            };
            let guarded = match tool {
                0 => self.guarded.placed(&self.mounts),
                // The agent's own rules are asked first.
                _ => Vec::new(),
            };
            let found = Placing {
                guarded: &guarded,
                mounts,
                is_view,
                secret: &self.index.secret,
                scope,
                first_rule: place.rules,
                denial: place.denial(compiled),
            }
            .entries(objects, &mut entries)?;
            for Disagreement { one, other } in found {
                warn!(
                    agent = compiled.name,
                    one,
                    other,
                    "two names of the same files, of which the rules say different things: what \
                     they do not agree on is denied"
                );
            }
        }
        Ok(entries)
    }
}

/// Adds the entries of a container to those of the host. What they do not agree on is denied.
fn agree(entries: &mut Entries, seen: Entries, denial: u32) {
    for (key, entry) in seen {
        let known = entries.entry(key).or_insert(entry);
        for (list, other) in known.rules.lists.iter_mut().zip(entry.rules.lists) {
            if *list != other {
                *list = denial;
            }
        }
        for (list, other) in known.rules.fallback.iter_mut().zip(entry.rules.fallback) {
            if *list != other {
                *list = denial;
            }
        }
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
    /// What is the enforcer's own.
    guarded: &'a [Held],
    mounts: &'a Mounts,
    /// They are a container's: what no rule speaks of there has none, whatever the host calls it.
    is_view: bool,
    secret: &'a Secret,
    scope: Scope,
    first_rule: u32,
    /// A list that denies.
    denial: u32,
}

/// Rules for directories, by the directory.
type Directories<'a> = HashMap<&'a [u8], &'a PathEntry>;

impl Placing<'_> {
    fn entries(
        &self,
        objects: &Objects,
        entries: &mut Entries,
    ) -> Result<Vec<Disagreement>, InstallError> {
        let mut directories = Directories::new();
        let mut places: BTreeSet<FsPath> = BTreeSet::new();
        for entry in &objects.paths {
            let text = entry.text.as_bytes();
            match entry.kind {
                PathKind::Exact => {
                    if let Some(at) = self.mounts.resolve(text) {
                        self.place(entries, &at, EntryKind::Exact, self.rules(entry));
                    }
                }
                PathKind::Under => {
                    directories.insert(text, entry);
                    let root: &[u8] = b"/";
                    let seen = if text.is_empty() { root } else { text };
                    places.extend(self.mounts.resolve(seen));
                }
                PathKind::Name => self.anywhere(entries, EntryKind::Name, entry),
                PathKind::Extension if text.len() > MAX_EXTENSION => {
                    return Err(InstallError::Extension(entry.text.clone()));
                }
                PathKind::Extension => self.anywhere(entries, EntryKind::Extension, entry),
                PathKind::Abstract => self.anywhere(entries, EntryKind::Abstract, entry),
            }
        }
        for agent in &objects.agents {
            let mut lists = [NO_LIST; ACCESSES];
            lists[usize::from(Access::Connect.wire())] = agent.list;
            self.listed(entries, EntryKind::Agent, agent.name.as_bytes(), &lists);
        }
        for program in &objects.digests {
            let mut lists = [NO_LIST; ACCESSES];
            lists[usize::from(Access::Exec.wire())] = program.list;
            self.listed(entries, EntryKind::Digest, &program.digest, &lists);
        }
        // What is mounted below a directory belongs to it.
        places.extend(self.mounts.visible().map(|(_, what)| what.clone()));
        let mut disagreements = Vec::new();
        for at in &places {
            let names = self.mounts.names(at);
            let speaking: Vec<&PathEntry> = names
                .iter()
                .filter_map(|name| deepest(&directories, name))
                .collect();
            let rules = self.agreed(&speaking, &mut disagreements);
            if let Some(rules) = rules.or(self.is_view.then_some(PathRules::NONE)) {
                self.place(entries, at, EntryKind::Under, rules);
            }
        }
        for held in self.guarded {
            let rules = deepest(&directories, &held.path);
            let rules = rules.map_or(PathRules::NONE, |entry| self.rules(entry));
            self.place(entries, &held.at, EntryKind::Under, rules);
        }
        Ok(disagreements)
    }

    /// What the rules for several names of one directory say together: the deepest decides where
    /// the others are for directories above it; rules that lie apart must agree.
    fn agreed(
        &self,
        speaking: &[&PathEntry],
        disagreements: &mut Vec<Disagreement>,
    ) -> Option<PathRules> {
        let decides = speaking.iter().max_by_key(|entry| entry.text.len())?;
        let mut rules = self.rules(decides);
        for other in speaking {
            let said = self.rules(other);
            if said.lists == rules.lists || is_below(&decides.text, &other.text) {
                continue;
            }
            for (list, other) in rules.lists.iter_mut().zip(said.lists) {
                if *list != other {
                    *list = self.denial;
                }
            }
            disagreements.push(Disagreement {
                one: decides.text.clone(),
                other: other.text.clone(),
            });
        }
        Some(rules)
    }

    /// The rules of an entry by their place in the table of all rules.
    fn rules(&self, entry: &PathEntry) -> PathRules {
        PathRules {
            check: 0,
            lists: self.absolute(&entry.lists),
            fallback: self.absolute(&entry.fallback),
        }
    }

    /// An entry of a path, and marks on the directories above it.
    fn place(&self, entries: &mut Entries, at: &FsPath, kind: EntryKind, rules: PathRules) {
        let mut lanes = self.secret.root(at.device);
        let mut depth = 0;
        for name in at.names() {
            if depth > 0 {
                let mark = PathRules {
                    check: lanes.check,
                    ..PathRules::NONE
                };
                let key = PathKey::new(self.scope, EntryKind::Above, lanes);
                entries.insert(key, Entry { rules: mark, depth });
            }
            lanes = lanes.with(self.secret.name_of(name));
            depth += 1;
        }
        let mut rules = PathRules {
            check: lanes.check,
            ..rules
        };
        for held in self.guarded {
            held.keep_out(at, &mut rules);
        }
        let key = PathKey::new(self.scope, kind, lanes);
        entries.insert(key, Entry { rules, depth });
    }

    /// An entry of a name or an extension.
    fn anywhere(&self, entries: &mut Entries, kind: EntryKind, entry: &PathEntry) {
        self.named(entries, kind, entry.text.as_bytes(), self.rules(entry));
    }

    /// An entry of what is known by a name alone.
    fn named(&self, entries: &mut Entries, kind: EntryKind, name: &[u8], rules: PathRules) {
        let lanes = self.secret.anywhere(self.secret.name_of(name));
        let rules = PathRules {
            check: lanes.check,
            ..rules
        };
        let key = PathKey::new(self.scope, kind, lanes);
        entries.insert(key, Entry { rules, depth: 0 });
    }

    /// An entry of what is known by a name alone, and asked first if at all.
    fn listed(&self, entries: &mut Entries, kind: EntryKind, name: &[u8], lists: &[u32; ACCESSES]) {
        let rules = PathRules {
            lists: self.absolute(lists),
            ..PathRules::NONE
        };
        self.named(entries, kind, name, rules);
    }

    /// Lists by their place in the table of all rules.
    fn absolute(&self, lists: &[u32; ACCESSES]) -> [u32; ACCESS_SLOTS] {
        let mut absolute = [NO_LIST; ACCESS_SLOTS];
        for (to, list) in absolute.iter_mut().zip(lists) {
            if *list != NO_LIST {
                *to = self.first_rule + list;
            }
        }
        absolute
    }
}

/// The deepest directory rule that speaks of a path.
fn deepest<'e>(directories: &Directories<'e>, path: &[u8]) -> Option<&'e PathEntry> {
    let mut directory = path.strip_suffix(b"/").unwrap_or(path);
    loop {
        if let Some(entry) = directories.get(directory) {
            return Some(entry);
        }
        let end = directory.iter().rposition(|byte| *byte == b'/')?;
        directory = directory.get(..end)?;
    }
}

/// Whether a directory is another or lies below it.
fn is_below(directory: &str, other: &str) -> bool {
    directory
        .strip_prefix(other)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
