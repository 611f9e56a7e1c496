//! One case while it is played: a session, and `policy test` beside it.

use super::approval::Open;
use super::compare::reached;
use super::now;
use super::script::{Reading, Script};
use super::stage::Stage;
use super::step::Step;
use crate::harness::events::Events;
use crate::harness::product::Daemon;
use crate::harness::session::{Obedient, Place, own_program};
use agent_common::decide::Verdict;
use agent_policy::{Action, Case, Event, Instant, Outcome, Trial};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

/// One case while it is played.
pub(super) struct Performance<'a> {
    pub(super) script: &'a Script<'a>,
    pub(super) reading: &'a Reading,
    pub(super) agent: &'a str,
    pub(super) daemon: Daemon,
    pub(super) stage: &'a mut Stage,
    /// The session as `policy test` has it.
    pub(super) shipped: Trial<'a>,
    /// The time in the case.
    pub(super) at: Instant,
    /// The session as `policy test` would have it with the text that is played.
    pub(super) trial: Trial<'a>,
    pub(super) actor: Option<Obedient>,
    pub(super) tools: BTreeSet<String>,
    pub(super) events: Events,
    /// Denials that were told and compared.
    pub(super) told: usize,
    /// What must be told, once the daemon runs again.
    pub(super) expected: Vec<(u32, Action, Outcome)>,
    /// What the case has said yes to: approvals, as facts of the policy that is played.
    pub(super) given: u64,
    /// An action that waits for an answer.
    pub(super) open: Option<Open>,
    /// Whether the daemon is stopped, so that it kills nobody of a session that has ended.
    pub(super) alone: bool,
    pub(super) played: u32,
    pub(super) of: u32,
    pub(super) wrong: Vec<String>,
}

impl<'a> Performance<'a> {
    /// Starts a session for a case.
    pub(super) fn begin(
        script: &'a Script<'a>,
        reading: &'a Reading,
        agent: &'a str,
        case: &Case,
        daemon: Daemon,
        stage: &'a mut Stage,
    ) -> Result<Self> {
        if reading.played.has_hours() {
            stage.hour(case.start.wall_s)?;
            // The daemon looks at the clock once a second.
            thread::sleep(Duration::from_secs(3));
        }
        let own = own_program()?;
        let program = reading.played.first_program(&own, now()?)?;
        if program != own {
            stage.program(&program)?;
        }
        let events = Events::from_now()?;
        let actor = Place::Under(&reading.file, agent).obey_as(&program)?;
        Ok(Self {
            script,
            reading,
            agent,
            daemon,
            stage,
            shipped: Trial::start(&reading.shipped.compiled, case.start),
            at: case.start,
            trial: Trial::start(&reading.played.compiled, now()?),
            actor: Some(actor),
            tools: BTreeSet::new(),
            events,
            told: 0,
            expected: Vec::new(),
            given: 0,
            open: None,
            alone: false,
            played: 0,
            of: 0,
            wrong: Vec::new(),
        })
    }

    /// Plays the case to its end.
    pub(super) fn play(&mut self, case: &Case) -> Result<()> {
        for (event, span) in &case.events {
            let line = span.line;
            match event {
                Event::Wait(seconds) => {
                    self.at.now_ns += seconds * 1_000_000_000;
                    self.at.wall_s += seconds;
                    thread::sleep(Duration::from_secs(seconds / self.script.seconds_in_one));
                    if self.trial.is_late(now()?) {
                        self.too_late().with_context(|| format!("line {line}"))?;
                    }
                }
                Event::Approve(name) => self.approve(name),
                Event::Do { action, .. } => {
                    self.of += 1;
                    self.act(line, action, event)
                        .with_context(|| format!("line {line}: {action}"))?;
                }
            }
            if self.actor.is_none() {
                break;
            }
        }
        self.end()
    }

    /// A step is too late: the session ends by itself, and nothing more can be asked of it.
    fn too_late(&mut self) -> Result<()> {
        let ended = self.events.ended(self.agent)?;
        ensure!(
            ended.cause.as_deref() == Some("timeout"),
            "a step is too late, and it ended by {:?}",
            ended.cause
        );
        self.actor = None;
        Ok(())
    }

