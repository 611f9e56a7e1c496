//! What any rule can demand besides its object: facts, steps, approval, limits, hours.

use std::sync::Arc;

use crate::text::{Fields, Node, Reader, Source, Span, Value, quoted};

use super::expression;
use super::network::number;

/// A word of a policy and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The word.
    pub text: String,
    /// Its place.
    pub span: Span,
}

/// What a rule does with the actions it speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Effect {
    /// They are denied, and the session's processes killed.
    Kill,
    /// They are denied.
    Deny,
    /// They are allowed.
    Allow,
}

impl Effect {
    /// The word in policies.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Deny => "deny",
            Self::Allow => "allow",
        }
    }
}

/// A person's yes before the action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Who can give it.
    pub by: Vec<String>,
    /// How long it holds, in seconds; without it, to the end of the session.
    pub expires_s: Option<u64>,
    /// Whether it is good for one action only.
    pub once: bool,
    /// What the approver is shown besides the action itself.
    pub show: Vec<String>,
    /// How long the action waits for an answer, in seconds; without it, five minutes.
    pub wait_s: Option<u64>,
    /// How many people must give it.
    pub people: u32,
    /// The expression that answers in their place, where it can.
    pub answer: Option<String>,
    /// Whether the action goes on waiting while the node's controller is away.
    pub waits_alone: bool,
    /// Its place.
    pub span: Span,
}

/// How often, how many, how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKind {
    /// A token bucket: `count` actions in `period_s` seconds, `burst` at once.
    Rate {
        /// Actions.
        count: u64,
        /// Seconds.
        period_s: u64,
        /// Actions at once.
        burst: u64,
    },
    /// So many actions.
    Count(u64),
    /// So many bytes.
    Bytes(u64),
}

/// A limit and what it counts over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What is counted.
    pub kind: LimitKind,
    /// Whether the count begins anew with each step of the rule.
    pub per_step: bool,
    /// Its place.
    pub span: Span,
}

/// Hours and days at which the rule speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hours {
    /// Minute of the day at which they begin.
    pub from: u16,
    /// Minute at which they end; the next day's unless later than `from`.
    pub to: u16,
    /// Days on which they begin; bit 0 is Monday.
    pub days: u8,
    /// The time zone, as the IANA database names it.
    pub zone: String,
    /// Outside the hours an approval is needed, and only then.
    pub otherwise_approval: bool,
    /// Their place.
    pub span: Span,
}

/// Everything a rule demands besides its object.
#[derive(Clone, Debug)]
pub struct Common {
    /// What the rule does.
    pub effect: Effect,
    /// Where it stands.
    pub span: Span,
    /// Its name, where the author gave one.
    pub id: Option<String>,
    /// Facts that must be set.
    pub requires: Vec<Word>,
    /// Facts that must not be set.
    pub forbids: Vec<Word>,
    /// Facts that the action sets.
    pub sets: Vec<Word>,
    /// Facts that the action clears.
    pub clears: Vec<Word>,
    /// Steps during which it holds; at any time where there are none.
    pub during: Vec<Word>,
    /// A person's yes.
    pub approval: Option<Approval>,
    /// Rates and budgets; at most two.
    pub limits: Vec<Limit>,
    /// Hours.
    pub hours: Option<Hours>,
    /// What is said to whoever it denies.
    pub because: Option<String>,
    pub(crate) source: Arc<Source>,
}

/// Fields that every rule can have.
pub(crate) const COMMON: &[&str] = &[
    "id", "requires", "forbids", "sets", "clears", "during", "approval", "limit", "hours",
    "because",
];

/// Characters that the reason of a denial may have.
pub(crate) const MAX_BECAUSE: usize = 300;

