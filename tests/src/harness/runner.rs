//! Runs tests one after the other, each as a child process, so that one that hangs or panics is
//! one failure and no more.

use super::events::{Events, Line};
use super::{Test, kernel, product};
use crate::sys::process;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Where a child leaves what it has to say.
const OUTPUT: &str = "/tmp/interlock-test-output";

/// How tests are called that run only when they are asked for: `cargo xtask test long`.
const LONG: &str = "long.";
/// How tests of the red team are called.
const RED: &str = "red.";
/// How a line of a test begins that is to be seen when it passes, too.
const NOTE: &str = "NOTE ";
/// How a line of a red team's test begins that says itself how the attack was held.
const HELD: &str = "HELD ";

enum Outcome {
    /// And what it has to say.
    Passed(String),
    Failed(String),
    Skipped(String),
}

/// Lists the tests.
pub(crate) fn list(tests: &[Test]) -> ExitCode {
    for test in tests {
        println!("{:<40} {}", test.name, test.shows);
    }
    ExitCode::SUCCESS
}

/// One of several machines' share of the tests, written `1/2`; with `+` behind it where another kernel
/// runs all, and this one what the red team demands of every kernel.
#[derive(Clone, Copy)]
pub(crate) struct Share {
    number: usize,
    of: usize,
    beside: bool,
}

impl Share {
    /// All of them.
    pub(crate) const ALL: Self = Self {
        number: 1,
        of: 1,
        beside: false,
    };

    /// From `1/2` or `1/2+`; nothing where it is no share.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let share = text.trim_end_matches('+');
        let (number, of) = share.split_once('/')?;
        let (number, of) = (number.parse().ok()?, of.parse().ok()?);
        (1..=of).contains(&number).then_some(Self {
            number,
            of,
            beside: share != text,
        })
    }

    /// Every so-many-th test, so that long ones that stand together are shared, too.
    fn has(self, index: usize) -> bool {
        index % self.of + 1 == self.number
    }
}

/// Runs all tests whose name contains the filter, or a share of those.
pub(crate) fn run(tests: &[Test], filter: &str, share: Share) -> ExitCode {
    println!(
        "kernel {}, LSMs {}",
        kernel::release(),
        kernel::lsms().join(",")
    );
    let mut failed = 0;
    let mut ran = 0;
    let chosen = |test: &&Test| {
        let when_asked_for = !test.name.starts_with(LONG) || filter.starts_with(LONG);
        let here = !share.beside || test.name.starts_with(RED);
        test.name.contains(filter) && when_asked_for && here
    };
    let shared = tests.iter().filter(chosen).enumerate();
    for (_, test) in shared.filter(|(index, _)| share.has(*index)) {
        ran += 1;
        let began = Instant::now();
        let events = Events::from_now().unwrap_or(Events::ALL);
        let outcome = match (test.unless)() {
            Some(reason) => Outcome::Skipped(reason),
            None => in_child(test).unwrap_or_else(|error| Outcome::Failed(format!("{error:#}"))),
        };
        match outcome {
            Outcome::Passed(said) => {
                for note in said.lines().filter_map(|line| line.strip_prefix(NOTE)) {
                    println!("{}: {note}", test.name);
                }
                println!("{}: {:.1} s", test.name, began.elapsed().as_secs_f32());
                if test.name.starts_with(RED) {
                    let own = said.lines().find_map(|line| line.strip_prefix(HELD));
                    println!(
                        "{HELD}{} {}",
                        test.name,
                        own.unwrap_or_else(|| held(events))
                    );
                }
                println!("TEST {} ok", test.name);
            }
            Outcome::Skipped(reason) => println!("TEST {} skipped: {reason}", test.name),
            Outcome::Failed(why) => {
                failed += 1;
                println!("{}: expected: {}", test.name, test.shows);
                println!("{}", why.trim_end());
                println!("TEST {} FAILED", test.name);
            }
        }
    }
    if let Err(error) = product::remove() {
        println!("after the last test: {error:#}");
        failed += 1;
    }
    if ran == 0 {
        println!("no test is called {filter:?}; `interlock-tests list` names them");
    }
    if failed == 0 && ran > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// How the attack of a test that has passed was held, as the daemon told it meanwhile.
fn held(events: Events) -> &'static str {
    let lines = events.lines().unwrap_or_default();
    let any = |test: fn(&Line) -> bool| lines.iter().any(test);
    if any(|line| matches!(line, Line::Denial(denial) if denial.verdict == "deny")) {
        "blocked"
    } else if any(|line| match line {
        Line::Denial(denial) => denial.verdict == "kill",
        Line::Revoked(revoked) => revoked.killed > 0,
        _ => false,
    }) {
        "killed"
    } else {
        "blocked, nothing told"
    }
}

/// The child's side: runs one test.
pub(crate) fn one(tests: &[Test], name: &str) -> ExitCode {
    let Some(test) = tests.iter().find(|test| test.name == name) else {
        eprintln!("no test is called {name}");
        return ExitCode::FAILURE;
    };
    match (test.run)() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn in_child(test: &Test) -> Result<Outcome> {
    let output = File::create(OUTPUT).context(OUTPUT)?;
    let mut child = Command::new("/proc/self/exe")
        .args(["one", &test.name])
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0)
        .spawn()
        .context("starting the test's process")?;
    let status = wait(&mut child, test.patience)?;
    let said = String::from_utf8_lossy(&fs::read(OUTPUT)?).into_owned();
    Ok(match status {
        Some(0) => Outcome::Passed(said),
        Some(_) => Outcome::Failed(said),
        None => Outcome::Failed(format!("{said}\nno end after {:?}", test.patience)),
    })
}

/// The child's exit code (or -1 for a signal), or nothing when it had to be killed.
fn wait(child: &mut Child, patience: Duration) -> Result<Option<i32>> {
    let deadline = Instant::now() + patience;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status.code().unwrap_or(-1));
        }
        if Instant::now() > deadline {
            break None;
        }
        thread::sleep(Duration::from_millis(20));
    };
    // Whatever the test left behind goes with it; usually there is nothing, which is no error.
    let _ = process::kill(-i32::try_from(child.id())?, libc::SIGKILL);
    if status.is_none() {
        child.wait()?;
    }
    Ok(status)
}
