//! What names led to, through the lives of policies and daemons.

use super::names::{Network, policy};
use super::swap::{Shelf, wait_for};
use crate::harness::Test;
use crate::harness::policy::Policy;
use crate::harness::product::Daemon;
use crate::harness::session::Place;
use crate::harness::steps::Talk;
use anyhow::{Result, ensure};
use std::fs;
use std::process::{Command, Stdio};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "lookup.moved",
            "what names led to goes with a session to another version of its policy, as far as that allows the names",
            moved,
        )
        .patience(300),
        Test::new(
            "lookup.dead",
            "without a resolver lookups fail and go nowhere else, connections go on, and the next daemon answers",
            dead,
        )
        .patience(300),
    ]
}

fn moved() -> Result<()> {
    const SIGNS: [&str; 2] = ["/tmp/names.second", "/tmp/names.third"];
    let network = Network::set_up()?;
    let agent = "names-moved";
    let version = |names: &[&str]| policy(agent, names).with("  onChange: move\n");
    let shelf = Shelf::with(&version(&["api.example.test"]))?;
    wait_for(agent, 1)?;
    let waits = SIGNS.map(|sign| format!("until {sign}"));
    let lookup = "query 8.8.8.8 udp api.example.test A";
    let connect = "connect 198.51.100.1 8090";
    let mut child = Place::Loaded(agent)
        .command(&network.client.words(&[
            lookup, connect, &waits[0], connect, &waits[1], connect, lookup,
        ]))?
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = Talk::of(&mut child)?;
    let mut next = |wanted: &str| -> Result<()> {
        let found = said.next()?;
        ensure!(
            found.starts_with(wanted),
            "the client said {found:?}, expected {wanted:?}"
        );
        Ok(())
    };
    next("NOERROR")?;
    next("ok")?;
    shelf.put(&version(&["api.example.test", "*.data.example.test"]).text())?;
    wait_for(agent, 2)?;
    fs::write(SIGNS[0], "")?;
    next("now")?;
    next("ok")?;
    shelf.put(&version(&["*.data.example.test"]).text())?;
    wait_for(agent, 3)?;
    fs::write(SIGNS[1], "")?;
    next("now")?;
    next("EPERM")?;
    next("REFUSED")?;
    child.wait()?;
    for sign in SIGNS {
        fs::remove_file(sign)?;
    }
    Ok(())
}

fn dead() -> Result<()> {
    let network = Network::set_up()?;
    let policy = policy("names-dead", &["api.example.test", "*.data.example.test"]);
    outlive(&network, &policy, |command| command)
}

/// A session outlives its daemon, and is answered by the next. `place` says where its command runs.
pub(super) fn outlive(
    network: &Network,
    policy: &Policy,
    place: impl FnOnce(Command) -> Command,
) -> Result<()> {
    const SIGN: &str = "/tmp/names.dead";
    let daemon = Daemon::shared()?;
    let hold = format!("hold 198.51.100.1 8090 {SIGN} api.example.test other.data.example.test");
    let command = Place::Inside(policy).command(&network.client.words(&[&hold]))?;
    let mut child = place(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = Talk::of(&mut child)?;
    said.expect("connected")?;
    daemon.end(9)?;
    let before = network.heard()?.len();
    fs::write(SIGN, "dead")?;
    // Lookups fail, the connection and the address go on.
    said.expect("lookup ECONNREFUSED")?;
    said.expect("again ok")?;
    said.expect("new ok")?;
    ensure!(
        network.heard()?.len() == before,
        "a lookup left the host without a resolver"
    );
    Daemon::start()?;
    fs::write(SIGN, "back")?;
    said.expect("lookup NOERROR")?;
    said.expect("other ok")?;
    child.wait()?;
    Ok(fs::remove_file(SIGN)?)
}
