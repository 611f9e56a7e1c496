//! Namespaces, cgroups, and the other way into the kernel.

use super::act::{FOLDER, NOBODY};
use super::acts::unless_i386;
use crate::cases::inherit::tally;
use crate::harness::events::Events;
use crate::harness::network::{DENIED4, PORT, at};
use crate::harness::policy::Policy;
use crate::harness::product::{Daemon, said};
use crate::harness::session::{Place, own_program};
use crate::harness::{Test, kernel};
use anyhow::{Context, Result, ensure};
use std::fs;

pub(super) fn tests() -> Vec<Test> {
    let mut tests = vec![
        Test::new(
            "red.x12.i386_connect",
            "a connection by i386's way into the kernel is judged like any other",
            i386_connect,
        )
        .unless(unless_i386),
        Test::new(
            "red.f3.userns_mount",
            "a user namespace gives a session nothing: what is mounted in it is denied",
            userns_mount,
        )
        .unless(kernel::unless_with_bpf_lsm),
    ];
    for (kind, shows) in [
        (
            "cgroup-into",
            "no child of a session is born into another cgroup",
        ),
        (
            "namespace-pid",
            "no process of a session makes a pid namespace",
        ),
        (
            "namespace-all",
            "no process of a session makes six namespaces at once",
        ),
    ] {
        let row = if kind.starts_with("cgroup") {
            "p2"
        } else {
            "p3"
        };
        let name = format!("red.{row}.{}", kind.replace('-', "_"));
        tests.push(
            Test::new(name, shows, move || not_born(kind)).unless(kernel::unless_with_bpf_lsm),
        );
    }
    tests
}

fn i386_connect() -> Result<()> {
    Daemon::shared()?;
    let to = at(DENIED4, PORT)?;
    let attempt = |place: Place<'_>| place.act(&["overreach", "connect-i386", &to.to_string()]);
    let policy = Policy::named("i386-connect");
    for (place, expected) in [
        (Place::Outside, "ok"),
        (Place::Inside(&policy), "EPERM"),
        (Place::Outside, "ok"),
    ] {
        let events = Events::from_now()?;
        let answer = attempt(place)?;
        ensure!(
            answer == expected,
            "{place:?}: {answer}, expected {expected}"
        );
        if expected == "EPERM" {
            events.expect("i386-connect", "connect", to, "udp")?;
        }
    }
    Ok(())
}

/// Ways of making processes that the kernel must refuse to a session without the privilege.
fn not_born(kind: &str) -> Result<()> {
    Daemon::shared()?;
    let to = at(DENIED4, PORT)?.to_string();
    let part = ["spread", kind, &to, "1"];
    let agent = format!("not-born-{kind}");
    let policy = Policy::named(&agent);
    let program = own_program()?;
    let words: Vec<&str> = [program.as_str(), "act"].into_iter().chain(part).collect();

    let control = tally(&Place::Outside.act(&part)?)?;
    ensure!(control.allowed == 1, "the control: {control:?}");
    let events = Events::from_now()?;
    let output = Place::Inside(&policy).run(&words)?;
    let said = said(&output);
    ensure!(
        said.contains("Operation not permitted"),
        "inside a session: {said}, expected EPERM"
    );
    let privilege = match kind {
        "cgroup-into" => "cgroup",
        "namespace-all" if !kernel::before(6, 1) => "userns",
        _ => "cap_sys_admin",
    };
    events.expect_privilege(&agent, privilege)?;
    let after = tally(&Place::Outside.act(&part)?)?;
    ensure!(after.allowed == 1, "afterwards: {after:?}");
    Ok(())
}

fn userns_mount() -> Result<()> {
    Daemon::shared()?;
    fs::create_dir_all(FOLDER).context(FOLDER)?;
    // As a user who has nothing to begin with.
    let part = ["overreach", "userns-mount", FOLDER];
    let control = Place::OutsideAs(NOBODY.1).act(&part)?;
    ensure!(control == "ok", "the control: {control}");
    for privileges in [&[][..], &["userns"], &["userns", "mount"]] {
        let policy = Policy::named("userns-mount").privileges(privileges);
        let events = Events::from_now()?;
        let answer = Place::As(&policy, NOBODY.0).act(&part)?;
        ensure!(
            answer == "EPERM",
            "with {privileges:?}: {answer}, expected EPERM"
        );
        let lacking = match privileges {
            [] if !kernel::before(6, 1) => "userns",
            _ => "cap_sys_admin",
        };
        events.expect_privilege("userns-mount", lacking)?;
    }
    let policy = Policy::named("userns-mount").privileges(&["userns", "mount", "cap_sys_admin"]);
    let answer = Place::As(&policy, NOBODY.0).act(&part)?;
    ensure!(answer == "ok", "with all it takes: {answer}");
    Ok(())
}
