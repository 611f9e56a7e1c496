//! Tells people what happened: records become lines on standard output.

use super::killer::Killer;
use super::proof::Proof;
use crate::divert::Refusal;
use crate::events::explain;
use crate::events::journal::Journal;
use crate::events::line::{Closed, Denial, Garbled, Line, Loss};
use crate::events::process::{Programs, readable};
use crate::evidence::scribe::Scribe;
use crate::health::tally::Tally;
use crate::holds::{self, Controller, Holds};
use crate::otlp::Queue;
use crate::recognition::{Recognition, containers, late};
use crate::sessions::Sessions;
use agent_common::counter::Counter;
use agent_common::decide::Reason;
use agent_common::event::{self, DecodeError, Event, Header};
use agent_common::session::Cause;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncWriteExt, Stdout};
use tokio::sync::mpsc::UnboundedSender;
use tracing::warn;

/// How often what sessions were allowed is recorded.
const SUMMARY: Duration = Duration::from_secs(60);

/// Characters of a command line that are shown with a question.
const WORDS: usize = 200;

/// Where lines go beside standard output.
pub struct Outlets {
    /// The newest of them, for people who ask.
    pub journal: Journal,
    /// Evidence.
    pub scribe: Scribe,
    /// Metrics.
    pub tally: Rc<Tally>,
    /// A collector.
    pub otlp: Option<Queue>,
}

/// Turns records into lines on standard output.
pub struct Teller {
    sessions: Rc<RefCell<Sessions>>,
    holds: Rc<RefCell<Holds>>,
    killer: Rc<Killer>,
    recognition: Rc<RefCell<Recognition>>,
    proof: Rc<Proof>,
    programs: Programs,
    outlets: Outlets,
    /// Where answers of policies go, to be told.
    lines: UnboundedSender<Line>,
    /// When it was last asked what sessions were allowed.
    counted: Instant,
    output: Stdout,
    /// Lost events that lines of sessions spoke of.
    lost_by_sessions: u64,
    /// Lost events that were no session's, or whose session is gone.
    lost_otherwise: u64,
}

impl Teller {
    /// A teller that has told nothing yet. What policies answer to questions goes to `lines`.
    pub fn new(
        sessions: Rc<RefCell<Sessions>>,
        (holds, lines): (Rc<RefCell<Holds>>, UnboundedSender<Line>),
        killer: Rc<Killer>,
        recognition: Rc<RefCell<Recognition>>,
        proof: Rc<Proof>,
        outlets: Outlets,
    ) -> Self {
        Self {
            sessions,
            holds,
            killer,
            recognition,
            proof,
            programs: Programs::default(),
            outlets,
            lines,
            counted: Instant::now(),
            output: tokio::io::stdout(),
            lost_by_sessions: 0,
            lost_otherwise: 0,
        }
    }

