//! What is measured: one operation each, as bare as it can be.

use crate::sys::call;
use crate::sys::net::{self, DGRAM, INET, STREAM};
use crate::sys::process::{self, End, Fork};
use crate::sys::sockaddr::SockAddr;
use anyhow::{Context, Result, ensure};
use std::ffi::CString;
use std::fs;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::rc::Rc;

/// Where all files lie.
const ROOT: &str = "/w";
/// Where they are used, as deep as in the figures of others.
pub(super) const FOLDER: &str = "/w/a/b/c/d";
/// The folder of what no session may use, and one in it that is as deep.
pub(super) const REFUSED: &str = "/w/x";
const REFUSED_FOLDER: &str = "/w/x/b/c/d";
const FILE: &str = "bench.dat";
const PROGRAM: &str = "true";
/// A Unix socket that somebody else has bound, and one that no session may reach.
pub(super) const SOCKET: &str = "/w/a/b/c/d/bench.sock";
const REFUSED_SOCKET: &str = "/w/x/b/c/d/bench.sock";
/// Where datagrams go.
pub(super) const UDP: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9999));
/// Where connections go.
pub(super) const TCP: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8888));

/// The port for much at once.
pub(super) const BULK: u16 = 8889;

/// One operation.
pub(super) struct Operation {
    /// Its name.
    pub(super) name: &'static str,
    /// How often it is done in a round.
    pub(super) per_round: u32,
    /// It.
    pub(super) run: Box<dyn FnMut() -> io::Result<()>>,
}

impl Operation {
    fn new(
        name: &'static str,
        per_round: u32,
        run: impl FnMut() -> io::Result<()> + 'static,
    ) -> Self {
        Self {
            name,
            per_round,
            run: Box::new(run),
        }
    }
}

/// What an operation is done with. Each kind has rules of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// With files; and with nothing, to see that nothing else moves.
    Files,
    /// With programs.
    Programs,
    /// With endpoints.
    Network,
}

impl Kind {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Files, Self::Programs, Self::Network];

    /// Its name.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Programs => "programs",
            Self::Network => "network",
        }
    }

    /// The kind of a name.
    pub(super) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// Makes the files that operations need, in memory: what a disk's file system does to find room for
/// them is not the same each time.
pub(super) fn prepare() -> Result<()> {
    fs::create_dir_all(ROOT).context(ROOT)?;
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "tmpfs", ROOT])
        .status();
    ensure!(mounted.context("mount")?.success(), "cannot mount {ROOT}");
    for folder in [FOLDER, REFUSED_FOLDER] {
        fs::create_dir_all(folder).context(folder)?;
        fs::write(within(folder, FILE), "x").context(folder)?;
        fs::write(within(folder, ONE), "x").context(folder)?;
        let program = within(folder, PROGRAM);
        fs::write(&program, smallest_program()).context(folder)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).context(folder)?;
    }
    for path in [SOCKET, REFUSED_SOCKET] {
        // For as long as this process lives.
        std::mem::forget(UnixDatagram::bind(path).context(path)?);
    }
    Ok(())
}

fn within(folder: &str, name: &str) -> String {
    format!("{folder}/{name}")
}

/// Names between which a file is renamed.
const ONE: &str = "one";
const OTHER: &str = "other";

/// The smallest program there is, so that what is measured is the kernel's part: an ELF header, one
/// segment, and `exit(0)`.
fn smallest_program() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let code = [0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05];
    let mut elf = Vec::new();
    elf.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    elf.extend([2_u16, 62].iter().flat_map(|word| word.to_le_bytes()));
    elf.extend(1_u32.to_le_bytes());
    elf.extend(
        [BASE + HEADERS, 64, 0]
            .iter()
            .flat_map(|word| word.to_le_bytes()),
    );
    elf.extend(0_u32.to_le_bytes());
    elf.extend(
        [64_u16, 56, 1, 0, 0, 0]
            .iter()
            .flat_map(|word| word.to_le_bytes()),
    );
    let size = HEADERS + code.len() as u64;
    elf.extend([1_u32, 5].iter().flat_map(|word| word.to_le_bytes()));
    elf.extend(
        [0, BASE, BASE, size, size, 0x1000]
            .iter()
            .flat_map(|word: &u64| word.to_le_bytes()),
    );
    elf.extend(code);
    elf
}

/// The operations of a kind, as they are allowed.
pub(super) fn allowed(kind: Kind) -> Result<Vec<Operation>> {
    let path = |name| CString::new(within(FOLDER, name));
    Ok(match kind {
        Kind::Files => {
            let (file, seen, new) = (path(FILE)?, path(FILE)?, path("new")?);
            let relative = CString::new(FILE)?;
            let mut names = (path(ONE)?, path(OTHER)?);
            std::env::set_current_dir(FOLDER).context(FOLDER)?;
            vec![
                Operation::new("getppid", 4000, || {
                    call::getppid();
                    Ok(())
                }),
                Operation::new("open_close", 2000, move || call::open_close(&file)),
                Operation::new("open_relative", 2000, move || call::open_close(&relative)),
                Operation::new("stat", 4000, move || call::stat(&seen)),
                Operation::new("create_unlink", 1000, move || {
                    call::create(&new)?;
                    call::unlink(&new)
                }),
                Operation::new("rename", 1000, move || {
                    let (old, new) = &names;
                    call::rename(old, new)?;
                    std::mem::swap(&mut names.0, &mut names.1);
                    Ok(())
                }),
            ]
        }
        Kind::Programs => {
            let program = path(PROGRAM)?;
            vec![
                Operation::new("fork_exit_wait", 60, || child(|| process::exit_now(0))),
                Operation::new("fork_exec_wait", 60, move || {
                    child(|| Err(call::exec_bare(&program)))
                }),
            ]
        }
        Kind::Network => {
            // Its buffer is soon full: what comes then is dropped at the same cost each time.
            let receiver = Rc::new(UdpSocket::bind(UDP).context("binding the receiver")?);
            vec![
                udp_connect()?,
                udp_send(Rc::clone(&receiver))?,
                udp_send_on(receiver)?,
                tcp()?,
                bulk()?,
                unix_connect()?,
            ]
        }
    })
}

