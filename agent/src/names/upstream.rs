//! The servers that this host asks: those of its `resolv.conf`, by UDP, and by TCP what does not fit.

use super::cache::Known;
use super::message::{self, Asking, PAYLOAD};
use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// How long one server may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often all of them are asked.
const ROUNDS: usize = 2;
/// Servers that are asked, the first of the file.
const SERVERS: usize = 3;

/// Reads the servers from the text of a `resolv.conf`.
pub(super) fn servers(text: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        if words.next() != Some("nameserver") {
            return None;
        }
        Some(SocketAddr::new(words.next()?.parse().ok()?, 53))
    };
    text.lines().filter_map(address).take(SERVERS).collect()
}

/// Asks the servers one after the other. Nothing where none could say.
pub(super) async fn ask(servers: &[SocketAddr], name: &str, kind: RecordType) -> Option<Known> {
    for round in 0..ROUNDS {
        for server in servers {
            // Some servers do not repeat capitals; they are asked by TCP then, where nobody can guess.
            let by_udp = round == 0;
            let heard = timeout(PATIENCE, ask_one(*server, name, kind, by_udp)).await;
            let known = match heard {
                Ok(Ok(message)) => message::known(name, kind, &message),
                Ok(Err(error)) => {
                    tracing::debug!(%server, %error, "a server of names does not answer");
                    None
                }
                Err(_) => None,
            };
            if known.is_some() {
                return known;
            }
        }
    }
    None
}

async fn ask_one(
    server: SocketAddr,
    name: &str,
    kind: RecordType,
    by_udp: bool,
) -> io::Result<Message> {
    if by_udp {
        let message = by_datagram(server, &asking(name, kind, true)?).await?;
        if !message.metadata.truncation {
            return Ok(message);
        }
    }
    by_stream(server, &asking(name, kind, false)?).await
}

fn asking(name: &str, kind: RecordType, capitals: bool) -> io::Result<Asking> {
    Asking::of(name, kind, capitals).ok_or_else(|| io::Error::other("not a name"))
}

fn bytes(asking: &Asking) -> io::Result<Vec<u8>> {
    asking.bytes().ok_or_else(|| io::Error::other("not a name"))
}

/// From a port of its own, which who would answer in the server's place must guess, too.
async fn by_datagram(server: SocketAddr, asking: &Asking) -> io::Result<Message> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(&bytes(asking)?).await?;
    let mut room = [0; PAYLOAD as usize + 1];
    loop {
        let length = socket.recv(&mut room).await?;
        // What is not the answer may be somebody's guess: the answer may still come.
        if let Some(message) = room.get(..length).and_then(|bytes| asking.hear(bytes)) {
            return Ok(message);
        }
    }
}

async fn by_stream(server: SocketAddr, asking: &Asking) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let bytes = bytes(asking)?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream
        .write_all(&[&length.to_be_bytes(), bytes.as_slice()].concat())
        .await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await?;
    asking
        .hear(&answer)
        .ok_or_else(|| io::Error::other("an answer to another question"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_are_those_that_every_resolver_reads() {
        let text = "# comment\nsearch corp.example\nnameserver 192.0.2.53\nnameserver ::1\n\
                    nameserver nonsense\noptions ndots:5\nnameserver 192.0.2.54\nnameserver 192.0.2.55\n";
        let found = servers(text);
        let expected = ["192.0.2.53:53", "[::1]:53", "192.0.2.54:53"];
        assert_eq!(found, expected.map(|text| text.parse().unwrap()));
    }
}
