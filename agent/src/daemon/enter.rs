//! From a container into its host: the daemon's rules speak of the host's paths and cgroups, so it must see
//! what the host sees.

use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::io;
use std::os::fd::IntoRawFd;
use std::path::{Path, PathBuf};

/// The namespaces that the daemon enters, the mounts last: the others are found by them.
const NAMESPACES: [(&str, CloneFlags); 2] = [
    ("/proc/1/ns/cgroup", CloneFlags::CLONE_NEWCGROUP),
    ("/proc/1/ns/mnt", CloneFlags::CLONE_NEWNS),
];

/// Why the daemon is not where the host is.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// Process 1 is nobody's but the container's.
    #[error(
        "cannot enter the host: found this container's own process 1, expected the host's (in Kubernetes `hostPID: true`)"
    )]
    OwnProcesses,
    /// A namespace could not be entered.
    #[error("cannot enter the host by {0}")]
    Namespace(&'static str, #[source] io::Error),
}

/// A path by which a file of the container is found from the host, too; as it is where the container has none.
pub(super) fn kept(path: &Path) -> PathBuf {
    match File::open(path) {
        // Open for good: nothing else leads back to it.
        Ok(file) => format!("/proc/self/fd/{}", file.into_raw_fd()).into(),
        Err(_) => path.to_owned(),
    }
}

/// Enters the mounts and cgroups of process 1. To be called while there is one thread.
pub(super) fn host() -> Result<(), EnterError> {
    if nix::unistd::getpid().as_raw() == 1 {
        return Err(EnterError::OwnProcesses);
    }
    let open = |(path, kind)| match File::open(path) {
        Ok(file) => Ok((path, kind, file)),
        Err(error) => Err(EnterError::Namespace(path, error)),
    };
    let opened: Vec<_> = NAMESPACES.into_iter().map(open).collect::<Result<_, _>>()?;
    for (path, kind, file) in opened {
        setns(file, kind).map_err(|errno| EnterError::Namespace(path, errno.into()))?;
    }
    std::env::set_current_dir("/").map_err(|error| EnterError::Namespace("/", error))
}
