//! Where the names of a policy lie in what a session remembers, and how another version of the policy
//! is made to find them there.
//!
//! A session is moved from one version to the next while its processes act. So nothing that it
//! remembers may have to be rewritten then: facts, timers and limits, and the tools that its
//! processes are inside, keep their places, and the new version is laid out to fit.

use agent_common::decide::Rule;
use agent_common::terms::{LIMITS, Limit, TIMERS, Terms, Timer};
use serde::{Deserialize, Serialize};

use super::plan::FactKind;
use super::tables::{Objects, ToolTables};
use super::{Compiled, MAX_TOOLS};

const FACTS: usize = 64;

/// What a limit is called that counts actions, and one that counts bytes.
pub(super) const COUNT: &str = "count";
pub(super) const BYTES: &str = "bytes";

/// Names by their places. A name says what is carried from one version of a policy to another: a fact
/// or step of that name; a limit or approval of the rule with that id, or of one with the same words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// Facts, by their bits.
    pub facts: Vec<String>,
    /// Facts that expire, by their timers.
    pub timers: Vec<String>,
    /// Limits.
    pub limits: Vec<String>,
    /// Tools, counted from 0.
    pub tools: Vec<String>,
}

impl Layout {
    /// Places for what is here and what another layout has besides; nothing where there is no room.
    pub fn with(&self, other: &Self) -> Option<Self> {
        Some(Self {
            facts: joined(&self.facts, &other.facts, FACTS)?,
            timers: joined(&self.timers, &other.timers, TIMERS)?,
            limits: joined(&self.limits, &other.limits, LIMITS)?,
            tools: joined(&self.tools, &other.tools, MAX_TOOLS)?,
        })
    }
}

fn joined(known: &[String], more: &[String], most: usize) -> Option<Vec<String>> {
    let mut joined = known.to_vec();
    joined.extend(more.iter().filter(|name| !known.contains(name)).cloned());
    (joined.len() <= most).then_some(joined)
}

/// Adds a name, another one than those that are there.
pub(super) fn push(names: &mut Vec<String>, mut name: String) {
    while names.contains(&name) {
        name.push('\'');
    }
    names.push(name);
}

/// Where each place of one list is in another.
struct Places(Vec<usize>);

impl Places {
    fn of(names: &[String], wanted: &[String]) -> Option<Self> {
        let place = |name| wanted.iter().position(|other| other == name);
        names.iter().map(place).collect::<Option<_>>().map(Self)
    }

    fn mask(&self, bits: u64) -> u64 {
        let set = (0..).zip(&self.0).filter(|(bit, _)| bits >> bit & 1 != 0);
        set.fold(0, |all, (_, to): (u32, _)| all | 1 << to)
    }

    fn small(&self, bits: u16) -> u16 {
        u16::try_from(self.mask(bits.into())).expect("as many limits as bits")
    }

    /// What is counted from 1, with 0 for none.
    fn number(&self, number: u8) -> u8 {
        let place = usize::from(number)
            .checked_sub(1)
            .and_then(|at| self.0.get(at));
        place.map_or(0, |place| {
            u8::try_from(place + 1).expect("at most 64 places")
        })
    }
}

impl Compiled {
    /// The budget of a kind that the rule with this id gives to each session, and its place; nothing where it
    /// gives none.
    pub fn budget(&self, rule: &str, kind: u32) -> Option<(usize, u64)> {
        let word = if kind == Limit::BYTES { BYTES } else { COUNT };
        let name = format!("{word} of rule {rule}");
        let is_named = |limit: &String| {
            let rest = limit.strip_prefix(&name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(" of "))
        };
        let at = self.layout.limits.iter().position(is_named)?;
        let limit = self.terms.limits.get(at)?;
        (limit.kind == kind).then_some((at, limit.amount))
    }

    /// The same policy with its names in other places; nothing where the layout lacks one of them.
    ///
    /// A fact that has a timer in the layout and none in this policy keeps the timer, and is set
    /// forever when this policy sets it: what it was given before ends when it was to end.
    pub fn laid_out(&self, layout: &Layout) -> Option<Self> {
        let facts = Places::of(&self.layout.facts, &layout.facts)?;
        let limits = Places::of(&self.layout.limits, &layout.limits)?;
        let timers = Places::of(&self.layout.timers, &layout.timers)?;
        let tools = Places::of(&self.layout.tools, &layout.tools)?;
        let mut compiled = self.clone();
        for rule in &mut compiled.rules {
            place_rule(rule, &facts, &limits, &tools);
        }
        compiled.facts = layout
            .facts
            .iter()
            .map(|name| FactKind::Other(name.clone()))
            .collect();
        for (kind, at) in self.facts.iter().zip(&facts.0) {
            compiled.facts[*at] = kind.clone();
        }
        compiled.initial_facts = facts.mask(self.initial_facts);
        for due in &mut compiled.due {
            due.in_time = facts.mask(due.in_time);
            due.after = facts.mask(due.after);
            due.done = facts.mask(due.done);
        }
        for approval in &mut compiled.approvals {
            approval.fact = facts.number(approval.fact + 1) - 1;
        }
        compiled.tools = layout.tools.iter().map(|name| empty_tool(name)).collect();
        for (tool, at) in self.tools.iter().zip(&tools.0) {
            compiled.tools[*at] = tool.clone();
        }
        compiled.terms = Terms {
            timers: [Timer::default(); TIMERS],
            limits: [Limit::default(); LIMITS],
            completion: facts.mask(self.terms.completion),
            ..self.terms
        };
        for (timer, name) in compiled.terms.timers.iter_mut().zip(&layout.timers) {
            let bit = self.layout.facts.iter().position(|fact| fact == name);
            *timer = Timer {
                lifetime_ns: u64::MAX,
                fact: bit.map_or(0, |bit| 1 << facts.0[bit]),
            };
        }
        for (timer, at) in self.terms.timers.iter().zip(&timers.0) {
            compiled.terms.timers[*at].lifetime_ns = timer.lifetime_ns;
        }
        for (limit, at) in self.terms.limits.iter().zip(&limits.0) {
            compiled.terms.limits[*at] = *limit;
        }
        for rule in &mut compiled.rules {
            rule.timers = compiled.terms.timers_of(rule.set);
        }
        compiled.layout = layout.clone();
        Some(compiled)
    }
}

fn place_rule(rule: &mut Rule, facts: &Places, limits: &Places, tools: &Places) {
    for mask in [
        &mut rule.require,
        &mut rule.forbid,
        &mut rule.set,
        &mut rule.clear,
    ] {
        *mask = facts.mask(*mask);
    }
    rule.approval = facts.number(rule.approval);
    rule.step = facts.number(rule.step);
    rule.renew = limits.small(rule.renew);
    rule.limits = rule.limits.map(|limit| limits.number(limit));
    rule.tool = tools.number(rule.tool);
}

/// The place of a tool that this policy does not have: who is inside one may do nothing.
fn empty_tool(name: &str) -> ToolTables {
    ToolTables {
        name: name.to_owned(),
        networks: Vec::new(),
        objects: Objects::default(),
    }
}
