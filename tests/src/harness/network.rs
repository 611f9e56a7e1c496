//! Addresses and servers inside the virtual machine. Public addresses lie on the loopback device:
//! what goes to them is judged by its address, and never leaves the machine.

use crate::sys::processes;
use anyhow::{Context, Result, bail};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::Duration;

/// An address that policies allow.
pub(crate) const ALLOWED4: &str = "192.0.2.10";
/// An address beside it that they do not.
pub(crate) const DENIED4: &str = "192.0.2.20";
/// An address that policies allow.
pub(crate) const ALLOWED6: &str = "2001:db8::10";
/// An address beside it that they do not.
pub(crate) const DENIED6: &str = "2001:db8::20";
/// The allowed IPv4 address, spelled with the NAT64 prefix.
pub(crate) const ALLOWED_NAT64: &str = "64:ff9b::c000:20a";
/// The denied IPv4 address, spelled with the NAT64 prefix.
pub(crate) const DENIED_NAT64: &str = "64:ff9b::c000:214";
/// The port of every server that does not need another.
pub(crate) const PORT: u16 = 4433;

/// Gives the loopback device its addresses. Harmless when it has them.
pub(crate) fn set_up() -> Result<()> {
    ip(&["link", "set", "lo", "up"])?;
    for (address, bits) in [
        (ALLOWED4, 32),
        (DENIED4, 32),
        (ALLOWED6, 128),
        (DENIED6, 128),
        (ALLOWED_NAT64, 128),
        (DENIED_NAT64, 128),
    ] {
        ip(&[
            "address",
            "replace",
            &format!("{address}/{bits}"),
            "dev",
            "lo",
        ])?;
    }
    Ok(())
}

/// Waits until what loopback has taken by now is where it goes. Under load the kernel hands packets on
/// later, but on each CPU one after the other: what is sent behind them comes behind them. Of a
/// handshake only the last packet is left when `connect` returns.
pub(crate) fn delivered() -> Result<()> {
    let receiver = UdpSocket::bind("127.0.0.1:0").context("binding")?;
    receiver.set_read_timeout(Some(Duration::from_secs(10)))?;
    let sender = UdpSocket::bind("127.0.0.1:0").context("binding")?;
    sender.connect(receiver.local_addr()?)?;
    let cpus = thread::available_parallelism()?.get();
    for cpu in 0..cpus {
        processes::set_cpu(cpu).context("going to a CPU")?;
        sender.send(b"!")?;
        receiver.recv(&mut [0]).context("waiting for loopback")?;
    }
    Ok(processes::set_cpus(0)?)
}

/// Runs `ip`.
pub(crate) fn ip(words: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(words)
        .output()
        .context("running ip")?;
    if !output.status.success() {
        bail!(
            "ip {}: {}",
            words.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

/// An address with a port.
pub(crate) fn at(address: &str, port: u16) -> Result<SocketAddr> {
    let address: IpAddr = address
        .parse()
        .with_context(|| format!("{address} is no address"))?;
    Ok(SocketAddr::new(address, port))
}

/// A server that only notices what reaches it.
pub(crate) enum Server {
    /// Of connections.
    Tcp(TcpListener),
    /// Of datagrams.
    Udp(UdpSocket),
}

impl Server {
    /// Listens for connections.
    pub(crate) fn tcp(at: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(at).with_context(|| format!("listening on {at}"))?;
        listener.set_nonblocking(true)?;
        Ok(Self::Tcp(listener))
    }

    /// Listens for datagrams.
    pub(crate) fn udp(at: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind(at).with_context(|| format!("listening on {at}"))?;
        socket.set_nonblocking(true)?;
        Ok(Self::Udp(socket))
    }

    /// How many attempts reached it since it was last asked: connections that were made, datagrams
    /// that came. The actor's end has been waited for; what is not here once it is [`delivered`] never
    /// comes.
    pub(crate) fn reached(&self) -> Result<u32> {
        delivered()?;
        self.there()
    }

    /// The same of what is delivered.
    pub(crate) fn there(&self) -> Result<u32> {
        let mut reached = 0;
        loop {
            let one = match self {
                Self::Tcp(listener) => listener.accept().map(drop),
                Self::Udp(socket) => socket.recv(&mut [0; 64]).map(drop),
            };
            match one {
                Ok(()) => reached += 1,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(reached),
                Err(error) => return Err(error).context("waiting for what reaches the server"),
            }
        }
    }
}
