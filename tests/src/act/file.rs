//! What an agent may try with files: one word for each way.

use crate::sys::file::{self, Mapping};
use crate::sys::process;
use crate::sys::uring::{Ring, Worker};
use anyhow::{Context, Result, bail};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Tries one way. An error of setting up is `Err`; the attempt's own outcome is inside.
pub(crate) fn attempt(words: &[&str]) -> Result<io::Result<()>> {
    Ok(match words {
        ["read" | "list", path] => file::open(path, libc::O_RDONLY).map(drop),
        ["write", path] => file::open(path, libc::O_WRONLY).map(drop),
        ["append", path] => file::open(path, libc::O_WRONLY | libc::O_APPEND).map(drop),
        ["read-write", path] => file::open(path, libc::O_RDWR).map(drop),
        ["read-truncate", path] => file::open(path, libc::O_RDONLY | libc::O_TRUNC).map(drop),
        ["path", path] => file::open(path, libc::O_PATH).map(drop),
        ["openat2", path] => file::openat2(path, libc::O_RDONLY).map(drop),
        ["handle", path, mount] => file::open_by_handle(path, mount).map(drop),
        ["create", path] => {
            let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY;
            file::open(path, flags).map(drop)
        }
        ["create-if-absent", path] => file::open(path, libc::O_CREAT | libc::O_WRONLY).map(drop),
        ["create-to-read", path] => file::open(path, libc::O_CREAT | libc::O_RDONLY).map(drop),
        ["temporary", directory] => {
            file::open(directory, libc::O_TMPFILE | libc::O_WRONLY).map(drop)
        }
        ["temporary-link", directory, path] => {
            file::open(directory, libc::O_TMPFILE | libc::O_WRONLY)
                .and_then(|file| file::link_descriptor(file.as_fd(), path))
        }
        ["make", path] => file::make(path),
        ["mkdir", path] => file::mkdir(path),
        ["mkfifo", path] => file::mkfifo(path),
        ["symlink", target, path] => file::symlink(target, path),
        ["link", old, new] => file::link(old, new),
        ["unlink", path] => file::unlink(path),
        ["rmdir", path] => file::rmdir(path),
        ["rename", old, new] => file::rename(old, new, 0),
        ["rename-noreplace", old, new] => file::rename(old, new, libc::RENAME_NOREPLACE),
        ["exchange", old, new] => file::rename(old, new, libc::RENAME_EXCHANGE),
        ["queue", name] => file::open_queue(name, 0),
        ["queue-executed", name] => file::open_queue(name, 0x20),
        ["truncate", path] => file::truncate(path),
        ["chmod", path] => file::chmod(path),
        ["fchmod", path] => file::fchmod(path),
        ["chown", path] => file::chown(path),
        ["setxattr", path] => file::setxattr(path),
        ["removexattr", path] => file::removexattr(path),
        ["set-acl", path] => file::set_acl(path),
        ["utimes", path] => file::utimes(path),
        ["map", path] => file::open(path, libc::O_RDONLY)
            .and_then(|file| Mapping::new(file.as_fd(), libc::PROT_READ | libc::PROT_EXEC))
            .map(drop),
        ["map-data", path] => file::open(path, libc::O_RDONLY)
            .and_then(|file| Mapping::new(file.as_fd(), libc::PROT_READ))
            .map(drop),
        ["protect", path] => {
            let file = file::open(path, libc::O_RDONLY).context("opening")?;
            let mapping = Mapping::new(file.as_fd(), libc::PROT_READ).context("mapping")?;
            mapping.protect(libc::PROT_READ | libc::PROT_EXEC)
        }
        ["protect-anonymous"] => Mapping::anonymous()
            .context("mapping")?
            .protect(libc::PROT_READ | libc::PROT_EXEC),
        ["rewritten", open, shut, times] => rewritten(open, shut, times.parse()?)?,
        ["map-memory"] => {
            let memory = file::memfd().context("making memory")?;
            Mapping::new(memory.as_fd(), libc::PROT_READ | libc::PROT_EXEC).map(drop)
        }
        ["reopen-memory"] => reopen(file::memfd().context("making memory")?.as_fd()),
        ["reopen-pipe"] => reopen(file::pipe().context("making a pipe")?[0].as_fd()),
        ["uring", path] => uring(Worker::Inline, path)?,
        ["uring-pool", path] => uring(Worker::Pool, path)?,
        ["uring-later", path] => later(path, || Ok(()))?,
        ["uring-former", path] => later(path, process::take_own_capabilities)?,
        ["uring-poller", path] => uring(Worker::Poller, path)?,
        _ => bail!("no use of a file is called {words:?}"),
    })
}

fn reopen(fd: std::os::fd::BorrowedFd<'_>) -> io::Result<()> {
    file::open(&format!("/proc/self/fd/{}", fd.as_raw_fd()), libc::O_RDONLY).map(drop)
}

/// Opens a path that another thread writes over all the time, and looks which file it got.
fn rewritten(open: &str, shut: &str, times: u32) -> Result<io::Result<()>> {
    use std::sync::atomic::{AtomicBool, Ordering};
    let path = file::Rewritten::new(open).context("the paths")?;
    let end = AtomicBool::new(false);
    let forbidden = std::fs::metadata(shut)?;
    let (mut opened, mut denied, mut wrong) = (0, 0, 0);
    std::thread::scope(|scope| -> Result<()> {
        scope.spawn(|| {
            while !end.load(Ordering::Relaxed) {
                path.write(shut);
                path.write(open);
            }
        });
        for _ in 0..times {
            match path.open() {
                Ok(file) => {
                    use std::os::unix::fs::MetadataExt;
                    let found = std::fs::File::from(file).metadata()?;
                    opened += 1;
                    wrong += u32::from(found.ino() == forbidden.ino());
                }
                Err(_) => denied += 1,
            }
        }
        end.store(true, Ordering::Relaxed);
        Ok(())
    })?;
    anyhow::ensure!(opened > 0, "never opened, {denied} times denied");
    anyhow::ensure!(
        wrong == 0,
        "{wrong} times of {opened} the file was the denied one"
    );
    Ok(Ok(()))
}

/// Opens a file through a ring, in a link whose first part is put off. The kernel knows the file: it need not wait for
/// a disk, and opens it in the task itself.
fn later(path: &str, then: impl FnOnce() -> io::Result<()>) -> Result<io::Result<()>> {
    std::fs::metadata(path).with_context(|| path.to_owned())?;
    let ring = Ring::new(Worker::Inline).context("setting a ring up")?;
    Ok(ring.open_later(path, then))
}

fn uring(worker: Worker, path: &str) -> Result<io::Result<()>> {
    let ring = Ring::new(worker).context("setting a ring up")?;
    Ok(ring.open(path))
}