/// The operations of a kind that are denied, under the names of the allowed ones. Few enough of each
/// for the ring to hold all records, so that what is measured is a denial that is told.
pub(super) fn denied(kind: Kind) -> Result<Vec<Operation>> {
    const TIMES: u32 = 100;
    let path = |name| CString::new(within(REFUSED_FOLDER, name));
    Ok(match kind {
        Kind::Files => {
            let (file, new) = (path(FILE)?, path("new")?);
            let (one, other) = (path(ONE)?, path(OTHER)?);
            vec![
                Operation::new("open_close", TIMES, move || {
                    refused(call::open_close(&file))
                }),
                Operation::new("create_unlink", TIMES, move || refused(call::create(&new))),
                Operation::new("rename", TIMES, move || refused(call::rename(&one, &other))),
            ]
        }
        Kind::Programs => {
            let program = path(PROGRAM)?;
            vec![Operation::new("fork_exec_wait", 60, move || {
                child(|| {
                    refused(Err(call::exec_bare(&program)))?;
                    process::exit_now(0)
                })
            })]
        }
        Kind::Network => {
            let socket = net::socket(INET, DGRAM)?;
            let mut to = UDP;
            to.set_port(UDP.port() - 1);
            let to = SockAddr::of(to);
            let local = UnixDatagram::unbound()?;
            vec![
                Operation::new("udp_connect", TIMES, move || {
                    refused(net::connect(socket.as_fd(), &to))
                }),
                Operation::new("unix_connect", TIMES, move || {
                    refused(local.connect(REFUSED_SOCKET))
                }),
            ]
        }
    })
}

fn refused(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(()),
        other => Err(io::Error::other(format!("expected EPERM, got {other:?}"))),
    }
}

fn udp_connect() -> Result<Operation> {
    let socket = net::socket(INET, DGRAM)?;
    let to = SockAddr::of(UDP);
    Ok(Operation::new("udp_connect", 4000, move || {
        net::connect(socket.as_fd(), &to)
    }))
}

/// A socket for datagrams, so that nobody need accept: what is judged is the same.
fn unix_connect() -> Result<Operation> {
    let socket = UnixDatagram::unbound()?;
    Ok(Operation::new("unix_connect", 2000, move || {
        socket.connect(SOCKET)
    }))
}

/// A datagram to a receiver that is there as long as the operation is.
fn udp_send(receiver: Rc<UdpSocket>) -> Result<Operation> {
    let socket = net::socket(INET, DGRAM)?;
    let to = SockAddr::of(UDP);
    Ok(Operation::new("udp_send", 4000, move || {
        let _ = &receiver;
        net::send(socket.as_fd(), b"x", 0, Some(&to))
    }))
}

fn tcp() -> Result<Operation> {
    let listener = TcpListener::bind(TCP).context("listening")?;
    let to = SockAddr::of(TCP);
    Ok(Operation::new("tcp_connect_accept_close", 500, move || {
        let client = net::socket(INET, STREAM)?;
        net::connect(client.as_fd(), &to)?;
        let (server, _) = listener.accept()?;
        net::reset_on_close(client.as_fd())?;
        drop(client);
        drop(server);
        Ok(())
    }))
}

/// The same through a socket that is connected.
fn udp_send_on(receiver: Rc<UdpSocket>) -> Result<Operation> {
    let socket = net::socket(INET, DGRAM)?;
    net::connect(socket.as_fd(), &SockAddr::of(UDP))?;
    Ok(Operation::new("udp_send_connected", 4000, move || {
        let _ = &receiver;
        net::send(socket.as_fd(), b"x", 0, None)
    }))
}

/// As much as a program sends at once, and as it comes at the other end.
fn bulk() -> Result<Operation> {
    const BYTES: usize = 1 << 16;
    let mut at = TCP;
    at.set_port(BULK);
    let listener = TcpListener::bind(at).context("listening")?;
    let client = TcpStream::connect(at).context("connecting")?;
    let (mut server, _) = listener.accept()?;
    let (data, mut buffer) = (vec![1; BYTES], vec![0; BYTES]);
    Ok(Operation::new("tcp_bulk_64k", 500, move || {
        net::send(client.as_fd(), &data, 0, None)?;
        server.read_exact(&mut buffer)
    }))
}

fn child(work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    match process::fork()? {
        Fork::Child => {
            let _ = work();
            process::exit_now(1)
        }
        Fork::Parent(pid) => match process::wait(pid)? {
            End::Exited(0) => Ok(()),
            end => Err(io::Error::other(format!("the child ended with {end:?}"))),
        },
    }
}
