//! What a policy means, rule by rule and word by word, with no thought for speed.

use std::collections::{BTreeMap, BTreeSet};

use agent_common::decide::{Reason, Verdict};
use agent_common::egress::{Endpoint, UDP};
use agent_common::path::Access;
use agent_common::privilege::Privilege;
use agent_policy::{
    Action, AnyRule, Approval, Authored, Destination, Direction, Effect, FactKind, Host, Hours,
    Instant, LimitKind, Network, OnDeviation, Pattern, Place, Policy, RevokeOn,
};

/// One event of a trace.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Wait(u64),
    Approve(u32),
    Attempt {
        action: Action,
        tool: Option<usize>,
        bytes: u64,
    },
}

/// When something that has been set is clear again.
type Until = Option<u64>;

#[derive(Clone)]
pub(crate) struct Model<'p> {
    policy: &'p Policy,
    rules: Vec<Authored<'p>>,
    facts: BTreeMap<String, Until>,
    performed: BTreeSet<usize>,
    in_time: BTreeMap<usize, u64>,
    approved: BTreeMap<u32, Until>,
    steps_approved: BTreeMap<usize, Until>,
    /// Tokens in nanoseconds and when they were counted, by rule and limit.
    buckets: BTreeMap<(u32, usize), (u64, u64)>,
    used: BTreeMap<(u32, usize), u64>,
    revoked: bool,
}

fn in_force(until: Option<&Until>, now: u64) -> bool {
    until.is_some_and(|until| until.is_none_or(|end| now < end))
}

const S: u64 = 1_000_000_000;

/// How a rule is met on the way from the most specific to the least.
type Level = (u32, u32, u32, u32);

impl<'p> Model<'p> {
    pub(crate) fn start(policy: &'p Policy, at: Instant) -> Self {
        let mut model = Self {
            policy,
            rules: policy.authored(),
            facts: BTreeMap::new(),
            performed: BTreeSet::new(),
            in_time: BTreeMap::new(),
            approved: BTreeMap::new(),
            steps_approved: BTreeMap::new(),
            buckets: BTreeMap::new(),
            used: BTreeMap::new(),
            revoked: false,
        };
        for (k, (stage, step)) in policy.chain.steps().enumerate() {
            if let (Some(seconds), None) = (step.within_s, model.mandatory_before(stage)) {
                model.in_time.insert(k, at.now_ns + seconds * S);
            }
        }
        model
    }

    pub(crate) fn approve(&mut self, number: u32, at: Instant) {
        let until = |approval: &Approval| approval.expires_s.map(|seconds| at.now_ns + seconds * S);
        let rule = &self.rules[number as usize];
        if let Some(approval) = &rule.common().approval {
            self.approved.insert(number, until(approval));
        } else if let Place::Step(i) = rule.place {
            let step = self.policy.chain.steps().nth(i).expect("a step").1;
            if let Some(approval) = &step.approval {
                self.steps_approved.insert(i, until(approval));
            }
        }
    }

    /// The fact word that the state corresponds to.
    pub(crate) fn facts(&self, kinds: &[FactKind], at: Instant) -> u64 {
        let now = at.now_ns;
        let step = |name: &str| self.step(name);
        let holds = |kind: &FactKind| match kind {
            FactKind::Own(name) => in_force(self.facts.get(name), now),
            FactKind::Step(name) => self.performed.contains(&step(name)),
            FactKind::Group(number) => self.passed(number - 1),
            FactKind::InTime(name) => self.in_time.get(&step(name)).is_some_and(|end| now < *end),
            FactKind::Approved(rule) => in_force(self.approved.get(rule), now),
            FactKind::Other(_) => false,
            FactKind::StepApproved(name) => in_force(self.steps_approved.get(&step(name)), now),
        };
        kinds
            .iter()
            .enumerate()
            .fold(0, |word, (bit, kind)| word | u64::from(holds(kind)) << bit)
    }

    fn step(&self, name: &str) -> usize {
        self.policy
            .chain
            .steps()
            .position(|(_, step)| step.name == name)
            .expect("a step")
    }

