//! Containers of pods, whose runtime stands in for containerd here: the real one is asked in `long.containers`.

use super::containers::{ALLOWED, AWAY, DENIED, STAYS, probe, words};
use super::entered::executed;
use super::recognise::{daemon, make, recognised, wait_until};
use crate::harness::Test;
use crate::harness::kernel::unless_it_waits;
use crate::harness::policy::Policy;
use crate::harness::product::{Daemon, session_of};
use crate::harness::runtime::{Pod, Telling};
use anyhow::{Result, ensure};
use std::fs;
use std::process::{Child, Command};
use std::thread;

/// What a shell ends with whose program was denied.
const NOT_EXECUTED: i32 = 126;

pub(super) fn tests() -> Vec<Test> {
    let all = [
        Test::new(
            "recognise.pod",
            "a container of a pod that a policy selects is held from its first program on, and nobody else's is",
            pod,
        ),
        Test::new(
            "recognise.pod_away",
            "while no daemon is there, what begins in a pod that one has seen is denied or released as its namespace has it",
            away,
        ),
    ];
    let all = all.map(|test| test.unless(unless_it_waits).patience(240));
    all.into_iter().collect()
}

/// A pod's containers: what holds it together, and two others.
const SANDBOX: usize = 0;
const FIRST: usize = 1;
const NEXT: usize = 2;

/// The number of a pod's container.
fn id(pod: usize, container: usize) -> String {
    format!("{pod:032x}{container:032x}")
}

/// Pods of one namespace each, and their containers' cgroups.
struct Pods {
    all: Vec<Pod>,
    made: Vec<String>,
    running: Vec<Child>,
    _runtime: Telling,
}

impl Pods {
    /// One in each namespace, of two containers.
    fn of(namespaces: &[(&'static str, &'static str)]) -> Result<Self> {
        let all = namespaces
            .iter()
            .enumerate()
            .map(|(at, (namespace, uid))| Pod {
                uid,
                namespace,
                labels: &[("app", "a")],
                sandbox: id(at, SANDBOX),
                containers: [FIRST, NEXT].map(|container| id(at, container)).into(),
            });
        let all: Vec<Pod> = all.collect();
        Ok(Self {
            _runtime: Telling::of(&all)?,
            all,
            made: Vec::new(),
            running: Vec::new(),
        })
    }

    /// Begins a container of a pod, by the numbers of both.
    fn begin(&mut self, pod: usize, container: usize, program: &[&str]) -> Result<Command> {
        let above = format!("/kubepods/besteffort/pod{}", self.all[pod].uid);
        let cgroup = make(&format!("{above}/{}", id(pod, container)))?;
        let command = executed(&cgroup, program);
        self.made.extend([cgroup, make(&above)?]);
        Ok(command)
    }

    /// How a container's one probe ends.
    fn probe(&mut self, pod: usize, container: usize) -> Result<Option<i32>> {
        let probe = probe()?;
        Ok(self.begin(pod, container, &words(&probe))?.status()?.code())
    }

    fn stay(&mut self, pod: usize, container: usize) -> Result<()> {
        let child = self.begin(pod, container, &STAYS)?.spawn()?;
        self.running.push(child);
        Ok(())
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        for child in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
        for cgroup in &self.made {
            let _ = fs::remove_dir(cgroup);
        }
    }
}

/// A policy for the pods of a namespace.
fn selecting(namespace: &str, more: &str) -> Policy {
    let way = format!("kubernetes: {{namespace: {namespace}, podLabels: {{app: a}}{more}}}");
    recognised(namespace, &way)
}

fn pod() -> Result<()> {
    daemon(&[&selecting("agents", "")])?;
    let mut pods = Pods::of(&[("agents", "a-1"), ("others", "b-2")])?;
    for (pod, expected) in [(0, DENIED), (1, ALLOWED)] {
        for container in [FIRST, NEXT] {
            let found = pods.probe(pod, container)?;
            ensure!(
                found == Some(expected),
                "container {container} of pod {pod}: {found:?}, expected {expected}"
            );
        }
    }
    Ok(())
}

fn away() -> Result<()> {
    let policies = [
        selecting("agents", ""),
        selecting("relaxed", ", whenAway: release"),
    ];
    let mut pods = Pods::of(&[
        ("agents", "a-1"),
        ("relaxed", "b-2"),
        ("others", "c-3"),
        ("others", "d-4"),
    ])?;
    let found = daemon(&[&policies[0], &policies[1]])?;
    for (pod, container, expected) in [
        (0, FIRST, DENIED),
        (1, FIRST, DENIED),
        (2, SANDBOX, ALLOWED),
    ] {
        let ended = pods.probe(pod, container)?;
        ensure!(ended == Some(expected), "pod {pod}: {ended:?}");
    }
    found.end(libc::SIGKILL)?;
    thread::sleep(AWAY);
    for (pod, expected, what) in [
        (0, NOT_EXECUTED, "of whose namespace nothing is said"),
        (1, ALLOWED, "whose namespace is released"),
        (2, ALLOWED, "that no policy could select"),
        (3, NOT_EXECUTED, "that no daemon has seen"),
    ] {
        let ended = pods.probe(pod, NEXT)?;
        ensure!(
            ended == Some(expected),
            "in a pod {what}: {ended:?}, expected {expected}"
        );
    }
    // Another in the place of the one that has just ended: released, and the next daemon's.
    pods.stay(1, NEXT)?;
    Daemon::start()?;
    wait_until("what was released is adopted", || {
        Ok(session_of("relaxed")?.is_some_and(|session| session.tasks > 0))
    })
}
