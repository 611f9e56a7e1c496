//! The long mode: the tests whose strength grows with the time they are given, optimised, and with a
//! seed of their own each time; and races in machines.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

use super::report::Tally;
use super::vm::{self, Extent};
use crate::build::cargo;
use crate::series::Series;

/// A test, and what makes it long.
struct Long {
    package: &'static str,
    file: &'static str,
    name: &'static str,
    setting: (&'static str, &'static str),
}

const ALL: &[Long] = &[
    Long {
        package: "agent-policy",
        file: "reference",
        name: "compiled_tables_agree_with_the_model",
        setting: ("INTERLOCK_PAIRS", "1000000"),
    },
    Long {
        package: "agent-policy",
        file: "hostile",
        name: "damaged_policies_do_no_harm",
        setting: ("INTERLOCK_FUZZ_SECONDS", "300"),
    },
    Long {
        package: "agent",
        file: "central",
        name: "kills::killed_at_any_moment_both_lose_and_double_nothing",
        setting: ("INTERLOCK_KILLS", "100"),
    },
    Long {
        package: "agent",
        file: "central",
        name: "faults::a_partition_costs_the_node_nothing_and_is_caught_up_in_order",
        setting: ("INTERLOCK_PARTITION_MINUTES", "60"),
    },
];

/// Tests that a machine runs only in the long mode.
const IN_MACHINES: &[&str] = &[
    "long.forks",
    "long.once",
    "long.swaps",
    "long.neighbour",
    "long.n14.flip",
    "long.net.differential",
    "long.clients",
    "long.hold.clients",
    "long.hybrid.anew",
    "long.hold.loop",
    "long.hold.first_exec_late",
    "long.kills",
    "long.upgrade.undone",
    "long.upgrades",
    "long.lookup.race",
    "long.boot.package",
    "long.as_pod.daemon",
    "long.containers.pod",
    "long.containers.kinds",
    "long.containers.paths",
    "long.containers.before",
    "long.containers.network",
    "long.containers.away",
    "long.containers.gated",
    "long.containers.kubernetes",
    "long.containers.storm",
    "long.podman.session",
    "long.podman.service",
    "long.podman.before",
    "long.docker.session",
];

const SEED: &str = "INTERLOCK_SEED";

/// Runs those whose name contains the filter.
pub(super) fn run(kernels: &[Series], filter: Option<&str>) -> Result<Vec<Tally>> {
    let mut tallies = vec![here(filter)?];
    let chosen = |name: &&&str| filter.is_none_or(|filter| name.contains(filter));
    for name in IN_MACHINES.iter().filter(chosen) {
        // One at a time: they are long because they want all of the processor.
        tallies.extend(vm::run(kernels, Some(name), Extent::Whole, 1)?);
    }
    Ok(tallies)
}

fn here(filter: Option<&str>) -> Result<Tally> {
    let seed = match std::env::var(SEED) {
        Ok(seed) => seed,
        Err(_) => SystemTime::now()
            .duration_since(UNIX_EPOCH)?
            .as_secs()
            .to_string(),
    };
    let mut tally = Tally::new("long");
    let chosen = |test: &&Long| filter.is_none_or(|filter| test.name.contains(filter));
    for test in ALL.iter().filter(chosen) {
        let (variable, value) = test.setting;
        println!(
            "{}: {variable}={value} {SEED}={seed}, which repeats it",
            test.name
        );
        let began = Instant::now();
        if passes(test, &seed)? {
            tally.passed += 1;
        } else {
            tally.failed.push(test.name.to_owned());
        }
        println!("  {:.0} s", began.elapsed().as_secs_f32());
    }
    Ok(tally)
}

/// Shows all that the test says while it runs.
fn passes(test: &Long, seed: &str) -> Result<bool> {
    let (variable, value) = test.setting;
    let mut child = cargo("test")
        .args(["--release", "--quiet", "--package", test.package])
        .args(["--test", test.file])
        .args(["--", "--exact", test.name, "--nocapture"])
        .env(variable, value)
        .env(SEED, seed)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let output = child.stdout.take().context("cargo has an output")?;
    let mut ran = false;
    for line in BufReader::new(output).lines() {
        let line = line.context("cargo test prints text")?;
        ran |= line.contains("ok. 1 passed");
        println!("  {line}");
    }
    // A test of another name would be none at all.
    Ok(child.wait()?.success() && ran)
}
