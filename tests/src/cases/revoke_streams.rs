//! Revocation under load (red team P6): connections that stream, and a fork bomb beside them.

use crate::harness::Test;
use crate::harness::network::{ALLOWED4, at};
use crate::harness::policy::Policy;
use crate::harness::product::{self, Daemon, Revoked};
use crate::harness::receiver::{Received, Receiver};
use crate::harness::session::{Place, own_program};
use crate::sys::process;
use anyhow::{Context, Result, ensure};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

/// What a packet that had left before the flag may need on an emulated machine to be where it goes.
const ON_ITS_WAY: Duration = Duration::from_millis(50);

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "red.p6.streams",
            "a session that streams by threads, splice and io_uring beside a fork bomb is silent at once, its peers are reset, its tree is empty",
            || {
                let figures = revoke_under_load("streams", 4600, 12, 60)?;
                println!("{figures:?}");
                Ok(())
            },
        )
        .patience(120),
    ]
}

/// What one revocation under load showed, each in microseconds after the order or the flag.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// The first action that was denied, or packet that was dropped.
    pub(crate) first_denial: u64,
    /// Every connection that was found is destroyed.
    pub(crate) cut: u64,
    /// The last byte that came to a receiver; 0 where none came after the flag.
    pub(crate) last_byte: u64,
    /// The tree is empty.
    pub(crate) empty: u64,
}

/// Lets a session stream over so many connections, with a fork bomb of so many processes
/// beside, revokes it, and looks what still arrives.
pub(crate) fn revoke_under_load(
    agent: &str,
    port: u16,
    count: usize,
    bomb: u32,
) -> Result<Figures> {
    Daemon::shared()?;
    // The session must not inherit what this process has from the time before.
    process::go_with_others()?;
    let to = at(ALLOWED4, port)?;
    let receiver = Receiver::of(to, count)?;
    let policy = Policy::named(agent).allow(ALLOWED4, &port.to_string(), "tcp");
    let program = own_program()?;
    let words = [
        "act",
        "stream",
        &to.to_string(),
        &count.to_string(),
        &bomb.to_string(),
    ];
    let mut actor = Place::Inside(&policy)
        .command(&[&[program.as_str()], &words[..]].concat())?
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    process::go_first()?;
    let session = product::begun(agent)?.session;
    let deadline = Instant::now() + Duration::from_secs(120);
    let ready = |all: &[Received]| all.len() == count && all.iter().all(|one| one.bytes > 0);
    loop {
        // Beside the bomb an answer may come too late: the next one does.
        let found = product::session_of(agent).ok().flatten();
        let tasks = found.map_or(0, |session| session.tasks);
        if ready(&receiver.look()) && tasks >= u64::from(bomb) / 2 {
            break;
        }
        ensure!(
            Instant::now() < deadline,
            "not all streams flow: {tasks} tasks, {:?}",
            receiver.look()
        );
        thread::sleep(Duration::from_millis(20));
    }
    let before = receiver.bytes();
    while receiver.bytes() == before {
        ensure!(
            Instant::now() < deadline,
            "the streams stand still before the flag"
        );
        thread::sleep(Duration::from_millis(10));
    }

    let revoked = product::revoke(&session, "streams")?;
    actor.wait()?;
    ensure!(
        revoked.cut == count && revoked.not_cut.is_empty() && revoked.left.is_empty(),
        "{revoked:?}, expected {count} connections cut and nothing left"
    );
    let deadline = Instant::now() + Duration::from_secs(10);
    while receiver.look().iter().any(|one| one.end.is_none()) {
        ensure!(
            Instant::now() < deadline,
            "peers wait: {:?}",
            receiver.look()
        );
        thread::sleep(Duration::from_millis(10));
    }
    figures(&revoked, &receiver.look())
}

fn figures(revoked: &Revoked, received: &[Received]) -> Result<Figures> {
    let flag = moment(revoked.revoked_at.as_deref())?;
    let last = moment(revoked.last_action.as_deref())?;
    ensure!(last <= flag, "an action after the flag: {revoked:?}");
    for one in received {
        ensure!(
            one.end == Some(libc::ECONNRESET),
            "{one:?}, expected a reset"
        );
    }
    let last = received.iter().map(|one| one.last).max().unwrap_or(0);
    let late = u64::try_from((last - flag).max(0) / 1000)?;
    ensure!(
        u128::from(late) < ON_ITS_WAY.as_micros(),
        "the last byte came {late} us after the flag"
    );
    Ok(Figures {
        first_denial: revoked
            .first_denial_after_us
            .context("streams stopped, and nothing was denied")?,
        cut: revoked.cut_after_us.context("nothing was cut")?,
        last_byte: late,
        empty: revoked.empty_after_us.context("not empty")?,
    })
}

/// Nanoseconds since 1970.
fn moment(time: Option<&str>) -> Result<i128> {
    let time: jiff::Timestamp = time.context("the proof lacks a time")?.parse()?;
    Ok(time.as_nanosecond())
}
