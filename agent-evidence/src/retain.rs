//! Which segments go.

use crate::disk::Disk;
use crate::frame::{Frame, MAGIC};
use crate::mark::Mark;
use crate::segment::{Header, first_of};
use crate::store::Settings;
use crate::survey::segment_names;
use std::io;

/// Segments that are to go.
#[derive(Debug)]
pub(crate) struct Due {
    /// Their names.
    pub(crate) names: Vec<String>,
    /// The last record in them.
    pub(crate) last: Mark,
    /// Which limit asks for it.
    pub(crate) limit: &'static str,
}

/// What the limits ask for. The newest segment always stays. What is in quarantine counts, and goes
/// when it is older than all that stays.
pub(crate) fn due(disk: &impl Disk, settings: &Settings) -> io::Result<Option<Due>> {
    let names = segment_names(disk)?;
    let mut sizes = Vec::with_capacity(names.len());
    for name in &names {
        sizes.push(disk.size(name)?);
    }
    let mut total: u64 = sizes.iter().sum();
    // The segment that comes next has its room.
    let limit = settings.limit.saturating_sub(settings.segment);
    let mut go = 0;
    let mut reason = "size";
    while go + 1 < names.len() && total > limit {
        total -= sizes[go];
        go += 1;
    }
    while go + 1 < names.len() && is_old(disk, &names[go + 1], settings) {
        go += 1;
        reason = "age";
    }
    if go == 0 {
        return Ok(None);
    }
    // What stood before the first that stays is the last that goes.
    let Some((stays, _)) = header(disk, &names[go]) else {
        return Ok(None);
    };
    let first = first_of(&names[go]).unwrap_or(0);
    let mut names = names;
    names.truncate(go);
    let quarantined = disk.names()?.into_iter();
    names.extend(quarantined.filter(|name| is_quarantine_before(name, first)));
    Ok(Some(Due {
        names,
        last: stays,
        limit: reason,
    }))
}

/// Whether all before a segment is older than the limit: it was begun when they ended.
fn is_old(disk: &impl Disk, following: &str, settings: &Settings) -> bool {
    let Some(age) = settings.age else {
        return false;
    };
    let time = header(disk, following).and_then(|(_, header)| header.time.parse().ok());
    time.is_some_and(|time: jiff::Timestamp| {
        let passed = jiff::Timestamp::now().duration_since(time);
        u64::try_from(passed.as_secs()).is_ok_and(|passed| passed > age.as_secs())
    })
}

/// What stood before a segment, and its header.
fn header(disk: &impl Disk, name: &str) -> Option<(Mark, Header)> {
    let bytes = disk.read(name).ok()?;
    let (frame, _) = Frame::read(bytes.strip_prefix(&MAGIC)?).ok()?;
    let before = Mark {
        sequence: frame.sequence.saturating_sub(1),
        hash: frame.hash,
    };
    Some((before, serde_json::from_slice(frame.body).ok()?))
}

/// How the names of files begin that hold what could not be believed.
pub(crate) const QUARANTINE: &str = "quarantine-";

fn is_quarantine_before(name: &str, first: u64) -> bool {
    let number = name
        .strip_prefix(QUARANTINE)
        .and_then(|rest| rest.get(..20));
    number.is_some_and(|number| number.parse().is_ok_and(|number: u64| number < first))
}
