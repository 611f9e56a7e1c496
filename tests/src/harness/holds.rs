//! Questions to people, and the answers that tests give in their place.

use super::events::{Denial, Events};
use super::product::{ask, call, said};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::fs;
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

/// How long a process may take to stop, or to go on.
const PATIENCE: Duration = Duration::from_secs(10);

/// An open question, as `interlock holds --json` says.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Question {
    pub(crate) hold: String,
    pub(crate) agent: Option<String>,
    pub(crate) owner: Option<String>,
    pub(crate) action: String,
    pub(crate) object: serde_json::Value,
    pub(crate) digest: Option<String>,
    pub(crate) stopped: bool,
    pub(crate) by: Vec<String>,
    pub(crate) show: Vec<String>,
    pub(crate) once: bool,
    pub(crate) waiting: Vec<i32>,
}

/// `interlock holds --json`: an agent's questions.
pub(crate) fn questions_of(agent: &str) -> Result<Vec<Question>> {
    let output = call(&["holds", "--json"])?;
    let all: Vec<Question> = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("interlock holds --json: {}", said(&output)))?;
    let of = |question: &Question| question.agent.as_deref() == Some(agent);
    Ok(all.into_iter().filter(of).collect())
}

/// The same, without a program in between.
pub(crate) fn open_questions(agent: &str) -> Result<Vec<Question>> {
    let of = |question: &Question| question.agent.as_deref() == Some(agent);
    Ok(all_open()?.into_iter().filter(of).collect())
}

/// The processes that wait, of all agents whose names begin so.
pub(crate) fn waiting(agents: &str) -> Result<Vec<i32>> {
    let of = |question: &Question| {
        let agent = question.agent.as_deref();
        agent.is_some_and(|agent| agent.starts_with(agents))
    };
    let questions = all_open()?.into_iter().filter(of);
    Ok(questions.flat_map(|question| question.waiting).collect())
}

fn all_open() -> Result<Vec<Question>> {
    #[derive(Deserialize)]
    struct Told {
        holds: Vec<Question>,
    }
    let told: Told = serde_json::from_str(&ask("\"holds\"")?)?;
    Ok(told.holds)
}

/// Answers a question in the same way. Whether the answer was taken.
pub(crate) fn answer(hold: &str, approve: bool) -> Result<bool> {
    let request = serde_json::json!({"answer": {"hold": hold, "approve": approve}});
    Ok(ask(&request.to_string())?.contains("answered"))
}

/// `interlock approve`, which must be taken.
pub(crate) fn approve(hold: &str) -> Result<()> {
    taken(&call(&["approve", hold])?)
}

/// `interlock deny`, which must be taken.
pub(crate) fn deny(hold: &str) -> Result<()> {
    taken(&call(&["deny", hold, "--because", "a test says no"])?)
}

fn taken(output: &Output) -> Result<()> {
    ensure!(output.status.success(), "{}", said(output));
    Ok(())
}

/// What an agent asked so far, the oldest first.
pub(crate) fn asked(events: Events, agent: &str) -> Result<Vec<Denial>> {
    let mut denials = events.denials(agent)?;
    denials.retain(|denial| denial.verdict == "hold");
    Ok(denials)
}

/// Waits until an agent has asked so often, and gives the number of the last question.
pub(crate) fn nth(events: Events, agent: &str, count: usize) -> Result<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let asked = asked(events, agent)?;
        if let Some(denial) = asked.get(count.wrapping_sub(1)) {
            ensure!(
                denial.reason == "approval missing",
                "{denial:?} is no question"
            );
            return denial.hold.clone().context("a question without a number");
        }
        ensure!(
            Instant::now() < deadline,
            "{} questions of {agent}, expected {count}; told: {:?}",
            asked.len(),
            events.denials(agent)?
        );
        thread::sleep(Duration::from_millis(10));
    }
}

/// The state of a process, as `/proc` tells it.
pub(crate) fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// Waits until a process is stopped.
pub(crate) fn until_stopped(pid: i32) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while state(pid) != Some('T') {
        ensure!(
            Instant::now() < deadline,
            "process {pid} does not stop: {:?}",
            state(pid)
        );
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
