//! What sessions are recognised by, as this host has it.

use agent_common::recognise::{Executable, NAME, PlaceKey, WhenAway};
use agent_policy::{Container, Engine, Pattern, Pod, Recognised};
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::cgroups;
use crate::containers::Kind;
use crate::sessions::mounts::Mounts;

/// One way of recognising a session.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sought {
    /// By its cgroup, given by its path from the root of the hierarchy.
    Cgroup(String),
    /// By its systemd unit.
    Unit(String),
    /// By its first program.
    Executable(String),
    /// By its container, of a pod.
    Pod(Box<Pod>),
    /// By its container, of Docker or podman.
    Engine(Box<Engine>),
}

impl fmt::Display for Sought {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cgroup(path) => write!(f, "cgroup {path}"),
            Self::Unit(unit) => write!(f, "systemd unit {unit}"),
            Self::Executable(path) => write!(f, "executable {path}"),
            Self::Pod(pod) => pod.fmt(f),
            Self::Engine(engine) => engine.fmt(f),
        }
    }
}

impl Sought {
    /// From what a policy says; nothing for what the kernel programs need not be told.
    pub fn of(way: &Recognised) -> Option<Self> {
        match way {
            Recognised::Executable(Pattern::Exact(path)) => Some(Self::Executable(path.clone())),
            Recognised::SystemdUnit(unit) => Some(Self::Unit(unit.clone())),
            Recognised::Cgroup(path) => Some(Self::Cgroup(path.clone())),
            Recognised::Kubernetes(pod) => Some(Self::Pod(Box::new(pod.clone()))),
            Recognised::Container(engine) => Some(Self::Engine(Box::new(engine.clone()))),
            _ => None,
        }
    }

    /// By what the kernel programs know a new cgroup.
    pub fn place(&self) -> Option<PlaceKey> {
        match self {
            Self::Cgroup(text) | Self::Unit(text) => PlaceKey::new(text.as_bytes()),
            Self::Executable(_) | Self::Pod(_) | Self::Engine(_) => None,
        }
    }

    /// Whether it is for who comes into a container later, and not for the container.
    pub fn is_for_entered(&self) -> bool {
        match self {
            Self::Pod(pod) => pod.entered,
            Self::Engine(engine) => engine.entered,
            _ => false,
        }
    }

    /// Whether it selects a container.
    pub fn selects(&self, container: &Container) -> bool {
        match self {
            Self::Pod(pod) => pod.selects(container),
            Self::Engine(engine) => engine.selects(container),
            _ => false,
        }
    }

    /// Whether one of a kind could be its session.
    pub fn looks_at(&self, kind: Kind) -> bool {
        self.is_container()
            && match kind {
                Kind::Pod => matches!(self, Self::Pod(_)),
                Kind::Docker | Kind::Podman => matches!(self, Self::Engine(_)),
            }
    }

    /// Whether any could be.
    pub fn is_container(&self) -> bool {
        matches!(self, Self::Pod(_) | Self::Engine(_)) && !self.is_for_entered()
    }

    /// What becomes of what begins in a pod of a namespace while no daemon is there, as the node has it where the
    /// policy does not say. Nothing where no container of the namespace could be its session.
    pub fn when_away(&self, namespace: &str, node: WhenAway) -> Option<WhenAway> {
        match self {
            Self::Pod(pod) if !pod.entered && pod.namespace == namespace => {
                Some(pod.when_away.unwrap_or(node))
            }
            _ => None,
        }
    }

    /// Whether that hangs on a service account that nobody has told.
    pub fn hangs_on_account(&self, container: &Container) -> bool {
        matches!(self, Self::Pod(pod) if pod.hangs_on_account(container))
    }

