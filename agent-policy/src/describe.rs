//! A whole policy as plain sentences.

use agent_common::privilege::Privilege;
use serde::Serialize;

use crate::compile::{Authored, Place};
use crate::policy::{
    Common, Effect, Grant, Hours, Limit, LimitKind, MinEnforcement, Mode, OnChange, OnDeviation,
    Policy, RevokeOn, Step, Word,
};
use crate::text::Span;

/// Sentences under a heading.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Paragraph {
    /// What the sentences are about.
    pub heading: String,
    /// The sentences.
    pub sentences: Vec<String>,
}

/// A policy in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Description {
    /// The agent.
    pub agent: String,
    /// The paragraphs, the most important first.
    pub paragraphs: Vec<Paragraph>,
}

/// Says in words what a policy means.
pub fn describe(policy: &Policy) -> Description {
    let authored = policy.authored();
    let mut paragraphs = vec![Paragraph {
        heading: "Who".to_owned(),
        sentences: who(policy),
    }];
    let mut at_any_time = sentences(&authored, |place| place == Place::Agent);
    at_any_time.extend(privileges(&policy.privileges));
    let heading = if policy.chain.stages.is_empty() {
        "What it may do"
    } else {
        "At any time"
    };
    paragraphs.push(Paragraph {
        heading: heading.to_owned(),
        sentences: match at_any_time.is_empty() {
            true => vec!["Nothing: what no rule names is denied.".to_owned()],
            false => at_any_time,
        },
    });
    for (i, (stage, step)) in policy.chain.steps().enumerate() {
        let mut all = vec![order(policy, stage, step)];
        all.extend(sentences(&authored, |place| place == Place::Step(i)));
        paragraphs.push(Paragraph {
            heading: format!("Step {} \"{}\"", stage + 1, step.name),
            sentences: all,
        });
    }
    for (i, tool) in policy.tools.iter().enumerate() {
        let mut all = vec![format!(
            "{} answers for it ({}).",
            tool.owner.name, tool.owner.contact
        )];
        all.extend(sentences(&authored, |place| place == Place::ToolStart(i)));
        all.push("Inside it, only what the agent may do and what follows:".to_owned());
        all.extend(sentences(&authored, |place| place == Place::Tool(i)));
        all.extend(privileges(&tool.privileges));
        paragraphs.push(Paragraph {
            heading: format!("Tool \"{}\"", tool.name),
            sentences: all,
        });
    }
    paragraphs.push(Paragraph {
        heading: "How it ends".to_owned(),
        sentences: end(policy),
    });
    Description {
        agent: policy.name.clone(),
        paragraphs,
    }
}

fn who(policy: &Policy) -> Vec<String> {
    let mut all = vec![format!(
        "Agent \"{}\" is answered for by {} ({}).",
        policy.name, policy.owner.name, policy.owner.contact
    )];
    all.extend(
        policy
            .purpose
            .as_ref()
            .map(|purpose| format!("Its purpose: {purpose}")),
    );
    if let Some(spiffe) = &policy.identity.spiffe {
        all.push(format!("Its identity is {spiffe}."));
    }
    if !policy.identity.models.is_empty() {
        all.push(format!("It uses {}.", policy.identity.models.join(", ")));
    }
    for fact in &policy.facts {
        let meaning = fact.meaning.as_deref().unwrap_or("a fact of its author's");
        let expires = fact
            .expires_s
            .map(|s| format!(" It expires after {}.", duration(s)));
        all.push(format!(
            "\"{}\" means: {meaning}.{}",
            fact.name,
            expires.unwrap_or_default()
        ));
    }
    all
}

