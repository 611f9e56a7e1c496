//! Where the unified hierarchy of cgroups lies. Every process is in one of its cgroups, whatever other hierarchies
//! there are, and the kernel programs know no other.

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use procfs::process::Process;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Where systemd mounts it: alone, or beside those of version 1.
pub const PLACES: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// Where it is mounted, if it is.
pub fn find() -> Option<&'static Path> {
    let mut places = PLACES.iter().map(Path::new);
    places.find(|place| statfs(*place).is_ok_and(|it| it.filesystem_type() == CGROUP2_SUPER_MAGIC))
}

/// Its root, as it was found first. Where it is mounted nowhere, where it belongs.
pub fn root() -> &'static Path {
    static ROOT: OnceLock<&Path> = OnceLock::new();
    ROOT.get_or_init(|| find().unwrap_or(Path::new(PLACES[0])))
}

/// Where hierarchies of version 1 are mounted, as it was found first.
pub fn of_version_1() -> &'static [PathBuf] {
    static PLACES: OnceLock<Vec<PathBuf>> = OnceLock::new();
    PLACES.get_or_init(|| {
        let mounts = Process::myself().and_then(|own| own.mountinfo());
        let mounts = mounts.into_iter().flatten();
        let of_version_1 = mounts.filter(|mount| mount.fs_type == "cgroup");
        of_version_1.map(|mount| mount.mount_point).collect()
    })
}

/// Where a cgroup lies that has a path from the root of the hierarchy.
pub fn on_host(path: &Path) -> PathBuf {
    below(root(), path)
}

/// The same of any hierarchy.
pub fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}
