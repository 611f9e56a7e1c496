//! Bits, timers, limits, windows and approvals: what each name of a policy becomes in the kernel.

use std::collections::HashMap;

use agent_common::decide::ARGUMENT_TRAITS;
use agent_common::terms::{LIMITS, Limit, TIMERS, Terms, Timer, WINDOWS, Window};

use crate::policy::{
    Argument, LimitKind, Mode, OnDeviation, Policy, Recognised, RevokeOn, Stage, Step,
    UNKNOWN_HISTORY, Word,
};
use crate::text::{Diagnostics, Severity, Span};

use super::authored::{Authored, Place};
use super::late::Due;
use super::layout::{self, Layout};

const NS: u64 = 1_000_000_000;

/// What a fact stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FactKind {
    /// A fact of the author's own.
    Own(String),
    /// A step has been performed.
    Step(String),
    /// One of the steps of a group, counted from 1, has been performed.
    Group(usize),
    /// The time for a step has not run out.
    InTime(String),
    /// The approval of a rule has been given.
    Approved(u32),
    /// The approval of a step has been given.
    StepApproved(String),
    /// Something of another version of the policy, which this one does not know.
    Other(String),
}

impl FactKind {
    /// The step that it says was performed.
    pub fn step(&self) -> Option<&String> {
        match self {
            Self::Step(name) => Some(name),
            _ => None,
        }
    }
}

impl std::fmt::Display for FactKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Own(name) => f.write_str(name),
            Self::Step(name) => write!(f, "step {name} performed"),
            Self::Group(number) => write!(f, "a step of group {number} performed"),
            Self::InTime(name) => write!(f, "step {name} in time"),
            Self::Approved(rule) => write!(f, "rule {rule} approved"),
            Self::StepApproved(name) => write!(f, "step {name} approved"),
            Self::Other(name) => write!(f, "{name}, of another version"),
        }
    }
}

/// An approval that the daemon can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalInfo {
    /// The bit of its fact.
    pub fact: u8,
    /// Who can give it.
    pub by: Vec<String>,
    /// Seconds that it holds.
    pub expires_s: Option<u64>,
    /// Whether one action uses it up.
    pub once: bool,
    /// What the approver is shown.
    pub show: Vec<String>,
    /// Seconds that the action waits, where the policy says.
    pub wait_s: Option<u64>,
    /// How many people must give it.
    pub people: u32,
    /// The expression, in CEL, that answers in their place where it can.
    pub answer: Option<String>,
    /// Whether the action goes on waiting while the node's controller is away.
    pub waits_alone: bool,
}

/// What a rule has besides facts, as indices and one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extras {
    pub(super) approval: u8,
    pub(super) once: bool,
    pub(super) wait_s: u32,
    pub(super) window: u8,
    pub(super) limits: [u8; 2],
    pub(super) traits: u32,
}

pub(super) struct Plan<'p> {
    policy: &'p Policy,
    steps: Vec<(usize, &'p Step)>,
    pub(super) facts: Vec<FactKind>,
    pub(super) layout: Layout,
    own: HashMap<&'p str, u64>,
    step_bits: Vec<u64>,
    /// For each stage what shows that it has been passed.
    stage_bits: Vec<u64>,
    in_time: Vec<u64>,
    pub(super) terms: Terms,
    pub(super) zones: Vec<String>,
    windows: Vec<(u16, u16, u8, String)>,
    pub(super) approvals: Vec<ApprovalInfo>,
    pub(super) arguments: Vec<Argument>,
    pub(super) extras: Vec<Extras>,
    pub(super) renew: Vec<u16>,
    limits: usize,
    timers: usize,
    pub(super) initial_facts: u64,
}

/// How many seconds an action waits; 0 where the policy does not say.
fn wait(approval: &crate::policy::Approval) -> u32 {
    approval
        .wait_s
        .map_or(0, |wait_s| u32::try_from(wait_s).unwrap_or(u32::MAX))
}

