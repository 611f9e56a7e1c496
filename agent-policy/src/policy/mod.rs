//! A policy as its author wrote it: typed, valid in itself, every part with its place.

mod block;
mod chain;
mod condition;
mod container;
mod document;
mod egress;
mod end;
mod expression;
mod file;
mod host;
mod identity;
mod image;
mod lookup;
mod names;
mod network;
mod path;
mod pod;
mod port;
mod privilege;
mod profile;

use std::fmt;
use std::sync::Arc;

use agent_common::privilege::Privilege;

use crate::text::{self, Diagnostic, Diagnostics, Node, Reader, Source, Span};

pub use block::Block;
pub use chain::{Chain, Stage, Step};
pub use condition::{Approval, Common, Effect, Hours, Limit, LimitKind, Word, bytes_of};
pub(crate) use condition::{duration as duration_of, flag as flag_of};
pub use container::{Container, Engine};
pub use document::UNKNOWN_HISTORY;
pub(crate) use egress::NAMED;
pub use egress::{Destination, Direction, EgressRule, Gateway, Protocol};
pub use end::{End, Grant, MinEnforcement, Mode, OnChange, OnDeviation, RevokeOn};
pub use expression::check as check_expression;
pub use file::{Argument, ExecRule, FileRule, program_digest};
pub(crate) use file::{NOT_WRITABLE, digest_node as digest_of};
pub use host::Host;
pub(crate) use host::is_plain;
pub use identity::{Identity, Owner, Recognised};
pub use image::Image;
pub use lookup::{Lookups, Pace, RecordKind};
pub use network::Network;
pub(crate) use network::mask;
pub use path::Pattern;
pub use pod::Pod;
pub use port::PortRange;
pub(crate) use privilege::mask as privilege_mask;
pub use profile::Profiles;

/// The `apiVersion` of every policy.
pub const API_VERSION: &str = "interlock.dev/v1alpha1";
/// The `kind` of a policy.
pub const KIND: &str = "AgentPolicy";
/// The `kind` of a profile.
pub const PROFILE_KIND: &str = "AgentProfile";

/// The words of the language, where another part of the crate needs them.
pub(crate) mod words {
    pub(crate) use super::condition::{COMMON, DAYS, MAX_BECAUSE};
    pub(crate) use super::document::SPEC;
    pub(crate) use super::file::ACCESSES;
}

/// A fact of the author's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub span: Span,
    /// What it means, in a sentence.
    pub meaning: Option<String>,
    /// Seconds after which it is clear again.
    pub expires_s: Option<u64>,
}

/// A connector inside the session. It can only narrow what the session may do.
#[derive(Clone, Debug)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub span: Span,
    /// Who answers for it.
    pub owner: Owner,
    /// The exec that starts it.
    pub start: ExecRule,
    /// What it may do, at most.
    pub rules: Block,
    /// Which of the agent's privileges it has.
    pub privileges: Vec<(Privilege, Span)>,
}

/// One policy document.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The agent's name.
    pub name: String,
    /// Where the name stands.
    pub name_span: Span,
    /// Words for people and selectors, in the order of the file.
    pub labels: Vec<(String, String)>,
    /// Who answers for the agent.
    pub owner: Owner,
    /// What the agent is for.
    pub purpose: Option<String>,
    /// What the inventory holds of it.
    pub identity: Identity,
    /// How its sessions are recognised.
    pub recognised: Vec<Recognised>,
    /// Facts of the author's own.
    pub facts: Vec<Fact>,
    /// What it may do at any time, those of its profiles included.
    pub rules: Block,
    /// What it may do step by step.
    pub chain: Chain,
    /// Connectors.
    pub tools: Vec<Tool>,
    /// What it may do although it reaches other processes or the kernel itself.
    pub privileges: Vec<(Privilege, Span)>,
    /// How its sessions end.
    pub end: End,
    /// Whether it is held or watched.
    pub mode: Mode,
    /// The weakest enforcement it accepts.
    pub min_enforcement: MinEnforcement,
    /// What becomes of running sessions when this version comes.
    pub on_change: OnChange,
    /// Whether its sessions need a grant.
    pub grant: Grant,
    /// The files of the profiles that it is made with.
    pub profiles: Vec<Arc<str>>,
    pub(crate) spans: Spans,
    pub(crate) source: Arc<Source>,
}

/// Where a policy says what no rule says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spans {
    pub(crate) mode: Option<Span>,
    pub(crate) ttl: Option<Span>,
    pub(crate) on_deviation: Option<Span>,
    pub(crate) revoke_on: Vec<(RevokeOn, Span)>,
    pub(crate) recognised: Vec<(Recognised, Span)>,
}

impl Policy {
    /// What every rule has, for all rules.
    pub fn commons(&self) -> impl Iterator<Item = &Common> {
        let steps = self.chain.stages.iter().flat_map(|stage| &stage.steps);
        let tools = self.tools.iter();
        self.rules
            .commons()
            .chain(steps.flat_map(|step| step.actions.commons()))
            .chain(
                tools.flat_map(|tool| {
                    std::iter::once(&tool.start.common).chain(tool.rules.commons())
                }),
            )
    }
}

/// Reads the policies of one file that extend no profiles. `name` is how messages call it; nothing
/// is opened here.
pub fn parse(name: &str, bytes: &[u8]) -> Result<Vec<Policy>, Diagnostics> {
    parse_with(name, bytes, &Profiles::none())
}

/// Reads the policies of one file, with the profiles that they may extend.
pub fn parse_with(
    name: &str,
    bytes: &[u8],
    profiles: &Profiles,
) -> Result<Vec<Policy>, Diagnostics> {
    let (source, documents) = text::documents(name, bytes)?;
    let source = Arc::new(source);
    if !documents.iter().any(|node| is_something(&node)) {
        let message = "found no policy in the file, expected at least one document".to_owned();
        return Err(Diagnostic::about_file(name, message)
            .with_help(format!(
                "a policy begins with \"apiVersion: {API_VERSION}\""
            ))
            .into());
    }
    let mut reader = Reader::new(&source);
    let mut policies: Vec<Policy> = Vec::new();
    for node in documents.iter().filter(is_something) {
        let Some(policy) = document::read(&mut reader, &source, profiles, node) else {
            continue;
        };
        if let Some(first) = policies.iter().find(|other| other.name == policy.name) {
            let found = format!("a second policy named \"{}\"", policy.name);
            let expected = format!("another name than on line {}", first.name_span.line);
            reader.found(policy.name_span, &found, &expected);
        }
        policies.push(policy);
    }
    let found = reader.finish();
    if found.is_empty() {
        Ok(policies)
    } else {
        Err(Diagnostics::new(found))
    }
}

/// Whether a document holds anything; `---` at the end of a file begins one that does not.
fn is_something(node: &&Node) -> bool {
    !node.is_nothing()
}

/// The first few of a list, and how many more there are.
fn some_of<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    items: impl Iterator<Item = T>,
) -> fmt::Result {
    const SHOWN: usize = 4;
    let all: Vec<String> = items.map(|item| item.to_string()).collect();
    f.write_str(&all.get(..SHOWN).unwrap_or(&all).join(", "))?;
    if all.len() > SHOWN {
        write!(f, " and {} more", all.len() - SHOWN)?;
    }
    Ok(())
}
