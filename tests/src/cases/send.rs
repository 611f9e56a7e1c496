//! Sockets that are connected already: whether they may go on (red team N12), and how much they may
//! send.

use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::kernel::{self, unless_with_bpf_lsm};
use crate::harness::network::{ALLOWED4, ALLOWED6, DENIED4, DENIED6, PORT, Server, at};
use crate::harness::policy::Policy;
use crate::harness::product::Daemon;
use crate::harness::session::{Obedient, Place};
use crate::sys::net;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "red.n12.inherited",
            "a connection from before the session is judged by its peer at each use",
            inherited,
        )
        .unless(unless_with_bpf_lsm),
        Test::new(
            "red.n12.sendfile",
            "nor is a file sent through one",
            sendfile,
        )
        .unless(unless_with_bpf_lsm),
        Test::new(
            "red.n12.facts",
            "an open connection ends with the facts that it needs",
            facts,
        )
        .unless(unless_with_bpf_lsm),
        Test::new(
            "red.n12.step",
            "a step's connection is silent once a later step was performed",
            step,
        )
        .unless(unless_with_bpf_lsm),
        Test::new(
            "send.budget",
            "a budget of bytes is counted at the packet, whatever the calls",
            budget,
        )
        .unless(unless_with_bpf_lsm),
    ]
}

/// A server of one connection that counts what comes.
struct Sink {
    listener: TcpListener,
    came: Option<TcpStream>,
}

impl Sink {
    fn at(address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address).with_context(|| format!("at {address}"))?;
        Ok(Self {
            listener,
            came: None,
        })
    }

    /// Bytes that came since it was last asked. Loopback delivers before the sender's call returns,
    /// but for what waits in its queue until the receiver acknowledges, a fifth of a second at most.
    fn bytes(&mut self) -> Result<usize> {
        let stream = match self.came.take() {
            Some(stream) => stream,
            None => self.listener.accept()?.0,
        };
        stream.set_nonblocking(true)?;
        let (mut buffer, mut bytes) = (vec![0; 1 << 16], 0);
        let mut quiet = Instant::now();
        while quiet.elapsed() < Duration::from_millis(250) {
            match (&stream).read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => {
                    bytes += read;
                    quiet = Instant::now();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(error) => return Err(error).context("reading what came"),
            }
        }
        self.came = Some(stream);
        Ok(bytes)
    }
}

fn expect(actor: &mut Obedient, order: &str, expected: &str) -> Result<()> {
    let answer = actor.order(order)?;
    ensure!(answer == expected, "{order}: {answer}, expected {expected}");
    Ok(())
}

fn policy(agent: &str) -> Policy {
    let port = PORT.to_string();
    let mut policy = Policy::named(agent);
    for protocol in ["tcp", "udp"] {
        policy = policy
            .allow(ALLOWED4, &port, protocol)
            .allow(ALLOWED6, &port, protocol);
    }
    policy
}

fn inherited() -> Result<()> {
    Daemon::shared()?;
    let agent = "red-n12";
    let policy = policy(agent);
    for (address, allowed) in [
        (DENIED4, false),
        (ALLOWED4, true),
        (DENIED6, false),
        (ALLOWED6, true),
    ] {
        let to = at(address, PORT)?;
        let mut sink = Sink::at(to)?;
        let datagrams = Server::udp(to)?;
        let stream = TcpStream::connect(to).context("connecting outside")?;
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let datagram = UdpSocket::bind(any)?;
        datagram.connect(to)?;
        net::hand_on(stream.as_fd())?;
        net::hand_on(datagram.as_fd())?;
        let (a, b) = (stream.as_raw_fd(), datagram.as_raw_fd());
        let events = Events::from_now()?;
        for (place, goes) in [
            (Place::Outside, true),
            (Place::Inside(&policy), allowed),
            (Place::Outside, true),
        ] {
            let mut actor = place.obey()?;
            let answer = if goes { "ok" } else { "EPERM" };
            let times = 2;
            expect(&mut actor, &format!("socket adopt a {a}"), "ok")?;
            expect(&mut actor, &format!("socket adopt b {b}"), "ok")?;
            for _ in 0..times {
                expect(&mut actor, "socket send a 100", answer)?;
                expect(&mut actor, "socket send b 100", answer)?;
            }
            if to.is_ipv6() {
                let order = format!("socket send b 100 no-family {to}");
                expect(&mut actor, &order, answer)?;
            }
            actor.end()?;
            let (bytes, came) = (sink.bytes()?, datagrams.reached()?);
            let expected = if goes { times } else { 0 };
            let datagrams = expected + usize::from(goes && to.is_ipv6());
            ensure!(
                bytes == expected * 100 && came as usize == datagrams,
                "{address} {place:?}: {bytes} bytes and {came} datagrams came, expected {expected}00 and {datagrams}"
            );
        }
        if !allowed {
            events.expect(agent, "send", to, "tcp")?;
            events.expect(agent, "send", to, "udp")?;
        }
    }
    another_peer(&policy)
}

