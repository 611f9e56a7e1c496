//! The policies that the daemon has loaded from files and folders, by agent.
//!
//! A file is taken as a whole or not at all: if one policy in it cannot be put in force, what was
//! loaded from it before stays. Nothing here reaches the kernel.

pub mod given;
mod read;
#[cfg(test)]
mod tests;
pub mod watch;

use crate::chain::chain;
use crate::control::protocol::Start;
use crate::events::explain;
use crate::policy;
use crate::policy_cli;
use agent_policy::Compiled;
use read::Root;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Where policies lie unless told otherwise.
pub const FOLDER: &str = "/etc/interlock/policies";

/// The policies in force for sessions that begin now.
#[derive(Debug, Default)]
pub struct Library {
    roots: Vec<PathBuf>,
    loaded: BTreeMap<String, Rc<Loaded>>,
    /// Files, or folders, of which what is there now was not taken.
    rejected: BTreeMap<PathBuf, Rejected>,
    /// How many versions of each agent's policy there have been.
    generations: BTreeMap<String, u64>,
}

/// A policy in force for sessions of its agent that begin now.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What a session is started with.
    pub start: Start,
    /// The policy.
    pub compiled: Rc<Compiled>,
    /// The file.
    pub path: PathBuf,
    /// Which version of the agent's policy this is, counted from 1 since the daemon began.
    pub generation: u64,
    /// Since when it is in force, by the wall clock.
    pub since: String,
}

/// What is in a file, or a folder, and was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Why, as `interlock policy check` says it.
    pub error: String,
    /// Since when, by the wall clock.
    pub since: String,
}

/// What a look at the files has changed.
#[derive(Debug, Clone)]
pub enum Change {
    /// An agent has its first policy, or another one.
    Loaded(Rc<Loaded>),
    /// An agent has none any more.
    Gone(Rc<Loaded>),
    /// What is in a file was not taken.
    Rejected(PathBuf, String),
}

/// The policies of a file, ready to be taken.
type Candidates = Vec<(Start, Compiled)>;

impl Library {
    /// A library of files and folders. Nothing is read yet.
    pub fn of(roots: Vec<PathBuf>) -> Self {
        Self {
            roots,
            ..Self::default()
        }
    }

    /// The policy of an agent.
    pub fn get(&self, agent: &str) -> Option<&Rc<Loaded>> {
        self.loaded.get(agent)
    }

    /// Every policy, by agent.
    pub fn iter(&self) -> impl Iterator<Item = &Rc<Loaded>> {
        self.loaded.values()
    }

    /// The files of which what is there now was not taken.
    pub fn rejected(&self) -> impl Iterator<Item = (&Path, &Rejected)> {
        let borrow = |(path, rejected)| (PathBuf::as_path(path), rejected);
        self.rejected.iter().map(borrow)
    }

    /// Whether what is in a file now was not taken.
    pub fn is_rejected(&self, path: &Path) -> bool {
        self.rejected.contains_key(path)
    }

    /// Why there is no policy of an agent.
    pub fn why_not(&self, agent: &str) -> String {
        let roots: Vec<String> = self
            .roots
            .iter()
            .map(|root| root.display().to_string())
            .collect();
        let mut why = format!(
            "no policy of agent `{agent}` is loaded from {}",
            roots.join(", ")
        );
        for (path, rejected) in self.rejected() {
            why += &format!("\n{} was rejected:\n{}", path.display(), rejected.error);
        }
        why
    }

    /// Files and folders that it is made of.
    pub fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    /// Takes what a look at all files has found and can be put in force.
    pub fn take(&mut self, mut look: Look) -> Vec<Change> {
        // A folder that is away for a moment takes no policy with it.
        for root in &look.away {
            let below = self.loaded.values().map(|loaded| &loaded.path);
            look.hidden
                .extend(below.filter(|path| path.starts_with(root)).cloned());
        }
        look.settle_claims(&self.loaded);
        self.put_all(look)
    }

    fn put_all(&mut self, look: Look) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut there = BTreeSet::new();
        for (path, candidates) in look.taken {
            for (start, compiled) in candidates {
                there.insert(start.agent.clone());
                changes.extend(self.put(&path, start, compiled));
            }
        }
        let stays = |loaded: &Loaded| {
            there.contains(&loaded.start.agent)
                || look.hidden.contains(&loaded.path)
                || look.rejected.contains_key(&loaded.path)
        };
        self.loaded.retain(|_, loaded| {
            let stays = stays(loaded);
            if !stays {
                changes.push(Change::Gone(Rc::clone(loaded)));
            }
            stays
        });
        let earlier = std::mem::take(&mut self.rejected);
        for (path, error) in look.rejected {
            let rejected = match earlier.get(&path) {
                Some(known) if known.error == error => known.clone(),
                _ => {
                    changes.push(Change::Rejected(path.clone(), error.clone()));
                    Rejected {
                        error,
                        since: explain::now(),
                    }
                }
            };
            self.rejected.insert(path, rejected);
        }
        changes
    }

    /// Puts a policy in the place of the agent's last one.
    fn put(&mut self, path: &Path, start: Start, compiled: Compiled) -> Option<Change> {
        let last = self.loaded.get(&start.agent);
        if last.is_some_and(|last| last.start == start && last.path == path) {
            return None;
        }
        // Comments and layout change no generation, but the lines to which events point.
        let same = last.filter(|last| last.compiled.digest == compiled.digest);
        let generation = self.generations.entry(start.agent.clone()).or_default();
        if same.is_none() {
            *generation += 1;
        }
        let loaded = Rc::new(Loaded {
            generation: *generation,
            since: same.map_or_else(explain::now, |same| same.since.clone()),
            path: path.to_owned(),
            compiled: Rc::new(compiled),
            start,
        });
        let agent = loaded.start.agent.clone();
        self.loaded.insert(agent, Rc::clone(&loaded));
        Some(Change::Loaded(loaded))
    }
}

