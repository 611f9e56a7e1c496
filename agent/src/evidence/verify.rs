//! `interlock evidence verify`: is the record whole?

use super::Place;
use super::against::{self, Against, AgainstError};
use crate::cli::EvidenceVerify;
use agent_evidence::disk::Folder;
use agent_evidence::key::{KeyError, public_path, read_public};
use agent_evidence::mark::MarkFile;
use agent_evidence::segment::Trust;
use agent_evidence::verify::{Report, verify};
use serde::Serialize;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// How often what is found wrong is looked at again: a daemon may be just writing there.
const LOOKS: usize = 3;

/// How long it is waited before.
const PAUSE: Duration = Duration::from_millis(100);

/// Why the record cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The folder or a file in it cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no key to verify by.
    #[error("signatures cannot be verified")]
    Key(#[from] KeyError),
    /// Nobody can be asked to hold it against.
    #[error(transparent)]
    Against(#[from] AgainstError),
    /// The answer cannot be written.
    #[error("cannot write JSON")]
    Json(#[from] serde_json::Error),
}

/// Looks and tells. True when nothing is wrong and nothing is missing.
pub fn run(options: &EvidenceVerify) -> Result<bool, ReadError> {
    let place = Place::of(&options.folder);
    let key = options
        .key
        .clone()
        .unwrap_or_else(|| public_path(&place.key));
    let remembered = MarkFile::at(&place.mark).read();
    let remembered = remembered.map_err(|source| ReadError::Read {
        path: place.mark.clone(),
        source,
    })?;
    let key = read_public(&key)?;
    // First: what it knows cannot be newer than what is looked at then.
    let against = against::ask(options, key.as_bytes())?;
    let theirs = against.iter().flat_map(|against| against.marks.clone());
    let known = options.known.iter().copied().chain(remembered);
    let trust = Trust {
        key: Some(key),
        known: known.chain(theirs).collect(),
    };
    let look = || {
        let report = verify(&Folder::at(&place.folder), &trust);
        report.map_err(|source| ReadError::Read {
            path: place.folder.clone(),
            source,
        })
    };
    let mut report = look()?;
    for _ in 0..LOOKS {
        if report.findings.is_empty() {
            break;
        }
        std::thread::sleep(PAUSE);
        report = look()?;
    }
    report.whole &= against.iter().all(|against| against.wrong.is_empty());
    if options.json {
        let told = Told {
            report: &report,
            against: against.as_ref(),
        };
        println!("{}", serde_json::to_string_pretty(&told)?);
    } else {
        print!("{}", told(&report, remembered.is_some(), against.as_ref()));
    }
    Ok(report.whole)
}

/// The answer as JSON.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    report: &'a Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<&'a Against>,
}

fn told(report: &Report, remembered: bool, against: Option<&Against>) -> String {
    let Report {
        records,
        segments,
        first,
        last,
        ..
    } = report;
    let mut text = match records {
        0 => "no records\n".to_owned(),
        _ => format!("{records} records in {segments} segments, {first} to {last}\n"),
    };
    let mut say = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    if *records > 0 {
        say(format!("the last one's hash is {}", report.hash));
        say(match last.saturating_sub(report.signed) {
            0 => format!("signed up to record {}", report.signed),
            more => format!(
                "signed up to record {}; {more} more wait for the next checkpoint",
                report.signed
            ),
        });
    }
    if let Some(countersigned) = report.countersigned {
        say(format!(
            "countersigned by the controller up to record {countersigned}"
        ));
    }
    if report.lost > 0 {
        let lost = report.lost;
        say(format!(
            "{lost} events were lost before they could be recorded, and counted"
        ));
    }
    for stated in &report.gaps {
        let gap = &stated.gap;
        let missing = match gap.loses() {
            true => format!("records {} to {} are missing", gap.first, gap.last),
            false => "no record is missing".to_owned(),
        };
        say(format!(
            "{}  {} in {} ({}): {missing}, as record {} says{}",
            if stated.is_grave() { "GAP" } else { "gap" },
            gap.found,
            if gap.segment.is_empty() {
                "the folder"
            } else {
                &gap.segment
            },
            gap.detail,
            stated.record,
            gap.quarantine
                .as_ref()
                .map_or_else(String::new, |file| format!("; kept in {file}"))
        ));
    }
    for finding in &report.findings {
        say(format!("WRONG  {finding}"));
    }
    for line in against.iter().flat_map(|against| against.told()) {
        say(line);
    }
    if !remembered && against.is_none() {
        say(
            "nothing is remembered outside the folder: a rollback of all of it could not be seen \
             here, the controller would see it"
                .to_owned(),
        );
    }
    say(if report.whole {
        "ok: nothing was changed, and nothing is missing".to_owned()
    } else {
        "BROKEN".to_owned()
    });
    text
}
