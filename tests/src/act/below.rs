//! Programs that an actor starts and that do what it passes on to them: its tools.

use anyhow::{Context, Result, ensure};
use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};

use crate::sys::outcome;

/// What a copy of this program does when it is started under another name and with words that are
/// not its own. No policy sees it.
pub(crate) const PART: &str = "INTERLOCK_TESTS_PART";

/// The part of a program that only has to be executed.
pub(crate) const ENDS: &str = "ends";
/// The part of a program that does what it is told.
const OBEYS: &str = "obeys";

/// Plays the part that the environment names, if it names one.
pub(crate) fn part() -> Option<ExitCode> {
    match std::env::var(PART).ok()?.as_str() {
        OBEYS => Some(super::main(&["obey".to_owned()])),
        _ => Some(ExitCode::SUCCESS),
    }
}

/// The programs that run, by the names they were given.
#[derive(Default)]
pub(crate) struct Below(HashMap<String, Program>);

struct Program {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Below {
    /// Starts a program: `ok`, the name of the error, or `killed` where it never came to speak.
    pub(crate) fn start(&mut self, name: &str, path: &str, words: &[&str]) -> Result<String> {
        self.end(name);
        let started = Command::new(path)
            .args(words)
            .env(PART, OBEYS)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = match started {
            Ok(child) => child,
            Err(error) => return Ok(outcome::<()>(&Err(error))),
        };
        let orders = child.stdin.take().context("its input")?;
        let answers = BufReader::new(child.stdout.take().context("its output")?);
        let mut program = Program {
            child,
            orders,
            answers,
        };
        let mut greeting = String::new();
        if program.answers.read_line(&mut greeting)? == 0 {
            program.child.wait()?;
            return Ok("killed".to_owned());
        }
        self.0.insert(name.to_owned(), program);
        Ok("ok".to_owned())
    }

    /// Passes an order on, and the answer back.
    pub(crate) fn pass_on(&mut self, name: &str, order: &[&str]) -> Result<String> {
        let program = self
            .0
            .get_mut(name)
            .with_context(|| format!("no program was started as {name}"))?;
        writeln!(program.orders, "{}", order.join(" "))?;
        program.orders.flush()?;
        let mut line = String::new();
        let read = program.answers.read_line(&mut line)?;
        ensure!(read > 0, "{name} ended instead of answering");
        Ok(line.trim().to_owned())
    }

    /// Ends a program, if it runs: nothing more is ordered.
    fn end(&mut self, name: &str) {
        if let Some(Program {
            mut child, orders, ..
        }) = self.0.remove(name)
        {
            drop(orders);
            // Killed or ended, it is gone.
            let _ = child.wait();
        }
    }
}

impl Drop for Below {
    fn drop(&mut self) {
        let names: Vec<String> = self.0.keys().cloned().collect();
        for name in names {
            self.end(&name);
        }
    }
}
