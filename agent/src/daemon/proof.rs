//! Whether enforcement is still proven: the canary is sent in again every minute, and whenever a policy
//! changed.

use super::canary::{self, CanaryError};
use crate::central::Permit;
use crate::chain::chain;
use crate::events::explain;
use crate::events::line::{Canary, Line};
use crate::health::{Condition, Pulse};
use crate::kernel::loader::{self, Mode};
use crate::sessions::{Sessions, StartError};
use agent_common::action::Action;
use agent_common::counter::Counter;
use agent_common::event::Event;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{error, info};

/// How often it is sent in.
const EVERY: Duration = Duration::from_secs(60);
/// The same while enforcement is not proven.
const SOON: Duration = Duration::from_secs(5);
/// Between two, however often policies change.
const PAUSE: Duration = Duration::from_secs(5);
/// How long what happened may take to be told, on a machine that sessions keep busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is known.
pub struct Proof {
    mode: Mode,
    /// The canary's session, until the next.
    session: Cell<u64>,
    /// What has not been told of it yet.
    missing: RefCell<Vec<Action>>,
    /// Its denials so far.
    denials: Cell<u64>,
    heard: Notify,
    wanted: Notify,
    condition: Condition,
    pulse: Pulse,
}

impl Proof {
    /// The first canary was denied just now. What is found later goes to `condition`.
    pub fn new(mode: Mode, condition: Condition, pulse: Pulse) -> Rc<Self> {
        condition.note(None);
        if let Mode::Degraded(reason) = &mode {
            condition.add_degraded(reason);
        }
        Rc::new(Self {
            mode,
            session: Cell::new(0),
            missing: RefCell::default(),
            denials: Cell::new(0),
            heard: Notify::new(),
            wanted: Notify::new(),
            condition,
            pulse,
        })
    }

    /// Why enforcement is not proven, if it is not.
    pub fn failure(&self) -> Option<String> {
        self.condition.failure()
    }

    /// What the canary was denied, and that was heard of.
    pub fn denials(&self) -> u64 {
        self.denials.get()
    }

    /// Sends the canary in soon: something has changed.
    pub fn want(&self) {
        self.wanted.notify_one();
    }

    /// Takes what the kernel told of the canary's session, which is of no interest to anybody else.
    pub fn takes(&self, event: &Event) -> bool {
        if event.session() != self.session.get() {
            return false;
        }
        let action = match event {
            Event::Denial(denial) => denial.action,
            Event::FileDenial(file) => file.denial.action,
            _ => return true,
        };
        self.denials.set(self.denials.get() + 1);
        let mut missing = self.missing.borrow_mut();
        missing.retain(|one| one.wire() != action);
        if missing.is_empty() {
            self.heard.notify_one();
        }
        true
    }

    /// Goes on proving, until nobody hears any more.
    pub async fn keep(
        &self,
        sessions: &RefCell<Sessions>,
        lines: &UnboundedSender<Line>,
    ) -> io::Result<()> {
        loop {
            self.pulse.beat();
            let failing = self.failure().is_some();
            let next = Instant::now() + if failing { SOON } else { EVERY };
            tokio::select! {
                () = sleep_until(next) => {}
                () = self.wanted.notified() => {}
            }
            let outcome = self.prove(sessions).await;
            if let Some(line) = self.settle(outcome) {
                // Only a daemon that is ending hears no more.
                let _ = lines.send(Line::Canary(line));
            }
            sleep(PAUSE).await;
        }
    }

    async fn prove(&self, sessions: &RefCell<Sessions>) -> Result<(), CanaryError> {
        // The canary tries some hooks. That the others are there is seen by their pins.
        let gone = loader::taken_away().map_err(CanaryError::Pins)?;
        if !gone.is_empty() {
            return Err(CanaryError::TakenAway(gone));
        }
        let lost = || sessions.borrow().maps().count(Counter::EventsLost);
        let before = lost().map_err(StartError::from)?;
        let started = sessions
            .borrow_mut()
            .start(&canary::start(&self.mode), Permit::default())?;
        let session = started.session.0;
        self.session.set(session);
        self.missing.replace(canary::actions(&self.mode));
        // Its end is nobody's business.
        sessions.borrow_mut().set_dying(session, true);
        let outcome = canary::send_in(started, None).await;
        let ended = sessions.borrow_mut().end(session);
        canary::judge(outcome?, &self.mode)?;
        ended.map_err(StartError::from)?;
        // What was heard of an earlier one does not count.
        let told = async {
            while !self.missing.borrow().is_empty() {
                self.heard.notified().await;
            }
        };
        let told = tokio::time::timeout(PATIENCE, told).await;
        // What found the ring full is told as lost, and says nothing of the programs.
        let overrun = lost().map_err(StartError::from)? > before;
        match self.missing.borrow().first() {
            Some(action) if told.is_err() && !overrun => Err(CanaryError::NotTold(*action)),
            _ => Ok(()),
        }
    }

    /// Notes how it went, and says it where that is news.
    fn settle(&self, outcome: Result<(), CanaryError>) -> Option<Canary> {
        let failure = outcome.err().map(chain);
        let before = self.condition.note(failure.clone());
        match (&before, &failure) {
            (None, None) => return None,
            (Some(_), None) => info!("ready again: the canary was denied"),
            (_, Some(failure)) => error!("NOT READY, no session is started: {failure}"),
        }
        (before != failure).then(|| Canary {
            time: explain::now(),
            proven: failure.is_none(),
            error: failure,
        })
    }
}