/// A socket whose peer is denied is not made free by an attempt to connect it to what is allowed.
fn another_peer(policy: &Policy) -> Result<()> {
    let (denied, allowed) = (at(DENIED4, PORT)?, at(ALLOWED4, PORT)?);
    let (mut sink, datagrams) = (Sink::at(denied)?, Server::udp(denied)?);
    let stream = TcpStream::connect(denied)?;
    let datagram = UdpSocket::bind("0.0.0.0:0")?;
    datagram.connect(denied)?;
    net::hand_on(stream.as_fd())?;
    net::hand_on(datagram.as_fd())?;
    let (a, b) = (stream.as_raw_fd(), datagram.as_raw_fd());
    let mut inside = Place::Inside(policy).obey()?;
    let other = Server::udp(allowed)?;
    expect(&mut inside, &format!("socket adopt a {a}"), "ok")?;
    expect(&mut inside, &format!("socket adopt b {b}"), "ok")?;
    expect(
        &mut inside,
        &format!("socket connect a {allowed}"),
        "EISCONN",
    )?;
    expect(&mut inside, "socket send a 100", "EPERM")?;
    expect(&mut inside, &format!("socket send b 10 {allowed}"), "ok")?;
    expect(&mut inside, "socket send b 10", "EPERM")?;
    expect(&mut inside, &format!("socket connect b {allowed}"), "ok")?;
    expect(&mut inside, "socket send b 10", "ok")?;
    inside.end()?;
    ensure!(
        sink.bytes()? == 0 && datagrams.reached()? == 0,
        "the denied peer was reached"
    );
    ensure!(other.reached()? == 2, "the allowed one was not");
    Ok(())
}

fn sendfile() -> Result<()> {
    Daemon::shared()?;
    let policy = policy("red-n12-sendfile");
    let to = at(DENIED4, PORT)?;
    let mut sink = Sink::at(to)?;
    let stream = TcpStream::connect(to)?;
    net::hand_on(stream.as_fd())?;
    let file = "/tmp/interlock-sendfile";
    fs::write(file, [b'f'; 4096])?;
    let order = format!("socket sendfile a {file} 4096");
    let adopt = format!("socket adopt a {}", stream.as_raw_fd());
    let mut outside = Place::Outside.obey()?;
    expect(&mut outside, &adopt, "ok")?;
    expect(&mut outside, &order, "ok")?;
    outside.end()?;
    ensure!(sink.bytes()? == 4096, "the control did not arrive");
    let mut inside = Place::Inside(&policy).obey()?;
    expect(&mut inside, &adopt, "ok")?;
    let answer = inside.order(&order)?;
    inside.end()?;
    let bytes = sink.bytes()?;
    if kernel::before(6, 5) {
        println!(
            "HELD not held: before 6.5 no program is asked when a file is sent through a socket from outside"
        );
        return Ok(());
    }
    ensure!(
        answer == "EPERM" && bytes == 0,
        "inside: {answer}, {bytes} bytes came"
    );
    Ok(())
}

