//! Reading typed values out of a tree, and saying what was expected where they are none.

use super::diagnostic::{Diagnostic, Severity};
use super::node::{Field, Node, Value, quoted};
use super::source::{Source, Span};
use crate::policy::Word;

/// Messages kept about one file; more would bury the first.
const MAX_MESSAGES: usize = 50;

/// The file being read, and what was found wrong with it so far.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    source: &'a Source,
    found: Vec<Diagnostic>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(source: &'a Source) -> Self {
        Self {
            source,
            found: Vec::new(),
        }
    }

    pub(crate) fn finish(self) -> Vec<Diagnostic> {
        self.found
    }

    /// Whether further messages would not be kept.
    fn is_full(&self) -> bool {
        self.found.len() >= MAX_MESSAGES
    }

    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        if !self.is_full() {
            self.found.push(diagnostic);
        }
    }

    /// Records that something was found where something else was expected.
    pub(crate) fn found(&mut self, span: Span, found: &str, expected: &str) {
        let message = format!("found {found}, expected {expected}");
        let diagnostic = self.source.diagnostic(Severity::Error, span, message);
        self.push(diagnostic);
    }

    /// As [`Reader::found`], with advice.
    pub(crate) fn found_help(&mut self, span: Span, found: &str, expected: &str, help: String) {
        let message = format!("found {found}, expected {expected}");
        let diagnostic = self
            .source
            .diagnostic(Severity::Error, span, message)
            .with_help(help);
        self.push(diagnostic);
    }

    /// The text of a scalar that is not empty.
    pub(crate) fn text<'n>(&mut self, node: &'n Node, expected: &str) -> Option<&'n str> {
        match &node.value {
            Value::Scalar { text, .. } if !node.is_nothing() && !text.trim().is_empty() => {
                Some(text)
            }
            _ => {
                self.found(node.span, &node.found(), expected);
                None
            }
        }
    }

    /// The items of a list that has at least one.
    pub(crate) fn items<'n>(&mut self, node: &'n Node, expected: &str) -> &'n [Node] {
        match &node.value {
            Value::List(items) if !items.is_empty() => items,
            _ => {
                self.found(node.span, &node.found(), expected);
                &[]
            }
        }
    }

    /// The items of a list, which may be empty.
    pub(crate) fn list<'n>(&mut self, node: &'n Node, expected: &str) -> &'n [Node] {
        match &node.value {
            Value::List(items) => items,
            _ => {
                self.found(node.span, &node.found(), expected);
                &[]
            }
        }
    }

    /// Checks that a word is one of those that exist.
    pub(crate) fn known(&mut self, word: &Word, what: &str, known: &[&str]) {
        if known.contains(&word.text.as_str()) || self.is_full() {
            return;
        }
        let found = format!("unknown {what} {}", quoted(&word.text));
        let expected = match known {
            [] => format!("a {what} that is defined, and none is"),
            _ => one_of(known),
        };
        match near(&word.text, known) {
            Some(meant) => {
                let help = format!("did you mean \"{meant}\"?");
                self.found_help(word.span, &found, &expected, help);
            }
            None => self.found(word.span, &found, &expected),
        }
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(&mut self, node: &Node, words: &[(&str, T)]) -> Option<T> {
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        let expected = one_of(&names);
        let text = self.text(node, &expected)?;
        if let Some((_, value)) = words.iter().find(|(name, _)| *name == text) {
            return Some(*value);
        }
        match near(text, &names) {
            Some(meant) => {
                let help = format!("did you mean \"{meant}\"?");
                self.found_help(node.span, &quoted(text), &expected, help);
            }
            None => self.found(node.span, &quoted(text), &expected),
        }
        None
    }
}

/// The fields of a mapping of which every key is known.
#[derive(Debug)]
pub(crate) struct Fields<'n> {
    span: Span,
    what: &'static str,
    fields: &'n [Field],
}

impl<'n> Fields<'n> {
    /// Looks at a node as a mapping; unknown keys are errors.
    pub(crate) fn of(
        reader: &mut Reader<'_>,
        node: &'n Node,
        what: &'static str,
        known: &[&str],
    ) -> Option<Self> {
        let Value::Map(fields) = &node.value else {
            let expected = format!("a mapping for {what} with {}", one_of(known));
            reader.found(node.span, &node.found(), &expected);
            return None;
        };
        for field in fields {
            if known.contains(&field.key.as_str()) {
                continue;
            }
            if reader.is_full() {
                break;
            }
            let found = format!("unknown field {} in {what}", quoted(&field.key));
            let expected = one_of(known);
            match near(&field.key, known) {
                Some(meant) => {
                    let help = format!("did you mean \"{meant}\"?");
                    reader.found_help(field.span, &found, &expected, help);
                }
                None => reader.found(field.span, &found, &expected),
            }
        }
        Some(Self {
            span: node.span,
            what,
            fields,
        })
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'n Node> {
        self.fields
            .iter()
            .find(|field| field.key == key)
            .map(|field| &field.node)
    }

    /// A field without which the mapping means nothing.
    pub(crate) fn require(
        &self,
        reader: &mut Reader<'_>,
        key: &str,
        expected: &str,
    ) -> Option<&'n Node> {
        let node = self.get(key);
        if node.is_none() {
            let found = format!("{} without {key}", self.what);
            reader.found(self.span, &found, expected);
        }
        node
    }

    /// Required text.
    pub(crate) fn text(
        &self,
        reader: &mut Reader<'_>,
        key: &str,
        expected: &str,
    ) -> Option<(&'n str, Span)> {
        let node = self.require(reader, key, expected)?;
        reader.text(node, expected).map(|text| (text, node.span))
    }
}

/// The word that was perhaps meant.
fn near<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    const LONGEST: usize = 64;
    if word.len() > LONGEST {
        return None;
    }
    known
        .iter()
        .map(|candidate| {
            (
                strsim::osa_distance(&word.to_lowercase(), &candidate.to_lowercase()),
                *candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min()
        .map(|(_, candidate)| candidate)
}

/// "a", "a or b", "a, b or c".
pub(crate) fn one_of(words: &[&str]) -> String {
    match words {
        [] => "nothing".to_owned(),
        [word] => (*word).to_owned(),
        [head @ .., last] => format!("{} or {last}", head.join(", ")),
    }
}