pub(crate) fn order(policy: &Policy, stage: usize, step: &Step) -> String {
    let names = |stage: usize| {
        let steps = policy
            .chain
            .stages
            .get(stage)
            .map_or(&[][..], |stage| &stage.steps);
        let names: Vec<String> = steps
            .iter()
            .map(|step| format!("\"{}\"", step.name))
            .collect();
        names.join(" or ")
    };
    let optional = |i: &usize| {
        policy
            .chain
            .stages
            .get(*i)
            .is_some_and(crate::policy::Stage::is_optional)
    };
    let mut text = match (0..stage).rev().find(|i| !optional(i)) {
        Some(before) => format!("It comes after {}", names(before)),
        None => "It may come first".to_owned(),
    };
    if let Some(seconds) = step.within_s {
        text += &format!(", at most {} later", duration(seconds));
    }
    text += if step.repeat {
        ", and may be repeated"
    } else {
        ", and only once"
    };
    if step.optional {
        text += "; the chain may go on without it";
    }
    if !step.resets.is_empty() {
        text += &format!("; it undoes {} and what followed", words(&step.resets));
    }
    if let Some(approval) = &step.approval {
        text += &format!("; {} must approve it", approval.by.join(" or "));
    }
    if let Some(because) = &step.because {
        text += &format!("; to whoever is denied it says \"{because}\"");
    }
    text + "."
}

