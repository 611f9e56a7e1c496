//! What can be done with a file, by which a policy's path rules are looked up.

use crate::wire::{assert_layout, wire_enum};

wire_enum! {
    /// One kind of use of a file; the index of its rules in a path entry.
    Access: u8 {
        /// Its contents are read.
        Read = 0 => "read",
        /// Its contents or attributes are changed.
        Write = 1 => "write",
        /// It comes into being.
        Create = 2 => "create",
        /// It is removed.
        Delete = 3 => "delete",
        /// It gets another name, or another file gets its name.
        Rename = 4 => "rename",
        /// It gets a second name.
        Link = 5 => "link",
        /// It is mapped as code.
        Map = 6 => "map",
        /// It is executed.
        Exec = 7 => "exec",
        /// It is a Unix socket that is connected to.
        Connect = 8 => "connect",
    }
}

/// Number of accesses.
pub const ACCESSES: usize = Access::ALL.len();

/// Directories on the way from the root of a file system to a file. What lies deeper is not judged
/// but denied.
pub const MAX_DIRECTORIES: usize = 32;

/// Bytes of one name, as in the kernel's `NAME_MAX`.
pub const MAX_NAME: usize = 255;

/// Bytes of an extension that a rule can name. A longer one is the extension of no rule.
pub const MAX_EXTENSION: usize = 32;

/// Multiplying the halves of what is secret and what is known leaves no difference of two names
/// that outlives it whatever the secret.
#[inline(always)]
const fn mix(lane: u64, word: u64) -> u64 {
    let x = lane ^ word;
    (x & 0xffff_ffff)
        .wrapping_mul(x >> 32)
        .wrapping_add(x.rotate_left(29))
}

/// Two hashes of the same thing that share no secret: one finds an entry, the other proves it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Lanes {
    /// By which an entry is found.
    pub key: u64,
    /// By which it is proven.
    pub check: u64,
}

assert_layout!(Lanes, size 16, key at 0, check at 8);

impl Lanes {
    /// The lanes after one more word.
    #[inline(always)]
    pub const fn with(self, word: u64) -> Self {
        Self {
            key: mix(self.key, word),
            check: mix(self.check, word),
        }
    }
}

/// What an agent must not know: with it, names could be made that pass for others. Drawn anew
/// whenever the kernel programs are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Secret {
    /// Where the hash of a name begins.
    pub name: Lanes,
    /// Where the hash of a path begins.
    pub path: Lanes,
}

assert_layout!(Secret, size 32, name at 0, path at 16);

impl Secret {
    /// The hash of a name: its bytes, eight at a time with zeros behind the last, are taken up by
    /// [`Secret::name`], and then [`Secret::finish`] is asked.
    pub fn name_of(&self, name: &[u8]) -> u64 {
        let lanes = name.chunks(8).fold(self.name, |lanes, chunk| {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            lanes.with(u64::from_le_bytes(word))
        });
        Self::finish(lanes, name.len() as u64)
    }

    /// The hash when all bytes were taken up: half of it is of one lane, half of the other.
    #[inline(always)]
    pub const fn finish(lanes: Lanes, length: u64) -> u64 {
        let lanes = lanes.with(length);
        (lanes.key >> 32 << 32) | (lanes.check >> 32)
    }

    /// The root of a file system. Each [`Lanes::with`] a name's hash goes one directory down.
    #[inline(always)]
    pub const fn root(&self, device: u32) -> Lanes {
        self.path.with(device as u64)
    }

    /// A name or an extension by itself, wherever it lies.
    #[inline(always)]
    pub const fn anywhere(&self, name: u64) -> Lanes {
        self.path.with(name)
    }
}

wire_enum! {
    /// By what part of a path an entry is found.
    EntryKind: u16 {
        /// The whole path.
        Exact = 0 => "exact",
        /// A directory on the way to it, or itself; the deepest counts.
        Under = 1 => "under",
        /// Its base name.
        Name = 2 => "name",
        /// The text behind the last dot of its base name.
        Extension = 3 => "extension",
        /// A directory with rules further down, which must not get another name.
        Above = 4 => "above",
        /// The name of a Unix socket that has no path.
        Abstract = 5 => "abstract",
        /// The name of another agent.
        Agent = 6 => "agent",
        /// The contents of a program.
        Digest = 7 => "digest",
    }
}

/// Whose rules are asked: a policy's own, or those of one of its tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct Scope {
    /// The policy's number.
    pub policy: u32,
    /// The tool, counted from 1; 0 for the policy itself.
    pub tool: u16,
}

/// Key of the path table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct PathKey {
    /// [`Lanes::key`].
    pub hash: u64,
    /// [`Scope::policy`].
    pub policy: u32,
    /// [`Scope::tool`].
    pub tool: u16,
    /// An [`EntryKind`].
    pub kind: u16,
}

assert_layout!(PathKey, size 16, hash at 0, policy at 8, tool at 12, kind at 14);

