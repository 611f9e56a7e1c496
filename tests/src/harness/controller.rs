//! A controller beside the daemon, with certificates and a record of its own for the node.

use super::freeze::freeze;
use super::product::{self, Daemon, said};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) const PROGRAM: &str = "interlock-controller";
/// Where it listens.
pub(crate) const ADDRESS: &str = "127.0.0.1:7443";
pub(crate) const CERTS: &str = "/etc/interlock/certs";
/// Where its database lies.
pub(crate) const DATA: &str = "/run/interlock-controller-data";
const KEPT: &str = "/var/lib/interlock/central";
/// Where the node's record lies, with its key and its mark.
pub(crate) const STATE: &str = "/var/lib/interlock-central";
const RECORD: &str = "/var/lib/interlock-central/evidence";
/// How long something may take to come true.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What runs and what was made for it; gone when this is dropped.
pub(crate) struct Controller {
    child: Child,
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = product::stop();
        for folder in [CERTS, DATA, KEPT, STATE] {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

impl Controller {
    /// Makes certificates and begins to serve. Nodes end their sessions after so many seconds alone.
    pub(crate) fn start(lease: u32) -> Result<Self> {
        Self::start_with(lease, &[])
    }

    /// The same with more options.
    pub(crate) fn start_with(lease: u32, options: &[&str]) -> Result<Self> {
        Self::make(lease, options, &["localhost", "127.0.0.1"])
    }

    /// The same under a name of its own.
    pub(crate) fn start_named(lease: u32, name: &str) -> Result<Self> {
        Self::make(lease, &[], &["127.0.0.1", name])
    }

    fn make(lease: u32, options: &[&str], hosts: &[&str]) -> Result<Self> {
        let made = Command::new(PROGRAM)
            .args([
                "certs",
                CERTS,
                "--operator",
                "admin",
                "--operator",
                "grace=approver",
            ])
            .args(hosts.iter().flat_map(|host| ["--host", host]))
            .output()?;
        ensure!(made.status.success(), "certs: {}", said(&made));
        for end in ["pem", "key"] {
            fs::rename(
                format!("{CERTS}/node-node-1.{end}"),
                format!("{CERTS}/node.{end}"),
            )?;
        }
        let log = fs::File::create("/run/interlock-controller.log")?;
        let child = Command::new(PROGRAM)
            .args(["serve", "--listen", ADDRESS, "--data", DATA, "--lease"])
            .arg(lease.to_string())
            .args(options)
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .context("starting the controller")?;
        Ok(Self { child })
    }

    /// Stops it where it is: its connections stay open, and nothing comes any more.
    pub(crate) fn freeze(&self) -> Result<()> {
        freeze(self.child.id().try_into()?).context("stopping the controller")
    }

    /// From now on nobody is there.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill().context("killing the controller")
    }
}

/// What its daemon says of this node.
pub(crate) const LABEL: &str = "zone=test";

/// A daemon whose controller this is.
pub(crate) fn daemon() -> Result<Daemon> {
    daemon_with(&[])
}

/// The same with more options.
pub(crate) fn daemon_with(options: &[&str]) -> Result<Daemon> {
    daemon_of(ADDRESS, options)
}

/// The same, which is told another address of the controller.
pub(crate) fn daemon_of(address: &str, options: &[&str]) -> Result<Daemon> {
    let own = [
        "--controller",
        address,
        "--label",
        LABEL,
        "--evidence",
        RECORD,
    ];
    match Daemon::try_start_with(&[&own, options].concat())? {
        Ok(daemon) => Ok(daemon),
        Err(log) => bail!("the daemon did not become ready:\n{log}"),
    }
}

/// `interlock ctl WORDS --json`.
pub(crate) fn call(words: &[&str]) -> Result<std::process::Output> {
    call_as("operator-admin", words)
}

fn call_as(who: &str, words: &[&str]) -> Result<std::process::Output> {
    let before = ["ctl", "--controller", ADDRESS, "--as", who];
    product::call(&[&before[..], &["--json"], words].concat())
}

/// What `interlock ctl WORDS --json` prints.
pub(crate) fn lines(words: &[&str]) -> Result<String> {
    let output = call(words)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The same as one answer, and whether it was as ordered.
pub(crate) fn ctl(words: &[&str]) -> Result<(bool, Value)> {
    ctl_as("operator-admin", words)
}

/// The same of another operator.
pub(crate) fn ctl_as(who: &str, words: &[&str]) -> Result<(bool, Value)> {
    let output = call_as(who, words)?;
    let answer = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("interlock ctl {}: {}", words.join(" "), said(&output)))?;
    Ok((output.status.success(), answer))
}

/// Asks until the answer is as wanted.
pub(crate) fn until(words: &[&str], wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ctl(words) {
            Ok((_, answer)) if wanted(&answer) => return Ok(answer),
            last if Instant::now() > deadline => bail!("{words:?} does not come true: {last:?}"),
            _ => thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// The first node is there.
pub(crate) fn is_connected(nodes: &Value) -> bool {
    nodes[0]["connected"] == true
}

/// Waits until the records of a kind say something.
pub(crate) fn until_recorded(kind: &str, wanted: &str) -> Result<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let records = lines(&["events", "--kind", kind])?;
        if let Some(line) = records.lines().find(|line| line.contains(wanted)) {
            return Ok(line.to_owned());
        }
        ensure!(
            Instant::now() < deadline,
            "the controller has no record of kind {kind} with {wanted:?}"
        );
        thread::sleep(Duration::from_millis(200));
    }
}

/// `interlock evidence verify` of the node's record, held against the controller or not, and what it
/// says.
pub(crate) fn verify(against: bool, code: i32) -> Result<String> {
    let mut all = vec!["evidence", "verify", "--folder", RECORD];
    if against {
        all.extend(["--against", ADDRESS, "--as", "operator-admin"]);
    }
    let output = product::call(&all)?;
    ensure!(
        output.status.code() == Some(code),
        "{all:?}: expected {code}: {}",
        said(&output)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Waits until the record is whole and the controller has signed it, and gives what `verify` says.
pub(crate) fn until_countersigned() -> Result<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let told = verify(true, 0)?;
        if told.contains("countersigned by the controller up to record") {
            return Ok(told);
        }
        ensure!(
            Instant::now() < deadline,
            "nothing is countersigned: {told}"
        );
        thread::sleep(Duration::from_millis(200));
    }
}