    /// Tells what the ring held.
    pub async fn tell(&mut self, events: Vec<Result<Event, DecodeError>>) -> io::Result<()> {
        let mut lines = Vec::new();
        let mut revoked = false;
        self.programs.refresh();
        for event in events {
            if let Ok(event) = &event {
                self.note_read(event)?;
                if self.proof.takes(event) {
                    continue;
                }
            }
            match event {
                Ok(Event::Denial(denial)) => {
                    revoked |= denial.reason == Reason::Revoked.wire();
                    if is_for_want_of_a_station(&denial) {
                        let (id, pid) = (denial.header.session, denial.process.pid);
                        self.sessions.borrow_mut().listen_where(id, pid);
                    }
                    let told =
                        explain::denial(&denial, &self.sessions.borrow(), &mut self.programs);
                    lines.push(self.note(&denial, told));
                }
                Ok(Event::FileDenial(file)) => {
                    revoked |= file.denial.reason == Reason::Revoked.wire();
                    let told =
                        explain::file_denial(&file, &self.sessions.borrow(), &mut self.programs);
                    lines.push(self.note(&file.denial, told));
                }
                Ok(Event::Handoff(handoff)) => {
                    let sides =
                        explain::handoff(&handoff, &self.sessions.borrow(), &mut self.programs);
                    lines.extend(sides.map(|side| Line::Handoff(Box::new(side))));
                }
                Ok(Event::Exec(exec)) => {
                    self.programs.note(&exec);
                    self.note_program(&exec);
                    let mut seen = self.seen(&exec.header);
                    if let Some(Line::Started(session)) = &mut seen {
                        let pair = [&exec.process, &exec.parent];
                        let told = pair.map(|it| explain::process(it, &[], &mut self.programs));
                        session.first = Some(Box::new(told));
                    }
                    lines.extend(seen);
                }
                Ok(Event::RootExit(exit)) => {
                    lines.extend(self.seen(&exit.header));
                    self.sessions.borrow_mut().note_exit(&exit);
                    self.killer
                        .begin(exit.header.session, Cause::RootExit, Some(&exit.process));
                }
                Ok(Event::Begun(begun)) if containers::is_question(&begun) => {
                    containers::ask(&self.recognition, &self.sessions, &begun.process);
                }
                Ok(Event::Begun(begun)) => {
                    let (id, pid) = (begun.header.session, begun.process.pid);
                    self.sessions.borrow_mut().listen_where(id, pid);
                    let told = self.recognition.borrow_mut().begun(
                        &mut self.sessions.borrow_mut(),
                        &begun,
                        &mut self.programs,
                    );
                    lines.extend(told.map_err(io::Error::other)?);
                    lines.extend(self.seen(&begun.header));
                    late::wake_all(&self.sessions);
                }
                Ok(Event::Empty(empty)) => {
                    lines.extend(self.seen(&empty.header));
                    lines.extend(self.losses()?);
                    let ended = self
                        .sessions
                        .borrow_mut()
                        .end_if_empty(empty.header.session);
                    lines.extend(
                        ended
                            .map_err(io::Error::other)?
                            .map(Box::new)
                            .map(Line::Ended),
                    );
                    self.programs.forget(empty.header.session);
                }
                Err(error) => lines.push(Line::Garbled(Garbled {
                    time: explain::now(),
                    error: error.to_string(),
                })),
            }
        }
        self.sessions.borrow_mut().denials().write_all();
        if revoked {
            // Its time has passed, or the kernel ended its permission: the house need not wait.
            self.killer.begin_all();
        }
        self.print(&lines).await
    }

    /// Tells what the daemon itself refused.
    pub async fn tell_refusal(&mut self, refusal: &Refusal) -> io::Result<()> {
        let told = explain::refusal(refusal, &self.sessions.borrow(), &mut self.programs);
        let mut lines = Vec::new();
        if refusal.untold > 0 {
            lines.push(Line::Loss(Loss {
                time: explain::now(),
                session: Some(told.session),
                agent: told.agent.clone(),
                events: refusal.untold,
                total: refusal.untold,
            }));
        }
        lines.push(self.keep(refusal.session, told));
        self.sessions.borrow_mut().denials().write_all();
        self.print(&lines).await
    }

    /// Looks for what no event told: sessions whose end was lost, and the losses themselves.
    /// `ring_drained` says whether all that the ring held has been told.
    pub async fn keep_house(
        &mut self,
        ring_drained: bool,
        controller: Controller,
    ) -> io::Result<()> {
        self.sessions
            .borrow_mut()
            .follow_mounts()
            .map_err(io::Error::other)?;
        self.sessions
            .borrow_mut()
            .set_clocks()
            .map_err(io::Error::other)?;
        if self.counted.elapsed() >= SUMMARY {
            self.counted = Instant::now();
            let allowed = self.sessions.borrow_mut().allowed();
            self.outlets
                .scribe
                .count(&allowed.map_err(io::Error::other)?);
        }
        // Counted first: what is lost meanwhile is a session's, and will be told as that.
        let total = self
            .sessions
            .borrow()
            .maps()
            .count(Counter::EventsLost)
            .map_err(io::Error::other)?;
        let mut lines = self.losses()?;
        lines.extend(self.reap(ring_drained)?);
        self.killer.begin_all();
        let closed = self
            .holds
            .borrow_mut()
            .keep_house(&self.sessions.borrow(), controller)
            .map_err(io::Error::other)?;
        for answered in closed {
            holds::wake_all(&self.holds, answered.hold);
            let time = explain::now();
            lines.push(Line::Answered(Closed { time, answered }));
        }
        let otherwise = total.saturating_sub(self.lost_by_sessions);
        if otherwise > self.lost_otherwise {
            lines.push(Line::Loss(Loss {
                time: explain::now(),
                session: None,
                agent: None,
                events: otherwise - self.lost_otherwise,
                total: otherwise,
            }));
            self.lost_otherwise = otherwise;
        }
        self.print(&lines).await
    }

