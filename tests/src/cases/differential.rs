//! Random calls about sockets, compared: what `policy test` says of them, what the kernel answers, and
//! what servers on the other side have seen.

use crate::harness::Test;
use crate::harness::kernel::unless_with_bpf_lsm;
use crate::harness::network::{
    ALLOWED_NAT64, ALLOWED4, ALLOWED6, DENIED_NAT64, DENIED4, DENIED6, PORT, Server, at, delivered,
    ip,
};
use crate::harness::policy::Policy;
use crate::harness::product::Daemon;
use crate::harness::session::Place;
use agent_common::egress::{Endpoint, TCP, UDP};
use agent_common::socket::SocketKind;
use agent_policy::{Action, Compiled, Instant, Trial, parse};
use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "net.differential",
            "random calls about sockets come out as `policy test` says, at the kernel and at the receiver",
            || campaign(3, 100),
        )
        .patience(120)
        .unless(unless_with_bpf_lsm),
        Test::new(
            "long.net.differential",
            "ten thousand random calls about sockets come out as `policy test` says",
            || campaign(25, 400),
        )
        .patience(1800)
        .unless(unless_with_bpf_lsm),
    ]
}

/// SplitMix64.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let length = u64::try_from(from.len()).expect("a short list");
        from[usize::try_from(self.next() % length).expect("less than the length")]
    }
}

const METADATA: &str = "169.254.169.254";

/// Where servers are.
const PLACES: [&str; 9] = [
    ALLOWED4,
    DENIED4,
    METADATA,
    "127.0.0.1",
    ALLOWED6,
    DENIED6,
    "::1",
    ALLOWED_NAT64,
    DENIED_NAT64,
];

/// Networks that rules speak of.
const NETWORKS: [&str; 12] = [
    ALLOWED4,
    DENIED4,
    "192.0.2.0/24",
    "0.0.0.0/0",
    "169.254.0.0/16",
    METADATA,
    "loopback",
    "127.0.0.1",
    ALLOWED6,
    "2001:db8::/32",
    "::/0",
    "::1",
];

/// What is asked of a socket once it is made.
const CALLS: [&str; 9] = [
    "connect", "sendto", "fastopen", "batch", "unspec", "short", "bound", "bind", "listen",
];

/// Family, type and protocol.
const KINDS: [[i32; 3]; 11] = [
    [2, 1, 0],
    [2, 2, 0],
    [10, 1, 0],
    [10, 2, 0],
    [2, 1, 6],
    [2, 2, 17],
    [10, 2, 17],
    [2, 1, 262],
    [2, 3, 17],
    [2, 2, 1],
    [16, 3, 4],
];

const PORTS: [u16; 2] = [PORT, PORT + 1];

fn policy(draw: &mut Draw, agent: &str) -> Policy {
    let mut text = String::new();
    for (block, key, most) in [("egress", "to", 7), ("listen", "on", 4)] {
        writeln!(text, "  {block}:").expect("a string takes everything");
        for effect in ["allow", "deny"] {
            writeln!(text, "    {effect}:").expect("a string takes everything");
            for _ in 0..=draw.next() % most {
                let network = draw.pick(&NETWORKS);
                let ports = draw.pick(&["4433", "4434", "4433, 4434", "1-65535", "4434-5000"]);
                let protocol = draw.pick(&["", ", protocol: tcp", ", protocol: udp"]);
                writeln!(
                    text,
                    "      - {{{key}: [\"{network}\"], ports: [{ports}]{protocol}}}"
                )
                .expect("a string takes everything");
            }
        }
    }
    Policy::named(agent).with(&text)
}

/// An address as a caller spells it.
fn address(draw: &mut Draw, family: i32) -> SocketAddr {
    let spelled = match (family, draw.next() % 4) {
        (2, _) => draw.pick(&[
            ALLOWED4,
            DENIED4,
            METADATA,
            "127.0.0.1",
            "0.0.0.0",
            "192.0.2.99",
        ]),
        (_, 0) => draw.pick(&["::ffff:192.0.2.10", "::ffff:192.0.2.20", "::ffff:127.0.0.1"]),
        (_, 1) => draw.pick(&[ALLOWED_NAT64, DENIED_NAT64, "::", "::ffff:0.0.0.0"]),
        (_, 2) => draw.pick(&[ALLOWED4, DENIED4]),
        _ => draw.pick(&[ALLOWED6, DENIED6, "::1", "2001:db8::99"]),
    };
    at(spelled, draw.pick(&PORTS)).expect("an address")
}