fn sentences(authored: &[Authored<'_>], at: impl Fn(Place) -> bool) -> Vec<String> {
    let mut own: Vec<&Authored<'_>> = authored.iter().filter(|rule| at(rule.place)).collect();
    own.sort_by_key(|rule| (rule.common().effect, rule.common().span));
    own.into_iter().map(sentence).collect()
}

fn privileges(given: &[(Privilege, Span)]) -> impl Iterator<Item = String> {
    given.iter().map(|(privilege, span)| {
        format!(
            "It may {} (privilege {privilege}). (line {})",
            privilege.meaning(),
            span.line
        )
    })
}

fn sentence(rule: &Authored<'_>) -> String {
    let text = rule.to_string();
    let (verb, object) = text.split_once(' ').unwrap_or((&text, ""));
    let verb = match verb {
        "allow" => "It may do",
        "deny" => "It may never do",
        _ => "It is killed if it tries",
    };
    let common = rule.common();
    let verb = if common.effect == Effect::Deny && conditional(common) {
        "It may not do"
    } else {
        verb
    };
    let because = common.because.as_ref();
    format!(
        "{verb}: {object}{}. (line {}){}",
        conditions(common),
        common.span.line,
        because.map_or_else(String::new, |text| format!(
            " To whoever is denied it says \"{text}\""
        ))
    )
}

fn conditional(common: &Common) -> bool {
    !common.requires.is_empty()
        || !common.forbids.is_empty()
        || !common.during.is_empty()
        || common.hours.is_some()
}

pub(crate) fn conditions(common: &Common) -> String {
    let mut text = String::new();
    if !common.during.is_empty() {
        text += &format!(", during {}", words(&common.during));
    }
    if !common.requires.is_empty() {
        text += &format!(", if {} holds", words(&common.requires));
    }
    if !common.forbids.is_empty() {
        text += &format!(", unless {} holds", words(&common.forbids));
    }
    if let Some(hours) = &common.hours {
        text += &format!(", {}", hours_in_words(hours));
    }
    if let Some(approval) = &common.approval {
        let by = approval.by.join(" or ");
        let outside = common
            .hours
            .as_ref()
            .is_some_and(|hours| hours.otherwise_approval);
        text += if outside {
            ", and outside those hours "
        } else {
            ", "
        };
        text += &match approval.people {
            1 => format!("once {by} has approved it"),
            people => format!("once {people} people of {by} have approved it"),
        };
        if approval.once {
            text += " (good for one time)";
        }
        if let Some(seconds) = approval.expires_s {
            text += &format!(" (good for {})", duration(seconds));
        }
        if approval.waits_alone {
            text += " (also while the controller is away)";
        }
    }
    for limit in &common.limits {
        text += &format!(", {}", limit_in_words(limit));
    }
    if !common.sets.is_empty() {
        text += &format!("; then {} holds", words(&common.sets));
    }
    if !common.clears.is_empty() {
        text += &format!("; then {} no longer holds", words(&common.clears));
    }
    text
}

fn words(words: &[Word]) -> String {
    words
        .iter()
        .map(|word| format!("\"{}\"", word.text))
        .collect::<Vec<_>>()
        .join(" and ")
}

/// Seconds in the largest unit that fits.
pub(crate) fn duration(seconds: u64) -> String {
    for (scale, unit) in [(86_400, "days"), (3600, "hours"), (60, "minutes")] {
        if seconds >= scale && seconds.is_multiple_of(scale) {
            let count = seconds / scale;
            return if count == 1 {
                format!("1 {}", unit.trim_end_matches('s'))
            } else {
                format!("{count} {unit}")
            };
        }
    }
    format!("{seconds} seconds")
}

fn hours_in_words(hours: &Hours) -> String {
    let names = [
        "Monday",
        "Tuesday",
        "Wednesday",
        "Thursday",
        "Friday",
        "Saturday",
        "Sunday",
    ];
    let days: Vec<&str> = names
        .iter()
        .enumerate()
        .filter(|(i, _)| hours.days >> i & 1 != 0)
        .map(|(_, name)| *name)
        .collect();
    let on = match days.len() {
        7 => "every day".to_owned(),
        _ => format!("on {}", days.join(", ")),
    };
    let time = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
    format!(
        "{on} from {} to {} {}",
        time(hours.from),
        time(hours.to),
        hours.zone
    )
}

fn limit_in_words(limit: &Limit) -> String {
    let per = if limit.per_step { "step" } else { "session" };
    match limit.kind {
        LimitKind::Rate {
            count,
            period_s,
            burst,
        } => {
            format!(
                "at most {count} times in {} and {burst} at once",
                duration(period_s)
            )
        }
        LimitKind::Count(count) => format!("at most {count} times in a {per}"),
        LimitKind::Bytes(bytes) => format!("at most {bytes} bytes in a {per}"),
    }
}

fn end(policy: &Policy) -> Vec<String> {
    let mut all = Vec::new();
    if let Some(seconds) = policy.end.ttl_s {
        all.push(format!(
            "Its permission lasts {} at most.",
            duration(seconds)
        ));
    }
    for on in &policy.end.revoke_on {
        all.push(match on {
            RevokeOn::Completion => "It ends when the chain is complete.".to_owned(),
            RevokeOn::Failure => "It ends when the chain has failed.".to_owned(),
            RevokeOn::Timeout => "It ends when a step comes too late.".to_owned(),
            RevokeOn::Budget => "It ends when an action finds a budget spent.".to_owned(),
            RevokeOn::Deviation => "It ends at the first action that deviates.".to_owned(),
            RevokeOn::ControllerLost(seconds) => {
                format!(
                    "It ends when the controller has been out of reach for {}.",
                    duration(*seconds)
                )
            }
        });
    }
    all.push(match policy.end.on_deviation {
        OnDeviation::Deny => "What it may not do is denied.".to_owned(),
        OnDeviation::Kill => {
            "What it may not do is denied, and its processes are killed.".to_owned()
        }
        OnDeviation::Revoke => "What it may not do is denied, and its permission ends.".to_owned(),
    });
    if policy.mode == Mode::Audit {
        all.push("It is only watched: nothing is held back, everything is recorded.".to_owned());
    }
    if policy.on_change == OnChange::Move {
        all.push("When this version comes, running sessions are held to it at once.".to_owned());
    }
    if policy.grant == Grant::Required {
        all.push("No session begins without a grant of the controller.".to_owned());
    }
    match policy.min_enforcement {
        MinEnforcement::Block => {}
        MinEnforcement::Kill => {
            all.push("It may run where actors can be killed but not blocked.".to_owned());
        }
        MinEnforcement::Observe => {
            all.push("It may run where actions can only be observed.".to_owned());
        }
    }
    all
}

impl std::fmt::Display for Description {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, paragraph) in self.paragraphs.iter().enumerate() {
            if i > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "{}", paragraph.heading)?;
            for sentence in &paragraph.sentences {
                write!(f, "\n  {sentence}")?;
            }
        }
        Ok(())
    }
}
