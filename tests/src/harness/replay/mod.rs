//! Plays the cases of a policy with real processes, and holds what the kernel did to what `policy
//! test` says: verdict for verdict, reason for reason, rule for rule, and fact for fact.
//!
//! The session's first process is a copy of this program, and so is each program that a case
//! executes, in the place of whatever has the name. Each action is the one that the case names and no
//! other, so that nothing else changes the session's facts.
//!
//! What a policy demands and no kernel program enforces is changed in its text ([`Change`]), and told;
//! so is every event of a case that is not played, with its reason. An approval becomes a fact that
//! a datagram sets, which stands in for the person's answer: where a case expects `hold`, the kernel
//! denies for want of that fact. Minutes become seconds, where a policy says so, in the text and in
//! the waits alike: nobody can push on the clock by which the kernel counts.
//!
//! [`script`] holds the two texts, [`stage`] what lies in the machine, [`step`] what a process does
//! for an action.

mod script;
mod stage;
mod step;

pub(crate) use script::{Change, Script};

use super::events::{Denial, Events};
use super::policy::Policy;
use super::product::{self, Daemon};
use super::session::{Obedient, Place, own_program};
use agent_common::decide::{Reason, Verdict};
use agent_policy::{Action, Case, Event, Instant, Outcome, Trial};
use anyhow::{Context, Result, bail, ensure};
use script::Reading;
use stage::Stage;
use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use step::{Step, Told, said, told_as};

/// Plays every case of a test's own policy, as it is written.
pub(crate) fn replay(policy: &Policy, cases: &str) -> Result<()> {
    play(&Script::plain(policy.agent(), &policy.text(), cases))
}

