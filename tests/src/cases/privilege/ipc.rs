//! Objects of System V: what a session makes is its own.

use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::kernel::unless_with_bpf_lsm;
use crate::harness::policy::Policy;
use crate::harness::product::Daemon;
use crate::harness::session::Place;
use crate::sys::ipc::Objects;
use anyhow::{Context, Result, ensure};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "privilege.ipc",
            "memory, queues and semaphores of System V are used by the session that made them",
            ipc,
        )
        .unless(unless_with_bpf_lsm),
    ]
}

fn ipc() -> Result<()> {
    Daemon::shared()?;
    let agent = "privilege-ipc";
    let there = Objects::make().context("making what is there")?;
    // What is found by its number is refused as what the user may not, what is changed by Interlock alone.
    let acts = [
        ("ipc-attach", there.memory, "EACCES"),
        ("ipc-send", there.queue, "EACCES"),
        ("ipc-raise", there.semaphores, "EACCES"),
        ("ipc-change-memory", there.memory, "EPERM"),
        ("ipc-change-queue", there.queue, "EPERM"),
        ("ipc-change-semaphores", there.semaphores, "EPERM"),
    ];
    let lacking = Policy::named(agent);
    let having = Policy::named("privilege-ipc-had").privileges(&["ipc"]);
    for (act, number, denied) in acts {
        for (place, expected) in [
            (Place::Outside, "ok"),
            (Place::Inside(&lacking), denied),
            (Place::Inside(&having), "ok"),
            (Place::Outside, "ok"),
        ] {
            let events = Events::from_now()?;
            let answer = place.act(&["overreach", act, &number.to_string()])?;
            ensure!(
                answer == expected,
                "{place:?}: {act}: {answer}, expected {expected}"
            );
            if expected == denied {
                events.expect_privilege(agent, "ipc")?;
            }
        }
    }
    for place in [Place::Outside, Place::Inside(&lacking)] {
        let answer = place.act(&["overreach", "ipc-own", "-"])?;
        ensure!(answer == "ok", "{place:?}: what is its own: {answer}");
    }
    there.remove()?;
    Ok(())
}
