//! Sessions in a network namespace of their own, as that of a pod is.

use super::names::{self, Network};
use super::names_life;
use super::relay::Web;
use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::kernel::before;
use crate::harness::network::ip;
use crate::harness::policy::Policy;
use crate::harness::product;
use crate::harness::session::Place;
use crate::harness::steps::{Steps, Talk};
use anyhow::{Result, ensure};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The namespace, what connects it to the host, and the addresses of both ends.
const NAME: &str = "elsewhere";
const CABLE: [&str; 2] = ["elsewhere0", "elsewhere1"];
const HOST: &str = "203.0.113.1";
const AGENT: &str = "203.0.113.2";
/// When the client may ask again.
const SIGN: &str = "/tmp/elsewhere.sign";
/// How long the daemon may take to leave.
const TO_LEAVE: Duration = Duration::from_secs(90);

const LOOKUP: &str = "query 8.8.8.8 udp api.example.test A";
const FOUND: &str = "NOERROR 198.51.100.1 from 8.8.8.8:53 peer 8.8.8.8:53";

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "elsewhere.works",
            "a session in a network namespace of its own looks names up and is relayed, by its own routes, with the next daemon too; and nothing of the daemon stays there",
            works,
        )
        .unless(unless_told_apart)
        .patience(400),
        Test::new(
            "elsewhere.later",
            "who goes there later is refused a lookup, and answered the next",
            later,
        )
        .unless(unless_told_apart)
        .patience(240),
        Test::new(
            "elsewhere.nameless",
            "where the kernel does not tell which namespace it is nobody is asked, and that is said",
            nameless,
        )
        .unless(|| (!before(5, 14)).then(|| "this kernel tells".into()))
        .patience(240),
    ]
}

fn unless_told_apart() -> Option<String> {
    before(5, 14).then(|| "this kernel does not tell which network namespace it is".into())
}

/// A namespace with a cable to the host.
struct Elsewhere;

impl Elsewhere {
    fn set_up() -> Result<Self> {
        ip(&["netns", "add", NAME])?;
        let elsewhere = Self;
        let [here, there] = CABLE;
        ip(&[
            "link", "add", here, "type", "veth", "peer", there, "netns", NAME,
        ])?;
        ip(&["address", "add", &format!("{HOST}/24"), "dev", here])?;
        ip(&["link", "set", here, "up"])?;
        for words in [
            &["address", "add", &format!("{AGENT}/24"), "dev", there][..],
            &["link", "set", there, "up"],
            &["link", "set", "lo", "up"],
            &["route", "add", "default", "via", HOST],
        ] {
            ip(&[&["-netns", NAME], words].concat())?;
        }
        Ok(elsewhere)
    }

    /// A command, there.
    fn command(&self, command: &Command) -> Command {
        // `ip netns exec` would hide bpffs.
        let mut there = Command::new("nsenter");
        there.arg(format!("--net=/run/netns/{NAME}"));
        there.arg(command.get_program()).args(command.get_args());
        there
    }

    /// Takes steps there, and gives what they said.
    fn take(&self, policy: &Policy, client: &Steps, steps: &[&str]) -> Result<Vec<String>> {
        let inside = Place::Inside(policy).command(&client.words(steps))?;
        let output = self.command(&inside).stdin(Stdio::null()).output()?;
        ensure!(output.status.success(), "{}", product::said(&output));
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().map(str::to_owned).collect())
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = ip(&["netns", "del", NAME]);
    }
}

fn works() -> Result<()> {
    let web = Web::set_up()?;
    let elsewhere = Elsewhere::set_up()?;
    let by_name = names::policy("elsewhere", &["api.example.test", "*.data.example.test"]);
    let said = elsewhere.take(
        &by_name,
        &web.names.client,
        &[
            "connect 198.51.100.1 8090",
            LOOKUP,
            "query 8.8.8.8 tcp api.example.test A",
            "connect 198.51.100.1 8090",
            "query 8.8.8.8 udp bank.example.test A",
        ],
    )?;
    let refused = "REFUSED - from 8.8.8.8:53 peer 8.8.8.8:53";
    ensure!(said == ["EPERM", FOUND, FOUND, "ok", refused], "{said:?}");

    let relayed = Policy::named("elsewhere-relayed").with(
        "  egress:\n    allow:\n      - {to: [a.data.example.test], ports: [8443], sni: required}\n",
    );
    let said = elsewhere.take(
        &relayed,
        &web.client,
        &[
            "secure a.data.example.test 8443 a.data.example.test",
            "secure 198.51.100.9 8443 b.data.example.test",
        ],
    )?;
    ensure!(
        said == ["tls a.data.example.test", "ECONNRESET"],
        "{said:?}"
    );
    let heard = web.heard()?;
    ensure!(
        heard.contains(&format!("from ::ffff:{AGENT}")) && !heard.contains("b.data"),
        "{heard}"
    );

    names_life::outlive(&web.names, &by_name, |command| elsewhere.command(&command))?;

    // A socket of the daemon's would keep the namespace, and that its end of the cable.
    drop(elsewhere);
    let begun = Instant::now();
    while Path::new("/sys/class/net").join(CABLE[0]).exists() {
        ensure!(begun.elapsed() < TO_LEAVE, "the daemon keeps the namespace");
        thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

/// A policy under which a session may leave for another namespace.
fn leaving(agent: &str) -> Policy {
    names::policy(agent, &["api.example.test"])
        .with("  privileges: [cap_sys_admin, cap_net_admin]\n")
}

fn later() -> Result<()> {
    let network = Network::set_up()?;
    let agent = "elsewhere-later";
    let policy = leaving(agent);
    let events = Events::from_now()?;
    let until = format!("until {SIGN}");
    let mut child = Place::Inside(&policy)
        .command(&network.client.words(&[
            "away",
            LOOKUP,
            &until,
            LOOKUP,
            "connect 198.51.100.1 8090",
        ]))?
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = Talk::of(&mut child)?;
    said.expect("0")?;
    said.expect("EPERM")?;
    find_denial(events, agent)?;
    fs::write(SIGN, "")?;
    said.expect("now")?;
    said.expect(FOUND)?;
    // The name is known there, and nothing leads to it.
    said.expect("ENETUNREACH")?;
    child.wait()?;
    Ok(fs::remove_file(SIGN)?)
}

fn nameless() -> Result<()> {
    let network = Network::set_up()?;
    let agent = "elsewhere-nameless";
    let policy = leaving(agent);
    let events = Events::from_now()?;
    network.client.expect(
        Place::Inside(&policy),
        &[("away", "0"), (LOOKUP, "EPERM"), (LOOKUP, "EPERM")],
    )?;
    ensure!(
        !network.heard()?.contains("api.example.test"),
        "a lookup left the host"
    );
    find_denial(events, agent)
}

fn find_denial(events: Events, agent: &str) -> Result<()> {
    events.find("the lookup in a namespace", |denial| {
        denial.agent.as_deref() == Some(agent)
            && denial.reason == "no resolver in this network namespace"
    })?;
    Ok(())
}
