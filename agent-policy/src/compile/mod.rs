//! From a policy to the tables that the kernel looks up.

mod digest;
mod egress;
mod ports;

use std::sync::Arc;

use agent_common::decide::{Rule, Verdict};

use crate::policy::{Effect, Policy};
use crate::text::{Diagnostics, Span};

/// Rules of one policy.
pub const MAX_RULES: usize = 16_384;
/// Networks of one compiled policy.
pub const MAX_NETWORKS: usize = 32_768;
/// Port prefixes of one compiled policy.
pub const MAX_PORTS: usize = 65_536;

/// A network of the folded address space and the port set that holds in it. The longest prefix
/// that contains an address decides; no prefix means no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkEntry {
    /// Bits that count, from 0 to 128.
    pub prefix_len: u8,
    /// The folded address; bits beyond the prefix are zero.
    pub address: [u8; 16],
    /// The port set.
    pub set: u32,
}

/// Ports of a set that share a rule. The longest prefix that contains a port decides; no prefix
/// means no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortEntry {
    /// The set.
    pub set: u32,
    /// The IP protocol.
    pub protocol: u8,
    /// The port; bits beyond the prefix are zero.
    pub port: u16,
    /// Bits that count, from 0 to 16.
    pub prefix_len: u8,
    /// Index into [`Compiled::rules`].
    pub rule: u32,
}

/// Where a compiled rule comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSource {
    /// The place in the file.
    pub span: Span,
    /// The rule in words.
    pub text: String,
}

/// A policy as the kernel looks it up. Set and rule numbers count from 0 within the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// The agent's name.
    pub name: String,
    /// The file the policy came from, as it was named to [`crate::parse`].
    pub file: Arc<str>,
    /// SHA-256 of everything the policy says, whatever its layout and comments.
    pub digest: [u8; 32],
    /// Networks, sorted.
    pub networks: Vec<NetworkEntry>,
    /// Port prefixes, sorted.
    pub ports: Vec<PortEntry>,
    /// Rules; `number` is the index.
    pub rules: Vec<Rule>,
    /// For each rule its place and words.
    pub sources: Vec<RuleSource>,
}

impl Compiled {
    /// The digest in hexadecimal.
    pub fn digest_hex(&self) -> String {
        self.digest
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Port sets, counted.
    pub fn sets(&self) -> u32 {
        self.networks
            .iter()
            .map(|network| network.set + 1)
            .max()
            .unwrap_or(0)
    }
}

impl Policy {
    /// Compiles the policy. The same policy gives the same tables and the same digest everywhere.
    pub fn compile(&self) -> Result<Compiled, Diagnostics> {
        let mut rules = Vec::new();
        let mut sources = Vec::new();
        for rule in &self.egress.rules {
            let number = u32::try_from(rules.len()).unwrap_or(u32::MAX);
            let verdict = match rule.effect {
                Effect::Allow => Verdict::Allow,
                Effect::Deny => Verdict::Deny,
            };
            rules.push(Rule {
                require: 0,
                forbid: 0,
                set: 0,
                clear: 0,
                number,
                verdict: verdict.wire(),
                reserved: [0; 3],
            });
            sources.push(RuleSource {
                span: rule.span,
                text: rule.to_string(),
            });
        }
        self.bound("rules", rules.len(), MAX_RULES)?;
        let egress::Tables { networks, ports } = egress::compile(self)?;
        let mut compiled = Compiled {
            name: self.name.clone(),
            file: self.source.name().clone(),
            digest: [0; 32],
            networks,
            ports,
            rules,
            sources,
        };
        compiled.digest = digest::of(self, &compiled);
        Ok(compiled)
    }

    fn bound(&self, what: &str, found: usize, most: usize) -> Result<(), Diagnostics> {
        if found <= most {
            return Ok(());
        }
        let message = format!(
            "found {found} {what} in the compiled policy of agent \"{}\", expected at most {most}",
            self.name
        );
        Err(self
            .source
            .diagnostic(crate::text::Severity::Error, self.name_span, message)
            .with_help("name wider networks and port ranges, or split the agent into several")
            .into())
    }
}
