//! The approved chain: ordered steps, each with the actions that perform it.

use std::sync::Arc;

use crate::text::{Fields, Node, Reader, Source, Span, Value};

use super::block::{self, Block};
use super::condition::{self, Approval, Word};

/// One step of the chain.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub span: Span,
    /// Whether its actions may be done again before the next step.
    pub repeat: bool,
    /// Whether the chain may go on without it.
    pub optional: bool,
    /// Steps that it undoes, with every step behind the first of them.
    pub resets: Vec<Word>,
    /// Seconds it may come after the step before it.
    pub within_s: Option<u64>,
    /// A person's yes for its actions.
    pub approval: Option<Approval>,
    /// What is said to whoever is denied one of its actions, unless the action has its own.
    pub because: Option<String>,
    /// The actions that perform it.
    pub actions: Block,
}

/// Steps at one place of the chain: one, or several of which any will do.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The steps.
    pub steps: Vec<Step>,
}

impl Stage {
    /// Whether the chain may go on without any of its steps.
    pub fn is_optional(&self) -> bool {
        self.steps.iter().all(|step| step.optional)
    }
}

/// The chain of a policy.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// The places of the chain, in order.
    pub stages: Vec<Stage>,
    /// The step that completes it; the last that is not optional where none is named.
    pub completed_by: Option<Word>,
    /// What counts as failure.
    pub failed_by: Vec<Word>,
}

impl Chain {
    /// Whether it has failed by an exit, a timeout or a deviation.
    pub(crate) fn is_failed_by(&self, what: &str) -> bool {
        self.failed_by.iter().any(|word| word.text == what)
    }

    /// All steps with the number of their stage.
    pub fn steps(&self) -> impl Iterator<Item = (usize, &Step)> {
        self.stages
            .iter()
            .enumerate()
            .flat_map(|(i, stage)| stage.steps.iter().map(move |step| (i, step)))
    }
}

/// What can count as failure.
pub(crate) const FAILURES: [(&str, ()); 3] = [("exit", ()), ("timeout", ()), ("deviation", ())];

const STEP: [&str; 10] = [
    "step", "repeat", "optional", "resets", "within", "approval", "because", "egress", "exec",
    "files",
];

pub(super) fn read(reader: &mut Reader<'_>, source: &Arc<Source>, node: &Node) -> Chain {
    let mut chain = Chain::default();
    let known = ["steps", "completedBy", "failedBy"];
    let Some(fields) = Fields::of(reader, node, "chain", &known) else {
        return chain;
    };
    if let Some(list) = fields.require(reader, "steps", "a list of steps") {
        for item in reader.items(list, "a list of steps") {
            let group = match &item.value {
                Value::Map(entries) if entries.iter().any(|entry| entry.key == "anyOf") => {
                    Fields::of(reader, item, "a group of steps", &["anyOf"])
                        .and_then(|fields| fields.get("anyOf"))
                }
                _ => None,
            };
            let items = match group {
                Some(list) => reader.items(list, "a list of steps"),
                None => std::slice::from_ref(item),
            };
            let steps: Vec<Step> = items
                .iter()
                .filter_map(|item| step(reader, source, item))
                .collect();
            if !steps.is_empty() {
                chain.stages.push(Stage { steps });
            }
        }
    }
    chain.completed_by = fields.get("completedBy").and_then(|node| {
        let text = reader.text(node, "the name of a step")?.to_owned();
        Some(Word {
            text,
            span: node.span,
        })
    });
    if let Some(list) = fields.get("failedBy") {
        for item in reader.items(list, "a list of exit, timeout and deviation") {
            if reader.word(item, &FAILURES).is_some()
                && let Some(text) = reader.text(item, "a word")
            {
                chain.failed_by.push(Word {
                    text: text.to_owned(),
                    span: item.span,
                });
            }
        }
    }
    check_names(reader, &chain);
    chain
}

fn step(reader: &mut Reader<'_>, source: &Arc<Source>, node: &Node) -> Option<Step> {
    let fields = Fields::of(reader, node, "a step", &STEP)?;
    let (name, span) = fields.text(reader, "step", "the step's name")?;
    let actions = block::allowing(reader, source, &fields);
    if actions.is_empty() {
        reader.found(
            span,
            "a step without actions",
            "egress, exec or files with the actions that perform it",
        );
    }
    Some(Step {
        name: name.to_owned(),
        span,
        repeat: condition::flag(reader, &fields, "repeat"),
        optional: condition::flag(reader, &fields, "optional"),
        resets: fields
            .get("resets")
            .map(|node| condition::words(reader, node, "a list of steps"))
            .unwrap_or_default(),
        within_s: fields
            .get("within")
            .and_then(|node| condition::duration(reader, node)),
        approval: fields
            .get("approval")
            .and_then(|node| condition::approval(reader, node)),
        because: condition::because(reader, &fields),
        actions,
    })
}

fn check_names(reader: &mut Reader<'_>, chain: &Chain) {
    let names: Vec<(&str, Span)> = chain
        .steps()
        .map(|(_, step)| (step.name.as_str(), step.span))
        .collect();
    for (i, (name, span)) in names.iter().enumerate() {
        if let Some((_, first)) = names.iter().take(i).find(|(other, _)| other == name) {
            let found = format!("a second step \"{name}\"");
            reader.found(
                *span,
                &found,
                &format!("another name than on line {}", first.line),
            );
        }
    }
    let mut words: Vec<&Word> = chain.steps().flat_map(|(_, step)| &step.resets).collect();
    words.extend(&chain.completed_by);
    let known: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
    for word in words {
        reader.known(word, "step", &known);
    }
}
