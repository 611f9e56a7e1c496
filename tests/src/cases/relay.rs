//! Connections that go through the daemon's relay: those that must say first for which name they are, and those
//! that go through a gateway.

use super::names::Network;
use crate::harness::Test;
use crate::harness::controller;
use crate::harness::events::Events;
use crate::harness::network::DENIED4;
use crate::harness::policy::Policy;
use crate::harness::product::{self, Daemon};
use crate::harness::servers::Serving;
use crate::harness::session::Place;
use crate::harness::steps::{Steps, Talk};
use anyhow::{Result, ensure};
use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What the servers have heard.
const HEARD: &str = "/tmp/relay.heard";
/// Where their certificate lies.
const CERTS: &str = "/tmp/relay.certs";

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "red.n9.sni",
            "of two sites at one address a session reaches the one whose name it may say, and says it",
            named,
        )
        .patience(300),
        Test::new(
            "relay.gateway",
            "what a session may reach it reaches through the gateway, which hears where to, and no other way",
            through_gateway,
        )
        .patience(300),
        Test::new(
            "relay.inherited",
            "a connection from before the session goes no way round the gateway",
            inherited,
        )
        .unless(crate::harness::kernel::unless_with_bpf_lsm)
        .patience(240),
        Test::new(
            "relay.revoked",
            "what a revoked session has sent does not leave the relay any more",
            revoked,
        )
        .patience(240),
        Test::new(
            "relay.dead",
            "without a daemon nothing is relayed, and nothing goes past the relay",
            dead,
        )
        .patience(300),
    ]
}

/// Web servers beside the servers of names, and what reaches for them.
pub(super) struct Web {
    pub(super) client: Steps,
    _server: Serving,
    pub(super) names: Network,
}

impl Web {
    pub(super) fn set_up() -> Result<Self> {
        let names = Network::set_up()?;
        let made = Command::new(controller::PROGRAM)
            .args(["certs", CERTS, "--operator", "web"])
            .output()?;
        ensure!(made.status.success(), "certs: {}", product::said(&made));
        fs::write(HEARD, "")?;
        let (cert, key) = (
            format!("{CERTS}/node-node-1.pem"),
            format!("{CERTS}/node-node-1.key"),
        );
        let server = Serving::python(include_str!("relay/web.py"), &[&cert, &key, HEARD])?;
        Ok(Self {
            client: Steps::of("/tmp/relay-client.py", include_str!("relay/client.py"))?,
            _server: server,
            names,
        })
    }

    pub(super) fn heard(&self) -> Result<String> {
        Ok(fs::read_to_string(HEARD)?)
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(CERTS);
    }
}

fn named() -> Result<()> {
    let web = Web::set_up()?;
    let agent = "red-n9-sni";
    let policy = Policy::named(agent).with(
        "  egress:\n    allow:\n      - {to: [a.data.example.test], ports: [8443, 8092], sni: required}\n",
    );
    let at = "198.51.100.9";
    // Both are there.
    web.client.expect(
        Place::Outside,
        &[
            (
                &format!("secure {at} 8443 a.data.example.test"),
                "tls a.data.example.test",
            ),
            (
                &format!("secure {at} 8443 b.data.example.test"),
                "tls b.data.example.test",
            ),
        ],
    )?;
    let before = web.heard()?.len();
    let events = Events::from_now()?;
    web.client.expect(
        Place::Inside(&policy),
        &[
            (&format!("secure {at} 8443 a.data.example.test"), "EPERM"),
            (
                "secure a.data.example.test 8443 a.data.example.test",
                "tls a.data.example.test",
            ),
            (
                &format!("secure {at} 8443 A.data.example.test"),
                "tls A.data.example.test",
            ),
            (
                &format!("secure {at} 8443 b.data.example.test"),
                "ECONNRESET",
            ),
            (&format!("secure {at} 8443 -"), "ECONNRESET"),
            (&format!("plain {at} 8092 a.data.example.test:8092"), "http"),
            (
                &format!("plain {at} 8092 b.data.example.test"),
                "ECONNRESET",
            ),
            (&format!("raw {at} 8092 SSH-2.0-attacker\n"), "ECONNRESET"),
            (&format!("slow {at} 8092 a.data.example.test"), "http"),
            (&format!("again {at} 8092 a.data.example.test"), "http"),
            (&format!("fast {at} 8092 a.data.example.test"), "http"),
            (&format!("fast {at} 8092 b.data.example.test"), "ECONNRESET"),
            // The program sees where it wanted to go.
            (&format!("shown {at} 8443"), &format!("{at}:8443")),
            (&format!("datagram {at} 8443"), "EPERM"),
            (&format!("plain {at} 8091 a.data.example.test"), "EPERM"),
        ],
    )?;
    let heard = web.heard()?;
    let heard = heard.get(before..).unwrap_or_default();
    ensure!(
        heard.contains("tls a.data") && !heard.contains("b.data") && !heard.contains("None"),
        "{heard}"
    );
    for (said, reason) in [
        ("b.data.example.test", "no rule for the name that it says"),
        ("", "it says no name"),
        ("", "it is neither TLS nor HTTP"),
    ] {
        let denial = events.find(reason, |denial| {
            denial.agent.as_deref() == Some(agent)
                && denial.reason == reason
                && denial.object.host == said
        })?;
        ensure!(
            denial.action == "connect" && denial.object.address == at,
            "{denial:?}"
        );
        ensure!(denial.process.comm == "python3", "{denial:?}");
    }
    events.find("the datagram", |denial| {
        denial.agent.as_deref() == Some(agent) && denial.reason == "not through the relay"
    })?;
    Ok(())
}

