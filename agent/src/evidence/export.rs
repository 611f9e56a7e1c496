//! `interlock evidence export`: records as JSON lines.

use super::ocsf;
use super::verify::ReadError;
use crate::cli::EvidenceExport;
use agent_evidence::disk::Folder;
use agent_evidence::read::{Entry, Reader};
use agent_evidence::record::Record;
use std::io::Write;
use std::path::Path;

/// Records that are read in one go.
const STEP: usize = 1024;

/// Prints them. Who stops reading ends it.
pub fn run(options: &EvidenceExport) -> Result<(), ReadError> {
    let since = options.since.map(|span| {
        let span = jiff::SignedDuration::try_from(span).unwrap_or(jiff::SignedDuration::MAX);
        let now = jiff::Timestamp::now();
        now.checked_sub(span).unwrap_or(jiff::Timestamp::MIN)
    });
    let session = options.session.map(|session| session.to_string());
    let mut out = std::io::stdout().lock();
    each(&options.folder, |entry, record| {
        let of = record.session.as_ref().map(|session| &session.id);
        let time = record.time.parse::<jiff::Timestamp>().ok();
        if session.is_some() && of != session.as_ref() || since.is_some() && time < since {
            return Ok(true);
        }
        let mut line = match options.ocsf {
            true => serde_json::to_vec(&ocsf::event(&record, &entry))?,
            // As it was stored, so that its hash can be made again.
            false => entry.body,
        };
        line.push(b'\n');
        Ok(out.write_all(&line).is_ok())
    })
}

/// Goes through all records that can be read, as long as the answer is yes.
pub(super) fn each(
    folder: &Path,
    mut take: impl FnMut(Entry, Record) -> Result<bool, ReadError>,
) -> Result<(), ReadError> {
    let disk = Folder::at(folder);
    let mut reader = Reader::after(0);
    loop {
        let taken = reader.take(&disk, u64::MAX, STEP, usize::MAX);
        let taken = taken.map_err(|source| ReadError::Read {
            path: folder.to_owned(),
            source,
        })?;
        if taken.entries.is_empty() {
            return Ok(());
        }
        for entry in taken.entries {
            // What a later version wrote in another form is not ours to tell.
            if let Ok(record) = entry.record()
                && !take(entry, record)?
            {
                return Ok(());
            }
        }
    }
}
