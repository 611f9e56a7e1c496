//! From a file to its policies, with the profiles that they extend.

use super::fault::Fault;
use super::walk::{self, Content, Holds};
use crate::control::protocol::{ProfileText, Start};
use agent_policy::{Compiled, MAX_BYTES, Policy, Profiles, parse, parse_with};
use std::path::{Path, PathBuf};

/// The policies of one file.
#[derive(Debug)]
pub(super) struct PolicyFile {
    /// How messages call it.
    pub(super) name: String,
    /// The policies.
    pub(super) policies: Vec<Policy>,
}

/// What a session of an agent is started with: the text of its policy, and those of the profiles that
/// the policy is made with.
pub(crate) fn start(file: &Path, named: &[PathBuf], agent: &str) -> Result<Start, Fault> {
    let read = Read::of(walk::read(file)?, named)?;
    read.start(agent)
}

/// The same for every agent of a file; nothing where the file holds profiles or cases.
pub(crate) fn starts(file: &Path) -> Result<Vec<Start>, Fault> {
    let content = walk::read(file)?;
    if content.holds != Holds::Policies {
        return Ok(Vec::new());
    }
    let read = Read::of(content, &[])?;
    let of = |policy: &Policy| read.start(&policy.name);
    read.policies.iter().map(of).collect()
}

/// A file of policies, with the profiles that they can extend.
struct Read {
    content: Content,
    policies: Vec<Policy>,
    files: Vec<Content>,
}

impl Read {
    fn of(content: Content, named: &[PathBuf]) -> Result<Self, Fault> {
        // Where none is extended, none need be read, and none that is wrong be in the way.
        let (policies, files) = match parse(&content.name, &content.bytes) {
            Ok(policies) => (policies, Vec::new()),
            Err(_) => {
                let files = profile_files(&content.path, named)?;
                (parse_file(&content, &profiles_in(&files)?)?.policies, files)
            }
        };
        Ok(Self {
            content,
            policies,
            files,
        })
    }

    fn start(&self, agent: &str) -> Result<Start, Fault> {
        // Those of the file's other agents as well: a file is read whole or not at all.
        let is_used = |content: &&Content| {
            let mut made_with = self.policies.iter().flat_map(|policy| &policy.profiles);
            made_with.any(|name| **name == *content.name)
        };
        let used: Vec<&Content> = self.files.iter().filter(is_used).collect();
        let bytes: usize = used.iter().map(|content| content.bytes.len()).sum();
        if bytes > MAX_BYTES {
            return Err(Fault::unexpected(
                &self.content.name,
                format!("profiles of {bytes} bytes together"),
                format!("at most {MAX_BYTES}, which is as long as a policy may be"),
            ));
        }
        let text = |content: &Content| {
            String::from_utf8(content.bytes.clone()).expect("the parser takes nothing but UTF-8")
        };
        let profiles = used.iter().map(|content| ProfileText {
            file: content.name.clone(),
            text: text(content),
        });
        Ok(Start {
            agent: agent.to_owned(),
            file: self.content.name.clone(),
            policy: text(&self.content),
            profiles: profiles.collect(),
        })
    }
}

/// Reads a file of policies.
pub(super) fn policies(file: &Path, profiles: &[PathBuf]) -> Result<PolicyFile, Fault> {
    let content = walk::read(file)?;
    let what = match content.holds {
        Holds::Policies => return parse_file(&content, &profiles_for(file, profiles)?),
        Holds::Profiles => "profiles",
        Holds::Cases => "cases",
    };
    Err(Fault::unexpected(content.name, what, "policies"))
}

/// The policies of a file that has been read.
pub(super) fn parse_file(content: &Content, profiles: &Profiles) -> Result<PolicyFile, Fault> {
    Ok(PolicyFile {
        name: content.name.clone(),
        policies: parse_with(&content.name, &content.bytes, profiles)?,
    })
}

/// For a file among others that were found: the profiles that were named, or else those among the
/// others, or else those beside it.
pub(super) fn profiles_among(
    file: &Path,
    named: &[PathBuf],
    others: &[Content],
) -> Result<Profiles, Fault> {
    let is_profile = |file: &&Content| file.holds == Holds::Profiles;
    if !named.is_empty() || !others.iter().any(|file| is_profile(&file)) {
        return profiles_for(file, named);
    }
    profiles_in(others)
}

/// The profiles that were named, or else those beside a policy.
pub(super) fn profiles_for(file: &Path, named: &[PathBuf]) -> Result<Profiles, Fault> {
    profiles_in(&profile_files(file, named)?)
}

fn profiles_in(files: &[Content]) -> Result<Profiles, Fault> {
    let mut profiles = Profiles::none();
    for content in files.iter().filter(|file| file.holds == Holds::Profiles) {
        profiles.add(&content.name, &content.bytes)?;
    }
    Ok(profiles)
}

fn profile_files(file: &Path, named: &[PathBuf]) -> Result<Vec<Content>, Fault> {
    if !named.is_empty() {
        return Ok(walk::walk(named)?.files);
    }
    let folder = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut files = walk::beside(folder)?.files;
    files.extend(walk::beside(&folder.join("profiles"))?.files);
    Ok(files)
}

impl PolicyFile {
    /// The policies of the agent that was named, or all.
    pub(super) fn chosen(&self, agent: Option<&str>) -> Result<Vec<(&Policy, Compiled)>, Fault> {
        let chosen: Vec<&Policy> = self
            .policies
            .iter()
            .filter(|policy| agent.is_none_or(|agent| policy.name == agent))
            .collect();
        match agent {
            Some(agent) if chosen.is_empty() => Err(Fault::Unknown {
                place: self.name.clone(),
                what: "policy for agent",
                name: agent.to_owned(),
                known: self.agents(),
            }),
            _ => chosen
                .into_iter()
                .map(|policy| Ok((policy, policy.compile()?)))
                .collect(),
        }
    }

    /// The policy of the agent that was named, or the only one.
    pub(super) fn one(&self, agent: Option<&str>) -> Result<(&Policy, Compiled), Fault> {
        let mut chosen = self.chosen(agent)?;
        match (chosen.pop(), chosen.is_empty()) {
            (Some(one), true) => Ok(one),
            _ => Err(Fault::unexpected(
                &self.name,
                format!("policies for {}", self.agents().join(", ")),
                "--agent with one of them",
            )),
        }
    }

    fn agents(&self) -> Vec<String> {
        self.policies
            .iter()
            .map(|policy| policy.name.clone())
            .collect()
    }
}
