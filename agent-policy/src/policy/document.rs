//! The outer form of a document: what it is, whose it is, and the parts of its `spec`.

use std::sync::Arc;

use crate::text::{Fields, Node, Reader, Source, Span, Value, quoted};

use super::block::{self, BLOCK, Block};
use super::profile::{self, Made, Profiles};
use super::{
    API_VERSION, Fact, Grant, KIND, Policy, Recognised, Spans, Tool, chain, condition, end, file,
    identity, privilege,
};

/// Bytes of an agent's name: one DNS label, so that it fits a SPIFFE path and an object name.
const MAX_NAME: usize = 63;
/// Bytes of a text meant for people.
const MAX_TEXT: usize = 1024;

pub(super) const NAME: &str =
    "a name of 1 to 63 lower-case letters, digits and \"-\", with a letter or digit at both ends";

pub(crate) const SPEC: &[&str] = &[
    "owner",
    "purpose",
    "identity",
    "session",
    "extends",
    "variables",
    "facts",
    "egress",
    "listen",
    "exec",
    "files",
    "chain",
    "tools",
    "privileges",
    "end",
    "mode",
    "minEnforcement",
    "onChange",
    "grant",
];

/// The parts that every document has.
pub(super) struct Outer<'n> {
    pub(super) name: Option<(String, Span)>,
    pub(super) labels: Vec<(String, String)>,
    pub(super) spec: Option<&'n Node>,
}

pub(super) fn outer<'n>(reader: &mut Reader<'_>, node: &'n Node, kind: &str) -> Option<Outer<'n>> {
    let known = ["apiVersion", "kind", "metadata", "spec"];
    let fields = Fields::of(reader, node, "a policy document", &known)?;
    expect_word(reader, &fields, "apiVersion", API_VERSION);
    expect_word(reader, &fields, "kind", kind);
    let metadata = fields
        .require(reader, "metadata", "metadata with the agent's name")
        .and_then(|node| Fields::of(reader, node, "metadata", &["name", "labels"]));
    let name = metadata.as_ref().and_then(|metadata| {
        let node = metadata.require(reader, "name", NAME)?;
        name(reader, node).map(|name| (name, node.span))
    });
    let labels = metadata
        .as_ref()
        .and_then(|metadata| metadata.get("labels"))
        .map(|node| texts(reader, node, "a mapping of label names to texts"))
        .unwrap_or_default();
    let spec = fields.require(reader, "spec", "a spec with at least an owner");
    Some(Outer { name, labels, spec })
}

