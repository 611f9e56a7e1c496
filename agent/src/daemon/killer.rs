//! Ends sessions: takes their permission, kills what runs, and proves that nothing is left.

use super::here::{Here, left};
use super::scissors::Scissors;
use super::urgent::Haste;
use crate::chain::chain;
use crate::control::protocol::{Revoke, Revoked};
use crate::events::explain;
use crate::events::line::{Line, Revocation};
use crate::ids::SessionId;
use crate::kernel::clock::WallClock;
use crate::sessions::census::Census;
use crate::sessions::kill::Kill;
use crate::sessions::{RevokeError, Sessions};
use agent_common::event::Process;
use agent_common::session::{Cause, Session as State};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
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

/// Kills that go on at once: each looks at every task of the host.
const AT_ONCE: usize = 8;

/// Ends that are remembered for whoever asks afterwards.
const REMEMBERED: usize = 1024;

/// Ends sessions.
pub struct Killer {
    sessions: Rc<RefCell<Sessions>>,
    census: Census,
    haste: Haste,
    lines: UnboundedSender<Line>,
    places: Semaphore,
    /// The latest ends.
    ends: RefCell<VecDeque<Revoked>>,
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
            places: Semaphore::new(AT_ONCE),
            ends: RefCell::default(),
        })
    }

    /// Obeys a person's order. What has begun goes on to its end, even if nobody waits for it any more.
    pub async fn revoke(self: &Rc<Self>, order: Revoke) -> Result<Revoked, OrderError> {
        let ordered = Instant::now();
        let id = order.session.0;
        let fresh = match self.sessions.borrow_mut().revoke(id, Cause::Order) {
            Err(RevokeError::NoSession(session)) => {
                return self.ended(id).ok_or(RevokeError::NoSession(session).into());
            }
            answer => answer?,
        };
        let denied_after = micros(ordered.elapsed());
        let cause = self.cause(id)?;
        if fresh {
            self.note_reason(id, order.reason);
        }
        // Who kills it already is waited for; who has killed it need not be asked to do so again.
        loop {
            if let Some(revoked) = self.ended(id).filter(Revoked::is_over) {
                return Ok(revoked);
            }
            if self.sessions.borrow().get(id).is_none() {
                return Err(RevokeError::NoSession(order.session).into());
            }
            if self.sessions.borrow_mut().set_dying(id, true) {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        let killer = Rc::clone(self);
        let killed = tokio::task::spawn_local(async move {
            let outcome = killer.kill(id, cause, None, ordered).await;
            let outcome = outcome.map(|revoked| Revoked {
                denied_after_us: Some(denied_after),
                ..revoked
            });
            if let Ok(revoked) = &outcome {
                killer.tell(revoked.clone());
            }
            killer.bury(id);
            outcome
        });
        let outcome = killed.await.map_err(io::Error::other).flatten();
        outcome.map_err(|source| OrderError::Kill {
            session: order.session,
            source,
        })
    }

    /// Ends every session's permission, and begins to kill them all. One that keeps its permission keeps no other
    /// alive: who asks for its end is told why it has none.
    pub fn revoke_all(self: &Rc<Self>, reason: Option<&str>) -> Result<Vec<SessionId>, OrderError> {
        let ordered = Instant::now();
        let ids = self.sessions.borrow().matching(|_, _| true);
        let mut denied = Vec::new();
        for id in &ids {
            let revoked = self.sessions.borrow_mut().revoke(*id, Cause::Order);
            match revoked {
                Ok(fresh) => denied.push((*id, fresh.then(|| micros(ordered.elapsed())))),
                Err(error) => {
                    warn!(session = %SessionId(*id), error = %chain(error), "it is NOT revoked");
                }
            }
        }
        for (id, _) in denied.iter().filter(|(_, fresh)| fresh.is_some()) {
            self.note_reason(*id, reason.map(str::to_owned));
        }
        for (id, denied_after_us) in denied {
            let order = Order {
                ordered,
                denied_after_us,
            };
            self.spawn(id, self.cause(id)?, None, Some(order));
        }
        Ok(ids.into_iter().map(SessionId).collect())
    }

    /// The end of a session that is over.
    fn ended(&self, id: u64) -> Option<Revoked> {
        let ends = self.ends.borrow();
        ends.iter().rfind(|end| end.session.0 == id).cloned()
    }

    /// Begins to kill every session whose permission has ended.
    pub fn begin_all(self: &Rc<Self>) {
        let found = self.sessions.borrow_mut().revoked();
        for (id, cause) in found {
            self.begin(id, cause, None);
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
        // That its first process has ended is heard of one that was killed, too, and perhaps after all of it was gone:
        // what is told of the kill is not to be replaced by a look at nobody.
        if ending.is_some() && self.ended(id).as_ref().is_some_and(Revoked::is_over) {
            return;
        }
        self.spawn(id, cause, ending, None);
    }

    /// Kills a session beside what else there is to do, unless somebody does already.
    fn spawn(
        self: &Rc<Self>,
        id: u64,
        cause: Cause,
        ending: Option<&Process>,
        order: Option<Order>,
    ) {
        if !self.sessions.borrow_mut().set_dying(id, true) {
            return;
        }
        let (killer, ending) = (Rc::clone(self), ending.copied());
        tokio::task::spawn_local(async move {
            let session = SessionId(id);
            let place = killer.places.acquire().await;
            let began = order.map_or_else(Instant::now, |order| order.ordered);
            let outcome = killer.kill(id, cause, ending.as_ref(), began).await;
            drop(place);
            match outcome {
                Ok(revoked) if let Some(order) = order => killer.tell(Revoked {
                    denied_after_us: order.denied_after_us,
                    ..revoked
                }),
                // A session that ends with its first process, as most do, is no news.
                Ok(revoked) if revoked.did_nothing() => {
                    debug!(%session, looks = revoked.looks, "nothing was left");
                    killer.remember(revoked);
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
            Ok(Some(ended)) => self.send(Line::Ended(Box::new(ended))),
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
        let mut scissors = Scissors::begin(id, self.state(id)?.is_silent(), ordered).await;
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
        scissors.finish().await;
        let proof = Proof::of(&self.state(id)?);
        Ok(Revoked {
            session: SessionId(id),
            agent,
            cause: cause.word().to_owned(),
            reason,
            denied_after_us: None,
            revoked_at: proof.revoked_at,
            last_action: Some(kill.last_action())
                .filter(|time| *time > 0)
                .map(|time| WallClock::read().at(time)),
            first_denial_after_us: proof.first_denial_after_us,
            cut: scissors.cut,
            cut_after_us: scissors.cut_after_us,
            not_cut: scissors.not_cut,
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

    /// The state of a session; that of none where it is over.
    fn state(&self, id: u64) -> io::Result<State> {
        let state = self.sessions.borrow().state(id);
        Ok(state.map_err(io::Error::other)?.unwrap_or(State::FREE))
    }

    fn note_reason(&self, id: u64, reason: Option<String>) {
        if let Err(error) = self.sessions.borrow_mut().note_reason(id, reason) {
            warn!(session = %SessionId(id), error = %chain(error), "the next daemon will not know why");
        }
    }

    fn tell(&self, revoked: Revoked) {
        self.remember(revoked.clone());
        let time = explain::now();
        self.send(Line::Revoked(Revocation { time, revoked }));
    }

    /// Remembers an end for who asks for it while it comes about, or afterwards.
    fn remember(&self, revoked: Revoked) {
        let mut ends = self.ends.borrow_mut();
        if ends.len() == REMEMBERED {
            ends.pop_front();
        }
        ends.push_back(revoked);
    }

    fn send(&self, line: Line) {
        // The events task ends only with the daemon.
        let _ = self.lines.send(line);
    }
}

/// A person's order that is being carried out.
#[derive(Clone, Copy)]
struct Order {
    ordered: Instant,
    /// When everything was denied; nothing where it had been denied before.
    denied_after_us: Option<u64>,
}

/// What the kernel noted of the end of a permission.
struct Proof {
    revoked_at: Option<String>,
    first_denial_after_us: Option<u64>,
}

impl Proof {
    fn of(state: &State) -> Self {
        // Where the time had passed, everything was denied before anybody wrote it down.
        let ended_ns = match state.cause() {
            Some(Cause::Ttl) if state.expires_ns != 0 => state.expires_ns,
            _ => state.revoked_ns,
        };
        let after = |ns: u64| ns.saturating_sub(ended_ns) / 1000;
        Self {
            revoked_at: (ended_ns != 0).then(|| WallClock::read().at(ended_ns)),
            first_denial_after_us: (state.denied_ns != 0).then(|| after(state.denied_ns)),
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

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