    fn stage_of(&self, step: usize) -> usize {
        self.policy.chain.steps().nth(step).expect("a step").0
    }

    fn mandatory_before(&self, stage: usize) -> Option<usize> {
        (0..stage)
            .rev()
            .find(|i| !self.policy.chain.stages[*i].is_optional())
    }

    fn passed(&self, stage: usize) -> bool {
        self.performed
            .iter()
            .any(|step| self.stage_of(*step) == stage)
    }

    fn undoes_from(&self, step: usize) -> Option<usize> {
        let step = self.policy.chain.steps().nth(step).expect("a step").1;
        step.resets
            .iter()
            .map(|word| self.stage_of(self.step(&word.text)))
            .min()
    }

    /// The performed steps that performing this one undoes.
    fn undone_by(&self, i: usize) -> BTreeSet<usize> {
        let stage = self.stage_of(i);
        let undone = |k: &usize| {
            let other = self.stage_of(*k);
            let own = self.undoes_from(i).is_some_and(|first| other >= first);
            let last_round =
                other > stage && self.undoes_from(*k).is_some_and(|first| first <= stage);
            *k != i && (own || last_round)
        };
        self.performed.iter().copied().filter(undone).collect()
    }

    pub(crate) fn attempt(
        &mut self,
        action: &Action,
        tool: Option<usize>,
        at: Instant,
        bytes: u64,
    ) -> (Verdict, Reason) {
        let mut after = self.clone();
        // To run what it has written is a program's own, and the tool's alone.
        let tools_alone = tool.filter(|_| *action == Action::Privilege(Privilege::Jit));
        let mut outcome = after.attempt_in(tools_alone, action, at, bytes);
        if let (Some(tool), Verdict::Allow) = (tool, outcome.0) {
            outcome = after.attempt_in(Some(tool), action, at, bytes);
        }
        let (verdict, reason) = outcome;
        if verdict == Verdict::Allow {
            *self = after;
            return outcome;
        }
        let deviates = verdict == Verdict::Deny
            && [
                Reason::Rule,
                Reason::NoRule,
                Reason::FactMissing,
                Reason::FactForbidden,
                Reason::Privilege,
            ]
            .contains(&reason);
        let end = &self.policy.end;
        let failed_by = &self.policy.chain.failed_by;
        let failed = failed_by.iter().any(|word| word.text == "deviation");
        if deviates
            && (end.on_deviation == OnDeviation::Revoke
                || end.revoke_on.contains(&RevokeOn::Deviation)
                || (end.revoke_on.contains(&RevokeOn::Failure) && failed))
        {
            self.revoked = true;
        }
        let spent = verdict == Verdict::Deny && reason == Reason::Spent;
        if spent && end.revoke_on.contains(&RevokeOn::Budget) {
            self.revoked = true;
        }
        if deviates && end.on_deviation == OnDeviation::Kill {
            return (Verdict::Kill, reason);
        }
        outcome
    }

