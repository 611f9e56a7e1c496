//! Sockets by their addresses: whose they are, and what a Unix socket is called.
//!
//! Everything here is read by helpers, from addresses alone: a socket's other end is of a type that
//! not every verifier lets us follow.

use super::hash::path_name;
use super::lists;
use super::memory::{Address, Typed};
use super::offsets::{
    ADDRESS_LENGTH, ADDRESS_NAME, FILE_PRIVATE, SOCK_FAMILY, SOCK_PROTOCOL, SOCK_REMOTE,
    SOCK_REMOTE_PORT, SOCK_REMOTE_V6, SOCKET_SK, UNIX_ADDRESS, UNIX_DENTRY, UNIX_PEER,
};
use super::path;
use crate::maps::{INDEX, MAKERS};
use agent_common::egress::{AF_INET, AF_INET6, AF_UNIX, Endpoint};
use agent_common::path::EntryKind;
use agent_common::session::{Label, Maker};
use aya_ebpf::programs::LsmContext;
use aya_ebpf::{EbpfContext as _, Global};
use core::ffi::c_void;

/// The first argument of a hook.
static FIRST: Global<u32> = Global::new(0);

/// The most that a name without a path has, as in the kernel's `UNIX_PATH_MAX`, without the zero
/// that it begins with.
pub const MAX_ABSTRACT: usize = 107;

/// The family and the zero byte before a name without a path.
const BEFORE_NAME: u64 = 3;

/// A socket, by the address of its `sock`; 0 where there is none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sock(pub u64);

/// What a socket is called.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Called {
    /// By a path; the walk from it ended so.
    Path(u64),
    /// By a name without a path: where it lies, and its bytes.
    Abstract(u64, u64),
    /// By nothing.
    Nothing,
    /// It cannot be read.
    Unreadable,
}

/// The first arguments of a hook, as numbers: pointers are nothing that a global function takes.
#[inline(always)]
pub fn arguments(ctx: &LsmContext) -> [u64; 3] {
    let ctx: *const c_void = ctx.as_ptr();
    Address(ctx as u64).read(&FIRST).unwrap_or([0; 3])
}

impl Sock {
    /// The `sock` of a `struct socket`.
    #[inline(always)]
    pub fn of_socket(socket: u64) -> Self {
        Self(Address(socket).read(&SOCKET_SK).unwrap_or(0))
    }

    /// The `sock` of an open file that is a socket.
    #[inline(always)]
    pub fn of_file(file: Address) -> Self {
        Self::of_socket(file.read(&FILE_PRIVATE).unwrap_or(0))
    }

    /// Its address family.
    #[inline(always)]
    pub fn family(self) -> Option<u16> {
        Address(self.0).read(&SOCK_FAMILY)
    }

    /// Whether it is a Unix socket.
    #[inline(always)]
    pub fn is_unix(self) -> bool {
        self.family() == Some(u16::from(AF_UNIX))
    }

    /// The other end of a Unix socket, or none.
    #[inline(always)]
    pub fn peer(self) -> Self {
        Self(Address(self.0).read(&UNIX_PEER).unwrap_or(0))
    }

    /// The session whose task has made or accepted it.
    #[inline(always)]
    pub fn maker(self) -> Option<Label> {
        // SAFETY: an entry that is removed meanwhile stays readable until the program ends.
        unsafe { MAKERS.get(self.0) }.map(|maker| maker.label)
    }

    /// Notes whose it is. False where there is no room.
    #[inline(always)]
    pub fn belong_to(self, label: Label) -> bool {
        MAKERS.insert(self.0, Maker { label, told: 0 }, 0).is_ok()
    }

    /// Forgets whose it was.
    #[inline(always)]
    pub fn forget(self) {
        let _ = MAKERS.remove(self.0);
    }

    /// Whether it is the first time since another was told that this session is reached through it.
    #[inline(always)]
    pub fn is_news(self, session: u64) -> bool {
        let Some(maker) = MAKERS.get_ptr_mut(self.0) else {
            return true;
        };
        // SAFETY: as in `maker`; the number is stored whole, and to tell it twice harms nobody.
        unsafe {
            let told = &raw mut (*maker).told;
            let news = core::ptr::read_volatile(told) != session;
            core::ptr::write_volatile(told, session);
            news
        }
    }