    fn act(&mut self, line: u32, action: &Action, event: &Event) -> Result<()> {
        let Event::Do {
            tool,
            bytes,
            expect,
            reason,
            facts,
            ..
        } = event
        else {
            bail!("{event:?} is no action");
        };
        let tool = tool.as_deref();
        let number = self.number(tool)?;
        let shipped = self.shipped.attempt(action, number, self.at, *bytes);
        let decision = shipped.decision;
        ensure!(
            decision.verdict == *expect
                && reason
                    .as_ref()
                    .is_none_or(|reason| decision.reason.word() == reason),
            "`policy test` says {} ({}), and the case expects {expect}",
            decision.verdict,
            decision.reason,
        );
        let step = match Step::of(action, &self.reading.played) {
            Ok(step) => step,
            Err(why) => {
                self.skip(line, action, why);
                return Ok(());
            }
        };
        if let (Action::Exec { writable, .. }, [Action::Exec { writable: real, .. }]) =
            (action, step.asked.as_slice())
        {
            let mut other = self.trial.clone();
            let really = other.attempt(&step.asked[0], number, now()?, 0);
            let said = self.trial.judge(action, number, now()?, 0);
            if writable != real && really.decision.verdict != said.decision.verdict {
                self.skip(line, action, "the policy lets nobody write this program");
                return Ok(());
            }
        }
        if let Some(tool) = tool {
            self.begin_tool(tool)?;
        }
        step.prepare(self.stage)?;
        let (mut after, mut outcome, mut asked) = self.attempt(&self.trial, &step, number)?;
        let question =
            (outcome.decision.verdict == Verdict::Hold).then(|| (asked.clone(), outcome));
        if question.is_some() && decision.verdict == Verdict::Allow {
            (after, outcome, asked) = self.attempt(&self.trial_with_yes()?, &step, number)?;
        }
        if !self.is_same(&shipped, &outcome) {
            let why = format!(
                "with what was changed it is {} ({})",
                outcome.decision.verdict, outcome.decision.reason
            );
            ensure!(!self.script.changes.is_empty(), "played now {why}");
            self.skip(line, action, &why);
            return Ok(());
        }
        if question.is_none() {
            self.no()?;
        }
        self.trial = after;
        let allowed = outcome.decision.verdict == Verdict::Allow;
        let killed = outcome.decision.verdict == Verdict::Kill;
        if self.trial.is_revoked() && !self.alone && !killed {
            self.daemon.freeze()?;
            self.alone = true;
        }
        let order = self.order_of(&step, tool, &outcome);
        self.played += 1;
        let said = match question {
            Some((asked, waits)) => {
                self.ask(line, &order, asked, waits)?;
                if !allowed {
                    return self.compare_facts(line, action, facts.as_deref());
                }
                self.yes()
            }
            None => self.order(&order),
        };
        let said = match said {
            Err(_) if killed => "killed".to_owned(),
            said => said?,
        };
        let right = if allowed {
            matches!(said.as_str(), "ok" | "ran 0")
        } else {
            // Where words decide, an exec is past the point of return.
            let exec = matches!(asked, Action::Exec { .. });
            said == "EPERM" || said == "killed" && killed || said == "killed 9" && exec
        };
        if !right {
            self.wrong.push(format!(
                "line {line}: {action}: the kernel answered {said}, `policy test` says {} ({})",
                outcome.decision.verdict, outcome.decision.reason
            ));
        }
        if !allowed {
            self.expected.push((line, asked, outcome));
        }
        if self.alone {
            return Ok(());
        }
        self.compare_told()?;
        if killed {
            self.events.ended(self.agent)?;
            self.actor = None;
            return Ok(());
        }
        self.compare_facts(line, action, facts.as_deref())
    }

