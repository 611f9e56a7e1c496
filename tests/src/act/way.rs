//! The ways to reach an address.

use crate::harness::network::{DENIED4, DENIED6};
use crate::sys::net::{self, DGRAM, FASTOPEN, INET, INET6, STREAM};
use crate::sys::sockaddr::SockAddr;
use crate::sys::uring::{Ring, Worker};
use anyhow::{Context, Result, bail};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;

/// What every attempt sends, so that a server can tell that it arrived.
pub(crate) const PAYLOAD: &[u8] = b"interlock-tests";

macro_rules! ways {
    ($($(#[$meta:meta])* $name:ident => $word:literal,)+) => {
        /// One way to reach an address.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Way { $($(#[$meta])* $name,)+ }

        impl Way {
            /// The word of the command line.
            pub(crate) fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }

            /// The way that a word names.
            pub(crate) fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$name),)+ _ => None }
            }
        }
    };
}

ways! {
    /// `connect` on a stream socket, then data.
    Tcp => "tcp",
    /// `sendto(MSG_FASTOPEN)` on a stream socket that was never connected.
    Fastopen => "fastopen",
    /// io_uring's connect of a stream socket, by the task itself.
    UringTcp => "uring-tcp",
    /// The same by a worker of the kernel's pool.
    UringTcpPool => "uring-tcp-pool",
    /// The same by the ring's polling thread.
    UringTcpPoller => "uring-tcp-poller",
    /// `connect` on a datagram socket, then data.
    UdpConnected => "udp-connected",
    /// `sendto` on a datagram socket.
    Udp => "udp",
    /// `sendto` on a datagram socket that is connected to loopback's discard port.
    UdpElsewhere => "udp-elsewhere",
    /// `connect(AF_UNSPEC)` to take a peer away, then `connect` to the address.
    UdpReconnected => "udp-reconnected",
    /// io_uring's `sendmsg` on a datagram socket, by the task itself.
    UringUdp => "uring-udp",
    /// The same by a worker of the kernel's pool.
    UringUdpPool => "uring-udp-pool",
    /// The same by the ring's polling thread.
    UringUdpPoller => "uring-udp-poller",
    /// `sendto` with an IPv4 address whose family says `AF_UNSPEC`.
    UdpUnspec => "udp-unspec",
    /// `sendto` with an IPv4 address on an IPv6 socket.
    UdpInetOnInet6 => "udp-inet-on-inet6",
    /// `sendto` on a datagram socket whose packets go to an address beside first, which is denied.
    UdpRouted => "udp-routed",
    /// `connect` on a stream socket whose packets do.
    TcpRouted => "tcp-routed",
    /// `connect` with an IPv4 address on an IPv6 datagram socket, then data.
    UdpConnectedInetOnInet6 => "udp-connected-inet-on-inet6",
}

