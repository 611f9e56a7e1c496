//! Sockets on the loopback addresses of a network namespace.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use tracing::debug;

/// Ports that are tried.
const TRIES: usize = 32;

/// The sockets of one loopback address.
#[derive(Debug)]
pub struct Door {
    /// For datagrams, where they are taken.
    pub udp: Option<UdpSocket>,
    /// For connections.
    pub tcp: TcpListener,
}

impl Door {
    fn open(address: IpAddr, port: u16, datagrams: bool) -> io::Result<Self> {
        let tcp = TcpListener::bind((address, port))?;
        tcp.set_nonblocking(true)?;
        let udp = datagrams
            .then(|| {
                let udp = UdpSocket::bind(tcp.local_addr()?)?;
                udp.set_nonblocking(true)?;
                io::Result::Ok(udp)
            })
            .transpose()?;
        Ok(Self { udp, tcp })
    }
}

/// The same port of both loopback addresses.
#[derive(Debug)]
pub struct Doors {
    /// The port.
    pub port: u16,
    /// At 127.0.0.1.
    pub v4: Door,
    /// At ::1, where there is IPv6.
    pub v6: Option<Door>,
}

impl Doors {
    /// Listens where the thread is, at `last` if that port can be had.
    pub fn open(datagrams: bool, last: Option<u16>) -> io::Result<Self> {
        let ports = last.into_iter().chain(std::iter::repeat_n(0, TRIES));
        let mut failed = io::Error::other("no port was tried");
        for port in ports {
            let v4 = match Door::open(Ipv4Addr::LOCALHOST.into(), port, datagrams) {
                Ok(door) => door,
                Err(error) => {
                    failed = error;
                    continue;
                }
            };
            let port = v4.tcp.local_addr()?.port();
            let v6 = match Door::open(Ipv6Addr::LOCALHOST.into(), port, datagrams) {
                Ok(door) => Some(door),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    failed = error;
                    continue;
                }
                Err(error) => {
                    debug!(%error, "sessions come by IPv4 alone");
                    None
                }
            };
            return Ok(Self { port, v4, v6 });
        }
        Err(failed)
    }

    /// All of them.
    pub fn all(self) -> impl Iterator<Item = Door> {
        std::iter::once(self.v4).chain(self.v6)
    }
}
