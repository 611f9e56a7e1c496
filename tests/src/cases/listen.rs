//! Where a session lets others come.

use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::kernel::unless_with_bpf_lsm;
use crate::harness::network::at;
use crate::harness::policy::Policy;
use crate::harness::product::Daemon;
use crate::harness::session::{Obedient, Place, own_program};
use crate::sys::net;
use anyhow::{Context, Result, ensure};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "listen.rules",
            "a session listens where its policy says, and binds to whatever port the kernel chooses",
            rules,
        )
        .unless(unless_with_bpf_lsm),
        Test::new(
            "listen.limit",
            "to bind and to listen is one action, and to take connections is none",
            limit,
        )
        .unless(unless_with_bpf_lsm),
        Test::new(
            "listen.inherited",
            "a listening socket from outside is judged when the session takes a connection",
            inherited,
        )
        .unless(unless_with_bpf_lsm),
    ]
}

const RULES: &str = "  listen:
    allow:
      - {on: [127.0.0.1], ports: [8080, 9000-9010], protocol: tcp}
      - {on: [127.0.0.1], ports: [5300], protocol: udp}
      - {on: [0.0.0.0/0], ports: [7000]}
      - {on: [\"::1\"], ports: [8080]}
";

/// A family, a type, an address, and what becomes of `bind` and of `listen` there.
const CASES: &[(i32, i32, &str, &str, &str)] = &[
    (net::INET, net::STREAM, "127.0.0.1:8080", "ok", "ok"),
    (net::INET, net::STREAM, "127.0.0.1:9010", "ok", "ok"),
    (net::INET, net::STREAM, "127.0.0.1:8081", "EPERM", ""),
    (net::INET, net::STREAM, "127.0.0.1:9011", "EPERM", ""),
    (net::INET, net::STREAM, "127.0.0.2:8080", "EPERM", ""),
    (net::INET, net::STREAM, "0.0.0.0:8080", "EPERM", ""),
    // Every address is no loopback address, and the other way round.
    (net::INET, net::STREAM, "0.0.0.0:7000", "ok", "ok"),
    (net::INET, net::STREAM, "127.0.0.1:7000", "EPERM", ""),
    (net::INET, net::STREAM, "192.0.2.10:7000", "ok", "ok"),
    // Clients bind to whatever port there is; nobody listens there.
    (net::INET, net::STREAM, "127.0.0.1:0", "ok", "EPERM"),
    (net::INET, net::STREAM, "0.0.0.0:0", "ok", "EPERM"),
    (net::INET6, net::STREAM, "[::]:0", "ok", "EPERM"),
    (net::INET6, net::STREAM, "[::1]:8080", "ok", "ok"),
    (net::INET6, net::STREAM, "[::]:8080", "EPERM", ""),
    (net::INET6, net::STREAM, "[::]:7000", "EPERM", ""),
    (
        net::INET6,
        net::STREAM,
        "[::ffff:127.0.0.1]:8080",
        "ok",
        "ok",
    ),
    (
        net::INET6,
        net::STREAM,
        "[::ffff:127.0.0.1]:8081",
        "EPERM",
        "",
    ),
    (net::INET, net::DGRAM, "127.0.0.1:5300", "ok", "EOPNOTSUPP"),
    (net::INET, net::DGRAM, "127.0.0.1:5301", "EPERM", ""),
    (net::INET, net::DGRAM, "127.0.0.1:8080", "EPERM", ""),
    (net::INET, net::DGRAM, "127.0.0.1:0", "ok", ""),
    (net::INET6, net::DGRAM, "[::1]:8080", "ok", ""),
];

fn rules() -> Result<()> {
    Daemon::shared()?;
    let agent = "listen-rules";
    let policy = Policy::named(agent).with(RULES);
    let events = Events::from_now()?;
    let mut outside = Place::Outside.obey()?;
    let mut inside = Place::Inside(&policy).obey()?;
    let mut wrong = Vec::new();
    let mut check = |actor: &mut Obedient, order: String, expected: &str| -> Result<()> {
        let answer = actor.order(&order)?;
        if answer != expected {
            wrong.push(format!("{order}: {answer}, expected {expected}"));
        }
        Ok(())
    };
    for (family, kind, address, bound, listens) in CASES {
        for (actor, bound, listens) in [
            (
                &mut outside,
                "ok",
                if listens.is_empty() { "" } else { "ok" },
            ),
            (&mut inside, bound, *listens),
        ] {
            let listens = if *kind == net::DGRAM && !listens.is_empty() {
                "EOPNOTSUPP"
            } else {
                listens
            };
            check(actor, format!("socket make a {family} {kind} 0"), "ok")?;
            check(actor, format!("socket bind a {address}"), bound)?;
            if !listens.is_empty() {
                check(actor, "socket listen a".to_owned(), listens)?;
            }
            check(actor, "socket close a".to_owned(), "ok")?;
        }
    }
    // Without an address the kernel chooses one.
    check(&mut inside, "socket make a 2 1 0".to_owned(), "ok")?;
    check(&mut inside, "socket listen a".to_owned(), "EPERM")?;
    // Who comes to a rule's address is taken in.
    check(&mut inside, "socket make b 2 1 0".to_owned(), "ok")?;
    check(&mut inside, "socket bind b 127.0.0.1:9001".to_owned(), "ok")?;
    check(&mut inside, "socket listen b".to_owned(), "ok")?;
    let _client = TcpStream::connect("127.0.0.1:9001").context("connecting to the session")?;
    check(&mut inside, "socket accept b c".to_owned(), "ok")?;
    inside.end()?;
    outside.end()?;
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    events.expect(agent, "listen", at("127.0.0.1", 8081)?, "tcp")?;
    events.expect(agent, "listen", "0.0.0.0:8080".parse()?, "tcp")?;
    events.expect(agent, "listen", at("127.0.0.1", 5301)?, "udp")?;
    Ok(())
}

fn limit() -> Result<()> {
    Daemon::shared()?;
    let policy = Policy::named("listen-limit").with(
        "  listen: {allow: [{on: [127.0.0.1], ports: [9100-9110], limit: {perSession: 2}}]}\n",
    );
    let mut inside = Place::Inside(&policy).obey()?;
    for (name, port, expected) in [("a", 9100, "ok"), ("b", 9101, "ok"), ("c", 9102, "EPERM")] {
        let mut orders = vec![
            (format!("socket make {name} 2 1 0"), "ok"),
            (format!("socket bind {name} 127.0.0.1:{port}"), "ok"),
            (format!("socket listen {name}"), expected),
        ];
        let mut client = None;
        if expected == "ok" {
            orders.push((format!("socket accept {name} {name}1"), "ok"));
        }
        for (order, expected) in orders {
            if order.contains("accept") {
                client = Some(TcpStream::connect(("127.0.0.1", port))?);
            }
            let answer = inside.order(&order)?;
            ensure!(answer == expected, "{order}: {answer}, expected {expected}");
        }
        drop(client);
    }
    inside.end()?;
    Ok(())
}

fn inherited() -> Result<()> {
    Daemon::shared()?;
    let agent = "listen-inherited";
    let policy = Policy::named(agent).with(RULES);
    let own = own_program()?;
    let events = Events::from_now()?;
    for (address, allowed) in [("127.0.0.1:8082", false), ("127.0.0.1:9002", true)] {
        let address: SocketAddr = address.parse()?;
        let listener = TcpListener::bind(address)?;
        net::hand_on(listener.as_fd())?;
        let descriptor = listener.as_raw_fd().to_string();
        let client = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        let take = |place: Place<'_>| -> Result<String> {
            let output = place
                .command(&[&own, "act", "take-in", &descriptor])?
                .output()?;
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let inside = take(Place::Inside(&policy))?;
        let expected = if allowed { "ok" } else { "EPERM" };
        ensure!(
            inside == expected,
            "{address}: {inside}, expected {expected}"
        );
        if !allowed {
            events.expect(agent, "listen", address, "tcp")?;
            let outside = take(Place::Outside)?;
            ensure!(outside == "ok", "the control: {outside}");
        }
        drop(client);
    }
    Ok(())
}
