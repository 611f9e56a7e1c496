//! Lists of rules for one object, the most specific first, each stored once.

use std::collections::HashMap;

use agent_common::decide::{
    MAX_ALTERNATIVES, NO_LIST, Rule, TRAIT_DIRECT, TRAIT_WRITABLE, Verdict,
};

use crate::policy::{Direction, Effect, Policy};
use crate::text::{Diagnostics, Severity};

use super::authored::{AnyRule, Authored, Place};
use super::plan::Plan;

/// The compiled forms of every author's rule, and the lists made of them.
pub(super) struct Lists<'p> {
    policy: &'p Policy,
    authored: &'p [Authored<'p>],
    compiled: Vec<Vec<Rule>>,
    by_numbers: HashMap<Vec<Vec<u32>>, u32>,
    by_rules: HashMap<Vec<Rule>, u32>,
    pub(super) table: Vec<Rule>,
}

impl<'p> Lists<'p> {
    pub(super) fn new(policy: &'p Policy, authored: &'p [Authored<'p>], plan: &Plan<'_>) -> Self {
        Self {
            policy,
            authored,
            compiled: (0..authored.len())
                .map(|number| alternatives(policy, authored, plan, number))
                .collect(),
            by_numbers: HashMap::new(),
            by_rules: HashMap::new(),
            table: Vec::new(),
        }
    }

    fn forms(&self, number: u32) -> &[Rule] {
        self.compiled
            .get(number as usize)
            .map_or(&[], Vec::as_slice)
    }

    pub(super) fn effect(&self, number: u32) -> Effect {
        self.authored
            .get(number as usize)
            .map_or(Effect::Deny, |rule| rule.common().effect)
    }

    /// Whether a rule denies under all conditions.
    pub(super) fn always_denies(&self, number: u32) -> bool {
        self.forms(number).iter().any(always_denies)
    }

    /// Whether a rule that allows speaks of its object whatever the arguments.
    pub(super) fn claims(&self, number: u32) -> bool {
        self.forms(number)
            .iter()
            .any(|rule| is_allow(rule) && rule.traits == 0)
    }

    /// The list for levels of rules, the most specific level first.
    pub(super) fn intern(&mut self, levels: &[Vec<u32>]) -> Result<u32, Diagnostics> {
        if let Some(known) = self.by_numbers.get(levels) {
            return Ok(*known);
        }
        let rules = self.flatten(levels);
        if rules.len() > MAX_ALTERNATIVES as usize {
            let number = rules.last().map_or(0, |rule| rule.number);
            let message = format!(
                "found {} rules for one object, expected at most {MAX_ALTERNATIVES}",
                rules.len()
            );
            let common = self.authored.get(number as usize).map(Authored::common);
            let (source, span) = common
                .map_or((&self.policy.source, self.policy.name_span), |common| {
                    (&common.source, common.span)
                });
            return Err(source
                .diagnostic(Severity::Error, span, message)
                .with_help(
                    "give fewer conditional rules for the same object; during: [a, b] counts twice",
                )
                .into());
        }
        let start = match self.by_rules.get(&rules) {
            _ if rules.is_empty() => NO_LIST,
            Some(known) => *known,
            None => {
                let start = u32::try_from(self.table.len()).unwrap_or(u32::MAX);
                self.table.extend(&rules);
                self.policy
                    .bound("rules", self.table.len(), super::MAX_RULES)?;
                self.by_rules.insert(rules, start);
                start
            }
        };
        self.by_numbers.insert(levels.to_vec(), start);
        Ok(start)
    }

    fn flatten(&self, levels: &[Vec<u32>]) -> Vec<Rule> {
        let mut list: Vec<Rule> = Vec::new();
        for level in levels {
            let mut numbers = level.clone();
            numbers.sort_by_key(|number| (self.effect(*number), *number));
            numbers.dedup();
            let rules = || numbers.iter().flat_map(|number| self.forms(*number));
            // A rule with arguments is more specific than one without.
            for with_arguments in [true, false] {
                let before = list.len();
                for rule in rules().filter(|rule| (rule.traits != 0) == with_arguments) {
                    list.push(*rule);
                    if always_denies(rule) || always_allows(rule) {
                        break;
                    }
                }
                let Some(added) = list.get(before..).filter(|added| !added.is_empty()) else {
                    continue;
                };
                let ends = added
                    .iter()
                    .any(|rule| always_denies(rule) || (is_allow(rule) && rule.traits == 0));
                if let Some(last) = list.last_mut() {
                    last.flags |= Rule::LEVEL_END;
                }
                if ends {
                    return chained(list);
                }
            }
        }
        chained(list)
    }
}

fn chained(mut list: Vec<Rule>) -> Vec<Rule> {
    let length = list.len();
    for rule in list.iter_mut().take(length.saturating_sub(1)) {
        rule.flags |= Rule::MORE;
    }
    list
}

fn is_allow(rule: &Rule) -> bool {
    rule.verdict == Verdict::Allow.wire()
}

fn unconditional(rule: &Rule) -> bool {
    rule.require == 0 && rule.forbid == 0 && rule.traits == 0 && rule.window == 0
}

fn always_denies(rule: &Rule) -> bool {
    !is_allow(rule) && unconditional(rule)
}

fn always_allows(rule: &Rule) -> bool {
    is_allow(rule)
        && unconditional(rule)
        && rule.refuse == 0
        && rule.approval == 0
        && rule.limits == [0; 2]
}

/// The compiled forms of a rule: one, or one for each step during which it holds.
fn alternatives(
    policy: &Policy,
    authored: &[Authored<'_>],
    plan: &Plan<'_>,
    index: usize,
) -> Vec<Rule> {
    let (Some(rule), Some(extras)) = (authored.get(index), plan.extras.get(index)) else {
        return Vec::new();
    };
    let common = rule.common();
    let verdict = match common.effect {
        Effect::Allow => Verdict::Allow,
        Effect::Deny => Verdict::Deny,
        Effect::Kill => Verdict::Kill,
    };
    let mut base = Rule::always(verdict, u32::try_from(index).unwrap_or(u32::MAX));
    base.require = plan.own_bits(&common.requires);
    base.forbid = plan.own_bits(&common.forbids);
    base.set = plan.own_bits(&common.sets);
    base.clear = plan.own_bits(&common.clears);
    base.approval = extras.approval;
    base.wait_s = extras.wait_s;
    base.window = extras.window;
    base.limits = extras.limits;
    base.traits = extras.traits;
    if extras.once && extras.approval != 0 {
        base.clear |= 1 << (extras.approval - 1);
    }
    if common
        .hours
        .as_ref()
        .is_some_and(|hours| hours.otherwise_approval)
    {
        base.flags |= Rule::HOURS_OR_APPROVAL;
    }
    if let AnyRule::Exec(exec) = rule.rule
        && exec.not_writable
    {
        base.refuse = TRAIT_WRITABLE;
    }
    if let AnyRule::Egress(egress) = rule.rule
        && egress.direction == Direction::Egress
        && common.effect == Effect::Allow
    {
        if egress.named {
            base.flags |= Rule::NAMED;
        }
        if policy.rules.via.is_some() {
            base.flags |= Rule::GATEWAY;
        }
        if base.flags & Rule::RELAYED != 0 {
            base.refuse = TRAIT_DIRECT;
        }
    }
    match rule.place {
        Place::Step(i) => {
            let [require, forbid, set, clear] = plan.performing(i);
            base.require |= require;
            base.forbid |= forbid;
            base.set |= set;
            base.clear |= clear;
            base.step = plan.step_fact(i);
            base.renew = plan.renew.get(i).copied().unwrap_or(0);
        }
        Place::ToolStart(i) => base.tool = u8::try_from(i + 1).unwrap_or(u8::MAX),
        Place::Agent | Place::Tool(_) => {}
    }
    base.timers = plan.terms.timers_of(base.set);
    if common.during.is_empty() {
        return vec![base];
    }
    let steps = common
        .during
        .iter()
        .filter_map(|word| plan.step(&word.text));
    steps
        .map(|i| {
            let [require, forbid] = plan.during(i);
            Rule {
                require: base.require | require,
                forbid: base.forbid | forbid,
                ..base
            }
        })
        .collect()
}
