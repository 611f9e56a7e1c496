//! Pods, of which the kernel programs are told what becomes of a container that begins there while no daemon is there
//! to ask: a runtime's next start of one that has ended, what comes after an init container. A pod that no daemon has
//! seen names its namespace nowhere that the kernel could look.

use super::Recognition;
use super::sought::Sought;
use crate::chain::chain;
use crate::containers::{Cgroup, Pod, RuntimeError, Told};
use crate::kernel::maps::MapsError;
use crate::kernel::recognised::Recognised;
use agent_common::recognise::{Inside, WhenAway};
use tracing::warn;

impl Recognition {
    /// Writes it down of the pod of a container that was asked about. Where that fails the node's word is for it.
    pub(super) fn note_pod(
        &self,
        maps: &mut Recognised,
        cgroup: &Cgroup,
        told: &Result<Told, RuntimeError>,
    ) {
        let pod = match told {
            Ok(Told::Container(known)) => known.pod(),
            Ok(Told::Sandbox(pod)) => pod.clone(),
            Ok(Told::Unasked | Told::Unknown) | Err(_) => return,
        };
        if let Err(error) = self.write_pod(maps, cgroup, &pod) {
            let error = chain(error);
            warn!(
                container = cgroup.id,
                error, "the kernel is not told of its pod"
            );
        }
    }

    fn write_pod(
        &self,
        maps: &mut Recognised,
        cgroup: &Cgroup,
        pod: &Pod,
    ) -> Result<(), MapsError> {
        let Some(number) = cgroup.of_pod(&pod.uid) else {
            return Ok(());
        };
        if maps
            .cgroup(number)?
            .is_some_and(|it| it.kind != Inside::POD)
        {
            // A policy names that very cgroup.
            return Ok(());
        }
        // What cannot be recognised for now may be the pod's all the same.
        let sought = self.ways.values().map(|way| &way.sought);
        let sought = sought.chain(self.failed.keys());
        let away = when_away(sought, &pod.namespace, self.containers.when_away);
        maps.set_cgroup(number, Inside::pod(number, away))?;
        if cgroup.of_pod(&pod.uid).is_none() {
            // It has gone meanwhile, and nobody else would take the entry away.
            maps.remove_cgroup(number)?;
        }
        Ok(())
    }
}

/// What becomes of containers of a namespace: the strictest word of those who could select one. One that nobody
/// could select is nobody's.
fn when_away<'a>(
    sought: impl Iterator<Item = &'a Sought>,
    namespace: &str,
    node: WhenAway,
) -> WhenAway {
    let words = sought.filter_map(|sought| sought.when_away(namespace, node));
    words.min().unwrap_or(WhenAway::Release)
}

#[cfg(test)]
mod tests {
    use super::*;
    use WhenAway::{Deny, Release};

    #[test]
    fn the_strictest_of_those_who_could_select_a_container_counts() {
        let pod = |when_away, entered| {
            Sought::Pod(Box::new(agent_policy::Pod {
                namespace: "agents".into(),
                when_away,
                entered,
                ..agent_policy::Pod::default()
            }))
        };
        let silent = || pod(None, false);
        for (sought, node, expected) in [
            (vec![], Deny, Release),
            (vec![pod(None, true)], Deny, Release),
            (vec![silent()], Deny, Deny),
            (vec![silent()], Release, Release),
            (vec![pod(Some(Release), false)], Deny, Release),
            (vec![pod(Some(Deny), false)], Release, Deny),
            (vec![pod(Some(Release), false), silent()], Deny, Deny),
            (
                vec![pod(Some(Release), false), pod(Some(Deny), false)],
                Release,
                Deny,
            ),
        ] {
            let found = when_away(sought.iter(), "agents", node);
            assert_eq!(found, expected, "{sought:?}, {node:?}");
            assert_eq!(when_away(sought.iter(), "other", node), Release);
        }
    }
}
