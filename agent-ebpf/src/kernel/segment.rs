//! What a packet of TCP says.

use aya_ebpf::programs::SkBuffContext;

const TCP: u8 = 6;
const RESET: u8 = 4;

/// Whether a packet tells the peer that the connection is gone, and nothing else. Only the kernel
/// makes such of a TCP socket, with no byte of the session's in it.
#[inline(always)]
pub fn is_bare_reset(ctx: &SkBuffContext) -> bool {
    let Ok(head) = ctx.load::<[u8; 10]>(0) else {
        return false;
    };
    // Of IPv6 without extensions: the kernel sends none of its own before TCP.
    let (start, protocol) = if head[0] >> 4 == 4 {
        (usize::from(head[0] & 15) * 4, head[9])
    } else {
        (40, head[6])
    };
    if protocol != TCP {
        return false;
    }
    let Ok([offset, flags]) = ctx.load::<[u8; 2]>(start + 12) else {
        return false;
    };
    flags & RESET != 0 && start as u32 + u32::from(offset >> 4) * 4 == ctx.len()
}
