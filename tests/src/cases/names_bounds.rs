//! What lookups cannot do: carry something out, or lead where no name leads (red team N8 to N11).

use super::names::{Network, policy};
use crate::harness::Test;
use crate::harness::events::{Denial, Events};
use crate::harness::policy::Policy;
use crate::harness::session::Place;
use anyhow::{Result, ensure};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "red.n8.lookup",
            "no lookup carries anything out: not of other names, not of other types, not by long or many labels",
            tunnels,
        )
        .patience(240),
        Test::new(
            "lookup.bounds",
            "what may be looked up, and how often, is the policy's",
            bounds,
        )
        .patience(240),
        Test::new(
            "red.n9.lookup",
            "an address is reached by the name that led to it, on the ports of that name, by the session that asked",
            bound,
        )
        .patience(240),
        Test::new(
            "red.n10.lookup",
            "a name is what it is in its one form, whatever surrounds it",
            spelled,
        )
        .patience(240),
        Test::new(
            "red.n11.lookup",
            "no name leads to the host itself or to the cloud's metadata service",
            walled,
        )
        .patience(240),
    ]
}

/// The denial of a lookup.
fn told(events: &Events, agent: &str, name: &str, reason: &str) -> Result<Denial> {
    events.find(&format!("the lookup of {name}"), |denial| {
        denial.agent.as_deref() == Some(agent)
            && denial.action == "lookup"
            && denial.object.host == name
            && denial.reason == reason
    })
}

fn tunnels() -> Result<()> {
    let network = Network::set_up()?;
    let agent = "red-n8-names";
    let policy = policy(agent, &["api.example.test", "*.data.example.test"]);
    let events = Events::from_now()?;
    let refused = "REFUSED - from 8.8.8.8:53 peer 8.8.8.8:53";
    let long = format!("{}.data.example.test", "a".repeat(41));
    let deep = "a.b.c.d.e.data.example.test";
    let query = |name: &str, kind: &str| format!("query 8.8.8.8 udp {name} {kind}");
    let (long_query, deep_query) = (query(&long, "A"), query(deep, "A"));
    network.client.expect(
        Place::Inside(&policy),
        &[
            ("query 8.8.8.8 udp secret.attacker.test A", refused),
            ("query 8.8.8.8 tcp secret.attacker.test A", refused),
            ("query 8.8.8.8 udp api.example.test TXT", refused),
            ("query 8.8.8.8 udp x.data.example.test TXT", refused),
            ("query 8.8.8.8 udp x.data.example.test NULL", refused),
            ("query 8.8.8.8 udp x.data.example.test ANY", refused),
            (&long_query, refused),
            (&deep_query, refused),
            (
                "query 8.8.8.8 udp x.data.example.test A",
                "NOERROR 198.51.100.9 from 8.8.8.8:53 peer 8.8.8.8:53",
            ),
            ("oversized 8.8.8.8 udp api.example.test", "FORMERR"),
            ("tls 8.8.8.8 853", "EPERM"),
            // Names that nobody asked for before run out; those that were go on.
            ("flood 8.8.8.8 data.example.test 200", "REFUSED"),
            (
                "query 8.8.8.8 udp x.data.example.test A",
                "NOERROR 198.51.100.9 from 8.8.8.8:53 peer 8.8.8.8:53",
            ),
            (
                "query 8.8.8.8 udp api.example.test A",
                "NOERROR 198.51.100.1 from 8.8.8.8:53 peer 8.8.8.8:53",
            ),
        ],
    )?;
    let heard = network.heard()?;
    for never in ["attacker", " 16 ", " 10 ", " 255 ", long.as_str(), deep] {
        ensure!(
            !heard.contains(never),
            "the server heard {never:?}:\n{heard}"
        );
    }
    let new = heard.matches(".data.example.test").count();
    ensure!(new < 160, "the server heard {new} names");
    let denial = told(&events, agent, "secret.attacker.test", "no rule")?;
    ensure!(
        denial.process.comm == "python3" && denial.verdict == "deny",
        "{denial:?}"
    );
    told(
        &events,
        agent,
        "api.example.test",
        "type of record not allowed",
    )?;
    told(&events, agent, &long, "name too long")?;
    Ok(())
}

