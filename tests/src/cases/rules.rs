//! What a rule allows, and nothing beside it.

use crate::harness::Test;
use crate::harness::network::{ALLOWED4, ALLOWED6, at};
use crate::harness::policy::Policy;
use crate::harness::product::{self, Daemon};
use crate::harness::session::Place;
use anyhow::{Result, ensure};
use std::thread;
use std::time::{Duration, Instant};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("rules.ports", "a range of ports ends where it ends", ports),
        Test::new(
            "rules.protocol",
            "a rule for TCP allows no UDP, and the other way round",
            protocol,
        ),
        Test::new("rules.networks", "a network ends where it ends", networks),
        Test::new(
            "rules.nothing",
            "a policy without rules allows nothing",
            nothing,
        ),
        Test::new(
            "rules.two_sessions",
            "two sessions are each held to their own policy",
            two_sessions,
        ),
        Test::new(
            "rules.uninstalled",
            "a process of a session is free once Interlock is gone",
            uninstalled,
        )
        .removes(),
    ]
}

/// Asks one session for many addresses. `expected` pairs a way and an address with allowed.
fn asked(policy: &Policy, expected: &[(&str, &str, u16, bool)]) -> Result<()> {
    Daemon::shared()?;
    let mut actor = Place::Inside(policy).obey()?;
    let mut wrong = Vec::new();
    for (way, address, port, allowed) in expected {
        let answer = actor.order(&format!("way {way} {}", at(address, *port)?))?;
        // Nobody listens: what is allowed ends as the network ends it.
        let denied = answer == "EPERM";
        if denied == *allowed {
            wrong.push(format!(
                "{way} {address} port {port}: {answer}, allowed should be {allowed}"
            ));
        }
    }
    actor.end()?;
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn ports() -> Result<()> {
    let policy =
        Policy::named("ports").allow(ALLOWED4, "443, 1, 65535, 8000-8010, 20001-29999", "udp");
    let expected: Vec<_> = [
        (1, true),
        (2, false),
        (442, false),
        (443, true),
        (444, false),
        (7999, false),
        (8000, true),
        (8005, true),
        (8010, true),
        (8011, false),
        (20000, false),
        (20001, true),
        (24576, true),
        (29999, true),
        (30000, false),
        (65534, false),
        (65535, true),
    ]
    .into_iter()
    .map(|(port, allowed)| ("udp-connected", ALLOWED4, port, allowed))
    .collect();
    asked(&policy, &expected)
}

fn protocol() -> Result<()> {
    let policy = Policy::named("protocol")
        .allow(ALLOWED4, "443", "tcp")
        .allow(ALLOWED4, "53", "udp");
    asked(
        &policy,
        &[
            ("tcp", ALLOWED4, 443, true),
            ("fastopen", ALLOWED4, 443, true),
            ("udp", ALLOWED4, 443, false),
            ("udp-connected", ALLOWED4, 443, false),
            ("tcp", ALLOWED4, 53, false),
            ("fastopen", ALLOWED4, 53, false),
            ("udp", ALLOWED4, 53, true),
            ("udp-connected", ALLOWED4, 53, true),
        ],
    )
}

fn networks() -> Result<()> {
    let policy = Policy::named("networks")
        .allow("192.0.2.8/29", "443", "udp")
        .allow("2001:db8::/64", "443", "udp");
    asked(
        &policy,
        &[
            ("udp", "192.0.2.7", 443, false),
            ("udp", "192.0.2.8", 443, true),
            ("udp", "192.0.2.15", 443, true),
            ("udp", "192.0.2.16", 443, false),
            ("udp", ALLOWED6, 443, true),
            ("udp", "2001:db8:0:1::10", 443, false),
            ("udp", "127.0.0.1", 443, false),
            ("udp", "0.0.0.0", 443, false),
            ("udp", "::1", 443, false),
            ("udp", "::", 443, false),
        ],
    )
}

fn nothing() -> Result<()> {
    asked(
        &Policy::named("nothing"),
        &[
            ("udp", ALLOWED4, 443, false),
            ("tcp", ALLOWED4, 443, false),
            ("udp", ALLOWED6, 443, false),
            ("tcp", ALLOWED6, 443, false),
            ("udp", "127.0.0.1", 53, false),
        ],
    )
}

fn two_sessions() -> Result<()> {
    Daemon::shared()?;
    let one = Policy::named("two-sessions-one").allow(ALLOWED4, "1001", "udp");
    let other = Policy::named("two-sessions-other").allow(ALLOWED4, "1002", "udp");
    let mut first = Place::Inside(&one).obey()?;
    let mut second = Place::Inside(&other).obey()?;
    let order = |port| Ok::<_, anyhow::Error>(format!("probe {}", at(ALLOWED4, port)?));
    for _ in 0..3 {
        let answers = [
            first.order(&order(1001)?)?,
            first.order(&order(1002)?)?,
            second.order(&order(1001)?)?,
            second.order(&order(1002)?)?,
        ];
        let expected = ["ok", "EPERM", "EPERM", "ok"];
        ensure!(
            answers == expected,
            "the answers are {answers:?}, expected {expected:?}"
        );
    }
    first.end()?;
    second.end()?;
    Ok(())
}

fn uninstalled() -> Result<()> {
    Daemon::shared()?;
    let order = format!("way udp {}", at(ALLOWED4, 443)?);
    let mut actor = Place::Inside(&Policy::named("uninstalled")).obey()?;
    let inside = actor.order(&order)?;
    ensure!(
        inside == "EPERM",
        "inside a session: {inside}, expected EPERM"
    );
    product::remove()?;
    // The kernel detaches what nobody holds any more in a work queue (`bpf_link_put_deferred`), so
    // "gone" may come a moment after the last pin.
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut after = actor.order(&order)?;
    while after == "EPERM" && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
        after = actor.order(&order)?;
    }
    ensure!(
        after == "ok",
        "once Interlock is gone: {after}, expected ok"
    );
    actor.end()?;
    Ok(())
}
