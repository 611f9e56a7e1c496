//! The hashes of names and of their extensions. A short name lies in its dentry, a long one is read.
//!
//! All that computes is a global function of numbers: the verifier looks at such a one once, and not
//! at every place that calls it.

use super::file::Dentry;
use super::offsets::{DENTRY_NAME, DENTRY_NAME_LENGTH};
use super::path::Walk;
use crate::maps::INDEX;
use agent_common::path::{Index, Lanes, MAX_EXTENSION, MAX_NAME, Secret};
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;

/// The hash of a dentry's name; 0 when it cannot be read.
#[inline(always)]
pub(super) fn name_of(walk: *mut Walk, index: &Index, dentry: Dentry) -> u64 {
    let length: u32 = dentry.0.load(&DENTRY_NAME_LENGTH);
    if let Some([a, b, c, d]) = dentry.short_name(length) {
        return path_short_name(a, b, c, d, u64::from(length));
    }
    let secret = index.secret.name;
    let (bytes, length) = bytes_of(walk, dentry);
    path_name(bytes, length, secret.key, secret.check)
}

/// The hashes of a name that lies in its dentry, and of its extension; 0 when there is none that a rule might name.
#[inline(always)]
pub(super) fn short_name_of(index: &Index, dentry: Dentry) -> Option<(u64, u64)> {
    let length: u32 = dentry.0.load(&DENTRY_NAME_LENGTH);
    let [a, b, c, d] = dentry.short_name(length)?;
    let name = path_short_name(a, b, c, d, u64::from(length));
    let extension = match index.extensions {
        0 => 0,
        _ => path_short_extension(a, b, c, d, u64::from(length)),
    };
    Some((name, extension))
}

/// The hash of its extension; 0 when there is none that a rule might name.
#[inline(always)]
pub(super) fn extension_of(walk: *mut Walk, index: &Index, dentry: Dentry) -> u64 {
    if index.extensions == 0 {
        return 0;
    }
    let length: u32 = dentry.0.load(&DENTRY_NAME_LENGTH);
    if let Some([a, b, c, d]) = dentry.short_name(length) {
        return path_short_extension(a, b, c, d, u64::from(length));
    }
    let secret = index.secret.name;
    let (bytes, length) = bytes_of(walk, dentry);
    path_extension(bytes, length, secret.key, secret.check)
}

/// Where the bytes of a name lie, and how many there are.
#[inline(always)]
fn bytes_of(walk: *mut Walk, dentry: Dentry) -> (u64, u64) {
    let length: u32 = dentry.0.load(&DENTRY_NAME_LENGTH);
    let bytes: u64 = dentry.0.load(&DENTRY_NAME);
    // SAFETY: as in `path::climb`.
    let bytes = unsafe {
        core::ptr::write_volatile(&raw mut (*walk).bytes, bytes);
        core::ptr::read_volatile(&raw const (*walk).bytes)
    };
    (bytes, u64::from(length))
}

/// Bytes of a name that are read at once.
const CHUNK: usize = 32;

/// Hashes a name.
#[inline(never)]
#[unsafe(no_mangle)]
pub(super) extern "C" fn path_name(name: u64, length: u64, key: u64, check: u64) -> u64 {
    if length == 0 || length > MAX_NAME as u64 {
        return 0;
    }
    let mut lanes = Lanes { key, check };
    let mut i = 0;
    while i < MAX_NAME.div_ceil(CHUNK) {
        let at = (i * CHUNK) as u64;
        if at >= length {
            break;
        }
        let mut chunk = [0u64; CHUNK / 8];
        if !read(&mut chunk, name + at, length - at) {
            return 0;
        }
        let mut j = 0;
        while j < CHUNK / 8 {
            if at + (j as u64) * 8 < length {
                lanes = lanes.with(chunk[j]);
            }
            j += 1;
        }
        i += 1;
    }
    Secret::finish(lanes, length)
}

/// Hashes the text behind the last dot of a name, if there is one of a length that rules can have.
#[inline(never)]
#[unsafe(no_mangle)]
pub(super) extern "C" fn path_extension(name: u64, length: u64, key: u64, check: u64) -> u64 {
    if length == 0 || length > MAX_NAME as u64 {
        return 0;
    }
    // The extension and its dot, as far as they can reach.
    let tail = if length > REACH as u64 {
        REACH as u64
    } else {
        length
    };
    let mut bytes = [0u8; REACH];
    // SAFETY: the helper checks the address; `bytes` has room for `tail`.
    let read_tail = unsafe {
        bpf_probe_read_kernel(
            bytes.as_mut_ptr().cast(),
            tail as u32,
            (name + length - tail) as *const _,
        )
    };
    if read_tail != 0 {
        return 0;
    }
    let mut behind = 0;
    let mut i = 0;
    while i < REACH {
        if bytes[i] == b'.' {
            behind = i as u64 + 1;
        }
        i += 1;
    }
    let extension = tail - behind;
    if behind == 0 || behind >= tail || extension > MAX_EXTENSION as u64 {
        return 0;
    }
    let mut chunk = [0u64; CHUNK / 8];
    if !read(&mut chunk, name + length - extension, extension) {
        return 0;
    }
    let mut lanes = Lanes { key, check };
    let mut j = 0;
    while j < CHUNK / 8 {
        if (j as u64) * 8 < extension {
            lanes = lanes.with(chunk[j]);
        }
        j += 1;
    }
    Secret::finish(lanes, extension)
}

/// Bytes of the longest extension with its dot.
const REACH: usize = MAX_EXTENSION + 1;
const _: () = assert!(MAX_EXTENSION == CHUNK);

/// Reads at most a chunk; what is not read stays zero.
#[inline(always)]
fn read(chunk: &mut [u64; CHUNK / 8], from: u64, length: u64) -> bool {
    let length = if length > CHUNK as u64 {
        CHUNK as u64
    } else {
        length
    };
    // SAFETY: the helper checks the address; the chunk has room for `length`.
    unsafe {
        bpf_probe_read_kernel(chunk.as_mut_ptr().cast(), length as u32, from as *const _) == 0
    }
}

/// [`short_name`](agent_common::path::Secret::short_name); 0 where there is no secret.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn path_short_name(a: u64, b: u64, c: u64, d: u64, length: u64) -> u64 {
    let Some(index) = INDEX.get(0) else {
        return 0;
    };
    index.secret.short_name([a, b, c, d], length)
}

/// [`short_extension`](agent_common::path::Secret::short_extension); 0 where there is no secret.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn path_short_extension(a: u64, b: u64, c: u64, d: u64, length: u64) -> u64 {
    let Some(index) = INDEX.get(0) else {
        return 0;
    };
    index.secret.short_extension([a, b, c, d], length)
}
