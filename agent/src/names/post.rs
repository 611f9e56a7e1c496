//! Datagrams of a socket, many with one system call.

use super::message::MAX_QUESTION;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Datagrams that are taken at once, at most.
const MANY: usize = 32;

/// What has come.
pub(super) struct Post {
    headers: MultiHeaders<SockaddrStorage>,
    room: Vec<[u8; MAX_QUESTION + 1]>,
    came: Vec<(usize, SocketAddr)>,
}

impl Post {
    pub(super) fn new() -> Self {
        Self {
            headers: MultiHeaders::preallocate(MANY, None),
            room: vec![[0; MAX_QUESTION + 1]; MANY],
            came: Vec::with_capacity(MANY),
        }
    }

    /// Waits for something to come, and takes what is there.
    pub(super) async fn wait(&mut self, socket: &UdpSocket) {
        // An error is what an earlier answer brought: its origin is gone.
        let _ = socket
            .async_io(Interest::READABLE, || self.take(socket))
            .await;
    }

    fn take(&mut self, socket: &UdpSocket) -> io::Result<()> {
        self.came.clear();
        let rooms = self.room.iter_mut();
        let mut slices: Vec<_> = rooms.map(|room| [IoSliceMut::new(room)]).collect();
        let flags = MsgFlags::MSG_DONTWAIT;
        let came = recvmmsg(
            socket.as_raw_fd(),
            &mut self.headers,
            slices.iter_mut(),
            flags,
            None,
        )?;
        for datagram in came {
            let peer = datagram.address.and_then(|address| read(&address));
            // Whoever it is from, nobody asks from no address; its length keeps the places in order.
            let nobody = SocketAddr::from(([0; 4], 0));
            self.came.push((datagram.bytes, peer.unwrap_or(nobody)));
        }
        Ok(())
    }

    /// What was taken, and from whom.
    pub(super) fn came(&self) -> impl Iterator<Item = (&[u8], SocketAddr)> {
        let whole = self.room.iter().zip(&self.came);
        whole.filter_map(|(room, (length, peer))| Some((room.get(..*length)?, *peer)))
    }
}

fn read(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in();
    let v6 = address.as_sockaddr_in6();
    v4.map(|v4| SocketAddrV4::from(*v4).into())
        .or_else(|| v6.map(|v6| SocketAddrV6::from(*v6).into()))
}

/// Sends answers. Who is gone hears nothing, and who hears nothing asks anew.
pub(super) fn send(socket: &UdpSocket, answers: &[(Vec<u8>, SocketAddr)]) {
    let mut left = answers;
    while !left.is_empty() {
        // An error is the first one's.
        let sent = send_some(socket, left).unwrap_or(1).max(1);
        left = left.get(sent..).unwrap_or_default();
    }
}

fn send_some(socket: &UdpSocket, answers: &[(Vec<u8>, SocketAddr)]) -> nix::Result<usize> {
    let slices: Vec<_> = answers
        .iter()
        .map(|(bytes, _)| [IoSlice::new(bytes)])
        .collect();
    let peers: Vec<_> = answers
        .iter()
        .map(|(_, peer)| Some(SockaddrStorage::from(*peer)))
        .collect();
    let mut headers = MultiHeaders::preallocate(answers.len(), None);
    let flags = MsgFlags::MSG_DONTWAIT;
    let sent = sendmmsg(socket.as_raw_fd(), &mut headers, &slices, &peers, [], flags)?;
    Ok(sent.count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::time::Duration;
    use tokio::time::timeout;

    /// More than are taken at once, from two; of those who are to be answered one is gone.
    #[tokio::test]
    async fn all_that_comes_is_taken_and_answered() {
        let here = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (one, other) = (
            UdpSocket::bind("127.0.0.1:0").await.unwrap(),
            UdpSocket::bind("127.0.0.1:0").await.unwrap(),
        );
        let to = here.local_addr().unwrap();
        for number in 0..50_u8 {
            let from = if number % 2 == 0 { &one } else { &other };
            from.send_to(&vec![number; usize::from(number) + 1], to)
                .await
                .unwrap();
        }
        one.send_to(&[200; 600], to).await.unwrap();
        drop(other);
        let (mut post, mut lengths, mut answers) = (Post::new(), Vec::new(), Vec::new());
        while lengths.len() < 51 {
            post.wait(&here).await;
            for (bytes, peer) in post.came() {
                lengths.push(bytes.len());
                answers.push((bytes.to_vec(), peer));
            }
        }
        let expected: Vec<usize> = (1..=50).chain([MAX_QUESTION + 1]).collect();
        assert_eq!(lengths, expected, "cut where it is too long for a question");
        send(&here, &answers);
        let (mut heard, mut room) = (BTreeSet::new(), [0; 1024]);
        while heard.len() < 26 {
            let came = timeout(Duration::from_secs(5), one.recv(&mut room)).await;
            heard.insert(room[..came.unwrap().unwrap()].to_vec());
        }
    }
}
