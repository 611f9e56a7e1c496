//! What the kernel tells user space, one record of the ring after the other.
//!
//! A kernel program writes one of the structures below; [`Event::decode`] is the only way back,
//! and it takes any bytes without harm.

use crate::egress::Endpoint;
use crate::wire::{Wire, assert_layout, wire_enum, wire_struct};

/// Ancestors that a denial names. What lies above them is left out, and the count says so.
pub const MAX_ANCESTORS: usize = 8;

/// Bytes of a program's path that an exec event carries.
pub const MAX_PATH: usize = 256;

wire_enum! {
    /// Which structure a record holds.
    Kind: u16 {
        /// A [`Denial`].
        Denial = 1 => "denial",
        /// An [`Exec`].
        Exec = 2 => "exec",
        /// An [`Empty`].
        Empty = 3 => "empty",
        /// A [`RootExit`].
        RootExit = 4 => "root exit",
        /// A [`FileDenial`].
        FileDenial = 8 => "file denial",
        /// A [`Begun`].
        Begun = 12 => "begun",
        /// A [`Handoff`].
        Handoff = 20 => "handoff",
    }
}

wire_struct! {
    /// The beginning of every record.
    Header {
        /// A [`Kind`].
        kind: u16,
        /// Bytes of the whole record.
        size: u16,
        /// Padding, zero.
        reserved: u32,
        /// Nanoseconds since boot, suspended time included.
        time_ns: u64,
        /// The session concerned.
        session: u64,
    }
}
assert_layout!(Header, size 24, kind at 0, size at 2, time_ns at 8, session at 16);

wire_struct! {
    /// A process, named so that a reused pid cannot be mistaken for it.
    Process {
        /// Nanoseconds since boot at which the process started.
        start_ns: u64,
        /// Its process id (thread group).
        pid: u32,
        /// Padding, zero.
        reserved: u32,
        /// Its short name, padded with zeros; any bytes at all.
        comm: [u8; 16],
    }
}
assert_layout!(Process, size 32, start_ns at 0, pid at 8, comm at 16);

wire_struct! {
    /// An action that was not allowed.
    Denial {
        /// The common beginning.
        header: Header,
        /// Who acted.
        process: Process,
        /// The thread that acted.
        tid: u32,
        /// Its effective user id.
        uid: u32,
        /// The rule's number in its policy; meaningful when `reason` is a rule's.
        rule: u32,
        /// An [`Action`](crate::action::Action).
        action: u16,
        /// A [`Verdict`](crate::decide::Verdict).
        verdict: u8,
        /// A [`Reason`](crate::decide::Reason).
        reason: u8,
        /// Where it wanted to go; nowhere unless the action is one of the network's.
        endpoint: Endpoint,
        /// How many of `ancestors` are filled, nearest first.
        ancestor_count: u8,
        /// The [`Privilege`](crate::privilege::Privilege) it lacks, if the action is that.
        privilege: u8,
        /// The innermost tool that the actor is in, counted from 1; 0 for none.
        tool: u8,
        /// Padding, zero.
        reserved: u8,
        /// The parents, as they are and not as they were born, up to process 1.
        ancestors: [Process; MAX_ANCESTORS],
        /// The session's facts, which the action did not change.
        facts: u64,
        /// The process that it wanted to reach, if it was one; for a privilege that is a kind of
        /// socket, that [`SocketKind`](crate::socket::SocketKind) as a number; else 0.
        target: u32,
        /// The number of the policy by which it was judged.
        policy: u32,
        /// The question that it asks or asked, or 0.
        hold: u64,
    }
}
assert_layout!(Denial, size 376, process at 24, tid at 56, action at 68, endpoint at 72, ancestor_count at 92, privilege at 93, ancestors at 96, facts at 352, target at 360, policy at 364, hold at 368);

