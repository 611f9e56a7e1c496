//! Egress by name: lookups go to the resolver, and what it answers is allowed before anybody can use it.

use crate::harness::Test;
use crate::harness::network::{DENIED4, DENIED6, ip};
use crate::harness::policy::Policy;
use crate::harness::product::{self, Daemon};
use crate::harness::servers::Serving;
use crate::harness::session::Place;
use crate::harness::steps::Steps;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// The addresses to which the names of the tests lead, all of this machine.
const NETWORK: &str = "198.51.100.0/24";
/// What tells the C library, and the daemon, whom to ask for names.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/nsswitch.conf"];
/// What the servers have heard.
const HEARD: &str = "/tmp/names.heard";
/// The servers, and what asks them.
const SERVER: &str = include_str!("names/server.py");
const CLIENT: &str = include_str!("names/client.py");
const MUSL_CLIENT: &str = include_str!("names/client.c");

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "lookup.works",
            "a name that the policy allows is looked up and connected to by UDP and TCP, IPv4 and IPv6, whatever server is named; the program sees the server that it asked",
            looked_up,
        )
        .patience(240),
        Test::new(
            "lookup.clients",
            "glibc, musl, c-ares in node, Go, dig, curl and Python look names up as outside, of the stub of systemd-resolved, too",
            clients,
        )
        .patience(300),
        Test::new(
            "lookup.race",
            "an address that was answered a moment ago is allowed, on every CPU, with addresses that change",
            || race(400),
        )
        .patience(300),
        Test::new(
            "long.lookup.race",
            "and so it is ten thousand times",
            || race(10_000),
        )
        .patience(3_000),
    ]
}

/// Servers of names and of a web page, a host that asks them, and what asks.
pub(super) struct Network {
    pub(super) client: Steps,
    _server: Serving,
    before: [Vec<u8>; 2],
}

impl Network {
    pub(super) fn set_up() -> Result<Self> {
        Daemon::shared()?;
        ip(&["route", "replace", "local", NETWORK, "dev", "lo"])?;
        ip(&["address", "replace", "2001:db8::77/128", "dev", "lo"])?;
        let before = FILES.map(|file| fs::read(file).unwrap_or_default());
        fs::write(HEARD, "")?;
        let client = Steps::of("/tmp/names-client.py", CLIENT)?;
        let server = Serving::python(SERVER, &[DENIED4, DENIED6, HEARD])?;
        fs::write(
            FILES[0],
            format!("nameserver {DENIED4}\noptions timeout:5 attempts:1\n"),
        )?;
        fs::write(FILES[1], "hosts: files dns\n")?;
        // The daemon follows the file each second.
        thread::sleep(Duration::from_millis(2_500));
        Ok(Self {
            client,
            _server: server,
            before,
        })
    }

    /// What has come to the server of names: `NAME TYPE PROTOCOL`, one a line.
    pub(super) fn heard(&self) -> Result<String> {
        Ok(fs::read_to_string(HEARD)?.to_lowercase())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for (file, text) in FILES.iter().zip(&self.before) {
            let _ = fs::write(file, text);
        }
    }
}

/// A policy of some names.
pub(super) fn policy(agent: &str, names: &[&str]) -> Policy {
    names.iter().fold(Policy::named(agent), |policy, name| {
        policy.allow(name, "8090", "tcp")
    })
}