/// The fields of a rule: its own, and those that every rule can have.
pub(super) fn known(own: &[&'static str]) -> Vec<&'static str> {
    own.iter().chain(COMMON).copied().collect()
}

pub(super) fn read(
    reader: &mut Reader<'_>,
    source: &Arc<Source>,
    fields: &Fields<'_>,
    effect: Effect,
    span: Span,
) -> Common {
    let mut facts = |key| {
        fields
            .get(key)
            .map(|node| words(reader, node, "a list of facts"))
            .unwrap_or_default()
    };
    let (requires, forbids) = (facts("requires"), facts("forbids"));
    let (sets, clears) = (facts("sets"), facts("clears"));
    let during = fields
        .get("during")
        .map(|node| words(reader, node, "a list of steps"))
        .unwrap_or_default();
    let approval = fields
        .get("approval")
        .and_then(|node| approval(reader, node));
    let limits = fields
        .get("limit")
        .map(|node| limits(reader, node))
        .unwrap_or_default();
    let hours = fields.get("hours").and_then(|node| hours(reader, node));
    if effect != Effect::Allow {
        for key in ["sets", "clears", "approval", "limit"] {
            if let Some(node) = fields.get(key) {
                let found = format!("{key} on a rule that does not allow");
                reader.found(node.span, &found, "it on a rule under allow");
            }
        }
    }
    if let Some(hours) = &hours
        && hours.otherwise_approval
        && approval.is_none()
    {
        reader.found(
            hours.span,
            "otherwise: approval without an approval",
            "the rule to have an approval",
        );
    }
    Common {
        effect,
        span,
        id: fields
            .get("id")
            .and_then(|node| reader.text(node, "the rule's name"))
            .map(str::to_owned),
        requires,
        forbids,
        sets,
        clears,
        during,
        approval,
        limits,
        hours,
        because: because(reader, fields),
        source: source.clone(),
    }
}

/// What an author has to say to whoever is denied: one line, which terminals take without harm.
pub(super) fn because(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<String> {
    let node = fields.get("because")?;
    let expected = "one line of at most 300 characters for whoever is denied";
    let text = reader.text(node, expected)?.trim();
    let length = text.chars().count();
    if length > MAX_BECAUSE {
        reader.found(node.span, &format!("{length} characters"), expected);
        return None;
    }
    if text.contains(char::is_control) {
        reader.found(
            node.span,
            "a text with control characters or several lines",
            expected,
        );
        return None;
    }
    Some(text.to_owned())
}

/// A list of words, or one word alone.
pub(super) fn words(reader: &mut Reader<'_>, node: &Node, expected: &str) -> Vec<Word> {
    let items = match &node.value {
        Value::Scalar { .. } => std::slice::from_ref(node),
        _ => reader.items(node, expected),
    };
    items
        .iter()
        .filter_map(|item| {
            let text = reader.text(item, "a word")?.to_owned();
            Some(Word {
                text,
                span: item.span,
            })
        })
        .collect()
}

pub(crate) fn flag(reader: &mut Reader<'_>, fields: &Fields<'_>, key: &str) -> bool {
    fields
        .get(key)
        .and_then(|node| reader.word(node, &[("true", true), ("false", false)]))
        .unwrap_or(false)
}

const DURATION: &str = "a duration such as 30s, 5m, 2h or 7d";

/// Seconds of a duration.
pub(crate) fn duration(reader: &mut Reader<'_>, node: &Node) -> Option<u64> {
    let text = reader.text(node, DURATION)?;
    let seconds = ["s", "m", "h", "d"]
        .iter()
        .zip([1, 60, 3600, 86_400])
        .find_map(|(unit, scale)| {
            let count = number(text.strip_suffix(unit)?)?;
            (count > 0).then_some(u64::from(count) * scale)
        });
    if seconds.is_none() {
        reader.found(node.span, &quoted(text), DURATION);
    }
    seconds
}

pub(super) fn approval(reader: &mut Reader<'_>, node: &Node) -> Option<Approval> {
    let fields = Fields::of(
        reader,
        node,
        "approval",
        &[
            "answer",
            "by",
            "controllerLost",
            "expires",
            "once",
            "people",
            "show",
            "wait",
        ],
    )?;
    let by = fields.require(reader, "by", "a list of people and groups that can approve")?;
    let by = words(reader, by, "a list of people and groups that can approve");
    let show = fields
        .get("show")
        .map(|node| words(reader, node, "a list of things to show"));
    let people = fields
        .get("people")
        .and_then(|node| people(reader, node))
        .unwrap_or(1);
    let answer = fields
        .get("answer")
        .and_then(|node| answer(reader, node, people));
    Some(Approval {
        by: by.into_iter().map(|word| word.text).collect(),
        expires_s: fields
            .get("expires")
            .and_then(|node| duration(reader, node)),
        once: flag(reader, &fields, "once"),
        show: show
            .unwrap_or_default()
            .into_iter()
            .map(|word| word.text)
            .collect(),
        wait_s: fields.get("wait").and_then(|node| duration(reader, node)),
        people,
        answer,
        waits_alone: fields
            .get("controllerLost")
            .and_then(|node| waits_alone(reader, node))
            .unwrap_or(false),
        span: node.span,
    })
}

const COUNT: &str = "a number from 1 to 1000000000";
const BYTES: &str = "a number of bytes such as 500KB, 20MB or 1GB";
const RATE: &str = "a rate such as 5/s, 10/min, 100/h or 1000/d";

fn people(reader: &mut Reader<'_>, node: &Node) -> Option<u32> {
    const PEOPLE: &str = "a number of people from 1 to 5";
    let text = reader.text(node, PEOPLE)?;
    let found = number(text).filter(|count| (1..=5).contains(count));
    if found.is_none() {
        reader.found(node.span, &quoted(text), PEOPLE);
    }
    found
}

fn answer(reader: &mut Reader<'_>, node: &Node, people: u32) -> Option<String> {
    const EXPRESSION: &str = "an expression in CEL that says true, false or \"ask\"";
    let text = reader.text(node, EXPRESSION)?;
    if people > 1 {
        let found = format!("an answer by itself beside {people} people");
        reader.found(node.span, &found, "one of them: an expression is nobody");
    }
    if let Err(found) = expression::check(text) {
        reader.found(node.span, &found, EXPRESSION);
    }
    Some(text.to_owned())
}

fn waits_alone(reader: &mut Reader<'_>, node: &Node) -> Option<bool> {
    const WHILE_LOST: &str = "`deny` or `wait`";
    let text = reader.text(node, WHILE_LOST)?;
    let found = match text {
        "deny" => Some(false),
        "wait" => Some(true),
        _ => None,
    };
    if found.is_none() {
        reader.found(node.span, &quoted(text), WHILE_LOST);
    }
    found
}

pub(super) fn count(reader: &mut Reader<'_>, node: &Node) -> Option<u64> {
    let text = reader.text(node, COUNT)?;
    let found = number(text).filter(|count| (1..=1_000_000_000).contains(count));
    if found.is_none() {
        reader.found(node.span, &quoted(text), COUNT);
    }
    found.map(u64::from)
}

fn bytes(reader: &mut Reader<'_>, node: &Node) -> Option<u64> {
    let text = reader.text(node, BYTES)?;
    let found = bytes_of(text).filter(|bytes| *bytes > 0);
    if found.is_none() {
        reader.found(node.span, &quoted(text), BYTES);
    }
    found
}

/// A number of bytes as policies write it.
pub fn bytes_of(text: &str) -> Option<u64> {
    ["KB", "MB", "GB", "B"]
        .iter()
        .zip([1_000, 1_000_000, 1_000_000_000, 1])
        .find_map(|(unit, scale)| Some(u64::from(number(text.strip_suffix(unit)?)?) * scale))
}

pub(super) fn rate(reader: &mut Reader<'_>, node: &Node) -> Option<(u64, u64)> {
    let text = reader.text(node, RATE)?;
    let found = text.split_once('/').and_then(|(count, period)| {
        let period = match period {
            "s" => 1,
            "min" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return None,
        };
        let count = number(count).filter(|count| (1..=1_000_000).contains(count))?;
        Some((u64::from(count), period))
    });
    if found.is_none() {
        reader.found(node.span, &quoted(text), RATE);
    }
    found
}

fn limits(reader: &mut Reader<'_>, node: &Node) -> Vec<Limit> {
    let known = [
        "rate",
        "burst",
        "perSession",
        "perStep",
        "bytesPerSession",
        "bytesPerStep",
    ];
    let Some(fields) = Fields::of(reader, node, "limit", &known) else {
        return Vec::new();
    };
    let mut limits = Vec::new();
    let burst = fields
        .get("burst")
        .map(|node| (count(reader, node), node.span));
    if let Some(node) = fields.get("rate") {
        if let Some((count, period_s)) = rate(reader, node) {
            let burst = burst.and_then(|(burst, _)| burst).unwrap_or(count);
            let kind = LimitKind::Rate {
                count,
                period_s,
                burst,
            };
            limits.push(Limit {
                kind,
                per_step: false,
                span: node.span,
            });
        }
    } else if let Some((_, span)) = burst {
        reader.found(span, "burst without rate", "a rate beside it");
    }
    for (key, per_step) in [("perSession", false), ("perStep", true)] {
        if let Some(node) = fields.get(key)
            && let Some(count) = count(reader, node)
        {
            limits.push(Limit {
                kind: LimitKind::Count(count),
                per_step,
                span: node.span,
            });
        }
    }
    for (key, per_step) in [("bytesPerSession", false), ("bytesPerStep", true)] {
        if let Some(node) = fields.get(key)
            && let Some(bytes) = bytes(reader, node)
        {
            limits.push(Limit {
                kind: LimitKind::Bytes(bytes),
                per_step,
                span: node.span,
            });
        }
    }
    if matches!(&node.value, Value::Map(fields) if fields.is_empty()) {
        reader.found(
            node.span,
            "a limit that limits nothing",
            "a rate or a budget",
        );
    } else if limits.len() > 2 {
        let found = format!("{} limits on one rule", limits.len());
        reader.found(node.span, &found, "at most two");
        limits.truncate(2);
    }
    limits
}

const TIME: &str = "a time of day such as \"09:00\", from 00:00 to 24:00";

fn time_of_day(reader: &mut Reader<'_>, node: &Node) -> Option<u16> {
    let text = reader.text(node, TIME)?;
    let digits = |part: &str| {
        let two = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        two.then(|| part.parse::<u16>().ok()).flatten()
    };
    let minute = text
        .split_once(':')
        .and_then(|(hour, minute)| digits(hour).zip(digits(minute)))
        .filter(|(hour, minute)| *minute < 60 && (*hour < 24 || (*hour == 24 && *minute == 0)))
        .map(|(hour, minute)| hour * 60 + minute);
    if minute.is_none() {
        reader.found(node.span, &quoted(text), TIME);
    }
    minute
}

/// The days of the week, Monday first.
pub(crate) const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

fn hours(reader: &mut Reader<'_>, node: &Node) -> Option<Hours> {
    let fields = Fields::of(
        reader,
        node,
        "hours",
        &["from", "to", "days", "zone", "otherwise"],
    )?;
    let from = fields
        .require(reader, "from", TIME)
        .and_then(|node| time_of_day(reader, node));
    let to = fields
        .require(reader, "to", TIME)
        .and_then(|node| time_of_day(reader, node));
    let zone_expected = "a time zone such as UTC or Europe/Berlin";
    let zone = fields.text(reader, "zone", zone_expected);
    let mut days = 0x7f;
    if let Some(list) = fields.get("days") {
        days = 0;
        let table: Vec<(&str, u8)> = DAYS
            .iter()
            .enumerate()
            .map(|(i, day)| (*day, 1 << i))
            .collect();
        for item in reader.items(list, "a list of days") {
            days |= reader.word(item, &table).unwrap_or(0);
        }
    }
    let otherwise = fields
        .get("otherwise")
        .and_then(|node| reader.word(node, &[("approval", true), ("deny", false)]));
    let (zone, span) = zone?;
    if crate::zone::offset_s(zone, 0).is_none() {
        reader.found(span, &quoted(zone), zone_expected);
        return None;
    }
    Some(Hours {
        from: from?,
        to: to?,
        days,
        zone: zone.to_owned(),
        otherwise_approval: otherwise.unwrap_or(false),
        span: node.span,
    })
}