fn campaign(policies: u64, cases: u64) -> Result<()> {
    Daemon::shared()?;
    ip(&["address", "replace", &format!("{METADATA}/32"), "dev", "lo"])?;
    let mut servers = Vec::new();
    for place in PLACES {
        for port in PORTS {
            servers.push(Server::tcp(at(place, port)?)?);
            servers.push(Server::udp(at(place, port)?)?);
        }
    }
    let reached = || -> Result<u32> {
        delivered()?;
        let reached = servers.iter().map(Server::there);
        reached.sum()
    };
    let mut counts = [0; 2];
    let began = std::time::Instant::now();
    for seed in 0..policies {
        let mut draw = Draw(seed);
        let policy = policy(&mut draw, &format!("differential-{seed}"));
        let compiled = compiled(&policy).with_context(|| policy.text())?;
        let mut outside = Place::Outside.obey()?;
        let mut inside = Place::Inside(&policy).obey()?;
        for case in 0..cases {
            let kind = draw.pick(&KINDS);
            let to = address(&mut draw, kind[0]);
            let call = draw.pick(&CALLS);
            let [family, of, protocol] = kind;
            let short = draw.next() % 28;
            let order = format!("socket case {family} {of} {protocol} {call} {to} {short}");
            let allowed = is_allowed(&compiled, kind, call, to);
            let plain = outside.order(&order)?;
            let came_plain = reached()?;
            let held = inside.order(&order)?;
            let came_held = reached()?;
            let what = || {
                format!(
                    "policy {seed}, case {case}: {order}: outside {plain} ({came_plain} came), inside {held} \
                     ({came_held} came), and by the policy {}\n{}",
                    if allowed { "allowed" } else { "denied" },
                    policy.text()
                )
            };
            if call == "short" {
                // The kernel, or the program, finds that it is no address, or that it is one.
                ensure!(
                    allowed && came_held == came_plain || came_held == 0,
                    "{}",
                    what()
                );
            } else if allowed {
                ensure!(held == plain && came_held == came_plain, "{}", what());
            } else {
                // What the kernel would not do for anybody it may say first.
                let is_refused = held.ends_with("EPERM") || held == plain && !plain.ends_with("ok");
                ensure!(is_refused && came_held == 0, "{}", what());
            }
            counts[usize::from(allowed)] += 1;
        }
        inside.end()?;
        outside.end()?;
    }
    let [denied, allowed] = counts;
    println!(
        "NOTE {allowed} allowed and {denied} denied in {:.1} s, without a difference",
        began.elapsed().as_secs_f32()
    );
    ensure!(
        denied > cases / 5 && allowed > cases / 5,
        "the draws are lopsided"
    );
    Ok(())
}

fn compiled(policy: &Policy) -> Result<Compiled> {
    let policies = parse("drawn.yaml", policy.text().as_bytes());
    let policies = policies.map_err(|found| anyhow::anyhow!("{found}"))?;
    let policy = policies.first().context("no policy")?;
    policy.compile().map_err(|found| anyhow::anyhow!("{found}"))
}

/// What the policy says of a call.
fn is_allowed(compiled: &Compiled, kind: [i32; 3], call: &str, to: SocketAddr) -> bool {
    let [family, of, protocol] = kind.map(i32::cast_unsigned);
    if SocketKind::of(family, of, protocol).privilege().is_some() {
        return false;
    }
    let protocol = if of == 1 { TCP } else { UDP };
    let action = match (call, to.ip()) {
        ("bind" | "listen", IpAddr::V4(v4)) => {
            Action::Listen(Endpoint::own_v4(v4.octets(), to.port(), protocol))
        }
        ("bind" | "listen", IpAddr::V6(v6)) => {
            Action::Listen(Endpoint::own_v6(v6.octets(), to.port(), protocol))
        }
        (_, IpAddr::V4(v4)) => Action::Connect(Endpoint::v4(v4.octets(), to.port(), protocol)),
        (_, IpAddr::V6(v6)) => Action::Connect(Endpoint::v6(v6.octets(), to.port(), protocol)),
    };
    let now = Instant::default();
    let trial = Trial::start(compiled, now);
    let outcome = trial.judge(&action, None, now, 0);
    outcome.decision.verdict == agent_common::decide::Verdict::Allow
}
