//! Ways out beside and through the lookup of names, for policies that name addresses (red team N8 to
//! N10): a resolver is a place like any other.

use crate::act::way::PAYLOAD;
use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::kernel::unless_with_bpf_lsm;
use crate::harness::network::{ALLOWED4, DENIED4, DENIED6, PORT, Server, at};
use crate::harness::policy::Policy;
use crate::harness::product::Daemon;
use crate::harness::session::{Obedient, Place};
use anyhow::{Result, ensure};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::Path;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "red.n8.resolver",
            "no resolver is reached that the policy does not name, by UDP, TCP, TLS or a Unix socket",
            resolver,
        )
        .unless(unless_with_bpf_lsm),
        Test::new(
            "red.n8.budget",
            "a resolver that the policy names takes as many bytes as the policy says, and none more",
            budget,
        ),
        Test::new(
            "red.n9.shared",
            "beside an address that is allowed nothing is: not its other ports, not its neighbour",
            shared,
        ),
        Test::new(
            "red.n10.literal",
            "an address is the same however the program spells it",
            literal,
        ),
    ]
}

/// Orders the same of several actors, and counts at the server what has come after each.
fn each(
    actors: &mut [(&mut Obedient, &str, u32)],
    (way, to): (&str, &str),
    server: &Server,
) -> Result<()> {
    for (actor, expected, came) in actors {
        let answer = actor.order(&format!("way {way} {to}"))?;
        ensure!(
            answer == *expected,
            "{way} {to}: {answer}, expected {expected}"
        );
        let found = server.reached()?;
        ensure!(found == *came, "{way} {to}: {found} came, expected {came}");
    }
    Ok(())
}

/// Where the C libraries' caches and systemd's resolver listen.
const LOCAL_RESOLVERS: [&str; 2] = [
    "/run/systemd/resolve/io.systemd.Resolve",
    "/run/nscd/socket",
];

fn resolver() -> Result<()> {
    Daemon::shared()?;
    let agent = "red-n8";
    // The whole internet, and no resolver.
    let web = Policy::named(agent)
        .allow("0.0.0.0/0", "443", "tcp")
        .allow("::/0", "443", "tcp");
    let (mut outside, mut inside) = (Place::Outside.obey()?, Place::Inside(&web).obey()?);
    let events = Events::from_now()?;
    for address in [DENIED4, DENIED6, "127.0.0.53"] {
        let plain = at(address, 53)?;
        let ways: [(Server, SocketAddr, &[&str]); 3] = [
            (
                Server::udp(plain)?,
                plain,
                &["udp", "udp-connected", "udp-elsewhere", "uring-udp-pool"],
            ),
            (
                Server::tcp(plain)?,
                plain,
                &["tcp", "fastopen", "uring-tcp-pool"],
            ),
            (Server::tcp(at(address, 853)?)?, at(address, 853)?, &["tcp"]),
        ];
        for (server, to, ways) in ways {
            for way in ways {
                each(
                    &mut [(&mut outside, "ok", 1), (&mut inside, "EPERM", 0)],
                    (way, &to.to_string()),
                    &server,
                )?;
            }
        }
    }
    for path in LOCAL_RESOLVERS {
        let folder = Path::new(path).parent();
        folder.map_or(Ok(()), fs::create_dir_all)?;
        let _ = fs::remove_file(path);
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        let order = format!("unix {path}");
        let answer = outside.order(&order)?;
        ensure!(
            answer == "ok" && listener.accept().is_ok(),
            "the control {path}: {answer}"
        );
        let answer = inside.order(&order)?;
        ensure!(answer == "EPERM", "{path}: {answer}");
        ensure!(listener.accept().is_err(), "{path}: somebody came");
        fs::remove_file(path)?;
    }
    events.expect(agent, "connect", at(DENIED4, 53)?, "tcp")?;
    outside.end()?;
    inside.end()?;
    Ok(())
}

fn budget() -> Result<()> {
    const QUESTIONS: usize = 40;
    /// A budget is of the packets as they leave, with the headers of IPv4 and UDP.
    const ROOM: usize = 1000 / (PAYLOAD.len() + 20 + 8);
    Daemon::shared()?;
    let to = at(ALLOWED4, 53)?;
    let few = Policy::named("red-n8-budget").with(&format!(
        "  egress:\n    allow:\n      - {{to: [\"{ALLOWED4}\"], ports: [53], protocol: udp, \
         limit: {{bytesPerSession: 1KB}}}}\n",
    ));
    let server = Server::udp(to)?;
    let to = to.to_string();
    let words: Vec<&str> = ["batch"]
        .into_iter()
        .chain([to.as_str(); QUESTIONS])
        .collect();
    for (place, expected) in [(Place::Outside, QUESTIONS), (Place::Inside(&few), ROOM)] {
        let said = place.act(&words)?;
        let came = server.reached()?;
        ensure!(
            came as usize == expected,
            "{came} questions came through, expected {expected} ({said})"
        );
    }
    Ok(())
}

fn shared() -> Result<()> {
    Daemon::shared()?;
    let agent = "red-n9";
    let one = Policy::named(agent).allow(ALLOWED4, "443", "tcp");
    let (mut outside, mut inside) = (Place::Outside.obey()?, Place::Inside(&one).obey()?);
    let allowed = Server::tcp(at(ALLOWED4, 443)?)?;
    each(
        &mut [(&mut outside, "ok", 1), (&mut inside, "ok", 1)],
        ("tcp", &at(ALLOWED4, 443)?.to_string()),
        &allowed,
    )?;
    let events = Events::from_now()?;
    // DNS over HTTPS and over TLS, HTTP/3, and another service of the same machine.
    for (address, port, way) in [
        (DENIED4, 443, "tcp"),
        (ALLOWED4, 853, "tcp"),
        (ALLOWED4, 443, "udp"),
        (ALLOWED4, PORT, "tcp"),
    ] {
        let to = at(address, port)?;
        let server = if way == "tcp" {
            Server::tcp(to)?
        } else {
            Server::udp(to)?
        };
        each(
            &mut [(&mut outside, "ok", 1), (&mut inside, "EPERM", 0)],
            (way, &to.to_string()),
            &server,
        )?;
    }
    events.expect(agent, "connect", at(DENIED4, 443)?, "tcp")?;
    outside.end()?;
    inside.end()?;
    Ok(())
}

fn literal() -> Result<()> {
    Daemon::shared()?;
    let agent = "red-n10";
    let beside = Policy::named(agent).allow(ALLOWED4, &PORT.to_string(), "tcp");
    let server = Server::tcp(at("0.0.0.0", PORT)?)?;
    let (mut outside, mut inside) = (Place::Outside.obey()?, Place::Inside(&beside).obey()?);
    let events = Events::from_now()?;
    // Each is DENIED4 to the C library's resolver.
    for text in [
        DENIED4,
        "0xc0000214",
        "3221226004",
        "192.532",
        "192.0.532",
        "0300.0.02.024",
        "0xc0.0.2.0x14",
        "[::ffff:192.0.2.20]",
    ] {
        each(
            &mut [(&mut outside, "ok", 1), (&mut inside, "EPERM", 0)],
            ("tcp", &format!("{text}:{PORT}")),
            &server,
        )?;
    }
    events.expect(agent, "connect", at(DENIED4, PORT)?, "tcp")?;
    outside.end()?;
    inside.end()?;
    Ok(())
}
