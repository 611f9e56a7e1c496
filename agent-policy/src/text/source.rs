//! One policy file: its name, its text, and where its lines begin.

use std::sync::Arc;

use super::diagnostic::{Diagnostic, Severity};

/// A place in a file. Lines and columns count from 1; columns count characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct Span {
    /// The line.
    pub line: u32,
    /// The column of the first character.
    pub column: u32,
    /// Characters marked, at least one.
    pub length: u32,
}

/// A policy file that is known to be text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Source {
    name: Arc<str>,
    text: String,
    starts: Vec<usize>,
}

impl Source {
    pub(crate) fn new(name: &str, text: String) -> Self {
        let starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self {
            name: name.into(),
            text,
            starts,
        }
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The text of a line, without its end. Empty beyond the last.
    pub(crate) fn line(&self, line: u32) -> &str {
        let index = (line as usize).saturating_sub(1);
        let Some(start) = self.starts.get(index) else {
            return "";
        };
        let end = self
            .starts
            .get(index + 1)
            .map_or(self.text.len(), |next| next - 1);
        let line = self.text.get(*start..end).unwrap_or("");
        line.strip_suffix('\r').unwrap_or(line)
    }

    /// The place of the byte at an offset.
    pub(crate) fn place(&self, offset: usize) -> Span {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self
            .starts
            .get(line.saturating_sub(1))
            .copied()
            .unwrap_or(0);
        let column = self
            .text
            .get(start..offset)
            .map_or(0, |head| head.chars().count());
        Span {
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX).saturating_add(1),
            length: 1,
        }
    }

    /// A message about a place of this file.
    pub(crate) fn diagnostic(&self, severity: Severity, span: Span, message: String) -> Diagnostic {
        Diagnostic::new(
            severity,
            self.name.clone(),
            span,
            message,
            self.line(span.line),
        )
    }
}
