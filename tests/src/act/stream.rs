//! Connections over which an actor sends without end, by threads, by splice and by io_uring.

use super::bomb;
use crate::sys::process::{self, Fork};
use crate::sys::sockaddr::SockAddr;
use crate::sys::uring::{Ring, Worker};
use crate::sys::{file, net};
use anyhow::{Context, Result};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Barrier};
use std::thread;

/// What is sent at once.
const PIECE: usize = 16 * 1024;

/// Makes so many connections, begins to send, and, with a limit, lets a fork bomb off
/// beside. Nobody begins before all are there: one that sends leaves little to those that yet have to connect.
pub(crate) fn stream(to: SocketAddr, count: usize, bomb: u32) -> Result<()> {
    let ways = [by_write, by_splice, by_ring];
    let all_there = Arc::new(Barrier::new(count + 1));
    for way in ways.into_iter().cycle().take(count) {
        let stream = TcpStream::connect(to).with_context(|| format!("connecting to {to}"))?;
        let all_there = Arc::clone(&all_there);
        thread::spawn(move || {
            all_there.wait();
            way(&stream, to)
        });
    }
    all_there.wait();
    if bomb > 0
        && let Fork::Child = process::fork()?
    {
        bomb::explode(bomb)?;
    }
    println!("streams");
    loop {
        thread::park();
    }
}

/// Sends everything at once and ends, whether or not anybody has read it.
pub(crate) fn send_and_end(to: SocketAddr, bytes: usize) -> Result<()> {
    let mut stream = TcpStream::connect(to)?;
    stream.write_all(&vec![b'x'; bytes])?;
    Ok(())
}

type Ended = std::io::Result<()>;

fn by_write(mut stream: &TcpStream, _: SocketAddr) -> Ended {
    loop {
        stream.write_all(&[b'x'; PIECE])?;
    }
}

fn by_splice(stream: &TcpStream, _: SocketAddr) -> Ended {
    let [out, into] = file::pipe()?;
    let mut into = std::fs::File::from(into);
    loop {
        into.write_all(&[b'x'; PIECE])?;
        let mut left = PIECE;
        while left > 0 {
            left -= net::splice(out.as_fd(), stream.as_fd(), left)?;
        }
    }
}

fn by_ring(stream: &TcpStream, to: SocketAddr) -> Ended {
    let ring = Ring::new(Worker::Pool)?;
    let to = SockAddr::of(to);
    loop {
        ring.send(stream.as_fd(), &[b'x'; PIECE], &to)?;
    }
}
