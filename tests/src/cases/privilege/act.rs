//! One act that needs a privilege, tried outside, inside without and with what it needs, and outside
//! again.

use crate::harness::events::Events;
use crate::harness::kernel;
use crate::harness::policy::Policy;
use crate::harness::product::Daemon;
use crate::harness::session::{Obedient, Place};
use anyhow::{Context, Result, ensure};
use std::fs;

/// `nobody`, by name and by number.
pub(super) const NOBODY: (&str, u32) = ("nobody", 65_534);

/// Where acts on a folder act.
pub(super) const FOLDER: &str = "/tmp/interlock-overreach";

/// One act and what is expected of it.
#[derive(Clone, Copy)]
pub(super) struct Act {
    /// The row of the red team's catalogue, or the family, and the name.
    pub(super) name: &'static str,
    /// What the actor is told.
    pub(super) act: &'static str,
    /// What it acts on.
    pub(super) on: On,
    /// How the kernel answers where it is allowed.
    pub(super) allowed: &'static str,
    /// How it answers a session.
    pub(super) denied: &'static str,
    /// The privileges that it takes, in the order in which the kernel asks for them.
    pub(super) needs: &'static [&'static str],
    /// Whether any user may do it, outside.
    pub(super) by_anybody: bool,
    /// Why this kernel cannot show it.
    pub(super) unless: fn() -> Option<String>,
}

/// What an act is on.
#[derive(Clone, Copy)]
pub(super) enum On {
    /// Nothing.
    Nothing,
    /// A process outside every session.
    Process,
    /// A path.
    Path(&'static str),
    /// A mount that is there.
    Mount,
    /// The first disk.
    Disk,
}

/// What most acts have in common.
pub(super) const PLAIN: Act = Act {
    name: "",
    act: "",
    on: On::Nothing,
    allowed: "ok",
    denied: "EPERM",
    needs: &[],
    by_anybody: false,
    unless: kernel::unless_with_bpf_lsm,
};

/// Tries an act outside, inside without and with what it needs, and outside again.
pub(super) fn attempt(act: Act) -> Result<()> {
    Daemon::shared()?;
    fs::create_dir_all(FOLDER).context(FOLDER)?;
    // What the kernel itself would deny shows nothing of what is denied to a session.
    for (knob, value) in [
        ("/proc/sys/kernel/yama/ptrace_scope", "0"),
        ("/proc/sys/dev/tty/legacy_tiocsti", "1"),
        ("/proc/sys/kernel/perf_event_paranoid", "1"),
        ("/proc/sys/kernel/unprivileged_bpf_disabled", "0"),
    ] {
        if fs::exists(knob)? {
            fs::write(knob, value).context(knob)?;
        }
    }
    as_user(act, None)?;
    if act.by_anybody {
        as_user(act, Some(NOBODY)).context("as nobody")?;
    }
    Ok(())
}

fn as_user(act: Act, user: Option<(&str, u32)>) -> Result<()> {
    let agent = act.name.replace(['.', '_'], "-");
    let outside = match user {
        None => Place::Outside,
        Some((_, number)) => Place::OutsideAs(number),
    };
    let victim = match act.on {
        On::Process => Some(outside.obey()?),
        _ => None,
    };
    let on = object(act.on, victim.as_ref())?;
    let attempt = |place: Place<'_>| {
        if let On::Mount = act.on {
            Place::Outside.run(&["mount", "-t", "tmpfs", "none", FOLDER])?;
        }
        place.act(&["overreach", act.act, &on])
    };
    let goes = |place: Place<'_>| -> Result<()> {
        let answer = attempt(place)?;
        ensure!(
            answer == act.allowed,
            "{place:?}: {answer}, expected {}",
            act.allowed
        );
        Ok(())
    };

    goes(outside).context("the control")?;
    // Without each of what it takes, one after the other, and then with all.
    for (given, lacking) in act.needs.iter().enumerate() {
        let policy = Policy::named(&agent).privileges(&act.needs[..given]);
        let place = inside(&policy, user);
        let events = Events::from_now()?;
        let answer = attempt(place)?;
        ensure!(
            act.denied.split(" or ").any(|denied| denied == answer),
            "{place:?}: {answer}, expected {}",
            act.denied
        );
        let denial = events.expect_privilege(&agent, lacking)?;
        if let Some(victim) = &victim
            && !act.act.starts_with("sigio")
        {
            ensure!(
                denial.object.target == Some(victim.pid),
                "the event names {:?}, expected process {}",
                denial.object,
                victim.pid
            );
        }
    }
    let policy = Policy::named(&agent).privileges(act.needs);
    goes(inside(&policy, user))?;
    goes(outside).context("afterwards")?;
    if let Some(victim) = victim {
        let status = victim.end()?;
        ensure!(status.success(), "the process outside ended with {status}");
    }
    if let On::Mount = act.on {
        while Place::Outside.run(&["umount", FOLDER])?.status.success() {}
    }
    Ok(())
}

fn inside<'a>(policy: &'a Policy, user: Option<(&'a str, u32)>) -> Place<'a> {
    match user {
        None => Place::Inside(policy),
        Some((name, _)) => Place::As(policy, name),
    }
}

fn object(on: On, victim: Option<&Obedient>) -> Result<String> {
    Ok(match on {
        On::Nothing => "-".to_owned(),
        On::Process => victim.context("no process to act on")?.pid.to_string(),
        // The version of the pins is in their path.
        On::Path(path) => path.replace("VERSION", &agent_common::abi::VERSION.to_string()),
        On::Mount => FOLDER.to_owned(),
        On::Disk => {
            let disk = fs::read_dir("/sys/class/block")?
                .next()
                .context("no disk")??;
            format!("/dev/{}", disk.file_name().display())
        }
    })
}