    fn attempt_in(
        &mut self,
        tool: Option<usize>,
        action: &Action,
        at: Instant,
        bytes: u64,
    ) -> (Verdict, Reason) {
        if self.revoked {
            return (Verdict::Deny, Reason::Revoked);
        }
        if let Action::Privilege(privilege) = action {
            let given = match tool {
                Some(tool) => &self.policy.tools[tool].privileges,
                None => &self.policy.privileges,
            };
            return match given.iter().any(|(given, _)| given == privilege) {
                true => (Verdict::Allow, Reason::Rule),
                false => (Verdict::Deny, Reason::Privilege),
            };
        }
        let mut levels: BTreeMap<Level, BTreeSet<u32>> = BTreeMap::new();
        for (number, rule) in self.rules.iter().enumerate() {
            let in_scope = match (tool, rule.place) {
                (None, Place::Tool(_)) => false,
                (None, _) => true,
                (Some(tool), place) => place == Place::Tool(tool),
            };
            if in_scope {
                for level in speaks(rule, action) {
                    levels
                        .entry(level)
                        .or_default()
                        .insert(u32::try_from(number).expect("few"));
                }
            }
        }
        for numbers in levels.into_values() {
            let effect = |number: &u32| self.rules[*number as usize].common().effect;
            for number in numbers
                .iter()
                .filter(|number| effect(number) != Effect::Allow)
            {
                if self.denial_holds(*number, at) {
                    // Killing weighs more than denying.
                    let kills = numbers.iter().any(|other| {
                        effect(other) == Effect::Kill && self.denial_holds(*other, at)
                    });
                    return (
                        if kills { Verdict::Kill } else { Verdict::Deny },
                        Reason::Rule,
                    );
                }
            }
            let mut refusals = Vec::new();
            for number in numbers
                .iter()
                .filter(|number| effect(number) == Effect::Allow)
            {
                for reason in self.refusals(*number, action, at, bytes) {
                    match reason {
                        None => {
                            self.perform(*number, at, bytes);
                            return (Verdict::Allow, Reason::Rule);
                        }
                        Some(reason) => refusals.push(reason),
                    }
                }
            }
            if refusals.contains(&Reason::ApprovalMissing) {
                return (Verdict::Hold, Reason::ApprovalMissing);
            }
            if let Some(first) = refusals.first() {
                return (Verdict::Deny, *first);
            }
        }
        (Verdict::Deny, Reason::NoRule)
    }

    fn has(&self, name: &str, at: Instant) -> bool {
        in_force(self.facts.get(name), at.now_ns)
    }

    fn is_during(&self, name: &str) -> bool {
        let step = self.step(name);
        let last = self.performed.iter().map(|step| self.stage_of(*step)).max();
        self.performed.contains(&step) && last == Some(self.stage_of(step))
    }

    fn denial_holds(&self, number: u32, at: Instant) -> bool {
        let common = self.rules[number as usize].common();
        common.requires.iter().all(|word| self.has(&word.text, at))
            && !common.forbids.iter().any(|word| self.has(&word.text, at))
            && (common.during.is_empty()
                || common.during.iter().any(|word| self.is_during(&word.text)))
            && common.hours.as_ref().is_none_or(|hours| open(hours, at))
    }

    /// Why a rule that allows refuses, once for each step during which it holds; nothing where it
    /// does not refuse.
    fn refusals(
        &self,
        number: u32,
        action: &Action,
        at: Instant,
        bytes: u64,
    ) -> Vec<Option<Reason>> {
        let during = &self.rules[number as usize].common().during;
        if during.is_empty() {
            return vec![self.refusal(number, None, action, at, bytes)];
        }
        during
            .iter()
            .map(|word| self.refusal(number, Some(&word.text), action, at, bytes))
            .collect()
    }

