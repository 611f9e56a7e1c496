//! Runs tests one after the other, each as a child process, so that one that hangs or panics is
//! one failure and no more.

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

/// How a line of a test begins that is to be seen when it passes, too.
const NOTE: &str = "NOTE ";

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

/// Runs all tests whose name contains the filter.
pub(crate) fn run(tests: &[Test], filter: &str) -> ExitCode {
    println!(
        "kernel {}, LSMs {}",
        kernel::release(),
        kernel::lsms().join(",")
    );
    let mut failed = 0;
    let mut ran = 0;
    for test in tests.iter().filter(|test| test.name.contains(filter)) {
        ran += 1;
        let began = Instant::now();
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
