//! The arguments of a program that is about to run, read from its own memory.
//!
//! They are final once the image is committed: nobody shares the new memory, and nobody can reach
//! it before the kernel lets go of `exec_update_lock` (5.10: the same, `begin_new_exec`). What can
//! be done to a process later is no matter of its arguments.
//!
//! As in [`weigh`](super::weigh), each loop is a global function, which the verifier checks once.

use super::call;
use super::pending::{CHUNK, Pending};
use crate::maps::{ARGUMENTS, INDEX};
use agent_common::abi::MAX_ARGUMENTS;
use agent_common::argument::ARGUMENT_EIGHTS;
use agent_common::decide::ARGUMENT_TRAITS;
use agent_common::event::MAX_ARGUMENT_BYTES;
use agent_common::path::Secret;
use aya_ebpf::helpers::generated::{bpf_probe_read_user, bpf_probe_read_user_str};
use core::ffi::c_void;

/// Words that are looked at in one function, and how often it is called.
const WORDS: u32 = 64;
/// Reads that the longest word takes: the kernel's `MAX_ARG_STRLEN` is 128 KiB. The last byte of
/// a read is the zero that the helper puts there.
const CHUNKS: u32 = (128 * 1024) / (CHUNK as u32 - 1) + 2;

/// The traits of a program's arguments under a policy. `address` is where all words begin, of
/// which there are `count`; the program's own name is the one at `offset`. Nothing when a word
/// cannot be read, or there are more than 4096.
#[inline(always)]
pub fn traits(pending: Pending, policy: u32, address: u64, count: u32, offset: u32) -> Option<u32> {
    pending.begin();
    if let Some(index) = INDEX.get(0) {
        pending.set_lanes(index.secret.name);
    }
    if count > WORDS * WORDS {
        return None;
    }
    let mut at = address;
    let mut round = 0;
    while round < WORDS {
        let from = round * WORDS;
        if from >= count {
            break;
        }
        at = match_words(at, u64::from(policy) << 32 | u64::from(offset), from, count);
        if at == 0 {
            return None;
        }
        round += 1;
    }
    pending.set_end(at);
    Some(pending.traits())
}

/// The traits and the hash of the words that the running task has just given to `execve`, read from its own
/// memory: the kernel has taken them, but where they lie now no program can read. They can be changed there,
/// so what counts is read once more when it is final. Nothing when a word cannot be read. The first word
/// of a script is lost on the way, so it is left out.
#[inline(always)]
pub fn of_caller(policy: u32, count: u32, is_script: bool) -> Option<(u32, u64)> {
    let pending = Pending::ensure()?;
    let list = call::current_words()?;
    pending.begin();
    pending.set_keeps(true);
    pending.set_lanes(INDEX.get(0)?.secret.name);
    let mut from = 0;
    while from < WORDS {
        if from * WORDS >= count {
            break;
        }
        if caller_words(
            list,
            u64::from(policy),
            from * WORDS,
            count,
            u32::from(is_script),
        ) == 0
        {
            return None;
        }
        from += 1;
    }
    pending.set_hashes(false);
    pending.set_keeps(false);
    let hash = hash_of(pending, count);
    (count <= WORDS * WORDS).then_some((pending.traits(), hash))
}

#[inline(always)]
fn hash_of(pending: Pending, count: u32) -> u64 {
    Secret::finish(pending.lanes(), u64::from(count))
}

/// The hash of the words that were looked at last, of a program of which so many were asked for.
#[inline(always)]
pub fn hash(pending: Pending, count: u32) -> u64 {
    pending.set_hashes(false);
    hash_of(pending, count)
}

/// Looks at some words of a list in the running task's memory. 0 where one cannot be read.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn caller_words(list: u64, policy: u64, from: u32, count: u32, is_script: u32) -> u64 {
    let Some(pending) = Pending::of_current() else {
        return 0;
    };
    let mut i = 0;
    while i < WORDS {
        let word = from.wrapping_add(i);
        if word >= count {
            break;
        }
        let mut at = 0u64;
        let place = list.wrapping_add(u64::from(word) * 8);
        // SAFETY: the helper checks the address and writes the number.
        let read = unsafe { bpf_probe_read_user((&raw mut at).cast(), 8, place as *const c_void) };
        if read != 0 {
            return 0;
        }
        pending.set_hashes(word > 0 || is_script == 0);
        if read_word(at) == 0 {
            return 0;
        }
        if word > 0 {
            pending.add_traits(match_word(policy as u32, word));
        }
        i += 1;
    }
    1
}

/// Adds what was read last to the hash: the first `bytes` of it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn hash_chunk(bytes: u32) -> u32 {
    let Some(pending) = Pending::of_current() else {
        return 0;
    };
    let mut lanes = pending.lanes();
    let mut i = 0;
    while i < CHUNK / 8 {
        let left = bytes.saturating_sub(i as u32 * 8);
        if left == 0 {
            break;
        }
        let mut eight = pending.eight(i);
        if left < 8 {
            eight &= (1 << (left * 8)) - 1;
        }
        lanes = lanes.with(eight);
        i += 1;
    }
    // Where a word ends counts.
    pending.set_lanes(lanes.with(u64::from(bytes)));
    0
}