wire_struct! {
    /// A process of a session has a new program.
    Exec {
        /// The common beginning.
        header: Header,
        /// Who executes.
        process: Process,
        /// The process that made it.
        parent: Process,
        /// Bytes of `path` that are meaningful.
        path_length: u32,
        /// Bytes of `arguments` that are meaningful.
        arguments_length: u32,
        /// The path that was executed, as it was given.
        path: [u8; MAX_PATH],
        /// The program's words, its own name first, each ended by a zero byte unless it is cut off.
        arguments: [u8; MAX_ARGUMENT_BYTES],
    }
}
assert_layout!(Exec, size 608, process at 24, parent at 56, path_length at 88, path at 96, arguments at 352);

wire_struct! {
    /// The last task of a session is gone.
    Empty {
        /// The common beginning.
        header: Header,
    }
}
assert_layout!(Empty, size 24);

wire_struct! {
    /// The first process of a session is gone, and with it the session's permission.
    RootExit {
        /// The common beginning.
        header: Header,
        /// The process.
        process: Process,
        /// How it ended, as `wait` tells it: the signal in the low seven bits, the exit code in
        /// the next byte.
        status: u32,
        /// Padding, zero.
        reserved: u32,
    }
}
assert_layout!(RootExit, size 64, process at 24, status at 56);

wire_struct! {
    /// A session that lay ready has begun, or one that should have could not: then the session is
    /// [`Label::HOMELESS`](crate::session::Label::HOMELESS)'s.
    Begun {
        /// The common beginning.
        header: Header,
        /// Its first process, or who was to be.
        process: Process,
        /// The way by which it was recognised.
        way: u32,
        /// Threads that the process had beside the one that was labelled, and that must be
        /// labelled by who hears this; or [`Begun::WAITS`].
        threads: u32,
    }
}
assert_layout!(Begun, size 64, process at 24, way at 56, threads at 60);

impl Begun {
    /// In place of threads: no session lies ready, and the process is stopped until one does.
    pub const WAITS: u32 = u32::MAX;
    /// In place of threads: a container of which nobody could be asked runs in no session.
    pub const RELEASED: u32 = u32::MAX - 1;
}

wire_struct! {
    /// A session reached another, or was denied it.
    Handoff {
        /// The common beginning; the session is the one that acted.
        header: Header,
        /// Who acted.
        process: Process,
        /// The other session.
        peer: u64,
        /// The rule's number in its policy; meaningful when `reason` is a rule's.
        rule: u32,
        /// The number of the policy by which it was judged.
        policy: u32,
        /// An [`Action`](crate::action::Action).
        action: u16,
        /// A [`Verdict`](crate::decide::Verdict).
        verdict: u8,
        /// A [`Reason`](crate::decide::Reason).
        reason: u8,
        /// Padding, zero.
        reserved: u32,
    }
}
assert_layout!(Handoff, size 80, process at 24, peer at 56, rule at 64, policy at 68, action at 72, verdict at 74, reason at 75);

wire_struct! {
    /// A task of a session that still runs: one of the list that the kernel gives when asked.
    Living {
        /// The session.
        session: u64,
        /// Its process.
        process: Process,
        /// The process's parent.
        parent: Process,
        /// The thread.
        tid: u32,
        /// Padding, zero.
        reserved: u32,
        /// When it was last allowed an action, in nanoseconds since boot; 0 where it never was.
        last_ns: u64,
    }
}
assert_layout!(Living, size 88, session at 0, process at 8, parent at 40, tid at 72, last_ns at 80);

