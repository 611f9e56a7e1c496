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
    privileges: Vec<String>,
}

impl Policy {
    /// A policy that allows nothing.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            rules: String::new(),
            rest: String::new(),
            privileges: Vec::new(),
        }
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
    pub(crate) fn privileges(mut self, words: &[&str]) -> Self {
        self.privileges
            .extend(words.iter().map(|word| (*word).to_owned()));
        self
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
        let privileges = if self.privileges.is_empty() {
            String::new()
        } else {
            format!("  privileges: [{}]\n", self.privileges.join(", "))
        };
        format!(
            "apiVersion: interlock.dev/v1alpha1\nkind: AgentPolicy\nmetadata:\n  name: {}\nspec:\n  \
             owner:\n    name: Test Bench\n    contact: bench@example.org\n{egress}{privileges}{}",
            self.name, self.rest
        )
    }

    /// Writes the policy to a file of its own.
    pub(crate) fn write(&self) -> Result<PathBuf> {
        let path = PathBuf::from(format!("/tmp/{}-{}.yaml", self.name, std::process::id()));
        fs::write(&path, self.text()).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}
