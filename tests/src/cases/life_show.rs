//! What people are shown of sessions, and to whom the daemon talks.

use crate::harness::events::Events;
use crate::harness::network::{DENIED4, PORT, at};
use crate::harness::policy::Policy;
use crate::harness::product::{self, Daemon, SOCKET, said};
use crate::harness::session::Place;
use crate::harness::{Test, kernel};
use anyhow::{Context, Result, ensure};
use serde_json::Value;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "life.show.events",
            "events are numbered, found by what they say, explained, and outlive the daemon",
            events,
        ),
        Test::new(
            "life.show.ps",
            "processes are shown as a tree, with program, arguments and start",
            ps,
        ),
        Test::new(
            "red.t6.late_member",
            "who connects to the daemon and then joins a session is refused from then on",
            late_member,
        ),
        Test::new(
            "red.t6.member_connects",
            "a session cannot connect to the daemon's socket",
            member_connects,
        )
        .unless(kernel::unless_with_bpf_lsm),
    ]
}

/// The lines that a command prints, as JSON.
fn lines(words: &[&str]) -> Result<Vec<Value>> {
    let output = product::call(words)?;
    ensure!(output.status.success(), "{words:?}: {}", said(&output));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("{words:?}: {line}")))
        .collect()
}

fn events() -> Result<()> {
    let daemon = Daemon::shared()?;
    let told = Events::from_now()?;
    let to = at(DENIED4, PORT)?;
    let denied = Place::Inside(&Policy::named("shown")).act(&["way", "udp", &to.to_string()])?;
    ensure!(denied == "EPERM", "the send: {denied}, expected EPERM");
    let pid = told
        .wait("shown", 1)?
        .first()
        .context("no denial")?
        .process
        .pid;
    told.ended("shown")?;
    let words = ["events", "--json", "--since", "1m", "--agent", "shown"];
    let all = lines(&words)?;
    let kinds: Vec<_> = all.iter().map(|event| event["kind"].as_str()).collect();
    ensure!(
        kinds == [Some("started"), Some("denial"), Some("ended")],
        "found {kinds:?}, expected the session's three events"
    );
    let number = |event: &Value| event["number"].as_u64().context("no number");
    let numbers: Vec<u64> = all.iter().map(number).collect::<Result<_>>()?;
    ensure!(
        numbers.is_sorted_by(|a, b| a < b),
        "the numbers are {numbers:?}, expected them to grow"
    );
    let mut denials = words.to_vec();
    denials.extend(["--verdict", "deny"]);
    ensure!(
        lines(&denials)? == all[1..2],
        "--verdict deny: not the denial alone"
    );

    let event = format!("e{}", numbers[1]);
    for what in [event.as_str(), &pid.to_string()] {
        let output = product::call(&["why", what])?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success()
                && text.contains(&format!("Process {pid} "))
                && text.contains(&format!("send {DENIED4}:{PORT}/udp"))
                && text.contains("No rule of its policy names it"),
            "why {what}: {}",
            said(&output)
        );
    }
    let none = product::call(&["why", "e999999999"])?;
    ensure!(
        none.status.code() == Some(1),
        "no such event: {}",
        said(&none)
    );

    daemon.end(libc::SIGKILL)?;
    Daemon::start()?;
    ensure!(
        lines(&words)? == all,
        "the next daemon does not know the same events"
    );
    let again = Place::Inside(&Policy::named("shown")).act(&["way", "udp", &to.to_string()])?;
    ensure!(again == "EPERM", "the send: {again}, expected EPERM");
    let after = Events::from_now()?;
    after.wait("shown", 0)?;
    let mut found = Vec::new();
    for _ in 0..100 {
        found = lines(&denials)?;
        if found.len() > 1 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let next = number(
        found
            .get(1)
            .context("the second denial is not in the journal")?,
    )?;
    ensure!(
        next > numbers[2],
        "number {next} after {numbers:?}, expected a higher one"
    );
    Ok(())
}

fn ps() -> Result<()> {
    Daemon::shared()?;
    let policy = Policy::named("tree");
    let mut run = Place::Inside(&policy)
        .command(&["sh", "-c", "sleep 1000 & sleep 2000 & wait"])?
        .spawn()?;
    let session = product::begun("tree")?.session;
    let mut shown = Value::Null;
    for _ in 0..100 {
        let output = product::call(&["ps", &session, "--json"])?;
        shown = serde_json::from_slice(&output.stdout).with_context(|| said(&output))?;
        if shown.as_array().is_some_and(|list| list.len() == 3) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let list = shown.as_array().context("no list")?;
    let tree: Vec<_> = list
        .iter()
        .map(|one| {
            (
                one["depth"].as_u64(),
                one["args"][0].as_str(),
                one["args"][1].as_str(),
            )
        })
        .collect();
    ensure!(
        tree == [
            (Some(0), Some("sh"), Some("-c")),
            (Some(1), Some("sleep"), Some("1000")),
            (Some(1), Some("sleep"), Some("2000")),
        ],
        "found {tree:?}, expected sh with two children"
    );
    ensure!(
        list.iter().all(
            |one| one["exe"].as_str().is_some_and(|exe| exe.starts_with('/'))
                && one["started"]
                    .as_str()
                    .is_some_and(|time| time.ends_with('Z'))
        ),
        "a program or a start is missing: {shown}"
    );
    let output = product::call(&["ps"])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        text.contains(&format!("session {session} of tree")) && text.contains("  sleep 1000"),
        "ps: {}",
        said(&output)
    );
    product::revoke(&session, "shown")?;
    run.wait()?;
    Ok(())
}

fn late_member() -> Result<()> {
    Daemon::shared()?;
    let policy = Policy::named("late").text();
    // With BPF LSM the question does not even reach the daemon.
    let expected = match kernel::unless_with_bpf_lsm() {
        None => "Operation not permitted",
        Some(_) => "it belongs to session",
    };
    let said = Place::Outside.act(&["join-late", SOCKET, &policy])?;
    let lines: Vec<&str> = said.lines().collect();
    ensure!(
        lines.first() == Some(&"before: true")
            && lines.get(1).is_some_and(|line| line.contains(expected)),
        "the daemon said {lines:?}, expected an answer and then a refusal"
    );
    println!("HELD refused");
    Ok(())
}

fn member_connects() -> Result<()> {
    Daemon::shared()?;
    let words = ["interlock", "status"];
    let control = Place::Outside.run(&words)?;
    ensure!(control.status.success(), "outside: {}", said(&control));
    let inside = Place::Inside(&Policy::named("asks")).run(&words)?;
    ensure!(
        inside.status.code() == Some(1)
            && String::from_utf8_lossy(&inside.stderr).contains("not allowed to ask"),
        "inside: {}",
        said(&inside)
    );
    println!("HELD refused");
    Ok(())
}
