//! The task of events: whatever comes is told, and once a second the house is kept.

use super::killer::Killer;
use super::teller::Teller;
use crate::central::Central;
use crate::divert::Refusal;
use crate::events::line::Line;
use crate::events::ring::Ring;
use crate::health::Pulse;
use crate::holds::Controller;
use crate::library::Library;
use crate::recognition::{Recognition, containers};
use crate::sessions::Sessions;
use crate::sessions::census::Census;
use agent_common::event::Event;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{Receiver, UnboundedReceiver, UnboundedSender};
use tokio::task::yield_now;
use tokio::time::MissedTickBehavior;

/// How often the daemon looks for what no event told it.
pub(super) const HOUSE: Duration = Duration::from_secs(1);

/// How often it looks where sessions' processes are, if the daemon listens elsewhere than on the host.
const LOOK: Duration = Duration::from_secs(10);

/// Who tells, and what comes to be told.
pub(super) struct Events {
    pub(super) ring: Ring,
    /// Lines that others have made.
    pub(super) told: UnboundedReceiver<Line>,
    /// Where they go, to be told.
    pub(super) lines: UnboundedSender<Line>,
    /// Lookups that were refused.
    pub(super) refusals: Receiver<Refusal>,
    pub(super) teller: Teller,
    pub(super) killer: Rc<Killer>,
    pub(super) sessions: Rc<RefCell<Sessions>>,
    pub(super) library: Rc<RefCell<Library>>,
    pub(super) recognition: Rc<RefCell<Recognition>>,
    pub(super) central: Option<Rc<Central>>,
    pub(super) census: Census,
    /// When it was last looked where sessions' processes are.
    pub(super) looked: Instant,
    pub(super) pulse: Pulse,
}

impl Events {
    /// Tells what came before, and then whatever comes, until something fails.
    pub(super) async fn tell_all(
        mut self,
        earlier: Vec<Event>,
        adoptions: Vec<Line>,
    ) -> io::Result<()> {
        self.teller
            .tell(earlier.into_iter().map(Ok).collect())
            .await?;
        self.teller.print(&adoptions).await?;
        // What an earlier daemon had begun to kill must not wait for the house.
        self.killer.begin_all();
        let mut house = tokio::time::interval(HOUSE);
        house.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                events = self.ring.next() => self.teller.tell(events?).await?,
                Some(line) = self.told.recv() => self.teller.print(&[line]).await?,
                Some(refusal) = self.refusals.recv() => self.teller.tell_refusal(&refusal).await?,
                _ = house.tick() => self.keep_house().await?,
            }
            if let Some(central) = &self.central {
                central.hold_bars();
            }
            // While a flood is told there is always more of it. Clocks, files and clients are only looked
            // at when this task gives way, and it may have 61 turns before the runtime looks by itself.
            yield_now().await;
        }
    }

    /// Looks for what no event told.
    async fn keep_house(&mut self) -> io::Result<()> {
        self.pulse.beat();
        let written = self.sessions.borrow().written().map_err(io::Error::other)?;
        let rest = self.ring.take();
        let drained = rest.is_empty();
        if drained {
            let mut sessions = self.sessions.borrow_mut();
            sessions.all_read(&written).map_err(io::Error::other)?;
            sessions.note_told();
        }
        self.teller.tell(rest).await?;
        let lines = self
            .recognition
            .borrow_mut()
            .keep_house(&mut self.sessions.borrow_mut(), &self.library.borrow())
            .map_err(io::Error::other)?;
        self.teller.print(&lines).await?;
        containers::keep_house(&self.recognition, &self.sessions, &self.lines);
        if let Some(central) = &self.central {
            central.keep_house();
        }
        if self.looked.elapsed() >= LOOK && self.sessions.borrow().listens_elsewhere() {
            self.looked = Instant::now();
            let there = self.census.take()?;
            self.sessions.borrow_mut().leave(&there);
        }
        let controller = match &self.central {
            None => Controller::None,
            Some(central) if central.is_away() => Controller::Away,
            Some(_) => Controller::There,
        };
        self.teller.keep_house(drained, controller).await
    }
}
