//! Tells people what happened: records become lines on standard output.

use super::killer::Killer;
use crate::events::explain;
use crate::events::line::{Garbled, Line, Loss};
use crate::events::process::Programs;
use crate::sessions::Sessions;
use agent_common::counter::Counter;
use agent_common::decide::Reason;
use agent_common::event::{DecodeError, Event, Header};
use agent_common::session::Cause;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use tokio::io::{AsyncWriteExt, Stdout};

/// Turns records into lines on standard output.
pub struct Teller {
    sessions: Rc<RefCell<Sessions>>,
    killer: Rc<Killer>,
    programs: Programs,
    output: Stdout,
    lost: u64,
}

impl Teller {
    /// A teller that has told nothing yet.
    pub fn new(sessions: Rc<RefCell<Sessions>>, killer: Rc<Killer>) -> Self {
        Self {
            sessions,
            killer,
            programs: Programs::default(),
            output: tokio::io::stdout(),
            lost: 0,
        }
    }

    /// Tells what the ring held.
    pub async fn tell(&mut self, events: Vec<Result<Event, DecodeError>>) -> io::Result<()> {
        let mut lines = Vec::new();
        let mut revoked = false;
        self.programs.refresh();
        for event in events {
            match event {
                Ok(Event::Denial(denial)) => {
                    revoked |= denial.reason == Reason::Revoked.wire();
                    lines.push(explain::denial(
                        &denial,
                        &self.sessions.borrow(),
                        &mut self.programs,
                    ));
                }
                Ok(Event::Exec(exec)) => {
                    self.programs.note(&exec);
                    lines.extend(self.seen(&exec.header));
                }
                Ok(Event::RootExit(exit)) => {
                    lines.extend(self.seen(&exit.header));
                    self.sessions.borrow_mut().note_exit(&exit);
                    self.killer
                        .begin(exit.header.session, Cause::RootExit, Some(&exit.process));
                }
                Ok(Event::Empty(empty)) => {
                    lines.extend(self.seen(&empty.header));
                    let ended = self
                        .sessions
                        .borrow_mut()
                        .end_if_empty(empty.header.session);
                    lines.extend(ended.map_err(io::Error::other)?.map(Line::Ended));
                    self.programs.forget(empty.header.session);
                }
                Err(error) => lines.push(Line::Garbled(Garbled {
                    time: explain::now(),
                    error: error.to_string(),
                })),
            }
        }
        if revoked {
            // Its time has passed, or the kernel ended its permission: the house need not wait.
            self.killer.begin_all();
        }
        self.print(&lines).await
    }

    /// Looks for what no event told: sessions whose end was lost, and the losses themselves.
    /// `ring_drained` says whether all that the ring held has been told.
    pub async fn keep_house(&mut self, ring_drained: bool) -> io::Result<()> {
        let mut lines = self.reap(ring_drained)?;
        self.killer.begin_all();
        let total = self
            .sessions
            .borrow()
            .maps()
            .count(Counter::EventsLost)
            .map_err(io::Error::other)?;
        if total > self.lost {
            let events = total - self.lost;
            lines.push(Line::Loss(Loss {
                time: explain::now(),
                events,
                total,
            }));
            self.lost = total;
        }
        self.print(&lines).await
    }

    /// The beginning of a session, told once.
    fn seen(&self, header: &Header) -> Option<Line> {
        let first = self
            .sessions
            .borrow_mut()
            .seen(header.session, header.time_ns);
        first.map(Line::Started)
    }

    fn reap(&self, ring_drained: bool) -> io::Result<Vec<Line>> {
        let over = self
            .sessions
            .borrow_mut()
            .reap(ring_drained)
            .map_err(io::Error::other)?;
        Ok(over.into_iter().map(Line::Ended).collect())
    }

    /// Tells lines that others have made.
    pub async fn print(&mut self, lines: &[Line]) -> io::Result<()> {
        let mut text = String::new();
        for line in lines {
            text.push_str(&serde_json::to_string(line)?);
            text.push('\n');
        }
        self.output.write_all(text.as_bytes()).await?;
        self.output.flush().await
    }
}
