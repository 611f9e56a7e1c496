//! What a person is told about a policy file: where, what was found, what was expected.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::source::Span;

/// Characters of a source line that a message shows, around the marked place.
const SHOWN: usize = 120;

/// How much a message weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The policy means what it says, but perhaps not what its author wants.
    Warning,
    /// The policy cannot be used.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One message. `Display` is its one-line form; [`Diagnostic::full`] shows the source line too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How much it weighs.
    pub severity: Severity,
    /// The file.
    #[serde(serialize_with = "plain_text")]
    pub file: Arc<str>,
    /// The place in the file; line 0 when the file as a whole is meant.
    pub span: Span,
    /// What is wrong: what was found, and what was expected.
    pub message: String,
    /// What to do about it, where that is not plain from what was expected.
    pub help: Option<String>,
    /// The text of the line, cut to a readable length.
    line_text: String,
    /// Where the mark begins in `line_text`, in characters.
    mark_at: usize,
}

impl Diagnostic {
    pub(crate) fn new(
        severity: Severity,
        file: Arc<str>,
        span: Span,
        message: String,
        line: &str,
    ) -> Self {
        let column = (span.column as usize).saturating_sub(1);
        let first = column.saturating_sub(SHOWN * 2 / 3);
        let line_text = line
            .chars()
            .skip(first)
            .take(SHOWN)
            .map(printable)
            .collect();
        Self {
            severity,
            file,
            span,
            message,
            help: None,
            line_text,
            mark_at: column - first,
        }
    }

    /// A message about a file as a whole.
    pub(crate) fn about_file(file: &str, message: String) -> Self {
        Self::new(Severity::Error, file.into(), Span::default(), message, "")
    }

    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The message with its source line and the place marked.
    pub fn full(&self) -> impl fmt::Display + '_ {
        Full(self)
    }
}

fn plain_text<S: serde::Serializer>(text: &Arc<str>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(text)
}

/// Control characters would move the cursor of the reader's terminal.
fn printable(c: char) -> char {
    if c == '\t' {
        ' '
    } else if c.is_control() {
        '\u{fffd}'
    } else {
        c
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if self.span.line > 0 {
            write!(f, ":{}:{}", self.span.line, self.span.column)?;
        }
        write!(f, ": {}: {}", self.severity, self.message)
    }
}

struct Full<'a>(&'a Diagnostic);

impl fmt::Display for Full<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Diagnostic {
            span,
            line_text,
            mark_at,
            help,
            ..
        } = self.0;
        write!(f, "{}", self.0)?;
        if span.line > 0 {
            let number = span.line.to_string();
            let gutter = " ".repeat(number.len());
            let room = line_text.chars().count().saturating_sub(*mark_at).max(1);
            let marks = (span.length as usize).clamp(1, room);
            write!(
                f,
                "\n {gutter} |\n {number} | {line_text}\n {gutter} | {}{}",
                " ".repeat(*mark_at),
                "^".repeat(marks)
            )?;
        }
        if let Some(help) = help {
            write!(f, "\n  = help: {help}")?;
        }
        Ok(())
    }
}

/// All messages about a file, in the order of their places. `Display` is the full form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    pub(crate) fn new(mut found: Vec<Diagnostic>) -> Self {
        found.sort_by_key(|diagnostic| diagnostic.span);
        Self(found)
    }

    /// The messages.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// The message to show where there is room for one line.
    pub fn first(&self) -> Option<&Diagnostic> {
        self.0
            .iter()
            .find(|diagnostic| diagnostic.severity == Severity::Error)
            .or(self.0.first())
    }

    /// Whether any message is an error.
    pub fn has_errors(&self) -> bool {
        self.0
            .iter()
            .any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}", diagnostic.full())?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}
