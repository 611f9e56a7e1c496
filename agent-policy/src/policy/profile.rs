//! Profiles that policies extend, and the variables both may use.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::text::{self, Diagnostic, Diagnostics, Field, Fields, Node, Reader, Source, Value};

use super::block::{self, BLOCK, Block};
use super::condition::{self, Word};
use super::document::{self, bounded};
use super::{PROFILE_KIND, is_something};

/// Variables by name.
pub(super) type Variables = BTreeMap<String, String>;

/// How many profiles one may extend through.
const MAX_CHAIN: usize = 8;

/// How many profiles a policy may be made with, those counted twice that are reached twice with
/// other variables: each level could otherwise multiply the one before.
const MAX_PROFILES: usize = 64;

/// Profiles by name: what agents of one kind need to live.
#[derive(Clone, Debug, Default)]
pub struct Profiles {
    by_name: BTreeMap<String, Profile>,
}

#[derive(Clone, Debug)]
struct Profile {
    source: Arc<Source>,
    spec: Node,
}

impl Profiles {
    /// No profiles at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds the profiles of a file.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), Diagnostics> {
        let (source, documents) = text::documents(name, bytes)?;
        let source = Arc::new(source);
        let mut reader = Reader::new(&source);
        for node in documents.iter().filter(is_something) {
            let Some(outer) = document::outer(&mut reader, node, PROFILE_KIND) else {
                continue;
            };
            let (Some((name, span)), Some(spec)) = (outer.name, outer.spec) else {
                continue;
            };
            if self.by_name.contains_key(&name) {
                reader.found(
                    span,
                    &format!("a second profile \"{name}\""),
                    "another name",
                );
                continue;
            }
            let profile = Profile {
                source: source.clone(),
                spec: spec.clone(),
            };
            self.by_name.insert(name, profile);
        }
        match reader.finish() {
            found if found.is_empty() => Ok(()),
            found => Err(Diagnostics::new(found)),
        }
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// Adds the rules of a profile and of those it extends, with the policy's variables.
    pub(super) fn extend(
        &self,
        made: &mut Made,
        reader: &mut Reader<'_>,
        word: &Word,
        variables: &Variables,
    ) {
        let mut found = Vec::new();
        self.collect(&word.text, variables, &mut Vec::new(), made, &mut found);
        for problem in found {
            match problem {
                Problem::Unknown(name) => {
                    let known: Vec<&str> = self.names().collect();
                    let named = Word {
                        text: name,
                        span: word.span,
                    };
                    reader.known(&named, "profile", &known);
                }
                Problem::Cycle(way) => {
                    let found = format!("profiles that extend each other: {way}");
                    reader.found(word.span, &found, "no cycle");
                }
                Problem::TooMany => {
                    let found = format!("more than {MAX_PROFILES} profiles");
                    let expected = format!("at most {MAX_PROFILES} that one policy is made with");
                    reader.found(word.span, &found, &expected);
                }
                Problem::Message(diagnostic) => reader.push(*diagnostic),
            }
        }
    }

    fn collect(
        &self,
        name: &str,
        variables: &Variables,
        seen: &mut Vec<String>,
        made: &mut Made,
        found: &mut Vec<Problem>,
    ) {
        if seen.iter().any(|other| other == name) || seen.len() >= MAX_CHAIN {
            found.push(Problem::Cycle(format!("{} → {name}", seen.join(" → "))));
            return;
        }
        let Some(profile) = self.by_name.get(name) else {
            found.push(Problem::Unknown(name.to_owned()));
            return;
        };
        // The same rules again would change nothing.
        let instance = (name.to_owned(), variables.clone());
        if made.with.contains(&instance) {
            return;
        }
        if made.with.len() >= MAX_PROFILES {
            if !found.iter().any(|other| matches!(other, Problem::TooMany)) {
                found.push(Problem::TooMany);
            }
            return;
        }
        made.with.insert(instance);
        made.files.insert(profile.source.name().clone());
        seen.push(name.to_owned());
        let mut reader = Reader::new(&profile.source);
        let mut own = self::variables(&mut reader, &profile.spec);
        own.extend(variables.clone());
        let node = substitute(&mut reader, &profile.spec, &own);
        let known: Vec<&str> = ["extends", "variables", "purpose"]
            .into_iter()
            .chain(BLOCK)
            .collect();
        if let Some(fields) = Fields::of(&mut reader, &node, "a profile's spec", &known) {
            let rules = block::read(&mut reader, &profile.source, &fields);
            rules.has_only_rules(&mut reader, "a profile");
            made.rules.append(rules);
            if let Some(list) = fields.get("extends") {
                for word in condition::words(&mut reader, list, "a list of profiles") {
                    self.collect(&word.text, &own, seen, made, found);
                }
            }
        }
        seen.pop();
        found.extend(
            reader
                .finish()
                .into_iter()
                .map(|diagnostic| Problem::Message(Box::new(diagnostic))),
        );
    }
}

