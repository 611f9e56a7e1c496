//! More sessions begin at once than lie ready: whoever has none waits in its `execve`, and nobody else does.

use super::recognise::{copy, daemon, make, move_into, recognised, wait_until};
use crate::harness::Test;
use crate::harness::events::{Events, Line};
use crate::harness::kernel::unless_it_waits;
use crate::harness::network::{DENIED4, PORT, at};
use crate::harness::product::{Daemon, session_of};
use crate::harness::session::own_program;
use crate::sys::process::kill;
use anyhow::{Context, Result, ensure};
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Sessions that lie ready for each way.
const READY: usize = 16;
/// Those that come when none is left.
const LATE: usize = 6;
/// What a program's one probe ends with in a session, and outside.
const DENIED: i32 = 41;
/// How long anybody waits at most, and after how long a daemon counts as away.
const LATEST: Duration = Duration::from_secs(60);
const AWAY: Duration = Duration::from_secs(10);

pub(super) fn tests() -> Vec<Test> {
    let all = vec![
        Test::new(
            "hold.first_exec",
            "the first program of a session waits where none lies ready: all get in, and nobody runs outside",
            all_get_in,
        ),
        Test::new(
            "hold.first_exec_back",
            "so it does when the daemon is killed meanwhile, until another is there",
            killed_and_back,
        ),
        Test::new(
            "long.hold.first_exec_late",
            "a minute later it is denied; a stray SIGCONT changes nothing, and SIGKILL ends it",
            too_late,
        ),
        Test::new(
            "hold.first_exec_unit",
            "who came into a unit while no session lay ready has one from its next program on",
            unit,
        ),
    ];
    all.into_iter()
        .map(|test| test.unless(unless_it_waits).patience(300))
        .collect()
}

type Start = JoinHandle<io::Result<ExitStatus>>;

/// Executes a program in a process of its own, and says how it ended.
fn start(program: &str) -> Result<Start> {
    let to = at(DENIED4, PORT)?.to_string();
    let mut command = Command::new(program);
    command.args(["act", "probe-code", &to]);
    Ok(thread::spawn(move || command.status()))
}

/// Starts more than sessions lie ready, and waits until all are in one or stopped. The daemon does nothing
/// meanwhile.
fn start_all(program: &str) -> Result<Vec<Start>> {
    let starts: Result<Vec<_>> = (0..READY + LATE).map(|_| start(program)).collect();
    let starts = starts?;
    wait_until("the others wait", || {
        let over = starts.iter().filter(|start| start.is_finished()).count();
        Ok(over == READY && stopped()?.len() == LATE)
    })?;
    Ok(starts)
}

