//! A grant as text: one line that can be copied, `interlock-grant-v1.BODY.SIGNATURE`.

use crate::seal::{self, Key, Purpose};
use crate::version::{self, DisagreeError};
use crate::wire::budget::Left;
use crate::wire::{Budget, Grant};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as TEXT;
use prost::Message as _;
use std::collections::BTreeMap;

const FIRST: &str = "interlock-grant-v1";

/// How far two clocks may be apart.
pub const SKEW_MS: u64 = 5 * 60 * 1000;

/// The longest text that is looked at.
pub const MAX_TEXT: usize = 8 * 1024;

/// Why a grant does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// It is not one.
    #[error("found no grant, expected one line that begins with {FIRST}")]
    NoGrant,
    /// Nobody whom this node knows has signed it.
    #[error("forged: it is not signed by this node's controller")]
    Forged,
    /// It needs what this version does not know.
    #[error(transparent)]
    Unknown(#[from] DisagreeError),
    /// It is for another agent, task, node or policy.
    #[error("it is for {what} `{granted}`, and this is `{found}`")]
    Other {
        /// What differs.
        what: &'static str,
        /// What it is for.
        granted: String,
        /// What this is.
        found: String,
    },
    /// Its time has passed.
    #[error("expired {0} s ago")]
    Expired(u64),
    /// It comes from the future.
    #[error("issued {0} s in the future: this node's clock is wrong")]
    Early(u64),
    /// The node's clock is not the controller's.
    #[error("this node's clock and its controller's are {0} s apart")]
    Clock(u64),
    /// It was used.
    #[error("replayed: session {0} was started with it")]
    Used(String),
}

/// What a session would be that is started with a grant.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The controller that the node knows.
    pub controller: &'a str,
    /// The agent.
    pub agent: &'a str,
    /// The task, if one was named.
    pub task: Option<&'a str>,
    /// This node.
    pub node: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// The digest of the agent's policy.
    pub policy: &'a [u8],
    /// The time.
    pub now_ms: u64,
}

/// Signs a grant.
pub fn write(key: &Key, grant: &Grant) -> String {
    let body = grant.encode_to_vec();
    let signature = key.sign(Purpose::Grant, &body);
    format!("{FIRST}.{}.{}", TEXT.encode(&body), TEXT.encode(signature))
}

/// Reads a grant that one of the keys has signed.
pub fn read(text: &str, keys: &[Vec<u8>]) -> Result<Grant, GrantError> {
    let text = text.trim();
    if text.len() > MAX_TEXT {
        return Err(GrantError::NoGrant);
    }
    let mut parts = text.split('.');
    let (Some(FIRST), Some(body), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(GrantError::NoGrant);
    };
    let decode = |part| TEXT.decode(part).map_err(|_| GrantError::NoGrant);
    let (body, signature) = (decode(body)?, decode(signature)?);
    // Nothing of it is believed before that.
    if !seal::is_signed(keys, Purpose::Grant, &body, &signature) {
        return Err(GrantError::Forged);
    }
    let grant = Grant::decode(&body[..]).map_err(|_| GrantError::NoGrant)?;
    version::know(&grant.requires)?;
    Ok(grant)
}

/// Whether a grant is for this session, now.
pub fn allows(grant: &Grant, wanted: &Wanted<'_>) -> Result<(), GrantError> {
    let same = |what, granted: &str, found: &str| {
        let other = || GrantError::Other {
            what,
            granted: granted.to_owned(),
            found: found.to_owned(),
        };
        (granted == found).then_some(()).ok_or_else(other)
    };
    same("controller", &grant.controller, wanted.controller)?;
    if grant.labels.is_empty() {
        same("node", &grant.node, wanted.node)?;
    } else if !grant
        .labels
        .iter()
        .all(|(name, value)| wanted.labels.get(name) == Some(value))
    {
        same("nodes with", &pairs(&grant.labels), &pairs(wanted.labels))?;
    }
    same("agent", &grant.agent, wanted.agent)?;
    if let Some(task) = wanted.task {
        same("task", &grant.task, task)?;
    }
    same(
        "policy",
        &hex::encode(&grant.policy),
        &hex::encode(wanted.policy),
    )?;
    if grant.issued_ms > wanted.now_ms.saturating_add(SKEW_MS) {
        return Err(GrantError::Early((grant.issued_ms - wanted.now_ms) / 1000));
    }
    if wanted.now_ms >= grant.expires_ms {
        return Err(GrantError::Expired(
            (wanted.now_ms - grant.expires_ms) / 1000,
        ));
    }
    Ok(())
}

/// A budget as people write it.
pub fn budget(budget: &Budget) -> String {
    match budget.left {
        Some(Left::Actions(count)) => format!("{}={count}", budget.rule),
        Some(Left::Bytes(count)) => format!("{}={count}B", budget.rule),
        None => format!("{}=?", budget.rule),
    }
}

