//! Ways out that lie near: loopback, the metadata service, and addresses that change while the kernel
//! looks at them (red team N11, N14).

use crate::act::flip::Tally;
use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::network::{ALLOWED4, ALLOWED6, DENIED4, PORT, Server, at, ip};
use crate::harness::policy::Policy;
use crate::harness::product::Daemon;
use crate::harness::session::Place;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::net::SocketAddr;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "red.n11.loopback",
            "no relay on loopback is reached by whatever name, unless its port is named",
            loopback,
        ),
        Test::new(
            "red.n11.metadata",
            "the metadata service is reached by nobody whose policy does not name it",
            metadata,
        ),
        Test::new(
            "red.n3.source_route",
            "no packet goes to an allowed address by way of another",
            source_route,
        ),
        Test::new(
            "red.n14.flip",
            "an address that changes while the kernel looks is judged as the one that is used",
            || flip(20_000),
        ),
        Test::new("long.n14.flip", "the same a million times", || {
            flip(1_000_000)
        })
        .patience(600),
    ]
}

/// Where the relay listens.
const RELAY: u16 = 3128;

fn loopback() -> Result<()> {
    Daemon::shared()?;
    let agent = "red-n11";
    // Everything beside loopback.
    let wide = Policy::named(agent)
        .allow("0.0.0.0/0", "1-65535", "tcp")
        .allow("::/0", "1-65535", "tcp");
    let named = Policy::named("red-n11-named").allow("loopback", &RELAY.to_string(), "tcp");
    let v4 = Server::tcp(at("0.0.0.0", RELAY)?)?;
    let v6 = Server::tcp(at("::1", RELAY)?)?;
    let beside = Server::tcp(at("127.0.0.1", RELAY + 1)?)?;
    let names = [
        "127.0.0.1",
        "127.9.8.7",
        "0.0.0.0",
        "::ffff:127.0.0.1",
        "::ffff:0.0.0.0",
        "::1",
        "::",
    ];
    let (mut outside, mut inside) = (Place::Outside.obey()?, Place::Inside(&wide).obey()?);
    let mut by_name = Place::Inside(&named).obey()?;
    let reached = || -> Result<u32> { Ok(v4.reached()? + v6.reached()?) };
    let events = Events::from_now()?;
    for name in names {
        let to = at(name, RELAY)?;
        for way in ["tcp", "fastopen"] {
            let order = format!("way {way} {to}");
            for (actor, expected, came) in [
                (&mut outside, "ok", 1),
                (&mut inside, "EPERM", 0),
                (&mut by_name, "ok", 1),
            ] {
                let answer = actor.order(&order)?;
                ensure!(answer == expected, "{order}: {answer}, expected {expected}");
                let found = reached()?;
                ensure!(found == came, "{order}: {found} came, expected {came}");
            }
        }
    }
    let to = at("127.0.0.1", RELAY + 1)?;
    let answer = by_name.order(&format!("way tcp {to}"))?;
    ensure!(answer == "EPERM", "the port beside: {answer}");
    ensure!(beside.reached()? == 0, "the port beside was reached");
    events.expect("red-n11-named", "connect", to, "tcp")?;
    events.expect(agent, "connect", at("127.0.0.1", RELAY)?, "tcp")?;
    events.expect(agent, "connect", at("::1", RELAY)?, "tcp")?;
    for actor in [outside, inside, by_name] {
        actor.end()?;
    }
    Ok(())
}