    /// Where an internet socket is connected to; nothing where it is not.
    #[inline(always)]
    pub fn remote(self, out: &mut Endpoint) -> bool {
        let (mut port, mut protocol, mut family) = (0u16, 0u16, 0u16);
        let at = Address(self.0);
        at.copy(&SOCK_REMOTE_PORT, &mut port);
        at.copy(&SOCK_PROTOCOL, &mut protocol);
        at.copy(&SOCK_FAMILY, &mut family);
        let protocol = if protocol > 255 { 0 } else { protocol as u8 };
        let port = u16::from_be(port);
        if family == u16::from(AF_INET) {
            let mut address = [0u8; 4];
            at.copy(&SOCK_REMOTE, &mut address);
            *out = Endpoint::v4(address, port, protocol);
        } else if family == u16::from(AF_INET6) {
            let mut address = [0u8; 16];
            at.copy(&SOCK_REMOTE_V6, &mut address);
            *out = Endpoint::v6(address, port, protocol);
        } else {
            *out = Endpoint::of_family(family as u8, protocol);
            return false;
        }
        port != 0
    }

    /// What it is called. For a path, walks from where it was bound: every name of the file leads to
    /// the same socket, and so to the same judgement.
    #[inline(always)]
    pub fn called(self) -> Called {
        let (mut dentry, mut address) = (0u64, 0u64);
        Address(self.0).copy(&UNIX_DENTRY, &mut dentry);
        Address(self.0).copy(&UNIX_ADDRESS, &mut address);
        if dentry != 0 {
            return Called::Path(path::walk_from(dentry));
        }
        if address == 0 {
            return Called::Nothing;
        }
        let (mut length, mut head) = (0u32, [0xffu8; 4]);
        Address(address).copy(&ADDRESS_LENGTH, &mut length);
        Address(address).copy(&ADDRESS_NAME, &mut head);
        let name = address + u64::from(ADDRESS_NAME.load()) + BEFORE_NAME;
        let length = u64::from(length);
        if head[2] != 0 || length <= BEFORE_NAME || length > BEFORE_NAME + MAX_ABSTRACT as u64 {
            return Called::Unreadable;
        }
        Called::Abstract(name, length - BEFORE_NAME)
    }
}

/// Puts the lists that speak of a name without a path where the task's are weighed. Answers the name's
/// hash, or 0 where it cannot be read.
#[inline(always)]
pub fn note_abstract(name: u64, length: u64) -> u64 {
    let Some(index) = INDEX.get(0) else {
        return 0;
    };
    let secret = index.secret.name;
    let hash = path_name(name, length, secret.key, secret.check);
    if hash != 0 && lists::note_named(EntryKind::Abstract, hash) {
        hash
    } else {
        0
    }
}

/// The `sock` that a hook was given.
#[inline(always)]
pub fn given(sk: *const c_void) -> Sock {
    Sock(sk as u64)
}

/// The `sock` of a `struct socket` that a hook was given.
#[inline(always)]
pub fn given_socket(socket: *const c_void) -> Option<Sock> {
    let sk = Typed::given(socket).follow(&SOCKET_SK)?;
    Some(Sock(sk.address().0))
}

/// The same where it is a Unix socket's.
#[inline(always)]
pub fn given_unix(socket: *const c_void) -> Option<Sock> {
    let sk = Typed::given(socket).follow(&SOCKET_SK)?;
    let is_unix = sk.load::<u16>(&SOCK_FAMILY) == u16::from(AF_UNIX);
    is_unix.then_some(Sock(sk.address().0))
}

/// A global function of numbers: the verifier looks at it once.
#[inline(always)]
pub fn reach(other: Sock, action: u64, flags: u64) -> bool {
    unix_reach(other.0, action, flags) != 0
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn unix_reach(other: u64, action: u64, flags: u64) -> u64 {
    u64::from(crate::unix::judge_name(Sock(other), action, flags))
}

/// The same for what a rule about an agent says.
#[inline(always)]
pub fn hand_off(own: Sock, other: Sock, action: u64) -> bool {
    unix_handoff(own.0, other.0, action) != 0
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn unix_handoff(own: u64, other: u64, action: u64) -> u64 {
    u64::from(crate::unix::judge_agent(Sock(own), Sock(other), action))
}

/// The same for an internet socket that comes from elsewhere.
#[inline(always)]
pub fn take_connection(sk: Sock) -> bool {
    unix_connection(sk.0) != 0
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn unix_connection(sk: u64) -> u64 {
    u64::from(crate::unix::judge_connection(Sock(sk)))
}
