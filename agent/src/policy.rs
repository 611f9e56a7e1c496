//! From a policy file to what the kernel programs can enforce, the same way for `run`, where a
//! person reads the errors, and for the daemon, which trusts nobody's word for it.

use agent_policy::{Compiled, Diagnostics, Need, Policy, Recognised, RevokeOn};
use std::fmt;

/// Why a file is no policy that can be put in force.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It is not a policy.
    #[error("{}", one_line(.0))]
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
    /// It demands what no kernel program enforces yet. A rule that looks enforced and is not is
    /// worse than none.
    #[error(
        "{file}: found {found} in the policy of `{agent}`, expected what this version enforces: \
         egress to networks, addresses and ports, with facts, steps, limits and hours"
    )]
    NotEnforced {
        /// The file.
        file: String,
        /// The agent.
        agent: String,
        /// What is demanded.
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

/// Compiles the policy of one agent out of a file's content.
pub fn compile(file: &str, content: &[u8], agent: &str) -> Result<Compiled, PolicyError> {
    let wrong = |diagnostics| PolicyError::Wrong(Box::new(diagnostics));
    let policies = agent_policy::parse(file, content).map_err(wrong)?;
    let Some(policy) = policies.iter().find(|policy| policy.name == agent) else {
        return Err(PolicyError::NoAgent {
            file: file.to_owned(),
            agent: agent.to_owned(),
            found: Listed(
                policies
                    .iter()
                    .map(|policy| format!("`{}`", policy.name))
                    .collect(),
            ),
        });
    };
    let compiled = policy.compile().map_err(wrong)?;
    let found = not_enforced(policy, &compiled);
    if found.is_empty() {
        return Ok(compiled);
    }
    Err(PolicyError::NotEnforced {
        file: file.to_owned(),
        agent: agent.to_owned(),
        found: Listed(found),
    })
}

/// What a policy demands that no kernel program enforces yet.
pub(crate) fn not_enforced(policy: &Policy, compiled: &Compiled) -> Vec<String> {
    let ends = |on: &RevokeOn| !matches!(on, RevokeOn::Completion | RevokeOn::Deviation);
    let mut found: Vec<&str> = compiled
        .needs()
        .into_iter()
        .filter(|need| !ENFORCED.contains(need))
        .map(Need::word)
        .collect();
    if compiled.end.revoke_on.iter().any(ends) {
        found.push("revokeOn: failure, timeout or controllerLost");
    }
    if compiled.end.ttl_s.is_some() {
        found.push("ttl");
    }
    if policy.recognised.iter().any(|way| *way != Recognised::Run) {
        found.push("recognition other than by `interlock run`");
    }
    found.into_iter().map(str::to_owned).collect()
}

/// What the kernel programs enforce besides egress by address and port.
const ENFORCED: &[Need] = &[
    Need::Alternatives,
    Need::Timers,
    Need::Limits,
    Need::Hours,
    Need::Kill,
    Need::Revoke,
    Need::Audit,
];

/// The first thing that is wrong, and how much more there is.
pub(crate) fn one_line(diagnostics: &Diagnostics) -> String {
    let first = diagnostics
        .first()
        .map(ToString::to_string)
        .unwrap_or_default();
    match diagnostics.len() {
        0 | 1 => first,
        more => format!("{first} (and {} more)", more - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(spec: &str) -> String {
        format!(
            "apiVersion: interlock.dev/v1alpha1\nkind: AgentPolicy\nmetadata:\n  name: a\nspec:\n  \
             owner:\n    name: Owner\n    contact: owner@example.com\n{spec}"
        )
    }

    fn error(spec: &str, agent: &str) -> String {
        compile("p.yaml", policy(spec).as_bytes(), agent)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn egress_by_address_and_port_is_compiled() {
        let spec = "  egress:\n    allow:\n      - to: [192.0.2.0/24]\n        ports: [443]\n";
        assert!(compile("p.yaml", policy(spec).as_bytes(), "a").is_ok());
    }

    #[test]
    fn another_agent_is_not_taken_for_the_one_asked_for() {
        let expected = "p.yaml: found no policy for agent `b`, expected `a`";
        assert_eq!(error("", "b"), expected);
    }

    #[test]
    fn what_the_kernel_programs_do_not_enforce_is_refused_by_name() {
        let files = "  files:\n    allow:\n      - {access: [read], paths: [/etc/hosts]}\n";
        let found = error(files, "a");
        assert!(found.contains("rules for files"), "{found}");
        let ends = "  end:\n    ttl: 1h\n";
        let found = error(ends, "a");
        assert!(found.contains("ttl"), "{found}");
        assert!(compile("p.yaml", policy("  session: [run]\n").as_bytes(), "a").is_ok());
        assert!(compile("p.yaml", policy("  mode: audit\n").as_bytes(), "a").is_ok());
    }
}
