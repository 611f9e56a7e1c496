//! What agents see in their containers: paths of a policy lead elsewhere there than on the host.

use super::mounts::Mounts;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// The mounts of containers that are sessions, by the cgroup.
#[derive(Debug, Default)]
pub struct Views {
    by_cgroup: BTreeMap<u64, View>,
}

#[derive(Debug)]
struct View {
    agent: String,
    mounts: Mounts,
}

impl Views {
    /// Adds what an agent sees in a container. False when that was known.
    pub fn add(&mut self, cgroup: u64, agent: &str, mounts: Mounts) -> bool {
        let known = self.by_cgroup.get(&cgroup);
        if known.is_some_and(|known| known.agent == agent && known.mounts == mounts) {
            return false;
        }
        let agent = agent.to_owned();
        self.by_cgroup.insert(cgroup, View { agent, mounts });
        true
    }

    /// Forgets what was seen in a container that is gone.
    pub fn remove(&mut self, cgroup: u64) {
        self.by_cgroup.remove(&cgroup);
    }

    /// What an agent sees.
    pub(super) fn of<'a>(&'a self, agent: &'a str) -> impl Iterator<Item = &'a Mounts> {
        let views = self.by_cgroup.values();
        views
            .filter(move |view| view.agent == agent)
            .map(|view| &view.mounts)
    }

    /// The host's mounts but for the file systems that are the roots of containers: the host sees them, too,
    /// somewhere among its own directories, and what is said of these says nothing of a container.
    pub(super) fn taken_from<'a>(&self, host: &'a Mounts) -> Cow<'a, Mounts> {
        let root = |mounts: &Mounts| mounts.resolve(b"/").map(|root| root.device);
        let own = root(host);
        let roots: BTreeSet<u32> = self
            .by_cgroup
            .values()
            .filter_map(|view| root(&view.mounts))
            .filter(|device| Some(*device) != own)
            .collect();
        if roots.is_empty() {
            return Cow::Borrowed(host);
        }
        Cow::Owned(host.without(&roots))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_containers_root_is_no_directory_of_the_hosts() {
        let host = Mounts::parse(
            b"1 0 8:1 / / rw - ext4 a rw\n2 1 0:50 / /run/a/rootfs rw - overlay a rw\n",
        );
        let inside = Mounts::parse(b"9 8 0:50 / / rw - overlay a rw\n");
        let mut views = Views::default();
        assert!(
            host.resolve(b"/run/a/rootfs/x")
                .is_some_and(|at| at.path == b"/x")
        );
        assert!(views.add(7, "a", inside.clone()));
        assert!(!views.add(7, "a", inside));
        let taken = views.taken_from(&host);
        assert!(
            taken
                .resolve(b"/run/a/rootfs/x")
                .is_some_and(|at| at.path != b"/x")
        );
        assert_eq!((views.of("a").count(), views.of("b").count()), (1, 0));
        views.remove(7);
        assert_eq!(*views.taken_from(&host), host);
    }
}