/// Keeps what was read last for people, if it is to be kept.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn keep_text(bytes: u32) -> u32 {
    if let Some(pending) = Pending::of_current() {
        pending.keep_text(bytes);
    }
    0
}

/// Copies the words about which somebody is asked, as they were read when their hash was made.
#[inline(always)]
pub fn copy_asked(to: &mut [u8; MAX_ARGUMENT_BYTES]) -> u32 {
    Pending::of_current().map_or(0, |pending| pending.copy_text(to))
}

/// Copies words from where they begin to where they end, as far as there is room. Answers how many
/// bytes were copied.
#[inline(always)]
pub fn copy([begin, end]: [u64; 2], to: &mut [u8; MAX_ARGUMENT_BYTES]) -> u32 {
    if begin == 0 || end <= begin {
        return 0;
    }
    let length = (end - begin).min(MAX_ARGUMENT_BYTES as u64) as u32;
    // SAFETY: the helper checks the address and writes no more than `length` bytes.
    let read =
        unsafe { bpf_probe_read_user(to.as_mut_ptr().cast(), length, begin as *const c_void) };
    if read == 0 { length } else { 0 }
}

/// Looks at some words. Answers where the next one begins, or 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn match_words(address: u64, policy_offset: u64, from: u32, count: u32) -> u64 {
    let Some(pending) = Pending::of_current() else {
        return 0;
    };
    let policy = (policy_offset >> 32) as u32;
    let offset = policy_offset as u32;
    let mut address = address;
    let mut i = 0;
    while i < WORDS {
        let word = from.wrapping_add(i);
        if word >= count {
            break;
        }
        if word == offset {
            pending.set_begin(address);
        }
        pending.set_hashes(word > offset || (word == 0 && offset == 0));
        address = read_word(address);
        if address == 0 {
            return 0;
        }
        // The program's own name is no argument.
        if word > offset {
            pending.add_traits(match_word(policy, word.wrapping_sub(offset)));
        }
        i += 1;
    }
    address
}

/// Reads a word. Answers where the next one begins, or 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn read_word(address: u64) -> u64 {
    let Some(pending) = Pending::of_current() else {
        return 0;
    };
    let mut at = address;
    let mut length = 0u32;
    let mut i = 0;
    while i < CHUNKS {
        // SAFETY: the helper checks the address and writes no more than `CHUNK` bytes.
        let read =
            unsafe { bpf_probe_read_user_str(pending.room(), CHUNK as u32, at as *const c_void) };
        if read < 0 || read > CHUNK as i64 {
            return 0;
        }
        // With its zero; but an empty word has length 0 before 6.13 (`strncpy_from_user_nofault`).
        let bytes = if read == 0 { 0 } else { read as u32 - 1 };
        if i == 0 {
            keep_start(bytes);
        }
        if pending.hashes() {
            hash_chunk(bytes);
        }
        if i == 0 {
            keep_text(bytes);
        }
        length += bytes;
        if bytes < CHUNK as u32 - 1 {
            pending.set_length(length);
            return at.wrapping_add(u64::from(bytes) + 1);
        }
        at = at.wrapping_add(u64::from(bytes));
        i += 1;
    }
    0
}

/// Keeps the beginning of a word.
#[inline(always)]
fn keep_start(bytes: u32) {
    let mut i = 0;
    while i < ARGUMENT_EIGHTS as u32 {
        keep_eight(i, bytes);
        i += 1;
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn keep_eight(i: u32, bytes: u32) -> u32 {
    if let Some(pending) = Pending::of_current() {
        pending.keep_start(i, bytes);
    }
    0
}

/// The traits that the word which was read last gives the action.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn match_word(policy: u32, at: u32) -> u32 {
    let first = policy.wrapping_mul(MAX_ARGUMENTS);
    let mut traits = 0;
    let mut i = 0;
    while i < ARGUMENT_TRAITS {
        let answer = match_pattern(first.wrapping_add(i), at);
        if answer == LAST {
            break;
        }
        traits |= answer << i;
        i += 1;
    }
    traits
}

/// There are no more patterns.
const LAST: u32 = 2;

/// Whether the word fits a pattern: 0, 1 or [`LAST`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn match_pattern(index: u32, at: u32) -> u32 {
    let Some(pattern) = ARGUMENTS.get(index) else {
        return LAST;
    };
    if pattern.kind == 0 {
        return LAST;
    }
    let Some(pending) = Pending::of_current() else {
        return LAST;
    };
    let (length, start) = pending.word();
    u32::from(pattern.fits(at, length, start))
}