    fn refusal(
        &self,
        number: u32,
        during: Option<&str>,
        action: &Action,
        at: Instant,
        bytes: u64,
    ) -> Option<Reason> {
        let rule = &self.rules[number as usize];
        let common = rule.common();
        if let (AnyRule::Exec(exec), Action::Exec { writable: true, .. }) = (rule.rule, action)
            && exec.not_writable
        {
            return Some(Reason::Writable);
        }
        if let AnyRule::Egress(egress) = rule.rule
            && egress.direction == Direction::Egress
            && (egress.named || self.policy.rules.via.is_some())
            && cannot_be_relayed(action)
        {
            return Some(Reason::Direct);
        }
        let mut missing = !common.requires.iter().all(|word| self.has(&word.text, at));
        let mut forbidden = common.forbids.iter().any(|word| self.has(&word.text, at));
        if let Some(name) = during {
            let step = self.step(name);
            missing |= !self.performed.contains(&step);
            forbidden |= self
                .performed
                .iter()
                .any(|other| self.stage_of(*other) > self.stage_of(step));
        }
        if let Place::Step(i) = rule.place {
            let (stage, step) = self.policy.chain.steps().nth(i).expect("a step");
            missing |= self
                .mandatory_before(stage)
                .is_some_and(|before| !self.passed(before));
            missing |=
                step.within_s.is_some() && self.in_time.get(&i).is_none_or(|end| at.now_ns >= *end);
            forbidden |= !step.repeat && self.performed.contains(&i);
            let undone = self.undone_by(i);
            forbidden |= self
                .performed
                .iter()
                .any(|k| self.stage_of(*k) > stage && !undone.contains(k));
        }
        if missing {
            return Some(Reason::FactMissing);
        }
        if forbidden {
            return Some(Reason::FactForbidden);
        }
        let is_open = common.hours.as_ref().is_none_or(|hours| open(hours, at));
        let excused = common
            .hours
            .as_ref()
            .is_some_and(|hours| hours.otherwise_approval);
        if !is_open && !excused {
            return Some(Reason::Hours);
        }
        for (i, limit) in common.limits.iter().enumerate() {
            let used = match limit.per_step && self.begins_its_step(number) {
                true => 0,
                false => self.used.get(&(number, i)).copied().unwrap_or(0),
            };
            let room = match limit.kind {
                LimitKind::Rate {
                    count,
                    period_s,
                    burst,
                } => {
                    self.tokens(number, i, period_s * S / count, burst, at) >= period_s * S / count
                }
                LimitKind::Count(most) => used < most,
                LimitKind::Bytes(most) => used + bytes.max(1) <= most,
            };
            if !room {
                let is_rate = matches!(limit.kind, LimitKind::Rate { .. });
                return Some(if is_rate {
                    Reason::Limit
                } else {
                    Reason::Spent
                });
            }
        }
        let approval_needed = self.approval_of(number).is_some() && !(excused && is_open);
        if approval_needed && !self.is_approved(number, at) {
            return Some(Reason::ApprovalMissing);
        }
        None
    }

    /// Whether a rule performs a step that has not been performed, and so begins it.
    fn begins_its_step(&self, number: u32) -> bool {
        matches!(self.rules[number as usize].place, Place::Step(i) if !self.performed.contains(&i))
    }

    fn tokens(&self, number: u32, i: usize, interval: u64, burst: u64, at: Instant) -> u64 {
        let full = interval * burst;
        match self.buckets.get(&(number, i)) {
            None => full,
            Some((tokens, counted)) => (tokens + (at.now_ns - counted)).min(full),
        }
    }

    fn approval_of(&self, number: u32) -> Option<&'p Approval> {
        let rule = &self.rules[number as usize];
        let of_step = match rule.place {
            Place::Step(i) => self
                .policy
                .chain
                .steps()
                .nth(i)
                .and_then(|(_, step)| step.approval.as_ref()),
            _ => None,
        };
        rule.common().approval.as_ref().or(of_step)
    }

    fn is_approved(&self, number: u32, at: Instant) -> bool {
        let rule = &self.rules[number as usize];
        match rule.place {
            Place::Step(i) if rule.common().approval.is_none() => {
                in_force(self.steps_approved.get(&i), at.now_ns)
            }
            _ => in_force(self.approved.get(&number), at.now_ns),
        }
    }

    fn perform(&mut self, number: u32, at: Instant, bytes: u64) {
        let rule = self.rules[number as usize];
        let common = rule.common();
        if let Place::Step(i) = rule.place {
            if self.begins_its_step(number) {
                self.begin_budgets(i);
            }
            for k in self.undone_by(i) {
                self.performed.remove(&k);
            }
            self.performed.insert(i);
            let stage = self.stage_of(i);
            for (k, (other, step)) in self.policy.chain.steps().enumerate() {
                let from = self.mandatory_before(other).unwrap_or(0);
                if let Some(seconds) = step.within_s
                    && from <= stage
                    && stage < other
                {
                    self.in_time.insert(k, at.now_ns + seconds * S);
                }
            }
        }
        for (i, limit) in common.limits.iter().enumerate() {
            match limit.kind {
                LimitKind::Rate {
                    count,
                    period_s,
                    burst,
                } => {
                    let interval = period_s * S / count;
                    let tokens = self.tokens(number, i, interval, burst, at) - interval;
                    self.buckets.insert((number, i), (tokens, at.now_ns));
                }
                LimitKind::Count(_) => *self.used.entry((number, i)).or_default() += 1,
                LimitKind::Bytes(_) => *self.used.entry((number, i)).or_default() += bytes,
            }
        }
        if self
            .approval_of(number)
            .is_some_and(|approval| approval.once)
        {
            self.approved.remove(&number);
            if let Place::Step(i) = rule.place
                && common.approval.is_none()
            {
                self.steps_approved.remove(&i);
            }
        }
        for word in &common.clears {
            self.facts.remove(&word.text);
        }
        for word in &common.sets {
            let fact = self
                .policy
                .facts
                .iter()
                .find(|fact| fact.name == word.text)
                .expect("a fact");
            let until = fact.expires_s.map(|seconds| at.now_ns + seconds * S);
            self.facts.insert(word.text.clone(), until);
        }
    }

    /// The budgets that count by a step begin anew.
    fn begin_budgets(&mut self, step: usize) {
        for (number, rule) in self.rules.iter().enumerate() {
            let of_step = rule.place == Place::Step(step)
                || rule
                    .common()
                    .during
                    .iter()
                    .any(|word| self.step(&word.text) == step);
            for (i, limit) in rule.common().limits.iter().enumerate() {
                if of_step && limit.per_step {
                    self.used.remove(&(u32::try_from(number).expect("few"), i));
                }
            }
        }
    }
}

