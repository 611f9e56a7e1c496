//! Who answers clients.

use super::killer::Killer;
use super::proof::Proof;
use crate::central::{self, Central, Permit};
use crate::chain::chain;
use crate::control::protocol::{
    ConnectionInfo, PolicyInfo, ProcessInfo, ProgramsInfo, RejectedInfo, Request, Response,
    StartAs, Started, StartedLoaded, Status,
};
use crate::control::server::Peer;
use crate::events::explain;
use crate::events::journal;
use crate::events::line::{Closed, Line};
use crate::events::process::readable;
use crate::evidence;
use crate::holds::answer::{Answer, NotTaken};
use crate::holds::{self, Holds};
use crate::ids::SessionId;
use crate::kernel::clock::WallClock;
use crate::kernel::loader::{self, Mode};
use crate::kernel::maps::MapsError;
use crate::kernel::pins::Pins;
use crate::kernel::skipped::Skipped;
use crate::kubernetes::Kubernetes;
use crate::library::Library;
use crate::otlp::Queue;
use crate::recognition::Recognition;
use crate::sessions::Sessions;
use crate::sessions::census::Census;
use crate::sockets;
use agent_common::counter::Counter;
use agent_evidence::recorder::Recorder;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use tokio::sync::mpsc::UnboundedSender;
use tracing::warn;

/// Who answers clients.
pub(super) struct Clerk {
    pub(super) sessions: Rc<RefCell<Sessions>>,
    pub(super) library: Rc<RefCell<Library>>,
    pub(super) killer: Rc<Killer>,
    pub(super) ways: Rc<RefCell<Recognition>>,
    pub(super) census: Census,
    pub(super) events: PathBuf,
    pub(super) mode: Mode,
    pub(super) programs: ProgramsInfo,
    pub(super) central: RefCell<Option<Rc<Central>>>,
    pub(super) kubernetes: Option<Rc<Kubernetes>>,
    /// Where events wait for a collector.
    pub(super) otlp: Option<Queue>,
    pub(super) recorder: Recorder,
    pub(super) evidence: PathBuf,
    pub(super) proof: Rc<Proof>,
    pub(super) holds: Rc<RefCell<Holds>>,
    /// Where what is to be told goes.
    pub(super) lines: UnboundedSender<Line>,
}

impl Clerk {
    pub(super) async fn answer(&self, request: Request, peer: Peer) -> Response {
        let answered: Result<Response, String> = match request {
            Request::Status => self
                .status()
                .map(Box::new)
                .map(Response::Status)
                .map_err(chain),
            Request::Sessions => {
                let list = self.sessions.borrow().list();
                list.map(Response::Sessions).map_err(chain)
            }
            Request::Start(_) | Request::StartLoaded(_) | Request::StartAs(_)
                if self.proof.failure().is_some() =>
            {
                let failure = self.proof.failure().unwrap_or_default();
                Err(format!(
                    "no session is started: enforcement is not proven: {failure}"
                ))
            }
            Request::Start(start) => self.start_as(
                &StartAs {
                    agent: start.agent.clone(),
                    start: Some(start),
                    task: None,
                    grant: None,
                },
                peer,
            ),
            Request::StartLoaded(agent) => self.start_as(
                &StartAs {
                    agent,
                    start: None,
                    task: None,
                    grant: None,
                },
                peer,
            ),
            Request::StartAs(session) => self.start_as(&session, peer),
            Request::Events(filter) => journal::select(&self.events, &filter)
                .map(Response::Events)
                .map_err(chain),
            Request::Processes => self.processes().map(Response::Processes).map_err(chain),
            Request::Connections => self.connections().await.map(Response::Connections),
            Request::RevokeAll { reason } => {
                let revoking = self.killer.revoke_all(reason.as_deref());
                revoking.map(Response::Revoking).map_err(chain)
            }
            Request::Holds => {
                let list = self.holds.borrow_mut().list(&self.sessions.borrow());
                Ok(Response::Holds(list))
            }
            Request::Answer(answer) => self.close(&answer, peer).await.map_err(chain),
            Request::Revoke(order) => {
                let revoked = self.killer.revoke(order).await;
                revoked.map(Response::Revoked).map_err(chain)
            }
        };
        answered.unwrap_or_else(Response::Error)
    }