    /// Keeps a denial of the kernel's, and for people what it asks them.
    fn note(&self, record: &event::Denial, denial: Denial) -> Line {
        if record.hold != 0 {
            let mut holds = self.holds.borrow_mut();
            holds.note(record, &denial, &self.sessions.borrow());
        }
        let line = self.keep(record.header.session, denial);
        holds::judge_all(&self.holds, &self.lines);
        line
    }

    /// Keeps a denial for the session itself, and for whoever is asked something of it next.
    fn keep(&self, session: u64, denial: Denial) -> Line {
        let object = serde_json::to_value(&denial.object).unwrap_or_default();
        let object = crate::show::object(&object);
        let text = format!("{}: {} {object}", denial.verdict, denial.action);
        self.holds.borrow_mut().note_recent(session, text);
        self.sessions.borrow_mut().denials().keep(session, &denial);
        Line::Denial(Box::new(denial))
    }

    fn note_program(&self, exec: &event::Exec) {
        let words: Vec<String> = exec.arguments().map(readable).collect();
        let text = format!("runs {} {}", readable(exec.path()), words.join(" "));
        let text = text.chars().take(WORDS).collect();
        self.holds
            .borrow_mut()
            .note_recent(exec.header.session, text);
    }

    /// The beginning of a session, told once.
    fn seen(&self, header: &Header) -> Option<Line> {
        let first = self
            .sessions
            .borrow_mut()
            .seen(header.session, header.time_ns);
        first.map(Line::Started)
    }

    /// A record that was read gives its session room for another.
    fn note_read(&self, event: &Event) -> io::Result<()> {
        match event {
            // Told whatever else is in the ring, so it takes none of the session's share.
            Event::Empty(_) | Event::RootExit(_) | Event::Begun(_) => Ok(()),
            other => self
                .sessions
                .borrow_mut()
                .note_read(other.session())
                .map_err(io::Error::other),
        }
    }

    /// What was lost of sessions since it was told last.
    fn losses(&mut self) -> io::Result<Vec<Line>> {
        let losses = self
            .sessions
            .borrow_mut()
            .losses()
            .map_err(io::Error::other)?;
        self.lost_by_sessions += losses.iter().map(|loss| loss.events).sum::<u64>();
        Ok(losses.into_iter().map(Line::Loss).collect())
    }

    fn reap(&self, ring_drained: bool) -> io::Result<Vec<Line>> {
        let over = self
            .sessions
            .borrow_mut()
            .reap(ring_drained)
            .map_err(io::Error::other)?;
        Ok(over.into_iter().map(Box::new).map(Line::Ended).collect())
    }

    /// Tells lines that others have made.
    pub async fn print(&mut self, lines: &[Line]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        // First: who reads of it may look for it in the record a moment later.
        self.outlets.scribe.note(lines, &self.sessions.borrow());
        self.outlets.tally.note(lines);
        let (text, written) = self.outlets.journal.append(lines);
        if let Err(error) = written {
            // A full disk stops no enforcement, and what was printed can still be kept.
            warn!(%error, "events are printed, but not in the journal");
        }
        if let Some(queue) = &self.outlets.otlp {
            queue.put(&text);
        }
        self.output.write_all(&text).await?;
        self.output.flush().await
    }
}

/// Whether something was denied because the daemon does not listen where the process is: it will.
fn is_for_want_of_a_station(denial: &event::Denial) -> bool {
    [Reason::NoResolver, Reason::NoRelay]
        .map(Reason::wire)
        .contains(&denial.reason)
}
