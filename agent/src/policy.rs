//! From a policy file to what the kernel programs can enforce, the same way for `run`, where a
//! person reads the errors, and for the daemon, which trusts nobody's word for it.

use crate::control::protocol::Start;
use agent_policy::{Compiled, Diagnostics, Need, Profiles, parse_with};
use std::fmt;

/// Why a file is no policy that can be put in force. `Display` shows the lines.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It is not a policy, or a profile that it extends is none, or it demands what no kernel
    /// program enforces yet.
    #[error("{0}")]
    Wrong(Box<Diagnostics>),
    /// The agent is not in it.
    #[error("{file}: found no policy for agent `{agent}`, expected {found}")]
    NoAgent {
        /// The file.
        file: String,
        /// The agent asked for.
        agent: String,
        /// The agents there are.
        found: Listed,
    },
}

/// Words in a list for people.
#[derive(Debug)]
pub struct Listed(Vec<String>);

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

impl From<Diagnostics> for PolicyError {
    fn from(diagnostics: Diagnostics) -> Self {
        Self::Wrong(Box::new(diagnostics))
    }
}

/// Compiles the policy of one agent out of the texts that a session is started with.
pub fn compile(start: &Start) -> Result<Compiled, PolicyError> {
    let mut profiles = Profiles::none();
    for profile in &start.profiles {
        profiles.add(&profile.file, profile.text.as_bytes())?;
    }
    let policies = parse_with(&start.file, start.policy.as_bytes(), &profiles)?;
    let Some(policy) = policies.iter().find(|policy| policy.name == start.agent) else {
        return Err(PolicyError::NoAgent {
            file: start.file.clone(),
            agent: start.agent.clone(),
            found: Listed(
                policies
                    .iter()
                    .map(|policy| format!("`{}`", policy.name))
                    .collect(),
            ),
        });
    };
    let compiled = policy.compile()?;
    let found = agent_policy::not_enforced(policy, &compiled, ENFORCED);
    if found.is_empty() {
        return Ok(compiled);
    }
    Err(found.into())
}

/// What the kernel programs enforce besides egress by address and port, facts and steps.
pub(crate) const ENFORCED: &[Need] = &[
    Need::Alternatives,
    Need::Timers,
    Need::Limits,
    Need::Hours,
    Need::Kill,
    Need::Revoke,
    Need::Audit,
    Need::Completion,
    Need::Ttl,
    Need::Failure,
    Need::Timeout,
    Need::Files,
    Need::Exec,
    Need::Digests,
    Need::Tools,
    Need::Cgroups,
    Need::Executables,
    Need::Pods,
    Need::ServiceAccounts,
    Need::Engines,
    Need::ControllerLost,
    Need::UnixSockets,
    Need::Handoffs,
    Need::Listen,
    Need::Bytes,
    Need::Approvals,
    Need::HostNames,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::protocol::ProfileText;

    fn policy(spec: &str) -> String {
        format!(
            "apiVersion: interlock.dev/v1alpha1\nkind: AgentPolicy\nmetadata:\n  name: a\nspec:\n  \
             owner:\n    name: Owner\n    contact: owner@example.com\n{spec}"
        )
    }

    fn start(spec: &str, agent: &str) -> Start {
        Start {
            agent: agent.into(),
            file: "p.yaml".into(),
            policy: policy(spec),
            profiles: Vec::new(),
        }
    }

    fn error(spec: &str) -> String {
        compile(&start(spec, "a")).unwrap_err().to_string()
    }

    #[test]
    fn egress_by_address_and_port_is_compiled() {
        let spec = "  egress:\n    allow:\n      - to: [192.0.2.0/24]\n        ports: [443]\n";
        assert!(compile(&start(spec, "a")).is_ok());
    }

    #[test]
    fn another_agent_is_not_taken_for_the_one_asked_for() {
        let expected = "p.yaml: found no policy for agent `b`, expected `a`";
        let found = compile(&start("", "b")).unwrap_err().to_string();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_the_kernel_programs_do_not_enforce_is_refused_with_its_line() {
        let found = error(
            "  files: {allow: [{paths: [/a], access: [read], limit: {bytesPerSession: 1MB}}]}\n",
        );
        let first = "p.yaml:9:19: error: found budgets of bytes for what is no egress";
        assert!(found.starts_with(first) && found.contains('^'), "{found}");
        for spec in ["  session: [run]\n", "  mode: audit\n"] {
            assert!(compile(&start(spec, "a")).is_ok());
        }
    }

    #[test]
    fn profiles_come_with_the_policy() {
        let mut start = start("  extends: [net]\n", "a");
        assert!(
            compile(&start)
                .unwrap_err()
                .to_string()
                .contains("unknown profile \"net\"")
        );
        start.profiles.push(ProfileText {
            file: "net.yaml".into(),
            text: "apiVersion: interlock.dev/v1alpha1\nkind: AgentProfile\nmetadata: {name: net}\n\
                   spec:\n  egress: {allow: [{to: [192.0.2.7], ports: [443]}]}\n"
                .into(),
        });
        let compiled = compile(&start).expect("a policy");
        assert_eq!(&*compiled.sources[0].file, "net.yaml");
    }
}