/// Tries one way. An error of setting up is `Err`; the attempt's own outcome is inside.
pub(crate) fn attempt(way: Way, to: SocketAddr) -> Result<io::Result<()>> {
    let address = SockAddr::of(to);
    let family = match to.ip() {
        IpAddr::V4(_) => INET,
        IpAddr::V6(_) => INET6,
    };
    let socket = |family, kind| net::socket(family, kind).context("making a socket");
    Ok(match way {
        Way::Tcp => {
            let socket = socket(family, STREAM)?;
            net::connect(socket.as_fd(), &address)
                .and_then(|()| net::send(socket.as_fd(), PAYLOAD, 0, None))
        }
        Way::Fastopen => {
            let socket = socket(family, STREAM)?;
            net::send(socket.as_fd(), PAYLOAD, FASTOPEN, Some(&address))
        }
        Way::UringTcp | Way::UringTcpPool | Way::UringTcpPoller => {
            let ring = ring(way)?;
            let socket = socket(family, STREAM)?;
            ring.connect(socket.as_fd(), &address)
                .and_then(|()| net::send(socket.as_fd(), PAYLOAD, 0, None))
        }
        Way::UdpConnected => {
            let socket = socket(family, DGRAM)?;
            connect_and_send(&socket, &address)
        }
        Way::Udp => {
            let socket = socket(family, DGRAM)?;
            net::send(socket.as_fd(), PAYLOAD, 0, Some(&address))
        }
        Way::UdpElsewhere => {
            let socket = socket(family, DGRAM)?;
            // Whether this is allowed is not the question: the datagram goes elsewhere.
            let _ = net::connect(socket.as_fd(), &SockAddr::of(loopback_of(to)));
            net::send(socket.as_fd(), PAYLOAD, 0, Some(&address))
        }
        Way::UdpReconnected => {
            let socket = socket(family, DGRAM)?;
            let _ = net::connect(socket.as_fd(), &SockAddr::of(loopback_of(to)));
            net::connect(
                socket.as_fd(),
                &SockAddr::of(loopback_of(to)).without_family(),
            )
            .context("connecting to no family, which takes the peer away")?;
            connect_and_send(&socket, &address)
        }
        Way::UringUdp | Way::UringUdpPool | Way::UringUdpPoller => {
            let ring = ring(way)?;
            let socket = socket(family, DGRAM)?;
            ring.send(socket.as_fd(), PAYLOAD, &address)
        }
        Way::UdpRouted => {
            let socket = socket(family, DGRAM)?;
            net::go_by_way_of(socket.as_fd(), beside(to)?).context("giving a route")?;
            net::send(socket.as_fd(), PAYLOAD, 0, Some(&address))
        }
        Way::TcpRouted => {
            let socket = socket(family, STREAM)?;
            net::go_by_way_of(socket.as_fd(), beside(to)?).context("giving a route")?;
            net::give_up_soon(socket.as_fd()).context("setting how often it tries")?;
            net::connect(socket.as_fd(), &address)
                .and_then(|()| net::send(socket.as_fd(), PAYLOAD, 0, None))
        }
        Way::UdpUnspec => {
            let socket = socket(INET, DGRAM)?;
            net::send(socket.as_fd(), PAYLOAD, 0, Some(&address.without_family()))
        }
        Way::UdpInetOnInet6 => {
            let socket = socket(INET6, DGRAM)?;
            net::send(socket.as_fd(), PAYLOAD, 0, Some(&address))
        }
        Way::UdpConnectedInetOnInet6 => {
            let socket = socket(INET6, DGRAM)?;
            connect_and_send(&socket, &address)
        }
    })
}

/// Sends one batch to several addresses by `sendmmsg` and says how many the kernel sent.
pub(crate) fn attempt_batch(to: &[SocketAddr]) -> Result<io::Result<usize>> {
    let Some(first) = to.first() else {
        bail!("a batch of no addresses");
    };
    let family = if first.is_ipv4() { INET } else { INET6 };
    let socket = net::socket(family, DGRAM).context("making a socket")?;
    let addresses: Vec<SockAddr> = to.iter().copied().map(SockAddr::of).collect();
    Ok(net::send_many(socket.as_fd(), PAYLOAD, &addresses))
}

/// The cheapest attempt: `connect` on a datagram socket sends nothing and waits for nobody.
pub(crate) fn probe(to: SocketAddr) -> io::Result<()> {
    let family = if to.is_ipv4() { INET } else { INET6 };
    let socket = net::socket(family, DGRAM)?;
    net::connect(socket.as_fd(), &SockAddr::of(to))
}

fn connect_and_send(socket: &std::os::fd::OwnedFd, address: &SockAddr) -> io::Result<()> {
    net::connect(socket.as_fd(), address)?;
    net::send(socket.as_fd(), PAYLOAD, 0, None)
}

fn ring(way: Way) -> Result<Ring> {
    let worker = match way {
        Way::UringTcpPool | Way::UringUdpPool => Worker::Pool,
        Way::UringTcpPoller | Way::UringUdpPoller => Worker::Poller,
        _ => Worker::Inline,
    };
    Ring::new(worker).context("setting up io_uring")
}

/// An address of the same family that no policy allows.
fn beside(to: SocketAddr) -> Result<IpAddr> {
    let beside = if to.is_ipv4() { DENIED4 } else { DENIED6 };
    Ok(beside.parse()?)
}

fn loopback_of(to: SocketAddr) -> SocketAddr {
    let address = match to.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
    };
    SocketAddr::new(address, 9)
}
