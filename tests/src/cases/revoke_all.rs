//! `interlock revoke --all`.

use crate::harness::Test;
use crate::harness::events::{Events, Line};
use crate::harness::network::{ALLOWED4, PORT, at};
use crate::harness::policy::Policy;
use crate::harness::product::{self, Daemon, Revoked};
use crate::harness::session::Place;
use anyhow::{Result, ensure};
use std::cell::Cell;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "revoke.all",
            "interlock revoke --all ends every session of the host, and nobody else",
            all,
        )
        .patience(120),
    ]
}

fn all() -> Result<()> {
    const SESSIONS: usize = 3;
    Daemon::shared()?;
    let policy = Policy::named("revoke-all").allow(ALLOWED4, &PORT.to_string(), "udp");
    let probe = format!("probe {}", at(ALLOWED4, PORT)?);
    let mut actors = Vec::new();
    for _ in 0..SESSIONS {
        actors.push(Place::Inside(&policy).obey()?);
    }
    product::begun("revoke-all")?;
    let mut outsider = Place::Outside.obey()?;
    let events = Events::from_now()?;
    let output = product::call(&["revoke", "--all", "--reason", "an incident", "--json"])?;
    ensure!(output.status.success(), "{}", product::said(&output));
    let ends: Vec<Revoked> = serde_json::from_slice(&output.stdout)?;
    let ours: Vec<_> = ends
        .iter()
        .filter(|end| end.agent == "revoke-all")
        .collect();
    ensure!(
        ours.len() == SESSIONS
            && ours.iter().all(|end| end.cause == "order"
                && end.reason.as_deref() == Some("an incident")
                && end.killed == 1
                && end.left.is_empty()
                && end.denied_after_us.is_some()
                && end.empty_after_us.is_some()),
        "{ends:#?}, expected {SESSIONS} sessions with one process killed each"
    );
    for actor in actors {
        actor.killed("an actor")?;
    }
    let told = Cell::new(0);
    events.first("the last revocation", |line| match line {
        Line::Revoked(revoked) if revoked.agent == "revoke-all" => {
            told.set(told.get() + 1);
            (told.get() == SESSIONS).then_some(())
        }
        _ => None,
    })?;
    let after = outsider.order(&probe)?;
    ensure!(after == "ok", "an outsider: {after}, expected ok");
    outsider.end()?;
    let none = product::call(&["revoke", "--all"])?;
    let said = product::said(&none);
    ensure!(
        none.status.success() && said.contains("0 sessions"),
        "with no session left: {said}"
    );
    let both = product::call(&["revoke"])?;
    ensure!(both.status.code() == Some(2), "{}", product::said(&both));
    Ok(())
}
