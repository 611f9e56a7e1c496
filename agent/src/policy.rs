//! From a policy file to what the kernel programs can enforce, the same way for `run`, where a
//! person reads the errors, and for the daemon, which trusts nobody's word for it.

use agent_common::terms::Terms;
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
         egress to networks, addresses and ports"
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

/// What a policy demands beyond egress by address and port.
pub(crate) fn not_enforced(policy: &Policy, compiled: &Compiled) -> Vec<String> {
    let uses_facts = compiled.initial_facts != 0
        || compiled
            .rules
            .iter()
            .any(|rule| rule.require | rule.forbid | rule.set | rule.clear != 0);
    let needs = compiled
        .needs()
        .into_iter()
        .filter(|need| *need != Need::Revoke)
        .map(|need| (need.word(), true))
        .chain(ends_not_enforced(compiled));
    needs
        .chain([
            ("facts or steps", uses_facts),
            (
                "recognition other than by `interlock run`",
                policy.recognised.iter().any(|way| *way != Recognised::Run),
            ),
        ])
        .filter(|(_, found)| *found)
        .map(|(word, _)| word.to_owned())
        .collect()
}

/// Ways for a permission to end that nothing watches for yet. A ttl, the end of the first process
/// and its exit code are watched.
fn ends_not_enforced(compiled: &Compiled) -> [(&'static str, bool); 5] {
    let has = |what: fn(&RevokeOn) -> bool| compiled.end.revoke_on.iter().any(what);
    let has_chain = compiled.completion != 0;
    [
        (
            "revokeOn: completion of a chain",
            has_chain && has(|on| *on == RevokeOn::Completion),
        ),
        (
            "revokeOn: failure of a chain",
            has_chain && has(|on| *on == RevokeOn::Failure),
        ),
        ("revokeOn: timeout", has(|on| *on == RevokeOn::Timeout)),
        (
            "revokeOn: deviation",
            has(|on| *on == RevokeOn::Deviation)
                || compiled.terms.on_deviation & Terms::DEVIATION_REVOKE != 0,
        ),
        (
            "revokeOn: controllerLost",
            has(|on| matches!(on, RevokeOn::ControllerLost(_))),
        ),
    ]
}

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
        let limited = "  egress:\n    allow:\n      - to: [192.0.2.7]\n        limit:\n          rate: 10/min\n";
        assert!(
            error(limited, "a").contains("rates and budgets"),
            "{}",
            error(limited, "a")
        );
        assert!(compile("p.yaml", policy("  session: [run]\n").as_bytes(), "a").is_ok());
        let audit = "  mode: audit\n";
        assert!(
            error(audit, "a").contains("mode: audit"),
            "{}",
            error(audit, "a")
        );
        let ends = "  end:\n    ttl: 1h\n    revokeOn: [completion, failure]\n";
        assert!(compile("p.yaml", policy(ends).as_bytes(), "a").is_ok());
        let ends = "  end:\n    revokeOn: [timeout]\n";
        assert!(
            error(ends, "a").contains("revokeOn: timeout"),
            "{}",
            error(ends, "a")
        );
    }
}
