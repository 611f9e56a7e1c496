//! Policies, as a person would write them.

use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

/// A policy that is being written. The agent of every test is called after its policy.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    name: String,
    rules: String,
    rest: String,
    /// Rules for files, each with its effect.
    files: Vec<(&'static str, String)>,
    /// Rules for programs, each with its effect.
    exec: Vec<(&'static str, String)>,
}

/// Every use of a file.
pub(crate) const EVERY_USE: &str = "read, write, create, delete, rename, link, map";

impl Policy {
    /// A policy that allows nothing but whatever there is to do with files.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            rules: String::new(),
            rest: String::new(),
            files: Vec::new(),
            exec: Vec::new(),
        }
        .files("allow", EVERY_USE, &["/**"])
        .exec("allow", "{programs: [/**]}")
    }

    /// What it is called.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The same without any rule for files.
    pub(crate) fn without_files(mut self) -> Self {
        self.files.clear();
        self
    }

    /// Adds a rule for files. Without BPF LSM no file is judged, and a policy that speaks of files
    /// would be refused.
    pub(crate) fn files(self, effect: &'static str, access: &str, paths: &[&str]) -> Self {
        self.file(effect, &format!("{{access: [{access}], paths: {paths:?}}}"))
    }

    /// The same, as it stands in a file.
    pub(crate) fn file(mut self, effect: &'static str, rule: &str) -> Self {
        if super::kernel::has_bpf_lsm() {
            self.files.push((effect, format!("      - {rule}\n")));
        }
        self
    }

    /// The same without any rule for programs.
    pub(crate) fn without_exec(mut self) -> Self {
        self.exec.clear();
        self
    }

    /// Adds a rule for programs, as it stands in a file.
    pub(crate) fn exec(mut self, effect: &'static str, rule: &str) -> Self {
        if super::kernel::has_bpf_lsm() {
            self.exec.push((effect, format!("      - {rule}\n")));
        }
        self
    }

    /// The same with more under `spec`, as it stands in a file.
    pub(crate) fn with(mut self, spec: &str) -> Self {
        self.rest.push_str(spec);
        self
    }

    /// Allows some ports of a network, by one protocol.
    pub(crate) fn allow(mut self, to: &str, ports: &str, protocol: &str) -> Self {
        writeln!(
            self.rules,
            "      - to: [\"{to}\"]\n        ports: [{ports}]\n        protocol: {protocol}"
        )
        .expect("writing to a string");
        self
    }

    /// Gives some privileges.
    pub(crate) fn privileges(self, words: &[&str]) -> Self {
        match words {
            [] => self,
            words => self.with(&format!("  privileges: [{}]\n", words.join(", "))),
        }
    }

    /// The agent that the policy is for.
    pub(crate) fn agent(&self) -> &str {
        &self.name
    }

    /// The policy's text.
    pub(crate) fn text(&self) -> String {
        let egress = if self.rest.contains("\n  egress:") || self.rest.starts_with("  egress:") {
            String::new()
        } else if self.rules.is_empty() {
            "  egress: {}\n".to_owned()
        } else {
            format!("  egress:\n    allow:\n{}", self.rules)
        };
        let files = self.block("files", &self.files);
        let exec = self.block("exec", &self.exec);
        format!(
            "apiVersion: interlock.dev/v1alpha1\nkind: AgentPolicy\nmetadata:\n  name: {}\nspec:\n  \
             owner:\n    name: Test Bench\n    contact: bench@example.org\n{egress}{files}{exec}{}",
            self.name, self.rest
        )
    }

    /// Rules of one kind, unless they stand among the rest.
    fn block(&self, kind: &str, rules: &[(&str, String)]) -> String {
        let heading = format!("  {kind}:");
        if self.rest.lines().any(|line| line.starts_with(&heading)) {
            return String::new();
        }
        let mut block = String::new();
        for effect in ["allow", "deny", "kill"] {
            let rules = rules.iter().filter(|(of, _)| *of == effect);
            let rules: String = rules.map(|(_, rule)| rule.as_str()).collect();
            if !rules.is_empty() {
                write!(block, "    {effect}:\n{rules}").expect("writing to a string");
            }
        }
        if !block.is_empty() {
            block.insert_str(0, &format!("{heading}\n"));
        }
        block
    }

    /// Writes the policy to a file of its own.
    pub(crate) fn write(&self) -> Result<PathBuf> {
        let path = PathBuf::from(format!("/tmp/{}-{}.yaml", self.name, std::process::id()));
        fs::write(&path, self.text()).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}
