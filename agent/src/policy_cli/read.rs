//! From a file to its policies, with the profiles that they extend.

use super::fault::Fault;
use super::walk::{self, Content, Holds};
use agent_policy::{Compiled, Policy, Profiles, parse, parse_with};
use std::path::{Path, PathBuf};

/// The policies of one file.
#[derive(Debug)]
pub(super) struct PolicyFile {
    /// How messages call it.
    pub(super) name: String,
    /// The policies.
    pub(super) policies: Vec<Policy>,
    /// Whether they are the same without profiles, which `interlock run` does not read.
    pub(super) stands_alone: bool,
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
    let policies = parse_with(&content.name, &content.bytes, profiles)?;
    // What extends a profile is wrong without any.
    let stands_alone =
        profiles.names().next().is_none() || parse(&content.name, &content.bytes).is_ok();
    Ok(PolicyFile {
        name: content.name.clone(),
        policies,
        stands_alone,
    })
}

/// For a file among others that were found: the profiles that were named, or else those among the
/// others, or else those beside it.
pub(super) fn profiles_among(
    file: &Path,
    named: &[PathBuf],
    others: &[Content],
) -> Result<Profiles, Fault> {
    let found = || others.iter().filter(|file| file.holds == Holds::Profiles);
    if !named.is_empty() || found().next().is_none() {
        return profiles_for(file, named);
    }
    let mut profiles = Profiles::none();
    for content in found() {
        profiles.add(&content.name, &content.bytes)?;
    }
    Ok(profiles)
}

/// The profiles that were named, or else those beside a policy.
pub(super) fn profiles_for(file: &Path, named: &[PathBuf]) -> Result<Profiles, Fault> {
    let mut profiles = Profiles::none();
    let mut files = Vec::new();
    if named.is_empty() {
        let folder = match file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        files.extend(walk::beside(folder)?.files);
        files.extend(walk::beside(&folder.join("profiles"))?.files);
    } else {
        files.extend(walk::walk(named)?.files);
    }
    for content in files.iter().filter(|file| file.holds == Holds::Profiles) {
        profiles.add(&content.name, &content.bytes)?;
    }
    Ok(profiles)
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
