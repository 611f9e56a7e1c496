//! A policy with its cases, as it is shipped and as it is played.

use agent_common::decide::{Rule, Verdict};
use agent_common::path::Access;
use agent_policy::{Action, Cases, Compiled, Instant, Profiles, Trial};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// The profiles that ready-made policies extend.
const PROFILES: [(&str, &str); 6] = [
    (
        "base",
        include_str!("../../../../policies/profiles/base.yaml"),
    ),
    (
        "java",
        include_str!("../../../../policies/profiles/java.yaml"),
    ),
    (
        "node",
        include_str!("../../../../policies/profiles/node.yaml"),
    ),
    (
        "open-host",
        include_str!("../../../../policies/profiles/open-host.yaml"),
    ),
    (
        "python",
        include_str!("../../../../policies/profiles/python.yaml"),
    ),
    (
        "shell",
        include_str!("../../../../policies/profiles/shell.yaml"),
    ),
];

/// Something in a policy that is played otherwise than it is shipped, and why.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    /// What is shipped. It must stand there once.
    pub(crate) from: &'static str,
    /// What is played, of as many lines.
    pub(crate) to: &'static str,
    /// Why.
    pub(crate) why: &'static str,
}

/// A policy with its cases.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Script<'a> {
    /// What its file is called, without the ending.
    pub(crate) name: &'a str,
    /// The policy as it is shipped.
    pub(crate) policy: &'a str,
    /// Its cases.
    pub(crate) cases: &'a str,
    /// What is played otherwise.
    pub(crate) changes: &'a [Change],
    /// How many seconds of a case last one second.
    pub(crate) seconds_in_one: u64,
}

impl<'a> Script<'a> {
    /// One that is played as it is written.
    pub(crate) fn plain(name: &'a str, policy: &'a str, cases: &'a str) -> Self {
        Self {
            name,
            policy,
            cases,
            changes: &[],
            seconds_in_one: 1,
        }
    }

    /// The cases, agent by agent.
    pub(super) fn cases(&self) -> Result<Vec<Cases>> {
        agent_policy::parse_cases(&format!("{}.cases.yaml", self.name), self.cases.as_bytes())
            .map_err(|found| anyhow::anyhow!("{found}"))
    }

    /// The text that is played.
    fn played(&self) -> Result<String> {
        let mut text = self.policy.to_owned();
        for change in self.changes {
            let count = text.matches(change.from).count();
            ensure!(count == 1, "{:?} stands {count} times there", change.from);
            let lines = |text: &str| text.matches('\n').count();
            ensure!(
                lines(change.from) == lines(change.to),
                "{:?} would move the lines behind it",
                change.to
            );
            text = text.replace(change.from, change.to);
        }
        Ok(text)
    }

    /// Both policies of an agent. What is played lies in files for the product.
    pub(super) fn read(&self, agent: &str) -> Result<Reading> {
        let folder = PathBuf::from(format!("/tmp/replay-{}", std::process::id()));
        let file = folder.join(format!("{}.yaml", self.name));
        fs::create_dir_all(folder.join("profiles")).context("a folder for the policy")?;
        let text = self.played()?;
        fs::write(&file, &text).with_context(|| file.display().to_string())?;
        let mut profiles = Profiles::none();
        for (name, text) in PROFILES {
            let path = folder.join(format!("profiles/{name}.yaml"));
            fs::write(&path, text).with_context(|| path.display().to_string())?;
            profiles
                .add(&path.display().to_string(), text.as_bytes())
                .map_err(|found| anyhow::anyhow!("{found}"))?;
        }
        let shipped = Side::read(&file, self.policy, &profiles, agent).context("as shipped")?;
        let played = Side::read(&file, &text, &profiles, agent).context("as played")?;
        Ok(Reading {
            file,
            shipped,
            played,
        })
    }
}

/// A policy as it is shipped and as it is played.
pub(super) struct Reading {
    /// Where the played one lies.
    pub(super) file: PathBuf,
    /// The shipped one.
    pub(super) shipped: Side,
    /// The played one.
    pub(super) played: Side,
}

/// One policy, read and compiled.
pub(super) struct Side {
    pub(super) policy: agent_policy::Policy,
    pub(super) compiled: Compiled,
}

impl Side {
    fn read(file: &Path, text: &str, profiles: &Profiles, agent: &str) -> Result<Self> {
        let name = file.display().to_string();
        let policies = agent_policy::parse_with(&name, text.as_bytes(), profiles)
            .map_err(|found| anyhow::anyhow!("{found}"))?;
        let policy = policies
            .into_iter()
            .find(|policy| policy.name == agent)
            .with_context(|| format!("no policy for {agent}"))?;
        let compiled = policy
            .compile()
            .map_err(|found| anyhow::anyhow!("{found}"))?;
        Ok(Self { policy, compiled })
    }

    /// The line of the rule with a number, and the file where it stands.
    pub(super) fn place(&self, number: u32) -> Option<(String, u32)> {
        let source = self.compiled.sources.get(number as usize)?;
        Some((source.file.to_string(), source.span.line))
    }

    /// Whether the hours decide anything.
    pub(super) fn has_hours(&self) -> bool {
        !self.compiled.zones.is_empty()
    }

    /// A program that the agent may execute without any effect: what its first process is.
    pub(super) fn first_program(&self, own: &str, at: Instant) -> Result<String> {
        const MORE: [&str; 3] = ["/usr/bin/python3.12", "/usr/bin/node", "/usr/lib/jvm/java"];
        let mut programs = [own].into_iter().chain(MORE);
        let found = programs.find(|path| {
            let mut trial = Trial::start(&self.compiled, at);
            let before = trial.facts(at);
            let program = self.exec(path, &[path]);
            let decision = trial.attempt(&program, None, at, 0).decision;
            decision.verdict == Verdict::Allow && decision.tool == 0 && trial.facts(at) == before
        });
        found
            .map(str::to_owned)
            .context("the agent may execute none of the programs that a session could begin with")
    }

    /// An exec as the kernel sees it: whether the session can write the program is the policy's to
    /// say.
    pub(super) fn exec(&self, path: &str, words: &[&str]) -> Action {
        let uses = [Access::Write, Access::Create, Access::Rename, Access::Link];
        let writable = uses.into_iter().any(|access| {
            let lists = self.compiled.objects.lists_for_path(path, access);
            lists.into_iter().any(|list| self.has_allowing(list))
        });
        Action::Exec {
            path: path.to_owned(),
            digest: None,
            arguments: words.iter().map(|word| (*word).to_owned()).collect(),
            writable,
        }
    }

    fn has_allowing(&self, list: u32) -> bool {
        for i in 0.. {
            let Some(rule) = self.compiled.rule_at(list, i) else {
                return false;
            };
            if rule.verdict == Verdict::Allow.wire() {
                return true;
            }
            if rule.flags & Rule::MORE == 0 {
                return false;
            }
        }
        false
    }
}
