//! Unix sockets by path and by name, sessions that reach each other, and sockets that come from
//! elsewhere (red team N13).

use crate::act::local::GREETING;
use crate::harness::Test;
use crate::harness::events::{Events, Handoff, Line};
use crate::harness::kernel::unless_with_bpf_lsm;
use crate::harness::network::{ALLOWED4, DENIED4, PORT, Server, at};
use crate::harness::policy::Policy;
use crate::harness::product::{Daemon, said};
use crate::harness::session::{Place, own_program};
use crate::sys::{host, pass, system};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};

/// Where the sockets of these tests lie.
const RUN: &str = "/run/interlock-unix";

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "unix.rules",
            "a Unix socket is reached by the path or name that a rule allows, and by what it is",
            rules,
        )
        .unless(unless_with_bpf_lsm),
        Test::new(
            "unix.own",
            "a session reaches its own sockets without a rule",
            own,
        )
        .unless(unless_with_bpf_lsm),
        Test::new(
            "unix.inherited",
            "a connection that a session inherits is judged at each use",
            inherited,
        )
        .unless(unless_with_bpf_lsm),
        Test::new(
            "unix.handoff",
            "sessions reach each other as the agents' names allow, and both are told",
            handoff,
        )
        .unless(unless_with_bpf_lsm),
        Test::new(
            "red.n13.received",
            "a connected socket that comes by a socket is judged by where it leads",
            received,
        )
        .unless(unless_with_bpf_lsm),
    ]
}

fn set_up() -> Result<()> {
    Daemon::shared()?;
    let _ = fs::remove_dir_all(RUN);
    fs::create_dir_all(format!("{RUN}/folder")).context(RUN)
}

/// A policy whose rules for egress are these.
fn policy(agent: &str, allow: &[&str], deny: &[&str]) -> Policy {
    let list = |to: &[&str]| {
        let rules: String = to
            .iter()
            .map(|to| format!("      - {{to: [{to:?}]}}\n"))
            .collect();
        if rules.is_empty() {
            "      []\n".to_owned()
        } else {
            rules
        }
    };
    let (allow, deny) = (list(allow), list(deny));
    Policy::named(agent).with(&format!("  egress:\n    allow:\n{allow}    deny:\n{deny}"))
}

/// Greets whoever comes, until this process ends.
fn listen(listener: UnixListener) {
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = (&stream).write_all(GREETING.as_bytes());
        }
    });
}

fn rules() -> Result<()> {
    set_up()?;
    let at = |name: &str| format!("{RUN}/{name}");
    let (open, shut, inner) = (at("open"), at("shut"), at("folder/inner"));
    for path in [&open, &shut, &inner] {
        listen(UnixListener::bind(path).with_context(|| path.clone())?);
    }
    let names = [
        "interlock-unix-open",
        "interlock-unix-shut",
        "interlock-unix-open.sock",
    ];
    for name in names {
        listen(UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?).context(name)?);
    }
    let (log, no_log) = (at("log"), at("no-log"));
    let _logs = [&log, &no_log].map(UnixDatagram::bind);
    // What it is counts, and not by which name it is reached.
    let (hard, alias, symbolic, bound) = (
        at("folder/hard"),
        at("alias"),
        at("folder/symbolic"),
        at("folder/bound"),
    );
    fs::hard_link(&shut, &hard)?;
    fs::hard_link(&open, &alias)?;
    std::os::unix::fs::symlink(&shut, &symbolic)?;
    fs::write(&bound, "")?;
    host::mount(Some(&shut), &bound, libc::MS_BIND).context("a bind mount")?;

    let agent = "unix-rules";
    let folder = format!("unix:{RUN}/folder/**");
    let policy = policy(
        agent,
        &[
            &format!("unix:{open}"),
            "unix:@interlock-unix-open",
            &format!("unix:{log}"),
            &folder,
            "unix:*.sock",
        ],
        &[&format!("unix:{shut}")],
    );
    let ways: &[(&str, &str, Option<&str>)] = &[
        ("path", &open, None),
        ("self-root", &open, None),
        ("path", &alias, None),
        ("path", &inner, None),
        ("abstract", names[0], None),
        ("datagram", &log, None),
        ("send", &log, None),
        ("path", &shut, Some(&shut)),
        ("path", &hard, Some(&shut)),
        ("path", &symbolic, Some(&shut)),
        ("path", &bound, Some(&shut)),
        ("descriptor", &hard, Some(&shut)),
        ("abstract", names[1], Some("@interlock-unix-shut")),
        ("abstract", names[2], Some("@interlock-unix-open.sock")),
        ("datagram", &no_log, Some(&no_log)),
        ("send", &no_log, Some(&no_log)),
    ];
    let outcome = (|| {
        for (way, to, _) in ways {
            let control = Place::Outside.act(&["local", way, to])?;
            ensure!(control == "ok", "the control, {way} to {to}: {control}");
        }
        let events = Events::from_now()?;
        let mut inside = Place::Inside(&policy).obey()?;
        for (way, to, denied) in ways {
            let answer = inside.order(&format!("local {way} {to}"))?;
            let expected = if denied.is_some() { "EPERM" } else { "ok" };
            ensure!(
                answer == expected,
                "{way} to {to}: {answer}, expected {expected}"
            );
        }
        inside.end()?;
        let expected: Vec<&str> = ways.iter().filter_map(|(_, _, denied)| *denied).collect();
        let denials = events.wait(agent, expected.len())?;
        let told: Vec<&str> = denials.iter().map(|denial| &*denial.object.unix).collect();
        ensure!(told == expected, "told: {told:?}, expected {expected:?}");
        let by_rule = denials
            .iter()
            .filter(|denial| denial.rule.is_some())
            .count();
        ensure!(by_rule == 5, "{by_rule} denials name a rule, expected 5");
        Ok(())
    })();
    system::umount(&bound).context("taking the bind mount away")?;
    outcome
}

