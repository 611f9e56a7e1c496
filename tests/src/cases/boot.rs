//! A host with systemd: the Debian package is installed, agents are enabled, and the machine boots again.
//!
//! `cargo xtask test long long.boot` gives the machine systemd and the package, and runs this once more after each boot.

use crate::harness::Test;
use crate::harness::product::{self, PINS};
use anyhow::{Context as _, Result, bail, ensure};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Says that the machine was set up and has booted since.
const SET_UP: &str = "/var/lib/interlock-boot-test";
/// Where the package lies.
const PACKAGES: &str = "/with/debian";
/// What an agent does over and over: something that it must not, and then a line.
const AGENT: &str = "#!/bin/sh
while :; do
    if cat /etc/hostname >/dev/null 2>&1; then echo allowed; else echo denied; fi >>/var/log/$1
    sleep 0.1
done
";
/// Nobody says that this one has to wait.
const EARLY: &str = "[Unit]
DefaultDependencies=no
[Service]
ExecStart=/opt/agent/agent early
[Install]
WantedBy=sysinit.target
";
/// This one waits until enforcement is proven.
const GATED: &str = "[Service]
ExecStart=/opt/agent/agent gated
[Install]
WantedBy=multi-user.target
";

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "long.boot.package",
            "the package installed on a host with systemd: after a boot no agent that waits for the daemon acts unlabelled, one that does not is adopted, a daemon that is stuck is replaced, and the package goes as it came",
            package,
        )
        .patience(1_100),
    ]
}

fn package() -> Result<()> {
    if Path::new(SET_UP).exists() {
        return booted();
    }
    install()?;
    for name in ["early", "gated"] {
        let unit = if name == "early" { EARLY } else { GATED };
        fs::write(format!("/etc/systemd/system/agent-{name}.service"), unit)?;
        let policy = format!("/etc/interlock/policies/{name}.yaml");
        fs::write(policy, policy_of(name))?;
    }
    let drop_in = "/etc/systemd/system/agent-gated.service.d";
    fs::create_dir_all(drop_in)?;
    fs::copy(
        "/usr/share/doc/interlock/examples/agent.conf",
        format!("{drop_in}/interlock.conf"),
    )?;
    // A tenth of the time that a host would wait: nothing else is different.
    let drop_in = "/etc/systemd/system/interlock.service.d";
    fs::create_dir_all(drop_in)?;
    fs::write(
        format!("{drop_in}/test.conf"),
        "[Service]\nWatchdogSec=30\n",
    )?;
    systemctl(&["daemon-reload"])?;
    systemctl(&["enable", "interlock", "agent-early", "agent-gated"])?;
    fs::write(SET_UP, "")?;
    done(&Command::new("sync").output()?)?;
    systemctl(&["reboot"])?;
    thread::sleep(Duration::from_secs(600));
    bail!("the machine did not boot again")
}

fn install() -> Result<()> {
    let agent = Path::new("/opt/agent/agent");
    fs::create_dir_all("/opt/agent")?;
    fs::write(agent, AGENT)?;
    fs::set_permissions(agent, fs::Permissions::from_mode(0o755))?;
    // The machine's packages were unpacked without a word to dpkg.
    fs::create_dir_all("/var/lib/dpkg/info")?;
    fs::create_dir_all("/var/lib/dpkg/updates")?;
    for list in ["status", "available"] {
        fs::write(Path::new("/var/lib/dpkg").join(list), "")?;
    }
    let mut dpkg = Command::new("dpkg");
    dpkg.args(["--force-depends", "--install"]);
    done(&dpkg.arg(newest_package()?).output()?)?;
    fs::create_dir_all("/etc/interlock/policies")?;
    // The tests' own build stands before it on the PATH.
    let version = Command::new("/usr/bin/interlock").arg("--version").output();
    done(&version?)
}

fn newest_package() -> Result<std::path::PathBuf> {
    let asked = Command::new("dpkg").arg("--print-architecture").output()?;
    // Those for other processors may lie there as well.
    let own = format!("_{}.deb", String::from_utf8_lossy(&asked.stdout).trim());
    let entries = fs::read_dir(PACKAGES).context(PACKAGES)?;
    let paths = entries.flatten().map(|entry| entry.path());
    let is_it = |path: &std::path::PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy());
        name.is_some_and(|name| name.starts_with("interlock_") && name.ends_with(&own))
    };
    let mut packages: Vec<_> = paths.filter(is_it).collect();
    packages.sort();
    packages.pop().context("no package of interlock is there")
}