pub(super) fn read(
    reader: &mut Reader<'_>,
    source: &Arc<Source>,
    profiles: &Profiles,
    node: &Node,
) -> Option<Policy> {
    let outer = outer(reader, node, KIND)?;
    let node = outer.spec?;
    let variables = profile::variables(reader, node);
    let node = profile::substitute(reader, node, &variables);
    let spec = Fields::of(reader, &node, "spec", SPEC)?;
    let expected = "an owner with a name and a contact: no policy without an accountable person";
    let owner = spec
        .require(reader, "owner", expected)
        .and_then(|node| identity::owner(reader, node));
    let mut rules = block::read(reader, source, &spec);
    let mut made = Made::default();
    if let Some(list) = spec.get("extends") {
        for word in condition::words(reader, list, "a list of profiles") {
            profiles.extend(&mut made, reader, &word, &variables);
        }
    }
    rules.append(made.rules);
    let facts = spec
        .get("facts")
        .map(|node| facts(reader, node))
        .unwrap_or_default();
    let tools = spec
        .get("tools")
        .map(|node| tools(reader, source, node))
        .unwrap_or_default();
    let mut spans = Spans {
        mode: spec.get("mode").map(|node| node.span),
        recognised: spec
            .get("session")
            .map(|node| identity::recognised(reader, node))
            .unwrap_or_default(),
        ..Spans::default()
    };
    let end = spec
        .get("end")
        .map(|node| end::read(reader, node, &mut spans))
        .unwrap_or_default();
    let recognised = spans.recognised.iter().map(|(way, _)| way.clone());
    let policy = Policy {
        labels: outer.labels,
        purpose: spec
            .get("purpose")
            .and_then(|node| bounded(reader, node, "a sentence")),
        identity: spec
            .get("identity")
            .map(|node| identity::read(reader, node))
            .unwrap_or_default(),
        recognised: recognised.collect(),
        facts,
        rules,
        chain: spec
            .get("chain")
            .map(|node| chain::read(reader, source, node))
            .unwrap_or_default(),
        tools,
        end,
        mode: spec
            .get("mode")
            .and_then(|node| end::mode(reader, node))
            .unwrap_or_default(),
        min_enforcement: spec
            .get("minEnforcement")
            .and_then(|node| end::min_enforcement(reader, node))
            .unwrap_or_default(),
        on_change: spec
            .get("onChange")
            .and_then(|node| end::on_change(reader, node))
            .unwrap_or_default(),
        grant: spec
            .get("grant")
            .and_then(|node| end::grant(reader, node))
            .unwrap_or_default(),
        profiles: made.files.into_iter().collect(),
        spans,
        privileges: spec
            .get("privileges")
            .map(|node| privilege::read(reader, node))
            .unwrap_or_default(),
        source: source.clone(),
        name_span: outer.name.as_ref()?.1,
        name: outer.name?.0,
        owner: owner?,
    };
    check_words(reader, &policy);
    if let Some(node) = spec
        .get("grant")
        .filter(|_| policy.grant == Grant::Required)
    {
        check_grant(reader, &policy, node);
    }
    Some(policy)
}

pub(super) fn is_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty()
        && name.len() <= MAX_NAME
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

pub(super) fn name(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let name = reader.text(node, NAME)?;
    if !is_name(name) {
        reader.found(node.span, &quoted(name), NAME);
        return None;
    }
    Some(name.to_owned())
}

fn expect_word(reader: &mut Reader<'_>, fields: &Fields<'_>, key: &str, word: &str) {
    let expected = format!("\"{key}: {word}\"");
    if let Some((text, span)) = fields.text(reader, key, &expected)
        && text != word
    {
        reader.found(span, &quoted(text), &expected);
    }
}

/// A mapping of names to texts.
pub(super) fn texts(reader: &mut Reader<'_>, node: &Node, expected: &str) -> Vec<(String, String)> {
    let Value::Map(fields) = &node.value else {
        reader.found(node.span, &node.found(), expected);
        return Vec::new();
    };
    fields
        .iter()
        .filter_map(|field| {
            let text = bounded(reader, &field.node, "a text")?;
            Some((field.key.clone(), text))
        })
        .collect()
}

pub(super) fn bounded(reader: &mut Reader<'_>, node: &Node, expected: &str) -> Option<String> {
    let text = reader.text(node, expected)?;
    if text.len() > MAX_TEXT {
        let found = format!("{} bytes of text", text.len());
        reader.found(node.span, &found, &format!("at most {MAX_TEXT}"));
        return None;
    }
    Some(text.to_owned())
}

/// The fact that holds in a session whose processes ran before anybody watched them. No author can
/// give a fact such a name.
pub const UNKNOWN_HISTORY: &str = "unknown_history";

fn facts(reader: &mut Reader<'_>, node: &Node) -> Vec<Fact> {
    let mut facts: Vec<Fact> = Vec::new();
    for item in reader.list(node, "a list of facts") {
        let Some(fields) = Fields::of(reader, item, "a fact", &["fact", "meaning", "expires"])
        else {
            continue;
        };
        let Some(node) = fields.require(reader, "fact", "the fact's name") else {
            continue;
        };
        let Some(name) = name(reader, node) else {
            continue;
        };
        if let Some(first) = facts.iter().find(|fact| fact.name == name) {
            let found = format!("a second fact \"{name}\"");
            reader.found(
                node.span,
                &found,
                &format!("another name than on line {}", first.span.line),
            );
            continue;
        }
        facts.push(Fact {
            name,
            span: node.span,
            meaning: fields
                .get("meaning")
                .and_then(|node| bounded(reader, node, "a sentence")),
            expires_s: fields
                .get("expires")
                .and_then(|node| condition::duration(reader, node)),
        });
    }
    facts
}

