//! The way of a packet, where the packet itself says it.

use aya_ebpf::programs::SkBuffContext;

/// Bytes of a header of IPv4 without options, and of IPv6 without further headers.
const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;

/// The most options that fit a header of IPv4.
const OPTIONS: usize = 40;

/// Further headers of IPv6 that are looked through. The kernel itself puts one before TCP, to send much at once.
const HEADERS: usize = 4;

/// Whether a packet names places that it is to pass: whoever is judged by where it goes in the end goes there
/// by way of others, which nobody was asked about. What cannot be read counts as such.
#[inline(always)]
pub fn is_given(ctx: &SkBuffContext) -> bool {
    let Ok(head) = ctx.load::<[u8; 7]>(0) else {
        return true;
    };
    if head[0] >> 4 == 4 {
        let length = usize::from(head[0] & 15) * 4;
        length > V4_HEADER && is_among_options(ctx, length)
    } else {
        is_among_headers(ctx, head[6])
    }
}

/// `IPOPT_LSRR` and `IPOPT_SSRR`.
#[inline(always)]
fn is_among_options(ctx: &SkBuffContext, length: usize) -> bool {
    let (mut at, mut left) = (V4_HEADER, OPTIONS);
    while left > 0 {
        if at >= length {
            return false;
        }
        let Ok(kind) = ctx.load::<u8>(at) else {
            return true;
        };
        at += match kind {
            0 => return false,
            1 => 1,
            131 | 137 => return true,
            _ => match ctx.load::<u8>(at + 1) {
                Ok(bytes) if bytes >= 2 => usize::from(bytes),
                _ => return true,
            },
        };
        left -= 1;
    }
    true
}

/// A routing header, perhaps behind one of options for every hop or for the destination.
#[inline(always)]
fn is_among_headers(ctx: &SkBuffContext, first: u8) -> bool {
    let (mut kind, mut at, mut left) = (first, V6_HEADER, HEADERS);
    while left > 0 {
        match kind {
            43 => return true,
            0 | 60 => {}
            _ => return false,
        }
        let Ok([next, length]) = ctx.load::<[u8; 2]>(at) else {
            return true;
        };
        kind = next;
        at += usize::from(length) * 8 + 8;
        left -= 1;
    }
    true
}
