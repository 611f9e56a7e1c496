//! Revoke and kill (red team P4, P6).

use crate::harness::Test;
use crate::harness::events::{Events, Line};
use crate::harness::network::{ALLOWED4, PORT, at};
use crate::harness::policy::Policy;
use crate::harness::product::{self, Daemon, PINS, Revoked};
use crate::harness::session::{Place, own_program};
use crate::sys::process::{self, End, Fork};
use agent_common::abi;
use agent_common::session::{Cause, Revocation};
use anyhow::{Context, Result, bail, ensure};
use aya::programs::{RawTracePoint, RawTracePointRunOptions, TestRun};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "life.revoke.order",
            "an order ends one session, tells the proof, and touches no other session",
            order,
        )
        .patience(120),
        Test::new(
            "life.revoke.unknown",
            "an order for a session that is not there is refused",
            unknown,
        ),
        Test::new(
            "life.revoke.kernel",
            "with no daemon a revoked session is denied, and dies when it forks or executes",
            kernel,
        ),
        Test::new(
            "life.revoke.next_daemon",
            "what a daemon that was killed had revoked, the next daemon kills",
            next_daemon,
        ),
        Test::new(
            "life.revoke.stopped",
            "stopped processes and those that ignore every signal are killed too",
            stopped,
        ),
        Test::new(
            "red.p6.fork_bomb",
            "a fork bomb is ended, proven, within a second; outsiders go on",
            fork_bomb,
        )
        .patience(100),
        Test::new(
            "red.p4.pid_reuse",
            "while pids are given again fast, a kill hits nobody outside the session",
            pid_reuse,
        )
        .patience(100),
    ]
}

fn order() -> Result<()> {
    Daemon::shared()?;
    let policy = Policy::named("revoke-order").allow(ALLOWED4, &PORT.to_string(), "udp");
    let other = Policy::named("revoke-other").allow(ALLOWED4, &PORT.to_string(), "udp");
    let mut actor = Place::Inside(&policy).obey()?;
    let mut bystander = Place::Inside(&other).obey()?;
    let mut outsider = Place::Outside.obey()?;
    let probe = format!("probe {}", at(ALLOWED4, PORT)?);
    let before = actor.order(&probe)?;
    ensure!(before == "ok", "before: {before}, expected ok");
    let events = Events::from_now()?;

    let revoked = product::revoke(&product::begun("revoke-order")?.session, "it was time")?;
    ensure!(
        revoked.cause == "order" && revoked.reason.as_deref() == Some("it was time"),
        "{revoked:?}, expected the order and its reason"
    );
    ensure!(
        revoked.killed == 1 && revoked.left.is_empty() && revoked.denied_after_us.is_some(),
        "{revoked:?}, expected one process killed and none left"
    );
    actor.killed("the actor")?;
    let told = revoked_line(events, "revoke-order")?;
    ensure!(
        told.session == revoked.session && told.empty_after_us == revoked.empty_after_us,
        "told {told:?}, expected what the order answered: {revoked:?}"
    );
    let ended = events.ended("revoke-order")?;
    ensure!(
        ended.cause.as_deref() == Some("order") && ended.outcome == "revoked",
        "{ended:?}, expected cause order and outcome revoked"
    );
    for (who, actor) in [
        ("the bystander", &mut bystander),
        ("the outsider", &mut outsider),
    ] {
        let after = actor.order(&probe)?;
        ensure!(after == "ok", "{who} afterwards: {after}, expected ok");
    }
    bystander.end()?;
    outsider.end()?;
    let again = Place::Inside(&policy).act(&["way", "udp", &at(ALLOWED4, PORT)?.to_string()])?;
    ensure!(again == "ok", "a new session: {again}, expected ok");
    Ok(())
}

pub(super) fn revoked_line(events: Events, agent: &str) -> Result<Revoked> {
    events.first("the revocation", |line| match line {
        Line::Revoked(revoked) if revoked.agent == agent => Some(*revoked),
        _ => None,
    })
}

fn unknown() -> Result<()> {
    Daemon::shared()?;
    let output = product::call(&["revoke", "0123456789abcdef"])?;
    let text = product::said(&output);
    ensure!(
        output.status.code() == Some(1) && text.contains("no session 0123456789abcdef"),
        "expected exit code 1 and the reason: {text}"
    );
    Ok(())
}

/// Revokes a session as the daemon does, without one.
pub(super) fn revoke_in_kernel(session: &str) -> Result<()> {
    let path = format!("{PINS}/v{}/programs/revoke", abi::VERSION);
    let program = RawTracePoint::from_pin(&path).context(path)?;
    for slot in 0..abi::MAX_SESSIONS {
        let mut options = RawTracePointRunOptions::new();
        options.args[0] = u64::from_str_radix(session, 16)?;
        options.args[1] = u64::from(slot);
        options.args[2] = u64::from(Cause::Order.wire());
        match Revocation::from_wire(program.test_run(options)?.return_value) {
            Some(Revocation::NoSuchSession) => {}
            Some(Revocation::Done) => return Ok(()),
            other => bail!("the kernel answered {other:?}"),
        }
    }
    bail!("no slot holds session {session}")
}

