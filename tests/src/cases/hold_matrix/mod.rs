//! Everything that can wait, all at once, and each way in which waiting ends: what the program is told,
//! and what has happened, at the receiver and on the disk.

mod scene;

use crate::act::deeds::{Deed, Manner, SIGNAL};
use crate::harness::Test;
use crate::harness::events::{Events, Line};
use crate::harness::holds::{Question, answer, open_questions, state};
use crate::harness::kernel::unless_it_waits;
use crate::harness::product::{Daemon, revoke, session_of};
use crate::harness::session::{Obedient, Place};
use crate::sys::process::kill;
use anyhow::{Context, Result, bail, ensure};
use scene::Scene;
use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// What is denied at once, and passes when it is tried again.
const CANNOT_WAIT: [&str; 3] = ["uring", "connect-ring", "fastopen"];

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "hold.matrix",
            "every action that can wait: approved by the next daemon, denied, not answered, revoked, the daemon dead",
            matrix,
        )
        .unless(unless_it_waits)
        .patience(300),
        Test::new(
            "hold.manners",
            "every action that can wait: in three threads at once, with signals that are handled; approved and denied",
            manners,
        )
        .unless(unless_it_waits)
        .patience(300),
    ]
}

/// How waiting ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Approved,
    Denied,
    Late,
    Revoked,
    /// The daemon is killed.
    Alone,
}

fn matrix() -> Result<()> {
    Daemon::shared()?;
    for end in [
        End::Denied,
        End::Late,
        End::Approved,
        End::Alone,
        End::Revoked,
    ] {
        play("alone", Manner::Alone, end)?;
    }
    Ok(())
}

fn manners() -> Result<()> {
    Daemon::shared()?;
    for (word, manner) in Manner::ALL {
        if manner != Manner::Alone {
            play(word, manner, End::Denied)?;
            play(word, manner, End::Approved)?;
        }
    }
    Ok(())
}

fn play(word: &str, manner: Manner, end: End) -> Result<()> {
    let agent = match end {
        End::Late => format!("hold-{word}-late"),
        _ => format!("hold-{word}"),
    };
    let round = || -> Result<()> {
        let scene = Scene::new(word, manner)?;
        Round::begin(scene, &agent, word, end)?.play()
    };
    round().with_context(|| format!("{word}, {end:?}"))
}

/// `NAME=NUMBER` for each.
fn numbers(line: &str) -> Result<BTreeMap<String, i32>> {
    let each = line.split_whitespace().map(|word| {
        let (name, number) = word.split_once('=').context("NAME=NUMBER")?;
        Ok((name.to_owned(), number.parse()?))
    });
    each.collect()
}

fn is_over(pid: &i32) -> bool {
    matches!(state(*pid), None | Some('Z'))
}

/// Everything in a manner, until it ends in one way.
struct Round<'a> {
    scene: Scene,
    agent: &'a str,
    end: End,
    actor: Obedient,
    /// Which process does what.
    pids: BTreeMap<String, i32>,
}

impl<'a> Round<'a> {
    fn begin(scene: Scene, agent: &'a str, word: &str, end: End) -> Result<Self> {
        let wait = if end == End::Late { "4s" } else { "5m" };
        let mut actor = Place::Inside(&scene.policy(agent, wait)).obey()?;
        println!("{word}, {end:?}: begins");
        let began = actor.order(&scene.order(word))?;
        println!("{word}, {end:?}: {began}");
        let pids = numbers(&began)?;
        ensure!(pids.len() == scene.count(), "{began}");
        Ok(Self {
            scene,
            agent,
            end,
            actor,
            pids,
        })
    }

    fn play(mut self) -> Result<()> {
        if self.end != End::Late {
            let waiting = self.all_wait()?;
            match self.end {
                End::Approved if self.scene.manner == Manner::Alone => self.come_back(&waiting)?,
                End::Alone => self.alone(&waiting)?,
                _ => {}
            }
        }
        if self.end == End::Revoked {
            return self.revoked();
        }
        self.until_over()?;
        self.compare()?;
        self.actor.end()?;
        Ok(())
    }

    /// Answers whatever is asked, until nobody waits.
    fn until_over(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.pids.values().all(is_over) {
            let answers = matches!(self.end, End::Approved | End::Denied);
            for question in open_questions(self.agent)?.iter().filter(|_| answers) {
                answer(&question.hold, self.end == End::Approved)?;
            }
            self.scene.look()?;
            let left: Vec<_> = self.pids.iter().filter(|(_, pid)| !is_over(pid)).collect();
            ensure!(Instant::now() < deadline, "still waiting: {left:?}");
            thread::sleep(Duration::from_millis(10));
        }
        println!("{:?}: over", self.end);
        Ok(())
    }

    /// What the programs were told, and what has happened.
    fn compare(&mut self) -> Result<()> {
        let told = numbers(&self.actor.order("deeds-end")?)?;
        let happened = self.scene.happened()?;
        let mut wrong = Vec::new();
        for (_, name, deed) in self.scene.manner.deeds() {
            let passes = self.end == End::Approved && !CANNOT_WAIT.contains(&name);
            let expected = if passes || deed == Deed::Timeout {
                0
            } else {
                libc::EPERM
            };
            // What leaves nothing that can be seen from outside.
            let is_seen = !matches!(name, "read" | "both" | "listen" | "bind" | "timeout");
            if told.get(name) != Some(&expected) || happened.contains(name) != (passes && is_seen) {
                let happened = happened.contains(name);
                wrong.push(format!(
                    "{name}: told {:?}, happened: {happened}",
                    told.get(name)
                ));
            }
        }
        ensure!(wrong.is_empty(), "{wrong:#?}");
        Ok(())
    }