/// A policy that goes through the gateway at an address that no rule names.
fn gated(agent: &str, rules: &str) -> Policy {
    Policy::named(agent).with(&format!(
        "  egress:\n    via: {{address: {DENIED4}, port: 3128}}\n    allow:\n{rules}"
    ))
}

const SITES: &str = "      - {to: [198.51.100.0/25, loopback], ports: [8092]}\n      - {to: [a.data.example.test], ports: [8443], sni: required}\n";

fn through_gateway() -> Result<()> {
    let web = Web::set_up()?;
    let policy = gated("relay-gateway", SITES);
    web.client.expect(
        Place::Inside(&policy),
        &[
            ("plain 198.51.100.7 8092 whoever", "http"),
            ("plain 198.51.100.200 8092 whoever", "EPERM"),
            (
                "secure a.data.example.test 8443 a.data.example.test",
                "tls a.data.example.test",
            ),
            (
                "secure a.data.example.test 8443 b.data.example.test",
                "ECONNRESET",
            ),
            // This host's own addresses are no gateway's matter.
            ("plain 127.0.0.1 8092 whoever", "http"),
            ("datagram 198.51.100.7 8092", "EPERM"),
            (&format!("plain {DENIED4} 3128 whoever"), "EPERM"),
        ],
    )?;
    let heard = web.heard()?;
    let gateway: Vec<&str> = heard
        .lines()
        .filter(|line| line.starts_with("gateway"))
        .collect();
    let expected = [
        "gateway 198.51.100.7:8092 -",
        "gateway 198.51.100.9:8443 a.data.example.test",
    ];
    ensure!(gateway == expected, "{heard}");
    ensure!(heard.matches("http GET").count() == 2, "{heard}");
    // Nobody else's connections go there.
    web.client.expect(
        Place::Outside,
        &[("plain 198.51.100.7 8092 whoever", "http")],
    )?;
    ensure!(web.heard()?.matches("gateway").count() == 2);
    Ok(())
}

fn inherited() -> Result<()> {
    let web = Web::set_up()?;
    let policy = gated("relay-inherited", SITES);
    let inside = Place::Inside(&policy).command(&[
        "python3",
        "-c",
        "import socket; s = socket.socket(fileno=9); s.sendall(b'GET / HTTP/1.1\\r\\n\\r\\n'); print(s.recv(100))",
    ])?;
    let outside = "import os, socket, sys; s = socket.create_connection(('198.51.100.7', 8092)); os.dup2(s.fileno(), 9); os.execvp(sys.argv[1], sys.argv[1:])";
    let output = Command::new("python3")
        .args(["-c", outside])
        .arg(inside.get_program())
        .args(inside.get_args())
        .output()?;
    let said = product::said(&output);
    ensure!(said.contains("PermissionError"), "{said}");
    ensure!(web.heard()?.is_empty(), "{}", web.heard()?);
    Ok(())
}

fn revoked() -> Result<()> {
    let web = Web::set_up()?;
    let agent = "relay-revoked";
    let policy = gated(agent, "      - {to: [198.51.100.0/24], ports: [8091]}\n");
    let mut child = Place::Inside(&policy)
        .command(&web.client.words(&["flood 198.51.100.7 8091 x"]))?
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = Talk::of(&mut child)?;
    said.expect("flooding")?;
    let came = |heard: &str| {
        let mut counts = heard
            .lines()
            .filter_map(|line| line.strip_prefix("stream ")?.parse::<u64>().ok());
        counts.next_back().unwrap_or(0)
    };
    let begun = Instant::now();
    while came(&web.heard()?) < 1 << 20 {
        ensure!(begun.elapsed() < Duration::from_secs(60), "nothing comes");
        thread::sleep(Duration::from_millis(50));
    }
    let connections = product::connections_of(agent)?;
    ensure!(
        connections.len() == 1
            && connections[0].diverted
            && connections[0].remote.to_string() == "198.51.100.7:8091",
        "{connections:?}"
    );
    let session = product::begun(agent)?;
    product::revoke(&session.session, "a test")?;
    child.wait()?;
    // What lay in queues on the way has arrived by then.
    thread::sleep(Duration::from_secs(1));
    let after = web.heard()?;
    thread::sleep(Duration::from_secs(2));
    ensure!(came(&web.heard()?) == came(&after), "it goes on");
    ensure!(
        after.contains("stream end") || after.contains("stream Connection"),
        "the server still waits: {}",
        after.lines().next_back().unwrap_or_default()
    );
    Ok(())
}

fn dead() -> Result<()> {
    let web = Web::set_up()?;
    let policy = gated("relay-dead", SITES);
    let mut child = Place::Inside(&policy)
        .command(&web.client.words(&[
            "plain 198.51.100.7 8092 whoever",
            "until /tmp/relay.dead",
            "plain 198.51.100.7 8092 whoever",
            "until /tmp/relay.back",
            "plain 198.51.100.7 8092 whoever",
        ]))?
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = Talk::of(&mut child)?;
    said.expect("http")?;
    Daemon::shared()?.end(9)?;
    let before = web.heard()?.len();
    fs::write("/tmp/relay.dead", "")?;
    said.expect("now")?;
    said.expect("ECONNREFUSED")?;
    ensure!(
        web.heard()?.len() == before,
        "something went past the relay"
    );
    Daemon::start()?;
    fs::write("/tmp/relay.back", "")?;
    said.expect("now")?;
    said.expect("http")?;
    child.wait()?;
    for file in ["/tmp/relay.dead", "/tmp/relay.back"] {
        fs::remove_file(file)?;
    }
    Ok(())
}
