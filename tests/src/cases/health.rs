//! What the daemon says of itself to Prometheus, to a kubelet, to systemd and to a collector of OpenTelemetry.

use super::canary::Hole;
use crate::harness::Test;
use crate::harness::collector::{self, Collector};
use crate::harness::health::{self, ADDRESS, Figures};
use crate::harness::kernel;
use crate::harness::network::{DENIED4, PORT, at};
use crate::harness::policy::Policy;
use crate::harness::product::{self, Daemon};
use crate::harness::session::Place;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "health.served",
            "metrics count what happens, a collector hears of it, readiness is the canary's, a stopped daemon is not alive, systemd is told",
            served,
        )
        .unless(kernel::unless_with_bpf_lsm)
        .patience(400),
    ]
}

/// Where systemd would listen.
struct Systemd(UnixDatagram);

impl Systemd {
    const SOCKET: &str = "/run/interlock-tests.notify";

    fn listen() -> Result<Self> {
        let _ = fs::remove_file(Self::SOCKET);
        let socket = UnixDatagram::bind(Self::SOCKET).context(Self::SOCKET)?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self(socket))
    }

    /// Waits until it is told a line that begins like this.
    fn hears(&self, start: &str) -> Result<String> {
        let deadline = Instant::now() + Duration::from_secs(40);
        let mut heard = Vec::new();
        while Instant::now() < deadline {
            let mut room = [0; 4096];
            let length = self
                .0
                .recv(&mut room)
                .with_context(|| format!("systemd was told {heard:?}, expected {start}"))?;
            let text = String::from_utf8_lossy(room.get(..length).unwrap_or_default());
            if let Some(line) = text.lines().find(|line| line.starts_with(start)) {
                return Ok(line.to_owned());
            }
            heard.push(text.into_owned());
        }
        anyhow::bail!("systemd was told {heard:?}, expected {start}")
    }

    /// Forgets what it was told so far, and says whether it is told anything for so long.
    fn is_told_nothing_for(&self, time: Duration) -> Result<bool> {
        self.0.set_nonblocking(true)?;
        while self.0.recv(&mut [0; 4096]).is_ok() {}
        std::thread::sleep(time);
        let is_silent = self.0.recv(&mut [0; 4096]).is_err();
        self.0.set_nonblocking(false)?;
        Ok(is_silent)
    }
}

fn served() -> Result<()> {
    product::stop()?;
    crate::harness::network::set_up()?;
    let systemd = Systemd::listen()?;
    let collector = Collector::begin()?;
    let started = Daemon::try_start_as(
        &[
            "--metrics",
            ADDRESS,
            "--hook-times",
            "--otlp",
            collector::URL,
        ],
        &[
            ("NOTIFY_SOCKET", Systemd::SOCKET),
            ("WATCHDOG_USEC", "3000000"),
        ],
    )?;
    let daemon = started.map_err(anyhow::Error::msg)?;
    let outcome = shows(daemon, &systemd, &collector);
    daemon.signal(libc::SIGCONT)?;
    let ended = daemon.end(libc::SIGTERM);
    outcome.and(ended)
}

fn shows(daemon: Daemon, systemd: &Systemd, collector: &Collector) -> Result<()> {
    systemd.hears("READY=1")?;
    let status = systemd.hears("STATUS=")?;
    ensure!(
        status == "STATUS=ready: the canary is denied each minute",
        "{status}"
    );
    systemd.hears("WATCHDOG=1")?;
    // From here on systemd does not listen for a while, which holds nothing up.
    figures()?;
    readiness()?;
    told(collector)?;
    // One that stands still is not alive, for whoever watches.
    daemon.freeze()?;
    let answer = health::get("/livez", Duration::from_secs(2));
    ensure!(answer.is_err(), "a stopped daemon is alive: {answer:?}");
    ensure!(
        systemd.is_told_nothing_for(Duration::from_secs(3))?,
        "a stopped daemon tells systemd that it lives"
    );
    daemon.signal(libc::SIGCONT)?;
    systemd.hears("WATCHDOG=1")?;
    health::wait("/livez", 200)?;
    Ok(())
}

