//! The newest event lines, on disk, so that they can be asked for.
//!
//! Segments of at most [`SEGMENT`] bytes, each named by the number of its first event; when there
//! are more than [`SEGMENTS`], the oldest goes. Whoever wants to keep everything keeps what the
//! daemon prints.

use super::line::Line;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Where the journal lies unless told otherwise.
pub const FOLDER: &str = "/var/lib/interlock/events";

/// Bytes after which a new segment begins.
const SEGMENT: u64 = 1024 * 1024;

/// Segments that are kept.
const SEGMENTS: usize = 16;

/// Bytes of lines in one answer.
const ANSWER: usize = 2 * 1024 * 1024;

/// The journal, for its one writer.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    /// Nothing where the folder could not be used.
    file: Option<File>,
    size: u64,
    next: u64,
}

/// What events are asked for. What is not named does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Filter {
    /// Only later events than this number.
    pub after: u64,
    /// Only this event.
    pub number: Option<u64>,
    /// Only events at or after this time, in RFC 3339.
    pub since: Option<String>,
    /// Only events of this agent.
    pub agent: Option<String>,
    /// Only events with this verdict.
    pub verdict: Option<String>,
    /// Only what this process did.
    pub pid: Option<u32>,
    /// Only the newest one.
    pub newest: bool,
}

/// Events that were asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Selection {
    /// The lines, oldest first.
    pub lines: Vec<String>,
    /// The number up to which events were looked at; who wants more asks for what comes after.
    pub last: u64,
    /// Whether there is more already.
    pub more: bool,
}

/// Bytes that hardly any line needs more of.
const USUAL: usize = 2048;

#[derive(Deserialize)]
struct Number {
    number: u64,
}

#[derive(Serialize)]
struct Numbered<'a> {
    number: u64,
    #[serde(flatten)]
    line: &'a Line,
}

impl Journal {
    /// Opens the journal and goes on behind its last whole line.
    pub fn open(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let last = segments(folder)?.pop();
        let (first, path) = last.unwrap_or_else(|| (1, folder.join(name(1))));
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        // What a daemon that was killed had not finished to write is no line.
        let whole = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        // Lines that found no room on the disk had their numbers all the same: what counts is what the last one says.
        let mut lines = text[..whole].rsplit(|byte| *byte == b'\n');
        let newest = lines.find_map(|line| serde_json::from_slice::<Number>(line).ok());
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        file.set_len(whole as u64)?;
        Ok(Self {
            folder: folder.to_owned(),
            file: Some(file),
            size: whole as u64,
            next: newest.map_or(first, |newest| newest.number + 1),
        })
    }

    /// One that keeps nothing, and numbers from 1.
    pub fn nowhere(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            file: None,
            size: 0,
            next: 1,
        }
    }

    /// Numbers lines and gives them as text. What cannot be written down has its number all the
    /// same, and the error comes with it.
    pub fn append(&mut self, lines: &[Line]) -> (Vec<u8>, io::Result<()>) {
        let mut text = Vec::with_capacity(lines.len() * USUAL);
        for line in lines {
            let (number, begin) = (self.next, text.len());
            if let Err(error) = serde_json::to_writer(&mut text, &Numbered { number, line }) {
                text.truncate(begin);
                return (text, Err(error.into()));
            }
            text.push(b'\n');
            self.next += 1;
        }
        let written = self.write(&text, lines.len() as u64);
        (text, written)
    }

    fn write(&mut self, text: &[u8], lines: u64) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Err(io::Error::other("the journal could not be opened"));
        };
        if self.size > 0 && self.size + text.len() as u64 > SEGMENT {
            let first = self.next - lines;
            *file = File::create(self.folder.join(name(first)))?;
            self.size = 0;
            let segments = segments(&self.folder)?;
            for (_, path) in segments.iter().rev().skip(SEGMENTS) {
                std::fs::remove_file(path)?;
            }
        }
        if let Err(error) = file.write_all(text) {
            // Half a line would spoil the next one.
            file.set_len(self.size)?;
            return Err(error);
        }
        self.size += text.len() as u64;
        Ok(())
    }
}

/// Finds events.
pub fn select(folder: &Path, filter: &Filter) -> io::Result<Selection> {
    let segments = segments(folder)?;
    let mut selection = Selection {
        last: filter.after,
        ..Selection::default()
    };
    let mut bytes = 0;
    for (at, (_, path)) in segments.iter().enumerate() {
        let following = segments.get(at + 1).map(|(first, _)| *first);
        let wanted = filter.number.map_or(filter.after + 1, |number| number);
        if following.is_some_and(|following| following <= wanted) {
            continue;
        }
        // The oldest segment may go while we read.
        let Ok(text) = std::fs::read_to_string(path) else {
            continue;
        };
        let end = text.rfind('\n').map_or(0, |end| end + 1);
        for line in text[..end].lines() {
            let Ok(event) = serde_json::from_str::<Value>(line) else {
                continue;
            };
            let number = event["number"].as_u64().unwrap_or(0);
            if number <= filter.after {
                continue;
            }
            if bytes > ANSWER {
                selection.more = true;
                return Ok(selection);
            }
            selection.last = number;
            if filter.takes(&event) {
                if filter.newest {
                    selection.lines.clear();
                    bytes = 0;
                }
                bytes += line.len();
                selection.lines.push(line.to_owned());
            }
        }
    }
    Ok(selection)
}