fn own() -> Result<()> {
    set_up()?;
    let path = format!("{RUN}/own");
    let agent = "unix-own";
    let policy = Policy::named(agent);
    for place in [Place::Outside, Place::Inside(&policy)] {
        let answer = place.act(&["local", "own", &path])?;
        ensure!(answer == "ok", "{place:?}: {answer}");
    }
    Ok(())
}

fn inherited() -> Result<()> {
    set_up()?;
    let path = format!("{RUN}/server");
    let listener = UnixListener::bind(&path)?;
    let agent = "unix-inherited";
    let (open, shut) = (
        policy(agent, &[&format!("unix:{path}")], &[]),
        Policy::named(agent),
    );
    let program = own_program()?;
    for (place, named, expected) in [
        (Place::Outside, true, "ok ok"),
        (Place::Inside(&open), true, "ok ok"),
        (Place::Inside(&shut), true, "EPERM EPERM"),
        // Without a name it is as a pipe: nobody has it who was not given it.
        (Place::Inside(&shut), false, "ok ok"),
    ] {
        let (client, mut server) = if named {
            (UnixStream::connect(&path)?, listener.accept()?.0)
        } else {
            UnixStream::pair()?
        };
        server.write_all(b"y")?;
        let output = place
            .command(&[&program, "act", "use-inherited"])?
            .stdin(OwnedFd::from(client))
            .output()?;
        ensure!(output.status.success(), "{}", said(&output));
        let answer = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        ensure!(
            answer == expected,
            "{place:?}, named {named}: {answer}, expected {expected}"
        );
        let mut heard = Vec::new();
        // Who leaves something unread resets the connection.
        let _ = server.read_to_end(&mut heard);
        let expected = if expected.starts_with("ok") { "x" } else { "" };
        ensure!(
            heard == expected.as_bytes(),
            "{place:?}: {heard:?} came, expected {expected:?}"
        );
    }
    let denial = Events::ALL.wait(agent, 2)?;
    ensure!(
        denial.iter().all(|denial| denial.object.unix == path),
        "told: {denial:?}"
    );
    Ok(())
}

