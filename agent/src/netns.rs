//! Network namespaces.

use nix::libc;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::GetStruct;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::thread;

/// A network namespace in which a process is.
#[derive(Debug)]
pub struct Namespace {
    path: PathBuf,
    file: File,
    /// This process is in it.
    own: bool,
}

impl Namespace {
    /// Every one, our own first. A process that ends meanwhile is passed over.
    pub fn all() -> io::Result<Vec<Self>> {
        let own = Self::own()?;
        let mut known = BTreeSet::from([own.file.metadata()?.ino()]);
        let mut all = vec![own];
        for entry in std::fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // The link alone costs nothing; a descriptor is taken once a namespace.
            let Some(inode) = inode_of(pid) else {
                continue;
            };
            if known.insert(inode)
                && let Ok(namespace) = Self::open(&pid.to_string(), false)
            {
                all.push(namespace);
            }
        }
        Ok(all)
    }

    /// Our own.
    pub fn own() -> io::Result<Self> {
        Self::open("self", true)
    }

    /// That of a process.
    pub fn of(pid: u32) -> io::Result<Self> {
        let mut namespace = Self::open(&pid.to_string(), false)?;
        namespace.own = namespace.file.metadata()?.ino() == Self::own()?.file.metadata()?.ino();
        Ok(namespace)
    }

    fn open(pid: &str, own: bool) -> io::Result<Self> {
        let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
        Ok(Self {
            file: File::open(&path)?,
            path,
            own,
        })
    }

    /// Whether this process is in it.
    pub fn is_own(&self) -> bool {
        self.own
    }

    /// Does something in it, on a thread of its own: a thread that has been there does not come back.
    pub fn run<T: Send>(&self, action: impl FnOnce() -> T + Send) -> io::Result<T> {
        if self.own {
            return Ok(action());
        }
        thread::scope(|scope| {
            let there = scope.spawn(|| {
                setns(&self.file, CloneFlags::CLONE_NEWNET)?;
                Ok(action())
            });
            there
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the thread in a namespace panicked")))
        })
    }

    /// Whether the process by which it was found is gone.
    pub fn is_gone(&self) -> bool {
        !self.path.exists()
    }
}

/// The inode of a process's network namespace, which no other has as long as somebody is in it.
pub fn inode_of(pid: u32) -> Option<u64> {
    let link = std::fs::read_link(format!("/proc/{pid}/ns/net")).ok()?;
    let number = link.to_str()?.strip_prefix("net:[")?.strip_suffix(']')?;
    number.parse().ok()
}

/// The number by which kernel programs know the namespace of the thread that asks, since Linux 5.14. No other ever
/// has it.
pub fn cookie() -> io::Result<u64> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    Ok(getsockopt(&socket, Cookie)?)
}

#[derive(Clone, Copy)]
struct Cookie;

nix::getsockopt_impl!(
    Cookie,
    libc::SOL_SOCKET,
    libc::SO_NETNS_COOKIE,
    u64,
    GetStruct<u64>
);
