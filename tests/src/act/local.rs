//! Unix sockets: every way to reach one that listens, and to use one that comes from elsewhere.

use crate::sys::{outcome, pass};
use anyhow::{Context, Result, bail};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};

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
        "abstract" => greeted(address(to).and_then(|address| UnixStream::connect_addr(&address))),
        "datagram" => UnixDatagram::unbound().and_then(|socket| socket.connect(to)),
        "send" => UnixDatagram::unbound().and_then(|socket| socket.send_to(b"x", to).map(drop)),
        "own" => own(to),
        _ => bail!("there is no way called {way} to a Unix socket"),
    })
}

fn address(name: &str) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(name)
}

/// Sockets that this process makes itself, both ends of them, and reaches by every way.
fn own(path: &str) -> io::Result<()> {
    let _ = fs::remove_file(path);
    let name = path.replace('/', "-");
    serve(path)?;
    serve(&format!("@{name}"))?;
    greeted(UnixStream::connect(path))?;
    greeted(address(&name).and_then(|address| UnixStream::connect_addr(&address)))?;
    let log = format!("{path}.log");
    let _ = fs::remove_file(&log);
    let heard = UnixDatagram::bind(&log)?;
    UnixDatagram::unbound()?.send_to(b"x", &log)?;
    heard.recv(&mut [0; 1])?;
    let (mut near, mut far) = UnixStream::pair()?;
    near.write_all(b"x")?;
    far.read_exact(&mut [0; 1])?;
    let (near, far) = UnixDatagram::pair()?;
    near.send(b"x")?;
    far.recv(&mut [0; 1]).map(drop)
}

/// Greets whoever comes to a path, or to `@` and a name, until this process ends.
pub(crate) fn serve(at: &str) -> io::Result<()> {
    let listener = match at.strip_prefix('@') {
        Some(name) => UnixListener::bind_addr(&address(name)?)?,
        None => UnixListener::bind(at)?,
    };
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(GREETING.as_bytes());
        }
    });
    Ok(())
}

/// Waits for a descriptor on its standard input, and reads from what came.
pub(crate) fn receive() -> Result<String> {
    let Some(fd) = pass::receive(io::stdin().as_fd()).context("waiting for a descriptor")? else {
        return Ok("nothing came".to_owned());
    };
    let read = File::from(fd).read(&mut [0; 1]);
    Ok(outcome(&read))
}

/// Writes to the socket that is its standard input, and reads from it.
pub(crate) fn use_inherited() -> Result<String> {
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let wrote = outcome(&socket.write_all(b"x"));
    let read = outcome(&socket.read_exact(&mut [0; 1]));
    Ok(format!("{wrote} {read}"))
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