/// Children of ours that are stopped, but for the daemon.
fn stopped() -> Result<Vec<i32>> {
    let mut found = Vec::new();
    let own = i32::try_from(std::process::id())?;
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|it| it.parse().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let mut fields = stat.rsplit(')').next().unwrap_or("").split_whitespace();
        let (state, parent) = (fields.next(), fields.next());
        let is_daemon = stat.contains("(interlock)");
        if !is_daemon && state == Some("T") && parent.and_then(|it| it.parse().ok()) == Some(own) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// A process outside every way is not touched.
fn others_run() -> Result<()> {
    let other = copy("plenty")?;
    let ended = Command::new(other).args(["act", "exit", "0"]).status()?;
    ensure!(ended.success(), "another program: {ended}");
    Ok(())
}

/// All have run in a session.
fn all_in(starts: Vec<Start>) -> Result<()> {
    for start in starts {
        let ended = start.join().ok().context("a thread panicked")?;
        let code = ended.map(|status| status.code());
        ensure!(
            matches!(code, Ok(Some(DENIED))),
            "ended with {code:?}, expected {DENIED}, the code of who is in a session"
        );
    }
    Ok(())
}

fn all_get_in() -> Result<()> {
    let name = "late";
    let program = copy(name)?;
    let daemon = daemon(&[&recognised(name, &format!("executable: {program}"))])?;
    daemon.freeze()?;
    let started = start_all(&program).and_then(|starts| others_run().map(|()| starts));
    daemon.signal(libc::SIGCONT)?;
    all_in(started?)?;
    // And once more, with a daemon that runs: nobody is refused, however many there are.
    let starts: Result<Vec<_>> = (0..3 * READY).map(|_| start(&program)).collect();
    all_in(starts?)?;
    wait_until("the sessions are over", || Ok(session_of(name)?.is_none()))
}

fn killed_and_back() -> Result<()> {
    let name = "late-back";
    let program = copy(name)?;
    let daemon = daemon(&[&recognised(name, &format!("executable: {program}"))])?;
    daemon.end(libc::SIGKILL)?;
    let killed = Instant::now();
    let starts = start_all(&program)?;
    others_run()?;
    Daemon::start()?;
    let took = killed.elapsed();
    ensure!(
        took < LATEST,
        "a daemon is there after {took:?} only, which is too late"
    );
    all_in(starts)?;
    wait_until("the sessions are over", || Ok(session_of(name)?.is_none()))
}

fn too_late() -> Result<()> {
    let name = "late-denied";
    let program = copy(name)?;
    let daemon = daemon(&[&recognised(name, &format!("executable: {program}"))])?;
    let events = Events::from_now()?;
    daemon.freeze()?;
    let waited = wait_too_long(&program);
    daemon.signal(libc::SIGCONT)?;
    let (mut killed, mut refused) = (0, 0);
    for start in waited? {
        match start.join().ok().context("a thread panicked")? {
            Ok(status) if status.code() == Some(DENIED) => {}
            Ok(status) => {
                killed += u32::from(
                    std::os::unix::process::ExitStatusExt::signal(&status) == Some(libc::SIGKILL),
                );
            }
            Err(error) => refused += u32::from(error.raw_os_error() == Some(libc::EPERM)),
        }
    }
    let late = u32::try_from(LATE)?;
    ensure!(
        (killed, refused) == (1, late - 1),
        "{killed} killed, {refused} refused, of {late}"
    );
    events.first("that no session lay ready", |line| match line {
        Line::NotReady(told) if told.agent.as_deref() == Some(name) => Some(()),
        _ => None,
    })?;
    // Who tries again is not late any more.
    all_in(vec![start(&program)?])?;
    // A daemon that has been away for a while is waited for by nobody.
    wait_until("the sessions are over", || Ok(session_of(name)?.is_none()))?;
    daemon.freeze()?;
    thread::sleep(AWAY + Duration::from_secs(2));
    let starts: Result<Vec<_>> = (0..READY + 1).map(|_| start(&program)).collect();
    let ended: Result<Vec<_>> = starts.and_then(|starts| {
        wait_until("nobody waits", || {
            Ok(starts.iter().all(JoinHandle::is_finished))
        })?;
        Ok(starts.into_iter().filter_map(|it| it.join().ok()).collect())
    });
    daemon.signal(libc::SIGCONT)?;
    let refused = ended?
        .iter()
        .filter(|ended| {
            ended
                .as_ref()
                .is_err_and(|it| it.raw_os_error() == Some(libc::EPERM))
        })
        .count();
    ensure!(refused == 1, "{refused} refused, expected one");
    wait_until("the sessions are over", || Ok(session_of(name)?.is_none()))
}

fn wait_too_long(program: &str) -> Result<Vec<Start>> {
    let starts = start_all(program)?;
    let began = Instant::now();
    let waiting = stopped()?;
    let (first, second) = (waiting.first(), waiting.get(1));
    let (first, second) = first.zip(second).context("nobody waits")?;
    kill(*first, libc::SIGCONT)?;
    kill(*second, libc::SIGKILL)?;
    wait_until("the stray SIGCONT has changed nothing", || {
        let now = stopped()?;
        Ok(now.len() == LATE - 1 && now.contains(first))
    })?;
    thread::sleep((LATEST + Duration::from_secs(1)).saturating_sub(began.elapsed()));
    Ok(starts)
}

/// A process that does what it is told, and has begun to listen.
fn actor() -> Result<Child> {
    let mut child = Command::new(own_program()?)
        .args(["act", "obey"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("an actor")?;
    let said = child.stdout.as_mut().context("no way to hear it")?;
    BufReader::new(said).read_line(&mut String::new())?;
    Ok(child)
}

fn unit() -> Result<()> {
    let name = "late-unit";
    let daemon = daemon(&[&recognised(name, &format!("systemdUnit: {name}.service"))])?;
    let to = at(DENIED4, PORT)?;
    let places: Result<Vec<_>> = (0..READY + 2)
        .map(|number| make(&format!("/late{number}.slice/{name}.service")))
        .collect();
    let mut actors = Vec::new();
    daemon.freeze()?;
    let told = (|| -> Result<()> {
        for place in places? {
            let mut child = actor()?;
            move_into(&place, i32::try_from(child.id())?)?;
            let order = format!("exec {} act probe-code {to}\n", own_program()?);
            let mut orders = child.stdin.take().context("no way to tell it")?;
            orders.write_all(order.as_bytes())?;
            actors.push((child, orders));
        }
        wait_until("two wait", || Ok(stopped()?.len() == 2))
    })();
    daemon.signal(libc::SIGCONT)?;
    told?;
    for (mut child, _) in actors {
        let code = child.wait()?.code();
        ensure!(
            code == Some(DENIED),
            "ended with {code:?}, expected {DENIED}"
        );
    }
    wait_until("the sessions are over", || Ok(session_of(name)?.is_none()))
}
