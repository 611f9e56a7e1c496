//! The cgroups of containers, as the kernel programs know them.

use agent_common::recognise::{BEFORE_ID, BEHIND_ID, CONTAINER_ID, PODS};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where the unified hierarchy is mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// The cgroup of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    /// The container's number.
    pub id: String,
    /// The cgroup's.
    pub number: u64,
    /// The cgroup.
    pub path: PathBuf,
}

impl Cgroup {
    /// The one that a process is in, or below.
    pub fn of(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
        let mut whole: Vec<&Path> = Path::new(path).ancestors().collect();
        // The outermost: what is below it a container has made.
        whole.reverse();
        whole.into_iter().find_map(Self::at)
    }

    /// A process in it.
    pub fn somebody(&self) -> Option<u32> {
        let text = fs::read_to_string(self.path.join("cgroup.procs")).ok()?;
        text.lines().next()?.parse().ok()
    }

    /// The container whose cgroup has a path from the root of the hierarchy, if it is one's.
    fn at(path: &Path) -> Option<Self> {
        let id = id(path.as_os_str().as_bytes())?;
        let path = Path::new(ROOT).join(path.strip_prefix("/").ok()?);
        Some(Self {
            id,
            number: fs::metadata(&path).ok()?.ino(),
            path,
        })
    }
}

/// The number of the container whose cgroup has a path.
fn id(path: &[u8]) -> Option<String> {
    if !path.starts_with(PODS) {
        return None;
    }
    let name = path.rsplit(|byte| *byte == b'/').next()?;
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let [containerd, crio, own] = BEFORE_ID;
    let kinds: [(&[u8], &[u8]); 3] = [(containerd, BEHIND_ID), (crio, BEHIND_ID), (own, b"")];
    let id = kinds.iter().find_map(|(before, behind)| {
        let id = name.strip_prefix(*before)?.strip_suffix(*behind)?;
        (id.len() == CONTAINER_ID && id.iter().all(is_digit)).then_some(id)
    })?;
    Some(String::from_utf8_lossy(id).into_owned())
}

/// Every container's cgroup that there is now.
pub fn all() -> Vec<Cgroup> {
    let mut found = Vec::new();
    look_into(Path::new("/"), &mut found);
    found
}

fn look_into(path: &Path, found: &mut Vec<Cgroup>) {
    let Ok(entries) = fs::read_dir(Path::new(ROOT).join(path.strip_prefix("/").unwrap_or(path)))
    else {
        return;
    };
    for entry in entries.flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let below = path.join(entry.file_name());
        if !below.as_os_str().as_bytes().starts_with(PODS) {
            continue;
        }
        match Cgroup::at(&below) {
            Some(cgroup) => found.push(cgroup),
            None => look_into(&below, found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::id;

    #[test]
    fn a_container_is_known_by_the_path_of_its_cgroup() {
        let hex = "0123456789abcdef".repeat(4);
        for (path, is_one) in [
            (format!("/kubepods/besteffort/pod1/{hex}"), true),
            (
                format!("/kubepods.slice/a.slice/cri-containerd-{hex}.scope"),
                true,
            ),
            (format!("/kubepods.slice/a.slice/crio-{hex}.scope"), true),
            (
                format!("/kubepods.slice/a.slice/crio-conmon-{hex}.scope"),
                false,
            ),
            (format!("/kubepods.slice/a.slice/other-{hex}.scope"), false),
            (format!("/kubepods/pod1/{hex}.scope"), false),
            (format!("/kubepods/pod1/a{hex}"), false),
            (format!("/kubepods/pod1/{}", hex.to_uppercase()), false),
            (format!("/kubepods/pod1/{}", &hex[1..]), false),
            (format!("/system.slice/{hex}"), false),
            ("/kubepods".to_owned(), false),
        ] {
            let expected = is_one.then(|| hex.clone());
            assert_eq!(id(path.as_bytes()), expected, "{path}");
        }
    }
}
