//! What came out otherwise than `policy test` says.

use super::now;
use super::performance::Performance;
use super::script;
use super::step::{Told, said, told_as};
use crate::harness::events::Denial;
use crate::harness::product;
use agent_common::decide::{Reason, Verdict};
use agent_policy::{Action, Outcome, Trial};
use anyhow::{Result, ensure};

impl Performance<'_> {
    /// Whether what is played comes out as what is shipped.
    pub(super) fn is_same(&self, shipped: &Outcome, played: &Outcome) -> bool {
        let (one, other) = (shipped.decision, played.decision);
        let place = |reading: &script::Side, number| reading.place(number);
        let same_rule = one.verdict == Verdict::Allow
            || place(&self.reading.shipped, one.number)
                == place(&self.reading.played, other.number);
        (one.verdict, one.reason) == (other.verdict, other.reason) && same_rule
    }

    /// Holds what was told to what should have been.
    pub(super) fn compare_told(&mut self) -> Result<()> {
        for (line, action, outcome) in std::mem::take(&mut self.expected) {
            let (word, object) = told_as(&action);
            let found = loop {
                let all = self.events.wait(self.agent, self.told + 1)?;
                let denial = all[self.told].clone();
                self.told += 1;
                if denial.action == word && reached(&denial) == object {
                    break denial;
                }
                self.wrong.push(format!(
                    "line {line}: before {action}, something else was denied: {} {} ({})",
                    denial.action,
                    reached(&denial),
                    denial.reason
                ));
            };
            let mut expected = said(&self.reading.played, &outcome);
            if matches!(action, Action::Exec { .. }) && found.verdict == "kill" {
                expected.0 = found.verdict.clone();
            }
            let rule = found.rule.as_ref().map(|rule| {
                let line = rule["line"].as_u64().and_then(|line| line.try_into().ok());
                let file = rule["file"].as_str().unwrap_or_default();
                (file.to_owned(), line.unwrap_or(0))
            });
            let found = (found.verdict, found.reason, rule);
            if is_before_words(&action, &found, &expected) {
                println!(
                    "NOTE {}: line {line}: {action} is denied before its words can be read; `policy test` has read them: {} {:?}",
                    self.agent, expected.1, expected.2
                );
                continue;
            }
            if found != expected {
                self.wrong.push(format!(
                    "line {line}: {action}: told as {found:?}, `policy test` says {expected:?}"
                ));
            }
        }
        Ok(())
    }

    pub(super) fn compare_facts(
        &mut self,
        line: u32,
        action: &Action,
        case: Option<&[String]>,
    ) -> Result<()> {
        let told =
            |trial: &Trial<'_>, compiled, at| agent_policy::told_facts(compiled, trial.facts(at));
        let shipped = told(&self.shipped, &self.reading.shipped.compiled, self.at);
        let expected = told(&self.trial, &self.reading.played.compiled, now()?);
        let found = product::facts(self.agent)?;
        if found != expected || found != shipped {
            self.wrong.push(format!(
                "line {line}: after {action} the kernel has the facts {found:?}, `policy test` {expected:?}, as shipped {shipped:?}"
            ));
        }
        if let Some(case) = case {
            let mut case = case.to_vec();
            case.sort();
            ensure!(
                case == shipped,
                "the case expects the facts {case:?}, found {shipped:?}"
            );
        }
        Ok(())
    }
}

/// Whether an exec was denied because no words at all could have made it allowed: then the kernel has
/// read none, and names no rule that speaks of them.
fn is_before_words(action: &Action, found: &Told, expected: &Told) -> bool {
    let facts = [Reason::FactMissing.word(), Reason::FactForbidden.word()];
    matches!(action, Action::Exec { .. })
        && *found == ("deny".to_owned(), Reason::NoRule.to_string(), None)
        && expected.0 == "deny"
        && facts.contains(&expected.1.as_str())
}

/// Where a denied action went.
pub(super) fn reached(denial: &Denial) -> String {
    let object = &denial.object;
    if object.address.is_empty() {
        let name = if object.path.is_empty() {
            &object.unix
        } else {
            &object.path
        };
        return name.clone();
    }
    let ip: std::result::Result<std::net::IpAddr, _> = object.address.parse();
    ip.map_or_else(
        |_| object.address.clone(),
        |ip| std::net::SocketAddr::new(ip, object.port).to_string(),
    )
}
