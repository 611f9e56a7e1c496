//! What the daemon has told so far, counted. Every label has few values: agents are those of loaded policies,
//! all else is a word of ours.

use super::metrics::{
    DENIALS, HOLDS_ANSWERED, Metric, REVOCATIONS, SESSIONS_ENDED, SESSIONS_STARTED,
};
use super::reading::Reading;
use crate::events::line::Line;
use crate::library::Library;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Whose series are those of agents without a loaded policy.
pub const OTHER: &str = "other";

/// Counts of what was told.
#[derive(Debug)]
pub struct Tally {
    library: Rc<RefCell<Library>>,
    /// By metric and labels.
    counts: RefCell<BTreeMap<&'static str, BTreeMap<Vec<String>, u64>>>,
}

impl Tally {
    /// Nothing was told yet.
    pub fn new(library: Rc<RefCell<Library>>) -> Rc<Self> {
        Rc::new(Self {
            library,
            counts: RefCell::default(),
        })
    }

    /// An agent's name as a label.
    pub fn label(&self, agent: &str) -> String {
        let is_loaded = self.library.borrow().get(agent).is_some();
        (if is_loaded { agent } else { OTHER }).to_owned()
    }

    /// Counts lines in.
    pub fn note(&self, lines: &[Line]) {
        let agent = |name: Option<&str>| self.label(name.unwrap_or(OTHER));
        for line in lines {
            match line {
                Line::Denial(denial) => self.count(
                    &DENIALS,
                    &[
                        agent(denial.agent.as_deref()),
                        denial.action.to_owned(),
                        denial.verdict.to_owned(),
                    ],
                ),
                Line::Started(started) => {
                    self.count(&SESSIONS_STARTED, &[agent(Some(&started.agent))]);
                }
                Line::Ended(ended) => self.count(
                    &SESSIONS_ENDED,
                    &[agent(Some(&ended.session.agent)), ended.outcome.to_owned()],
                ),
                Line::Revoked(revocation) => {
                    let revoked = &revocation.revoked;
                    let of = agent(Some(&revoked.agent));
                    self.count(&REVOCATIONS, &[of, revoked.cause.clone()]);
                }
                Line::Answered(closed) => {
                    let answer = std::slice::from_ref(&closed.answered.answer);
                    self.count(&HOLDS_ANSWERED, answer);
                }
                _ => {}
            }
        }
    }

    fn count(&self, metric: &'static Metric, labels: &[String]) {
        let mut counts = self.counts.borrow_mut();
        let of = counts.entry(metric.name).or_default();
        *of.entry(labels.to_vec()).or_default() += 1;
    }

    /// Adds what was counted to a reading.
    pub fn read(&self, reading: &mut Reading) {
        let metrics = [
            &DENIALS,
            &SESSIONS_STARTED,
            &SESSIONS_ENDED,
            &REVOCATIONS,
            &HOLDS_ANSWERED,
        ];
        let counts = self.counts.borrow();
        for metric in metrics {
            for (labels, count) in counts.get(metric.name).into_iter().flatten() {
                let labels: Vec<_> = labels.iter().map(String::as_str).collect();
                reading.add(metric, &labels, *count);
            }
        }
    }
}
