//! The demonstration: one agent, two servers, one rule. Every line that claims something is the
//! outcome of what was just done; when an outcome is another, the demonstration fails.

mod central;
mod payout;

use crate::harness::events::Events;
use crate::harness::network::{ALLOWED4, DENIED4, Server, at};
use crate::harness::policy::Policy;
use crate::harness::product::{self, Daemon};
use crate::harness::session::Place;
use crate::harness::{kernel, network};
use anyhow::{Context, Result, ensure};
use std::io::{IsTerminal, Write};

const PORT: u16 = 443;
const AGENT: &str = "invoice-reader";

/// Tells the story.
pub(crate) fn run() -> Result<()> {
    product::remove()?;
    network::set_up()?;
    let api = at(ALLOWED4, PORT)?;
    let elsewhere = at(DENIED4, PORT)?;
    let policy = Policy::named(AGENT).allow(ALLOWED4, &PORT.to_string(), "tcp");
    let servers = [Server::tcp(api)?, Server::tcp(elsewhere)?];

    title(&format!("Interlock on Linux {}", kernel::release()));
    say(&format!(
        "Two servers listen: {api}, which the agent needs, and {elsewhere}, which it does not."
    ));

    title("1. Without Interlock, a program goes where it likes");
    tried(Place::Outside, api, "ok")?;
    tried(Place::Outside, elsewhere, "ok")?;
    ensure!(
        servers[0].reached()? == 1 && servers[1].reached()? == 1,
        "a server saw nothing"
    );

    title("2. The agent's policy: who answers for it, and the one place it may go");
    for line in policy.text().lines() {
        say(line);
    }

    title("3. The daemon loads the kernel programs and proves that they deny");
    Daemon::start()?;
    let log = std::fs::read_to_string(product::LOG)?;
    say(log
        .lines()
        .find(|line| line.contains("ready"))
        .unwrap_or_default());

    title(&format!(
        "4. interlock run --policy {AGENT}.yaml --agent {AGENT} -- the same program"
    ));
    let events = Events::from_now()?;
    tried(Place::Inside(&policy), api, "ok")?;
    tried(Place::Inside(&policy), elsewhere, "EPERM")?;
    ensure!(
        servers[0].reached()? == 1,
        "the allowed connection did not arrive"
    );
    ensure!(servers[1].reached()? == 0, "the denied connection arrived");
    say("No packet left: the server saw nothing.");

    title("5. Why? The event says");
    let denial = events.expect(AGENT, "connect", elsewhere, "tcp")?;
    field("session", &format!("{} of agent {AGENT}", denial.session));
    field(
        "who",
        &format!(
            "{} (pid {}, user {})",
            denial.process.exe.unwrap_or_default(),
            denial.process.pid,
            denial.uid
        ),
    );
    let above: Vec<_> = denial
        .ancestry
        .iter()
        .map(|process| process.comm.as_str())
        .collect();
    field("started by", &above.join(" < "));
    field(
        "did",
        &format!(
            "{} {} {}/{}",
            denial.action, denial.object.address, denial.object.port, denial.object.protocol
        ),
    );
    field("verdict", &format!("{}: {}", denial.verdict, denial.reason));
    field("at", &denial.time);

    title("6. Its children cannot do what it cannot");
    let to = elsewhere.to_string();
    for (kind, how) in [
        ("fork", "a hundred forks"),
        ("double-fork", "a daemon that nobody's child is"),
        ("thread", "a thread of its own"),
    ] {
        let count = if kind == "fork" { "100" } else { "1" };
        let tally = Place::Inside(&policy).act(&["spread", kind, &to, count])?;
        let tally = crate::act::spread::Tally::from_output(&tally).context("no tally")?;
        ensure!(tally.denied.to_string() == count, "{how}: {tally:?}");
        field(how, &format!("{count} of {count} denied"));
    }

    title("7. Nobody else notices");
    tried(Place::Outside, elsewhere, "ok")?;

    title("8. The daemon may die; the kernel goes on");
    let daemon = Daemon::shared()?;
    let mut actor = Place::Inside(&policy).obey()?;
    daemon.end(libc::SIGKILL)?;
    let answer = actor.order(&format!("way tcp {elsewhere}"))?;
    ensure!(answer == "EPERM", "without the daemon: {answer}");
    field(
        "killed with signal 9, then",
        &format!("connect {elsewhere}: {answer}"),
    );
    actor.end()?;

    central::show(&policy, elsewhere)?;

    title("15. interlock uninstall");
    product::uninstall()?;
    tried(Place::Outside, elsewhere, "ok")?;
    say("Nothing of Interlock is left in this kernel.");
    println!();
    Ok(())
}

/// Tries to connect, shows the outcome, and insists on it.
fn tried(place: Place<'_>, to: std::net::SocketAddr, expected: &str) -> Result<()> {
    let outcome = place.act(&["way", "tcp", &to.to_string()])?;
    let who = match place {
        Place::Outside | Place::OutsideAs(_) => "outside every session",
        Place::Inside(_)
        | Place::Under(..)
        | Place::As(..)
        | Place::Granted(..)
        | Place::Loaded(_) => "inside the session",
    };
    let shown = match outcome.as_str() {
        "ok" => painted("32", "connected"),
        "EPERM" => painted("31", "EPERM (Operation not permitted)"),
        other => other.to_owned(),
    };
    println!("   {who:<22} connect {to:<18} -> {shown}");
    ensure!(
        outcome == expected,
        "{who}, {to}: {outcome}, expected {expected}"
    );
    Ok(())
}

fn title(text: &str) {
    println!("\n{}", painted("1", text));
    // A pipe to the machine's console would otherwise hold the story back.
    let _ = std::io::stdout().flush();
}

fn say(text: &str) {
    println!("   {text}");
}

fn field(name: &str, value: &str) {
    println!("   {name:<32} {value}");
}

fn painted(colour: &str, text: &str) -> String {
    if std::io::stdout().is_terminal() {
        format!("\x1b[{colour}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}
