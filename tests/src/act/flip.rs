//! An address in memory that one thread changes while another has the kernel read it.

use crate::sys::net::{self, DGRAM, INET};
use crate::sys::sockaddr::Shared;
use anyhow::{Context, Result};
use std::net::SocketAddrV4;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// What became of the attempts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) sent: u32,
    pub(crate) denied: u32,
    pub(crate) other: u32,
}

impl Tally {
    /// From the line that the actor prints.
    pub(crate) fn parse(line: &str) -> Result<Self> {
        let numbers: Vec<u32> = line
            .split(' ')
            .filter_map(|word| word.parse().ok())
            .collect();
        let [sent, denied, other] = numbers[..] else {
            anyhow::bail!("no tally: {line}");
        };
        Ok(Self {
            sent,
            denied,
            other,
        })
    }
}

/// Sends datagrams, one in two over a socket that it connects first, to an address that changes all
/// the time between two.
pub(crate) fn flip(one: SocketAddrV4, other: SocketAddrV4, times: u32) -> Result<Tally> {
    let shared = Shared::of(one);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                shared.set(*one.ip());
                shared.set(*other.ip());
            }
        });
        let mut tally = Tally::default();
        let unconnected = net::socket(INET, DGRAM).context("making a socket");
        for i in 0..times {
            let Ok(unconnected) = &unconnected else {
                break;
            };
            let outcome = if i % 2 == 0 {
                net::send_shared(unconnected.as_fd(), b"flip", &shared)
            } else {
                net::socket(INET, DGRAM).and_then(|socket| {
                    net::connect_shared(socket.as_fd(), &shared)?;
                    net::send(socket.as_fd(), b"flip", 0, None)
                })
            };
            match outcome {
                Ok(()) => tally.sent += 1,
                Err(error) if error.raw_os_error() == Some(libc::EPERM) => tally.denied += 1,
                Err(_) => tally.other += 1,
            }
        }
        over.store(true, Ordering::Relaxed);
        unconnected.map(|_| tally)
    })
}
