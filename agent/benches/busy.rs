//! What the daemon takes of a processor while sessions are denied much and allowed more, without a
//! kernel: records as the ring has them are decoded, explained, written to the journal, recorded in
//! evidence that is synced, and sent to a controller, which is a process of its own.
//!
//! Not in it: what the kernel's programs cost (`cargo xtask bench calls`), waiting for the ring, the
//! file of a session's own denials, and the questions of holds. `cargo xtask bench busy`, or
//! `cargo bench -p agent --bench busy -- [DENIALS A SECOND] [SECONDS]`.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on stops")]
#![allow(missing_docs, reason = "nobody calls it")]

use agent_common::event::{Denial, Event};
use agent_common::session::ALLOWED;
use agent_common::wire::Wire as _;
use agent_policy::Compiled;
use agent_proto::files::Files;
use agent_proto::wire::{EnrolRequest, InventoryRequest};
use interlock_agent::central::report::Own;
use interlock_agent::central::{self, Heard};
use interlock_agent::events::explain::{Known, network_denial, now};
use interlock_agent::events::journal::Journal;
use interlock_agent::events::line::{self, Allowed, Line, Object, Used};
use interlock_agent::events::process::Programs;
use interlock_agent::evidence::scribe::Scribe;
use interlock_agent::evidence::{self, Keeping};
use interlock_agent::ids::SessionId;
use interlock_agent::names::Finder;
use interlock_controller::certs::{self, Wanted};
use interlock_controller::door::Limits;
use interlock_controller::serve::{Controller, Settings};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Sessions that do it, and rules of their policy.
const SESSIONS: u64 = 100;
const RULES: usize = 100;

/// Allowed actions a second, of all sessions together. The kernel counts them; each minute the daemon
/// records the counts. Here it does so every ten seconds, six times as often.
const ALLOWED_A_SECOND: u64 = 200_000;

/// By so many rules and to so many places each.
const USED: u32 = 10;

/// How often the counts are recorded.
const EACH: Duration = Duration::from_secs(10);

/// What comes in one go.
const STEP: Duration = Duration::from_millis(20);

const HOME: &str = "INTERLOCK_BENCH_HOME";
const ADDRESS: &str = "INTERLOCK_BENCH_ADDRESS";

fn main() {
    if let Some(home) = std::env::var_os(HOME) {
        return serve(Path::new(&home));
    }
    let mut numbers = std::env::args()
        .skip(1)
        .filter_map(|word| word.parse().ok());
    let rate = numbers.next().unwrap_or(5_000);
    let seconds = numbers.next().unwrap_or(30);
    let home = std::env::temp_dir().join(format!("interlock-busy-{}", std::process::id()));
    std::fs::create_dir_all(home.join("node")).unwrap();
    let wanted = Wanted {
        trust: "test".into(),
        hosts: vec!["127.0.0.1".into()],
        nodes: vec!["n1".into()],
        operators: vec!["root".into()],
        days: 1,
    };
    certs::make(&home.join("certs"), &wanted).unwrap();
    let listen = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listen.local_addr().unwrap();
    drop(listen);
    let controller = Ended(
        Command::new(std::env::current_exe().unwrap())
            .env(HOME, &home)
            .env(ADDRESS, address.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap(),
    );
    measure(&home, address, true, rate, seconds);
    drop(controller);
    measure(&home, address, false, rate, seconds);
    std::fs::remove_dir_all(&home).unwrap();
}

/// A process that ends with this, whatever becomes of the measurement.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(home: &Path) {
    let settings = Settings {
        listen: std::env::var(ADDRESS).unwrap().parse().unwrap(),
        data: home.join("data"),
        files: Files::in_folder(&home.join("certs"), "controller"),
        lease: Duration::ZERO,
        limits: Limits::default(),
        tokens: None,
        keep: Default::default(),
        reserved: 0,
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let controller = Controller::open(&settings).await.unwrap();
        controller.serve(std::future::pending()).await.unwrap();
    });
}

/// One of the rules and places by which a session was allowed something.
fn used(number: u32) -> Used {
    Used {
        about: "network",
        policy: Some("ab".into()),
        rule: Some(line::Rule {
            file: "busy.yaml".into(),
            line: number,
            text: format!("allow connect, send to 10.0.{number}.0/24, port 443"),
            id: None,
            step: None,
        }),
        object: Some(Object::Endpoint {
            address: format!("10.0.{number}.7"),
            port: 443,
            protocol: "tcp".into(),
            host: None,
        }),
        count: 1,
        total: 1,
    }
}

/// A policy of so many rules.
fn policy() -> Compiled {
    let mut text = String::from(
        "apiVersion: interlock.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: busy}\nspec:\n  \
         owner: {name: Ada, contact: ada@example.com}\n  egress:\n    allow:\n",
    );
    for rule in 0..RULES {
        text += &format!("      - {{to: [10.0.{rule}.0/24], ports: [443]}}\n");
    }
    let start = interlock_agent::control::protocol::Start {
        agent: "busy".into(),
        file: "busy.yaml".into(),
        policy: text,
        profiles: Vec::new(),
    };
    interlock_agent::policy::compile(&start).unwrap()
}

