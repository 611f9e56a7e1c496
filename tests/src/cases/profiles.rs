//! Profiles: `interlock run` reads what a policy extends, and the daemon enforces and explains it.

use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::network::{ALLOWED4, DENIED4, PORT, at};
use crate::harness::policy::Policy;
use crate::harness::product::Daemon;
use crate::harness::session::Place;
use anyhow::{Context, Result, ensure};
use std::fs;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "profiles.enforced",
            "rules of a profile are enforced, told with their line, and known to the next daemon",
            enforced,
        )
        .patience(180),
    ]
}

/// Policies of tests are written to /tmp, and profiles lie beside policies.
const PROFILE: &str = "/tmp/profiles/bench-net.yaml";

fn enforced() -> Result<()> {
    let daemon = Daemon::shared()?;
    fs::create_dir_all("/tmp/profiles").context("/tmp/profiles")?;
    let text = format!(
        "apiVersion: interlock.dev/v1alpha1\nkind: AgentProfile\nmetadata: {{name: bench-net}}\nspec:\n  \
         egress:\n    allow: [{{to: [{ALLOWED4}], ports: [{PORT}]}}]\n    deny: [{{to: [{DENIED4}]}}]\n"
    );
    fs::write(PROFILE, text).context(PROFILE)?;
    let policy = Policy::named("extends").with("  extends: [bench-net]\n");
    let mut actor = Place::Inside(&policy).obey()?;
    // From here on nobody may need the file.
    fs::remove_file(PROFILE).context(PROFILE)?;
    let (allowed, denied) = (at(ALLOWED4, PORT)?, at(DENIED4, PORT)?);
    let events = Events::from_now()?;
    let mut ask = || -> Result<[String; 2]> {
        Ok([
            actor.order(&format!("probe {allowed}"))?,
            actor.order(&format!("way udp {denied}"))?,
        ])
    };
    let answers = ask()?;
    ensure!(answers == ["ok", "EPERM"], "{answers:?}");
    events.wait("extends", 1)?;
    daemon.end(libc::SIGTERM)?;
    Daemon::start()?;
    let answers = ask()?;
    ensure!(
        answers == ["ok", "EPERM"],
        "with the next daemon: {answers:?}"
    );
    for denial in events.wait("extends", 2)? {
        let rule = denial.rule.context("a denial without its rule")?;
        ensure!(
            rule["file"] == PROFILE && rule["line"] == 7,
            "expected line 7 of {PROFILE}: {rule}"
        );
    }
    actor.end()?;
    Ok(())
}
