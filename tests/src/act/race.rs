//! Many threads that all want the same thing at the same moment.

use super::way::probe;
use anyhow::Result;
use std::net::SocketAddr;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

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
    let everybody = Barrier::new(threads as usize + 1);
    let over = AtomicBool::new(false);
    let won = AtomicU32::new(0);
    let mut counted = Rounds::default();
    thread::scope(|scope| -> Result<()> {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    everybody.wait();
                    if over.load(Ordering::Acquire) {
                        return;
                    }
                    if probe(use_up).is_ok() {
                        won.fetch_add(1, Ordering::Relaxed);
                    }
                    everybody.wait();
                }
            });
        }
        let outcome = (0..rounds).try_for_each(|_| -> Result<()> {
            probe(permission)?;
            won.store(0, Ordering::Relaxed);
            everybody.wait();
            everybody.wait();
            match won.load(Ordering::Relaxed) {
                0 => counted.none += 1,
                1 => counted.one += 1,
                _ => counted.several += 1,
            }
            Ok(())
        });
        over.store(true, Ordering::Release);
        everybody.wait();
        outcome
    })?;
    Ok(counted)
}
