//! Actors, outside every session and inside one.

use super::policy::Policy;
use super::product::{INTERLOCK, said};
use crate::act::below::{ENDS, PART};
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

/// Where an actor acts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    /// Outside every session.
    Outside,
    /// As the root of a session under a policy.
    Inside(&'a Policy),
    /// The same, as another user.
    As(&'a Policy, &'a str),
    /// As the root of a session under the policy of a file and an agent.
    Under(&'a Path, &'a str),
    /// As the root of a session of this agent, under the policy that the daemon has loaded.
    Loaded(&'a str),
    /// As the root of a session under a policy, with the grant in a file.
    Granted(&'a Policy, &'a Path),
    /// Outside every session, as the user of this number.
    OutsideAs(u32),
}

impl Place<'_> {
    /// The command that runs some words here.
    pub(crate) fn command(self, words: &[&str]) -> Result<Command> {
        let (file, agent, more) = match self {
            Self::Outside => {
                let (program, arguments) = words.split_first().context("no words")?;
                let mut command = Command::new(program);
                command.args(arguments);
                return Ok(command);
            }
            Self::OutsideAs(user) => {
                let mut command = Command::new("setpriv");
                command.args([&format!("--reuid={user}"), &format!("--regid={user}")]);
                command.arg("--clear-groups").args(words);
                return Ok(command);
            }
            Self::Loaded(agent) => {
                let mut command = Command::new(INTERLOCK);
                command.args(["run", "--agent", agent, "--"]).args(words);
                return Ok(command);
            }
            Self::Under(file, agent) => (file.to_owned(), agent, None),
            Self::Inside(policy) => (policy.write()?, policy.agent(), None),
            Self::As(policy, user) => (policy.write()?, policy.agent(), Some(["--user", user])),
            Self::Granted(policy, grant) => {
                let grant = grant.to_str().context("a path")?;
                (policy.write()?, policy.agent(), Some(["--grant", grant]))
            }
        };
        let mut command = Command::new(INTERLOCK);
        command.arg("run").arg("--policy").arg(file);
        command.args(["--agent", agent]);
        command
            .args(more.into_iter().flatten())
            .arg("--")
            .args(words);
        Ok(command)
    }

    /// Runs some words here and waits for their end.
    pub(crate) fn run(self, words: &[&str]) -> Result<Output> {
        self.command(words)?
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("running {words:?} {self:?}"))
    }

    /// Plays a part here and gives what the actor said.
    pub(crate) fn act(self, part: &[&str]) -> Result<String> {
        let program = own_program()?;
        let mut words = vec![program.as_str(), "act"];
        words.extend(part);
        let output = self.run(&words)?;
        ensure!(
            output.status.success(),
            "actor {part:?} {self:?} ended with {}",
            said(&output)
        );
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Starts an actor that obeys.
    pub(crate) fn obey(self) -> Result<Obedient> {
        self.obey_as(&own_program()?)
    }

    /// Starts an actor that obeys, from a copy of this program. Copies that it executes under other
    /// names only end.
    pub(crate) fn obey_as(self, program: &str) -> Result<Obedient> {
        let mut child = self
            .command(&[program, "act", "obey"])?
            .env(PART, ENDS)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting an actor that obeys")?;
        let orders = child.stdin.take().context("its input")?;
        let answers = BufReader::new(child.stdout.take().context("its output")?);
        let mut obedient = Obedient {
            child,
            orders,
            answers,
            pid: 0,
        };
        let greeting = obedient.answer()?;
        obedient.pid = greeting
            .strip_prefix("pid ")
            .and_then(|pid| pid.parse().ok())
            .with_context(|| format!("it said {greeting:?} instead of its pid"))?;
        Ok(obedient)
    }
}

/// An actor that does what it is told.
pub(crate) struct Obedient {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Its pid.
    pub(crate) pid: i32,
}

impl Obedient {
    /// Gives an order and waits for the answer.
    pub(crate) fn order(&mut self, order: &str) -> Result<String> {
        self.begin(order)?;
        self.answer()
    }

    /// Gives an order; the answer is waited for later.
    pub(crate) fn begin(&mut self, order: &str) -> Result<()> {
        writeln!(self.orders, "{order}").with_context(|| format!("ordering {order:?}"))?;
        Ok(self.orders.flush()?)
    }

    /// Waits for the answer to the order that was begun.
    pub(crate) fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = self
            .answers
            .read_line(&mut line)
            .context("waiting for an answer")?;
        ensure!(read > 0, "the actor ended instead of answering");
        Ok(line.trim().to_owned())
    }

    /// The process that was started: the actor's, or `interlock run`'s around it.
    pub(crate) fn started(&self) -> Result<i32> {
        Ok(i32::try_from(self.child.id())?)
    }

    /// Waits for its end and gives the status.
    pub(crate) fn end(mut self) -> Result<std::process::ExitStatus> {
        let _ = writeln!(self.orders, "end");
        drop(self.orders);
        self.child.wait().context("waiting for the actor's end")
    }

    /// Waits for its end, which must be a kill.
    pub(crate) fn killed(self, who: &str) -> Result<()> {
        let status = self.end()?;
        ensure!(
            status.signal() == Some(libc::SIGKILL),
            "{who} ended with {status}, expected SIGKILL"
        );
        Ok(())
    }
}

/// This program's own path, which actors can be started by from anywhere.
pub(crate) fn own_program() -> Result<String> {
    let path = std::env::current_exe().context("finding this program")?;
    Ok(path.display().to_string())
}