/// Labels as people write them.
pub fn pairs<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    let mut pairs: Vec<_> = labels
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.sort();
    pairs.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR_MS: u64 = 365 * 24 * 3600 * 1000;

    fn key() -> Key {
        Key::from_pkcs8(&Key::draw().expect("a key")).expect("a key")
    }

    fn grant() -> Grant {
        Grant {
            id: "g1".into(),
            controller: "c".into(),
            issuer: "operator/ada".into(),
            agent: "a".into(),
            task: "t".into(),
            node: "n".into(),
            policy: vec![1, 2],
            issued_ms: 2 * YEAR_MS,
            expires_ms: 2 * YEAR_MS + 60_000,
            ..Grant::default()
        }
    }

    static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();

    fn wanted() -> Wanted<'static> {
        Wanted {
            controller: "c",
            agent: "a",
            task: Some("t"),
            node: "n",
            labels: &NO_LABELS,
            policy: &[1, 2],
            now_ms: 2 * YEAR_MS + 1000,
        }
    }

    #[test]
    fn a_grant_survives_the_way_to_text_and_back() {
        let key = key();
        let text = write(&key, &grant());
        assert_eq!(read(&format!(" {text}\n"), &[key.public()]), Ok(grant()));
        assert_eq!(allows(&grant(), &wanted()), Ok(()));
    }

    #[test]
    fn every_changed_character_is_a_forgery_or_no_grant() {
        let key = key();
        let (text, keys) = (write(&key, &grant()), [key.public()]);
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).expect("ASCII");
            let refused = read(&changed, &keys);
            assert!(
                matches!(refused, Err(GrantError::Forged | GrantError::NoGrant)),
                "{at}: {refused:?}"
            );
        }
        let other = [self::key().public()];
        assert_eq!(read(&text, &other), Err(GrantError::Forged));
        assert_eq!(read(&text, &[]), Err(GrantError::Forged));
        for end in 0..text.len() {
            assert!(read(&text[..end], &keys).is_err(), "{end}");
        }
    }

    #[test]
    fn what_it_requires_must_be_known() {
        let key = key();
        let more = Grant {
            requires: vec!["dances".into()],
            ..grant()
        };
        let refused = read(&write(&key, &more), &[key.public()]);
        let expected = DisagreeError::Feature("dances".into());
        assert_eq!(refused, Err(GrantError::Unknown(expected)));
    }

    #[test]
    fn it_is_for_one_controller_node_agent_task_and_policy() {
        let wrong = [
            (
                "controller",
                Wanted {
                    controller: "x",
                    ..wanted()
                },
            ),
            (
                "node",
                Wanted {
                    node: "x",
                    ..wanted()
                },
            ),
            (
                "agent",
                Wanted {
                    agent: "x",
                    ..wanted()
                },
            ),
            (
                "task",
                Wanted {
                    task: Some("x"),
                    ..wanted()
                },
            ),
            (
                "policy",
                Wanted {
                    policy: &[1],
                    ..wanted()
                },
            ),
        ];
        for (expected, wanted) in wrong {
            let refused = allows(&grant(), &wanted);
            assert!(
                matches!(refused, Err(GrantError::Other { what, .. }) if what == expected),
                "{refused:?}"
            );
        }
        assert_eq!(
            allows(
                &grant(),
                &Wanted {
                    task: None,
                    ..wanted()
                }
            ),
            Ok(())
        );
    }

    #[test]
    fn one_for_labels_is_for_every_node_that_has_them_all() {
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let grant = Grant {
            node: String::new(),
            labels: [label("zone", "eu"), label("disk", "ssd")].into(),
            ..grant()
        };
        let on = |labels: &[(String, String)]| {
            let labels = labels.iter().cloned().collect();
            allows(
                &grant,
                &Wanted {
                    labels: &labels,
                    ..wanted()
                },
            )
        };
        let [eu, us, ssd] = [
            label("zone", "eu"),
            label("zone", "us"),
            label("disk", "ssd"),
        ];
        assert_eq!(on(&[eu.clone(), ssd.clone(), label("more", "")]), Ok(()));
        for labels in [vec![], vec![eu.clone()], vec![us, ssd]] {
            let refused = on(&labels).expect_err("it is for others");
            let text = refused.to_string();
            assert!(text.contains("nodes with `disk=ssd,zone=eu`"), "{text}");
        }
    }

    #[test]
    fn it_holds_for_its_time_and_not_for_a_clock_that_is_wrong_by_a_year() {
        let at = |now_ms| allows(&grant(), &Wanted { now_ms, ..wanted() });
        assert_eq!(at(2 * YEAR_MS + 59_999), Ok(()));
        assert_eq!(at(2 * YEAR_MS - SKEW_MS), Ok(()));
        assert_eq!(at(2 * YEAR_MS + 60_000), Err(GrantError::Expired(0)));
        assert_eq!(
            at(3 * YEAR_MS + 60_000),
            Err(GrantError::Expired(YEAR_MS / 1000))
        );
        assert_eq!(at(YEAR_MS), Err(GrantError::Early(YEAR_MS / 1000)));
    }
}
