//! Why an action has the verdict it has, and what would change it.

use std::fmt;

use agent_common::decide::{Reason, Rule, Verdict};
use serde::Serialize;

use crate::compile::{Compiled, FactKind};
use crate::trial::{Action, Instant, Trial};

const ALLOW: &str = Verdict::Allow.word();

/// A rule that spoke or was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Speaker {
    /// Its file.
    pub file: String,
    /// Its line.
    pub line: u32,
    /// Its name, where it has one.
    pub id: Option<String>,
    /// The step that its actions perform.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The rule in words.
    pub text: String,
    /// What its author says to whoever it denies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// The facts it requires, in words.
    pub requires: Vec<String>,
    /// The facts it forbids.
    pub forbids: Vec<String>,
}

/// The verdict on an action, and its grounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The agent.
    pub agent: String,
    /// The action.
    pub action: String,
    /// What becomes of it.
    pub verdict: String,
    /// Why.
    pub reason: String,
    /// The rule that decided.
    pub rule: Option<Speaker>,
    /// Rules that were asked as well, in their order.
    pub asked: Vec<Speaker>,
    /// The facts that hold.
    pub facts: Vec<String>,
    /// What would change the verdict.
    pub changes: Vec<String>,
}

impl Compiled {
    /// The facts of a word, by name.
    pub fn fact_names(&self, facts: u64) -> Vec<String> {
        let held = self
            .facts
            .iter()
            .enumerate()
            .filter(|(bit, _)| facts >> bit & 1 != 0);
        held.map(|(_, kind)| self.fact_name(kind)).collect()
    }

    fn fact_name(&self, kind: &FactKind) -> String {
        let id = |number: &u32| self.sources.get(*number as usize)?.id.as_deref();
        match kind {
            FactKind::Approved(number) => match id(number) {
                Some(id) => format!("rule {id} approved"),
                None => kind.to_string(),
            },
            _ => kind.to_string(),
        }
    }

    /// The bit of one of the author's facts, or of a step as `step:NAME`.
    pub fn fact_bit(&self, name: &str) -> Option<u64> {
        let wanted = match name.strip_prefix("step:") {
            Some(step) => FactKind::Step(step.to_owned()),
            None => FactKind::Own(name.to_owned()),
        };
        self.facts
            .iter()
            .position(|kind| *kind == wanted)
            .map(|bit| 1 << bit)
    }

    fn speaker(&self, rule: &Rule) -> Option<Speaker> {
        let source = self.sources.get(rule.number as usize)?;
        Some(Speaker {
            file: source.file.to_string(),
            line: source.span.line,
            id: source.id.clone(),
            step: source.step.clone(),
            text: source.text.clone(),
            because: source.because.clone(),
            requires: self.fact_names(rule.require),
            forbids: self.fact_names(rule.forbid),
        })
    }
}

/// Explains what would become of an action of a session as it stands.
pub fn explain(
    compiled: &Compiled,
    trial: &Trial<'_>,
    action: &Action,
    tool: Option<usize>,
    at: Instant,
) -> Explanation {
    let outcome = trial.judge(action, tool, at, 0);
    let decision = outcome.decision;
    let scope = if outcome.by_tool { tool } else { None };
    let (lists, traits) = trial.lists(action, scope);
    let mut asked: Vec<Rule> = Vec::new();
    for list in lists {
        let rules = (0..).map_while(|i| compiled.rule_at(list, i));
        for rule in rules {
            if traits & rule.traits == rule.traits {
                asked.push(rule);
            }
            if rule.flags & Rule::MORE == 0 {
                break;
            }
        }
    }
    let deciding = asked
        .iter()
        .find(|rule| rule.number == decision.number)
        .copied();
    let facts = trial.facts(at);
    Explanation {
        agent: compiled.name.clone(),
        action: action.to_string(),
        verdict: decision.verdict.to_string(),
        reason: decision.reason.to_string(),
        rule: deciding.and_then(|rule| compiled.speaker(&rule)),
        asked: asked
            .iter()
            .filter(|rule| Some(rule.number) != deciding.map(|rule| rule.number))
            .filter_map(|rule| compiled.speaker(rule))
            .collect(),
        facts: compiled.fact_names(facts),
        changes: changes(
            compiled,
            action,
            decision.verdict,
            decision.reason,
            deciding,
            facts,
        ),
    }
}

/// What changes where the daemon was missed.
const LISTENS_THERE: &str =
    "try again: the daemon listens there from now on, if the kernel is Linux 5.14 or later";

