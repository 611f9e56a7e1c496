//! Names that are short enough to lie in a few words, as most are: the kernel programs read those
//! without a helper, and hash them in registers. The hashes are those of [`Secret::name_of`].

use crate::path::{Lanes, Secret};

/// Words that such a name lies in; it is shorter than all of them.
pub const SHORT_WORDS: usize = 4;

impl Secret {
    /// The hash of a name that lies in these words, whatever lies behind it there; 0 when it is none
    /// or longer.
    #[inline(always)]
    pub fn short_name(&self, words: [u64; SHORT_WORDS], length: u64) -> u64 {
        if !is_short(length) {
            return 0;
        }
        hashed(self.name, cut(words, length), length)
    }

    /// The hash of the text behind the last dot of such a name; 0 when there is none.
    #[inline(always)]
    pub fn short_extension(&self, words: [u64; SHORT_WORDS], length: u64) -> u64 {
        if !is_short(length) {
            return 0;
        }
        let words = cut(words, length);
        // The last word first. Written out, because a kernel program cannot read its stack at a
        // place that is not known when it is loaded.
        behind::<3>(self.name, words, length)
            .or_else(|| behind::<2>(self.name, words, length))
            .or_else(|| behind::<1>(self.name, words, length))
            .or_else(|| behind::<0>(self.name, words, length))
            .unwrap_or(0)
    }
}

#[inline(always)]
fn is_short(length: u64) -> bool {
    length > 0 && length < SHORT_WORDS as u64 * 8
}

/// The same words without what lies behind the name.
#[inline(always)]
fn cut(words: [u64; SHORT_WORDS], length: u64) -> [u64; SHORT_WORDS] {
    let [a, b, c, d] = words;
    [
        first_bytes(a, length),
        first_bytes(b, length.saturating_sub(8)),
        first_bytes(c, length.saturating_sub(16)),
        first_bytes(d, length.saturating_sub(24)),
    ]
}

#[inline(always)]
fn first_bytes(word: u64, bytes: u64) -> u64 {
    if bytes >= 8 {
        word
    } else {
        word & ((1 << (bytes * 8)) - 1)
    }
}

#[inline(always)]
fn hashed(start: Lanes, words: [u64; SHORT_WORDS], length: u64) -> u64 {
    let [a, b, c, d] = words;
    let mut lanes = start.with(a);
    if length > 8 {
        lanes = lanes.with(b);
    }
    if length > 16 {
        lanes = lanes.with(c);
    }
    if length > 24 {
        lanes = lanes.with(d);
    }
    Secret::finish(lanes, length)
}

/// The hash of the text behind the last dot of a word; nothing where the word has none, and 0 where
/// the dot is the name's end.
#[inline(always)]
fn behind<const AT: usize>(start: Lanes, words: [u64; SHORT_WORDS], length: u64) -> Option<u64> {
    let dots = dots(words[AT]);
    if dots == 0 {
        return None;
    }
    let last = last_byte(dots);
    let length = length.saturating_sub(AT as u64 * 8 + last + 1);
    if length == 0 {
        return Some(0);
    }
    let bits = last * 8;
    let word = |i: usize| words.get(AT + i).copied().unwrap_or(0);
    // By nine bytes at most: by 64 bits at once a word cannot be moved.
    let moved = |i: usize| word(i) >> bits >> 8 | word(i + 1) << (56 - bits);
    let words = [moved(0), moved(1), moved(2), moved(3)];
    Some(hashed(start, words, length))
}

/// The highest bit of each byte that is a dot.
#[inline(always)]
fn dots(word: u64) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let other = word ^ 0x2e2e_2e2e_2e2e_2e2e;
    !(((other & LOW) + LOW) | other | LOW)
}

/// Which byte of a word is the last that is not zero.
#[inline(always)]
fn last_byte(word: u64) -> u64 {
    let (mut word, mut byte) = (word, 0);
    if word >> 32 != 0 {
        word >>= 32;
        byte += 4;
    }
    if word >> 16 != 0 {
        word >>= 16;
        byte += 2;
    }
    if word >> 8 != 0 {
        byte += 1;
    }
    byte
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The words of a name, with other bytes behind it.
    fn words(name: &[u8], rest: u8) -> [u64; SHORT_WORDS] {
        let mut bytes = [rest; SHORT_WORDS * 8];
        bytes[..name.len()].copy_from_slice(name);
        let mut words = [0; SHORT_WORDS];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes(chunk.try_into().expect("eight bytes"));
        }
        words
    }

    fn extension_of(secret: &Secret, name: &[u8]) -> u64 {
        match name.iter().rposition(|byte| *byte == b'.') {
            Some(dot) if dot + 1 < name.len() => secret.name_of(&name[dot + 1..]),
            _ => 0,
        }
    }

    proptest! {
        #[test]
        fn short_names_have_the_hashes_that_names_have(
            name in proptest::collection::vec(prop_oneof![Just(b'.'), 1u8..], 1..32),
            rest in prop_oneof![Just(b'.'), any::<u8>()],
            (key, check) in any::<(u64, u64)>(),
        ) {
            let lanes = Lanes { key, check };
            let secret = Secret { name: lanes, path: lanes };
            let (words, length) = (words(&name, rest), name.len() as u64);
            prop_assert_eq!(secret.short_name(words, length), secret.name_of(&name));
            prop_assert_eq!(secret.short_extension(words, length), extension_of(&secret, &name));
        }

        #[test]
        fn few_dots_are_found_too(
            before in "[a-z]{0,20}",
            behind in "[a-z]{0,10}",
            (key, check) in any::<(u64, u64)>(),
        ) {
            let lanes = Lanes { key, check };
            let secret = Secret { name: lanes, path: lanes };
            let mut name = [0; 31];
            let length = before.len() + 1 + behind.len();
            name[..before.len()].copy_from_slice(before.as_bytes());
            name[before.len()] = b'.';
            name[before.len() + 1..length].copy_from_slice(behind.as_bytes());
            let name = &name[..length];
            let found = secret.short_extension(words(name, 0), length as u64);
            prop_assert_eq!(found, extension_of(&secret, name));
        }
    }

    #[test]
    fn what_is_not_short_has_no_hash() {
        let lanes = Lanes { key: 1, check: 2 };
        let secret = Secret {
            name: lanes,
            path: lanes,
        };
        for length in [0, 32, 33, u64::MAX] {
            assert_eq!(secret.short_name([u64::MAX; SHORT_WORDS], length), 0);
            assert_eq!(secret.short_extension([u64::MAX; SHORT_WORDS], length), 0);
        }
    }
}
