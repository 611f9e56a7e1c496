//! Hashing names that lie in their dentries, in functions that the verifier checks once.

use crate::maps::INDEX;

/// [`short_name`](agent_common::path::Secret::short_name); 0 where there is no secret.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn path_short_name(a: u64, b: u64, c: u64, d: u64, length: u64) -> u64 {
    let Some(index) = INDEX.get(0) else {
        return 0;
    };
    index.secret.short_name([a, b, c, d], length)
}

/// [`short_extension`](agent_common::path::Secret::short_extension); 0 where there is no secret.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn path_short_extension(a: u64, b: u64, c: u64, d: u64, length: u64) -> u64 {
    let Some(index) = INDEX.get(0) else {
        return 0;
    };
    index.secret.short_extension([a, b, c, d], length)
}
