//! YAML within bounds: no anchors, aliases, merge keys or tags, no key twice, so many bytes, nodes
//! and levels and no more. What is left is a tree that means what it looks like.

use std::collections::HashSet;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use super::diagnostic::{Diagnostic, Severity};
use super::node::{Field, Node, Value, quoted};
use super::source::{Source, Span};

/// Bytes of a policy file.
pub const MAX_BYTES: usize = 1024 * 1024;
/// Levels of nesting of a document.
pub const MAX_DEPTH: usize = 32;
/// Values of all documents of a file.
pub const MAX_NODES: usize = 200_000;

/// Takes the bytes of a file for text, or says at which byte they are none.
pub(crate) fn text(name: &str, bytes: &[u8]) -> Result<Source, Diagnostic> {
    if bytes.len() > MAX_BYTES {
        return Err(Diagnostic::about_file(
            name,
            format!(
                "found {} bytes, expected at most {MAX_BYTES} (1 MiB)",
                bytes.len()
            ),
        )
        .with_help("a policy file may hold many documents; split it into several files"));
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let at = error.valid_up_to();
            let found = bytes.get(at).copied().unwrap_or(0);
            let text = String::from_utf8_lossy(bytes.get(..at).unwrap_or(&[])).into_owned();
            let source = Source::new(name, text);
            let message =
                format!("found byte 0x{found:02x} at byte offset {at}, expected UTF-8 text");
            return Err(source.diagnostic(Severity::Error, source.place(at), message));
        }
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let source = Source::new(name, text.to_owned());
    if let Some((at, c)) = forbidden(text) {
        let message = format!(
            "found character U+{:04X} at byte offset {at}, expected printable text",
            u32::from(c)
        );
        return Err(source.diagnostic(Severity::Error, source.place(at), message));
    }
    Ok(source)
}

/// Control characters, and those that make text read differently from what it is.
fn forbidden(text: &str) -> Option<(usize, char)> {
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let ends_line = matches!(chars.peek(), Some((_, '\n')));
        let allowed = match c {
            '\n' | '\t' => true,
            '\r' => ends_line,
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => false,
            '\u{200b}'..='\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => false,
            other => !other.is_control(),
        };
        if !allowed {
            return Some((at, c));
        }
    }
    None
}

/// The documents of a file.
pub(crate) fn documents(name: &str, bytes: &[u8]) -> Result<(Source, Vec<Node>), Diagnostic> {
    let source = text(name, bytes)?;
    let documents = Builder::new(&source).build(source.text())?;
    Ok((source, documents))
}

/// A collection whose end has not come yet.
enum Open {
    List(Span, Vec<Node>),
    Map(Span, Vec<Field>, HashSet<String>, Option<(String, Span)>),
}

struct Builder<'a> {
    source: &'a Source,
    open: Vec<Open>,
    documents: Vec<Node>,
    nodes: usize,
}

impl<'a> Builder<'a> {
    fn new(source: &'a Source) -> Self {
        Self {
            source,
            open: Vec::new(),
            documents: Vec::new(),
            nodes: 0,
        }
    }

