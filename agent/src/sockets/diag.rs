//! `sock_diag`: asking the kernel for its TCP sockets over netlink, and having it destroy some.
//!
//! Of UDP's sockets it does not say what is stored with them, so they cannot be told apart here.

use crate::divert;
use crate::kernel::pins::Pins;
use agent_common::divert::Diverted;
use agent_common::egress::{AF_INET, AF_INET6, TCP};
use agent_common::session::Owner;
use agent_common::wire::Wire;
use aya::maps::{MapData, MapError};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// The map in which the kernel programs keep the owners of sockets.
pub const OWNERS: &str = "OWNERS";
/// The map in which they keep where a socket was meant to go that goes to the daemon instead.
const DIVERTED: &str = "DIVERTED";

/// From linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h.
const ERROR: u16 = 2;
const DONE: u16 = 3;
const BY_FAMILY: u16 = 20;
const DESTROY: u16 = 21;
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const DUMP: u16 = 0x300;
const HEADER: usize = 16;
const MESSAGE: usize = 72;
const NAME: usize = 48;
/// The attribute of a request that asks for what is stored in a map, and the map in it.
const ASK_STORED: u16 = 2;
const ASK_MAP: u16 = 1;
/// The attributes of an answer: what `tcp_info` says, what is stored, and in that one map's value.
const INFO: u16 = 2;
const STORED: u16 = 20;
const STORED_ONE: u16 = 1;
const STORED_VALUE: u16 = 3;
/// Kinds of attributes beyond these bits are marks.
const KIND: u16 = 0x3fff;
/// Where `tcp_info` has what was received, sent, and sent again.
const RECEIVED: usize = 128;
const SENT: usize = 200;
const SENT_AGAIN: usize = 208;
/// Neither connections that wait for nothing but time, nor those that are not whole yet: neither has
/// an owner of its own.
const STATES: u32 = !(1 << 6 | 1 << 12);

/// Why sockets cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum DiagError {
    /// A namespace cannot be entered.
    #[error("cannot look into a network namespace")]
    Namespace(#[source] io::Error),
    /// There is no netlink for this.
    #[error("cannot ask the kernel for its sockets (sock_diag)")]
    Open(#[source] Errno),
    /// The map of owners is not there.
    #[error("cannot open the map of sockets' owners")]
    Map(#[from] MapError),
    /// The kernel does not list them.
    #[error("the kernel does not list its sockets (module tcp_diag)")]
    List(#[source] Errno),
    /// The answer makes no sense.
    #[error("the kernel's list of sockets is not as expected")]
    Nonsense,
    /// There is nothing to try it on.
    #[error("cannot make a connection over loopback")]
    Connection(#[source] io::Error),
    /// A socket survived.
    #[error("the kernel does not destroy sockets (CONFIG_INET_DIAG_DESTROY)")]
    Destroy(#[source] Errno),
}

/// How far a connection has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Both sides talk.
    Established,
    /// The peer has yet to answer.
    SynSent,
    /// It has none, and waits for some.
    Listen,
    /// It has none.
    Close,
    /// On its way to an end, or to a beginning.
    Other(u8),
}

impl State {
    const fn from_wire(state: u8) -> Self {
        match state {
            1 => Self::Established,
            2 => Self::SynSent,
            7 => Self::Close,
            10 => Self::Listen,
            other => Self::Other(other),
        }
    }

    /// Its name, as `ss` has it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::SynSent => "syn-sent",
            Self::Listen => "listen",
            Self::Close => "close",
            Self::Other(3) => "syn-recv",
            Self::Other(4) => "fin-wait-1",
            Self::Other(5) => "fin-wait-2",
            Self::Other(8) => "close-wait",
            Self::Other(9) => "last-ack",
            Self::Other(11) => "closing",
            Self::Other(_) => "unknown",
        }
    }
}

/// A socket of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    /// Its own address.
    pub local: SocketAddr,
    /// Its peer's; where it goes to the daemon instead, that of where it was meant to go.
    pub remote: SocketAddr,
    /// Whether it goes to the daemon instead.
    pub diverted: bool,
    /// How far it has got.
    pub state: State,
    /// Bytes that it sent, without those sent again.
    pub sent: u64,
    /// Bytes that it received.
    pub received: u64,
    /// Whose it is.
    pub owner: Owner,
    family: u8,
    /// What the kernel knows it by.
    name: [u8; NAME],
    inode: u32,
}

impl Socket {
    /// Whether a descriptor of it is left.
    pub const fn is_held(&self) -> bool {
        self.inode != 0
    }
}

/// A netlink socket in the namespace of the calling thread.
pub(super) fn open() -> Result<OwnedFd, DiagError> {
    socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )
    .map_err(DiagError::Open)
}

/// One namespace's sockets.
pub(super) struct Channel {
    socket: OwnedFd,
    maps: [MapData; 2],
    room: Vec<u8>,
}

