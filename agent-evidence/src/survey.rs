//! All segments, one after the other, and what does not fit between them.

use crate::chain::Hash;
use crate::disk::Disk;
use crate::finding::{Finding, Found};
use crate::mark::Mark;
use crate::record::{Gap, Retired};
use crate::segment::{Jump, Segment, Trust, first_of};
use std::io;

/// What a folder holds.
#[derive(Debug)]
pub struct Survey {
    /// Its segments, oldest first. One that cannot be read has nothing but a name and a fault.
    pub segments: Vec<Segment>,
    /// The last record that can be believed.
    pub head: Mark,
    /// The highest number that was seen or is remembered, believed or not.
    pub highest: u64,
    /// All that is wrong and that no record speaks of.
    pub findings: Vec<Finding>,
}

impl Survey {
    /// Looks at a folder. Only that it cannot be listed is an error.
    pub fn of(disk: &impl Disk, trust: &Trust) -> io::Result<Self> {
        let names = segment_names(disk)?;
        let mut survey = Self {
            segments: Vec::with_capacity(names.len()),
            head: Mark {
                sequence: 0,
                hash: Hash::START,
            },
            highest: 0,
            findings: Vec::new(),
        };
        let mut jumps: Vec<Jump> = Vec::new();
        for (at, name) in names.iter().enumerate() {
            let newest = at + 1 == names.len();
            let mut segment = match disk.read(name) {
                Ok(bytes) => Segment::read(name, &bytes, newest, trust),
                Err(error) => unreadable(name, &error),
            };
            jumps.append(&mut segment.jumps);
            survey.take(segment, &mut jumps);
        }
        survey.judge(jumps);
        survey.look_back(trust);
        Ok(survey)
    }

    fn take(&mut self, segment: Segment, jumps: &mut Vec<Jump>) {
        let before = self.segments.last();
        if let Some(head) = segment.head {
            // The header's place is a jump unless it simply goes on.
            let begins = Mark {
                sequence: segment.first.saturating_sub(1),
                hash: segment.previous,
            };
            if begins != self.head {
                match before.and_then(|before| before.fault.as_ref()) {
                    // What is wrong there says it already; now it is known how much is missing.
                    Some(fault) => {
                        let (fault, last) = (fault.segment.clone(), begins.sequence);
                        let first = self.head.sequence + 1;
                        let findings = self.findings.iter_mut().rev();
                        for finding in findings.filter(|finding| finding.segment == fault) {
                            finding.missing = Some((first, last));
                        }
                    }
                    None if segment.records == 0 => {}
                    None => jumps.push(Jump {
                        after: self.head,
                        at: segment.first,
                        previous: begins.hash,
                        segment: segment.name.clone(),
                        offset: 0,
                    }),
                }
            }
            // Where no record can be believed, what the header says is no place to go on from.
            if segment.records > 0 {
                self.head = head;
            }
        }
        self.highest = self.highest.max(segment.highest);
        if let Some(fault) = &segment.fault {
            let missing = segment.highest.max(self.head.sequence);
            let mut finding = fault.clone();
            if missing > self.head.sequence {
                finding.missing = Some((self.head.sequence + 1, missing));
            }
            finding.after = self.head.sequence;
            self.findings.push(finding);
        }
        self.segments.push(segment);
    }

    /// Jumps are in order where a record says why.
    fn judge(&mut self, jumps: Vec<Jump>) {
        for jump in jumps {
            if self.explains(&jump) {
                continue;
            }
            let after = jump.after.sequence;
            let (found, missing) = match jump.at.cmp(&(after + 1)) {
                std::cmp::Ordering::Greater => (Found::Dropped, Some((after + 1, jump.at - 1))),
                std::cmp::Ordering::Equal => (Found::Resealed, None),
                std::cmp::Ordering::Less => (Found::Swapped, None),
            };
            let detail = match found {
                Found::Dropped => format!("the next record is {}", jump.at),
                _ => format!(
                    "record {} says that {} stood before, and it is {}",
                    jump.at, jump.previous, jump.after
                ),
            };
            self.findings.push(Finding {
                found,
                segment: jump.segment,
                offset: jump.offset,
                after,
                missing,
                detail,
            });
        }
    }

    fn explains(&self, jump: &Jump) -> bool {
        let (after, at) = (jump.after.sequence, jump.at);
        let covers = |gap: &Gap| {
            let from = gap.first == after + 1 || (gap.first <= after && at > after + 1);
            from && gap.last + 1 >= at
        };
        let retires = |retired: &Retired| {
            after == 0 && retired.last + 1 == at && retired.hash == jump.previous
        };
        self.gaps().any(|(_, gap)| covers(gap))
            || self
                .segments
                .iter()
                .flat_map(|segment| &segment.retired)
                .any(retires)
    }

    /// Whether all that is remembered is still there.
    fn look_back(&mut self, trust: &Trust) {
        let Some(newest) = trust.known.iter().max_by_key(|known| known.sequence) else {
            return;
        };
        self.highest = self.highest.max(newest.sequence);
        if newest.sequence <= self.head.sequence {
            return;
        }
        let missing = (self.head.sequence + 1, newest.sequence);
        // What is wrong with the newest segment explains it already.
        if let Some(fault) = self.segments.last().and_then(|last| last.fault.clone())
            && let Some(finding) = self
                .findings
                .iter_mut()
                .find(|finding| finding.segment == fault.segment)
        {
            finding.missing = Some(missing);
            return;
        }
        self.findings.push(Finding {
            found: Found::RolledBack,
            segment: String::new(),
            offset: 0,
            after: self.head.sequence,
            missing: Some(missing),
            detail: format!(
                "the folder ends with record {}, and record {} had been there",
                self.head.sequence, newest.sequence
            ),
        });
    }

    /// What records say is missing.
    pub fn gaps(&self) -> impl Iterator<Item = &(u64, Gap)> {
        self.segments.iter().flat_map(|segment| &segment.gaps)
    }
}

/// The names of the segments in a folder, oldest first.
pub(crate) fn segment_names(disk: &impl Disk) -> io::Result<Vec<String>> {
    let mut names = disk.names()?;
    names.retain(|name| first_of(name).is_some());
    names.sort();
    Ok(names)
}

fn unreadable(name: &str, error: &io::Error) -> Segment {
    Segment {
        name: name.to_owned(),
        fault: Some(Finding {
            found: Found::Unreadable,
            segment: name.to_owned(),
            offset: 0,
            after: 0,
            missing: None,
            detail: error.to_string(),
        }),
        ..Segment::default()
    }
}