impl PathKey {
    /// The key of what is found by its lanes.
    #[inline(always)]
    pub const fn new(scope: Scope, kind: EntryKind, lanes: Lanes) -> Self {
        Self {
            hash: lanes.key,
            policy: scope.policy,
            tool: scope.tool,
            kind: kind.wire(),
        }
    }
}

/// No list.
pub const NO_LIST: u32 = u32::MAX;

/// In place of a list: the file is the enforcer's own, and no rule, privilege or mode lets a session
/// do this with it. Beside no fallback it must not look like [`u64::MAX`] less one, by which the kernel
/// programs know that there is no entry.
pub const KEEP_OUT: u32 = u32::MAX - 2;

/// A path and its lists of rules, for each [`Access`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct PathRules {
    /// [`Lanes::check`]: with another one the entry is another path's.
    pub check: u64,
    /// For a name or an extension the rules that deny; otherwise all that speak.
    pub lists: [u32; ACCESS_SLOTS],
    /// For a name or an extension the rules that allow.
    pub fallback: [u32; ACCESS_SLOTS],
}

assert_layout!(PathRules, size 136, check at 0, lists at 8, fallback at 72);

/// Room for one list for each access: a power of two, so that a mask keeps within it.
pub const ACCESS_SLOTS: usize = 16;

impl PathRules {
    /// No rules.
    pub const NONE: Self = Self {
        check: 0,
        lists: [NO_LIST; ACCESS_SLOTS],
        fallback: [NO_LIST; ACCESS_SLOTS],
    };
}

/// The lists that speak of one use of one object, in the order in which they are asked;
/// [`NO_LIST`] where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Lists {
    /// Where each list begins.
    pub starts: [u32; 5],
}

impl Lists {
    /// Nothing speaks of it.
    pub const NONE: Self = Self {
        starts: [NO_LIST; 5],
    };
}

/// Words of the filter.
pub const FILTER_WORDS: usize = 16_384;

/// What every look-up begins with, the one value of its map.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Index {
    /// Where hashes begin.
    pub secret: Secret,
    /// Another number whenever an entry came, went or changed. Never 0.
    pub generation: u64,
    /// How many extensions there are to look for.
    pub extensions: u64,
    /// The folder of the sessions' denials, by the number of its inode; 0 where there is none. What
    /// lies in it no rule speaks of: each session may read its own, and touch nothing.
    pub denials: u64,
    /// The device of its file system.
    pub denials_device: u32,
    /// The daemon's process, which no session reaches; 0 where it is not known.
    pub daemon: u32,
    /// Two bits of one word for each entry: what is not here is not in the table.
    pub filter: [u64; FILTER_WORDS],
}

assert_layout!(Index, size 131136, secret at 0, generation at 32, extensions at 40, denials at 48, denials_device at 56, filter at 64);

/// The word and the two bits of the filter that stand for a key.
#[inline(always)]
pub const fn filter_bits(key: PathKey) -> (usize, u64) {
    let own = ((key.policy as u64) << 32) | ((key.tool as u64) << 16) | key.kind as u64;
    let x = key.hash ^ own.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let bits = (1 << ((x >> 44) & 63)) | (1 << ((x >> 38) & 63));
    ((x >> 50) as usize, bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: Secret = Secret {
        name: Lanes {
            key: 0x0123_4567_89ab_cdef,
            check: 0xfedc_ba98_7654_3210,
        },
        path: Lanes {
            key: 0x0f1e_2d3c_4b5a_6978,
            check: 0x8796_a5b4_c3d2_e1f0,
        },
    };

    proptest! {
        #[test]
        fn names_that_differ_have_other_hashes(
            a in proptest::collection::vec(1u8.., 1..80),
            b in proptest::collection::vec(1u8.., 1..80),
        ) {
            prop_assert_eq!(SECRET.name_of(&a) == SECRET.name_of(&b), a == b);
        }

        /// A difference that comes out of a word as it went in can be taken back by the next: that
        /// is how a hash of multiplications by a constant is led astray without its secret.
        #[test]
        fn no_difference_is_undone_by_the_same_next_word(
            (key, check) in any::<(u64, u64)>(),
            (words, bit) in (any::<[u64; 2]>(), 0u32..64),
        ) {
            let secret = Secret { name: Lanes { key, check }, ..SECRET };
            let undone = |secret: &Secret, flip: u64| {
                let first = |word| secret.name.with(word).key;
                first(words[0]) ^ first(words[0] ^ flip)
            };
            let flip = 1 << bit;
            prop_assert_ne!(undone(&secret, flip), undone(&SECRET, flip));
        }
    }

    #[test]
    fn a_key_has_its_two_bits_in_one_word_of_the_filter() {
        for hash in [0, 1, u64::MAX, 0x1234_5678_9abc_def0] {
            for kind in EntryKind::ALL {
                let scope = Scope { policy: 7, tool: 3 };
                let lanes = Lanes {
                    key: hash,
                    check: 0,
                };
                let (word, bits) = filter_bits(PathKey::new(scope, *kind, lanes));
                assert!(word < FILTER_WORDS);
                assert!((1..=2).contains(&bits.count_ones()));
            }
        }
    }
}