wire_struct! {
    /// A use of a file that was not allowed. Names stand as the kernel has them: from the file up to
    /// the root of its file system, each ended by a zero byte.
    FileDenial {
        /// What every denial says; the endpoint is nowhere.
        denial: Denial,
        /// The device of the file system.
        device: u32,
        /// Bytes of `names` that are meaningful.
        names_length: u32,
        /// Bits of [`FileDenial::CUT_OFF`] and [`FileDenial::NO_DIRECTORY`].
        flags: u32,
        /// Bytes of `arguments` that are meaningful.
        arguments_length: u32,
        /// The names.
        names: [u8; MAX_NAMES],
        /// The words of a program that was denied by them, its own name first, each ended by a zero
        /// byte unless it is cut off.
        arguments: [u8; MAX_ARGUMENT_BYTES],
    }
}
assert_layout!(FileDenial, size 1928, denial at 0, device at 376, names_length at 380, flags at 384, names at 392, arguments at 1672);

/// Bytes of a program's words that a denial carries.
pub const MAX_ARGUMENT_BYTES: usize = 256;

/// Bytes of names that a denial carries.
pub const MAX_NAMES: usize = 1280;

impl FileDenial {
    /// Names above the last one are left out.
    pub const CUT_OFF: u32 = 1;
    /// The file lies in no directory: it is a pipe, or memory with a descriptor.
    pub const NO_DIRECTORY: u32 = 2;
    /// It is a Unix socket without a path: `names` is its name, any bytes at all.
    pub const ABSTRACT: u32 = 4;

    /// The name of a Unix socket without a path.
    pub fn abstract_name(&self) -> &[u8] {
        let length = (self.names_length as usize).min(MAX_NAMES);
        self.names.get(..length).unwrap_or(&[])
    }

    /// The words of a program.
    pub fn arguments(&self) -> impl Iterator<Item = &[u8]> {
        words(&self.arguments, self.arguments_length)
    }

    /// The names, from the file upwards.
    pub fn names(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        let length = (self.names_length as usize).min(MAX_NAMES);
        let names = self.names.get(..length).unwrap_or(&[]);
        names
            .strip_suffix(&[0])
            .into_iter()
            .flat_map(|names| names.split(|byte| *byte == 0))
    }
}

/// The words in an array, of which so many bytes are meaningful.
fn words(bytes: &[u8; MAX_ARGUMENT_BYTES], length: u32) -> impl Iterator<Item = &[u8]> {
    let length = (length as usize).min(MAX_ARGUMENT_BYTES);
    let words = bytes.get(..length).filter(|words| !words.is_empty());
    words
        .map(|words| words.strip_suffix(&[0]).unwrap_or(words))
        .into_iter()
        .flat_map(|words| words.split(|byte| *byte == 0))
}

/// A decoded record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "read, told and dropped, one at a time; there is no heap to box it on"
)]
pub enum Event {
    /// An action was not allowed.
    Denial(Denial),
    /// A process of a session has a new program.
    Exec(Exec),
    /// The last task of a session is gone.
    Empty(Empty),
    /// The first process of a session is gone.
    RootExit(RootExit),
    /// A use of a file was not allowed.
    FileDenial(FileDenial),
    /// A session that lay ready has begun.
    Begun(Begun),
    /// A session reached another, or was denied it.
    Handoff(Handoff),
}

/// Why a record could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The record is shorter than its kind needs.
    Short {
        /// Bytes found.
        found: usize,
        /// Bytes expected.
        expected: usize,
    },
    /// No structure has this kind.
    Kind(u16),
    /// The record's own size is not the number of its bytes.
    Size {
        /// Bytes found.
        found: usize,
        /// Bytes the record says it has.
        stated: u16,
    },
}

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Short { found, expected } => {
                write!(f, "record of {found} bytes, expected at least {expected}")
            }
            Self::Kind(kind) => write!(f, "record of unknown kind {kind}"),
            Self::Size { found, stated } => {
                write!(f, "record of {found} bytes that says it has {stated}")
            }
        }
    }
}

impl core::error::Error for DecodeError {}

