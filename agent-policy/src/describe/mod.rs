//! A whole policy as plain sentences.

mod condition;
mod settings;

use agent_common::privilege::Privilege;
use serde::Serialize;

use crate::compile::{Authored, Place};
use crate::policy::{Common, Effect, Policy, Step, Tool};
use crate::text::Span;
use condition::{approved, words};
pub(crate) use condition::{conditions, duration};

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
        sentences: settings::who(policy),
    }];
    let mut at_any_time = sentences(&authored, |place| place == Place::Agent);
    at_any_time.extend(settings::ways(policy));
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
        let mut all = vec![owner(tool)];
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
        sentences: settings::end(policy),
    });
    Description {
        agent: policy.name.clone(),
        paragraphs,
    }
}

/// What a policy says besides what is allowed: of whom, in which order, in which words, and how it ends.
pub(crate) fn settings(policy: &Policy) -> Vec<String> {
    let steps = policy.chain.steps();
    let steps = steps
        .map(|(stage, step)| format!("Step \"{}\": {}", step.name, order(policy, stage, step)));
    let tools = policy.tools.iter();
    let tools = tools.map(|tool| format!("Tool \"{}\": {}", tool.name, owner(tool)));
    let mut all = settings::who(policy);
    all.extend(settings::ways(policy));
    all.extend(steps.chain(tools));
    for common in policy.commons() {
        let name = common.id.as_ref();
        all.extend(name.map(|name| format!("A rule is called \"{name}\".")));
        let because = common.because.as_ref();
        all.extend(because.map(|text| format!("To whoever is denied it may say \"{text}\".")));
    }
    all.extend(settings::end(policy));
    all
}

fn owner(tool: &Tool) -> String {
    format!(
        "{} answers for it ({}).",
        tool.owner.name, tool.owner.contact
    )
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
        text += &format!("; it is done {}", approved(approval));
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
