//! Plays the cases of a policy with real processes, and holds what the kernel did to what `policy
//! test` says: verdict for verdict, reason for reason, rule for rule, and fact for fact.
//!
//! The session's first process is a copy of this program, and so is each program that a case
//! executes, in the place of whatever has the name. Each action is the one that the case names and no
//! other, so that nothing else changes the session's facts.
//!
//! An action for which a case expects `hold` waits, and so does the process, until the case has the
//! approval and does the action again, which is then the same one: it gets its yes. Where the case goes
//! on without, it gets a no.
//!
//! What cannot be played here is changed in the policy's text ([`Change`]), and told; so is every
//! event of a case that is not played, with its reason. Minutes become seconds, where a policy says
//! so, in the text and in the waits alike: nobody can push on the clock by which the kernel counts.
//!
//! [`script`] holds the two texts, [`stage`] what lies in the machine, [`step`] what a process does
//! for an action, [`performance`] the session that does it, [`approval`] the person who answers, and
//! [`compare`] finds what is not as said.

mod approval;
mod compare;
mod performance;
mod script;
mod stage;
mod step;

pub(crate) use script::{Change, Script};

use super::policy::Policy;
use super::product::Daemon;
use agent_policy::Instant;
use anyhow::{Context, Result, ensure};
use performance::Performance;
use stage::Stage;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Plays every case of a test's own policy, as it is written.
pub(crate) fn replay(policy: &Policy, cases: &str) -> Result<()> {
    play(&Script::plain(policy.agent(), &policy.text(), cases))
}

/// Plays every case.
pub(crate) fn play(script: &Script<'_>) -> Result<()> {
    let daemon = Daemon::shared()?;
    for change in script.changes {
        println!(
            "NOTE changed {:?} to {:?}: {}",
            change.from, change.to, change.why
        );
    }
    let mut stage = Stage::default();
    let mut wrong = Vec::new();
    for cases in script.cases()? {
        let reading = script.read(&cases.agent)?;
        let (mut played, mut of) = (0, 0);
        for case in &cases.cases {
            let mut performance =
                Performance::begin(script, &reading, &cases.agent, case, daemon, &mut stage)
                    .with_context(|| format!("case {:?}", case.name))?;
            performance
                .play(case)
                .with_context(|| format!("case {:?}", case.name))?;
            played += performance.played;
            of += performance.of;
            let found = std::mem::take(&mut performance.wrong).into_iter();
            wrong.extend(found.map(|found| format!("{}: {found}", case.name)));
        }
        println!("NOTE {}: {played} of {of} actions played", cases.agent);
        ensure!(played > 0, "nothing of {} could be played", cases.agent);
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Now, on both clocks.
fn now() -> Result<Instant> {
    let uptime = fs::read_to_string("/proc/uptime").context("/proc/uptime")?;
    let seconds = uptime.split_whitespace().next().unwrap_or_default();
    let since_boot = Duration::from_secs_f64(seconds.parse().context("/proc/uptime")?);
    let wall = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(Instant {
        now_ns: u64::try_from(since_boot.as_nanos())?,
        wall_s: wall.as_secs(),
    })
}
