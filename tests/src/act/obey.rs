//! An actor that does what it is told, a line at a time, so that a test can change the world
//! between two attempts of one process.

use super::below::Below;
use super::deeds::Deeds;
use super::links::Links;
use super::socket::Sockets;
use super::spread::probe_as_code;
use super::way::{Way, attempt, probe};
use crate::sys::process::{self, Fork};
use crate::sys::sockaddr::SockAddr;
use crate::sys::{errno_name, net, outcome};
use anyhow::{Context, Result, bail};
use std::io::{self, BufRead, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::atomic::Ordering;

/// An address in whatever form the C library knows, with a port.
fn named(to: &str) -> Result<SocketAddr> {
    let mut found = to
        .to_socket_addrs()
        .with_context(|| format!("looking {to} up"))?;
    found.next().with_context(|| format!("{to} has no address"))
}

/// Reads orders until there are no more, and answers each with one line.
pub(crate) fn obey() -> Result<()> {
    let mut below = Below::default();
    let mut links = Links::default();
    let mut sockets = Sockets::default();
    let mut deeds = Deeds::default();
    let mut out = io::stdout().lock();
    writeln!(out, "pid {}", std::process::id())?;
    out.flush()?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match words.as_slice() {
            ["probe", to] => outcome(&probe(to.parse()?)),
            ["way", way, to] => {
                let way = Way::from_word(way).context("no such way")?;
                outcome(&attempt(way, named(to)?)?)
            }
            ["file", words @ ..] => outcome(&super::file::attempt(words)?),
            ["together", count, path] => together(count.parse()?, path),
            ["shared-open", one, other] => shared_open(one, other)?,
            ["shared-connect", one, other] => shared_connect(one.parse()?, other.parse()?)?,
            ["shared-execute", program, one, other] => shared_execute(program, one, other)?,
            ["fork", to] => fork_and_probe(to)?,
            ["exec", program, words @ ..] => outcome::<()>(&Err(process::exec(program, words))),
            ["live-long"] => {
                process::end_after(super::LONG_SECONDS);
                "ok".to_owned()
            }
            ["flood", to, count] => super::flood(to.parse()?, count.parse()?).line(),
            ["execute", way, path, words @ ..] => super::execute::execute(way, path, words)?,
            ["threads", count] => {
                for _ in 0..count.parse()? {
                    std::thread::spawn(|| {
                        loop {
                            std::thread::park();
                        }
                    });
                }
                "ok".to_owned()
            }
            ["link", to] => links.link(to)?,
            ["say", link, count] => links.say(link, count)?,
            ["hear", link] => links.hear(link)?,
            ["local", way, to] => outcome(&super::local::connect(way, to)?),
            ["serve", at] => outcome(&super::local::serve(at)),
            ["listen", kind, at] => super::socket::listen(kind.parse()?, at.parse()?)?,
            ["socket", words @ ..] => sockets.obey(words)?,
            ["unix", path] => outcome(&UnixStream::connect(path)),
            ["answer", path, words @ ..] => answer(path, words)?,
            ["start", name, path, words @ ..] => below.start(name, path, words)?,
            ["in", name, order @ ..] => below.pass_on(name, order)?,
            ["timed-open", path] => timed_open(path),
            ["mkdirs", path, count] => mkdirs(path, count.parse()?)?,
            ["deeds", root, first, manner] => deeds.begin(root, first.parse()?, manner)?,
            ["deeds-end"] => deeds.end()?,
            ["end"] => return Ok(()),
            _ => bail!("no order is {line:?}"),
        };
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

/// What a program says that this one executes, or the name of the error.
fn answer(path: &str, words: &[&str]) -> Result<String> {
    Ok(match Command::new(path).args(words).output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Err(error) => outcome::<()>(&Err(error)),
    })
}

/// Opens a file in several threads at once, and says what each was answered.
fn together(count: usize, path: &str) -> String {
    let open = || outcome(&crate::sys::file::open(path, libc::O_RDONLY));
    let answers: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(open)).collect();
        let ends = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
        ends.map(|end| end.unwrap_or_else(|_| "panic".to_owned()))
            .collect()
    });
    answers.join(" ")
}

/// Opens a file, and says when that was done, in nanoseconds since 1970; or the error.
fn timed_open(path: &str) -> String {
    let opened = crate::sys::file::open(path, libc::O_RDONLY);
    let now = jiff::Timestamp::now().as_nanosecond();
    match opened {
        Ok(_) => now.to_string(),
        failed => outcome(&failed),
    }
}

/// So many children, each of which makes a folder.
fn mkdirs(path: &str, count: u32) -> Result<String> {
    for number in 0..count {
        if let Fork::Child = process::fork()? {
            let made = crate::sys::file::mkdir(&format!("{path}-{number}"));
            process::exit_now(i32::from(made.is_err()));
        }
    }
    Ok("ok".to_owned())
}

/// A child opens a path that lies in memory which this process writes over once the child has stopped.
fn shared_open(one: &str, other: &str) -> Result<String> {
    let path = crate::sys::file::Rewritten::new(one)?;
    rewritten(|| path.open().map(drop), || path.write(other))
}

/// The same with the address of a connection.
fn shared_connect(one: SocketAddr, other: SocketAddr) -> Result<String> {
    let (one, other) = (SockAddr::of(one), SockAddr::of(other));
    let memory = crate::sys::shared::bytes(one.bytes().len())?;
    let write = |address: &SockAddr| {
        for (at, byte) in memory.iter().zip(address.bytes()) {
            at.store(*byte, Ordering::Relaxed);
        }
    };
    write(&one);
    let socket = net::socket(net::INET, net::STREAM)?;
    rewritten(|| net::connect_at(socket.as_fd(), memory), || write(&other))
}

/// The same with a program's word.
fn shared_execute(program: &str, one: &str, other: &str) -> Result<String> {
    let word = crate::sys::file::Rewritten::new(one)?;
    rewritten(|| word.execute(program), || word.write(other))
}

/// Attempts something in a child, and changes what it reads once it has stopped.
fn rewritten(attempt: impl FnOnce() -> io::Result<()>, change: impl FnOnce()) -> Result<String> {
    let child = match process::fork()? {
        Fork::Child => process::exit_now(match attempt() {
            Ok(()) => 0,
            Err(error) => error.raw_os_error().unwrap_or(1),
        }),
        Fork::Parent(child) => child,
    };
    while crate::harness::holds::state(child) != Some('T') {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    change();
    Ok(format!("{:?}", process::wait(child)?))
}

/// Forks a child that probes: `ok` or `EPERM` as the child saw it, `fork EAGAIN` or the like when
/// there was no child.
fn fork_and_probe(to: &str) -> Result<String> {
    let to = to.parse()?;
    let pid = match process::fork() {
        Ok(Fork::Child) => process::exit_now(probe_as_code(to)),
        Ok(Fork::Parent(pid)) => pid,
        Err(error) => {
            return Ok(format!(
                "fork {}",
                errno_name(error.raw_os_error().unwrap_or(0))
            ));
        }
    };
    let mut tally = super::spread::Tally::default();
    tally.add_end(process::wait(pid)?);
    Ok(match (tally.allowed, tally.denied) {
        (1, 0) => "ok".to_owned(),
        (0, 1) => "EPERM".to_owned(),
        _ => "other".to_owned(),
    })
}
