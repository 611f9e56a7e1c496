//! What rules say of the arguments of a program, in the form in which the kernel compares them.

use crate::wire::assert_layout;

/// Bytes of an argument that a rule can speak of.
pub const ARGUMENT_BYTES: usize = 64;

/// The same in eights.
pub const ARGUMENT_EIGHTS: usize = ARGUMENT_BYTES / 8;

/// What an argument must be. Its place in the table of its policy is the bit of its trait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Pattern {
    /// Its position, the first word behind the program being 1; 0 for any.
    pub at: u32,
    /// Bytes of `text` that count.
    pub length: u32,
    /// One of [`Pattern::IS`] and [`Pattern::STARTS_WITH`]; anything else fits nothing.
    pub kind: u32,
    /// Padding, zero.
    pub reserved: u32,
    /// The text, with zeros behind its end.
    pub text: [u64; ARGUMENT_EIGHTS],
    /// The bits of it that count: reckoned here, because the verifier follows every branch.
    pub mask: [u64; ARGUMENT_EIGHTS],
}

assert_layout!(Pattern, size 144, at at 0, length at 4, kind at 8, text at 16, mask at 80);

impl Pattern {
    /// The argument is the text.
    pub const IS: u32 = 1;
    /// The argument begins with the text.
    pub const STARTS_WITH: u32 = 2;

    /// No pattern: the table ends before it.
    pub const NONE: Self = Self {
        at: 0,
        length: 0,
        kind: 0,
        reserved: 0,
        text: [0; ARGUMENT_EIGHTS],
        mask: [0; ARGUMENT_EIGHTS],
    };

    /// Fits nothing either, but is not the end of a table.
    pub const NEVER: Self = Self {
        kind: u32::MAX,
        ..Self::NONE
    };

    /// What the argument at a position, or at any, must be or begin with. Nothing when the text is
    /// too long to be compared.
    pub fn new(at: Option<u32>, text: &[u8], prefix: bool) -> Option<Self> {
        let length = u32::try_from(text.len()).ok()?;
        let mut masks = [0; ARGUMENT_EIGHTS];
        for (i, to) in (0..).zip(&mut masks) {
            *to = mask(length, i);
        }
        Some(Self {
            at: at.unwrap_or(0),
            length,
            kind: if prefix { Self::STARTS_WITH } else { Self::IS },
            reserved: 0,
            text: eights(text)?,
            mask: masks,
        })
    }

    /// Whether the argument at a position fits, of which its length and its first bytes are given,
    /// with zeros behind its end.
    #[inline(always)]
    pub fn fits(&self, at: u32, length: u32, start: &[u64; ARGUMENT_EIGHTS]) -> bool {
        let placed = self.at == 0 || self.at == at;
        let measured = (self.kind == Self::IS && length == self.length)
            || (self.kind == Self::STARTS_WITH && length >= self.length);
        let mut difference = 0;
        let mut i = 0;
        while i < ARGUMENT_EIGHTS {
            difference |= (start[i] ^ self.text[i]) & self.mask[i];
            i += 1;
        }
        placed && measured && difference == 0
    }
}

/// The bits of the i-th eight bytes that belong to a text of so many bytes.
#[inline(always)]
pub const fn mask(length: u32, i: u32) -> u64 {
    let before = i * 8;
    if length >= before + 8 {
        u64::MAX
    } else if length <= before {
        0
    } else {
        (1 << ((length - before) * 8)) - 1
    }
}

/// A text in eights of bytes.
fn eights(text: &[u8]) -> Option<[u64; ARGUMENT_EIGHTS]> {
    if text.len() > ARGUMENT_BYTES {
        return None;
    }
    let mut eights = [0; ARGUMENT_EIGHTS];
    for (eight, bytes) in eights.iter_mut().zip(text.chunks(8)) {
        let mut whole = [0; 8];
        for (to, from) in whole.iter_mut().zip(bytes) {
            *to = *from;
        }
        *eight = u64::from_le_bytes(whole);
    }
    Some(eights)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// What the kernel programs see of a word: garbage behind its end is masked away.
    fn seen(word: &[u8], garbage: u64) -> (u32, [u64; ARGUMENT_EIGHTS]) {
        let length = u32::try_from(word.len()).unwrap();
        let kept = word.get(..ARGUMENT_BYTES).unwrap_or(word);
        let mut start = eights(kept).unwrap();
        for (i, eight) in (0..).zip(&mut start) {
            *eight = (*eight | (garbage & !mask(length, i))) & mask(length, i);
        }
        (length, start)
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(1u8..4, 0..70)
    }

    proptest! {
        #[test]
        fn a_word_fits_what_it_is_or_begins_with(
            word in bytes(), text in bytes(), cut in 0usize..70, own: bool, prefix: bool,
            garbage: u64,
        ) {
            let text = if own { word.get(..cut).unwrap_or(&word).to_vec() } else { text };
            let expected = if prefix { word.starts_with(&text) } else { word == text };
            let (length, start) = seen(&word, garbage);
            match Pattern::new(None, &text, prefix) {
                Some(pattern) => prop_assert_eq!(pattern.fits(1, length, &start), expected),
                None => prop_assert!(text.len() > ARGUMENT_BYTES),
            }
        }
    }

    #[test]
    fn a_position_is_the_only_one() {
        let (length, start) = seen(b"push", 0);
        let pattern = Pattern::new(Some(2), b"push", false).unwrap();
        assert!(pattern.fits(2, length, &start));
        assert!(!pattern.fits(1, length, &start));
        assert!(!Pattern::NONE.fits(0, 0, &[0; ARGUMENT_EIGHTS]));
    }
}
