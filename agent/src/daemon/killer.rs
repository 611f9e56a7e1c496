//! Ends sessions: takes their permission, kills what runs, and proves that nothing is left.

use super::urgent::Haste;
use crate::control::protocol::{Left, Revoke, Revoked, SessionId};
use crate::events::explain;
use crate::events::line::{Line, Revocation};
use crate::events::process::readable;
use crate::sessions::census::Census;
use crate::sessions::kill::{Host, Kill};
use crate::sessions::{RevokeError, Sessions};
use agent_common::event::{Living, Process};
use agent_common::session::Cause;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;
use tracing::{debug, warn};

/// How long a kill may take before what is left is told. The house tries again afterwards.
const PATIENCE: Duration = Duration::from_secs(8);

/// The shortest time between two looks when there is nobody new to kill.
const PAUSE: Duration = Duration::from_millis(1);

/// How many times as long as a look itself the next one waits: ending thousands of processes is
/// work for the kernel, and whoever looks takes the processor from it.
const SHARE: u32 = 2;

/// Why a session was not ended as ordered.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// Its permission lasts.
    #[error(transparent)]
    Revoke(#[from] RevokeError),
    /// It has no permission, but what runs of it could not be listed or killed.
    #[error("everything is denied to session {session}, but it cannot be killed")]
    Kill {
        /// The session.
        session: SessionId,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Ends sessions.
pub struct Killer {
    sessions: Rc<RefCell<Sessions>>,
    census: Census,
    haste: Haste,
    lines: UnboundedSender<Line>,
}

impl Killer {
    /// One that tells what it did to `lines`.
    pub fn new(
        sessions: Rc<RefCell<Sessions>>,
        census: Census,
        haste: Haste,
        lines: UnboundedSender<Line>,
    ) -> Rc<Self> {
        Rc::new(Self {
            sessions,
            census,
            haste,
            lines,
        })
    }

    /// Obeys a person's order.
    pub async fn revoke(&self, order: Revoke) -> Result<Revoked, OrderError> {
        let ordered = Instant::now();
        let id = order.session.0;
        let fresh = self.sessions.borrow_mut().revoke(id, Cause::Order)?;
        let denied_after = ordered.elapsed();
        let cause = self.cause(id)?;
        self.sessions.borrow_mut().set_dying(id, true);
        if fresh && let Err(error) = self.note_reason(id, order.reason.clone()) {
            warn!(session = %order.session, %error, "the next daemon will not know why");
        }
        let outcome = self.kill(id, cause, None, ordered).await;
        let outcome = outcome
            .map(|revoked| Revoked {
                denied_after_us: Some(micros(denied_after)),
                ..revoked
            })
            .map_err(|source| OrderError::Kill {
                session: order.session,
                source,
            });
        if let Ok(revoked) = &outcome {
            self.tell(revoked.clone());
        }
        self.bury(id);
        outcome
    }

    /// Begins to kill every session whose permission has ended.
    pub fn begin_all(self: &Rc<Self>) {
        let found = self.sessions.borrow_mut().revoked();
        match found {
            Ok(found) => {
                for (id, cause) in found {
                    self.begin(id, cause, None);
                }
            }
            Err(error) => warn!(error = %chain(error), "cannot look for sessions to end"),
        }
    }

    /// Begins to kill a session whose permission the kernel has ended. `ending` is a process that
    /// ends anyway.
    pub fn begin(self: &Rc<Self>, id: u64, cause: Cause, ending: Option<&Process>) {
        match self.sessions.borrow().state(id) {
            // A policy that is only watched ends nothing.
            Ok(state) if state.is_none_or(|state| state.cause().is_none()) => return,
            Ok(_) => {}
            Err(error) => warn!(error = %chain(error), "cannot look at a session to end"),
        }
        if !self.sessions.borrow_mut().set_dying(id, true) {
            return;
        }
        let (killer, ending) = (Rc::clone(self), ending.copied());
        tokio::task::spawn_local(async move {
            let session = SessionId(id);
            match killer
                .kill(id, cause, ending.as_ref(), Instant::now())
                .await
            {
                // A session that ends with its first process, as most do, is no news.
                Ok(revoked) if cause == Cause::RootExit && revoked.killed == 0 => {
                    debug!(%session, looks = revoked.looks, "nothing was left");
                }
                Ok(revoked) if revoked.killed == 0 && revoked.left.is_empty() => {
                    debug!(%session, "nothing was left of it any more");
                }
                Ok(revoked) => killer.tell(revoked),
                Err(error) => warn!(%session, %error, "everything is denied, but it still runs"),
            }
            killer.bury(id);
        });
    }

    /// The session is not being killed any more. If its last task has gone meanwhile, nobody else
    /// will say so.
    fn bury(&self, id: u64) {
        let mut sessions = self.sessions.borrow_mut();
        sessions.set_dying(id, false);
        match sessions.end_if_empty(id) {
            Ok(Some(ended)) => self.send(Line::Ended(ended)),
            Ok(None) => {}
            Err(error) => warn!(error = %chain(error), "cannot end a session"),
        }
    }

    async fn kill(
        &self,
        id: u64,
        cause: Cause,
        ending: Option<&Process>,
        ordered: Instant,
    ) -> io::Result<Revoked> {
        let _urgent = self.haste.begin();
        let (agent, reason) = match self.sessions.borrow().get(id) {
            Some(session) => (session.agent.clone(), session.reason().map(str::to_owned)),
            None => (String::new(), None),
        };
        let mut host = Here(&self.census);
        let mut kill = Kill::of(id, ending);
        let mut killed_after = None;
        let mut empty_after = None;
        while ordered.elapsed() < PATIENCE {
            let began = Instant::now();
            if kill.step(&mut host)? {
                empty_after = Some(ordered.elapsed());
                break;
            }
            if kill.is_struck() {
                killed_after.get_or_insert_with(|| ordered.elapsed());
            }
            if kill.has_more() {
                tokio::task::yield_now().await;
            } else {
                tokio::time::sleep(PAUSE.max(began.elapsed() * SHARE)).await;
            }
        }
        Ok(Revoked {
            session: SessionId(id),
            agent,
            cause: cause.word().to_owned(),
            reason,
            denied_after_us: None,
            killed_after_us: killed_after.map(micros),
            empty_after_us: empty_after.map(micros),
            killed: kill.killed(),
            looks: kill.walks(),
            left: kill.left().iter().map(left).collect(),
        })
    }

    fn cause(&self, id: u64) -> Result<Cause, RevokeError> {
        let sessions = self.sessions.borrow();
        let state = sessions.state(id)?;
        Ok(state
            .and_then(|state| state.cause())
            .unwrap_or(Cause::Order))
    }

    fn note_reason(&self, id: u64, reason: Option<String>) -> Result<(), String> {
        let mut sessions = self.sessions.borrow_mut();
        sessions.note_reason(id, reason).map_err(chain)
    }

    fn tell(&self, revoked: Revoked) {
        let time = explain::now();
        self.send(Line::Revoked(Revocation { time, revoked }));
    }

    fn send(&self, line: Line) {
        // The events task ends only with the daemon.
        let _ = self.lines.send(line);
    }
}

/// This host.
struct Here<'a>(&'a Census);

impl Host for Here<'_> {
    type Hold = OwnedFd;

    fn census(&mut self) -> io::Result<Vec<Living>> {
        self.0.take()
    }

    fn hold(&mut self, pid: u32) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(hold) => Ok(Some(hold)),
            // A pid whose process has just gone is no process's: EINVAL.
            Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => Ok(None),
            // Those that are held are killed and let go before the next is asked for.
            Err(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    fn kill(&mut self, hold: &OwnedFd) -> io::Result<()> {
        match pidfd_send_signal(hold, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Allows this process as many descriptors as the host lets it have: a kill holds one a process.
pub fn lift_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let lifted = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = lifted {
        debug!(%error, "descriptors stay few");
    }
}

/// What is known of a process that was killed and still is there.
fn left(process: &Process) -> Left {
    let why = i32::try_from(process.pid)
        .ok()
        .and_then(|pid| procfs::process::Process::new(pid).ok())
        .and_then(|found| Some((found.stat().ok()?.state, found.wchan().unwrap_or_default())))
        .map_or_else(
            || "it is gone by now".to_owned(),
            |(state, wchan)| match state {
                'D' => format!("it waits in the kernel, which cannot be interrupted ({wchan})"),
                'T' | 't' => "it is stopped".to_owned(),
                'Z' => "it has ended; its parent has yet to look".to_owned(),
                state => format!("it is about to end (state {state})"),
            },
        );
    Left {
        pid: process.pid,
        comm: readable(process.comm()),
        why,
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn chain(error: impl std::error::Error + Send + Sync + 'static) -> String {
    format!("{:#}", anyhow::Error::from(error))
}