    /// Takes a person's answer, and lets those go on that wait for it.
    async fn close(&self, answer: &Answer, peer: Peer) -> Result<Response, NotTaken> {
        // However often root says so, that is one person.
        let people = self.holds.borrow_mut().asked(answer.hold);
        if let Some(asked) = people.filter(|asked| answer.approve && asked.people > 1) {
            return Err(NotTaken::People(answer.hold, asked.people));
        }
        let answered = holds::answer(&self.holds, answer, vec![peer.words()]).await?;
        let closed = Closed {
            time: explain::now(),
            answered: answered.clone(),
        };
        // The events task ends only with the daemon.
        let _ = self.lines.send(Line::Answered(closed));
        Ok(Response::Answered(answered))
    }

    /// Makes room for a session, if it may begin: under a policy of its own, or the one that is
    /// loaded.
    fn start_as(&self, session: &StartAs, peer: Peer) -> Result<Response, String> {
        if let Some(start) = &session.start {
            let digest = || crate::policy::compile(start).map(|compiled| compiled.digest);
            let permit = self.permit(session, || digest().map_err(chain))?;
            let (started, permit) = {
                let mut sessions = self.sessions.borrow_mut();
                let latch = permit.1;
                (sessions.start(start, permit.0).map_err(chain)?, latch)
            };
            permit.used(started.session);
            self.expect(&started, peer);
            return Ok(Response::Started(started));
        }
        let loaded = self.library.borrow().get(&session.agent).cloned();
        let Some(loaded) = loaded else {
            return Err(self.library.borrow().why_not(&session.agent));
        };
        let (permit, latch) = self.permit(session, || Ok(loaded.compiled.digest))?;
        let started = self.sessions.borrow_mut().start_loaded(&loaded, permit);
        let started = started.map_err(chain)?;
        latch.used(started.session);
        self.expect(&started, peer);
        Ok(Response::StartedLoaded(StartedLoaded {
            started,
            start: loaded.start.clone(),
        }))
    }

    /// Who asked for a session becomes its first process, where it is now.
    fn expect(&self, started: &Started, peer: Peer) {
        if let Some(pid) = peer.pid {
            let mut sessions = self.sessions.borrow_mut();
            sessions.listen_where(started.session.0, pid);
        }
    }

    /// Whether a session may begin, and what is to be told when it has.
    fn permit(
        &self,
        session: &StartAs,
        digest: impl FnOnce() -> Result<[u8; 32], String>,
    ) -> Result<(Permit, central::Latch), String> {
        let (task, grant) = (session.task.as_deref(), session.grant.as_deref());
        match &*self.central.borrow() {
            Some(central) => central.permit((&session.agent, &digest()?), task, grant),
            None if grant.is_some() => Err(
                "found a grant, and this daemon has no controller whose grants it could check: \
                 `interlock daemon --controller`"
                    .into(),
            ),
            None => Ok((
                Permit {
                    task: session.task.clone(),
                    ..Permit::default()
                },
                central::Latch::default(),
            )),
        }
    }

    pub(super) fn status_json(&self) -> Vec<u8> {
        let status = self.status().map_err(chain);
        match status.and_then(|status| serde_json::to_vec(&status).map_err(chain)) {
            Ok(json) => json,
            Err(error) => {
                warn!(error, "the controller is not told of the status");
                Vec::new()
            }
        }
    }

