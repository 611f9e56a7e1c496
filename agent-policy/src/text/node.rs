//! The tree of one YAML document. Scalars stay the text that was written: nothing here decides
//! that `no` is a boolean or `0755` a number.

use super::source::Span;

/// A value and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) value: Value,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Text; `plain` when it stood without quotes.
    Scalar { text: String, plain: bool },
    /// A list.
    List(Vec<Node>),
    /// Fields in the order of the file; no key occurs twice.
    Map(Vec<Field>),
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) key: String,
    pub(crate) span: Span,
    pub(crate) node: Node,
}

impl Node {
    /// Whether nothing was written, in any of YAML's ways to write nothing.
    pub(crate) fn is_nothing(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The node as the "found" half of a message.
    pub(crate) fn found(&self) -> String {
        if self.is_nothing() {
            return "nothing".to_owned();
        }
        match &self.value {
            Value::Scalar { text, .. } => quoted(text),
            Value::List(items) => match items.len() {
                0 => "an empty list".to_owned(),
                _ => "a list".to_owned(),
            },
            Value::Map(fields) => match fields.len() {
                0 => "an empty mapping".to_owned(),
                _ => "a mapping".to_owned(),
            },
        }
    }
}

/// Text in quotes, cut to a readable length, with nothing that could move a terminal's cursor.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut shown: String = text.chars().take(SHOWN).flat_map(escape).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}

fn escape(c: char) -> Vec<char> {
    if c.is_control() {
        c.escape_default().collect()
    } else {
        vec![c]
    }
}
