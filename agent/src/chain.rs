//! Errors in words.

use std::error::Error;

/// An error with all that caused it, in one line.
pub(crate) fn chain(error: impl Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        line = format!("{line}: {source}");
        next = source.source();
    }
    line
}
