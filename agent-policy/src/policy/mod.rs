//! A policy as its author wrote it: typed, valid in itself, every part with its place.

mod document;
mod egress;
mod network;
mod port;

use std::sync::Arc;

use crate::text::{self, Diagnostic, Diagnostics, Reader, Source, Span};

pub use egress::{Effect, Egress, EgressRule, Protocol};
pub use network::Network;
pub use port::PortRange;

/// The `apiVersion` of every policy.
pub const API_VERSION: &str = "interlock.dev/v1alpha1";
/// The `kind` of a policy.
pub const KIND: &str = "AgentPolicy";

/// Who answers for an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The person or group.
    pub name: String,
    /// Where they can be reached.
    pub contact: String,
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
    /// Where it may connect.
    pub egress: Egress,
    pub(crate) source: Arc<Source>,
}

/// Reads the policies of one file. `name` is how messages call it; nothing is opened here.
pub fn parse(name: &str, bytes: &[u8]) -> Result<Vec<Policy>, Diagnostics> {
    let (source, documents) = text::documents(name, bytes)?;
    let source = Arc::new(source);
    if documents.iter().all(text::Node::is_nothing) {
        let message = "found no policy in the file, expected at least one document".to_owned();
        return Err(Diagnostic::about_file(name, message)
            .with_help(format!(
                "a policy begins with \"apiVersion: {API_VERSION}\""
            ))
            .into());
    }
    let mut reader = Reader::new(&source);
    let mut policies: Vec<Policy> = Vec::new();
    for document in documents.iter().filter(|document| !document.is_nothing()) {
        let Some(policy) = document::read(&mut reader, &source, document) else {
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
