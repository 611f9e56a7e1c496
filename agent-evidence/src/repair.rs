//! What is done about a folder that is not as it was left: what can be believed stays, what cannot
//! is put aside under another name, and a gap says so.

use crate::disk::Disk;
use crate::finding::{Finding, Found};
use crate::mark::Mark;
use crate::record::Gap;
use crate::retain::QUARANTINE;
use crate::segment::{Segment, Trust};
use crate::store::Store;
use crate::survey::Survey;
use std::io;

/// Repairs a folder, and leaves with the store what its next records must tell.
pub(crate) fn repair<D: Disk>(store: &mut Store<D>, known: Option<Mark>) -> io::Result<()> {
    let trust = Trust {
        key: Some(store.key.public()),
        known: known.into_iter().collect(),
    };
    let found = Survey::of(&store.disk, &trust)?;
    // Also what was put aside by an earlier try that failed later.
    store.next = store.next.max(found.highest.max(found.head.sequence) + 1);
    store.head = found.head;
    let countersigned = found
        .segments
        .iter()
        .flat_map(|it| it.countersigned.values().copied());
    store.countersigned = countersigned.max().unwrap_or(0);
    let of = |segment: &Segment| {
        let mut findings = found.findings.iter();
        findings.find(|finding| finding.segment == segment.name)
    };
    for segment in &found.segments {
        match (&segment.fault, of(segment)) {
            (Some(_), Some(finding)) => {
                let quarantine = put_aside(store, segment, finding)?;
                store.pending.push(Gap {
                    quarantine,
                    ..gap(finding)
                });
            }
            // Whoever made it was stopped before it held anything.
            _ if segment.records == 0 => store.disk.remove(&segment.name)?,
            _ => seal(store, segment)?,
        }
    }
    for finding in &found.findings {
        let mut told = store.pending.iter();
        let gap = gap(finding);
        if !told.any(|told| told.first <= gap.first && told.last >= gap.last) {
            store.pending.push(gap);
        }
    }
    lead_on(store);
    Ok(())
}

/// One of the gaps must lead from the last record that is believed to the next one.
fn lead_on<D: Disk>(store: &mut Store<D>) {
    let (first, last) = (store.head.sequence + 1, store.next - 1);
    let leads = |gap: &Gap| gap.first <= first && gap.last >= last;
    if first > last || store.pending.iter().any(leads) {
        return;
    }
    store.pending.push(Gap {
        first,
        last,
        found: Found::Dropped.word().to_owned(),
        detail: "numbers that were seen, or are remembered, and of which nothing is believed"
            .to_owned(),
        ..Gap::default()
    });
}

fn gap(finding: &Finding) -> Gap {
    // Where nothing is missing the next record simply goes on.
    let (first, last) = finding
        .missing
        .unwrap_or((finding.after + 1, finding.after));
    Gap {
        first,
        last,
        found: finding.found.word().to_owned(),
        segment: finding.segment.clone(),
        detail: format!("at byte {}: {}", finding.offset, finding.detail),
        quarantine: None,
    }
}

/// Makes a segment end where it can be believed. What lies behind is kept in a file beside it,
/// unless there is none or it cannot be read.
fn put_aside<D: Disk>(
    store: &mut Store<D>,
    segment: &Segment,
    fault: &Finding,
) -> io::Result<Option<String>> {
    if fault.found == Found::Unreadable {
        return Ok(None);
    }
    let bytes = store.disk.read(&segment.name)?;
    // Of what goes as a whole, nothing is dropped.
    let keep = if segment.records == 0 {
        0
    } else {
        segment.keep
    };
    let rest = bytes.get(keep..).unwrap_or_default();
    let name = if rest.is_empty() {
        None
    } else {
        Some(write_aside(store, segment, rest)?)
    };
    if segment.records == 0 {
        store.disk.remove(&segment.name)?;
        return Ok(name);
    }
    store
        .disk
        .truncate(&segment.name, keep.try_into().unwrap_or(u64::MAX))?;
    seal(store, segment)?;
    Ok(name)
}

fn write_aside<D: Disk>(
    store: &mut Store<D>,
    segment: &Segment,
    rest: &[u8],
) -> io::Result<String> {
    let stem = segment.name.trim_end_matches(crate::segment::ENDING);
    let taken = store.disk.names()?;
    let name = (1..)
        .map(|count| format!("{QUARANTINE}{stem}-{count}"))
        .find(|name| !taken.contains(name))
        .expect("a folder has no end of files");
    store.disk.create(&name, rest)?;
    Ok(name)
}

/// Signs what an earlier writer had no time to sign.
fn seal<D: Disk>(store: &mut Store<D>, segment: &Segment) -> io::Result<()> {
    let Some(head) = segment.head.filter(|_| segment.unsigned > 0) else {
        return Ok(());
    };
    let mut bytes = Vec::new();
    store.sign(head, &mut bytes);
    store.disk.append(&segment.name, &bytes)?;
    store.disk.sync(&segment.name)
}
