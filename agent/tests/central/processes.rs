//! The two processes: this very program, asked to be one of them.

use agent_evidence::record::{Decision, Draft, Object, Process, Session, What};
use agent_proto::files::Files;
use agent_proto::wire::{EnrolRequest, InventoryRequest};
use interlock_agent::central::report::Own;
use interlock_agent::central::{self, Heard};
use interlock_agent::evidence::{self, Keeping};
use interlock_agent::names::Finder;
use interlock_controller::door::Limits;
use interlock_controller::serve::{Controller, Settings};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Where everything lies.
pub(crate) const HOME: &str = "INTERLOCK_TEST_HOME";
/// Where the controller listens, or is reached.
pub(crate) const ADDRESS: &str = "INTERLOCK_TEST_ADDRESS";
/// The first number that the node gives a denial.
pub(crate) const FROM: &str = "INTERLOCK_TEST_FROM";
/// Denials a second.
pub(crate) const RATE: &str = "INTERLOCK_TEST_RATE";
/// Records a second that the controller takes.
pub(crate) const LIMIT: &str = "INTERLOCK_TEST_LIMIT";

/// How much sooner than usual the node tries again: a minute becomes a second.
pub(crate) const HASTE: u32 = 60;

/// Denials are made so often.
const STEP: Duration = Duration::from_millis(20);

fn told<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
#[ignore = "one of the processes of the tests"]
fn controller_process() {
    let Some(home) = told::<PathBuf>(HOME) else {
        return;
    };
    let settings = Settings {
        listen: told::<SocketAddr>(ADDRESS).unwrap(),
        data: home.join("data"),
        files: Files::in_folder(&home.join("certs"), "controller"),
        // It beats often, so that a node in haste does not take it for dead.
        lease: Duration::from_secs(1),
        limits: Limits {
            records: told(LIMIT).unwrap_or(Limits::default().records),
            ..Limits::default()
        },
        tokens: None,
        keep: interlock_controller::retain::Keep::default(),
        reserved: 0,
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let controller = Controller::open(&settings).await.unwrap();
        controller.serve(std::future::pending()).await.unwrap();
    });
}

pub(crate) fn denial(number: u32) -> Draft {
    let session = Session {
        id: "00000000000000aa".into(),
        agent: Some("a".into()),
        ..Session::default()
    };
    let decision = Decision {
        verdict: "deny".into(),
        reason: "no rule".into(),
        action: "connect".into(),
        object: Object::Endpoint {
            address: "192.0.2.1".into(),
            port: 443,
            protocol: "tcp".into(),
            host: None,
        },
        process: Process {
            pid: number,
            comm: "curl".into(),
            ..Process::default()
        },
        ..Decision::default()
    };
    Draft::now(Some(session), What::Decision(Box::new(decision)))
}

#[test]
#[ignore = "one of the processes of the tests"]
fn node_process() {
    let Some(home) = told::<PathBuf>(HOME) else {
        return;
    };
    let keeping = Keeping {
        folder: home.join("node/evidence"),
        node: Some("n1".into()),
        limit: 512 << 20,
        age: None,
    };
    std::fs::create_dir_all(home.join("node")).unwrap();
    let settings = central::Settings {
        address: told(ADDRESS).unwrap(),
        finder: Finder::Host,
        files: Files::in_folder(&home.join("certs"), "node-n1"),
        folder: home.join("node/central"),
        labels: Default::default(),
        require_grant: false,
        haste: HASTE,
    };
    let (recorder, _writer) = evidence::begin(&keeping, None);
    let place = evidence::Place::of(&keeping.folder);
    let begun = central::begin(&settings).unwrap();
    let connecting = begun.connect(Own::new(recorder.clone(), &place)).unwrap();
    let mut listening = connecting.listen();
    // Instead of the daemon, which needs a kernel: it says yes to everything.
    std::thread::spawn(move || {
        let _outcomes = listening.outcomes;
        while let Some(heard) = listening.heard.blocking_recv() {
            match heard {
                Heard::Hello(_, answer) => drop(answer.send((hello(), Vec::new()))),
                Heard::Enrolled(_, answer) => drop(answer.send(Ok(()))),
                Heard::Look(answer) => drop(answer.send(InventoryRequest::default())),
                Heard::Directive(_) | Heard::Beat(_) | Heard::Lost => {}
            }
        }
    });
    let rate: u32 = told(RATE).unwrap();
    let mut number: u32 = told(FROM).unwrap();
    let mut out = std::io::stdout().lock();
    // Else the first is refused because nobody has opened the folder yet.
    let mut made: u64 = 0;
    let began = Instant::now();
    loop {
        let since_ms = u64::try_from(began.elapsed().as_millis()).unwrap();
        let due = since_ms * u64::from(rate) / 1000;
        let first = number;
        while made < due && number - first < 256 {
            if !recorder.record(denial(number)) {
                break;
            }
            number += 1;
            made += 1;
        }
        if recorder.flush(Duration::from_secs(5)) && number > first && recorder.health().opened {
            writeln!(out, "recorded {first} {}", number - 1).unwrap();
        }
        let info = (listening.info)();
        let health = recorder.health();
        let told = serde_json::json!({
            "connected": info.connected, "error": info.error, "waiting": info.waiting,
            "forked": info.forked, "recorded": health.recorded, "lost": health.lost,
            "degraded": health.degraded, "countersigned": info.countersigned,
        });
        writeln!(out, "info {told}").unwrap();
        std::thread::sleep(STEP);
    }
}

fn hello() -> EnrolRequest {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    EnrolRequest {
        version_from: 1,
        version_to: 1,
        boot: boot.trim().to_owned(),
        ..EnrolRequest::default()
    }
}
