//! No process leaves its session (red team P1 to P3).

use crate::act::spread::Tally;
use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::network::{DENIED4, PORT, at};
use crate::harness::policy::Policy;
use crate::harness::product::{self, Daemon};
use crate::harness::session::Place;
use anyhow::{Context, Result, ensure};

pub(super) fn tests() -> Vec<Test> {
    let kinds = [
        ("fork", 300, "children made by fork"),
        ("thread", 200, "threads"),
        ("vfork", 50, "children made by vfork"),
        ("spawn", 20, "children made by posix_spawn"),
        (
            "exec",
            30,
            "a program that thirty others have replaced one another for",
        ),
        ("clone3", 50, "children made by clone3"),
        ("clone-parent", 1, "a sibling made by CLONE_PARENT"),
        ("setsid", 20, "leaders of new kernel sessions"),
        (
            "double-fork",
            1,
            "a process that was handed to another parent",
        ),
        ("cgroup-move", 5, "processes that moved to a new cgroup"),
        (
            "cgroup-into",
            5,
            "processes born into another cgroup by CLONE_INTO_CGROUP",
        ),
        ("namespace-pid", 5, "processes in a new pid namespace"),
        ("namespace-mount", 5, "processes in a new mount namespace"),
        ("namespace-user", 5, "processes in a new user namespace"),
        ("namespace-cgroup", 5, "processes in a new cgroup namespace"),
        (
            "namespace-all",
            5,
            "processes in six new namespaces at once",
        ),
        (
            "clone-namespaces",
            5,
            "processes born into new pid and mount namespaces",
        ),
    ];
    let mut tests: Vec<Test> = kinds
        .into_iter()
        .map(|(kind, count, who)| {
            Test::new(
                format!("{}.{}", family(kind), kind.replace('-', "_")),
                format!("{who} stay in the session"),
                move || stays(kind, count),
            )
        })
        .collect();
    tests.push(
        Test::new(
            "red.p1.forks",
            "of two thousand forks not one is unlabelled, and each denial is told or counted",
            || forks(2_000),
        )
        .patience(240),
    );
    tests.push(
        Test::new(
            "long.forks",
            "of ten thousand forks not one is unlabelled, and each denial is told or counted",
            || forks(10_000),
        )
        .patience(600),
    );
    tests
}

/// The row of the red team's catalogue that a way of getting children is of, or else this family.
fn family(kind: &str) -> &'static str {
    match kind {
        "fork" | "thread" | "setsid" | "double-fork" | "clone-parent" => "red.p1",
        _ => "inherit",
    }
}

fn stays(kind: &str, count: u32) -> Result<()> {
    Daemon::shared()?;
    // The way itself may need a privilege. With it, the label stays all the same.
    let policy = Policy::named("inherit").privileges(match kind {
        "cgroup-move" | "cgroup-into" => &["cgroup"],
        "namespace-user" => &["userns"],
        "namespace-all" => &["userns", "cap_sys_admin"],
        kind if kind.contains("namespace") => &["cap_sys_admin"],
        _ => &[],
    });
    let to = at(DENIED4, PORT)?.to_string();
    let part = ["spread", kind, &to, &count.to_string()];
    let probes = if kind == "exec" { 1 } else { count };
    let all_allowed = Tally {
        allowed: probes,
        ..Tally::default()
    };
    let all_denied = Tally {
        denied: probes,
        ..Tally::default()
    };

    let control = tally(&Place::Outside.act(&part)?)?;
    ensure!(
        control == all_allowed,
        "the control: {control:?}, expected {all_allowed:?}"
    );
    let events = Events::from_now()?;
    let inside = tally(&Place::Inside(&policy).act(&part)?)?;
    ensure!(
        inside == all_denied,
        "inside a session: {inside:?}, expected {all_denied:?}"
    );
    let denials = events.wait("inherit", usize::try_from(probes)?)?;
    let session = &denials.first().context("no denial")?.session;
    ensure!(
        denials.iter().all(|denial| denial.session == *session),
        "the denials are of more than one session"
    );
    let after = tally(&Place::Outside.act(&part)?)?;
    ensure!(
        after == all_allowed,
        "afterwards: {after:?}, expected {all_allowed:?}"
    );
    Ok(())
}

fn forks(count: u32) -> Result<()> {
    Daemon::shared()?;
    let policy = Policy::named("forks");
    let to = at(DENIED4, PORT)?.to_string();
    let control = tally(&Place::Outside.act(&["spread", "fork", &to, "100"])?)?;
    ensure!(control.allowed == 100, "the control: {control:?}");
    let before = settled()?;
    let events = Events::from_now()?;
    let inside =
        tally(&Place::Inside(&policy).act(&["spread", "fork", &to, &count.to_string()])?)?;
    let expected = Tally {
        denied: count,
        ..Tally::default()
    };
    ensure!(
        inside == expected,
        "inside a session: {inside:?}, expected {expected:?}"
    );
    let after = settled()?;
    ensure!(
        after.denied - before.denied == u64::from(count),
        "{} denials were counted, expected {count}",
        after.denied - before.denied
    );
    let lost = after.events_lost - before.events_lost;
    let told = events.wait("forks", usize::try_from(u64::from(count) - lost)?)?;
    ensure!(
        told.len() as u64 + lost == u64::from(count),
        "{} denials were told and {lost} lost, expected {count} together",
        told.len()
    );
    Ok(())
}

/// The status while no canary is about: what one was denied is taken off when it is heard of, a moment later.
fn settled() -> Result<product::Status> {
    let mut last = product::status()?;
    let mut still = 0;
    while still < 4 {
        std::thread::sleep(std::time::Duration::from_millis(500));
        let now = product::status()?;
        still = if now.denied == last.denied {
            still + 1
        } else {
            0
        };
        last = now;
    }
    Ok(last)
}

/// The tally that an actor printed.
pub(super) fn tally(output: &str) -> Result<Tally> {
    Tally::from_output(output).with_context(|| format!("no tally in {output:?}"))
}