fn changes(
    compiled: &Compiled,
    action: &Action,
    verdict: Verdict,
    reason: Reason,
    rule: Option<Rule>,
    facts: u64,
) -> Vec<String> {
    let rule = rule.unwrap_or(Rule::always(Verdict::Deny, u32::MAX));
    let quoted = |names: Vec<String>| {
        names
            .iter()
            .map(|name| format!("\"{name}\""))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let approval = || {
        let fact = rule.approval.saturating_sub(1);
        compiled
            .approvals
            .iter()
            .find(|approval| approval.fact == fact)
    };
    match reason {
        _ if verdict == Verdict::Allow => {
            let mut changes = Vec::new();
            if rule.require != 0 {
                let names = quoted(compiled.fact_names(rule.require));
                changes.push(format!("it is denied unless {names} holds"));
            }
            if rule.forbid != 0 {
                let names = quoted(compiled.fact_names(rule.forbid));
                changes.push(format!("it is denied once {names} holds"));
            }
            changes
        }
        Reason::NoRule => vec![format!(
            "a rule that allows \"{action}\": what no rule names is denied"
        )],
        Reason::Rule => vec![
            "take the object from the rule that denies it, or allow it by a more specific rule"
                .to_owned(),
        ],
        Reason::FactMissing => {
            let names = compiled.fact_names(rule.require & !facts);
            vec![format!("{} must hold first", quoted(names))]
        }
        Reason::FactForbidden => {
            let names = compiled.fact_names(rule.forbid & facts);
            vec![format!("{} must be cleared first", quoted(names))]
        }
        Reason::ApprovalMissing => {
            let by = approval()
                .map(|approval| approval.by.join(" or "))
                .unwrap_or_default();
            vec![format!("{by} must approve it")]
        }
        Reason::Limit => {
            vec!["wait until the rate has room, or raise the limit of the rule".to_owned()]
        }
        Reason::Spent => vec!["raise the budget of the rule, or start a new session".to_owned()],
        Reason::Hours => vec![
            "try again within the rule's hours, or give the rule \"otherwise: approval\""
                .to_owned(),
        ],
        Reason::Writable => {
            vec!["run a copy of the program that the session cannot write".to_owned()]
        }
        Reason::Revoked => vec!["start a new session: this one's permission has ended".to_owned()],
        Reason::Busy => vec!["try again: nothing about the action itself is wrong".to_owned()],
        Reason::Privilege => vec![
            "name it under privileges: without that no session may do it, whoever it runs as"
                .to_owned(),
        ],
        Reason::Protected => {
            vec!["nothing does: no session may reach the enforcer itself".to_owned()]
        }
        Reason::Nameless => vec!["run it from a file that has a name".to_owned()],
        Reason::Nested => vec!["start fewer tools inside one another".to_owned()],
        Reason::ApprovalRefused => vec!["ask again later, or ask whoever said no".to_owned()],
        Reason::ApprovalPending => vec!["try again after the answer".to_owned()],
        Reason::ApprovalLate => vec!["ask again when somebody is there".to_owned()],
        Reason::NoResolver => vec![LISTENS_THERE.to_owned(), "name addresses".to_owned()],
        Reason::Direct => vec![
            "connect by TCP, and anew: only what begins in the session can be relayed".to_owned(),
        ],
        Reason::NoRelay => vec![LISTENS_THERE.to_owned()],
        Reason::Questions => vec!["answer the questions that are open".to_owned()],
        Reason::SessionUnknown | Reason::Family | Reason::Unreadable => Vec::new(),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {} ({})", self.action, self.verdict, self.reason)?;
        match &self.rule {
            Some(rule) => {
                writeln!(f, "  decided by {rule}")?;
                if let Some(because) = rule.because.as_ref().filter(|_| self.verdict != ALLOW) {
                    writeln!(f, "  because: {because}")?;
                }
            }
            None => writeln!(f, "  no rule decided")?,
        }
        for rule in &self.asked {
            writeln!(f, "  also asked {rule}")?;
        }
        let facts = if self.facts.is_empty() {
            "none".to_owned()
        } else {
            self.facts.join(", ")
        };
        write!(f, "  facts that hold: {facts}")?;
        for change in &self.changes {
            write!(f, "\n  what would change it: {change}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Speaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.text)?;
        if let Some(id) = &self.id {
            write!(f, " ({id})")?;
        }
        if !self.requires.is_empty() {
            write!(f, "; requires {}", self.requires.join(", "))?;
        }
        if !self.forbids.is_empty() {
            write!(f, "; forbids {}", self.forbids.join(", "))?;
        }
        Ok(())
    }
}