    /// The cgroups that it is now.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        match self {
            Self::Cgroup(path) => {
                let found = cgroups::on_host(Path::new(path));
                if found.is_dir() {
                    vec![found]
                } else {
                    Vec::new()
                }
            }
            Self::Unit(unit) => {
                let mut found = Vec::new();
                units(cgroups::root(), unit, &mut found);
                found
            }
            Self::Executable(_) | Self::Pod(_) | Self::Engine(_) => Vec::new(),
        }
    }

    /// What an executable is now, as the kernel programs see it: the file, whatever its name, and
    /// the name, whatever file has it next. A path that leads nowhere is nothing yet.
    pub fn executables(&self, mounts: &Mounts) -> BTreeSet<Executable> {
        let Self::Executable(path) = self else {
            return BTreeSet::new();
        };
        let path = Path::new(path);
        let mut found = BTreeSet::new();
        // Where the last name leads now, and where it stands itself: a link may be replaced.
        let leads = fs::canonicalize(path).ok();
        let stands = path.parent().and_then(|parent| {
            let parent = fs::canonicalize(parent).ok()?;
            Some(parent.join(path.file_name()?))
        });
        for path in leads.iter().chain(&stands) {
            found.extend(named(path, mounts));
        }
        found.extend(leads.and_then(|path| key(&path, b"", mounts)));
        found
    }
}

/// A name in its directory.
fn named(path: &Path, mounts: &Mounts) -> Option<Executable> {
    key(path.parent()?, path.file_name()?.as_bytes(), mounts)
}

fn key(path: &Path, name: &[u8], mounts: &Mounts) -> Option<Executable> {
    let mut room = [0; NAME];
    // The last byte stays zero: a longer name would be taken for another that begins alike.
    room.get_mut(..NAME - 2)?
        .get_mut(..name.len())?
        .copy_from_slice(name);
    Some(Executable {
        inode: fs::metadata(path).ok()?.ino(),
        device: mounts.resolve(path.as_os_str().as_bytes())?.device,
        reserved: 0,
        name: room,
    })
}

/// Cgroups of a unit's name that lie below slices only, where systemd puts its units.
fn units(slice: &Path, unit: &str, found: &mut Vec<PathBuf>) {
    for child in children(slice) {
        let name = child
            .file_name()
            .map(OsStrExt::as_bytes)
            .unwrap_or_default();
        if name == unit.as_bytes() {
            found.push(child);
        } else if name.ends_with(b".slice") {
            units(&child, unit, found);
        }
    }
}

/// The cgroups right below one. One that is gone has none.
fn children(cgroup: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(cgroup) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// A cgroup's number, and those of all below it. One that goes away meanwhile is left out.
pub fn numbers(cgroup: &Path) -> Vec<u64> {
    let mut found: Vec<u64> = fs::metadata(cgroup)
        .map(|it| it.ino())
        .into_iter()
        .collect();
    for child in children(cgroup) {
        found.extend(numbers(&child));
    }
    found
}

/// Waits until no cgroup is half made. The kernel takes over what is known of a new cgroup's parent
/// before the cgroup can be seen, and tells who asks for a process's cgroups under the same lock.
pub fn wait_for_makers() -> io::Result<()> {
    let mut text = String::new();
    fs::File::open("/proc/self/cgroup")?.read_to_string(&mut text)?;
    Ok(())
}

/// Whether a cgroup holds the daemon itself or the machine's first process, which must be in no
/// session.
pub fn holds_the_host(cgroup: &Path) -> bool {
    ["/proc/self/cgroup", "/proc/1/cgroup"]
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .any(|text| {
            let unified = text.lines().find_map(|line| line.strip_prefix("0::"));
            unified.is_some_and(|path| cgroups::on_host(Path::new(path)).starts_with(cgroup))
        })
}

/// The daemon, the machine's first process and those between: what descends from one of them is the
/// daemon, too.
pub fn host_processes() -> BTreeSet<u32> {
    let mut found = BTreeSet::from([1]);
    let mut above = procfs::process::Process::myself();
    while let Ok(stat) = above.and_then(|process| process.stat()) {
        let Ok(pid) = u32::try_from(stat.pid) else {
            break;
        };
        if stat.ppid == 0 || !found.insert(pid) {
            break;
        }
        above = procfs::process::Process::new(stat.ppid);
    }
    found
}
