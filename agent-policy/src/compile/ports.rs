//! Ranges of ports as prefixes.

use crate::policy::PortRange;

/// Ports that share a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PortRule {
    pub(super) protocol: u8,
    pub(super) port: u16,
    pub(super) prefix_len: u8,
    pub(super) rule: u32,
}

/// Adds the prefixes that give every port the first range that contains it.
pub(super) fn prefixes(protocol: u8, ranges: &[(PortRange, u32)], into: &mut Vec<PortRule>) {
    for (first, last, rule) in segments(ranges) {
        let mut at = first;
        while at <= last {
            // The widest block that begins here and does not reach beyond the last port.
            let aligned = if at == 0 {
                16
            } else {
                at.trailing_zeros().min(16)
            };
            let fitting = (last - at + 1).ilog2();
            let bits = aligned.min(fitting);
            into.push(PortRule {
                protocol,
                port: u16::try_from(at).unwrap_or(u16::MAX),
                prefix_len: u8::try_from(16 - bits).unwrap_or(0),
                rule,
            });
            at += 1 << bits;
        }
    }
}

/// Consecutive ports with the same rule, in order, without overlap.
fn segments(ranges: &[(PortRange, u32)]) -> Vec<(u32, u32, u32)> {
    let bounds = |range: &PortRange| (u32::from(range.first), u32::from(range.last) + 1);
    let mut cuts: Vec<u32> = Vec::with_capacity(ranges.len() * 2);
    for (range, _) in ranges {
        let (start, end) = bounds(range);
        cuts.extend([start, end]);
    }
    cuts.sort_unstable();
    cuts.dedup();
    let mut painted: Vec<Option<u32>> = vec![None; cuts.len()];
    // `free[i]` leads to the first unpainted piece at or after i, so that a piece is visited once.
    let mut free: Vec<usize> = (0..=cuts.len()).collect();
    for (range, rule) in ranges {
        let (start, end) = bounds(range);
        let mut piece = next_free(&mut free, cuts.partition_point(|cut| *cut < start));
        while cuts.get(piece).is_some_and(|cut| *cut < end) {
            painted[piece] = Some(*rule);
            free[piece] = piece + 1;
            piece = next_free(&mut free, piece);
        }
    }
    let mut segments: Vec<(u32, u32, u32)> = Vec::new();
    for (pair, rule) in cuts.windows(2).zip(&painted) {
        let ([start, end], Some(rule)) = (pair, rule) else {
            continue;
        };
        match segments.last_mut() {
            Some((_, last, same)) if *same == *rule && *last + 1 == *start => *last = end - 1,
            _ => segments.push((*start, end - 1, *rule)),
        }
    }
    segments
}

/// Follows `free` from a piece, shortening the way for the next who asks.
fn next_free(free: &mut [usize], mut piece: usize) -> usize {
    while let Some(&next) = free.get(piece)
        && next != piece
    {
        let beyond = free.get(next).copied().unwrap_or(next);
        free[piece] = beyond;
        piece = next;
    }
    piece
}
