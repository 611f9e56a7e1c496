//! How sessions begin that nobody starts: what the kernel programs are told to recognise.
//!
//! A *way* is one entry under `session` of one policy in force, known by its number. For each way
//! some sessions lie ready, so that nobody need be asked when one is to begin.

use crate::session::Label;
use crate::wire::assert_layout;

/// Ways of all policies together.
pub const MAX_WAYS: u32 = 256;

/// Sessions that lie ready for each way.
pub const POOL: usize = 16;

/// Cgroups that belong to sessions, those below others included.
pub const MAX_CGROUPS: u32 = 16_384;

/// Places and executables that are recognised.
pub const MAX_PLACES: u32 = 2_048;

/// Bytes of a place, of which the last is zero.
pub const PLACE: usize = 256;

/// Bytes of a file's name in an [`Executable`].
pub const NAME: usize = 64;

/// The sessions that lie ready for one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Pool {
    /// How long the permission of each lasts; 0 for no end.
    pub ttl_ns: u64,
    /// The sessions; a number of zero is none.
    pub labels: [Label; POOL],
}

assert_layout!(Pool, size 264, ttl_ns at 0, labels at 8);

impl Pool {
    /// Nothing lies ready.
    pub const EMPTY: Pool = Pool {
        ttl_ns: 0,
        labels: [Label::NOBODY; POOL],
    };
}

/// What becomes of a container that begins while no daemon is there to ask whose it is; the stricter one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WhenAway {
    /// Its programs are not executed.
    Deny,
    /// They are, in no session; a daemon that comes later adopts them.
    Release,
}

impl WhenAway {
    /// The words for it.
    pub const WORDS: [(&'static str, Self); 2] = [("deny", Self::Deny), ("release", Self::Release)];

    /// The word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Release => "release",
        }
    }

    /// The bit in [`Watch::containers`], and in [`Inside::away`].
    pub const fn bit(self) -> u32 {
        match self {
            Self::Deny => 1,
            Self::Release => 2,
        }
    }
}

/// Which kinds of things are recognised at all: one load sends everybody else home.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Watch {
    /// Not zero where cgroups are.
    pub cgroups: u32,
    /// Not zero where executables are.
    pub executables: u32,
    /// The way whose running executables are being adopted, counted from 1; or zero.
    pub adopting: u32,
    /// Not zero while anything that already runs is being adopted.
    pub settling: u32,
    /// Zero where containers are not; otherwise, of pods in the lowest bits and of engines
    /// [`Watch::ENGINES`] bits higher, what becomes of one that nobody can be asked about: the bit
    /// of a [`WhenAway`].
    pub containers: u32,
}

assert_layout!(Watch, size 20, cgroups at 0, executables at 4, adopting at 8, containers at 16);

impl Watch {
    /// Where in `containers` stands what becomes of those of pods.
    pub const PODS: u32 = 0;
    /// And of those of engines: Docker and podman.
    pub const ENGINES: u32 = 2;

    /// Whether containers of pods, or of engines, are looked at.
    #[inline(always)]
    pub const fn looks_at(self, whose: u32) -> bool {
        self.containers >> whose & (WhenAway::Deny.bit() | WhenAway::Release.bit()) != 0
    }

    /// Whether a container is let be of which nobody can be asked whose it is, and nothing is known of its pod.
    #[inline(always)]
    pub const fn releases(self) -> bool {
        let release = WhenAway::Release.bit();
        self.containers & (release | release << Self::ENGINES) != 0
    }
}

/// How long a process waits for a session to lie ready, from its first attempt, in nanoseconds.
pub const LATEST_NS: u64 = 60_000_000_000;

/// How old the daemon's last sign of life may be for a process to wait for it, in nanoseconds.
pub const AWAY_NS: u64 = 10_000_000_000;

/// A process that executes a program with a session of which none lay ready: it is stopped in its
/// `execve`, which begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Latecomer {
    /// When the process began, in nanoseconds since boot.
    pub began_ns: u64,
    /// Since when it waits, in nanoseconds since boot.
    pub since_ns: u64,
    /// The process.
    pub pid: u32,
    /// The way by which it is recognised.
    pub way: u32,
}

assert_layout!(Latecomer, size 24, began_ns at 0, since_ns at 8, pid at 16, way at 20);

/// In place of a way: that of a container of which nobody has told whose it is.
pub const UNKNOWN_WAY: u32 = u32::MAX;

/// A cgroup of which something is known: whose its processes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Inside {
    /// The topmost cgroup of the session, or of the container: this one, or one above it.
    pub door: u64,
    /// The way.
    pub way: u32,
    /// The way of who executes a program in a container whose session has begun.
    pub entered: u32,
    /// One of the kinds below.
    pub kind: u32,
    /// Of a pod, and of a container of it that nobody has told of: the bit of a [`WhenAway`]; 0 where
    /// nothing is known but [`Watch::containers`].
    pub away: u32,
}

assert_layout!(Inside, size 24, door at 0, way at 8, entered at 12, kind at 16, away at 20);