fn bounds() -> Result<()> {
    let network = Network::set_up()?;
    let policy = Policy::named("names-bounds").with(
        "  egress:\n    lookups: {records: [A, TXT], newNames: {rate: 1/h, burst: 2}, label: 3}\n    allow:\n      - {to: [\"*.data.example.test\"], ports: [8090]}\n",
    );
    let found = "NOERROR 198.51.100.9 from 8.8.8.8:53 peer 8.8.8.8:53";
    let refused = "REFUSED - from 8.8.8.8:53 peer 8.8.8.8:53";
    network.client.expect(
        Place::Inside(&policy),
        &[
            ("query 8.8.8.8 udp a.data.example.test A", found),
            (
                "query 8.8.8.8 udp a.data.example.test TXT",
                "NOERROR - from 8.8.8.8:53 peer 8.8.8.8:53",
            ),
            ("query 8.8.8.8 udp a.data.example.test AAAA", refused),
            ("query 8.8.8.8 udp long.data.example.test A", refused),
            ("query 8.8.8.8 udp b.data.example.test A", found),
            ("query 8.8.8.8 udp c.data.example.test A", refused),
            ("query 8.8.8.8 udp a.data.example.test A", found),
        ],
    )
}

fn bound() -> Result<()> {
    let network = Network::set_up()?;
    let agent = "red-n9-names";
    let policy = policy(agent, &["api.example.test"]);
    let events = Events::from_now()?;
    network.client.expect(
        Place::Inside(&policy),
        &[
            (
                "query 8.8.8.8 udp api.example.test A",
                "NOERROR 198.51.100.1 from 8.8.8.8:53 peer 8.8.8.8:53",
            ),
            ("connect 198.51.100.1 8090", "ok"),
            // Another service of the same machine, another machine, a resolver by HTTPS and by TLS.
            ("connect 198.51.100.1 8091", "EPERM"),
            ("connect 198.51.100.2 8090", "EPERM"),
            ("connect 198.51.100.1 443", "EPERM"),
            ("connect 198.51.100.1 853", "EPERM"),
            ("datagram 198.51.100.1 8090", "EPERM"),
        ],
    )?;
    let nowhere = "no allowed name resolves to it";
    let denial = events.find("the machine without a name", |denial| {
        denial.agent.as_deref() == Some(agent) && denial.object.address == "198.51.100.2"
    })?;
    ensure!(
        denial.reason == nowhere && denial.object.host.is_empty(),
        "{denial:?}"
    );
    let denial = events.find("the other port", |denial| {
        denial.agent.as_deref() == Some(agent) && denial.object.port == 8091
    })?;
    ensure!(
        denial.reason == "no rule" && denial.object.host == "api.example.test",
        "{denial:?}"
    );
    Ok(())
}

fn spelled() -> Result<()> {
    let network = Network::set_up()?;
    let policy = policy(
        "red-n10-names",
        &["api.example.test", "*.data.example.test"],
    );
    let found = "NOERROR 198.51.100.1 from 8.8.8.8:53 peer 8.8.8.8:53";
    let refused = "REFUSED - from 8.8.8.8:53 peer 8.8.8.8:53";
    network.client.expect(
        Place::Inside(&policy),
        &[
            ("query 8.8.8.8 udp API.Example.TEST. A", found),
            ("query 8.8.8.8 udp xapi.example.test A", refused),
            ("query 8.8.8.8 udp api.example.testx A", refused),
            ("query 8.8.8.8 udp evil.test.api.example.test A", refused),
            ("query 8.8.8.8 udp evildata.example.test A", refused),
            // One label with a dot, a zero byte, a space in it: as bytes they look like the name.
            ("query 8.8.8.8 udp api\\.example.test A", refused),
            ("query 8.8.8.8 udp api\\000.example.test A", refused),
            ("query 8.8.8.8 udp api\\032.data.example.test A", refused),
            ("malformed 8.8.8.8 circle", "FORMERR"),
            ("malformed 8.8.8.8 open", "FORMERR"),
            ("malformed 8.8.8.8 two", "FORMERR"),
            ("malformed 8.8.8.8 answer", "timeout"),
            ("malformed 8.8.8.8 short", "timeout"),
            ("query 8.8.8.8 udp api.example.test A", found),
        ],
    )?;
    let heard = network.heard()?;
    ensure!(
        !heard.contains("evil") && !heard.contains("testx") && !heard.contains("xapi"),
        "{heard}"
    );
    Ok(())
}

fn walled() -> Result<()> {
    let network = Network::set_up()?;
    let policy = policy("red-n11-names", &["*.wall.example.test"]);
    network.client.expect(
        Place::Inside(&policy),
        &[
            (
                "query 8.8.8.8 udp loop.wall.example.test A",
                "NOERROR 127.0.0.1 from 8.8.8.8:53 peer 8.8.8.8:53",
            ),
            ("connect 127.0.0.1 8090", "EPERM"),
            ("connect 0.0.0.0 8090", "EPERM"),
            (
                "query 8.8.8.8 udp meta.wall.example.test A",
                "NOERROR 169.254.169.254 from 8.8.8.8:53 peer 8.8.8.8:53",
            ),
            ("connect 169.254.169.254 8090", "EPERM"),
        ],
    )?;
    network
        .client
        .expect(Place::Outside, &[("connect 127.0.0.1 8090", "ok")])
}