/// What one look at all files has found.
#[derive(Debug, Default)]
pub struct Look {
    taken: BTreeMap<PathBuf, Candidates>,
    rejected: BTreeMap<PathBuf, String>,
    /// Files and folders that could not be looked into.
    away: BTreeSet<PathBuf>,
    /// Files that may still be there, and were not seen.
    hidden: BTreeSet<PathBuf>,
}

impl Look {
    /// Looks at all files. `accept` may refuse a policy, with a reason.
    pub fn into(roots: &[PathBuf], accept: impl Fn(&Compiled) -> Result<(), String>) -> Self {
        let mut look = Self::default();
        for root in roots {
            match read::files(root) {
                Ok(Root::Files(files)) => {
                    for file in files {
                        look.at(file, &accept);
                    }
                }
                // A file that is away is gone, a folder is not: it is being replaced.
                Ok(Root::Nothing) if read::is_wanted(root) => {}
                Ok(Root::Nothing) => {
                    look.away.insert(root.clone());
                    if root != Path::new(FOLDER) {
                        let error = format!("{}: found nothing", root.display());
                        look.rejected.insert(root.clone(), error);
                    }
                }
                Err(error) => {
                    let error = format!("{}: {error}", root.display());
                    look.rejected.insert(root.clone(), error);
                    look.away.insert(root.clone());
                }
            }
        }
        look
    }

    /// Looks at policies that are given, too.
    pub fn and_given(
        mut self,
        given: Vec<Start>,
        accept: impl Fn(&Compiled) -> Result<(), String>,
    ) -> Self {
        for start in given {
            let place = given::place(&start.agent);
            let compiled = policy::compile(&start).map_err(chain);
            let accepted = compiled.and_then(|compiled| {
                accept(&compiled)?;
                Ok(vec![(start, compiled)])
            });
            match accepted {
                Ok(candidates) => drop(self.taken.insert(place, candidates)),
                Err(error) => drop(self.rejected.insert(place, error)),
            }
        }
        self
    }

    fn at(&mut self, file: PathBuf, accept: &impl Fn(&Compiled) -> Result<(), String>) {
        match candidates(&file, accept) {
            Ok(candidates) => {
                self.taken.insert(file, candidates);
            }
            Err(error) => {
                self.rejected.insert(file, error);
            }
        }
    }

    /// Of several files with policies of one agent, that stays from which it was loaded; the others
    /// are rejected.
    fn settle_claims(&mut self, loaded: &BTreeMap<String, Rc<Loaded>>) {
        let mut owners: BTreeMap<String, PathBuf> = BTreeMap::new();
        for (agent, loaded) in loaded {
            let path = &loaded.path;
            let claims = self.rejected.contains_key(path)
                || self.hidden.contains(path)
                || self.taken.get(path).is_some_and(|candidates| {
                    candidates.iter().any(|(start, _)| start.agent == *agent)
                });
            if claims {
                owners.insert(agent.clone(), path.clone());
            }
        }
        for (file, candidates) in std::mem::take(&mut self.taken) {
            let clash = candidates.iter().find_map(|(start, _)| {
                let owner = owners.get(&start.agent).filter(|owner| **owner != file)?;
                Some(format!(
                    "{}: found a policy of agent `{}`, expected it in one file: it is loaded from {}",
                    file.display(),
                    start.agent,
                    owner.display()
                ))
            });
            if let Some(clash) = clash {
                self.rejected.insert(file, clash);
                continue;
            }
            for (start, _) in &candidates {
                owners.insert(start.agent.clone(), file.clone());
            }
            self.taken.insert(file, candidates);
        }
    }
}

fn candidates(
    file: &Path,
    accept: &impl Fn(&Compiled) -> Result<(), String>,
) -> Result<Candidates, String> {
    let starts = policy_cli::starts(file).map_err(chain)?;
    let mut candidates = Candidates::new();
    for start in starts {
        let compiled = policy::compile(&start).map_err(chain)?;
        accept(&compiled)?;
        candidates.push((start, compiled));
    }
    Ok(candidates)
}