impl Inside {
    /// A place that a policy names: who is in it belongs to the session.
    pub const PLACE: u32 = 0;
    /// A session's container: who executes a program in it belongs to the session, or to another that
    /// begins with it, where this one has begun. What the runtime does in it until then, it does as itself.
    pub const CONTAINER: u32 = 1;
    /// A container that nobody has told of yet: who executes a program in it waits.
    pub const UNKNOWN: u32 = 2;
    /// A container of no session.
    pub const NOBODYS: u32 = 3;
    /// A pod, in which containers are made: each is something of its own.
    pub const POD: u32 = 4;

    /// A place, by the way that names it.
    pub const fn place(door: u64, way: u32) -> Self {
        Self::new(door, Self::PLACE, way, way)
    }

    /// A session's container, and the way of who comes into it later.
    pub const fn container(door: u64, way: u32, entered: u32) -> Self {
        Self::new(door, Self::CONTAINER, way, entered)
    }

    /// A container that has just been made, and what is known of its pod.
    pub const fn unknown(door: u64, away: u32) -> Self {
        Self {
            away,
            ..Self::new(door, Self::UNKNOWN, UNKNOWN_WAY, UNKNOWN_WAY)
        }
    }

    /// A pod, and what becomes of what begins in it while no daemon is there.
    pub const fn pod(cgroup: u64, away: WhenAway) -> Self {
        Self {
            away: away.bit(),
            ..Self::new(cgroup, Self::POD, UNKNOWN_WAY, UNKNOWN_WAY)
        }
    }

    /// A container of no session.
    pub const fn nobodys(door: u64) -> Self {
        Self::new(door, Self::NOBODYS, UNKNOWN_WAY, UNKNOWN_WAY)
    }

    const fn new(door: u64, kind: u32, way: u32, entered: u32) -> Self {
        Self {
            door,
            way,
            entered,
            kind,
            away: 0,
        }
    }
}

/// Hexadecimal digits of a container's number, in the name of its cgroup.
pub const CONTAINER_ID: usize = 64;

/// Where Kubernetes puts the cgroups of its pods, and nobody else any.
pub const PODS: &[u8] = b"/kubepods";

/// Where Docker puts the cgroups of its containers without systemd, with no more than their numbers for
/// names.
pub const DOCKERS: &[u8] = b"/docker/";

/// What the name of a container's cgroup is made of: its number, and what stands before and behind.
#[derive(Clone, Copy, Debug)]
pub struct Name {
    /// Before.
    pub before: &'static [u8],
    /// Behind: systemd's ending where it makes the cgroup.
    pub behind: &'static [u8],
}

impl Name {
    /// The number alone.
    pub const BARE: Self = Self::new(b"", b"");
    /// As containerd, CRI-O and Docker have systemd make it.
    pub const CONTAINERD: Self = Self::new(b"cri-containerd-", b".scope");
    /// See above.
    pub const CRIO: Self = Self::new(b"crio-", b".scope");
    /// See above.
    pub const DOCKER: Self = Self::new(b"docker-", b".scope");
    /// As podman has systemd make it, makes it itself, and makes it in the cgroup of the unit that
    /// started it (`--cgroups=split`).
    pub const PODMAN: [Self; 3] = [
        Self::new(b"libpod-", b".scope"),
        Self::new(b"libpod-", b""),
        Self::new(b"libpod-payload-", b""),
    ];

    const fn new(before: &'static [u8], behind: &'static [u8]) -> Self {
        Self { before, behind }
    }
}

/// Under what the session of a process's tree is open, by when the process began: no cgroup has
/// such a number, nor has another process that runs.
#[inline(always)]
pub const fn door_of_process(began_ns: u64) -> u64 {
    began_ns | 1 << 63
}

/// A cgroup that is recognised when it is made: by its path, which begins with a slash, or by the
/// name of the systemd unit that it is. Filled up with zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct PlaceKey(pub [u8; PLACE]);

assert_layout!(PlaceKey, size 256);

impl PlaceKey {
    /// The key of a path or name, unless it is too long.
    pub fn new(text: &[u8]) -> Option<Self> {
        let mut key = [0; PLACE];
        let room = key.get_mut(..PLACE - 1)?.get_mut(..text.len())?;
        room.copy_from_slice(text);
        Some(Self(key))
    }
}

/// An executable: a file, or a name in a directory, whatever file has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct Executable {
    /// The file, or the directory, by the number of its inode.
    pub inode: u64,
    /// The device of its file system.
    pub device: u32,
    /// Padding, zero.
    pub reserved: u32,
    /// The name in the directory, filled up with zeros; all zeros for the file itself.
    pub name: [u8; NAME],
}

assert_layout!(Executable, size 80, inode at 0, device at 8, name at 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_too_long_has_no_key() {
        assert!(PlaceKey::new(&[b'a'; PLACE - 1]).is_some());
        assert_eq!(PlaceKey::new(&[b'a'; PLACE]), None);
    }
}