impl Channel {
    pub(super) fn new(socket: OwnedFd, pins: &Pins) -> Result<Self, DiagError> {
        Ok(Self {
            socket,
            maps: [
                MapData::from_pin(pins.map(OWNERS))?,
                MapData::from_pin(pins.map(DIVERTED))?,
            ],
            room: vec![0; 64 * 1024],
        })
    }

    /// The sockets that have owners.
    pub(super) fn list(&mut self) -> Result<Vec<Socket>, DiagError> {
        let mut found = Vec::new();
        for family in [AF_INET, AF_INET6] {
            self.dump(family, &mut found)?;
        }
        Ok(found)
    }

    fn dump(&mut self, family: u8, found: &mut Vec<Socket>) -> Result<(), DiagError> {
        let refused = DiagError::List;
        let mut request = request(BY_FAMILY, REQUEST | DUMP, family, &[0; NAME]);
        let asked = self.maps.each_ref().map(|map| {
            let map = map.fd().as_fd().as_raw_fd();
            attribute(ASK_MAP, &map.to_ne_bytes())
        });
        request.extend(attribute(ASK_STORED, &asked.concat()));
        let request = finished(request);
        send(self.socket.as_raw_fd(), &request, MsgFlags::empty()).map_err(refused)?;
        loop {
            let length = recv(self.socket.as_raw_fd(), &mut self.room, MsgFlags::empty())
                .map_err(refused)?;
            let mut rest = self.room.get(..length).unwrap_or_default();
            while let Some((kind, body, next)) = message(rest) {
                match kind {
                    DONE => return Ok(()),
                    ERROR => return Err(refused(errno(body))),
                    _ => found.extend(parse(body)),
                }
                rest = next;
            }
            if !rest.is_empty() {
                return Err(DiagError::Nonsense);
            }
        }
    }

    /// Destroys a socket. False where it is gone already.
    pub(super) fn destroy(&mut self, socket: &Socket) -> Result<bool, DiagError> {
        destroy(&self.socket, socket.family, &socket.name)
    }
}

fn destroy(channel: &OwnedFd, family: u8, name: &[u8; NAME]) -> Result<bool, DiagError> {
    let refused = DiagError::Destroy;
    let request = finished(request(DESTROY, REQUEST | ACKNOWLEDGE, family, name));
    send(channel.as_raw_fd(), &request, MsgFlags::empty()).map_err(refused)?;
    let mut room = [0; 1024];
    let length = recv(channel.as_raw_fd(), &mut room, MsgFlags::empty()).map_err(refused)?;
    match message(room.get(..length).unwrap_or_default()) {
        Some((ERROR, body, _)) => match errno(body) {
            Errno::UnknownErrno => Ok(true),
            Errno::ENOENT => Ok(false),
            errno => Err(refused(errno)),
        },
        _ => Err(DiagError::Nonsense),
    }
}

/// Whether the kernel destroys sockets: tries it on a connection of our own, over loopback.
pub fn try_out() -> Result<(), DiagError> {
    let connected = || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let near = TcpStream::connect(listener.local_addr()?)?;
        Ok((near.local_addr()?.port(), near.peer_addr()?.port(), near))
    };
    let (port, peer, _near) = connected().map_err(DiagError::Connection)?;
    let mut name = [0xff; NAME];
    let address = Ipv4Addr::LOCALHOST.octets();
    for (at, bytes) in [(0, port.to_be_bytes()), (2, peer.to_be_bytes())] {
        name[at..at + 2].copy_from_slice(&bytes);
    }
    for at in [4, 20] {
        name[at..at + 16].fill(0);
        name[at..at + 4].copy_from_slice(&address);
    }
    // Any interface; what is left of it is a cookie that fits all.
    name[36..40].fill(0);
    destroy(&open()?, AF_INET, &name).map(drop)
}

/// A message without its length.
fn request(kind: u16, flags: u16, family: u8, name: &[u8; NAME]) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family, TCP, 1 << (INFO - 1), 0]);
    bytes.extend(STATES.to_ne_bytes());
    bytes.extend(name);
    bytes
}

fn finished(mut message: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(0).to_ne_bytes();
    if let Some(place) = message.get_mut(..4) {
        place.copy_from_slice(&length);
    }
    message
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).unwrap_or(0);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The first of some messages: its kind, its body, and the others.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::read(bytes, 0)? as usize;
    let body = bytes.get(HEADER..length)?;
    let next = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((u16::read(bytes, 4)?, body, next))
}

/// What an acknowledgement says; 0 is none.
fn errno(body: &[u8]) -> Errno {
    let number = u32::read(body, 0).unwrap_or(0).cast_signed();
    Errno::from_raw(number.wrapping_neg())
}

/// The values of the attributes of a kind.
fn each(bytes: &[u8], kind: u16) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    let all = std::iter::from_fn(move || {
        let length = usize::from(u16::read(rest, 0)?);
        let value = rest.get(4..length)?;
        let own = u16::read(rest, 2)? & KIND;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((own, value))
    });
    all.filter(move |(own, _)| *own == kind)
        .map(|(_, value)| value)
}

/// The value of the first of them.
fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    each(bytes, kind).next()
}

