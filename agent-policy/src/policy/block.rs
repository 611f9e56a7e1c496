//! Rules that stand together: those of the agent, of a step, of a tool, of a profile.

use std::sync::Arc;

use crate::text::{Fields, Node, Reader, Source, Span};

use super::condition::{Common, Effect};
use super::egress::{self, Direction, EgressRule, Gateway};
use super::file::{self, ExecRule, FileRule};
use super::lookup::{self, Lookups};

/// Rules for every kind of object.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// Connections out and in.
    pub egress: Vec<EgressRule>,
    /// Programs.
    pub exec: Vec<ExecRule>,
    /// Files.
    pub files: Vec<FileRule>,
    /// Where connections go instead.
    pub via: Option<Gateway>,
    /// What may be looked up, where the policy says, and where it does.
    pub lookups: Option<(Lookups, Span)>,
}

/// The fields of a block.
pub(super) const BLOCK: [&str; 4] = ["egress", "listen", "exec", "files"];

impl Block {
    /// Whether it has no rule.
    pub fn is_empty(&self) -> bool {
        self.egress.is_empty() && self.exec.is_empty() && self.files.is_empty()
    }

    /// What every rule has, for all rules.
    pub fn commons(&self) -> impl Iterator<Item = &Common> {
        let egress = self.egress.iter().map(|rule| &rule.common);
        let exec = self.exec.iter().map(|rule| &rule.common);
        egress
            .chain(exec)
            .chain(self.files.iter().map(|rule| &rule.common))
    }

    /// Says of what holds for the whole agent that it stands in a part of it.
    pub(super) fn has_only_rules(&self, reader: &mut Reader<'_>, part: &str) {
        let via = self.via.as_ref().map(|via| ("a gateway", via.span));
        let lookups = self.lookups.as_ref().map(|(_, span)| ("lookups", *span));
        for (what, span) in via.into_iter().chain(lookups) {
            let found = format!("{what} in {part}");
            reader.found(
                span,
                &found,
                "it under the policy's own egress, for all of it",
            );
        }
    }

    pub(super) fn append(&mut self, other: Block) {
        self.egress.extend(other.egress);
        self.exec.extend(other.exec);
        self.files.extend(other.files);
    }
}

/// Lists under `allow`, `deny` and `kill`.
pub(super) fn read(reader: &mut Reader<'_>, source: &Arc<Source>, fields: &Fields<'_>) -> Block {
    let mut block = Block::default();
    for (key, what) in BLOCK.iter().zip(["egress", "listen", "exec", "files"]) {
        let Some(node) = fields.get(key) else {
            continue;
        };
        let known: &[&str] = match *key {
            "egress" => &["via", "lookups", "allow", "deny", "kill"],
            _ => &["allow", "deny", "kill"],
        };
        let Some(lists) = Fields::of(reader, node, what, known) else {
            continue;
        };
        if let Some(node) = lists.get("via") {
            block.via = egress::gateway(reader, node);
        }
        if let Some(node) = lists.get("lookups") {
            block.lookups = lookup::read(reader, node);
        }
        for effect in [Effect::Allow, Effect::Deny, Effect::Kill] {
            if let Some(list) = lists.get(effect.word()) {
                for item in reader.list(list, "a list of rules") {
                    add(reader, source, &mut block, key, item, effect);
                }
            }
        }
    }
    block
}

/// Lists of rules that allow, without the word: the actions of a step.
pub(super) fn allowing(
    reader: &mut Reader<'_>,
    source: &Arc<Source>,
    fields: &Fields<'_>,
) -> Block {
    let mut block = Block::default();
    for key in BLOCK {
        if let Some(list) = fields.get(key) {
            for item in reader.items(list, "a list of rules, each of which performs the step") {
                add(reader, source, &mut block, key, item, Effect::Allow);
            }
        }
    }
    block
}

fn add(
    reader: &mut Reader<'_>,
    source: &Arc<Source>,
    block: &mut Block,
    key: &str,
    item: &Node,
    effect: Effect,
) {
    match key {
        "egress" => block.egress.extend(egress::rule(
            reader,
            source,
            item,
            effect,
            Direction::Egress,
        )),
        "listen" => block.egress.extend(egress::rule(
            reader,
            source,
            item,
            effect,
            Direction::Listen,
        )),
        "exec" => block
            .exec
            .extend(file::exec_rule(reader, source, item, effect)),
        _ => block
            .files
            .extend(file::file_rule(reader, source, item, effect)),
    }
}
