//! A full ring (red team E1): nothing is allowed for it, and what is lost is counted.

use super::inherit::tally;
use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::network::{DENIED4, PORT, at};
use crate::harness::policy::Policy;
use crate::harness::product::{self, Daemon};
use crate::harness::session::Place;
use agent_common::abi;
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "loss.ring_full",
            "with the daemon stopped every denial is enforced, and told or counted as lost",
            ring_full,
        )
        .patience(180),
        Test::new(
            "red.e1.neighbour",
            "a session that causes denials as fast as it can costs another none of its own",
            || neighbour(100_000),
        )
        .patience(240),
        Test::new(
            "long.neighbour",
            "a session that causes a million denials as fast as it can costs another none of its own",
            || neighbour(1_000_000),
        )
        .patience(3600),
    ]
}

fn ring_full() -> Result<()> {
    /// More than the ring holds, at 360 bytes for each.
    const DENIALS: u32 = abi::DECISION_RING_BYTES / 360 + 8_000;
    let daemon = Daemon::shared()?;
    let to = at(DENIED4, PORT)?.to_string();
    let before = product::status()?;
    let events = Events::from_now()?;
    let policy = Policy::named("ring-full");
    // The session is made while somebody answers; only its actor runs while nobody reads.
    let mut gate = Place::Inside(&policy).obey()?;
    daemon.freeze()?;
    let inside = gate.order(&format!("flood {to} {DENIALS}"));
    daemon.signal(libc::SIGCONT)?;
    let inside = tally(&inside?)?;
    ensure!(
        inside.denied == DENIALS,
        "inside a session: {inside:?}, expected {DENIALS} denied"
    );
    gate.end()?;

    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        let after = product::status()?;
        let denied = after.denied - before.denied;
        let lost = after.events_lost - before.events_lost;
        let told = events.denials("ring-full")?.len() as u64;
        let told_lost = events.lost()?;
        if denied == u64::from(DENIALS) && told + lost == denied && told_lost == lost && lost > 0 {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "{denied} denials were counted (expected {DENIALS}); {told} were told and {lost} \
             counted as lost, together {}; the lines speak of {told_lost} lost",
            told + lost
        );
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Red team E1: the flood of one session, and the single denials of another beside it.
fn neighbour(many: u32) -> Result<()> {
    const SINGLE: usize = 200;
    Daemon::shared()?;
    let to = at(DENIED4, PORT)?.to_string();
    let before = product::status()?;
    let events = Events::from_now()?;
    let (loud, quiet) = (Policy::named("loud"), Policy::named("quiet"));
    let mut flooding = Place::Inside(&loud).obey()?;
    let mut single = Place::Inside(&quiet).obey()?;
    for actor in [&mut flooding, &mut single] {
        ensure!(actor.order("live-long")? == "ok", "it does not live long");
    }
    let flood = std::thread::spawn({
        let order = format!("flood {to} {many}");
        move || {
            let answer = flooding.order(&order);
            flooding.end().map(|_| ()).and(answer)
        }
    });
    for _ in 0..SINGLE {
        let answer = single.order(&format!("way udp {to}"))?;
        ensure!(answer == "EPERM", "{answer}");
        std::thread::sleep(Duration::from_millis(5));
    }
    single.end()?;
    let answer = flood
        .join()
        .map_err(|_| anyhow::anyhow!("the flood panicked"))??;
    let flooded = tally(&answer)?;
    ensure!(flooded.denied == many, "the flood: {flooded:?}");
    let expected = u64::from(many) + SINGLE as u64;
    // The daemon tells what fills half of the ring before it comes to the last of these.
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        let quiet = events.denials("quiet")?.len();
        let told = events.denials("loud")?.len() + quiet;
        let lost = events.lost()?;
        let denied = product::status()?.denied - before.denied;
        if quiet == SINGLE && denied == expected && told as u64 + lost == expected {
            println!("{told} told, {lost} counted as lost, {denied} denied");
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "{denied} denied (expected {expected}), {told} told, {lost} counted as lost; of quiet \
             {quiet} told (expected {SINGLE})"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}