fn looked_up() -> Result<()> {
    let network = Network::set_up()?;
    let policy = policy(
        "names",
        &[
            "api.example.test",
            "*.data.example.test",
            "six.example.test",
        ],
    );
    let inside = Place::Inside(&policy);
    let direct = format!("query {DENIED4} udp api.example.test A");
    // Outside: nobody's lookups are touched.
    network.client.expect(
        Place::Outside,
        &[
            // With what the server says beside the answer.
            (
                &direct,
                "NOERROR 198.51.100.1,198.51.100.2 from 192.0.2.20:53 peer 192.0.2.20:53",
            ),
        ],
    )?;
    let by6 = format!("query {DENIED6} udp api.example.test A");
    let mapped = format!("query ::ffff:{DENIED4} sendto api.example.test A");
    network.client.expect(
        inside,
        &[
            // Before it is looked up it is nowhere.
            ("connect 198.51.100.1 8090", "EPERM"),
            (
                &direct,
                "NOERROR 198.51.100.1 from 192.0.2.20:53 peer 192.0.2.20:53",
            ),
            ("connect 198.51.100.1 8090", "ok"),
            (
                "query 8.8.8.8 udp api.example.test A",
                "NOERROR 198.51.100.1 from 8.8.8.8:53 peer 8.8.8.8:53",
            ),
            // As where systemd-resolved listens.
            (
                "query 127.0.0.53 udp api.example.test A",
                "NOERROR 198.51.100.1 from 127.0.0.53:53 peer 127.0.0.53:53",
            ),
            (
                "query 8.8.8.8 tcp api.example.test A",
                "NOERROR 198.51.100.1 from 8.8.8.8:53 peer 8.8.8.8:53",
            ),
            (
                "query 8.8.8.8 sendto api.example.test A",
                "NOERROR 198.51.100.1 from 8.8.8.8:53 peer -",
            ),
            (
                &by6,
                "NOERROR 198.51.100.1 from [2001:db8::20]:53 peer [2001:db8::20]:53",
            ),
            (
                &mapped,
                "NOERROR 198.51.100.1 from [::ffff:192.0.2.20]:53 peer -",
            ),
            (
                "query 8.8.8.8 udp six.example.test AAAA",
                "NOERROR 2001:db8::77 from 8.8.8.8:53 peer 8.8.8.8:53",
            ),
            ("connect 2001:db8::77 8090", "ok"),
            // A chain of names, capitals, a domain, a name that is not there, and one too large for a datagram.
            (
                "query 8.8.8.8 udp www.DATA.example.test A",
                "NOERROR 198.51.100.9 from 8.8.8.8:53 peer 8.8.8.8:53",
            ),
            ("connect 198.51.100.9 8090", "ok"),
            (
                "query 8.8.8.8 udp gone.data.example.test A",
                "NXDOMAIN - from 8.8.8.8:53 peer 8.8.8.8:53",
            ),
            ("count 8.8.8.8 udp many.data.example.test A", "TC 0"),
            ("count 8.8.8.8 tcp many.data.example.test A", "NOERROR 60"),
            // What programs try that search.
            (
                "query 8.8.8.8 udp api.example.test.corp.test A",
                "NXDOMAIN - from 8.8.8.8:53 peer 8.8.8.8:53",
            ),
            (
                "query 8.8.8.8 udp data.example.test A",
                "REFUSED - from 8.8.8.8:53 peer 8.8.8.8:53",
            ),
        ],
    )?;
    ensure!(
        !network.heard()?.contains("corp.test"),
        "a searched name left the host"
    );
    // Another session of the same policy has asked nothing.
    network
        .client
        .expect(inside, &[("connect 198.51.100.1 8090", "EPERM")])?;
    Ok(())
}

fn clients() -> Result<()> {
    let _network = Network::set_up()?;
    fs::write("/tmp/names-client.c", MUSL_CLIENT)?;
    let built = Command::new("musl-gcc")
        .args(["-o", "/tmp/names-client-musl", "/tmp/names-client.c"])
        .output()
        .context("musl-gcc")?;
    ensure!(built.status.success(), "{}", product::said(&built));
    let policy = policy("names-clients", &["api.example.test"]).privileges(&["jit"]);
    for (name, words, works) in [
        (
            "glibc",
            "python3 -c 'import socket; s = socket.create_connection((\"api.example.test\", 8090), 20); print(s.getpeername()[0])'",
            "198.51.100.1",
        ),
        (
            "curl",
            "curl -sS -m 20 http://api.example.test:8090/",
            "a page",
        ),
        (
            "musl",
            "/tmp/names-client-musl api.example.test 8090",
            "connected",
        ),
        (
            "Go",
            "GODEBUG=netdns=go gron --insecure http://api.example.test:8090/ 2>&1",
            "invalid character",
        ),
        (
            "dig",
            "dig +short @192.0.2.20 api.example.test",
            "198.51.100.1",
        ),
        (
            "c-ares",
            "node -e 'require(\"dns\").resolve4(\"api.example.test\", (error, found) => console.log(error ? error.code : found.join()))'",
            "198.51.100.1",
        ),
    ] {
        for place in [Place::Outside, Place::Inside(&policy)] {
            let said = product::said(&place.run(&["sh", "-c", words])?);
            ensure!(
                said.contains(works),
                "{name} {place:?}: {said}, expected {works:?}"
            );
        }
    }
    let words = "python3 -c 'import socket; socket.getaddrinfo(\"bank.example.test\", 1)'";
    let said = product::said(&Place::Inside(&policy).run(&["sh", "-c", words])?);
    ensure!(
        said.contains("name resolution") || said.contains("not known"),
        "{said}"
    );
    Ok(())
}

fn race(times: u32) -> Result<()> {
    let network = Network::set_up()?;
    let policy = policy("names-race", &["*.turn.example.test"]);
    let step = format!("race 8.8.8.8 turn.example.test {times}");
    // With answers that hold for no second, so that each is asked for anew.
    let expected = format!("{times} allowed, 0 denied, 0 failed, 0 wrongly");
    network
        .client
        .expect(Place::Inside(&policy), &[(&step, &expected)])
}