/// A denial moves the figures.
fn figures() -> Result<()> {
    let policy = Policy::named("health");
    let to = at(DENIED4, PORT)?.to_string();
    let before = Figures::now()?;
    let answer = Place::Inside(&policy).act(&["way", "tcp", &to])?;
    ensure!(answer == "EPERM", "a session got {answer}");
    let denied = "interlock_actions_total{verdict=\"deny\"}";
    // An agent whose policy the daemon has not loaded has no series of its own.
    let told = "interlock_denials_total{agent=\"other\",action=\"connect\",verdict=\"deny\"}";
    let deadline = Instant::now() + Duration::from_secs(20);
    let after = loop {
        let after = Figures::now()?;
        if after.get(told).is_ok() {
            break after;
        }
        ensure!(Instant::now() < deadline, "no denial in:\n{}", after.text());
    };
    let moved = after.get(denied)? - before.get(denied)?;
    ensure!(moved >= 1.0, "a denial moved {denied} by {moved}");
    // Tests before this one may have lost some.
    let lost = "interlock_events_lost_total";
    let moved = after.get(lost)? - before.get(lost)?;
    ensure!(moved == 0.0, "a denial moved {lost} by {moved}");
    let runs = "interlock_hook_runs_total{program=\"socket_connect\"}";
    ensure!(after.get(runs)? >= 1.0, "the hook never ran");
    let time = "interlock_hook_seconds_total{program=\"socket_connect\"}";
    ensure!(after.get(time)? > 0.0, "the hook took no time");
    for (name, expected) in [
        ("interlock_proven", 1.0),
        ("interlock_degraded", 0.0),
        ("interlock_programs_missing", 0.0),
        ("interlock_evidence_lost_total", 0.0),
        ("interlock_table_capacity{table=\"rules\"}", 65_536.0),
    ] {
        let found = after.get(name)?;
        ensure!(found == expected, "{name} is {found}, expected {expected}");
    }
    ensure!(
        after.get("interlock_canary_age_seconds")? < 120.0,
        "the canary is old"
    );
    ensure!(
        !after.text().contains("10.1."),
        "an address is a label:\n{}",
        after.text()
    );
    Ok(())
}

/// The collector has heard of that denial, and of the count that it moved.
fn told(collector: &Collector) -> Result<()> {
    let denial = [
        ("interlock.agent", "health"),
        ("interlock.action", "connect"),
        ("interlock.verdict", "deny"),
        ("interlock.object.address", DENIED4),
    ];
    let sentence = collector.hears_event("interlock.denial", &denial)?;
    let expected = format!("denial, agent health: deny: connect {DENIED4}:{PORT}/tcp (");
    ensure!(sentence.starts_with(&expected), "the event says {sentence}");
    let labels = [
        ("agent", "other"),
        ("action", "connect"),
        ("verdict", "deny"),
    ];
    let daemon = collector.hears_count("interlock_denials_total", &labels)?;
    let tables = collector.hears_count("interlock_actions_total", &[("verdict", "deny")])?;
    // Whoever made the tables, they are older than this daemon's proof.
    ensure!(
        0 < tables && tables < daemon,
        "the daemon counts since {daemon}, the tables since {tables}"
    );
    let programs = [("program", "socket_connect")];
    let programs = collector.hears_count("interlock_hook_runs_total", &programs)?;
    ensure!(
        tables <= programs && programs < daemon,
        "the programs count since {programs}, the tables since {tables}"
    );
    let sent = Figures::now()?.get("interlock_otlp_sent_total")?;
    ensure!(sent >= 1.0, "the daemon has sent {sent} events");
    let lost = Figures::now()?.get("interlock_otlp_lost_total")?;
    ensure!(lost == 0.0, "the collector has not heard {lost} events");
    Ok(())
}

/// Ready while the canary is denied, and only then.
fn readiness() -> Result<()> {
    let ready = health::wait("/readyz", 200)?;
    ensure!(ready.starts_with("ready: the canary was denied"), "{ready}");
    let hole = Hole::open()?;
    let folder = "/etc/interlock/policies";
    fs::create_dir_all(folder).context(folder)?;
    let file = format!("{folder}/health.yaml");
    // Each change of a policy has it sent in.
    fs::write(&file, Policy::named("health-loaded").text()).context("a policy")?;
    let broken = health::wait("/readyz", 503);
    let proven = Figures::now().and_then(|figures| figures.get("interlock_proven"));
    let alive = health::ask("/livez");
    hole.close()?;
    let why = broken?;
    ensure!(why.contains("was not denied connect"), "not ready: {why}");
    ensure!(proven? == 0.0, "interlock_proven is not 0");
    ensure!(
        alive?.status == 200,
        "a daemon that is not ready is not alive"
    );
    health::wait("/readyz", 200)?;
    let loaded = Figures::now()?.get("interlock_policy_generation{agent=\"health-loaded\"}")?;
    fs::remove_file(file)?;
    ensure!(loaded >= 1.0, "the policy is of generation {loaded}");
    Ok(())
}
