//! The way of a connection through the relay.

use super::hello::{self, Heard, hear};
use crate::divert::{Doors, Origin, Origins, Places, Refusals, Refused, Silence, Site, address};
use crate::health::Pulse;
use crate::kernel::maps::MapsError;
use crate::kernel::pins::Pins;
use crate::names::Names;
use agent_common::decide::Rule;
use agent_common::egress::{Endpoint, TCP};
use ppp::v2::{Builder, Command, Protocol, Type, Version};
use socket2::SockRef;
use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::spawn_local;
use tokio::time::timeout;
use tracing::{debug, warn};

/// Connections at once, of all sessions and of one.
const CONNECTIONS: usize = 4_096;
const OF_SESSION: usize = 512;
/// How long a connection may take to say for which name it is.
const TO_SAY: Duration = Duration::from_secs(10);
/// How long its destination may take to answer.
const TO_ANSWER: Duration = Duration::from_secs(30);
/// How often it is seen that the relay's loop turns.
const HOUSE: Duration = Duration::from_secs(1);
/// Bytes that are carried at once.
const CHUNK: usize = 64 * 1024;

/// The relay.
pub struct Relay {
    names: Arc<Names>,
    origins: RefCell<Origins>,
    refusals: Refusals,
    silence: Silence,
    places: Places,
    pulse: Pulse,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").finish_non_exhaustive()
    }
}

impl Relay {
    /// One that has relayed nothing yet.
    pub fn new(
        names: Arc<Names>,
        origins: Origins,
        refusals: Refusals,
        pulse: Pulse,
    ) -> Result<Self, MapsError> {
        Ok(Self {
            names,
            origins: RefCell::new(origins),
            refusals,
            silence: Silence::open(&Pins::in_force())?,
            places: Places::new(CONNECTIONS, OF_SESSION),
            pulse,
        })
    }

    /// Until the process ends, by all doors that come.
    pub async fn serve(self, mut doors: UnboundedReceiver<(Site, Doors)>) {
        let relay = Rc::new(self);
        let mut house = tokio::time::interval(HOUSE);
        loop {
            tokio::select! {
                Some((site, doors)) = doors.recv() => relay.open(&site, doors),
                _ = house.tick() => relay.pulse.beat(),
            }
        }
    }

    fn open(self: &Rc<Self>, site: &Site, doors: Doors) {
        for door in doors.all() {
            match TcpListener::from_std(door.tcp) {
                Ok(listener) => {
                    let (relay, site) = (Rc::clone(self), site.clone());
                    spawn_local(
                        async move { site.while_open(relay.listen(&site, listener)).await },
                    );
                }
                Err(error) => {
                    warn!(%error, "nothing is relayed by one of the loopback addresses");
                }
            }
        }
    }

