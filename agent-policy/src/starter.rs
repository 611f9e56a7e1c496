//! A commented policy to begin with, from a few answers.

use crate::policy::{API_VERSION, KIND};

/// What the author of a new policy is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// The agent's name.
    pub name: String,
    /// Who answers for it.
    pub owner: String,
    /// Where they can be reached.
    pub contact: String,
    /// What it is for.
    pub purpose: String,
    /// The directory it works in.
    pub workspace: Option<String>,
    /// Networks it connects to.
    pub networks: Vec<String>,
    /// Programs it runs.
    pub programs: Vec<String>,
}

/// Writes a policy that denies all but what was answered, with comments on what can be added.
pub fn starter(answers: &Answers) -> String {
    let quote = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let list = |items: &[String]| {
        items
            .iter()
            .map(|item| quote(item))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mut text = format!(
        "# What agent {name} may do. What is not named here is denied.
# `interlock policy check` finds mistakes, `explain` says what it means.
apiVersion: {API_VERSION}
kind: {KIND}
metadata:
  name: {name}
spec:
  # The person who answers for the agent.
  owner: {{name: {owner}, contact: {contact}}}
  purpose: {purpose}
  # Its sessions are those started by `interlock run`.
  session: [run]
",
        name = quote(&answers.name),
        owner = quote(&answers.owner),
        contact = quote(&answers.contact),
        purpose = quote(&answers.purpose),
    );
    text += "  # Where it may connect: addresses, networks, loopback, unix:/path, unix:@name, agent:name.\n";
    if answers.networks.is_empty() {
        text += "  egress: {allow: []}\n";
    } else {
        text += &format!(
            "  egress:\n    allow:\n      - {{to: [{}], ports: [443], protocol: tcp}}\n",
            list(&answers.networks)
        );
    }
    if !answers.programs.is_empty() {
        text +=
            "  # Programs, and only as files that it cannot write itself.\n  exec:\n    allow:\n";
        text += &format!(
            "      - {{programs: [{}], notWritable: true}}\n",
            list(&answers.programs)
        );
    }
    if let Some(workspace) = &answers.workspace {
        text += &format!(
            "  variables: {{workspace: {}}}
  files:
    allow:
      - {{access: [read, write, create, delete, rename], paths: [\"${{workspace}}/**\"]}}
    deny:
      # A name denies wherever the file lies.
      - {{access: [read, write, create, rename], paths: [.env, \"*.pem\"]}}
",
            quote(workspace)
        );
    }
    text + "  # Add a chain of steps, facts, approvals and limits: see docs/policy.md.\n  end: {ttl: 8h}\n"
}
