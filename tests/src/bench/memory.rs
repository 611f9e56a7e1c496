//! How much of the kernel's memory the maps take, with so many sessions: what the kernel itself says
//! of each (`memlock` in its `fdinfo`). Since 6.4 that is what a map really takes; before, what it
//! would take if it were full.

use crate::act::join_late::{enrol, enroller};
use crate::harness::policy::Policy;
use crate::harness::product::{self, Daemon, PINS, SOCKET};
use crate::sys::file;
use crate::sys::process::{self, Fork};
use agent_common::abi;
use anyhow::{Context, Result, ensure};
use aya::maps::MapData;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

/// How many sessions there are.
const SESSIONS: [u32; 4] = [1, 100, 1_000, 10_000];

/// Measures with more and more sessions, each of one process that has used a file.
pub(crate) fn run() -> Result<()> {
    product::remove()?;
    Daemon::shared()?;
    tell(0)?;
    let policy = Policy::named("bench-memory").text();
    let start = json!({"start": {
        "agent": "bench-memory", "file": "bench-memory.yaml", "policy": policy, "profiles": [],
    }});
    let program = enroller()?;
    let mut there = 0;
    for wanted in SESSIONS {
        while there < wanted {
            let mut daemon = BufReader::new(UnixStream::connect(SOCKET).context(SOCKET)?);
            writeln!(daemon.get_mut(), "{start}")?;
            let mut line = String::new();
            daemon.read_line(&mut line)?;
            let answer: Value = serde_json::from_str(&line).context(line)?;
            let (mut said, mut saying) = std::io::pipe()?;
            match process::fork()? {
                Fork::Child => {
                    let done = enrol(&program, &answer["started"])
                        .and_then(|()| file::open("/etc/passwd", 0).context("using a file"));
                    let word = done
                        .as_ref()
                        .map_or_else(|error| format!("{error:#}"), |_| "in".into());
                    let _ = saying.write_all(word.as_bytes());
                    drop(saying);
                    thread::sleep(Duration::MAX);
                    process::exit_now(0);
                }
                Fork::Parent(_) => drop(saying),
            }
            let mut word = String::new();
            said.read_to_string(&mut word)?;
            ensure!(
                word == "in",
                "session {there}: {word}; the daemon answered {answer}"
            );
            there += 1;
            if there % 500 == 0 {
                eprintln!("{there} sessions");
            }
        }
        tell(there)?;
    }
    Ok(())
}

/// Prints what each map takes, and all of them together.
fn tell(sessions: u32) -> Result<()> {
    let mut all = 0;
    for (map, bytes) in sizes()? {
        println!(
            "{}",
            json!({"map": map, "sessions": sessions, "bytes": bytes})
        );
        all += bytes;
    }
    println!(
        "{}",
        json!({"map": "all", "sessions": sessions, "bytes": all})
    );
    Ok(())
}

fn sizes() -> Result<BTreeMap<String, u64>> {
    let folder = format!("{PINS}/v{}/maps", abi::VERSION);
    let mut sizes = BTreeMap::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.clone())? {
        let path = entry?.path();
        let map = MapData::from_pin(&path).with_context(|| path.display().to_string())?;
        let info = format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd());
        let text = fs::read_to_string(&info).with_context(|| info.clone())?;
        let bytes = text
            .lines()
            .find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok())
            .with_context(|| format!("no memlock in {text:?}"))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        sizes.insert(name.into_owned(), bytes);
    }
    ensure!(!sizes.is_empty(), "no map in {folder}");
    Ok(sizes)
}
