//! A thousand containers, in batches at once, whose first instruction tries what they may not; and what the
//! asking costs one that is nobody's.

use super::containers::{ALLOWED, DENIED, of, probe, selecting, unless, words};
use super::recognise::daemon;
use crate::harness::events::Events;
use crate::harness::pods::{Node, Pod};
use crate::harness::{Test, network, product};
use anyhow::{Context, Result, ensure};
use std::thread;
use std::time::{Duration, Instant};

/// Containers that try at once, unless told otherwise.
const BATCH: usize = 8;
/// Containers altogether; `INTERLOCK_STARTS` says otherwise.
const STARTS: usize = 1_000;
/// Containers that are measured, with and without.
const MEASURED: usize = 30;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "long.containers.storm",
            "of 1,000 containers started in batches none does at first what it may not; what others wait is told",
            storm,
        )
        .unless(unless)
        .patience(7000),
    ]
}

fn starts() -> usize {
    let told = std::env::var("INTERLOCK_STARTS").ok();
    told.and_then(|told| told.parse().ok()).unwrap_or(STARTS)
}

fn storm() -> Result<()> {
    let name = "storm";
    let agents = [("app", "storm")];
    let others = [("app", "other")];
    let node = Node::get()?;
    network::set_up()?;
    product::stop()?;
    product::uninstall()?;
    let pod = node.pod(of(&others))?;
    let without = measure(&node, &pod)?;
    daemon(&[&selecting(name, "podLabels: {app: storm}")])?;
    let with = measure(&node, &pod)?;
    println!("NOTE a start that is nobody's: without Interlock {without}, with it {with}");
    let of_agents = node.pod(of(&agents))?;
    let events = Events::from_now()?;
    let all = starts();
    let began = Instant::now();
    let mut done = 0;
    while done < all {
        let batch = BATCH.min(all - done);
        thread::scope(|scope| {
            let one = |number: usize| {
                let (node, pod) = (&node, &of_agents);
                scope.spawn(move || attempt(node, pod, &format!("c{number}")))
            };
            let running: Vec<_> = (done..done + batch).map(one).collect();
            running.into_iter().try_for_each(|running| {
                let code = running.join().ok().context("a thread panicked")??;
                ensure!(code == DENIED, "ended with {code}, expected {DENIED}");
                Ok(())
            })
        })?;
        done += batch;
    }
    println!(
        "NOTE {done} starts in {:.0} s, {BATCH} at once: none has connected",
        began.elapsed().as_secs_f32()
    );
    println!("NOTE {} events lost", events.lost()?);
    node.remove(of_agents)?;
    node.remove(pod)
}

/// Starts a container whose first act is to connect, and says how it ended.
fn attempt(node: &Node, pod: &Pod, name: &str) -> Result<i32> {
    let container = node.run(pod, name, &words(&probe()?))?;
    let code = node.ended(&container)?.exit_code;
    node.forget(container)?;
    Ok(code)
}

/// Milliseconds from the start of a container to its end.
struct Times(Vec<Duration>);

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |part: usize| {
            let at = (self.0.len() * part / 100).min(self.0.len() - 1);
            self.0[at].as_secs_f64() * 1e3
        };
        write!(f, "{:.0} ms (p50), {:.0} ms (p95)", ms(50), ms(95))
    }
}

/// How long containers that are nobody's take from their start until they have ended.
fn measure(node: &Node, pod: &Pod) -> Result<Times> {
    let mut times = Vec::new();
    for number in 0..MEASURED {
        let container = node.create(pod, &format!("m{number}"), &words(&probe()?))?;
        // The runtime's own times say nothing: its start returns after a short program has ended.
        let began = Instant::now();
        node.start(&container)?;
        let status = node.ended(&container)?;
        times.push(began.elapsed());
        ensure!(
            status.exit_code == ALLOWED,
            "ended with {}",
            status.exit_code
        );
        node.forget(container)?;
    }
    times.sort_unstable();
    Ok(Times(times))
}
