//! The deputy: a process at the daemon's side that outlives it. Where there is no daemon nobody can say
//! yes, so it says no, at once, until the next daemon is there. What a daemon that ends in order leaves
//! open is the next one's to ask: of that the deputy denies only what nobody answered in time.

use super::{NO_STANDS_NS, WAKES_NS, wake};
use crate::control::server::Place;
use crate::kernel::clock;
use crate::kernel::held::Held;
use crate::kernel::pins::Pins;
use agent_common::hold::{Hold, HoldState};
use nix::sys::signal::{SigSet, Signal};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};
use tracing::warn;

/// The hidden command of this binary that is the deputy.
const COMMAND: &str = "deputy";

/// How often it looks while there is no daemon.
const ROUND: Duration = Duration::from_millis(50);

/// Between two attempts to have one.
const PAUSE: Duration = Duration::from_secs(1);

/// What a daemon that ends in order says to it. One that dies says nothing.
const HANDED_OVER: &[u8] = b"handed over";

/// The daemon's deputy, as the daemon sees it.
pub struct Deputy {
    socket: PathBuf,
    /// What the daemon wrote where its place is taken.
    mark: String,
    /// What the deputy reads from. Its end is the daemon's.
    pipe: RefCell<Option<File>>,
}

impl Deputy {
    /// None is there yet.
    pub fn new(place: &Place) -> Self {
        Self {
            socket: place.socket().to_owned(),
            mark: place.mark().to_owned(),
            pipe: RefCell::new(None),
        }
    }

    /// Has one at hand, always.
    pub async fn keep(&self) -> Infallible {
        loop {
            match self.call() {
                Ok(mut child) => {
                    let ended = child.wait().await;
                    warn!(?ended, "the deputy is gone; another one comes");
                }
                Err(error) => warn!(%error, "no deputy can be had now"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn call(&self) -> io::Result<Child> {
        let mut command = Command::new("/proc/self/exe");
        command.arg(COMMAND).arg("--socket").arg(&self.socket);
        // A terminal's signals are for the daemon.
        command.args(["--mark", &self.mark]).process_group(0);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        let pipe = child.stdin.take().map(|pipe| pipe.into_owned_fd());
        *self.pipe.borrow_mut() = pipe.transpose()?.map(File::from);
        Ok(child)
    }

    /// The next daemon takes over what is open.
    pub fn hand_over(&self) {
        if let Some(mut pipe) = self.pipe.borrow_mut().take()
            && let Err(error) = pipe.write_all(HANDED_OVER)
        {
            warn!(%error, "the deputy takes this daemon for dead");
        }
    }
}

/// Waits until the daemon with this mark is gone, and answers in its place until another one is there,
/// or nothing is in force any more.
pub fn serve(socket: &Path, mark: &str) -> io::Result<()> {
    // Who ends the daemon may end this process, too: but not before it has answered once.
    let signals: SigSet = [Signal::SIGTERM].into_iter().collect();
    signals.thread_block()?;
    let mut said = Vec::new();
    io::stdin().read_to_end(&mut said)?;
    let mut duty = Duty {
        handed_over: said == HANDED_OVER,
        answered: HashMap::new(),
    };
    while Place::holder(socket).is_ok_and(|holder| holder == mark) {
        let Ok(mut held) = Held::open(&Pins::in_force()) else {
            break;
        };
        duty.round(&mut held);
        drop(held);
        signals.thread_unblock()?;
        std::thread::sleep(ROUND);
    }
    Ok(())
}

/// What the deputy has to do.
struct Duty {
    /// The daemon ended in order.
    handed_over: bool,
    /// What was answered lately, and when, in nanoseconds since boot.
    answered: HashMap<u64, u64>,
}

impl Duty {
    /// Answers what is open, and wakes who waits for it. What fails is tried again in the next round.
    fn round(&mut self, held: &mut Held) {
        let now_ns = clock::boot_ns();
        let (mut open, mut slots) = (HashMap::new(), HashSet::new());
        for (key, hold) in held.all() {
            if hold.state != HoldState::Asked.wire() {
                continue;
            }
            let is_late = now_ns >= hold.until_ns;
            let answer = Hold {
                state: match is_late {
                    true => HoldState::Late,
                    false => HoldState::Refused,
                }
                .wire(),
                until_ns: now_ns.saturating_add(NO_STANDS_NS),
                flags: Hold::BY_DEPUTY,
                ..hold
            };
            if (is_late || !self.handed_over) && held.answer(key, answer).is_ok() {
                self.answered.insert(hold.id, now_ns);
                slots.insert(hold.slot);
            } else {
                *open.entry(hold.slot).or_insert(0) += 1;
            }
        }
        for slot in slots {
            // Counted anew by the next daemon.
            let _ = held.set_open(slot, open.get(&slot).copied().unwrap_or(0));
        }
        self.answered
            .retain(|_, at_ns| now_ns.saturating_sub(*at_ns) < WAKES_NS);
        for (waiter, began_ns) in held.waiting() {
            if self.answered.contains_key(&waiter.hold) {
                wake::go_on(waiter.pid, began_ns);
            }
        }
    }
}