fn metadata() -> Result<()> {
    Daemon::shared()?;
    let services = ["169.254.169.254", "fd00:ec2::254"];
    for (address, bits) in services.into_iter().zip([32, 128]) {
        ip(&[
            "address",
            "replace",
            &format!("{address}/{bits}"),
            "dev",
            "lo",
        ])?;
    }
    let agent = "red-n11-metadata";
    let around = ["0.0.0.0/0", "169.254.0.0/16", "::/0", "fd00:ec2::/32"];
    let mut wide = Policy::named(agent);
    for network in around {
        wide = wide.allow(network, "80", "tcp").allow(network, "80", "udp");
    }
    let mut named = Policy::named("red-n11-metadata-named");
    for service in services {
        named = named
            .allow(service, "80", "tcp")
            .allow(service, "80", "udp");
    }
    let (mut outside, mut inside) = (Place::Outside.obey()?, Place::Inside(&wide).obey()?);
    let mut by_name = Place::Inside(&named).obey()?;
    let events = Events::from_now()?;
    for service in services {
        let to: SocketAddr = at(service, 80)?;
        for (way, server) in [("tcp", Server::tcp(to)?), ("udp", Server::udp(to)?)] {
            for (actor, expected, came) in [
                (&mut outside, "ok", 1),
                (&mut inside, "EPERM", 0),
                (&mut by_name, "ok", 1),
            ] {
                let answer = actor.order(&format!("way {way} {to}"))?;
                ensure!(
                    answer == expected,
                    "{way} {to}: {answer}, expected {expected}"
                );
                let found = server.reached()?;
                ensure!(found == came, "{way} {to}: {found} came, expected {came}");
            }
        }
        events.expect(agent, "connect", to, "tcp")?;
    }
    for actor in [outside, inside, by_name] {
        actor.end()?;
    }
    Ok(())
}

fn source_route() -> Result<()> {
    Daemon::shared()?;
    // What a machine of the internet refuses, and one of a company's network may not.
    for knob in [
        "ipv4/conf/all/accept_source_route",
        "ipv4/conf/lo/accept_source_route",
        // What comes over loopback comes from here.
        "ipv4/conf/lo/accept_local",
        "ipv6/conf/all/seg6_enabled",
        "ipv6/conf/lo/seg6_enabled",
    ] {
        let knob = format!("/proc/sys/net/{knob}");
        fs::write(&knob, "1").context(knob)?;
    }
    let port = PORT.to_string();
    // Without it some kernels let nobody give a route at all.
    let mut policy = Policy::named("red-n3-route").privileges(&["cap_net_raw"]);
    for address in [ALLOWED4, ALLOWED6] {
        policy = policy
            .allow(address, &port, "tcp")
            .allow(address, &port, "udp");
    }
    let (mut outside, mut inside) = (Place::Outside.obey()?, Place::Inside(&policy).obey()?);
    for address in [ALLOWED4, ALLOWED6] {
        let to = at(address, PORT)?;
        let servers = [
            ("udp", "EPERM", Server::udp(to)?),
            ("tcp", "ETIMEDOUT", Server::tcp(to)?),
        ];
        for (protocol, denied, server) in servers {
            let routed = format!("way {protocol}-routed {to}");
            let straight = format!("way {protocol} {to}");
            for (is_inside, order, expected, came) in [
                (false, &routed, "ok", 1),
                (true, &routed, denied, 0),
                (true, &straight, "ok", 1),
            ] {
                let actor = if is_inside { &mut inside } else { &mut outside };
                let answer = actor.order(order)?;
                ensure!(answer == expected, "{order}: {answer}, expected {expected}");
                let found = server.reached()?;
                ensure!(found == came, "{order}: {found} came, expected {came}");
            }
        }
    }
    outside.end()?;
    inside.end()?;
    Ok(())
}

/// One thread changes an address between an allowed and a denied one, another uses it.
fn flip(times: u32) -> Result<()> {
    Daemon::shared()?;
    let (allowed, denied) = (at(ALLOWED4, PORT)?, at(DENIED4, PORT)?);
    let (allowed_server, denied_server) = (Server::udp(allowed)?, Server::udp(denied)?);
    let policy = Policy::named("red-n14").allow(ALLOWED4, &PORT.to_string(), "udp");
    let part = [
        "flip",
        &allowed.to_string(),
        &denied.to_string(),
        &times.to_string(),
    ];
    let control = Tally::parse(&Place::Outside.act(&part)?)?;
    ensure!(
        control.denied == 0 && denied_server.reached()? > 0 && allowed_server.reached()? > 0,
        "the control reached only one: {control:?}"
    );
    let inside = Tally::parse(&Place::Inside(&policy).act(&part)?)?;
    let reached = denied_server.reached()?;
    ensure!(
        reached == 0,
        "{reached} datagrams reached the denied address"
    );
    ensure!(
        allowed_server.reached()? > 0,
        "nothing reached the allowed address"
    );
    ensure!(
        inside.denied > 0 && inside.sent > 0 && inside.other == 0,
        "nothing was raced for: {inside:?}"
    );
    Ok(())
}
