//! `interlock evidence verify`: is the record whole?

use super::Place;
use super::against::{self, Against, AgainstError};
use crate::central::controller_keys;
use crate::cli::EvidenceVerify;
use agent_evidence::disk::Folder;
use agent_evidence::finding::Finding;
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
    let known = options.known.iter().copied().chain(remembered);
    let trust = Trust {
        key: Some(key),
        known: known.collect(),
    };
    let look = || Looked::at(&place, &trust, against.as_ref());
    let mut looked = look()?;
    for _ in 0..LOOKS {
        if looked.report.findings.is_empty() {
            break;
        }
        std::thread::sleep(PAUSE);
        looked = look()?;
    }
    let told = Told {
        report: &looked.report,
        only_against: &looked.only_against,
        controller_keys: controller_keys(&options.central),
        against: against.as_ref(),
    };
    if options.json {
        println!("{}", serde_json::to_string_pretty(&told)?);
    } else {
        print!("{}", told.text(remembered.is_some()));
    }
    Ok(looked.report.whole)
}

/// What was found, and what of it nobody would have seen without the one it was held against.
struct Looked {
    report: Report,
    only_against: Vec<Finding>,
}

impl Looked {
    fn at(place: &Place, trust: &Trust, against: Option<&Against>) -> Result<Self, ReadError> {
        let look = |trust: &Trust| {
            verify(&Folder::at(&place.folder), trust).map_err(|source| ReadError::Read {
                path: place.folder.clone(),
                source,
            })
        };
        let alone = look(trust)?;
        let Some(against) = against else {
            return Ok(Self {
                report: alone,
                only_against: Vec::new(),
            });
        };
        let mut trust = trust.clone();
        trust.known.extend(&against.marks);
        let mut report = look(&trust)?;
        report.whole &= against.wrong.is_empty();
        let seen = |it: &&Finding| !alone.findings.iter().any(|own| is_same(own, it));
        let only_against = report.findings.iter().filter(seen).cloned().collect();
        Ok(Self {
            report,
            only_against,
        })
    }
}

/// Whether two findings are about the same: how much is missing may be known better.
fn is_same(one: &Finding, other: &Finding) -> bool {
    let place = |it: &Finding| (it.found, it.segment.clone(), it.offset);
    place(one) == place(other)
}

/// The answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    #[serde(flatten)]
    report: &'a Report,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    only_against: &'a [Finding],
    /// Of the controller that this node obeys.
    controller_keys: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<&'a Against>,
}

impl Told<'_> {
    /// Whose a countersignature is, as far as it is known here.
    fn countersigned(&self, key: &str, of: u64) -> String {
        let is = |known: &Vec<String>| known.iter().any(|known| known == key);
        if is(&self.controller_keys) {
            return format!("countersigned by the controller up to record {of}");
        }
        if let Some(against) = self.against.filter(|against| is(&against.keys)) {
            let by = &against.by;
            return format!("countersigned up to record {of} by {key}, as {by} has it");
        }
        format!(
            "countersigned up to record {of} by {key}: whether that is the controller's key is not \
             known here"
        )
    }
}

impl Told<'_> {
    fn text(&self, remembered: bool) -> String {
        let (report, against) = (self.report, self.against);
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
        for (key, of) in &report.countersigned {
            say(self.countersigned(key, *of));
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
            let only = self.only_against.contains(finding);
            let by = against.filter(|_| only).map(|against| &against.by);
            let by = by.map_or_else(String::new, |by| format!("only against {by}: "));
            say(format!("WRONG  {by}{finding}"));
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
}

#[cfg(test)]
mod tests;
