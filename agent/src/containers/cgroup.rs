//! The cgroups of containers, as the kernel programs know them.

use super::Interface;
use crate::cgroups::{self, below, on_host};
use agent_common::recognise::{CONTAINER_ID, DOCKERS, Name, PODS};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Who runs a container, as the place and name of its cgroup tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A runtime of Kubernetes: it is of a pod.
    Pod,
    /// Docker.
    Docker,
    /// Podman.
    Podman,
}

impl Kind {
    /// What those who know such a container are asked in.
    pub(super) const fn interface(self) -> Interface {
        match self {
            Self::Pod => Interface::Cri,
            Self::Docker | Self::Podman => Interface::Docker,
        }
    }
}

/// The cgroup of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    /// Who runs it.
    pub kind: Kind,
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

    /// The number of its pod's cgroup, which carries the pod's number in its name. Nothing where the container
    /// lies elsewhere.
    pub fn of_pod(&self, uid: &str) -> Option<u64> {
        let above = self.path.parent()?;
        let is_pods = self.kind == Kind::Pod && is_of_pod(above.file_name()?.as_bytes(), uid);
        is_pods
            .then(|| fs::metadata(above).ok())?
            .map(|it| it.ino())
    }

    /// The container whose cgroup has a path from the root of the hierarchy, if it is one's.
    fn at(path: &Path) -> Option<Self> {
        let (kind, id) = id(path.as_os_str().as_bytes())?;
        let path = on_host(path);
        Some(Self {
            kind,
            id,
            number: fs::metadata(&path).ok()?.ino(),
            path,
        })
    }
}

/// The number of the container whose cgroup has a path, and who runs it.
fn id(path: &[u8]) -> Option<(Kind, String)> {
    let name = path.rsplit(|byte| *byte == b'/').next()?;
    let [scope, own, split] = Name::PODMAN;
    let in_pods = path.starts_with(PODS);
    let in_dockers = path.starts_with(DOCKERS);
    [
        (in_pods, Name::CONTAINERD, Kind::Pod),
        (in_pods, Name::CRIO, Kind::Pod),
        (in_pods, Name::BARE, Kind::Pod),
        (in_dockers, Name::BARE, Kind::Docker),
        (true, Name::DOCKER, Kind::Docker),
        (true, scope, Kind::Podman),
        (true, own, Kind::Podman),
        (true, split, Kind::Podman),
    ]
    .into_iter()
    .filter(|(is_there, ..)| *is_there)
    .find_map(|(_, form, kind)| {
        let id = name.strip_prefix(form.before)?.strip_suffix(form.behind)?;
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_number = id.len() == CONTAINER_ID && id.iter().all(is_digit);
        is_number.then(|| (kind, String::from_utf8_lossy(id).into_owned()))
    })
}

/// Whether a cgroup has the name that the kubelet gives a pod's: itself, or by systemd.
fn is_of_pod(name: &[u8], uid: &str) -> bool {
    let own = format!("pod{uid}");
    let slice = format!("-pod{}.slice", uid.replace('-', "_"));
    !uid.is_empty() && (name == own.as_bytes() || name.ends_with(slice.as_bytes()))
}

/// Every container's cgroup that there is now, and that a runtime of root's has made.
pub fn all() -> Vec<Cgroup> {
    let mut found = Vec::new();
    look_into(cgroups::root(), Path::new("/"), &mut |path| {
        let cgroup = Cgroup::at(path);
        let is_containers = cgroup.is_some();
        found.extend(cgroup);
        is_containers
    });
    found
}

/// A container whose runtime has made cgroups of version 1 for it and none of the unified hierarchy. The kernel
/// programs do not see it.
pub fn unseen() -> Option<PathBuf> {
    let mut found = None;
    for root in cgroups::of_version_1() {
        look_into(root, Path::new("/"), &mut |path| {
            let is_containers = id(path.as_os_str().as_bytes()).is_some();
            if is_containers && !on_host(path).exists() {
                found.get_or_insert_with(|| below(root, path));
            }
            is_containers
        });
    }
    found
}

/// Shows the cgroups of a hierarchy by their paths, but for those below one that is taken.
fn look_into(root: &Path, path: &Path, take: &mut impl FnMut(&Path) -> bool) {
    let place = below(root, path);
    // What lies in a user's cgroup may be that user's make.
    let is_roots = fs::metadata(&place).is_ok_and(|it| it.uid() == 0);
    let Ok(entries) = fs::read_dir(place) else {
        return;
    };
    for entry in entries.flatten() {
        if !is_roots || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let inside = path.join(entry.file_name());
        if !take(&inside) {
            look_into(root, &inside, take);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, id, is_of_pod};

    #[test]
    fn a_pods_cgroup_carries_its_number() {
        for (name, uid, expected) in [
            ("poda-1", "a-1", true),
            ("kubepods-burstable-poda_1.slice", "a-1", true),
            ("kubepods-poda_1.slice", "a-1", true),
            ("kubepods-burstable-poda_12.slice", "a-1", false),
            ("kubepods-burstable-podba_1.slice", "a-1", false),
            ("poda-12", "a-1", false),
            ("kubepods-burstable.slice", "", false),
            ("pod", "", false),
        ] {
            assert_eq!(is_of_pod(name.as_bytes(), uid), expected, "{name} {uid}");
        }
    }

    #[test]
    fn a_container_is_known_by_the_path_of_its_cgroup() {
        let hex = "0123456789abcdef".repeat(4);
        for (path, kind) in [
            ("/kubepods/besteffort/pod1/ID", Some(Kind::Pod)),
            (
                "/kubepods.slice/a.slice/cri-containerd-ID.scope",
                Some(Kind::Pod),
            ),
            ("/kubepods.slice/a.slice/crio-ID.scope", Some(Kind::Pod)),
            ("/kubepods.slice/a.slice/crio-conmon-ID.scope", None),
            ("/kubepods.slice/a.slice/other-ID.scope", None),
            ("/kubepods/pod1/ID.scope", None),
            ("/kubepods/pod1/aID", None),
            ("/kubepods", None),
            ("/system.slice/docker-ID.scope", Some(Kind::Docker)),
            ("/agents.slice/docker-ID.scope", Some(Kind::Docker)),
            ("/docker/ID", Some(Kind::Docker)),
            ("/docker/buildkit/abc", None),
            ("/dockers/ID", None),
            ("/system.slice/ID", None),
            ("/machine.slice/libpod-ID.scope", Some(Kind::Podman)),
            ("/machine.slice/libpod-conmon-ID.scope", None),
            ("/libpod_parent/libpod-ID", Some(Kind::Podman)),
            ("/libpod_parent/conmon", None),
            (
                "/system.slice/a.service/libpod-payload-ID",
                Some(Kind::Podman),
            ),
            ("/machine.slice/libpod-ID.scope/container", None),
        ] {
            let path = path.replace("ID", &hex);
            let expected = kind.map(|kind| (kind, hex.clone()));
            assert_eq!(id(path.as_bytes()), expected, "{path}");
        }
        for number in [hex.to_uppercase(), hex[1..].to_owned()] {
            assert_eq!(id(format!("/docker/{number}").as_bytes()), None);
        }
    }
}
