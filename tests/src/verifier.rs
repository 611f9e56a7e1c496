//! What the verifier says of each kernel program on this kernel: instructions processed, stack,
//! size. One JSON line a program.

use crate::harness::{kernel, product};
use crate::sys::errno_name;
use crate::sys::trace::{Load, Seen, Traced};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(300);
const LOG: &str = "/tmp/interlock-verifier.log";

/// Starts the daemon under trace and prints what the verifier said of its programs.
pub(crate) fn run() -> Result<()> {
    product::remove()?;
    let mut loads = BTreeMap::new();
    let mut traced = Traced::start(
        Command::new(product::INTERLOCK)
            .arg("daemon")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(LOG).context(LOG)?),
    )
    .context("tracing the daemon")?;
    let deadline = Instant::now() + PATIENCE;
    let ready = loop {
        match traced.look().context("watching the daemon")? {
            Seen::Load(load) => note(&mut loads, load),
            Seen::Other => {}
            Seen::End => break false,
            Seen::Nothing => {
                let log = fs::read_to_string(LOG).context(LOG)?;
                if log.contains("ready") && !log.contains("not ready") {
                    break true;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        if Instant::now() > deadline {
            break false;
        }
    };
    let sizes = sizes()?;
    for load in loads.values() {
        println!("{}", line(load, &sizes));
    }
    drop(traced);
    product::uninstall()?;
    let said = fs::read_to_string(LOG).unwrap_or_default();
    ensure!(ready, "the daemon ended instead of becoming ready:\n{said}");
    ensure!(!loads.is_empty(), "the daemon loaded no program");
    Ok(())
}

/// Keeps the best that was said of a program: a loader may try in several ways.
fn note(loads: &mut BTreeMap<String, Load>, load: Load) {
    let known = loads
        .get(&load.name)
        .is_some_and(|known| known.errno.is_none());
    if !known && !load.name.is_empty() {
        loads.insert(load.name.clone(), load);
    }
}

fn line(load: &Load, sizes: &BTreeMap<String, (u32, u32)>) -> serde_json::Value {
    let release = kernel::release();
    if let Some(errno) = load.errno {
        return json!({
            "kernel": release,
            "program": load.name,
            "loaded": false,
            "errno": errno_name(errno),
            "verifier": load.log.trim(),
        });
    }
    let size = sizes.get(&load.name);
    json!({
        "kernel": release,
        "program": load.name,
        "loaded": true,
        "instructionsProcessed": number_after(&load.log, "processed "),
        "peakStates": number_after(&load.log, "peak_states "),
        "stackBytes": stack(&load.log),
        "translatedBytes": size.map(|size| size.0),
        "jitedBytes": size.map(|size| size.1),
    })
}

fn number_after(log: &str, word: &str) -> Option<u64> {
    let rest = log.split(word).nth(1)?;
    rest.split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

/// The stack of the deepest chain of calls: the verifier names the depth of each function, such as
/// `stack depth 96+352`. Their sum is what a chain through all of them would take, at most 512.
fn stack(log: &str) -> Option<u64> {
    let rest = log.split("stack depth ").nth(1)?;
    let depths = rest.split_whitespace().next()?;
    depths
        .split('+')
        .map(|depth| depth.parse::<u64>().ok())
        .sum()
}

/// Translated and jited bytes of every program in the kernel, by name.
fn sizes() -> Result<BTreeMap<String, (u32, u32)>> {
    let mut sizes = BTreeMap::new();
    for program in aya::programs::loaded_programs() {
        let program = program.context("listing the programs of the kernel")?;
        let Some(name) = program.name_as_str() else {
            continue;
        };
        sizes.insert(
            name.to_owned(),
            (
                program.size_translated().unwrap_or(0),
                program.size_jitted(),
            ),
        );
    }
    Ok(sizes)
}