/// Whether hours are open; the drawn policies use UTC.
fn open(hours: &Hours, at: Instant) -> bool {
    const NAMES: u64 = 7;
    let minute = u16::try_from(at.wall_s / 60 % 1440).expect("minutes of a day");
    // 5 January 1970 was a Monday.
    let weekday = (at.wall_s / 86_400 + NAMES - 4) % NAMES;
    let has = |day: u64| hours.days & (1 << day) != 0;
    if hours.from < hours.to {
        has(weekday) && (hours.from..hours.to).contains(&minute)
    } else {
        (has(weekday) && minute >= hours.from) || (has((weekday + 6) % 7) && minute < hours.to)
    }
}

/// The levels at which a rule speaks of an action.
fn speaks(rule: &Authored<'_>, action: &Action) -> Vec<Level> {
    let allow = rule.common().effect == Effect::Allow;
    match (rule.rule, action) {
        (AnyRule::Egress(rule), Action::Connect(endpoint) | Action::Listen(endpoint)) => {
            let direction = match action {
                Action::Connect(_) => Direction::Egress,
                _ => Direction::Listen,
            };
            let protocols = match rule.protocol {
                Some(own) => vec![own.number()],
                None => vec![6, 17],
            };
            if rule.direction != direction || !protocols.contains(&endpoint.protocol) {
                return Vec::new();
            }
            let mut levels = Vec::new();
            for (to, _) in &rule.to {
                for range in &rule.ports {
                    if let Destination::Network(network) = to
                        && lies_in(endpoint, network)
                        && range.contains(endpoint.port)
                    {
                        let wide = 128 - u32::from(network.prefix_len());
                        levels.push((wide, u32::from(range.last - range.first), 0, 0));
                    }
                }
            }
            levels
        }
        (
            AnyRule::Egress(rule),
            Action::File {
                path,
                access: Access::Connect,
            },
        ) => rule
            .to
            .iter()
            .filter_map(|(to, _)| match to {
                Destination::Unix(pattern) => path_level(pattern, path, allow),
                _ => None,
            })
            .collect(),
        (
            AnyRule::Egress(rule),
            Action::Host {
                name,
                port,
                protocol,
            },
        ) => {
            if rule.protocol.is_some_and(|own| own.number() != *protocol) {
                return Vec::new();
            }
            let mut levels = Vec::new();
            for (to, _) in &rule.to {
                for range in &rule.ports {
                    if let Destination::Host(host) = to
                        && range.contains(*port)
                        && let Some(far) = distance(host, &one_form(name))
                    {
                        levels.push((far, u32::from(range.last - range.first), 0, 0));
                    }
                }
            }
            levels
        }
        (AnyRule::Egress(rule), Action::Agent(name)) => {
            let named = rule
                .to
                .iter()
                .any(|(to, _)| *to == Destination::Agent(name.clone()));
            Vec::from_iter(named.then_some((0, 0, 0, 0)))
        }
        (AnyRule::File(rule), Action::File { path, access }) if rule.access.contains(access) => {
            rule.paths
                .iter()
                .filter_map(|(pattern, _)| path_level(pattern, path, allow))
                .collect()
        }
        (
            AnyRule::Exec(rule),
            Action::Exec {
                path,
                digest,
                arguments,
                ..
            },
        ) => {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            if !rule
                .arguments
                .iter()
                .all(|argument| argument.matches(&arguments))
            {
                return Vec::new();
            }
            let bare = u32::from(rule.arguments.is_empty());
            let mut levels: Vec<Level> = rule
                .programs
                .iter()
                .filter_map(|(pattern, _)| path_level(pattern, path, allow))
                .collect();
            if rule.digests.iter().any(|(own, _)| Some(*own) == *digest) {
                levels.push((0, 0, 0, 0));
            }
            levels
                .into_iter()
                .map(|(a, b, _, _)| (a, b, bare, 0))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// Whether an action leaves the host in another way than a relay knows.
fn cannot_be_relayed(action: &Action) -> bool {
    match action {
        Action::Connect(endpoint) => {
            let address = std::net::Ipv6Addr::from(endpoint.address);
            let is_own = match address.to_ipv4_mapped() {
                Some(v4) => v4.is_loopback(),
                None => address.is_loopback(),
            };
            endpoint.protocol == UDP && !is_own
        }
        Action::Host { protocol, .. } => *protocol == UDP,
        _ => false,
    }
}

/// A name in the form in which names are compared, for the names that are drawn.
fn one_form(name: &str) -> String {
    let lower = name.to_lowercase().replace("bücher", "xn--bcher-kva");
    lower.strip_suffix('.').unwrap_or(&lower).to_owned()
}

/// How far a rule's name lies from a name: 0 is the name itself.
fn distance(host: &Host, name: &str) -> Option<u32> {
    if !host.below {
        return (host.name == name).then_some(0);
    }
    let head = name.strip_suffix(&format!(".{}", host.name))?;
    Some(u32::try_from(head.split('.').count()).expect("few"))
}

fn path_level(pattern: &Pattern, path: &str, allow: bool) -> Option<Level> {
    if !pattern.matches(path) {
        return None;
    }
    Some(match (pattern, allow) {
        (Pattern::Exact(_) | Pattern::Abstract(_), _) => (1, 0, 0, 0),
        (Pattern::Name(_), false) => (2, 0, 0, 0),
        (Pattern::Extension(_), false) => (3, 0, 0, 0),
        (Pattern::Under(directory), _) => (
            4,
            100 - u32::try_from(directory.matches('/').count()).expect("few"),
            0,
            0,
        ),
        (Pattern::Name(_), true) => (5, 0, 0, 0),
        (Pattern::Extension(_), true) => (6, 0, 0, 0),
    })
}

/// Loopback, multicast, broadcast, the metadata addresses and IPv4 as a whole are reached only by
/// networks that lie within them.
fn lies_in(endpoint: &Endpoint, network: &Network) -> bool {
    let v4 = endpoint
        .address
        .starts_with(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
    let loopback_v4 = v4 && endpoint.address[12] == 127;
    let loopback_v6 = endpoint.address == std::net::Ipv6Addr::LOCALHOST.octets();
    let [.., a, b, c, d] = endpoint.address;
    let multicast_v4 = v4 && (224..240).contains(&a);
    let multicast_v6 = endpoint.address[0] == 0xff;
    let metadata = "fd00:ec2::254".parse::<std::net::Ipv6Addr>();
    let alone = v4 && [[169, 254, 169, 254], [255; 4]].contains(&[a, b, c, d])
        || endpoint.address == metadata.expect("an address").octets();
    network.contains(&endpoint.address)
        && (!v4 || network.prefix_len() >= 96)
        && (!loopback_v4 || network.prefix_len() >= 104)
        && (!multicast_v4 || network.prefix_len() >= 100)
        && (!multicast_v6 || network.prefix_len() >= 8)
        && (!(loopback_v6 || alone) || network.prefix_len() == 128)
}