/// What is stored with a socket in a map whose values are of so many bytes. No two maps have the same.
fn stored<T: Wire>(attributes: &[u8]) -> Option<T> {
    const { assert!(Owner::SIZE != Diverted::SIZE) }
    let maps = each(find(attributes, STORED)?, STORED_ONE);
    let mut values = maps.filter_map(|map| find(map, STORED_VALUE));
    T::read(values.find(|value| value.len() == T::SIZE)?, 0)
}

/// Where a socket was meant to go that is connected to the daemon instead.
fn meant(attributes: &[u8], remote: SocketAddr) -> Option<SocketAddr> {
    let diverted: Diverted = stored(attributes)?;
    (divert::address(&diverted.station) == remote).then(|| divert::address(&diverted.origin.server))
}

/// A socket that has an owner.
fn parse(body: &[u8]) -> Option<Socket> {
    let attributes = body.get(MESSAGE..)?;
    let owner = stored(attributes)?;
    let family = *body.first()?;
    let name: [u8; NAME] = *body.get(4..)?.first_chunk()?;
    let info = find(attributes, INFO).unwrap_or_default();
    let count = |at| u64::read(info, at).unwrap_or(0);
    let remote = address(family, &name, 2, 20)?;
    let meant = meant(attributes, remote);
    Some(Socket {
        local: address(family, &name, 0, 4)?,
        remote: meant.unwrap_or(remote),
        diverted: meant.is_some(),
        state: State::from_wire(*body.get(1)?),
        sent: count(SENT).saturating_sub(count(SENT_AGAIN)),
        received: count(RECEIVED),
        owner,
        family,
        name,
        inode: u32::read(body, 68)?,
    })
}

fn address(family: u8, name: &[u8; NAME], port: usize, at: usize) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(*name.get(port..)?.first_chunk()?);
    let bytes: [u8; 16] = *name.get(at..)?.first_chunk()?;
    let address = if family == AF_INET {
        let [a, b, c, d, ..] = bytes;
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    } else {
        IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
    };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_common::decide::NO_RULE;
    use proptest::prelude::*;

    /// An answer of the kernel about a connection over IPv4, with what is stored in two maps.
    fn answer(stored: &[u8]) -> Vec<u8> {
        let mut body = vec![AF_INET, 1, 0, 0];
        let mut name = [0; NAME];
        name[..4].copy_from_slice(&[0x90, 0x01, 0x01, 0xbb]);
        name[4..8].copy_from_slice(&[10, 0, 0, 1]);
        name[20..24].copy_from_slice(&[192, 0, 2, 7]);
        body.extend(name);
        body.extend([0; 16]);
        body.extend(77_u32.to_ne_bytes());
        let mut info = [0; 240];
        info[RECEIVED..RECEIVED + 8].copy_from_slice(&70_u64.to_ne_bytes());
        info[SENT..SENT + 8].copy_from_slice(&1500_u64.to_ne_bytes());
        info[SENT_AGAIN..SENT_AGAIN + 8].copy_from_slice(&500_u64.to_ne_bytes());
        body.extend(attribute(8, &[0]));
        body.extend(attribute(INFO, &info));
        let one = [attribute(2, &[9; 4]), attribute(STORED_VALUE, stored)].concat();
        body.extend(attribute(STORED | 0x8000, &attribute(STORED_ONE, &one)));
        body
    }

    #[test]
    fn a_connection_is_read_with_its_owner() {
        let mut stored = 5_u64.to_ne_bytes().to_vec();
        for number in [1, 2, NO_RULE, 3] {
            stored.extend(number.to_ne_bytes());
        }
        stored.resize(Owner::SIZE, 0);
        let socket = parse(&answer(&stored)).unwrap();
        assert_eq!(socket.local, "10.0.0.1:36865".parse().unwrap());
        assert_eq!(socket.remote, "192.0.2.7:443".parse().unwrap());
        assert_eq!((socket.sent, socket.received), (1000, 70));
        assert_eq!((socket.owner.session, socket.owner.tool), (5, 3));
        assert_eq!(socket.owner.rule, NO_RULE);
        assert!(socket.is_connection() && socket.is_held());
    }

    #[test]
    fn a_socket_without_an_owner_is_nobodys() {
        assert_eq!(parse(&answer(&[])), None);
        assert_eq!(parse(&answer(&[])[..MESSAGE]), None);
    }

    #[test]
    fn what_the_kernel_says_no_with_is_read() {
        let denied = (-1_i32).to_ne_bytes();
        assert_eq!(errno(&denied), Errno::EPERM);
        let mut text = 36_u32.to_ne_bytes().to_vec();
        text.extend(ERROR.to_ne_bytes());
        text.extend([0; 10]);
        text.extend(denied);
        text.extend([0; 16]);
        let (kind, body, rest) = message(&text).unwrap();
        assert_eq!((kind, errno(body), rest.len()), (ERROR, Errno::EPERM, 0));
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
            let mut rest = bytes.as_slice();
            while let Some((_, _, next)) = message(rest) {
                prop_assert!(next.len() < rest.len());
                rest = next;
            }
        }
    }
}
