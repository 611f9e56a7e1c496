//! When to look at the files again.

#![expect(
    unsafe_code,
    reason = "tokio's AsyncFd wants the promise that a descriptor stays the same"
)]

use super::read;
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, timeout};
use tracing::warn;

/// Editors and Kubernetes change files in several steps: so long nothing must happen before we look.
const CALM: Duration = Duration::from_millis(50);
/// However much goes on, we look after this long.
const PATIENCE: Duration = Duration::from_secs(1);
/// And this often when nothing is heard: of network file systems the kernel tells nothing.
const ROUND: Duration = Duration::from_secs(30);

/// Waits for files and folders to change.
pub struct Watch {
    roots: Vec<PathBuf>,
    inotify: AsyncFd<Descriptor>,
}

struct Descriptor(Inotify);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Watch {
    /// Begins to watch.
    pub fn begin(roots: &[PathBuf]) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        // SAFETY: an Inotify owns one descriptor, answers with it and no other, and closes it when
        // it is dropped, which happens within the AsyncFd.
        let inotify = unsafe { AsyncFd::register(Descriptor(inotify)) }?;
        let watch = Self {
            roots: roots.to_vec(),
            inotify,
        };
        watch.arm();
        Ok(watch)
    }

    /// Waits until something may have changed, and has come to rest.
    pub async fn changed(&self) -> io::Result<()> {
        if let Ok(heard) = timeout(ROUND, self.heard()).await {
            heard?;
            let deadline = Instant::now() + PATIENCE;
            while Instant::now() < deadline {
                match timeout(CALM, self.heard()).await {
                    Ok(heard) => heard?,
                    Err(_) => break,
                }
            }
        }
        // Folders may have been replaced by others.
        self.arm();
        Ok(())
    }

    /// Waits until something is heard, and takes it.
    async fn heard(&self) -> io::Result<()> {
        loop {
            let mut ready = self.inotify.readable().await?;
            match self.inotify.get_ref().0.read_events() {
                Ok(_) => return Ok(()),
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn arm(&self) {
        for folder in folders(&self.roots) {
            let what = AddWatchFlags::IN_CREATE
                | AddWatchFlags::IN_CLOSE_WRITE
                | AddWatchFlags::IN_MOVE
                | AddWatchFlags::IN_DELETE
                | AddWatchFlags::IN_DELETE_SELF
                | AddWatchFlags::IN_MOVE_SELF
                | AddWatchFlags::IN_ATTRIB
                | AddWatchFlags::IN_ONLYDIR;
            match self.inotify.get_ref().0.add_watch(&folder, what) {
                Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(error) => warn!(folder = %folder.display(), %error, "cannot be watched"),
            }
        }
    }
}

/// The folders in which something happens when a file of ours changes: those that were named and
/// their profiles, and the ones in which files lie that links lead to.
fn folders(roots: &[PathBuf]) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    for root in roots {
        // A root that is not there yet, or a file, appears in a folder above it.
        let above = root.ancestors().skip(1).map(named);
        folders.extend(above.into_iter().find(|folder| folder.is_dir()));
        if root.is_dir() {
            folders.insert(root.clone());
            folders.insert(root.join("profiles"));
        }
        let files = match read::files(root) {
            Ok(read::Root::Files(files)) => files,
            _ => continue,
        };
        for file in files.iter().filter(|file| file.is_symlink()) {
            let target = file.canonicalize().ok();
            folders.extend(target.as_deref().and_then(Path::parent).map(Path::to_owned));
        }
    }
    folders
}

/// The folder of a name without one is the working directory.
fn named(folder: &Path) -> PathBuf {
    if folder.as_os_str().is_empty() {
        return PathBuf::from(".");
    }
    folder.to_owned()
}
