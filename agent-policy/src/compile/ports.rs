//! Ranges of ports as prefixes.

use crate::policy::PortRange;

/// Ports that share a list of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PortRule {
    pub(super) protocol: u8,
    pub(super) port: u16,
    pub(super) prefix_len: u8,
    pub(super) rule: u32,
}

/// A rule's range of ports.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ranged {
    pub(super) ports: PortRange,
    /// Claims of one level are equally specific.
    pub(super) level: (u8, u16),
    pub(super) rule: u32,
    /// It denies whatever the conditions: nothing behind it is asked.
    pub(super) closes: bool,
    /// It allows: nothing less specific is asked.
    pub(super) claims: bool,
}

/// Adds the prefixes that give the ports from `first` to `last` a list of rules.
pub(super) fn prefixes(protocol: u8, first: u32, last: u32, rule: u32, into: &mut Vec<PortRule>) {
    let mut at = first;
    while at <= last {
        // The widest block that begins here and does not reach beyond the last port.
        let aligned = if at == 0 {
            16
        } else {
            at.trailing_zeros().min(16)
        };
        let bits = aligned.min((last - at + 1).ilog2());
        into.push(PortRule {
            protocol,
            port: u16::try_from(at).unwrap_or(u16::MAX),
            prefix_len: u8::try_from(16 - bits).unwrap_or(0),
            rule,
        });
        at += 1 << bits;
    }
}

/// Rules that one piece keeps before it is certain that there are too many.
const MAX_KEPT: usize = 64;

/// Ports between two cuts.
#[derive(Clone, Debug, Default)]
struct Piece {
    /// Levels of rules, the most specific first.
    levels: Vec<((u8, u16), Vec<u32>)>,
    kept: usize,
    claimed: Option<(u8, u16)>,
}

impl Piece {
    /// Takes a rule's claim; false when no further claim matters.
    fn take(&mut self, claim: &Ranged) -> bool {
        if self.claimed.is_some_and(|level| level != claim.level) || self.kept >= MAX_KEPT {
            return false;
        }
        match self.levels.last_mut() {
            Some((level, rules)) if *level == claim.level => rules.push(claim.rule),
            _ => self.levels.push((claim.level, vec![claim.rule])),
        }
        self.kept += 1;
        if claim.claims {
            self.claimed = Some(claim.level);
        }
        !claim.closes
    }
}

/// Consecutive ports and the levels of their rules.
pub(super) type Segment = (u32, u32, Vec<Vec<u32>>);

/// The ports on which any of the claims speaks, in order, without overlap. Claims come in the order
/// of precedence.
pub(super) fn segments(claims: &[Ranged]) -> Vec<Segment> {
    let bounds = |range: &PortRange| (u32::from(range.first), u32::from(range.last) + 1);
    let mut cuts: Vec<u32> = Vec::with_capacity(claims.len() * 2);
    for claim in claims {
        let (start, end) = bounds(&claim.ports);
        cuts.extend([start, end]);
    }
    cuts.sort_unstable();
    cuts.dedup();
    let mut pieces: Vec<Piece> = vec![Piece::default(); cuts.len()];
    // `open[i]` leads to the first piece at or after i that still takes claims.
    let mut open: Vec<usize> = (0..=cuts.len()).collect();
    for claim in claims {
        let (start, end) = bounds(&claim.ports);
        let mut at = next_open(&mut open, cuts.partition_point(|cut| *cut < start));
        while cuts.get(at).is_some_and(|cut| *cut < end) {
            if !pieces.get_mut(at).is_some_and(|piece| piece.take(claim)) {
                open[at] = at + 1;
            }
            at = next_open(&mut open, at + 1);
        }
    }
    let mut segments: Vec<Segment> = Vec::new();
    for (pair, piece) in cuts.windows(2).zip(pieces) {
        let [start, end] = pair else { continue };
        if piece.levels.is_empty() {
            continue;
        }
        let levels: Vec<Vec<u32>> = piece.levels.into_iter().map(|(_, rules)| rules).collect();
        match segments.last_mut() {
            Some((_, last, same)) if *same == levels && *last + 1 == *start => *last = end - 1,
            _ => segments.push((*start, end - 1, levels)),
        }
    }
    segments
}

/// Follows `open` from a piece, shortening the way for the next who asks.
fn next_open(open: &mut [usize], mut piece: usize) -> usize {
    while let Some(&next) = open.get(piece)
        && next != piece
    {
        let beyond = open.get(next).copied().unwrap_or(next);
        open[piece] = beyond;
        piece = next;
    }
    piece
}