fn kernel() -> Result<()> {
    let daemon = Daemon::shared()?;
    let policy = Policy::named("revoke-kernel").allow(ALLOWED4, &PORT.to_string(), "udp");
    let to = at(ALLOWED4, PORT)?;
    for (last, order) in [
        ("fork", format!("fork {to}")),
        ("exec", "exec /bin/true".to_owned()),
    ] {
        let daemon = if last == "fork" {
            daemon
        } else {
            Daemon::shared()?
        };
        let mut actor = Place::Inside(&policy).obey()?;
        let session = product::begun("revoke-kernel")?.session;
        let before = [
            actor.order(&format!("probe {to}"))?,
            actor.order(&format!("fork {to}"))?,
        ];
        ensure!(before == ["ok", "ok"], "before: {before:?}, expected ok");
        daemon.end(libc::SIGKILL)?;
        revoke_in_kernel(&session)?;
        let after = actor.order(&format!("probe {to}"))?;
        ensure!(after == "EPERM", "a probe: {after}, expected EPERM");
        let answer = actor.order(&order);
        ensure!(
            answer.is_err(),
            "{last} was answered: {answer:?}, expected the end"
        );
        actor.killed(last)?;
    }
    Ok(())
}

fn next_daemon() -> Result<()> {
    let daemon = Daemon::shared()?;
    let policy = Policy::named("revoke-next");
    let actors = [
        Place::Inside(&policy).obey()?,
        Place::Inside(&policy).obey()?,
    ];
    product::begun("revoke-next")?;
    let sessions = product::call(&["sessions", "--json"])?;
    let sessions: Vec<product::Session> = serde_json::from_slice(&sessions.stdout)?;
    daemon.end(libc::SIGKILL)?;
    for session in sessions
        .iter()
        .filter(|session| session.agent == "revoke-next")
    {
        revoke_in_kernel(&session.session)?;
    }
    thread::sleep(Duration::from_millis(300));
    ensure!(
        actors.iter().all(|actor| is_running(actor.pid)),
        "an actor that did nothing is gone before the next daemon came"
    );
    let events = Events::from_now()?;
    Daemon::start()?;
    let told = revoked_line(events, "revoke-next")?;
    ensure!(
        told.cause == "order" && told.killed == 1 && told.left.is_empty(),
        "{told:?}, expected one process killed by order"
    );
    // Each is killed for itself.
    let deadline = Instant::now() + Duration::from_secs(10);
    while actors.iter().any(|actor| is_running(actor.pid)) {
        ensure!(Instant::now() < deadline, "an actor is not killed");
        thread::sleep(Duration::from_millis(50));
    }
    for actor in actors {
        actor.killed("an actor")?;
    }
    Ok(())
}

fn stopped() -> Result<()> {
    Daemon::shared()?;
    let policy = Policy::named("revoke-stopped");
    let actor = Place::Inside(&policy).obey()?;
    let session = product::begun("revoke-stopped")?.session;
    process::kill(actor.pid, libc::SIGSTOP)?;
    thread::sleep(Duration::from_millis(50));
    let revoked = product::revoke(&session, "stopped")?;
    ensure!(
        revoked.killed == 1,
        "{revoked:?}, expected one process killed"
    );
    actor.killed("the stopped actor")
}

/// Whether a process is there and has not ended.
pub(super) fn is_running(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.contains(") Z") && !stat.contains(") X"))
}

/// Starts a bomb and waits until it is as large as it will get.
fn ignite(policy: &Policy, limit: u32) -> Result<(Child, String)> {
    let program = own_program()?;
    let bomb = Place::Inside(policy)
        .command(&[&program, "act", "bomb", &limit.to_string()])?
        .stdin(Stdio::null())
        .spawn()
        .context("starting the bomb")?;
    // The commands of whoever watches must not wait in one line with the bomb.
    process::go_first()?;
    let session = product::begun(policy.agent())?.session;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let tasks = product::session_of(policy.agent())?.map_or(0, |session| session.tasks);
        if tasks >= u64::from(limit) / 2 {
            return Ok((bomb, session));
        }
        ensure!(Instant::now() < deadline, "the bomb has only {tasks} tasks");
        thread::sleep(Duration::from_millis(100));
    }
}

/// Processes that play the bomb.
fn bombs() -> Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // Not the command line: reading that waits for a process that is forking.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if stat.contains("(bomb)") && !stat.contains(") Z") {
            found.push(pid);
        }
    }
    Ok(found)
}

