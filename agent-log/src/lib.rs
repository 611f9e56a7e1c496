//! How the programs of Interlock log: to standard error, as text for people, or as one JSON object a line.
//!
//! Under journald, text has no time, which the journal has itself, and no colours, and each line begins with
//! its priority (`sd-daemon(3)`), so that `journalctl -p warning` finds what it should.

mod journal;

use std::io::IsTerminal;
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

/// How lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people, and for journald where that reads
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// How the program logs, on its command line.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct Options {
    /// How log lines look
    #[arg(
        long = "log",
        value_name = "FORMAT",
        value_enum,
        env = "INTERLOCK_LOG_FORMAT",
        default_value_t
    )]
    pub format: Format,
}

/// Begins to log. `INTERLOCK_LOG` says how much, as `debug` or `warn,interlock_agent=debug`.
pub fn start(options: Options) {
    let asked = std::env::var("INTERLOCK_LOG").ok();
    let targets = asked.and_then(|asked| asked.parse::<Targets>().ok());
    let targets = targets.unwrap_or_else(|| Targets::new().with_default(Level::INFO));
    let lines = tracing_subscriber::fmt::layer().with_target(false);
    let lines = match options.format {
        Format::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_writer(std::io::stderr)
            .boxed(),
        Format::Text if journal::reads_standard_error() => lines
            .without_time()
            .with_level(false)
            .with_ansi(false)
            .with_writer(journal::Prioritised)
            .boxed(),
        Format::Text => lines
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr)
            .boxed(),
    };
    tracing_subscriber::registry()
        .with(lines)
        .with(targets)
        .init();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::fmt::MakeWriter;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("nobody panics").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Kept {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn a_json_line_has_message_level_and_fields_at_its_top() {
        let kept = Kept::default();
        let lines = tracing_subscriber::fmt::layer()
            .with_target(false)
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_writer(kept.clone());
        let subscriber = tracing_subscriber::registry().with(lines);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(how = "adopted", sessions = 3, "ready");
        });
        let text = String::from_utf8(kept.0.lock().expect("nobody panics").clone());
        let line: serde_json::Value =
            serde_json::from_str(&text.expect("text")).expect("one JSON object");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "ready");
        assert_eq!(line["how"], "adopted");
        assert_eq!(line["sessions"], 3);
        assert!(line["timestamp"].is_string());
    }
}