fn tools(reader: &mut Reader<'_>, source: &Arc<Source>, node: &Node) -> Vec<Tool> {
    let mut tools: Vec<Tool> = Vec::new();
    for item in reader.list(node, "a list of tools") {
        let known: Vec<&str> = ["tool", "owner", "start", "privileges"]
            .into_iter()
            .chain(BLOCK)
            .collect();
        let Some(fields) = Fields::of(reader, item, "a tool", &known) else {
            continue;
        };
        let name = fields
            .require(reader, "tool", "the tool's name")
            .and_then(|node| Some((name(reader, node)?, node.span)));
        let owner = fields
            .require(reader, "owner", "an owner with a name and a contact")
            .and_then(|node| identity::owner(reader, node));
        let start = fields
            .require(
                reader,
                "start",
                "an exec rule: the program that starts the tool",
            )
            .and_then(|node| file::exec_rule(reader, source, node, condition::Effect::Allow));
        let rules: Block = block::read(reader, source, &fields);
        rules.has_only_rules(reader, "a tool");
        let privileges = fields
            .get("privileges")
            .map(|node| privilege::read(reader, node))
            .unwrap_or_default();
        if let (Some((name, span)), Some(owner), Some(start)) = (name, owner, start) {
            if tools.iter().any(|tool| tool.name == name) {
                reader.found(span, &format!("a second tool \"{name}\""), "another name");
            }
            tools.push(Tool {
                name,
                span,
                owner,
                start,
                rules,
                privileges,
            });
        }
    }
    tools
}

/// Facts and steps that rules name must exist: a misspelt fact would be one that is never set.
/// A grant comes with `interlock run`: who is recognised brings none, and could never begin.
fn check_grant(reader: &mut Reader<'_>, policy: &Policy, node: &Node) {
    if policy.recognised.iter().any(|way| *way != Recognised::Run) {
        reader.found(
            node.span,
            "a grant that is required of sessions that are recognised",
            "\"optional\", or `run` alone under session: a grant comes with `interlock run`",
        );
    }
}

fn check_words(reader: &mut Reader<'_>, policy: &Policy) {
    let facts: Vec<&str> = policy.facts.iter().map(|fact| fact.name.as_str()).collect();
    let steps: Vec<&str> = policy
        .chain
        .steps()
        .map(|(_, step)| step.name.as_str())
        .collect();
    for common in policy.commons() {
        if !Arc::ptr_eq(&common.source, &policy.source) {
            continue;
        }
        let words = [
            &common.requires,
            &common.forbids,
            &common.sets,
            &common.clears,
        ];
        for word in words.into_iter().flatten() {
            if word.text != UNKNOWN_HISTORY {
                reader.known(word, "fact", &facts);
            }
        }
        if let Some(word) = common.sets.iter().find(|word| word.text == UNKNOWN_HISTORY) {
            let found = format!("a rule that sets \"{UNKNOWN_HISTORY}\"");
            reader.found(
                word.span,
                &found,
                "it under requires, forbids or clears: adoption sets it",
            );
        }
        for word in &common.during {
            reader.known(word, "step", &steps);
        }
        let in_step = policy
            .chain
            .steps()
            .any(|(_, step)| step.actions.commons().any(|own| std::ptr::eq(own, common)));
        if in_step && let Some(word) = common.during.first() {
            reader.found(
                word.span,
                "during on an action of a step",
                "it on a rule outside the chain",
            );
        }
        let per_step = common.limits.iter().find(|limit| limit.per_step);
        if let Some(limit) = per_step
            && !in_step
            && common.during.is_empty()
        {
            reader.found(
                limit.span,
                "a limit per step on a rule without steps",
                "during, or the limit per session",
            );
        }
    }
}
