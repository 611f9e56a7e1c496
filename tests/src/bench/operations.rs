//! What is measured: one operation each, as bare as it can be.

use crate::sys::call;
use crate::sys::net::{self, DGRAM, INET, STREAM};
use crate::sys::process::{self, End, Fork};
use crate::sys::sockaddr::SockAddr;
use anyhow::{Context, Result};
use std::ffi::CString;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;

/// The same depth as in the figures of others.
const FOLDER: &str = "/w/a/b/c/d";
const FILE: &str = "/w/a/b/c/d/bench.dat";
const PROGRAM: &str = "/w/true";
/// Where datagrams go.
pub(super) const UDP: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9999));
/// Where connections go.
pub(super) const TCP: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8888));

/// One operation.
pub(super) struct Operation {
    /// Its name.
    pub(super) name: &'static str,
    /// How often it is done in a round.
    pub(super) per_round: u32,
    /// It.
    pub(super) run: Box<dyn FnMut() -> io::Result<()>>,
}

/// Makes the files that operations need.
pub(super) fn prepare() -> Result<()> {
    fs::create_dir_all(FOLDER).context(FOLDER)?;
    fs::write(FILE, "x").context(FILE)?;
    fs::write(PROGRAM, smallest_program()).context(PROGRAM)?;
    fs::set_permissions(PROGRAM, fs::Permissions::from_mode(0o755)).context(PROGRAM)?;
    Ok(())
}

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

/// The operations to measure: all, those whose name contains a word, or the denied one, which is
/// no part of all.
pub(super) fn chosen(only: &str) -> Result<Vec<Operation>> {
    if only == "denied" {
        return Ok(vec![udp_connect_denied()?]);
    }
    let all = vec![
        Operation {
            name: "getppid",
            per_round: 4000,
            run: Box::new(|| {
                call::getppid();
                Ok(())
            }),
        },
        open_close()?,
        stat()?,
        udp_connect()?,
        udp_send()?,
        tcp()?,
        Operation {
            name: "fork_exit_wait",
            per_round: 60,
            run: Box::new(|| child(|| process::exit_now(0))),
        },
        fork_exec()?,
    ];
    Ok(all
        .into_iter()
        .filter(|operation| operation.name.contains(only))
        .collect())
}

fn open_close() -> Result<Operation> {
    let file = CString::new(FILE)?;
    Ok(Operation {
        name: "open_close",
        per_round: 2000,
        run: Box::new(move || call::open_close(&file)),
    })
}

fn stat() -> Result<Operation> {
    let file = CString::new(FILE)?;
    Ok(Operation {
        name: "stat",
        per_round: 4000,
        run: Box::new(move || call::stat(&file)),
    })
}

fn udp_connect() -> Result<Operation> {
    let socket = net::socket(INET, DGRAM)?;
    let to = SockAddr::of(UDP);
    Ok(Operation {
        name: "udp_connect",
        per_round: 4000,
        run: Box::new(move || net::connect(socket.as_fd(), &to)),
    })
}

fn udp_connect_denied() -> Result<Operation> {
    let socket = net::socket(INET, DGRAM)?;
    let to = SockAddr::of(UDP);
    Ok(Operation {
        // Few enough for the ring to hold them all, so that what is measured is a told denial.
        name: "udp_connect_denied",
        per_round: 1000,
        run: Box::new(move || match net::connect(socket.as_fd(), &to) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(()),
            other => Err(io::Error::other(format!("expected EPERM, got {other:?}"))),
        }),
    })
}

fn udp_send() -> Result<Operation> {
    // A receiver whose buffer is soon full: what comes then is dropped at the same cost each time.
    let receiver = UdpSocket::bind(UDP).context("binding the receiver")?;
    let socket = net::socket(INET, DGRAM)?;
    let to = SockAddr::of(UDP);
    Ok(Operation {
        name: "udp_send",
        per_round: 4000,
        run: Box::new(move || {
            let _ = &receiver;
            net::send(socket.as_fd(), b"x", 0, Some(&to))
        }),
    })
}

fn tcp() -> Result<Operation> {
    let listener = TcpListener::bind(TCP).context("listening")?;
    let to = SockAddr::of(TCP);
    Ok(Operation {
        name: "tcp_connect_accept_close",
        per_round: 500,
        run: Box::new(move || {
            let client = net::socket(INET, STREAM)?;
            net::connect(client.as_fd(), &to)?;
            let (server, _) = listener.accept()?;
            net::reset_on_close(client.as_fd())?;
            drop(client);
            drop(server);
            Ok(())
        }),
    })
}

fn fork_exec() -> Result<Operation> {
    let program = CString::new(PROGRAM)?;
    Ok(Operation {
        name: "fork_exec_wait",
        per_round: 60,
        run: Box::new(move || {
            child(|| {
                call::exec_bare(&program);
                process::exit_now(127)
            })
        }),
    })
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