impl Event {
    /// The session that the record is about.
    pub const fn session(&self) -> u64 {
        match self {
            Self::Denial(denial) => denial.header.session,
            Self::Exec(exec) => exec.header.session,
            Self::Empty(empty) => empty.header.session,
            Self::RootExit(exit) => exit.header.session,
            Self::FileDenial(file) => file.denial.header.session,
            Self::Begun(begun) => begun.header.session,
            Self::Handoff(handoff) => handoff.header.session,
        }
    }

    /// Reads one record of the ring.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let header: Header = read(bytes)?;
        if usize::from(header.size) != bytes.len() {
            return Err(DecodeError::Size {
                found: bytes.len(),
                stated: header.size,
            });
        }
        match Kind::from_wire(header.kind) {
            Some(Kind::Denial) => read(bytes).map(Self::Denial),
            Some(Kind::Exec) => read(bytes).map(Self::Exec),
            Some(Kind::Empty) => read(bytes).map(Self::Empty),
            Some(Kind::RootExit) => read(bytes).map(Self::RootExit),
            Some(Kind::FileDenial) => read(bytes).map(Self::FileDenial),
            Some(Kind::Begun) => read(bytes).map(Self::Begun),
            Some(Kind::Handoff) => read(bytes).map(Self::Handoff),
            None => Err(DecodeError::Kind(header.kind)),
        }
    }
}

fn read<T: Wire>(bytes: &[u8]) -> Result<T, DecodeError> {
    T::read(bytes, 0).ok_or(DecodeError::Short {
        found: bytes.len(),
        expected: T::SIZE,
    })
}

impl Denial {
    /// The ancestors that are filled, nearest first.
    pub fn ancestors(&self) -> &[Process] {
        let count = usize::from(self.ancestor_count).min(MAX_ANCESTORS);
        self.ancestors.get(..count).unwrap_or(&[])
    }
}

impl Exec {
    /// The bytes of the path.
    pub fn path(&self) -> &[u8] {
        self.path
            .get(..self.path_length as usize)
            .unwrap_or(&self.path)
    }

    /// The words of the program.
    pub fn arguments(&self) -> impl Iterator<Item = &[u8]> {
        words(&self.arguments, self.arguments_length)
    }
}

impl Process {
    /// Nobody.
    pub const UNKNOWN: Process = Process {
        start_ns: 0,
        pid: 0,
        reserved: 0,
        comm: [0; 16],
    };

    /// The short name, up to its first zero byte.
    pub fn comm(&self) -> &[u8] {
        let end = self
            .comm
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(self.comm.len());
        self.comm.get(..end).unwrap_or(&self.comm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(kind: u16, len: usize) -> [u8; 512] {
        let mut bytes = [0; 512];
        bytes[..2].copy_from_slice(&kind.to_le_bytes());
        bytes[2..4].copy_from_slice(&u16::try_from(len).unwrap().to_le_bytes());
        bytes
    }

    #[test]
    fn a_record_of_its_own_size_is_decoded() {
        let bytes = record(Kind::Denial.wire(), Denial::SIZE);
        assert!(matches!(
            Event::decode(&bytes[..Denial::SIZE]),
            Ok(Event::Denial(_))
        ));
    }

    #[test]
    fn a_cut_record_is_refused() {
        let bytes = record(Kind::Denial.wire(), 100);
        let error = Event::decode(&bytes[..100]);
        assert_eq!(
            error,
            Err(DecodeError::Short {
                found: 100,
                expected: Denial::SIZE
            })
        );
    }

    #[test]
    fn counts_beyond_the_arrays_are_harmless() {
        let mut bytes = record(Kind::Denial.wire(), Denial::SIZE);
        bytes[92] = u8::MAX;
        let Ok(Event::Denial(denial)) = Event::decode(&bytes[..Denial::SIZE]) else {
            panic!("not a denial");
        };
        assert_eq!(denial.ancestors().len(), MAX_ANCESTORS);
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(Event::Exec(exec)) = Event::decode(&bytes) {
                prop_assert!(exec.path().len() <= MAX_PATH);
            }
        }
    }
}