    /// Judges what the kernel will be asked: the session afterwards, and the decision about the last
    /// that is asked.
    fn attempt(
        &self,
        trial: &Trial<'a>,
        step: &Step,
        tool: Option<usize>,
    ) -> Result<(Trial<'a>, Outcome, Action)> {
        let mut after = trial.clone();
        let mut last = None;
        for action in &step.asked {
            let outcome = after.attempt(action, tool, now()?, 0);
            let allowed = outcome.decision.verdict == Verdict::Allow;
            last = Some((outcome, action.clone()));
            if !allowed {
                break;
            }
        }
        let (outcome, action) = last.context("a step that asks nothing")?;
        Ok((after, outcome, action))
    }

    fn number(&self, tool: Option<&str>) -> Result<Option<usize>> {
        let Some(name) = tool else {
            return Ok(None);
        };
        let tools = &self.reading.played.policy.tools;
        let number = tools.iter().position(|tool| tool.name == name);
        Ok(Some(number.with_context(|| format!("no tool {name}"))?))
    }

    /// Starts a tool that a case speaks of, if it does not run yet.
    fn begin_tool(&mut self, name: &str) -> Result<()> {
        if self.tools.contains(name) {
            return Ok(());
        }
        let number = self.number(Some(name))?.context("a tool has a number")?;
        let start = &self.reading.played.policy.tools[number].start;
        let path = start
            .programs
            .iter()
            .find_map(|(pattern, _)| match pattern {
                agent_policy::Pattern::Exact(path) => Some(path.clone()),
                _ => None,
            })
            .with_context(|| format!("no program starts {name}"))?;
        let program = self.reading.played.exec(&path, &[&path]);
        self.stage.program(&path)?;
        self.shipped.attempt(&program, None, self.at, 0);
        let outcome = self.trial.attempt(&program, None, now()?, 0);
        ensure!(
            outcome.decision.verdict == Verdict::Allow,
            "{name} may not be started: {}",
            outcome.decision.reason
        );
        let said = self.order(&Step::begin(name, &path, &[]))?;
        ensure!(said == "ok", "starting {name}: {said}");
        self.tools.insert(name.to_owned());
        Ok(())
    }

    /// The order for a step. An exec that begins a tool leaves it running.
    fn order_of(&mut self, step: &Step, tool: Option<&str>, outcome: &Outcome) -> String {
        let begins = outcome.decision.tool;
        let order = match step.asked.as_slice() {
            [
                Action::Exec {
                    path, arguments, ..
                },
            ] if begins != 0 => {
                let tools = &self.reading.played.policy.tools;
                let name = tools[usize::from(begins) - 1].name.clone();
                let order = Step::begin(&name, path, arguments);
                self.tools.insert(name);
                order
            }
            _ => step.order.clone(),
        };
        match tool {
            Some(tool) => format!("in {tool} {order}"),
            None => order,
        }
    }

    fn order(&mut self, order: &str) -> Result<String> {
        let actor = self.actor.as_mut().context("the session has ended")?;
        actor.order(order)
    }

    fn skip(&self, line: u32, action: &Action, why: &str) {
        println!(
            "NOTE {}: line {line} not played: {action}: {why}",
            self.agent
        );
    }

    /// Ends the session and waits until it is gone.
    fn end(&mut self) -> Result<()> {
        if self.alone {
            self.daemon.signal(libc::SIGCONT)?;
            self.alone = false;
            self.compare_told()?;
        }
        self.no()?;
        if let Some(actor) = self.actor.take() {
            actor.end()?;
            self.events.ended(self.agent)?;
        }
        let more = self.events.denials(self.agent)?;
        for denial in more.iter().skip(self.told) {
            self.wrong.push(format!(
                "denied and not in the case: {} {} ({})",
                denial.action,
                reached(denial),
                denial.reason
            ));
        }
        Ok(())
    }
}

impl Drop for Performance<'_> {
    fn drop(&mut self) {
        if self.alone {
            // The test has failed already; the next one needs the daemon.
            let _ = self.daemon.signal(libc::SIGCONT);
        }
    }
}