fn facts() -> Result<()> {
    Daemon::shared()?;
    let agent = "red-n12-facts";
    let secret = "/tmp/interlock-secret";
    fs::write(secret, "customers\n")?;
    let policy = Policy::named(agent).without_files().with(&format!(
        "  facts: [{{fact: secret, meaning: a secret was read}}]
  egress: {{allow: [{{to: [{ALLOWED4}], ports: [{PORT}], forbids: [secret]}}]}}
  files:
    allow:
      - {{access: [read, write, create, map], paths: [/**]}}
      - {{access: [read], paths: [{secret}], sets: [secret]}}
"
    ));
    let to = at(ALLOWED4, PORT)?;
    let (mut sink, datagrams) = (Sink::at(to)?, Server::udp(to)?);
    let mut inside = Place::Inside(&policy).obey()?;
    let events = Events::from_now()?;
    for (name, kind) in [("a", net::STREAM), ("b", net::DGRAM)] {
        expect(&mut inside, &format!("socket make {name} 2 {kind} 0"), "ok")?;
        expect(&mut inside, &format!("socket connect {name} {to}"), "ok")?;
        expect(&mut inside, &format!("socket send {name} 10"), "ok")?;
    }
    ensure!(
        sink.bytes()? == 10 && datagrams.reached()? == 1,
        "the control did not arrive"
    );
    expect(&mut inside, &format!("file read {secret}"), "ok")?;
    for name in ["a", "b"] {
        expect(&mut inside, &format!("socket send {name} 10"), "EPERM")?;
    }
    inside.end()?;
    ensure!(
        sink.bytes()? == 0 && datagrams.reached()? == 0,
        "something came"
    );
    let denials = events.wait(agent, 2)?;
    ensure!(
        denials
            .iter()
            .all(|denial| denial.action == "send" && denial.reason == "fact forbidden"),
        "told: {:?}",
        denials
            .iter()
            .map(|denial| (&denial.action, &denial.reason))
            .collect::<Vec<_>>()
    );
    Ok(())
}

fn step() -> Result<()> {
    Daemon::shared()?;
    let policy = Policy::named("red-n12-step").with(&format!(
        "  chain:
    steps:
      - {{step: fetch, egress: [{{to: [{ALLOWED4}], ports: [{PORT}]}}]}}
      - {{step: post, egress: [{{to: [{DENIED4}], ports: [{PORT}]}}]}}
"
    ));
    let (first, second) = (at(ALLOWED4, PORT)?, at(DENIED4, PORT)?);
    let (mut fetched, mut posted) = (Sink::at(first)?, Sink::at(second)?);
    let mut inside = Place::Inside(&policy).obey()?;
    expect(&mut inside, "socket make a 2 1 0", "ok")?;
    expect(&mut inside, "socket make b 2 1 0", "ok")?;
    expect(&mut inside, &format!("socket connect b {second}"), "EPERM")?;
    expect(&mut inside, &format!("socket connect a {first}"), "ok")?;
    // The step has been performed, and its connection goes on.
    expect(&mut inside, "socket send a 10", "ok")?;
    expect(&mut inside, "socket send a 10", "ok")?;
    ensure!(fetched.bytes()? == 20, "the step's bytes did not come");
    expect(&mut inside, &format!("socket connect b {second}"), "ok")?;
    expect(&mut inside, "socket send b 10", "ok")?;
    expect(&mut inside, "socket send a 10", "EPERM")?;
    expect(&mut inside, "socket send b 10", "ok")?;
    inside.end()?;
    ensure!(fetched.bytes()? == 0, "something came after the step");
    ensure!(posted.bytes()? == 20, "the later step's bytes did not come");
    Ok(())
}

fn budget() -> Result<()> {
    Daemon::shared()?;
    const BUDGET: usize = 40_000;
    let to = at(ALLOWED4, PORT)?;
    let file = "/tmp/interlock-budget";
    fs::write(file, vec![b'b'; 1000])?;
    for (way, kind) in [
        ("send", net::STREAM),
        ("sendfile", net::STREAM),
        ("to", net::DGRAM),
    ] {
        let agent = format!("send-budget-{way}");
        let policy = Policy::named(&agent).with(&format!(
            "  egress: {{allow: [{{to: [{ALLOWED4}], ports: [{PORT}], limit: {{bytesPerSession: 40KB}}}}]}}\n"
        ));
        let (mut sink, datagrams) = (Sink::at(to)?, Server::udp(to)?);
        let mut inside = Place::Inside(&policy).obey()?;
        expect(&mut inside, &format!("socket make a 2 {kind} 0"), "ok")?;
        let order = match way {
            "send" => "socket send a 1000".to_owned(),
            "sendfile" => format!("socket sendfile a {file} 1000"),
            _ => format!("socket send a 1000 {to}"),
        };
        if kind == net::STREAM {
            expect(&mut inside, &format!("socket connect a {to}"), "ok")?;
        }
        let events = Events::from_now()?;
        let mut sent = 0;
        while sent < 60 && inside.order(&order)? == "ok" {
            sent += 1;
        }
        let came = if kind == net::STREAM {
            sink.bytes()?
        } else {
            datagrams.reached()? as usize * 1000
        };
        // Packets have headers, and connections have packets without a byte of the session's.
        ensure!(
            came <= BUDGET && came > BUDGET * 3 / 4,
            "{way}: {came} bytes came of {sent} messages, with a budget of {BUDGET}"
        );
        ensure!(
            sent < 60 || way == "sendfile" && kernel::before(6, 5),
            "{way}: no message was denied"
        );
        if sent < 60 {
            let denials = events.wait(&agent, 1)?;
            ensure!(
                denials
                    .iter()
                    .all(|denial| denial.reason == "budget spent" && denial.action == "send"),
                "told: {:?}",
                denials
                    .iter()
                    .map(|denial| &denial.reason)
                    .collect::<Vec<_>>()
            );
        }
        inside.end()?;
    }
    Ok(())
}