    pub(super) fn status(&self) -> Result<Status, MapsError> {
        let ways = self.ways.borrow().list(&mut self.sessions.borrow_mut())?;
        let (sessions, mode) = (self.sessions.borrow(), &self.mode);
        let library = self.library.borrow();
        let policies = library.iter().map(|loaded| {
            let (under, before) = sessions.under(loaded);
            PolicyInfo {
                agent: loaded.start.agent.clone(),
                file: loaded.start.file.clone(),
                policy: loaded.compiled.digest_hex(),
                generation: loaded.generation,
                since: loaded.since.clone(),
                on_change: loaded.compiled.on_change.word().to_owned(),
                sessions: under,
                sessions_before: before,
                rejected: library.is_rejected(&loaded.path),
            }
        });
        let rejected = library.rejected().map(|(path, rejected)| RejectedInfo {
            file: path.display().to_string(),
            since: rejected.since.clone(),
            error: rejected.error.clone(),
        });
        let count = |counter| sessions.maps().count(counter);
        // What the canary was denied since is nothing that a session has done.
        let denied = count(Counter::Denied)?.saturating_sub(self.proof.denials());
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            enforcement: mode.clone(),
            programs: self.programs.clone(),
            missing: loader::missing(mode),
            sessions: sessions.count(),
            allowed: count(Counter::Allowed)?,
            denied,
            doubts: count(Counter::Doubts)?,
            labels_refused: count(Counter::LabelsRefused)?,
            events_lost: count(Counter::EventsLost)?,
            skipped: self.skipped(),
            probes: count(Counter::Probes)?,
            hooks_missing: loader::hooks_missing(&Pins::in_force(), mode)
                .iter()
                .map(|program| program.hook_and_since())
                .collect(),
            policies: policies.collect(),
            rejected: rejected.collect(),
            not_ready: count(Counter::NotReady)?,
            ways,
            kubernetes: self
                .kubernetes
                .as_ref()
                .map(|kubernetes| Box::new(kubernetes.info())),
            controller: self
                .central
                .borrow()
                .as_ref()
                .map(|central| Box::new(central.info())),
            evidence: evidence::info(&self.recorder, &self.evidence),
            otlp: self.otlp.as_ref().map(|queue| Box::new(queue.info())),
            not_proven: self.proof.failure(),
        })
    }

    fn skipped(&self) -> BTreeMap<String, u64> {
        let counts = Skipped::open().counts().into_iter();
        counts
            .map(|(name, count)| (name.to_owned(), count))
            .collect()
    }

    /// The processes of all sessions.
    fn processes(&self) -> io::Result<Vec<ProcessInfo>> {
        let sessions = self.sessions.borrow();
        let clock = WallClock::read();
        let mut list: Vec<ProcessInfo> = Vec::new();
        for living in self.census.take()? {
            let (pid, session) = (living.process.pid, SessionId(living.session));
            if let Some(known) = list.iter_mut().rev().find(|known| known.pid == pid) {
                known.threads += 1;
                continue;
            }
            let agent = sessions
                .get(living.session)
                .map(|found| found.agent.clone());
            list.push(ProcessInfo {
                session,
                agent,
                pid,
                parent: living.parent.pid,
                started: clock.at(living.process.start_ns),
                start_ns: living.process.start_ns,
                comm: readable(living.process.comm()),
                threads: 1,
            });
        }
        Ok(list)
    }

    /// The connections of all sessions.
    async fn connections(&self) -> Result<Vec<ConnectionInfo>, String> {
        let listed = tokio::task::spawn_blocking(|| sockets::all(&Pins::in_force())).await;
        let found = listed.map_err(chain)?.map_err(chain)?;
        let sessions = self.sessions.borrow();
        let connections = found.iter().filter(|socket| socket.is_connection());
        let shown = connections.map(|socket| {
            let owner = &socket.owner;
            let session = sessions.get(owner.session);
            let policy = session.map(|session| session.version(owner.policy));
            let rule = policy.and_then(|policy| policy.sources.get(owner.rule as usize));
            let tool = usize::from(owner.tool).checked_sub(1);
            let tools = policy.map_or(&[][..], |policy| &policy.tools);
            ConnectionInfo {
                session: SessionId(owner.session),
                agent: session.map(|session| session.agent.clone()),
                tool: tool.and_then(|tool| Some(tools.get(tool)?.name.clone())),
                step: rule.and_then(|rule| rule.step.clone()),
                local: socket.local,
                remote: socket.remote,
                diverted: socket.diverted,
                state: socket.state.word().to_owned(),
                sent: socket.sent,
                received: socket.received,
                held: socket.is_held(),
            }
        });
        Ok(shown.collect())
    }

    /// The session of the process that asks, if it is in one.
    pub(super) fn session_of(&self, pid: u32) -> io::Result<Option<SessionId>> {
        let census = self.census.take()?;
        let found = census.iter().find(|living| living.process.pid == pid);
        Ok(found.map(|living| SessionId(living.session)))
    }
}