    fn build(mut self, text: &str) -> Result<Vec<Node>, Diagnostic> {
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| {
                let at = span_between(*error.marker(), *error.marker());
                // The scanner reads ahead, so it may meet its own bound before ours.
                if error.info().contains("recursion limit") {
                    return self.too_deep(at);
                }
                self.error(
                    at,
                    format!(
                        "found malformed YAML ({}), expected a YAML document",
                        error.info()
                    ),
                )
            })?;
            let span = span_between(span.start, span.end);
            match event {
                Event::Alias(_) => return Err(self.no_anchors(span)),
                Event::Scalar(text, style, anchor, tag) => {
                    self.plain_only(span, anchor, tag.is_some())?;
                    let plain = matches!(style, ScalarStyle::Plain);
                    let text = text.into_owned();
                    self.put(Node {
                        span,
                        value: Value::Scalar { text, plain },
                    })?;
                }
                Event::SequenceStart(anchor, tag) => {
                    self.plain_only(span, anchor, tag.is_some())?;
                    self.descend(span, Open::List(span, Vec::new()))?;
                }
                Event::MappingStart(anchor, tag) => {
                    self.plain_only(span, anchor, tag.is_some())?;
                    self.descend(span, Open::Map(span, Vec::new(), HashSet::new(), None))?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.ascend()?,
                Event::Nothing
                | Event::StreamStart
                | Event::StreamEnd
                | Event::DocumentStart(_)
                | Event::DocumentEnd => {}
            }
        }
        Ok(self.documents)
    }

    fn error(&self, span: Span, message: String) -> Diagnostic {
        self.source.diagnostic(Severity::Error, span, message)
    }

    fn too_deep(&self, span: Span) -> Diagnostic {
        self.error(
            span,
            format!("found nesting deeper than {MAX_DEPTH} levels, expected less"),
        )
    }

    fn no_anchors(&self, span: Span) -> Diagnostic {
        self.error(
            span,
            "found a YAML anchor or alias, expected the value itself".to_owned(),
        )
        .with_help("anchors are not part of the policy language: write the value again")
    }

    fn plain_only(&mut self, span: Span, anchor: usize, tag: bool) -> Result<(), Diagnostic> {
        if anchor != 0 {
            return Err(self.no_anchors(span));
        }
        if tag {
            return Err(self.error(
                span,
                "found a YAML tag, expected the value alone".to_owned(),
            ));
        }
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let message = format!("found more than {MAX_NODES} values in one file, expected fewer");
            return Err(self.error(span, message));
        }
        Ok(())
    }

    fn descend(&mut self, span: Span, open: Open) -> Result<(), Diagnostic> {
        if self.open.len() >= MAX_DEPTH {
            return Err(self.too_deep(span));
        }
        if let Some(Open::Map(_, _, _, None)) = self.open.last() {
            return Err(self.error(
                span,
                "found a collection as a key, expected a word".to_owned(),
            ));
        }
        self.open.push(open);
        Ok(())
    }

    fn ascend(&mut self) -> Result<(), Diagnostic> {
        let node = match self.open.pop() {
            Some(Open::List(span, items)) => Node {
                span,
                value: Value::List(items),
            },
            Some(Open::Map(span, fields, ..)) => Node {
                span,
                value: Value::Map(fields),
            },
            None => return Ok(()),
        };
        self.put(node)
    }

    fn put(&mut self, node: Node) -> Result<(), Diagnostic> {
        match self.open.last_mut() {
            None => self.documents.push(node),
            Some(Open::List(_, items)) => items.push(node),
            Some(Open::Map(_, fields, seen, key)) => match key.take() {
                Some((key, span)) => fields.push(Field { key, span, node }),
                None => {
                    let Value::Scalar { text, plain } = node.value else {
                        return Ok(());
                    };
                    if plain && text == "<<" {
                        return Err(self.no_anchors(node.span));
                    }
                    if !seen.insert(text.clone()) {
                        let first = fields
                            .iter()
                            .find(|field| field.key == text)
                            .map_or(0, |field| field.span.line);
                        let message = format!(
                            "found field {} again, expected it once (first on line {first})",
                            quoted(&text)
                        );
                        return Err(self.error(node.span, message));
                    }
                    *key = Some((text, node.span));
                }
            },
        }
        Ok(())
    }
}

fn span_between(start: Marker, end: Marker) -> Span {
    let length = if start.line() == end.line() {
        end.col().saturating_sub(start.col())
    } else {
        end.index().saturating_sub(start.index())
    };
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    Span {
        line: number(start.line().max(1)),
        column: number(start.col()).saturating_add(1),
        length: number(length).max(1),
    }
}
