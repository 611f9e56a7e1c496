//! What sessions were allowed, as the record has it: by rule and by place.

use super::evidence::wait;
use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::kernel::has_bpf_lsm;
use crate::harness::network::{ALLOWED4, ALLOWED6, PORT, at};
use crate::harness::policy::Policy;
use crate::harness::product::{Daemon, session_of};
use crate::harness::session::{Obedient, Place};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::HashMap;

const AGENT: &str = "uses";

/// A file that has a rule of its own.
const FILE: &str = "/etc/passwd";

/// More places than are told apart, all by one rule.
const MANY: std::ops::Range<u16> = 5000..5200;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "evidence.uses",
            "what is allowed is recorded by rule and place, and the parts are the whole, also of more places than are told apart",
            uses,
        )
        .patience(240),
    ]
}

fn uses() -> Result<()> {
    let _daemon = Daemon::shared()?;
    let told = Events::from_now()?;
    let policy = Policy::named(AGENT)
        .allow(ALLOWED4, &PORT.to_string(), "udp")
        .allow(ALLOWED6, &PORT.to_string(), "udp")
        .allow(ALLOWED4, "5000-5999", "udp")
        .files("allow", "read", &[FILE]);
    let mut actor = Place::Inside(&policy).obey()?;
    let session = session_of(AGENT)?.context("no session")?.session;
    for (to, times) in [(ALLOWED4, 3), (ALLOWED6, 2)] {
        for _ in 0..times {
            allowed(&mut actor, &format!("probe {}", at(to, PORT)?))?;
        }
    }
    for _ in 0..5 {
        allowed(&mut actor, &format!("file read {FILE}"))?;
    }
    for port in MANY {
        allowed(&mut actor, &format!("probe {}", at(ALLOWED4, port)?))?;
    }
    actor.end()?;
    told.ended(AGENT)?;

    let parts = Parts::of(&wait(&session)?)?;
    let to = |address: &str| format!("{address} {PORT}");
    ensure!(
        parts.count("network", ALLOWED4, &to(ALLOWED4)) == 3
            && parts.count("network", ALLOWED6, &to(ALLOWED6)) == 2,
        "{parts:?}"
    );
    if has_bpf_lsm() {
        ensure!(parts.count("file", FILE, "") == 5, "{parts:?}");
        ensure!(parts.count("program", "/**", "") > 0, "{parts:?}");
    }
    let many = parts.of_kind("network", "5000-5999");
    let apart = many.iter().filter(|(place, _)| !place.is_empty()).count();
    ensure!((100..=128).contains(&apart), "{apart} places: {parts:?}");
    let all: u64 = many.iter().map(|(_, count)| count).sum();
    ensure!(all == MANY.len() as u64, "{all} in all: {parts:?}");
    let whole = parts.wholes["network"];
    ensure!(whole == 5 + MANY.len() as u64, "{whole} of networks");
    Ok(())
}

fn allowed(actor: &mut Obedient, order: &str) -> Result<()> {
    let answer = actor.order(order)?;
    ensure!(answer == "ok", "{order}: {answer}");
    Ok(())
}

/// What is recorded of a session, the newest of each part.
#[derive(Debug, Default)]
struct Parts {
    /// By kind.
    wholes: HashMap<String, u64>,
    /// By kind, the rule's words and the place.
    parts: HashMap<(String, String, String), u64>,
}

impl Parts {
    fn of(records: &[Value]) -> Result<Self> {
        let mut found = Self::default();
        for record in records {
            let summary = &record["what"]["summary"];
            let Some(about) = summary["about"].as_str() else {
                continue;
            };
            let total = summary["total"].as_u64().context("a sum")?;
            let (rule, object) = (&summary["rule"], &summary["object"]);
            if rule.is_null() && object.is_null() {
                found.wholes.insert(about.to_owned(), total);
                continue;
            }
            let text = rule["text"].as_str().unwrap_or_default().to_owned();
            let place = match object["address"].as_str() {
                Some(address) => format!("{address} {}", object["port"]),
                None => String::new(),
            };
            found.parts.insert((about.to_owned(), text, place), total);
        }
        Ok(found)
    }

    /// The places of a kind, by a rule that says so.
    fn of_kind(&self, kind: &str, rule: &str) -> Vec<(&str, u64)> {
        let parts = self.parts.iter();
        parts
            .filter(|((about, text, _), _)| about == kind && text.contains(rule))
            .map(|((.., place), count)| (place.as_str(), *count))
            .collect()
    }

    fn count(&self, kind: &str, rule: &str, place: &str) -> u64 {
        let of = self.of_kind(kind, rule).into_iter();
        of.filter(|(at, _)| *at == place)
            .map(|(_, count)| count)
            .sum()
    }
}