fn handoff() -> Result<()> {
    set_up()?;
    let (path, name) = (format!("{RUN}/served"), "interlock-unix-served");
    let (server, client) = ("handoff-server", "handoff-client");
    let mut serving = Place::Inside(&Policy::named(server)).obey()?;
    for at in [path.clone(), format!("@{name}")] {
        let answer = serving.order(&format!("serve {at}"))?;
        ensure!(answer == "ok", "serving {at}: {answer}");
    }
    let sockets = [format!("unix:{path}"), format!("unix:@{name}")];
    let [by_path, by_name] = sockets.each_ref().map(String::as_str);
    let both = [by_path, by_name, "agent:handoff-server"];
    let told = |events: Events, verdict: &str| -> Result<Handoff> {
        let side = |direction: &'static str, of: &'static str| {
            events.first(
                &format!("the handoff {direction} {of}"),
                move |line| match line {
                    Line::Handoff(side)
                        if side.direction == direction
                            && side.peer_agent.as_deref() == Some(of) =>
                    {
                        Some(*side)
                    }
                    _ => None,
                },
            )
        };
        let (to, from) = (side("to", server)?, side("from", client)?);
        ensure!(
            to.verdict == verdict
                && from.verdict == verdict
                && to.session == from.peer
                && to.peer == from.session
                && to.agent.as_deref() == Some(client)
                && from.agent.as_deref() == Some(server),
            "told: {to:?} and {from:?}"
        );
        Ok(to)
    };
    for (allow, deny, expected) in [
        (&both[..], &[][..], "ok"),
        (&both[..2], &[], "EPERM"),
        (&both[..], &["agent:handoff-server"], "EPERM"),
        (&[by_path, by_name, "agent:handoff-other"], &[], "EPERM"),
        // The socket's own rules hold as well.
        (&["agent:handoff-server"], &[], "EPERM"),
    ] {
        let events = Events::from_now()?;
        let policy = policy(client, allow, deny);
        let mut acting = Place::Inside(&policy).obey()?;
        for (way, to) in [("path", path.as_str()), ("abstract", name)] {
            let answer = acting.order(&format!("local {way} {to}"))?;
            ensure!(
                answer == expected,
                "{way} under {allow:?} and {deny:?}: {answer}, expected {expected}"
            );
        }
        acting.end()?;
        // What is told of this one is not taken for the next one's.
        events.ended(client)?;
        if expected == "ok" {
            told(events, "allow")?;
            continue;
        }
        let denials = events.wait(client, 2)?;
        if allow.contains(&by_path) {
            told(events, "deny")?;
            ensure!(
                denials.iter().all(|denial| denial.object.handoff == server),
                "told: {denials:?}"
            );
        }
    }
    // Nothing of this holds for who is in no session.
    let answer = Place::Outside.act(&["local", "path", &path])?;
    ensure!(answer == "ok", "outside: {answer}");
    // What has ended has no name, even if somebody else still holds its socket.
    serving.end()?;
    Ok(())
}

fn received() -> Result<()> {
    set_up()?;
    let (open, shut) = (format!("{RUN}/open"), format!("{RUN}/shut"));
    for path in [&open, &shut] {
        let listener = UnixListener::bind(path)?;
        // A server that has gone has no name by which a connection to it could be judged.
        std::thread::spawn(move || {
            let mut streams = Vec::new();
            for mut stream in listener.incoming().flatten() {
                let _ = stream.write_all(GREETING.as_bytes());
                streams.push(stream);
            }
        });
    }
    let agent = "red-n13";
    let open_rule = format!("unix:{open}");
    let policy = policy(
        agent,
        &[&open_rule, &at(ALLOWED4, PORT)?.ip().to_string()],
        &[],
    );
    let program = own_program()?;
    let send = |place: Place<'_>, what: OwnedFd| -> Result<String> {
        let (near, far) = UnixStream::pair()?;
        pass::send(near.as_fd(), what.as_fd()).context("sending")?;
        drop(what);
        let output = place
            .command(&[&program, "act", "receive"])?
            .stdin(OwnedFd::from(far))
            .output()?;
        ensure!(output.status.success(), "{}", said(&output));
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let _servers = [ALLOWED4, DENIED4].map(|to| at(to, PORT).and_then(Server::tcp));
    let local = |path: &str| -> Result<OwnedFd> { Ok(UnixStream::connect(path)?.into()) };
    let tcp = |to| -> Result<OwnedFd> {
        let stream = TcpStream::connect(at(to, PORT)?).context("the control")?;
        stream.shutdown(std::net::Shutdown::Both)?;
        Ok(stream.into())
    };
    let (near, mut far) = UnixStream::pair()?;
    far.write_all(b"xx")?;
    let inside = Place::Inside(&policy);
    for (what, socket, expected) in [
        ("a Unix socket that is allowed", local(&open)?, "ok"),
        (
            "a Unix socket that is denied",
            local(&shut)?,
            "nothing came",
        ),
        ("a connection that is allowed", tcp(ALLOWED4)?, "ok"),
        ("a connection that is denied", tcp(DENIED4)?, "nothing came"),
        (
            "a pair whose other end is outside",
            near.into(),
            "nothing came",
        ),
    ] {
        let control = send(Place::Outside, socket.try_clone()?)?;
        ensure!(control == "ok", "{what}, outside: {control}");
        let answer = send(inside, socket)?;
        ensure!(answer == expected, "{what}: {answer}, expected {expected}");
    }
    let denials = Events::ALL.wait(agent, 3)?;
    ensure!(
        denials.iter().any(|denial| denial.object.unix == shut)
            && denials.iter().any(|denial| denial.object.port == PORT),
        "told: {denials:?}"
    );
    Ok(())
}
