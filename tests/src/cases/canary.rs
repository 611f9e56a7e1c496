//! "Ready" means proven (red team T3), and `doctor` says what a kernel can do.

use crate::harness::Test;
use crate::harness::events::{Events, Line};
use crate::harness::kernel;
use crate::harness::network::{DENIED4, DENIED6, PORT, at};
use crate::harness::policy::Policy;
use crate::harness::product::{self, Daemon, PINS, call, said};
use crate::harness::session::Place;
use crate::sys::{host, map};
use agent_common::abi;
use anyhow::{Context, Result, ensure};
use aya::maps::MapData;
use std::fs;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "canary.wrong_cgroup",
            "a daemon whose cgroup programs see only a part of the host does not call itself ready",
            wrong_cgroup,
        )
        .removes(),
        Test::new(
            "canary.again",
            "when enforcement breaks the daemon is not ready, says so, and is again when it is whole",
            again,
        )
        .unless(kernel::unless_with_bpf_lsm)
        .patience(120),
        Test::new(
            "canary.taken_away",
            "a program that is no longer at its hook is missed, and put back by the next daemon",
            taken_away,
        )
        .unless(kernel::unless_with_bpf_lsm)
        .patience(120),
        Test::new(
            "canary.doctor",
            "doctor finds a kernel with BPF LSM able to enforce",
            doctor,
        )
        .unless(kernel::unless_with_bpf_lsm),
        Test::new(
            "red.t3.doctor",
            "doctor says that bpf is missing among the LSMs, and how to add it",
            doctor_without_lsm,
        )
        .unless(kernel::unless_without_bpf_lsm),
        Test::new(
            "red.t3.without_lsm",
            "without BPF LSM the daemon is not ready, or ready and true to its word",
            without_lsm,
        )
        .unless(kernel::unless_without_bpf_lsm),
    ]
}

/// Hides the root of the cgroups behind one of its children, as in a container.
fn wrong_cgroup() -> Result<()> {
    product::remove()?;
    crate::harness::network::set_up()?;
    host::keep_mounts_to_ourselves().context("keeping mounts to ourselves")?;
    let aside = "/sys/fs/cgroup/interlock-tests-aside";
    if !fs::exists(aside)? {
        fs::create_dir(aside).context(aside)?;
    }
    host::mount(Some(aside), "/sys/fs/cgroup", libc::MS_BIND).context("hiding the root cgroup")?;
    match Daemon::try_start()? {
        Err(log) => {
            ensure!(!log.trim().is_empty(), "the daemon ends without a word");
            product::uninstall()
        }
        Ok(daemon) => {
            // It may be that it found the root all the same. Then a session is denied everything.
            let to = at(DENIED4, PORT)?.to_string();
            let policy = Policy::named("wrong-cgroup");
            let sent = Place::Inside(&policy).act(&["way", "udp", &to]);
            let fast = Place::Inside(&policy).act(&["way", "fastopen", &to]);
            daemon.end(libc::SIGTERM)?;
            product::uninstall()?;
            let (sent, fast) = (sent?, fast?);
            ensure!(
                sent == "EPERM" && fast == "EPERM",
                "the daemon called itself ready, and a session got {sent} for a datagram and {fast} \
                 for MSG_FASTOPEN, expected EPERM"
            );
            Ok(())
        }
    }
}

/// Lets every session go everywhere, as a fault of the tables could: a network that holds every address
/// of every policy, with every port, names a rule that allows.
pub(super) struct Hole {
    networks: MapData,
    ports: MapData,
}

impl Hole {
    /// The last rule of the table, which no policy has.
    const RULE: u32 = abi::MAX_RULES - 1;
    /// A network's prefix length and key.
    const NETWORK: [u8; 24] = [0; 24];
    /// A port's.
    const PORT: [u8; 12] = [0; 12];

    pub(super) fn open() -> Result<Self> {
        let map = |name: &str| {
            let path = format!("{PINS}/v{}/maps/{name}", abi::VERSION);
            MapData::from_pin(&path).with_context(|| path.clone())
        };
        let hole = Self {
            networks: map("NETWORKS")?,
            ports: map("PORTS")?,
        };
        let rules = map("RULES")?;
        // All zero, a rule asks for nothing and allows: its verdict is the first.
        let size = rules.info().context("the size of a rule")?.value_size() as usize;
        map::put(rules.fd().as_fd(), Self::RULE.into(), &vec![0; size])?;
        map::put_under(
            hole.ports.fd().as_fd(),
            &Self::PORT,
            &Self::RULE.to_ne_bytes(),
        )?;
        map::put_under(hole.networks.fd().as_fd(), &Self::NETWORK, &[0; 4])?;
        Ok(hole)
    }

    pub(super) fn close(&self) -> Result<()> {
        map::remove_under(self.networks.fd().as_fd(), &Self::NETWORK)?;
        map::remove_under(self.ports.fd().as_fd(), &Self::PORT)?;
        Ok(())
    }
}