    async fn listen(self: &Rc<Self>, site: &Site, listener: TcpListener) {
        loop {
            let Ok((stream, peer)) = listener.accept().await else {
                // Out of descriptors: others end.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let (relay, site) = (Rc::clone(self), site.clone());
            spawn_local(async move {
                // Whatever is not carried to its end, its program sees reset.
                if let Err(error) = relay.carry(&site, &stream, peer).await {
                    debug!(%error, %peer, "a relayed connection");
                    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                }
            });
        }
    }

    async fn carry(&self, site: &Site, stream: &TcpStream, peer: SocketAddr) -> io::Result<()> {
        let Some(origin) = self.origins.borrow_mut().take(site, peer, TCP) else {
            return Err(refused("no session's"));
        };
        let Some(route) = self.names.route(&origin) else {
            return Err(refused("the session's permission has ended"));
        };
        let Some(_place) = self.places.take(origin.session) else {
            self.refuse(&origin, None, "too many relayed connections");
            return Err(refused("too many"));
        };
        let mut first = Vec::new();
        let mut said = None;
        if origin.why & u32::from(Rule::NAMED) != 0 {
            let name = match timeout(TO_SAY, listen_to(stream, &mut first)).await {
                Ok(heard) => heard?,
                Err(_) => Heard::Other("it says no name"),
            };
            match name {
                Heard::Name(name) => {
                    if let Err(reason) = self.names.may_say(&origin, &name) {
                        self.refuse(&origin, Some(name), reason);
                        return Err(refused(reason));
                    }
                    said = Some(name);
                }
                Heard::Other(reason) => {
                    self.refuse(&origin, None, reason);
                    return Err(refused(reason));
                }
                // It closed before it said anything.
                Heard::Part => return Ok(()),
            }
        }
        let to = route.gateway.unwrap_or_else(|| address(&origin.server));
        let other = timeout(TO_ANSWER, site.connect(to)).await??;
        other.set_nodelay(true)?;
        stream.set_nodelay(true)?;
        if route.gateway.is_some() {
            let header = header(peer, &origin.server, said.as_deref())?;
            self.write(&other, &header, &origin).await?;
        }
        let carried = match self.write(&other, &first, &origin).await {
            Ok(()) => self.pump(stream, &other, &origin).await,
            error => error,
        };
        if carried.is_err() {
            let _ = SockRef::from(&other).set_linger(Some(Duration::ZERO));
        }
        carried
    }

    fn refuse(&self, origin: &Origin, said: Option<String>, reason: &'static str) {
        let server = origin.server;
        let what = Refused::Connection { server, said };
        self.refusals.tell(&self.names, origin, what, reason);
    }

    /// Both ways, until both have ended.
    async fn pump(&self, one: &TcpStream, other: &TcpStream, origin: &Origin) -> io::Result<()> {
        let there = async {
            self.copy(one, other, origin).await?;
            shut(other)
        };
        let back = async {
            self.copy(other, one, origin).await?;
            shut(one)
        };
        tokio::try_join!(there, back).map(|_| ())
    }

    async fn copy(&self, from: &TcpStream, to: &TcpStream, origin: &Origin) -> io::Result<()> {
        let mut room = vec![0; CHUNK];
        loop {
            from.readable().await?;
            match from.try_read(&mut room) {
                Ok(0) => return Ok(()),
                Ok(length) => {
                    let bytes = room.get(..length).unwrap_or_default();
                    self.write(to, bytes, origin).await?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes as long as the session may speak, asked each time that there is room.
    async fn write(&self, to: &TcpStream, bytes: &[u8], origin: &Origin) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            to.writable().await?;
            if self.silence.is_on(origin.session, origin.slot) {
                return Err(refused("the session has fallen silent"));
            }
            match to.try_write(rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Reads until it is known what the connection says first, or until it says no more.
async fn listen_to(stream: &TcpStream, first: &mut Vec<u8>) -> io::Result<Heard> {
    let mut room = [0; 4_096];
    loop {
        match hear(first) {
            Heard::Part => {}
            heard => return Ok(heard),
        }
        stream.readable().await?;
        let most = room.len().min(hello::MOST - first.len());
        match stream.try_read(room.get_mut(..most).unwrap_or_default()) {
            Ok(0) => return Ok(Heard::Part),
            Ok(length) => first.extend_from_slice(room.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Says that nothing more comes.
fn shut(stream: &TcpStream) -> io::Result<()> {
    match SockRef::from(stream).shutdown(std::net::Shutdown::Write) {
        Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(error),
        _ => Ok(()),
    }
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why.to_owned())
}

/// What a gateway hears first: who comes, where to, and for which name, as PROXY protocol version 2.
fn header(peer: SocketAddr, server: &Endpoint, said: Option<&str>) -> io::Result<Vec<u8>> {
    let to = address(server);
    // Both of one family, as the protocol wants it.
    let from = match (peer.ip(), to.ip()) {
        (IpAddr::V4(v4), IpAddr::V6(_)) => (v4.to_ipv6_mapped(), peer.port()).into(),
        (IpAddr::V6(v6), IpAddr::V4(_)) => {
            let v4 = v6.to_ipv4_mapped().unwrap_or(Ipv4Addr::LOCALHOST);
            (v4, peer.port()).into()
        }
        _ => peer,
    };
    let proxied = Version::Two | Command::Proxy;
    let header = Builder::with_addresses(proxied, Protocol::Stream, (from, to));
    match said {
        Some(name) => header.write_tlv(Type::Authority, name.as_bytes())?.build(),
        None => header.build(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    #[test]
    fn a_gateway_hears_who_comes_where_to_and_for_which_name() {
        let server = Endpoint::v4([203, 0, 113, 7], 443, TCP);
        let bytes = header(
            "127.0.0.1:5000".parse().unwrap(),
            &server,
            Some("a.example.com"),
        );
        let bytes = bytes.unwrap();
        let read = ppp::v2::Header::try_from(&bytes[..]).unwrap();
        let ppp::v2::Addresses::IPv4(addresses) = read.addresses else {
            panic!("{read:?}");
        };
        assert_eq!(addresses.source_port, 5000);
        assert_eq!(addresses.destination_address, Ipv4Addr::new(203, 0, 113, 7));
        assert_eq!(addresses.destination_port, 443);
        let authority = read.tlvs().next().unwrap().unwrap();
        assert_eq!(&*authority.value, b"a.example.com");
        let server = Endpoint::v6(
            "2001:db8::7".parse::<Ipv6Addr>().unwrap().octets(),
            443,
            TCP,
        );
        let bytes = header("127.0.0.1:5000".parse().unwrap(), &server, None).unwrap();
        let read = ppp::v2::Header::try_from(&bytes[..]).unwrap();
        assert!(
            matches!(read.addresses, ppp::v2::Addresses::IPv6(_)),
            "{read:?}"
        );
    }
}