fn fork_bomb() -> Result<()> {
    const LIMIT: u32 = 400;
    Daemon::shared()?;
    // A second on a machine that has its processors to itself. Test machines are emulated, and
    // several share few processors: what they need to make and end as many processes comes first.
    let bound = Duration::from_secs(1).max(as_many(LIMIT)?);
    let mut outsider = Place::Outside.obey()?;
    let bystander_policy =
        Policy::named("bomb-bystander").allow(ALLOWED4, &PORT.to_string(), "udp");
    let mut bystander = Place::Inside(&bystander_policy).obey()?;
    let events = Events::from_now()?;
    let (mut bomb, session) = ignite(&Policy::named("bomb"), LIMIT)?;
    ensure!(
        bombs()?.len() > 100,
        "{} bombs run, expected more",
        bombs()?.len()
    );
    let fork = format!("fork {}", at(ALLOWED4, PORT)?);
    for (who, actor) in [
        ("a bystander", &mut bystander),
        ("an outsider", &mut outsider),
    ] {
        actor.begin(&fork).context(who)?;
    }
    println!("the bomb has {} members", bombs()?.len());
    let began = Instant::now();
    let revoked = product::revoke(&session, "a fork bomb")?;
    let answered = began.elapsed();
    let left = bombs()?;
    ensure!(
        left.is_empty(),
        "{} bombs still run: {revoked:?}",
        left.len()
    );
    println!("{revoked:?}, answered after {answered:?}");
    let empty = revoked.empty_after_us.context("not proven empty")?;
    ensure!(
        u128::from(empty) < bound.as_micros(),
        "empty after {empty} us, expected less than {bound:?}"
    );
    let killed = revoked.killed_after_us.context("not all were killed")?;
    ensure!(killed <= empty, "{revoked:?}: killed after it was empty");
    ensure!(
        bomb.wait()?.signal() == Some(libc::SIGKILL),
        "the bomb's root did not end by SIGKILL"
    );
    for (who, actor) in [
        ("a bystander", &mut bystander),
        ("an outsider", &mut outsider),
    ] {
        let answer = actor.answer()?;
        ensure!(
            answer == "ok",
            "beside the bomb {who} forked: {answer}, expected ok"
        );
    }
    let told = revoked_line(events, "bomb")?;
    ensure!(
        told.empty_after_us == Some(empty),
        "told {told:?}, expected {revoked:?}"
    );
    events.ended("bomb")?;
    for (who, actor) in [
        ("a bystander", &mut bystander),
        ("an outsider", &mut outsider),
    ] {
        let answer = actor.order(&fork)?;
        ensure!(
            answer == "ok",
            "afterwards {who} forked: {answer}, expected ok"
        );
    }
    bystander.end()?;
    outsider.end()?;
    Ok(())
}

/// How long this machine takes to make and end so many processes that do nothing.
fn as_many(count: u32) -> Result<Duration> {
    let began = Instant::now();
    for _ in 0..count {
        if let Fork::Parent(pid) = process::fork()? {
            process::wait(pid)?;
        } else {
            process::exit_now(0);
        }
    }
    Ok(began.elapsed())
}

/// Few pids, a bomb inside and a storm of forks outside: each pid is now the one's, now the other's.
fn pid_reuse() -> Result<()> {
    const ROUNDS: usize = 5;
    const FILE: &str = "/proc/sys/kernel/pid_max";
    Daemon::shared()?;
    let before = fs::read_to_string(FILE).context(FILE)?;
    let highest = 700;
    fs::write(FILE, highest.to_string()).context("making pids few")?;
    let outcome = (0..ROUNDS).try_for_each(|round| {
        let policy = Policy::named(&format!("reuse-{round}"));
        let (mut bomb, session) = ignite(&policy, 150)?;
        let storm = Storm::begin()?;
        thread::sleep(Duration::from_millis(500));
        let revoked = product::revoke(&session, "pids go round")?;
        thread::sleep(Duration::from_millis(100));
        let (made, killed) = storm.end()?;
        bomb.wait()?;
        ensure!(revoked.killed > 0, "nobody was killed: {revoked:?}");
        ensure!(made > 20, "only {made} outsiders ran beside the kill");
        ensure!(killed == 0, "{killed} of {made} outsiders were killed");
        Ok(())
    });
    fs::write(FILE, before.trim()).context("giving the pids back")?;
    outcome
}

/// Outsiders that come and go.
struct Storm {
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    thread: thread::JoinHandle<Result<(u32, u32)>>,
}

impl Storm {
    fn begin() -> Result<Self> {
        use std::sync::atomic::{AtomicBool, Ordering};
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let seen = std::sync::Arc::clone(&stop);
        let thread = thread::Builder::new().spawn(move || {
            let (mut made, mut killed) = (0, 0);
            while !seen.load(Ordering::SeqCst) {
                let mut pids = Vec::new();
                for _ in 0..20 {
                    match process::clone3(0, None) {
                        Ok(Fork::Child) => {
                            thread::sleep(Duration::from_millis(2));
                            process::exit_now(0)
                        }
                        Ok(Fork::Parent(pid)) => pids.push(pid),
                        // The bomb has all pids for now.
                        Err(_) => thread::yield_now(),
                    }
                }
                for pid in pids {
                    made += 1;
                    if process::wait(pid)? != End::Exited(0) {
                        killed += 1;
                    }
                }
            }
            Ok((made, killed))
        })?;
        Ok(Self { stop, thread })
    }

    fn end(self) -> Result<(u32, u32)> {
        self.stop.store(true, std::sync::atomic::Ordering::SeqCst);
        match self.thread.join() {
            Ok(counts) => counts,
            Err(_) => bail!("the storm panicked"),
        }
    }
}
