//! Programs that serve a test, and end with it.

use anyhow::{Context as _, Result, ensure};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// A server that ends when this is dropped.
pub(crate) struct Serving(Child);

impl Serving {
    /// Starts a program, whose output nobody wants.
    pub(crate) fn of(program: &str, words: &[&str]) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(words).stdin(Stdio::null());
        let started = command.stdout(Stdio::null()).spawn();
        Ok(Self(started.with_context(|| program.to_owned())?))
    }

    /// Starts a server of names that answers by these words alone.
    pub(crate) fn dnsmasq(words: &[&str]) -> Result<Self> {
        let alone = [
            "--keep-in-foreground",
            "--user=root",
            "--no-resolv",
            "--no-hosts",
            "--bind-interfaces",
        ];
        Self::of("dnsmasq", &[&alone, words].concat())
    }

    /// Starts a program in Python, and waits until it says that it is ready.
    pub(crate) fn python(text: &str, words: &[&str]) -> Result<Self> {
        let mut command = Command::new("python3");
        command.args(["-c", text]).args(words);
        let started = command.stdout(Stdio::piped()).spawn();
        let mut serving = Self(started.context("starting the servers")?);
        let output = serving.0.stdout.take().context("its output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(line.trim() == "ready", "the servers said {line:?}");
        Ok(serving)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
