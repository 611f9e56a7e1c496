//! A first process that ends before the rest of its session.

use super::way::probe;
use crate::sys::outcome;
use crate::sys::process::{self, Fork};
use anyhow::{Context, Result, bail};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Leaves a process behind that has cut every tie, and ends as it is told: `exit N` or `kill N`,
/// written as `exit-3`. Those left behind write their pids to a file and do nothing.
pub(crate) fn leave_behind(how: &str, file: &str) -> Result<u8> {
    let fresh = format!("{file}.new");
    let middle = match process::fork()? {
        Fork::Child => {
            process::setsid()?;
            for _ in 0..3 {
                if let Fork::Child = process::fork()? {
                    loop {
                        std::thread::sleep(Duration::from_secs(1));
                    }
                }
            }
            process::exit_now(0)
        }
        Fork::Parent(pid) => pid,
    };
    process::wait(middle)?;
    if let Fork::Child = process::fork()? {
        process::setsid()?;
        std::fs::write(&fresh, std::process::id().to_string()).context("writing the pid")?;
        std::fs::rename(&fresh, file)?;
        loop {
            std::thread::sleep(Duration::from_secs(1));
        }
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while std::fs::metadata(file).is_err() {
        if Instant::now() > deadline {
            bail!("nobody was left behind");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    match how.split_once('-').context("no way to end")? {
        ("exit", code) => Ok(code.parse()?),
        ("kill", signal) => {
            process::raise(signal.parse()?)?;
            bail!("survived the signal")
        }
        _ => bail!("no way to end"),
    }
}

/// The main thread ends; another goes on, probes after a while, says what came of it, and ends the
/// process with code 5.
pub(crate) fn main_thread_ends(to: SocketAddr) -> Result<()> {
    std::thread::Builder::new().spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        println!("{}", outcome(&probe(to)));
        std::process::exit(5);
    })?;
    process::exit_thread()
}
