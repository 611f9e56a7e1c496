//! A fork bomb with a limit, so that the machine survives the test that means to end it.

use crate::sys::memory::{self, Page};
use crate::sys::process::{self, Fork};
use crate::sys::shared::Counter;
use anyhow::{Context, Result};
use std::time::Duration;

/// Tries that find the limit reached before a process makes room for others: pids must go round.
const TRIES: u32 = 20;

/// Between two tries: two thousand that spin would be a test of the scheduler.
const PAUSE: Duration = Duration::from_millis(50);

/// Forks for ever, with at most so many processes at once, each in a kernel session of its own.
/// Whatever a signal could do to it is ignored.
pub(crate) fn explode(limit: u32) -> Result<()> {
    let alive = Counter::new(1).context("sharing a counter")?;
    process::ignore_all_signals();
    process::set_name(c"bomb");
    loop {
        let mut tries = 0;
        while tries < TRIES {
            if alive.add(1) >= limit {
                alive.subtract(1);
                tries += 1;
                std::thread::sleep(PAUSE);
                continue;
            }
            match process::fork() {
                Ok(Fork::Child) => {
                    tries = 0;
                    process::end_after(super::LIFE_SECONDS);
                    // It may lead its group already.
                    let _ = process::setsid();
                }
                Ok(Fork::Parent(_)) => {}
                Err(_) => {
                    alive.subtract(1);
                    tries += 1;
                }
            }
        }
        // The first is the session's root, whose end would be the session's.
        if !alive.is_mine() {
            alive.subtract(1);
            process::exit_now(0);
        }
    }
}

/// How long a child of [`breed`] lives.
const LIFE: Duration = Duration::from_millis(200);

/// Forks for ever, with at most so many children at once, each with a child of its own that it waits
/// for: nobody ever loses its parent.
pub(crate) fn breed(limit: u32) -> Result<()> {
    let mut alive = 0;
    process::set_name(c"breed");
    loop {
        if alive >= limit {
            process::wait_any()?;
            alive -= 1;
        }
        if let Fork::Child = process::fork()? {
            process::end_after(super::LIFE_SECONDS);
            if let Ok(Fork::Parent(child)) = process::fork() {
                std::thread::sleep(LIFE);
                let _ = process::wait(child);
            }
            std::thread::sleep(LIFE);
            process::exit_now(0);
        }
        alive += 1;
    }
}

/// Mappings of [`drag`]: as many as a process may have, but for its own.
const MAPPINGS: usize = 60_000;

/// How long a child of [`drag`] lives, and how many there are at once.
const LONG_LIFE: Duration = Duration::from_secs(4);
const FEW: u32 = 6;

/// Forks for ever, and each time so slowly that somebody else does much meanwhile: all its mappings are copied.
pub(crate) fn drag() -> Result<()> {
    // Neighbours that are alike would be one.
    let protections = [memory::READ, memory::WRITE].into_iter().cycle();
    let pages = protections
        .take(MAPPINGS)
        .map(|protection| Page::new(None, protection, libc::MAP_PRIVATE));
    let _pages = pages.collect::<Result<Vec<_>, _>>().context("mapping")?;
    process::set_name(c"drag");
    process::end_after(super::LIFE_SECONDS);
    for alive in 0.. {
        if alive >= FEW {
            process::wait_any()?;
        }
        if let Fork::Child = process::fork()? {
            std::thread::sleep(LONG_LIFE);
            process::exit_now(0);
        }
    }
    Ok(())
}