/// What profiles have made of a policy.
#[derive(Default)]
pub(super) struct Made {
    /// Their rules.
    pub(super) rules: Block,
    /// The files they stand in.
    pub(super) files: BTreeSet<Arc<str>>,
    /// Each with the variables that it was given.
    with: BTreeSet<(String, Variables)>,
}

enum Problem {
    Unknown(String),
    Cycle(String),
    TooMany,
    Message(Box<Diagnostic>),
}

/// The variables that a spec defines.
pub(super) fn variables(reader: &mut Reader<'_>, spec: &Node) -> Variables {
    let Value::Map(fields) = &spec.value else {
        return Variables::new();
    };
    let Some(field) = fields.iter().find(|field| field.key == "variables") else {
        return Variables::new();
    };
    let Value::Map(entries) = &field.node.value else {
        reader.found(
            field.node.span,
            &field.node.found(),
            "a mapping of variables to texts",
        );
        return Variables::new();
    };
    let mut variables = Variables::new();
    for entry in entries {
        if !is_variable(&entry.key) {
            let found = format!("the variable {}", text::quoted(&entry.key));
            reader.found(entry.span, &found, "a name of letters, digits, - and _");
            continue;
        }
        let Some(text) = bounded(reader, &entry.node, "the variable's text") else {
            continue;
        };
        if text.contains("${") {
            reader.found(
                entry.node.span,
                "a variable inside a variable",
                "plain text",
            );
        } else {
            variables.insert(entry.key.clone(), text);
        }
    }
    variables
}

/// It is shown where another is not known, so it must not move the cursor.
fn is_variable(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !name.is_empty() && name.bytes().all(inner)
}

/// The tree with `${name}` replaced wherever it stands in a value.
pub(super) fn substitute(reader: &mut Reader<'_>, node: &Node, variables: &Variables) -> Node {
    let value = match &node.value {
        Value::Scalar { text, plain } if text.contains("${") => {
            let text = replace(reader, node, text, variables);
            Value::Scalar {
                text,
                plain: *plain,
            }
        }
        Value::Scalar { .. } => node.value.clone(),
        Value::List(items) => Value::List(
            items
                .iter()
                .map(|item| substitute(reader, item, variables))
                .collect(),
        ),
        Value::Map(fields) => Value::Map(
            fields
                .iter()
                .map(|field| {
                    let skip = field.key == "variables";
                    let node = if skip {
                        field.node.clone()
                    } else {
                        substitute(reader, &field.node, variables)
                    };
                    Field {
                        key: field.key.clone(),
                        span: field.span,
                        node,
                    }
                })
                .collect(),
        ),
    };
    Node {
        span: node.span,
        value,
    }
}

fn replace(reader: &mut Reader<'_>, node: &Node, text: &str, variables: &Variables) -> String {
    /// Bytes of a text after replacement; a text of many variables must not grow without bound.
    const MAX_TEXT: usize = 8192;
    let mut out = String::new();
    let mut rest = text;
    while let Some((head, tail)) = rest.split_once("${") {
        out.push_str(head);
        let Some((name, after)) = tail.split_once('}') else {
            reader.found(node.span, &text::quoted(text), "} behind ${");
            return out;
        };
        match variables.get(name) {
            Some(value) => out.push_str(value),
            None => {
                let known: Vec<&str> = variables.keys().map(String::as_str).collect();
                let word = Word {
                    text: name.to_owned(),
                    span: node.span,
                };
                reader.known(&word, "variable", &known);
            }
        }
        rest = after;
        if out.len() > MAX_TEXT {
            reader.found(
                node.span,
                "a text that variables make too long",
                "at most 8192 bytes",
            );
            return out;
        }
    }
    out.push_str(rest);
    out
}