/// Plays every case.
pub(crate) fn play(script: &Script<'_>) -> Result<()> {
    let daemon = Daemon::shared()?;
    for change in script.changes {
        println!(
            "NOTE changed {:?} to {:?}: {}",
            change.from, change.to, change.why
        );
    }
    let mut stage = Stage::default();
    let mut wrong = Vec::new();
    for cases in script.cases()? {
        let reading = script.read(&cases.agent)?;
        let (mut played, mut of) = (0, 0);
        for case in &cases.cases {
            let mut performance =
                Performance::begin(script, &reading, &cases.agent, case, daemon, &mut stage)
                    .with_context(|| format!("case {:?}", case.name))?;
            performance
                .play(case)
                .with_context(|| format!("case {:?}", case.name))?;
            played += performance.played;
            of += performance.of;
            let found = std::mem::take(&mut performance.wrong).into_iter();
            wrong.extend(found.map(|found| format!("{}: {found}", case.name)));
        }
        println!("NOTE {}: {played} of {of} actions played", cases.agent);
        ensure!(played > 0, "nothing of {} could be played", cases.agent);
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// One case while it is played.
struct Performance<'a> {
    script: &'a Script<'a>,
    reading: &'a Reading,
    agent: &'a str,
    daemon: Daemon,
    stage: &'a mut Stage,
    /// The session as `policy test` has it.
    shipped: Trial<'a>,
    /// The time in the case.
    at: Instant,
    /// The session as `policy test` would have it with the text that is played.
    trial: Trial<'a>,
    actor: Option<Obedient>,
    tools: BTreeSet<String>,
    events: Events,
    /// Denials that were told and compared.
    told: usize,
    /// What must be told, once the daemon runs again.
    expected: Vec<(u32, Action, Outcome)>,
    /// Whether the daemon is stopped, so that it kills nobody of a session that has ended.
    alone: bool,
    played: u32,
    of: u32,
    wrong: Vec<String>,
}

impl<'a> Performance<'a> {
    fn begin(
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
            alone: false,
            played: 0,
            of: 0,
            wrong: Vec::new(),
        })
    }

    fn play(&mut self, case: &Case) -> Result<()> {
        for (event, span) in &case.events {
            let line = span.line;
            match event {
                Event::Wait(seconds) => {
                    self.at.now_ns += seconds * 1_000_000_000;
                    self.at.wall_s += seconds;
                    thread::sleep(Duration::from_secs(seconds / self.script.seconds_in_one));
                }
                Event::Approve(name) => self.approve(line, name)?,
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

    /// Somebody says yes.
    fn approve(&mut self, line: u32, name: &str) -> Result<()> {
        let shipped = &self.reading.shipped;
        let facts = agent_policy::approval_facts(&shipped.policy, &shipped.compiled, name);
        self.shipped.set_facts(facts, self.at);
        let yes = self
            .script
            .yes(name)
            .with_context(|| format!("line {line}: nothing stands in for the approval {name:?}"))?;
        let step = Step::of(&yes, &self.reading.played).map_err(anyhow::Error::msg)?;
        step.prepare(self.stage)?;
        self.trial.attempt(&yes, None, now()?, 0);
        let said = self.order(&step.order)?;
        ensure!(
            said == "ok",
            "line {line}: the yes to {name:?} brought {said}"
        );
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
            Err(why) => return Ok(self.skip(line, action, why)),
        };
        if let (Action::Exec { writable, .. }, [Action::Exec { writable: real, .. }]) =
            (action, step.asked.as_slice())
        {
            let mut other = self.trial.clone();
            let really = other.attempt(&step.asked[0], number, now()?, 0);
            let said = self.trial.judge(action, number, now()?, 0);
            if writable != real && really.decision.verdict != said.decision.verdict {
                return Ok(self.skip(line, action, "the policy lets nobody write this program"));
            }
        }
        if let Some(tool) = tool {
            self.begin_tool(tool)?;
        }
        step.prepare(self.stage)?;
        let (after, outcome, asked) = self.attempt(&step, number)?;
        if !self.is_same(&shipped, &outcome) {
            let why = format!(
                "with what was changed it is {} ({})",
                outcome.decision.verdict, outcome.decision.reason
            );
            ensure!(!self.script.changes.is_empty(), "played now {why}");
            return Ok(self.skip(line, action, &why));
        }
        self.trial = after;
        let allowed = outcome.decision.verdict == Verdict::Allow;
        let killed = outcome.decision.verdict == Verdict::Kill;
        if self.trial.is_revoked() && !self.alone && !killed {
            self.daemon.signal(libc::SIGSTOP)?;
            self.alone = true;
        }
        let order = self.order_of(&step, tool, &outcome);
        let said = self.order(&order);
        self.played += 1;
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
    fn attempt(&self, step: &Step, tool: Option<usize>) -> Result<(Trial<'a>, Outcome, Action)> {
        let mut after = self.trial.clone();
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

    /// Whether what is played comes out as what is shipped. Where that holds, this denies for want
    /// of the fact that stands in for the approval.
    fn is_same(&self, shipped: &Outcome, played: &Outcome) -> bool {
        let (one, other) = (shipped.decision, played.decision);
        let held = one.verdict == Verdict::Hold
            && other.verdict == Verdict::Deny
            && other.reason == Reason::FactMissing;
        let place = |reading: &script::Side, number| reading.place(number);
        let same_rule = one.verdict == Verdict::Allow
            || place(&self.reading.shipped, one.number)
                == place(&self.reading.played, other.number);
        (held || (one.verdict, one.reason) == (other.verdict, other.reason)) && same_rule
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

    /// Holds what was told to what should have been.
    fn compare_told(&mut self) -> Result<()> {
        for (line, action, outcome) in std::mem::take(&mut self.expected) {
            let (word, object) = told_as(&action);
            let found = loop {
                let all = self.events.wait(self.agent, self.told + 1)?;
                let denial = all[self.told].clone();
                self.told += 1;
                if denial.action == word && reached(&denial) == object {
                    break denial;
                }
                self.wrong.push(format!(
                    "line {line}: before {action}, something else was denied: {} {} ({})",
                    denial.action,
                    reached(&denial),
                    denial.reason
                ));
            };
            let mut expected = said(&self.reading.played, &outcome);
            if matches!(action, Action::Exec { .. }) && found.verdict == "kill" {
                expected.0 = found.verdict.clone();
            }
            let rule = found.rule.as_ref().map(|rule| {
                let line = rule["line"].as_u64().and_then(|line| line.try_into().ok());
                let file = rule["file"].as_str().unwrap_or_default();
                (file.to_owned(), line.unwrap_or(0))
            });
            if object.is_empty() && found.reason == "address family" {
                println!(
                    "NOTE {}: line {line}: {action} is denied for its address family: no kernel program judges Unix sockets yet",
                    self.agent
                );
                continue;
            }
            let found = (found.verdict, found.reason, rule);
            if is_before_words(&action, &found, &expected) {
                println!(
                    "NOTE {}: line {line}: {action} is denied before its words can be read; `policy test` has read them: {} {:?}",
                    self.agent, expected.1, expected.2
                );
                continue;
            }
            if found != expected {
                self.wrong.push(format!(
                    "line {line}: {action}: told as {found:?}, `policy test` says {expected:?}"
                ));
            }
        }
        Ok(())
    }

    fn compare_facts(&mut self, line: u32, action: &Action, case: Option<&[String]>) -> Result<()> {
        let told = |trial: &Trial<'_>, compiled, at| {
            let mut facts = agent_policy::told_facts(compiled, trial.facts(at));
            facts.retain(|fact| !script::is_stand_in(fact));
            facts
        };
        let shipped = told(&self.shipped, &self.reading.shipped.compiled, self.at);
        let expected = told(&self.trial, &self.reading.played.compiled, now()?);
        let mut found = product::facts(self.agent)?;
        found.retain(|fact| !script::is_stand_in(fact));
        if found != expected || found != shipped {
            self.wrong.push(format!(
                "line {line}: after {action} the kernel has the facts {found:?}, `policy test` {expected:?}, as shipped {shipped:?}"
            ));
        }
        if let Some(case) = case {
            let mut case = case.to_vec();
            case.sort();
            ensure!(
                case == shipped,
                "the case expects the facts {case:?}, found {shipped:?}"
            );
        }
        Ok(())
    }

    /// Ends the session and waits until it is gone.
    fn end(&mut self) -> Result<()> {
        if self.alone {
            self.daemon.signal(libc::SIGCONT)?;
            self.alone = false;
            self.compare_told()?;
        }
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

/// Whether an exec was denied because no words at all could have made it allowed: then the kernel has
/// read none, and names no rule that speaks of them.
fn is_before_words(action: &Action, found: &Told, expected: &Told) -> bool {
    let facts = [Reason::FactMissing.word(), Reason::FactForbidden.word()];
    matches!(action, Action::Exec { .. })
        && *found == ("deny".to_owned(), Reason::NoRule.to_string(), None)
        && expected.0 == "deny"
        && facts.contains(&expected.1.as_str())
}

/// Where a denied action went.
fn reached(denial: &Denial) -> String {
    let object = &denial.object;
    if object.address.is_empty() {
        return object.path.clone();
    }
    let ip: std::result::Result<std::net::IpAddr, _> = object.address.parse();
    ip.map_or_else(
        |_| object.address.clone(),
        |ip| std::net::SocketAddr::new(ip, object.port).to_string(),
    )
}

fn now() -> Result<Instant> {
    let uptime = fs::read_to_string("/proc/uptime").context("/proc/uptime")?;
    let seconds = uptime.split_whitespace().next().unwrap_or_default();
    let since_boot = Duration::from_secs_f64(seconds.parse().context("/proc/uptime")?);
    let wall = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(Instant {
        now_ns: u64::try_from(since_boot.as_nanos())?,
        wall_s: wall.as_secs(),
    })
}
