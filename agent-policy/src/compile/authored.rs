//! The rules of a policy, numbered: the number is how a compiled rule is found again.

use std::collections::BTreeMap;
use std::fmt;

use crate::policy::{
    Argument, Block, Common, EgressRule, ExecRule, FileRule, NAMED, NOT_WRITABLE, Policy,
};
use crate::text::{Diagnostics, Severity, quoted};

/// Where a rule stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Among those of the agent.
    Agent,
    /// Among the actions of a step, counted from 0 along the chain.
    Step(usize),
    /// It starts a tool, counted from 0.
    ToolStart(usize),
    /// Among those of a tool.
    Tool(usize),
}

/// A rule for one kind of object.
#[derive(Clone, Copy, Debug)]
pub enum AnyRule<'p> {
    /// A connection.
    Egress(&'p EgressRule),
    /// A program.
    Exec(&'p ExecRule),
    /// A file.
    File(&'p FileRule),
}

/// A rule and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Authored<'p> {
    /// The rule.
    pub rule: AnyRule<'p>,
    /// Where it stands.
    pub place: Place,
}

impl<'p> Authored<'p> {
    /// What every rule has.
    pub fn common(&self) -> &'p Common {
        match self.rule {
            AnyRule::Egress(rule) => &rule.common,
            AnyRule::Exec(rule) => &rule.common,
            AnyRule::File(rule) => &rule.common,
        }
    }

    /// What must be so of the action itself, as it is said of the rule.
    pub(crate) fn proviso(&self) -> &'static str {
        match self.rule {
            AnyRule::Egress(rule) if rule.named => NAMED,
            AnyRule::Exec(rule) if rule.not_writable => NOT_WRITABLE,
            _ => "",
        }
    }

    pub(super) fn arguments(&self) -> &'p [Argument] {
        match self.rule {
            AnyRule::Exec(rule) => &rule.arguments,
            _ => &[],
        }
    }
}

/// Finds rules of one name: budgets, approvals and reports speak of a rule by its name. A profile's rule
/// may be there several times, with other variables.
pub(super) fn distinct(authored: &[Authored<'_>]) -> Result<(), Diagnostics> {
    let mut named = BTreeMap::new();
    let mut found = Vec::new();
    for common in authored.iter().map(Authored::common) {
        let Some(id) = common.id.as_deref() else {
            continue;
        };
        let place = (common.source.name(), common.span);
        let first = *named.entry(id).or_insert(place);
        if first != place {
            let message = format!(
                "found a second rule called {}, expected a name of its own: the first is that of {}:{}",
                quoted(id),
                first.0,
                first.1.line
            );
            let source = &common.source;
            found.push(source.diagnostic(Severity::Error, common.span, message));
        }
    }
    match found.is_empty() {
        true => Ok(()),
        false => Err(Diagnostics::new(found)),
    }
}

impl fmt::Display for Authored<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rule {
            AnyRule::Egress(rule) => rule.fmt(f),
            AnyRule::Exec(rule) => rule.fmt(f),
            AnyRule::File(rule) => rule.fmt(f),
        }
    }
}

impl Policy {
    /// Every rule in the order of its number.
    pub fn authored(&self) -> Vec<Authored<'_>> {
        let mut rules = Vec::new();
        of(&self.rules, Place::Agent, &mut rules);
        for (i, (_, step)) in self.chain.steps().enumerate() {
            of(&step.actions, Place::Step(i), &mut rules);
        }
        for (i, tool) in self.tools.iter().enumerate() {
            rules.push(Authored {
                rule: AnyRule::Exec(&tool.start),
                place: Place::ToolStart(i),
            });
            of(&tool.rules, Place::Tool(i), &mut rules);
        }
        rules
    }
}

fn of<'p>(block: &'p Block, place: Place, into: &mut Vec<Authored<'p>>) {
    let all = block
        .egress
        .iter()
        .map(AnyRule::Egress)
        .chain(block.exec.iter().map(AnyRule::Exec))
        .chain(block.files.iter().map(AnyRule::File));
    into.extend(all.map(|rule| Authored { rule, place }));
}
