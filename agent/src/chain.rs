//! Errors in words.

use std::error::Error;

/// An error with all that caused it, in one line. What a cause only repeats is said once.
pub(crate) fn chain(error: impl Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let cause = source.to_string();
        if !line.ends_with(&cause) {
            line = format!("{line}: {cause}");
        }
        next = source.source();
    }
    line
}
