//! A server that reads what comes over each connection, counts it, and notes when it came.

use crate::sys::net;
use anyhow::{Context, Result};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// What came over one connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Received {
    /// Bytes.
    pub(crate) bytes: u64,
    /// When the last of them came, in nanoseconds since 1970.
    pub(crate) last: i128,
    /// How the connection ended: 0 by its proper end, otherwise the error's number.
    pub(crate) end: Option<i32>,
}

/// The server. It ends with the test.
pub(crate) struct Receiver(Arc<Mutex<Vec<Received>>>);

impl Receiver {
    /// Listens, and takes so many connections.
    pub(crate) fn of(at: SocketAddr, count: usize) -> Result<Self> {
        let listener = TcpListener::bind(at).with_context(|| format!("listening on {at}"))?;
        let all = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&all);
        let _: JoinHandle<Result<()>> = thread::spawn(move || {
            for number in 0..count {
                let (stream, _) = listener.accept()?;
                net::stamp(stream.as_fd())?;
                lock(&list).push(Received::default());
                let list = Arc::clone(&list);
                thread::spawn(move || {
                    let mut room = vec![0; 64 * 1024];
                    loop {
                        let read = net::receive_stamped(stream.as_fd(), &mut room);
                        let mut list = lock(&list);
                        let one = &mut list[number];
                        match read {
                            Ok((0, _)) => one.end = Some(0),
                            Ok((count, at)) => {
                                one.bytes += count as u64;
                                one.last = one.last.max(at.unwrap_or(0));
                                continue;
                            }
                            Err(error) => one.end = error.raw_os_error(),
                        }
                        return;
                    }
                });
            }
            Ok(())
        });
        Ok(Self(all))
    }

    /// What has come by now.
    pub(crate) fn look(&self) -> Vec<Received> {
        lock(&self.0).clone()
    }

    /// Bytes over all connections.
    pub(crate) fn bytes(&self) -> u64 {
        self.look().iter().map(|one| one.bytes).sum()
    }
}

fn lock(list: &Mutex<Vec<Received>>) -> std::sync::MutexGuard<'_, Vec<Received>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}
