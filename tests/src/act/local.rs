//! Unix sockets: every way to reach one that listens.

use crate::sys::{outcome, pass};
use anyhow::{Context, Result, bail};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};

/// What who listens says to whoever comes.
pub(crate) const GREETING: &str = "hello";

/// Connects in a way, and hears the greeting where there is one.
pub(crate) fn connect(way: &str, to: &str) -> Result<io::Result<()>> {
    Ok(match way {
        "path" => greeted(UnixStream::connect(to)),
        "self-root" => greeted(UnixStream::connect(format!("/proc/self/root{to}"))),
        "descriptor" => {
            let handle = OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_PATH)
                .open(to)
                .with_context(|| format!("opening {to} as a path"))?;
            let link = format!("/proc/self/fd/{}", handle.as_raw_fd());
            greeted(UnixStream::connect(link))
        }
        "relative" => {
            let (folder, name) = to.rsplit_once('/').context("an absolute path")?;
            std::env::set_current_dir(folder).context("going there")?;
            greeted(UnixStream::connect(name))
        }
        "abstract" => greeted(
            SocketAddr::from_abstract_name(to)
                .and_then(|address| UnixStream::connect_addr(&address)),
        ),
        "datagram" => UnixDatagram::unbound().and_then(|socket| socket.connect(to)),
        _ => bail!("there is no way called {way} to a Unix socket"),
    })
}

/// Waits for a descriptor on its standard input, and reads from what came.
pub(crate) fn receive() -> Result<String> {
    let Some(fd) = pass::receive(io::stdin().as_fd()).context("waiting for a descriptor")? else {
        return Ok("nothing came".to_owned());
    };
    let read = File::from(fd).read(&mut [0; 1]);
    Ok(outcome(&read))
}

fn greeted(stream: io::Result<UnixStream>) -> io::Result<()> {
    let mut said = String::new();
    stream?.read_to_string(&mut said)?;
    if said == GREETING {
        Ok(())
    } else {
        Err(io::Error::other(format!("it said {said:?}")))
    }
}
