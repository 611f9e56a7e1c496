//! What may be looked up, and how often: `egress.lookups`. What is asked travels to whoever answers, so a lookup can
//! carry something out.

use crate::text::{Fields, Node, Reader, Span, quoted};

use super::condition;

/// A type of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordKind {
    word: &'static str,
    number: u16,
}

impl RecordKind {
    /// Those that a policy can name, with the numbers that IANA gave them.
    pub const ALL: [RecordKind; 12] = [
        Self::new("A", 1),
        Self::new("AAAA", 28),
        Self::new("CNAME", 5),
        Self::new("HTTPS", 65),
        Self::new("SVCB", 64),
        Self::new("SRV", 33),
        Self::new("TXT", 16),
        Self::new("MX", 15),
        Self::new("NS", 2),
        Self::new("PTR", 12),
        Self::new("CAA", 257),
        Self::new("NAPTR", 35),
    ];

    /// How many of them connections need: those that come first.
    const USUAL: usize = 6;

    const fn new(word: &'static str, number: u16) -> Self {
        Self { word, number }
    }

    /// The word in policies, and in lookups.
    pub const fn word(self) -> &'static str {
        self.word
    }

    /// The number on the wire.
    pub const fn number(self) -> u16 {
        self.number
    }
}

/// So many in so much time, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How many.
    pub count: u64,
    /// In so many seconds.
    pub period_s: u64,
    /// At once.
    pub burst: u64,
}

/// What a session may look up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookups {
    /// Types of records.
    pub records: Vec<RecordKind>,
    /// All lookups.
    pub pace: Pace,
    /// Lookups of names below a `*.` that the session has not asked for before.
    pub new_names: Pace,
    /// Bytes of a label below a `*.`.
    pub label: usize,
    /// Bytes of all labels below a `*.`, with their dots.
    pub below: usize,
    /// Labels below a `*.`.
    pub labels: usize,
}

impl Default for Lookups {
    fn default() -> Self {
        let all = RecordKind::ALL.into_iter();
        Self {
            records: all.take(RecordKind::USUAL).collect(),
            pace: Pace {
                count: 100,
                period_s: 1,
                burst: 500,
            },
            new_names: Pace {
                count: 1,
                period_s: 1,
                burst: 120,
            },
            label: 40,
            below: 80,
            labels: 4,
        }
    }
}

pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Option<(Lookups, Span)> {
    let known = ["records", "pace", "newNames", "label", "below", "labels"];
    let fields = Fields::of(reader, node, "lookups", &known)?;
    let usual = Lookups::default();
    let mut most = |key, usual, limit| match fields.get(key) {
        Some(node) => size(reader, node, limit).unwrap_or(usual),
        None => usual,
    };
    let (label, below, labels) = (
        most("label", usual.label, 63),
        most("below", usual.below, 253),
        most("labels", usual.labels, 127),
    );
    let mut pace = |key: &'static str, usual| match fields.get(key) {
        Some(node) => pace(reader, node, key).unwrap_or(usual),
        None => usual,
    };
    let (all, new_names) = (pace("pace", usual.pace), pace("newNames", usual.new_names));
    Some((
        Lookups {
            records: match fields.get("records") {
                Some(node) => records(reader, node),
                None => usual.records,
            },
            pace: all,
            new_names,
            label,
            below,
            labels,
        },
        node.span,
    ))
}

fn records(reader: &mut Reader<'_>, node: &Node) -> Vec<RecordKind> {
    const EXPECTED: &str =
        "types of records: A, AAAA, CNAME, HTTPS, SVCB, SRV, TXT, MX, NS, PTR, CAA or NAPTR";
    let mut found = Vec::new();
    for word in condition::words(reader, node, EXPECTED) {
        let kind = RecordKind::ALL.iter().find(|kind| kind.word == word.text);
        match kind {
            Some(kind) => found.push(*kind),
            None => reader.found(word.span, &quoted(&word.text), EXPECTED),
        }
    }
    found.sort();
    found.dedup();
    found
}

fn pace(reader: &mut Reader<'_>, node: &Node, what: &'static str) -> Option<Pace> {
    let fields = Fields::of(reader, node, what, &["rate", "burst"])?;
    let expected = "so many in so much time, such as 10/s or 100/min";
    let rate = fields.require(reader, "rate", expected)?;
    let (count, period_s) = condition::rate(reader, rate)?;
    let burst = match fields.get("burst") {
        Some(node) => condition::count(reader, node)?,
        None => count,
    };
    Some(Pace {
        count,
        period_s,
        burst,
    })
}

fn size(reader: &mut Reader<'_>, node: &Node, most: usize) -> Option<usize> {
    let expected = format!("a number from 1 to {most}");
    let text = reader.text(node, &expected)?;
    let found = super::network::number(text).and_then(|number| usize::try_from(number).ok());
    let found = found.filter(|number| (1..=most).contains(number));
    if found.is_none() {
        reader.found(node.span, &quoted(text), &expected);
    }
    found
}