impl<'p> Plan<'p> {
    pub(super) fn new(policy: &'p Policy, authored: &[Authored<'p>]) -> Result<Self, Diagnostics> {
        let steps: Vec<(usize, &Step)> = policy.chain.steps().collect();
        let mut plan = Self {
            policy,
            facts: Vec::new(),
            layout: Layout::default(),
            own: HashMap::new(),
            step_bits: Vec::new(),
            stage_bits: vec![0; policy.chain.stages.len()],
            in_time: vec![0; steps.len()],
            renew: vec![0; steps.len()],
            steps,
            terms: Terms::NONE,
            zones: Vec::new(),
            windows: Vec::new(),
            approvals: Vec::new(),
            arguments: Vec::new(),
            extras: Vec::new(),
            limits: 0,
            timers: 0,
            initial_facts: 0,
        };
        plan.terms.flags = match policy.end.on_deviation {
            OnDeviation::Deny => 0,
            OnDeviation::Kill => Terms::DEVIATION_KILL,
            OnDeviation::Revoke => Terms::DEVIATION_REVOKE,
        };
        // A deviation by which the chain has failed is a failure.
        let fails = policy.end.revoke_on.contains(&RevokeOn::Failure)
            && policy.chain.is_failed_by("deviation");
        if fails || policy.end.revoke_on.contains(&RevokeOn::Deviation) {
            plan.terms.flags |= Terms::DEVIATION_REVOKE;
        }
        if policy.end.revoke_on.contains(&RevokeOn::Budget) {
            plan.terms.flags |= Terms::SPENT_REVOKE;
        }
        if policy.end.revoke_on.contains(&RevokeOn::Completion) {
            plan.terms.flags |= Terms::COMPLETION_REVOKE;
        }
        if policy.mode == Mode::Audit {
            plan.terms.flags |= Terms::AUDIT;
        }
        plan.own_facts()?;
        plan.step_facts()?;
        plan.rule_extras(authored)?;
        plan.terms.completion = plan.completion();
        Ok(plan)
    }

    fn too_many<T>(&self, span: Span, what: &str, most: usize) -> Result<T, Diagnostics> {
        let message =
            format!("found more than {most} {what} in one policy, expected at most {most}");
        let found = self
            .policy
            .source
            .diagnostic(Severity::Error, span, message);
        let help = "facts are shared by the author's own, steps, groups, within and approvals";
        Err(if what == "facts" {
            found.with_help(help)
        } else {
            found
        }
        .into())
    }

    /// `name` is what other versions of the policy call it.
    fn fact(&mut self, kind: FactKind, name: String, span: Span) -> Result<u64, Diagnostics> {
        let bit = self.facts.len();
        if bit >= 64 {
            return self.too_many(span, "facts", 64);
        }
        self.facts.push(kind);
        layout::push(&mut self.layout.facts, name);
        Ok(1 << bit)
    }

    fn timer(&mut self, fact: u64, seconds: u64, span: Span) -> Result<(), Diagnostics> {
        if self.timers >= TIMERS {
            return self.too_many(span, "facts that expire (expires and within)", TIMERS);
        }
        self.terms.timers[self.timers] = Timer {
            lifetime_ns: seconds.saturating_mul(NS),
            fact,
        };
        self.timers += 1;
        let name = self.layout.facts.get(fact.trailing_zeros() as usize);
        self.layout.timers.extend(name.cloned());
        Ok(())
    }

    fn own_facts(&mut self) -> Result<(), Diagnostics> {
        let policy = self.policy;
        for fact in &policy.facts {
            let bit = self.fact(
                FactKind::Own(fact.name.clone()),
                format!("fact {}", fact.name),
                fact.span,
            )?;
            self.own.insert(&fact.name, bit);
            if let Some(seconds) = fact.expires_s {
                self.timer(bit, seconds, fact.span)?;
            }
        }
        let adopts = policy.recognised.iter().any(|way| *way != Recognised::Run);
        let names = |word: &Word| word.text == UNKNOWN_HISTORY;
        let named = policy.commons().any(|common| {
            let words = [&common.requires, &common.forbids, &common.clears];
            words.into_iter().flatten().any(names)
        });
        if adopts || named {
            let kind = FactKind::Own(UNKNOWN_HISTORY.to_owned());
            let name = format!("fact {UNKNOWN_HISTORY}");
            let bit = self.fact(kind, name, policy.name_span)?;
            self.own.insert(UNKNOWN_HISTORY, bit);
        }
        Ok(())
    }

    fn step_facts(&mut self) -> Result<(), Diagnostics> {
        let policy = self.policy;
        for (i, (stage, step)) in self.steps.clone().into_iter().enumerate() {
            let name = format!("step {}", step.name);
            let bit = self.fact(FactKind::Step(step.name.clone()), name, step.span)?;
            self.step_bits.push(bit);
            let alone = policy
                .chain
                .stages
                .get(stage)
                .is_some_and(|stage| stage.steps.len() == 1);
            if alone {
                self.stage_bits[stage] = bit;
            } else if self.stage_bits[stage] == 0 {
                let name = self.group_name(stage);
                self.stage_bits[stage] = self.fact(FactKind::Group(stage + 1), name, step.span)?;
            }
            if let Some(seconds) = step.within_s {
                let name = format!("step {} in time", step.name);
                let bit = self.fact(FactKind::InTime(step.name.clone()), name, step.span)?;
                self.timer(bit, seconds, step.span)?;
                self.in_time[i] = bit;
                if self.before(stage).is_none() {
                    self.initial_facts |= bit;
                }
            }
        }
        Ok(())
    }

    fn rule_extras(&mut self, authored: &[Authored<'p>]) -> Result<(), Diagnostics> {
        let mut step_approvals: HashMap<usize, u8> = HashMap::new();
        for (number, rule) in authored.iter().enumerate() {
            let common = rule.common();
            let mut extras = Extras::default();
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            if let Some(approval) = &common.approval {
                let name = format!("approval of {}", self.rule_name(rule));
                extras.approval = self.approval(FactKind::Approved(number), name, approval)?;
                extras.once = approval.once;
                extras.wait_s = wait(approval);
            } else if let Place::Step(i) = rule.place
                && let Some((_, step)) = self.steps.get(i).copied()
                && let Some(approval) = &step.approval
            {
                extras.once = approval.once;
                extras.wait_s = wait(approval);
                extras.approval = match step_approvals.get(&i) {
                    Some(known) => *known,
                    None => self.approval(
                        FactKind::StepApproved(step.name.clone()),
                        format!("approval of step {}", step.name),
                        approval,
                    )?,
                };
                step_approvals.insert(i, extras.approval);
            }
            for (slot, limit) in extras.limits.iter_mut().zip(&common.limits) {
                if self.limits >= LIMITS {
                    return self.too_many(limit.span, "limits", LIMITS);
                }
                self.terms.limits[self.limits] = compiled_limit(limit.kind);
                let name = format!("{} of {}", limit_name(limit), self.rule_name(rule));
                layout::push(&mut self.layout.limits, name);
                if limit.per_step {
                    for i in self.steps_of(rule) {
                        self.renew[i] |= 1 << self.limits;
                    }
                }
                self.limits += 1;
                *slot = small(self.limits);
            }
            if let Some(hours) = &common.hours {
                let key = (hours.from, hours.to, hours.days, hours.zone.clone());
                let at = match self.windows.iter().position(|known| *known == key) {
                    Some(at) => at,
                    None if self.windows.len() >= WINDOWS => {
                        return self.too_many(hours.span, "different hours", WINDOWS);
                    }
                    None => {
                        self.terms.windows[self.windows.len()] = Window {
                            offset_s: 0,
                            opens: hours.from,
                            closes: hours.to,
                            days: hours.days.into(),
                        };
                        self.zones.push(hours.zone.clone());
                        self.windows.push(key);
                        self.windows.len() - 1
                    }
                };
                extras.window = small(at + 1);
            }
            for argument in rule.arguments() {
                let at = match self.arguments.iter().position(|known| known == argument) {
                    Some(at) => at,
                    None if self.arguments.len() >= ARGUMENT_TRAITS as usize => {
                        return self.too_many(common.span, "different arguments", 31);
                    }
                    None => {
                        self.arguments.push(argument.clone());
                        self.arguments.len() - 1
                    }
                };
                extras.traits |= 1 << at;
            }
            self.extras.push(extras);
        }
        Ok(())
    }

    fn approval(
        &mut self,
        kind: FactKind,
        name: String,
        approval: &crate::policy::Approval,
    ) -> Result<u8, Diagnostics> {
        let bit = self.fact(kind, name, approval.span)?;
        if let Some(seconds) = approval.expires_s {
            self.timer(bit, seconds, approval.span)?;
        }
        let fact = small(bit.trailing_zeros() as usize);
        self.terms.flags |= Terms::APPROVALS;
        self.approvals.push(ApprovalInfo {
            fact,
            by: approval.by.clone(),
            expires_s: approval.expires_s,
            once: approval.once,
            show: approval.show.clone(),
            wait_s: approval.wait_s,
            people: approval.people,
            answer: approval.answer.clone(),
            waits_alone: approval.waits_alone,
        });
        Ok(fact + 1)
    }

    /// What other versions of the policy call a rule: by its id, or else by its words.
    fn rule_name(&self, rule: &Authored<'_>) -> String {
        let place = match rule.place {
            Place::Agent => String::new(),
            Place::Step(i) => match self.steps.get(i) {
                Some((_, step)) => format!(" of step {}", step.name),
                None => String::new(),
            },
            Place::ToolStart(i) | Place::Tool(i) => match self.policy.tools.get(i) {
                Some(tool) => format!(" of tool {}", tool.name),
                None => String::new(),
            },
        };
        match &rule.common().id {
            Some(id) => format!("rule {id}{place}"),
            None => format!("\"{rule}\"{place}"),
        }
    }

    /// What other versions of the policy call a group: it is the same only with the same steps.
    fn group_name(&self, stage: usize) -> String {
        let steps = self.steps.iter().filter(|(of, _)| *of == stage);
        let mut names: Vec<&str> = steps.map(|(_, step)| step.name.as_str()).collect();
        names.sort_unstable();
        format!("a step of {}", names.join(", "))
    }

    /// The steps by which a rule's per-step budget is counted.
    fn steps_of(&self, rule: &Authored<'_>) -> Vec<usize> {
        match rule.place {
            Place::Step(i) => vec![i],
            _ => rule
                .common()
                .during
                .iter()
                .filter_map(|word| self.step(&word.text))
                .collect(),
        }
    }

    pub(super) fn own_bits(&self, words: &[Word]) -> u64 {
        words
            .iter()
            .filter_map(|word| self.own.get(word.text.as_str()))
            .fold(0, |all, bit| all | bit)
    }

    /// The number of a step.
    pub(super) fn step(&self, name: &str) -> Option<usize> {
        self.steps.iter().position(|(_, step)| step.name == name)
    }

    /// The fact of a step, counted from 1.
    pub(super) fn step_fact(&self, i: usize) -> u8 {
        self.step_bits
            .get(i)
            .map_or(0, |bit| small(bit.trailing_zeros() as usize + 1))
    }

    /// The last stage before another that must have been passed.
    fn before(&self, stage: usize) -> Option<usize> {
        let stages = &self.policy.chain.stages;
        (0..stage)
            .rev()
            .find(|i| stages.get(*i).is_some_and(|stage| !stage.is_optional()))
    }

    /// The first stage that a step undoes.
    fn undoes_from(&self, step: usize) -> Option<usize> {
        let (_, step) = self.steps.get(step)?;
        let named = step.resets.iter().filter_map(|word| self.step(&word.text));
        named
            .filter_map(|i| self.steps.get(i))
            .map(|(stage, _)| *stage)
            .min()
    }

    /// Require, forbid, set and clear of an action that performs a step.
    pub(super) fn performing(&self, i: usize) -> [u64; 4] {
        let Some((stage, step)) = self.steps.get(i) else {
            return [0; 4];
        };
        let own = self.step_bits[i];
        let mut require = self.in_time[i];
        if let Some(before) = self.before(*stage) {
            require |= self.stage_bits[before];
        }
        let mut forbid = if step.repeat { 0 } else { own };
        let mut set = own | self.stage_bits[*stage];
        let mut clear = 0;
        let undoes_from = self.undoes_from(i);
        for (k, (other, _)) in self.steps.iter().enumerate() {
            if k == i {
                continue;
            }
            let undone = undoes_from.is_some_and(|first| *other >= first);
            // A later step that leads back to this stage or before it is the last round's.
            let last_round =
                other > stage && self.undoes_from(k).is_some_and(|first| first <= *stage);
            if undone || last_round {
                clear |= self.step_bits[k] | self.stage_bits[*other];
            } else if other > stage {
                forbid |= self.step_bits[k];
            }
        }
        for (k, (other, _)) in self.steps.iter().enumerate() {
            let from = self.before(*other).unwrap_or(0);
            if self.in_time[k] != 0 && (from..*other).contains(stage) {
                set |= self.in_time[k];
            }
        }
        [require, forbid, set, clear]
    }

    /// Require and forbid of an action that belongs to a step which has begun and not been left.
    pub(super) fn during(&self, i: usize) -> [u64; 2] {
        let Some((stage, _)) = self.steps.get(i) else {
            return [0; 2];
        };
        let later = self
            .steps
            .iter()
            .zip(&self.step_bits)
            .filter(|((other, _), _)| other > stage);
        [self.step_bits[i], later.fold(0, |all, (_, bit)| all | bit)]
    }

    /// The steps that must come in time. Of several of which any will do, all must, and the one that may come last counts.
    pub(super) fn due(&self) -> Vec<Due> {
        let stages = self.policy.chain.stages.iter().enumerate();
        let required = stages.filter(|(_, stage)| !stage.is_optional());
        let last = |(at, stage): (usize, &Stage)| {
            let times = stage.steps.iter().map(|step| Some((step.within_s?, step)));
            let times = times.collect::<Option<Vec<_>>>()?;
            let (_, step) = times.into_iter().max_by_key(|(seconds, _)| *seconds)?;
            Some(Due {
                in_time: *self.in_time.get(self.step(&step.name)?)?,
                after: self.before(at).map_or(0, |before| self.stage_bits[before]),
                done: self.stage_bits[at],
            })
        };
        required.filter_map(last).collect()
    }

    /// The fact that completes the chain; none for a policy without one.
    fn completion(&self) -> u64 {
        let stages = &self.policy.chain.stages;
        match &self.policy.chain.completed_by {
            Some(word) => self.step(&word.text).map_or(0, |i| self.step_bits[i]),
            None => self
                .before(stages.len())
                .map_or(0, |stage| self.stage_bits[stage]),
        }
    }
}

/// What other versions of the policy call a limit of a rule. What was used of one kind is no measure
/// of another.
fn limit_name(limit: &crate::policy::Limit) -> String {
    let kind = match limit.kind {
        LimitKind::Rate { .. } => "rate",
        LimitKind::Count(_) => layout::COUNT,
        LimitKind::Bytes(_) => layout::BYTES,
    };
    let each = if limit.per_step { " each step" } else { "" };
    format!("{kind}{each}")
}

fn compiled_limit(kind: LimitKind) -> Limit {
    let (kind, amount, burst_ns) = match kind {
        LimitKind::Rate {
            count,
            period_s,
            burst,
        } => {
            let interval = period_s.saturating_mul(NS) / count.max(1);
            (
                Limit::RATE,
                interval,
                interval.saturating_mul(burst.saturating_sub(1)),
            )
        }
        LimitKind::Count(count) => (Limit::COUNT, count, 0),
        LimitKind::Bytes(bytes) => (Limit::BYTES, bytes, 0),
    };
    Limit {
        amount,
        burst_ns,
        kind,
        reserved: 0,
    }
}

/// Indices of tables that have at most 64 entries.
fn small(index: usize) -> u8 {
    u8::try_from(index).unwrap_or(u8::MAX)
}