fn policy_of(name: &str) -> String {
    format!(
        "apiVersion: interlock.dev/v1alpha1
kind: AgentPolicy
metadata: {{name: {name}}}
spec:
  owner: {{name: Test, contact: test@example.org}}
  session: [{{systemdUnit: agent-{name}.service}}]
  files:
    allow: [{{access: [read, write, create, map], paths: [\"/**\"]}}]
    deny: [{{access: [read], paths: [/etc/hostname]}}]
  exec: {{allow: [{{programs: [\"/**\"]}}]}}
"
    )
}

fn booted() -> Result<()> {
    until("the daemon is there", || {
        Ok(product::ask("\"status\"").is_ok())
    })?;
    until("both agents act", || {
        Ok(lines("gated").len() > 5 && lines("early").len() > 5)
    })?;
    let gated = lines("gated");
    ensure!(
        gated.iter().all(|line| line == "denied"),
        "the agent that waits was not denied each time: {gated:?}"
    );
    let early = lines("early");
    ensure!(
        early.first().is_some_and(|line| line == "allowed"),
        "the other should have begun before the daemon: {early:?}"
    );
    let session = product::begun("early")?;
    ensure!(
        session.facts.iter().any(|fact| fact == "unknown_history"),
        "adopted without saying so: {session:?}"
    );
    let first = early.iter().position(|line| line == "denied");
    ensure!(
        first.is_some_and(|first| early[first..].iter().all(|line| line == "denied")),
        "allowed again after it was adopted: {early:?}"
    );
    println!(
        "NOTE before it was adopted, the agent that does not wait acted {} times",
        first.unwrap_or_default()
    );
    watchdog()?;
    remove()
}

/// A daemon that stands still is replaced, and its sessions are held meanwhile.
fn watchdog() -> Result<()> {
    let before = main_process()?;
    let acted = lines("gated").len();
    crate::sys::process::kill(before, libc::SIGSTOP)?;
    until("another daemon is there", || {
        let now = main_process()?;
        Ok(now != 0 && now != before && product::ask("\"status\"").is_ok())
    })?;
    let meanwhile = lines("gated").split_off(acted);
    ensure!(
        !meanwhile.is_empty() && meanwhile.iter().all(|line| line == "denied"),
        "while the daemon stood still: {meanwhile:?}"
    );
    product::begun("gated")?;
    Ok(())
}

/// Who removes the package has nothing left in the kernel.
fn remove() -> Result<()> {
    done(
        &Command::new("dpkg")
            .args(["--remove", "interlock"])
            .output()?,
    )?;
    ensure!(!Path::new(PINS).exists(), "{PINS} is still there");
    let is_active = Command::new("systemctl")
        .args(["is-active", "interlock"])
        .output()?;
    ensure!(!is_active.status.success(), "the unit is still active");
    let acted = lines("gated").len();
    until("nobody is held any more", || {
        let since = lines("gated").split_off(acted);
        Ok(since.last().is_some_and(|line| line == "allowed"))
    })
}

/// Asks until it is so.
fn until(what: &str, is_so: impl Fn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(300);
    while !is_so()? {
        ensure!(
            Instant::now() < deadline,
            "it did not come so far that {what}"
        );
        thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

fn main_process() -> Result<i32> {
    let mut show = Command::new("systemctl");
    show.args(["show", "--property=MainPID", "--value", "interlock"]);
    let output = show.stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().context("a process's number")
}

/// What an agent has done since it was installed.
fn lines(agent: &str) -> Vec<String> {
    let text = fs::read_to_string(Path::new("/var/log").join(agent)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn systemctl(words: &[&str]) -> Result<()> {
    done(&Command::new("systemctl").args(words).output()?)
}

fn done(output: &Output) -> Result<()> {
    ensure!(output.status.success(), "{}", product::said(output));
    Ok(())
}