impl Filter {
    fn takes(&self, event: &Value) -> bool {
        let says = |field: &str, wanted: &Option<String>| {
            wanted
                .as_ref()
                .is_none_or(|wanted| event[field] == **wanted)
        };
        says("agent", &self.agent)
            && says("verdict", &self.verdict)
            && self.number.is_none_or(|number| event["number"] == number)
            && self.pid.is_none_or(|pid| event["pid"] == pid)
            && self.since.as_ref().is_none_or(|since| {
                let time = |text: &str| text.parse::<jiff::Timestamp>().ok();
                event["time"].as_str().and_then(time) >= time(since)
            })
    }
}

fn name(first: u64) -> String {
    format!("{first:020}.jsonl")
}

/// The segments with the numbers of their first events, in order.
fn segments(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let first = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".jsonl")?.parse().ok());
        segments.extend(first.map(|first| (first, path)));
    }
    segments.sort();
    Ok(segments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::line::Garbled;

    fn folder(test: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("journal-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        folder
    }

    fn line(error: &str) -> Line {
        Line::Garbled(Garbled {
            time: "2026-03-02T10:00:00Z".into(),
            error: error.into(),
        })
    }

    fn numbers(folder: &Path, filter: &Filter) -> Vec<u64> {
        let number =
            |line: &String| serde_json::from_str::<Value>(line).unwrap()["number"].as_u64();
        let selection = select(folder, filter).unwrap();
        selection.lines.iter().filter_map(number).collect()
    }

    #[test]
    fn numbers_go_on_after_a_daemon_that_was_killed_while_it_wrote() {
        let folder = folder("torn");
        let mut journal = Journal::open(&folder).unwrap();
        journal.append(&[line("a"), line("b")]).1.unwrap();
        let torn = OpenOptions::new().append(true).open(folder.join(name(1)));
        torn.unwrap().write_all(b"{\"number\":3,\"ki").unwrap();
        let mut journal = Journal::open(&folder).unwrap();
        journal.append(&[line("c")]).1.unwrap();
        assert_eq!(numbers(&folder, &Filter::default()), [1, 2, 3]);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn numbers_of_lines_that_found_no_room_are_not_given_again() {
        let folder = folder("full");
        let mut journal = Journal::open(&folder).unwrap();
        journal.append(&[line("a")]).1.unwrap();
        let file = journal.file.replace(File::open("/dev/null").unwrap());
        journal.append(&[line("b"), line("c")]).1.unwrap_err();
        journal.file = file;
        journal.append(&[line("d")]).1.unwrap();
        let mut journal = Journal::open(&folder).unwrap();
        journal.append(&[line("e")]).1.unwrap();
        assert_eq!(numbers(&folder, &Filter::default()), [1, 4, 5]);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_journal_stays_bounded_and_in_order() {
        let folder = folder("bounded");
        let mut journal = Journal::open(&folder).unwrap();
        let long = "x".repeat(100_000);
        for _ in 0..300 {
            journal.append(&[line(&long)]).1.unwrap();
        }
        let bytes: u64 = segments(&folder)
            .unwrap()
            .iter()
            .map(|(_, path)| std::fs::metadata(path).unwrap().len())
            .sum();
        assert!(bytes <= SEGMENT * SEGMENTS as u64, "{bytes}");
        let newest = numbers(
            &folder,
            &Filter {
                newest: true,
                ..Filter::default()
            },
        );
        assert_eq!(newest, [300]);
        let mut after = 0;
        let mut found = Vec::new();
        loop {
            let filter = Filter {
                after,
                ..Filter::default()
            };
            let selection = select(&folder, &filter).unwrap();
            found.extend(numbers(&folder, &filter));
            after = selection.last;
            if !selection.more {
                break;
            }
        }
        let first = found[0];
        assert!(
            first > 1 && found == (first..=300).collect::<Vec<_>>(),
            "{found:?}"
        );
        assert_eq!(
            numbers(
                &folder,
                &Filter {
                    number: Some(299),
                    ..Filter::default()
                }
            ),
            [299]
        );
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_asked_for_is_found() {
        let folder = folder("filter");
        Journal::open(&folder).unwrap();
        let lines = [
            r#"{"number":1,"time":"2026-03-02T10:00:00Z","agent":"a","verdict":"deny","pid":7}"#,
            r#"{"number":2,"time":"2026-03-02T10:00:00.5Z","agent":"b","verdict":"deny","pid":8}"#,
            r#"{"number":3,"time":"2026-03-02T10:00:01Z","agent":"a"}"#,
        ];
        std::fs::write(folder.join(name(1)), lines.join("\n") + "\n").unwrap();
        let text = |text: &str| Some(text.to_owned());
        let all = Filter::default;
        for (filter, expected) in [
            (all(), &[1, 2, 3][..]),
            (
                Filter {
                    agent: text("a"),
                    ..all()
                },
                &[1, 3],
            ),
            (
                Filter {
                    verdict: text("deny"),
                    ..all()
                },
                &[1, 2],
            ),
            (
                Filter {
                    since: text("2026-03-02T10:00:00.4Z"),
                    ..all()
                },
                &[2, 3],
            ),
            (
                Filter {
                    pid: Some(8),
                    ..all()
                },
                &[2],
            ),
            (Filter { after: 2, ..all() }, &[3]),
            (
                Filter {
                    number: Some(2),
                    ..all()
                },
                &[2],
            ),
            (
                Filter {
                    agent: text("a"),
                    newest: true,
                    ..all()
                },
                &[3],
            ),
        ] {
            assert_eq!(numbers(&folder, &filter), expected, "{filter:?}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
