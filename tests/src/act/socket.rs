//! Sockets that an actor keeps by name, and does one thing after the other with.

use crate::sys::net;
use crate::sys::outcome;
use crate::sys::sockaddr::SockAddr;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The sockets of one actor.
#[derive(Default)]
pub(crate) struct Sockets(BTreeMap<String, OwnedFd>);

impl Sockets {
    /// Follows one order, and says how the kernel answered.
    pub(crate) fn obey(&mut self, words: &[&str]) -> Result<String> {
        let done = match words {
            ["make", name, family, kind, protocol] => {
                let made = net::socket_of(family.parse()?, kind.parse()?, protocol.parse()?);
                self.keep(name, made)
            }
            ["adopt", name, fd] => self.keep(name, net::adopt(fd.parse()?)),
            ["accept", name, new] => {
                let accepted = net::accept(self.get(name)?);
                self.keep(new, accepted)
            }
            ["close", name] => {
                self.0.remove(*name).context("no such socket")?;
                Ok(())
            }
            ["bind", name, at] => net::bind(self.get(name)?, &SockAddr::of(at.parse()?)),
            ["listen", name] => net::listen(self.get(name)?),
            ["connect", name, to] => net::connect(self.get(name)?, &SockAddr::of(to.parse()?)),
            ["send", name, bytes] => net::send(self.get(name)?, &bytes_of(bytes)?, 0, None),
            // To nowhere: IPv6 then sends to the peer.
            ["send", name, bytes, "no-family", to] => {
                let to = SockAddr::of(to.parse()?).without_family();
                net::send(self.get(name)?, &bytes_of(bytes)?, 0, Some(&to))
            }
            ["send", name, bytes, to] => {
                let to = SockAddr::of(to.parse()?);
                net::send(self.get(name)?, &bytes_of(bytes)?, 0, Some(&to))
            }
            ["sendfile", name, path, bytes] => {
                let file = File::open(path).with_context(|| (*path).to_owned())?;
                net::send_file(self.get(name)?, &file, bytes.parse()?)
            }
            ["case", family, kind, protocol, call, to, length] => {
                let kind = [family.parse()?, kind.parse()?, protocol.parse()?];
                return case(kind, call, to.parse()?, length.parse()?);
            }
            _ => bail!("no order about sockets is {words:?}"),
        };
        Ok(outcome(&done))
    }

    fn keep(&mut self, name: &str, made: io::Result<OwnedFd>) -> io::Result<()> {
        self.0.insert(name.to_owned(), made?);
        Ok(())
    }

    fn get(&self, name: &str) -> Result<BorrowedFd<'_>> {
        let socket = self.0.get(name);
        Ok(socket.with_context(|| format!("no socket {name}"))?.as_fd())
    }
}

/// Makes a socket, and one call with it: how far it got, and how the kernel answered.
fn case(kind: [i32; 3], call: &str, to: SocketAddr, length: usize) -> Result<String> {
    let [family, of, protocol] = kind;
    let socket = match net::socket_of(family, of, protocol) {
        Ok(socket) => socket,
        failed => return Ok(format!("make {}", outcome(&failed))),
    };
    let (socket, address) = (socket.as_fd(), SockAddr::of(to));
    // Nobody waits for who does not listen: what is not there answers at once on loopback.
    let send = |()| net::send(socket, b"case", 0, None);
    let done = match call {
        "connect" => net::connect(socket, &address).and_then(send),
        "sendto" => net::send(socket, b"case", 0, Some(&address)),
        "fastopen" => net::send(socket, b"case", net::FASTOPEN, Some(&address)),
        "batch" => net::send_many(socket, b"case", &[address, address]).map(drop),
        "unspec" => net::send(socket, b"case", 0, Some(&address.without_family())),
        "short" => net::connect(socket, &address.cut(length)).and_then(send),
        "bound" => {
            let any = if family == net::INET {
                "0.0.0.0:0"
            } else {
                "[::]:0"
            };
            net::bind(socket, &SockAddr::of(any.parse()?))
                .and_then(|()| net::connect(socket, &address))
                .and_then(send)
        }
        "bind" => net::bind(socket, &address),
        "listen" => net::bind(socket, &address).and_then(|()| net::listen(socket)),
        _ => bail!("no call is {call}"),
    };
    Ok(format!("{call} {}", outcome(&done)))
}

/// Listens at an address for a moment.
pub(crate) fn listen(kind: i32, at: SocketAddr) -> Result<String> {
    let family = if at.is_ipv4() { net::INET } else { net::INET6 };
    let socket = net::socket(family, kind).context("making a socket")?;
    let bound = net::bind(socket.as_fd(), &SockAddr::of(at));
    Ok(outcome(&bound.and_then(|()| match kind {
        net::STREAM => net::listen(socket.as_fd()),
        _ => Ok(()),
    })))
}

fn bytes_of(count: &str) -> Result<Vec<u8>> {
    Ok(vec![b'i'; count.parse()?])
}