    /// Waits until each asks, and finds those stopped who can be, and that nothing has happened.
    fn all_wait(&mut self) -> Result<Vec<Question>> {
        let count = self.scene.count();
        let deadline = Instant::now() + PATIENCE;
        let questions = loop {
            let questions = open_questions(self.agent)?;
            if questions.len() == count {
                break questions;
            }
            if Instant::now() > deadline {
                let found: Vec<_> = questions
                    .iter()
                    .map(|it| (&it.action, &it.object))
                    .collect();
                bail!("{} questions, expected {count}: {found:?}", found.len());
            }
            thread::sleep(Duration::from_millis(20));
        };
        all_stopped(&questions)?;
        let stopped = questions.iter().filter(|question| question.stopped).count();
        let mut deeds = self.scene.manner.deeds();
        let can_wait = deeds.by_ref().filter(|it| !CANNOT_WAIT.contains(&it.1));
        let can_wait = can_wait.count();
        ensure!(stopped == can_wait, "{stopped} of {count} stopped");
        // Stray signals lead to the same questions, and handlers run meanwhile.
        let has_handler = matches!(self.scene.manner, Manner::Restart | Manner::Handler);
        for pid in questions.iter().flat_map(|question| &question.waiting) {
            if has_handler {
                kill(*pid, SIGNAL)?;
            }
            let _ = kill(*pid, libc::SIGCONT);
        }
        thread::sleep(Duration::from_millis(100));
        all_stopped(&questions)?;
        let again = open_questions(self.agent)?.len();
        ensure!(again == count, "they asked again: {again} questions");
        let happened = self.scene.happened()?;
        ensure!(happened.is_empty(), "before any answer: {happened:?}");
        Ok(questions)
    }

    /// The daemon ends while all wait, and the next one takes over.
    fn come_back(&mut self, waiting: &[Question]) -> Result<()> {
        Daemon::shared()?.end(libc::SIGTERM)?;
        for pid in waiting.iter().flat_map(|question| &question.waiting) {
            let _ = kill(*pid, libc::SIGCONT);
        }
        thread::sleep(Duration::from_millis(100));
        let happened = self.scene.happened()?;
        ensure!(happened.is_empty(), "without a daemon: {happened:?}");
        Daemon::start()?;
        let numbers = |questions: &[Question]| -> BTreeSet<(String, String)> {
            let both = |question: &Question| (question.hold.clone(), question.action.clone());
            questions.iter().map(both).collect()
        };
        let found = open_questions(self.agent)?;
        ensure!(
            numbers(&found) == numbers(waiting),
            "after it came back: {found:?}"
        );
        Ok(())
    }

    /// The daemon is killed while all wait: all are denied while there is none, and the next one says so.
    fn alone(&mut self, waiting: &[Question]) -> Result<()> {
        let events = Events::from_now()?;
        Daemon::shared()?.end(libc::SIGKILL)?;
        let since = Instant::now();
        while !self.pids.values().all(is_over) {
            let left: Vec<_> = self.pids.iter().filter(|(_, pid)| !is_over(pid)).collect();
            ensure!(
                since.elapsed() < PATIENCE,
                "without a daemon, still waiting: {left:?}"
            );
            thread::sleep(Duration::from_millis(5));
        }
        println!("all denied {:?} after the daemon was gone", since.elapsed());
        let happened = self.scene.happened()?;
        ensure!(happened.is_empty(), "without a daemon: {happened:?}");
        Daemon::start()?;
        for question in waiting {
            let told = events.first("what became of it", |line| match line {
                Line::Answered(answered) if answered.hold == question.hold => Some(answered),
                _ => None,
            })?;
            ensure!(
                told.answer == "refused" && told.by.as_deref() == Some("the deputy"),
                "{told:?}"
            );
        }
        ensure!(open_questions(self.agent)?.is_empty(), "questions stay");
        Ok(())
    }

    /// All are killed where they stand.
    fn revoked(&mut self) -> Result<()> {
        let session = session_of(self.agent)?.context("no session")?.session;
        let revoked = revoke(&session, "held")?;
        ensure!(
            revoked.empty_after_us.is_some() && revoked.left.is_empty(),
            "{revoked:?}"
        );
        let left: Vec<_> = self.pids.iter().filter(|(_, pid)| !is_over(pid)).collect();
        ensure!(left.is_empty(), "still there: {left:?}");
        let happened = self.scene.happened()?;
        ensure!(happened.is_empty(), "after it was revoked: {happened:?}");
        ensure!(open_questions(self.agent)?.is_empty(), "questions stay");
        Ok(())
    }
}

/// Waits until everybody who waits is stopped.
fn all_stopped(questions: &[Question]) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut moving = Vec::new();
        for question in questions {
            for pid in &question.waiting {
                // The one with which `timeout` lost patience has gone.
                let state = state(*pid).filter(|state| !matches!(state, 'Z' | 'X' | 'T'));
                moving.extend(state.map(|state| (pid, state, &question.object)));
            }
        }
        if moving.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "not stopped: {moving:?}");
        thread::sleep(Duration::from_millis(20));
    }
}
