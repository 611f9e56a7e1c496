//! Standard error that journald reads.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Whether journald reads what goes to standard error. systemd says by `JOURNAL_STREAM` which stream it has
/// opened; a program's standard error may have been led elsewhere since.
pub(super) fn reads_standard_error() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let own = io::stderr().as_fd().try_clone_to_owned().map(File::from);
    let own = own.and_then(|file| file.metadata());
    own.is_ok_and(|own| stream == format!("{}:{}", own.dev(), own.ino()))
}

/// Standard error, where each event begins with its priority.
pub(super) struct Prioritised;

impl<'a> MakeWriter<'a> for Prioritised {
    type Writer = Writer;

    fn make_writer(&'a self) -> Writer {
        Writer("<6>")
    }

    fn make_writer_for(&'a self, of: &Metadata<'_>) -> Writer {
        Writer(priority(*of.level()))
    }
}

/// As syslog numbers them.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        _ => "<7>",
    }
}

/// Writes one event.
pub(super) struct Writer(&'static str);

impl Write for Writer {
    /// An event comes as a whole. Its further lines are of the same priority.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        io::stderr().write_all(&prefixed(self.0, event))?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn prefixed(priority: &str, event: &[u8]) -> Vec<u8> {
    let lines = event.split_inclusive(|byte| *byte == b'\n');
    lines
        .flat_map(|line| [priority.as_bytes(), line].concat())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_begins_with_its_priority() {
        let text = prefixed(priority(Level::WARN), b"rejected:\n  p.yaml:3: error\n");
        assert_eq!(text, b"<4>rejected:\n<4>  p.yaml:3: error\n");
        assert_eq!(priority(Level::ERROR), "<3>");
    }
}
