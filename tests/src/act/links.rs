//! Connections that an actor keeps, and what goes over them.

use crate::sys::errno_name;
use anyhow::{Context, Result};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;

/// The connections of an actor, in the order in which they were made.
#[derive(Default)]
pub(super) struct Links(Vec<TcpStream>);

impl Links {
    /// Connects: `ok` and the descriptor's number, or the name of the error.
    pub(super) fn link(&mut self, to: &str) -> Result<String> {
        let to: SocketAddr = to.parse()?;
        Ok(match TcpStream::connect(to) {
            Ok(stream) => {
                let number = stream.as_raw_fd();
                self.0.push(stream);
                format!("ok {number}")
            }
            Err(error) => errno_name(error.raw_os_error().unwrap_or(0)),
        })
    }

    /// Sends so many bytes, as many as the kernel takes at once.
    pub(super) fn say(&mut self, link: &str, count: &str) -> Result<String> {
        let stream = self.0.get_mut(link.parse::<usize>()?).context("no link")?;
        stream.set_nonblocking(true)?;
        Ok(match stream.write(&vec![b'x'; count.parse()?]) {
            Ok(sent) => format!("ok {sent}"),
            Err(error) => errno_name(error.raw_os_error().unwrap_or(0)),
        })
    }

    /// How many bytes have come.
    pub(super) fn hear(&mut self, link: &str) -> Result<String> {
        let stream = self.0.get_mut(link.parse::<usize>()?).context("no link")?;
        stream.set_nonblocking(true)?;
        Ok(match stream.read(&mut [0; 4096]) {
            Ok(count) => format!("ok {count}"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => "nothing".to_owned(),
            Err(error) => errno_name(error.raw_os_error().unwrap_or(0)),
        })
    }
}