/// A denied connect of a session, as the kernel writes it.
fn record(session: u64, pid: u32) -> Vec<u8> {
    let mut bytes = vec![0; Denial::SIZE];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &1u16.to_ne_bytes());
    put(2, &u16::try_from(Denial::SIZE).unwrap().to_ne_bytes());
    put(8, &1_000_000_000u64.to_ne_bytes());
    put(16, &session.to_ne_bytes());
    for at in [24, 96, 128, 160] {
        put(at, &u64::from(pid).to_ne_bytes());
        put(at + 8, &pid.to_ne_bytes());
        put(at + 16, b"python3");
    }
    put(56, &pid.to_ne_bytes());
    put(64, &u32::MAX.to_ne_bytes());
    put(68, &1u16.to_ne_bytes());
    put(70, &[1, 1]);
    put(
        72,
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1],
    );
    put(88, &443u16.to_ne_bytes());
    put(90, &[6, 2, 3]);
    bytes
}

fn cpu() -> Duration {
    let used = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let all = used.user_time() + used.system_time();
    Duration::from_micros(all.num_microseconds().try_into().unwrap())
}

/// What this process holds in memory, and held at most, in MiB.
fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
            / 1024
    };
    (of("VmRSS:"), of("VmHWM:"))
}

fn measure(home: &Path, address: SocketAddr, connected: bool, rate: u64, seconds: u64) {
    let folder: PathBuf = home.join(if connected {
        "node/evidence"
    } else {
        "node/alone"
    });
    let keeping = Keeping {
        folder: folder.clone(),
        node: Some("n1".into()),
        limit: 1 << 30,
        age: None,
    };
    let (recorder, writer) = evidence::begin(&keeping, None);
    let settings = central::Settings {
        address: address.to_string(),
        finder: Finder::Host,
        files: Files::in_folder(&home.join("certs"), "node-n1"),
        folder: folder.with_extension("central"),
        labels: Default::default(),
        require_grant: false,
        haste: 1,
    };
    let begun = central::begin(&settings).unwrap();
    let own = Own::new(recorder.clone(), &evidence::Place::of(&folder));
    let mut listening = begun.connect(own).unwrap().listen();
    let (info, outcomes) = (listening.info, listening.outcomes);
    std::thread::spawn(move || {
        let _outcomes = outcomes;
        while let Some(heard) = listening.heard.blocking_recv() {
            match heard {
                Heard::Hello(_, answer) => drop(answer.send((
                    EnrolRequest {
                        version_from: 1,
                        version_to: 1,
                        boot: "boot".into(),
                        ..EnrolRequest::default()
                    },
                    Vec::new(),
                ))),
                Heard::Enrolled(_, answer) => drop(answer.send(Ok(()))),
                Heard::Look(answer) => drop(answer.send(InventoryRequest::default())),
                Heard::Directive(_) | Heard::Beat(_) | Heard::Lost => {}
            }
        }
    });
    while connected && !info().connected {
        std::thread::sleep(Duration::from_millis(50));
    }
    let policies: HashMap<u64, Compiled> = (0..SESSIONS).map(|id| (id, policy())).collect();
    let mut programs = Programs::default();
    let scribe = Scribe::new(recorder.clone());
    let mut journal = Journal::open(&folder.with_extension("journal")).unwrap();
    let mut output = std::fs::File::create("/dev/null").unwrap();
    let pid = std::process::id();
    let records: Vec<Vec<u8>> = (0..SESSIONS).map(|id| record(id, pid)).collect();
    let (before, first) = (cpu(), recorder.health().recorded);
    let (began, mut made, mut counted) = (Instant::now(), 0, Instant::now());
    while began.elapsed() < Duration::from_secs(seconds) {
        let due = u64::try_from(began.elapsed().as_millis()).unwrap() * rate / 1000;
        programs.refresh();
        let mut lines = Vec::new();
        while made < due && lines.len() < 256 {
            let bytes = &records[usize::try_from(made % SESSIONS).unwrap()];
            let Ok(Event::Denial(denial)) = Event::decode(bytes) else {
                panic!("no record of the kernel's");
            };
            let known = Known {
                agent: "busy",
                policy: &policies[&denial.header.session],
            };
            let told = network_denial(&denial, known, &mut programs);
            lines.push(Line::Denial(Box::new(told)));
            made += 1;
        }
        lines.iter().for_each(|line| scribe.hand_in(line));
        let (text, written) = journal.append(&lines);
        written.unwrap();
        std::io::Write::write_all(&mut output, &text).unwrap();
        if counted.elapsed() > EACH {
            counted = Instant::now();
            let each = ALLOWED_A_SECOND * EACH.as_secs() / SESSIONS;
            let allowed = |id| Allowed {
                time: now(),
                session: SessionId(id),
                agent: "busy".into(),
                policy: "ab".into(),
                counts: [(each / ALLOWED as u64, made); ALLOWED],
                used: (0..USED).map(used).collect(),
                seconds: EACH.as_secs(),
            };
            scribe.count(&(0..SESSIONS).map(allowed).collect::<Vec<_>>());
        }
        std::thread::sleep(STEP);
    }
    let took = began.elapsed();
    let used = cpu() - before;
    let health = recorder.health();
    let share = used.as_secs_f64() / took.as_secs_f64() * 100.0;
    let (now, most) = memory();
    println!(
        "{}: {:.0} denials a second for {:.0} s, {} recorded, {} lost, {} wait to be sent",
        if connected {
            "with a controller"
        } else {
            "without one"
        },
        made as f64 / took.as_secs_f64(),
        took.as_secs_f64(),
        health.recorded - first,
        health.lost,
        if connected { info().waiting } else { 0 },
    );
    println!(
        "  {share:.1} % of one processor, {:.1} us each; {now} MiB of memory, {most} MiB at most",
        used.as_secs_f64() * 1e6 / made as f64,
    );
    drop(writer);
}
