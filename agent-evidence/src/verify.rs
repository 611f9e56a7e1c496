//! Is the record whole, as far as it can be known?

use crate::disk::Disk;
use crate::finding::Finding;
use crate::record::Gap;
use crate::segment::{Segment, Trust};
use crate::survey::Survey;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether nothing is wrong and nothing is missing.
    pub whole: bool,
    /// Segments.
    pub segments: usize,
    /// Records that can be believed.
    pub records: u64,
    /// The number of the first one; what was before has gone as the limits ask.
    pub first: u64,
    /// The number of the last one.
    pub last: u64,
    /// Its hash.
    pub hash: String,
    /// The last record that a checkpoint covers.
    pub signed: u64,
    /// The last record that each countersignature covers, by the key that made it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub countersigned: BTreeMap<String, u64>,
    /// Events that were lost before they could be recorded, as records tell.
    pub lost: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What was wrong before, and was repaired and recorded.
    pub gaps: Vec<Stated>,
}

/// A gap that a record speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stated {
    /// The record that says so.
    pub record: u64,
    /// What it says.
    #[serde(flatten)]
    pub gap: Gap,
}

impl Stated {
    /// Whether records are missing, or were changed. A writer that was stopped in the middle of what
    /// nobody had been told is none of this.
    pub fn is_grave(&self) -> bool {
        self.gap.loses() || self.gap.found != "torn"
    }
}

fn countersigned(segments: &[Segment]) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::<String, u64>::new();
    for (key, of) in segments.iter().flat_map(|segment| &segment.countersigned) {
        let newest = all.entry(key.clone()).or_default();
        *newest = (*newest).max(*of);
    }
    all
}

/// Looks at a folder.
pub fn verify(disk: &impl Disk, trust: &Trust) -> io::Result<Report> {
    let survey = Survey::of(disk, trust)?;
    let gaps: Vec<Stated> = survey
        .gaps()
        .map(|(record, gap)| Stated {
            record: *record,
            gap: gap.clone(),
        })
        .collect();
    let segments = &survey.segments;
    let signed = segments.iter().flat_map(|segment| &segment.checkpoints);
    Ok(Report {
        whole: survey.findings.is_empty() && !gaps.iter().any(Stated::is_grave),
        segments: segments.len(),
        records: segments.iter().map(|segment| segment.records).sum(),
        first: segments.first().map_or(0, |segment| segment.first),
        last: survey.head.sequence,
        hash: survey.head.hash.to_string(),
        signed: signed.map(|mark| mark.sequence).max().unwrap_or(0),
        countersigned: countersigned(segments),
        lost: segments.iter().map(|segment| segment.lost).sum(),
        findings: survey.findings,
        gaps,
    })
}
