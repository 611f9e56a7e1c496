//! What a shell makes of a program that waits for a person.

use super::hold::{ROOT, lay_out, policy};
use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::holds::{approve, asked, nth, questions_of};
use crate::harness::kernel::unless_it_waits;
use crate::harness::product::{Daemon, said};
use crate::harness::session::Place;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

const AGENT: &str = "hold-shell";
/// What the shell leaves when it has gone so far, and what it waits for.
const ASKED: &str = "/tmp/interlock-shell-asked";
const ANSWERED: &str = "/tmp/interlock-shell-answered";

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "hold.shell",
            "a shell with job control sees a job that is stopped, and fg, bg and SIGCONT answer nothing; one without waits",
            shell,
        )
        .unless(unless_it_waits)
        .patience(180),
    ]
}

/// 147 is 128 and SIGSTOP; 124 is what `timeout` says.
const EXPECTED: [&str; 5] = [
    "first 147",
    "second 147",
    "third 147",
    "plain 0",
    "timeout 124",
];

fn script() -> String {
    format!(
        "set -m
cat {ROOT}/read
echo first $?
fg
echo second $?
bg
kill -CONT %1
fg
echo third $?
touch {ASKED}
while [ ! -e {ANSWERED} ]; do sleep 0.1; done
set +m
cat {ROOT}/read
echo plain $?
timeout 1 cat {ROOT}/read
echo timeout $?
"
    )
}

fn shell() -> Result<()> {
    Daemon::shared()?;
    lay_out()?;
    for mark in [ASKED, ANSWERED] {
        let _ = fs::remove_file(mark);
    }
    // Not for so long that what goes wrong is not said.
    let policy = policy(AGENT, "once: true, wait: 45s");
    let events = Events::from_now()?;
    let output = thread::scope(|scope| {
        let run = scope.spawn(|| Place::Inside(&policy).run(&["bash", "-c", &script()]));
        let answered = answer_it(events);
        // Whatever became of that, the shell comes to its end: nobody answers for longer than a test lasts.
        let _ = fs::write(ANSWERED, "");
        let output = run.join().ok().context("the shell panicked")?;
        answered.and(output)
    })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let found: Vec<&str> = text
        .lines()
        .filter_map(|line| EXPECTED.iter().find(|it| line.ends_with(*it)).copied())
        .collect();
    ensure!(found == EXPECTED, "{}", said(&output));
    // A yes each for the job and for the plain one; the third question, of who lost patience, stays open.
    let (count, path) = (asked(events, AGENT)?.len(), format!("{ROOT}/read"));
    ensure!(
        count == 3 && text.replace(&path, "").matches("read").count() == 2,
        "{count} questions: {text}"
    );
    Ok(())
}

fn answer_it(events: Events) -> Result<()> {
    let first = nth(events, AGENT, 1)?;
    let deadline = Instant::now() + Duration::from_secs(60);
    while !Path::new(ASKED).exists() {
        ensure!(Instant::now() < deadline, "the shell does not go on");
        thread::sleep(Duration::from_millis(20));
    }
    ensure!(questions_of(AGENT)?.len() == 1, "it was asked anew");
    approve(&first)?;
    fs::write(ANSWERED, "")?;
    approve(&nth(events, AGENT, 2)?)
}
