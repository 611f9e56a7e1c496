//! Many threads that all want the same thing at the same moment.

use super::way::probe;
use anyhow::{Result, ensure};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long one round may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What became of the rounds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rounds {
    one: u32,
    none: u32,
    several: u32,
}

impl Rounds {
    /// The line that a test reads.
    pub(crate) fn line(self) -> String {
        format!(
            "one {} none {} several {}",
            self.one, self.none, self.several
        )
    }
}

/// In each round asks for a permission by probing one address, and then lets all threads use it
/// at once by probing another; counts how many could.
pub(crate) fn race(
    permission: SocketAddr,
    use_up: SocketAddr,
    threads: u32,
    rounds: u32,
) -> Result<Rounds> {
    let round = AtomicU32::new(0);
    let done = AtomicU32::new(0);
    let won = AtomicU32::new(0);
    let mut counted = Rounds::default();
    thread::scope(|scope| -> Result<()> {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut seen = 0;
                loop {
                    let now = wait_for_change(&round, seen);
                    if now == u32::MAX {
                        return;
                    }
                    seen = now;
                    if probe(use_up).is_ok() {
                        won.fetch_add(1, Ordering::Relaxed);
                    }
                    done.fetch_add(1, Ordering::AcqRel);
                }
            });
        }
        let outcome = (1..=rounds).try_for_each(|number| -> Result<()> {
            probe(permission)?;
            done.store(0, Ordering::Release);
            won.store(0, Ordering::Relaxed);
            round.store(number, Ordering::Release);
            let deadline = Instant::now() + PATIENCE;
            while done.load(Ordering::Acquire) < threads {
                ensure!(Instant::now() < deadline, "round {number} does not end");
                thread::yield_now();
            }
            match won.load(Ordering::Relaxed) {
                0 => counted.none += 1,
                1 => counted.one += 1,
                _ => counted.several += 1,
            }
            Ok(())
        });
        round.store(u32::MAX, Ordering::Release);
        outcome
    })?;
    Ok(counted)
}

fn wait_for_change(round: &AtomicU32, seen: u32) -> u32 {
    loop {
        let now = round.load(Ordering::Acquire);
        if now != seen {
            return now;
        }
        thread::yield_now();
    }
}
