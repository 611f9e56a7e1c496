//! The sockets of sessions: listed, silent from the flag on, cut; and left alone when a session comes
//! to its own end.

use super::life_revoke::{revoke_in_kernel, revoked_line};
use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::kernel::unless_with_bpf_lsm;
use crate::harness::network::{ALLOWED4, ALLOWED6, at};
use crate::harness::policy::Policy;
use crate::harness::product::{self, Connection, Daemon};
use crate::harness::session::{Place, own_program};
use crate::sys::processes;
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Ports of their own, so that no other test's connections linger there.
const PORT: u16 = 4501;
const DRAIN_PORT: u16 = 4502;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "revoke.conns",
            "interlock conns lists the connections of sessions with tool, step and bytes, and nobody else's",
            conns,
        )
        .unless(unless_with_bpf_lsm)
        .patience(120),
        Test::new(
            "revoke.silent",
            "from the flag on nothing leaves a session's sockets and nothing comes, whoever holds them, with no daemon there; the next one cuts them",
            silent,
        ),
        Test::new(
            "revoke.drain",
            "what a session has sent before it ends by itself still arrives, and so does its proper end",
            drain,
        ),
    ]
}

fn conns() -> Result<()> {
    Daemon::shared()?;
    let server = [
        TcpListener::bind(at(ALLOWED4, PORT)?)?,
        TcpListener::bind(at(ALLOWED6, PORT)?)?,
    ];
    let tool = "/tmp/conns-tool";
    std::fs::copy(own_program()?, tool)?;
    let to = format!("to: [\"{ALLOWED4}\", \"{ALLOWED6}\"], ports: [{PORT}]");
    let policy = Policy::named("conns").with(&format!(
        "  chain:
    steps:
      - step: fetch
        repeat: true
        egress: [{{{to}}}]
  tools:
    - tool: fetcher
      owner: {{name: Grace Hopper, contact: grace@example.com}}
      start: {{programs: [{tool}]}}
      egress:
        allow: [{{{to}}}]
      files:
        allow: [{{access: [read, map], paths: [\"/**\"]}}]
"
    ));
    let outsider = TcpStream::connect(at(ALLOWED4, PORT)?)?;
    let mut actor = Place::Inside(&policy).obey()?;
    ensure!(
        product::connections_of("conns")?.is_empty(),
        "connections before there are any"
    );
    for order in [
        format!("link {}", at(ALLOWED4, PORT)?),
        format!("link {}", at(ALLOWED6, PORT)?),
        format!("start fetcher {tool}"),
        format!("in fetcher link {}", at(ALLOWED4, PORT)?),
        "say 0 1000".to_owned(),
    ] {
        let answer = actor.order(&order)?;
        ensure!(answer.starts_with("ok"), "{order}: {answer}, expected ok");
    }
    drop(server[0].accept()?);
    let (mut near, _) = server[0].accept()?;
    near.read_exact(&mut [0; 1000])?;
    near.write_all(&[0; 70])?;
    ensure!(actor.order("hear 0")? == "ok 70", "nothing came");
    let listed = product::connections_of("conns")?;
    let ours = outsider.local_addr()?;
    ensure!(
        listed.len() == 3 && listed.iter().all(|one| one.local != ours && one.held),
        "{listed:#?}, expected the session's three and not {ours}"
    );
    let find = |what: &str, wanted: &dyn Fn(&&Connection) -> bool| {
        let found = listed.iter().find(wanted).cloned();
        found.with_context(|| format!("{what} is not in {listed:#?}"))
    };
    let first = find("the first", &|one| Some(one.local) == near.peer_addr().ok())?;
    ensure!(
        (first.sent, first.received) == (1000, 70)
            && first.remote == at(ALLOWED4, PORT)?
            && first.state == "established"
            && first.step.as_deref() == Some("fetch")
            && first.tool.is_none()
            && first.session == product::begun("conns")?.session,
        "{first:?}, expected 1000 bytes sent and 70 received, step fetch and no tool"
    );
    find("IPv6", &|one| Some(one.remote) == at(ALLOWED6, PORT).ok())?;
    find("the tool's", &|one| {
        one.tool.as_deref() == Some("fetcher") && one.step.as_deref() == Some("fetch")
    })?;
    actor.end()?;
    ensure!(
        product::connections_of("conns")?
            .iter()
            .all(|one| !one.held),
        "connections of a session that is over are held"
    );
    Ok(())
}

fn silent() -> Result<()> {
    let daemon = Daemon::shared()?;
    let to = at(ALLOWED4, PORT + 2)?;
    let server = TcpListener::bind(to)?;
    let policy = Policy::named("silent").allow(ALLOWED4, &to.port().to_string(), "tcp");
    let mut actor = Place::Inside(&policy).obey()?;
    let mut outsider = TcpStream::connect(to)?;
    let (mut outside, _) = server.accept()?;
    let linked = actor.order(&format!("link {to}"))?;
    let number = linked.strip_prefix("ok ").context("no link")?.parse()?;
    let (mut near, _) = server.accept()?;
    // Somebody outside holds it, too.
    let mut held = File::from(processes::take_descriptor(actor.pid, number)?);
    held.write_all(b"before")?;
    ensure!(actor.order("say 0 10")? == "ok 10", "nothing was sent");
    near.read_exact(&mut [0; 16]).context("before the flag")?;
    near.write_all(b"hello")?;
    ensure!(actor.order("hear 0")? == "ok 5", "nothing came");
    let session = product::begun("silent")?.session;
    daemon.end(libc::SIGKILL)?;

    revoke_in_kernel(&session)?;
    let said = actor.order("say 0 1000")?;
    ensure!(said == "ok 1000" || said == "EPERM", "a send: {said}");
    held.write_all(b"after")?;
    near.write_all(b"hello again")?;
    near.set_read_timeout(Some(Duration::from_millis(600)))?;
    let read = near.read(&mut [0; 64]);
    ensure!(
        read.as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::WouldBlock),
        "after the flag: {read:?}, expected silence"
    );
    let heard = actor.order("hear 0")?;
    ensure!(
        heard == "nothing" || heard == "EPERM",
        "after the flag the session heard {heard}, expected nothing"
    );
    outsider.write_all(b"others go on")?;
    outside.read_exact(&mut [0; 12]).context("an outsider")?;

    let events = Events::from_now()?;
    Daemon::start()?;
    let told = revoked_line(events, "silent")?;
    ensure!(
        told.cut == 1 && told.not_cut.is_empty() && told.killed == 1,
        "{told:?}, expected one connection cut and one process killed"
    );
    near.set_read_timeout(Some(Duration::from_secs(5)))?;
    let read = near.read(&mut [0; 64]);
    ensure!(
        read.as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::ConnectionReset),
        "the peer: {read:?}, expected a reset and not a byte"
    );
    let written = held.write_all(b"still?");
    ensure!(written.is_err(), "who held it outside can still send");
    actor.killed("the actor")?;
    outsider.write_all(b"others go on")?;
    outside.read_exact(&mut [0; 12]).context("an outsider")
}

fn drain() -> Result<()> {
    const BYTES: u64 = 300_000;
    Daemon::shared()?;
    let to = at(ALLOWED4, DRAIN_PORT)?;
    let server = TcpListener::bind(to)?;
    let policy = Policy::named("drain").allow(ALLOWED4, &DRAIN_PORT.to_string(), "tcp");
    // Nobody reads before the session is over: what it sent lies in the kernel's queues.
    let output = Place::Inside(&policy).act(&["send-and-end", &to.to_string(), &BYTES.to_string()]);
    ensure!(output.is_ok(), "{output:?}");
    let deadline = Instant::now() + Duration::from_secs(10);
    while product::session_of("drain")?.is_some() {
        ensure!(Instant::now() < deadline, "the session does not end");
        thread::sleep(Duration::from_millis(20));
    }
    let (mut near, _) = server.accept()?;
    let mut all = Vec::new();
    near.read_to_end(&mut all).context("reading to the end")?;
    ensure!(
        all.len() as u64 == BYTES,
        "{} bytes arrived, expected {BYTES}",
        all.len()
    );
    Ok(())
}