/// Waits until `status` ends with a number.
fn waits(expected: i32) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(40);
    loop {
        let output = call(&["status"])?;
        if output.status.code() == Some(expected) {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "status does not exit {expected}: {}",
            said(&output)
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Loads a policy, which has the canary sent in. Gives its file.
fn change(policy: &Policy) -> Result<String> {
    let folder = "/etc/interlock/policies";
    fs::create_dir_all(folder).context(folder)?;
    let file = format!("{folder}/{}.yaml", policy.name());
    fs::write(&file, policy.text()).context("a policy")?;
    Ok(file)
}

fn taken_away() -> Result<()> {
    let daemon = Daemon::shared()?;
    waits(0).context("the control")?;
    let policy = Policy::named("canary-taken-away").files("deny", "create", &["/tmp/**"]);
    let order = ["file", "mkdir", "/tmp/canary-taken-away"];
    let answer = Place::Inside(&policy).act(&order)?;
    ensure!(answer == "EPERM", "the control: {answer}");
    let link = format!("{PINS}/v{}/links/path_mkdir", abi::VERSION);
    fs::remove_file(&link).context(link)?;
    let file = change(&policy)?;
    waits(1)?;
    let status = String::from_utf8_lossy(&call(&["status"])?.stdout).into_owned();
    ensure!(
        status.contains("no longer at their hooks: path_mkdir"),
        "status: {status}"
    );
    fs::remove_file(file)?;
    daemon.end(libc::SIGTERM)?;
    let _daemon = Daemon::start()?;
    waits(0)?;
    let answer = Place::Inside(&policy).act(&order)?;
    ensure!(answer == "EPERM", "afterwards: {answer}");
    Ok(())
}

fn again() -> Result<()> {
    Daemon::shared()?;
    let policy = Policy::named("canary-again");
    let to = at(DENIED4, PORT)?.to_string();
    waits(0).context("the control")?;
    let told = |events: Events, proven: bool| {
        events.first(&format!("proven {proven}"), |line| match line {
            Line::Canary(told) if told.proven == proven => Some(told),
            _ => None,
        })
    };
    let events = Events::from_now()?;
    let hole = Hole::open()?;
    let file = change(&policy)?;
    let outcome = (|| {
        waits(1)?;
        let broken = told(events, false)?;
        let why = broken.error.unwrap_or_default();
        ensure!(why.contains("was not denied connect"), "told: {why}");
        let status = String::from_utf8_lossy(&call(&["status"])?.stdout).into_owned();
        ensure!(status.contains("NOT READY"), "status: {status}");
        let output = Place::Inside(&policy).run(&["true"])?;
        ensure!(
            !output.status.success() && said(&output).contains("not proven"),
            "a session was started: {}",
            said(&output)
        );
        Ok(())
    })();
    hole.close()?;
    outcome?;
    waits(0)?;
    told(events, true)?;
    let answer = Place::Inside(&policy).act(&["way", "tcp", &to])?;
    ensure!(answer == "EPERM", "afterwards: {answer}");
    fs::remove_file(file)?;
    Ok(())
}

fn doctor() -> Result<()> {
    let output = call(&["doctor"])?;
    ensure!(
        output.status.code() == Some(0),
        "expected exit code 0: {}",
        said(&output)
    );
    let json = call(&["doctor", "--json"])?;
    ensure!(
        json.status.code() == Some(0),
        "--json, expected exit code 0: {}",
        said(&json)
    );
    let _: serde_json::Value = serde_json::from_slice(&json.stdout).context("doctor --json")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        text.contains(&kernel::release()),
        "the kernel is not named: {text}"
    );
    Ok(())
}

fn doctor_without_lsm() -> Result<()> {
    let output = call(&["doctor"])?;
    let code = output.status.code();
    ensure!(
        matches!(code, Some(1 | 2)),
        "expected exit code 1 or 2: {}",
        said(&output)
    );
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(text.contains("lsm="), "no word on how to change it: {text}");
    println!("HELD refused");
    Ok(())
}

fn without_lsm() -> Result<()> {
    product::remove()?;
    crate::harness::network::set_up()?;
    let Ok(daemon) = Daemon::try_start()? else {
        return Ok(());
    };
    let policy = Policy::named("without-lsm");
    let events = Events::from_now()?;
    let mut wrong = Vec::new();
    for address in [DENIED4, DENIED6] {
        let to = at(address, PORT)?.to_string();
        for way in [
            "tcp",
            "fastopen",
            "udp",
            "udp-connected",
            "uring-tcp-pool",
            "uring-udp-poller",
        ] {
            let answer = Place::Inside(&policy).act(&["way", way, &to])?;
            if answer != "EPERM" {
                wrong.push(format!("{way} to {to}: {answer}"));
            }
        }
        for kind in [
            "fork",
            "thread",
            "double-fork",
            "cgroup-move",
            "namespace-all",
        ] {
            let tally = Place::Inside(&policy).act(&["spread", kind, &to, "1"])?;
            if !tally.contains("denied=1") {
                wrong.push(format!("{kind}: {tally}"));
            }
        }
    }
    let status = call(&["status"])?;
    let told = events.wait("without-lsm", 1).map(|_| ());
    daemon.end(libc::SIGTERM)?;
    product::uninstall()?;
    ensure!(
        wrong.is_empty(),
        "ready, and not denied: {}",
        wrong.join("; ")
    );
    told?;
    ensure!(
        status.status.code() == Some(1)
            && String::from_utf8_lossy(&status.stdout)
                .to_lowercase()
                .contains("degraded"),
        "expected a status that says degraded: {}",
        said(&status)
    );
    Ok(())
}
