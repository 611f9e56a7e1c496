//! Network namespaces, one after the other.

use nix::sched::{CloneFlags, setns};
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::thread;

/// A network namespace in which a process is.
pub(super) struct Namespace {
    path: PathBuf,
    file: File,
    /// This process is in it.
    own: bool,
}

impl Namespace {
    /// Every one, our own first. A process that ends meanwhile is passed over.
    pub(super) fn all() -> io::Result<Vec<Self>> {
        let own = Self::open("self", true)?;
        let mut known = BTreeSet::from([own.file.metadata()?.ino()]);
        let mut all = vec![own];
        for entry in std::fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let is_pid = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
            let Some(pid) = name.to_str().filter(|name| is_pid(name)) else {
                continue;
            };
            // The number alone costs nothing; a descriptor is taken once a namespace.
            let Some(number) = number(pid) else { continue };
            if known.insert(number)
                && let Ok(namespace) = Self::open(pid, false)
            {
                all.push(namespace);
            }
        }
        Ok(all)
    }

    fn open(pid: &str, own: bool) -> io::Result<Self> {
        let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
        Ok(Self {
            file: File::open(&path)?,
            path,
            own,
        })
    }

    /// Does something in it, on a thread of its own: a thread that has been there does not come back.
    pub(super) fn run<T: Send>(&self, action: impl FnOnce() -> T + Send) -> io::Result<T> {
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
    pub(super) fn is_gone(&self) -> bool {
        !self.path.exists()
    }
}

/// The number of a process's network namespace.
fn number(pid: &str) -> Option<u64> {
    let link = std::fs::read_link(format!("/proc/{pid}/ns/net")).ok()?;
    let number = link.to_str()?.strip_prefix("net:[")?.strip_suffix(']')?;
    number.parse().ok()
}
