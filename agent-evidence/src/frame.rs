//! How a segment's bytes are cut into pieces.
//!
//! | bytes | hold |
//! |---|---|
//! | 4 | length of the body, little endian like every number here |
//! | 4 | CRC-32 of all that follows, and of the length |
//! | 8 | sequence number of the record; of a checkpoint, that of the record it signs |
//! | 1 | kind: 0 header, 1 record, 2 checkpoint, 3 countersignature |
//! | 7 | zero |
//! | 32 | hash: of the record, or of the one that is signed; of a header, what stood before |
//! | | the body, JSON |
//!
//! A segment is the eight bytes of [`MAGIC`] and then frames, the first of which is the header.

use crate::chain::Hash;

/// What every segment begins with; the last two digits are the format's version.
pub const MAGIC: [u8; 8] = *b"ILKEVD01";

/// Bytes before the body.
pub const FIXED: usize = 56;

/// The longest body. What the kernel tells is bounded well below.
pub const MAX_BODY: usize = 256 * 1024;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What a segment says of itself.
    Header,
    /// A record.
    Record,
    /// A signature over all up to a record.
    Checkpoint,
    /// The controller's signature beside ours.
    Countersignature,
}

impl Kind {
    const ALL: [Self; 4] = [
        Self::Header,
        Self::Record,
        Self::Checkpoint,
        Self::Countersignature,
    ];

    fn byte(self) -> u8 {
        match self {
            Self::Header => 0,
            Self::Record => 1,
            Self::Checkpoint => 2,
            Self::Countersignature => 3,
        }
    }
}

/// A frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it holds.
    pub kind: Kind,
    /// The number of the record.
    pub sequence: u64,
    /// The hash of the record.
    pub hash: Hash,
    /// The rest.
    pub body: &'a [u8],
}

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// There are not enough of them.
    #[error("it ends after {found} bytes, expected {expected}")]
    Short {
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
    /// No frame is that long.
    #[error("its length is {0}, expected at most {MAX_BODY}")]
    Length(u32),
    /// They were changed.
    #[error("its checksum is {found:08x}, expected {expected:08x}")]
    Checksum {
        /// What stands there.
        found: u32,
        /// What the bytes have.
        expected: u32,
    },
    /// The kind is none that this version knows, or the padding is not zero.
    #[error("its kind is {0}, expected 0 to 3")]
    Kind(u8),
}

impl<'a> Frame<'a> {
    /// Writes it behind what is there.
    pub fn write(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        let length = u32::try_from(self.body.len()).expect("a body is at most MAX_BODY");
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&[self.kind.byte(), 0, 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(&self.hash.0);
        out.extend_from_slice(self.body);
        let checksum = checksum(length, &out[begin + 8..]);
        out[begin + 4..begin + 8].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Reads the one that bytes begin with, and how long it is.
    pub fn read(bytes: &'a [u8]) -> Result<(Self, usize), FrameError> {
        let short = |expected| FrameError::Short {
            found: bytes.len(),
            expected,
        };
        let fixed = bytes.first_chunk::<FIXED>().ok_or(short(FIXED))?;
        let number = |at: usize| {
            let bytes: [u8; 4] = std::array::from_fn(|byte| fixed[at + byte]);
            u32::from_le_bytes(bytes)
        };
        let length = number(0);
        let end = match usize::try_from(length) {
            Ok(body) if body <= MAX_BODY => FIXED + body,
            _ => return Err(FrameError::Length(length)),
        };
        let rest = bytes.get(8..end).ok_or(short(end))?;
        let (found, expected) = (number(4), checksum(length, rest));
        if found != expected {
            return Err(FrameError::Checksum { found, expected });
        }
        let found = Kind::ALL.into_iter().find(|kind| kind.byte() == fixed[16]);
        let kind = match found {
            Some(kind) if fixed[17..24] == [0; 7] => kind,
            _ => return Err(FrameError::Kind(fixed[16])),
        };
        let frame = Self {
            kind,
            sequence: u64::from_le_bytes(std::array::from_fn(|byte| fixed[8 + byte])),
            hash: Hash(std::array::from_fn(|byte| fixed[24 + byte])),
            body: &bytes[FIXED..end],
        };
        Ok((frame, end))
    }
}

fn checksum(length: u32, rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(rest);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(body: &[u8]) -> Frame<'_> {
        Frame {
            kind: Kind::Record,
            sequence: 0x0102_0304_0506_0708,
            hash: Hash([7; 32]),
            body,
        }
    }

    #[test]
    fn a_frame_survives_the_way_there_and_back_and_no_flipped_byte() {
        let mut bytes = Vec::new();
        frame(b"body").write(&mut bytes);
        let length = bytes.len();
        bytes.extend_from_slice(b"what follows");
        assert_eq!(Frame::read(&bytes), Ok((frame(b"body"), length)));
        for at in 0..length {
            for bit in 0..8 {
                bytes[at] ^= 1 << bit;
                assert!(Frame::read(&bytes).is_err(), "byte {at} bit {bit}");
                bytes[at] ^= 1 << bit;
            }
        }
        for end in 0..length {
            let read = Frame::read(&bytes[..end]);
            assert!(matches!(read, Err(FrameError::Short { .. })), "{read:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_what_is_read_is_written_the_same(bytes: Vec<u8>) {
            if let Ok((frame, length)) = Frame::read(&bytes) {
                let mut again = Vec::new();
                frame.write(&mut again);
                prop_assert_eq!(&bytes[..length], &again[..]);
            }
        }
    }
}
