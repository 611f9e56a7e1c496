//! What it costs to record: 5,000 denials a second for ten seconds, handed in as the daemon does, onto
//! a folder of this machine. Prints processor time and latency; `cargo bench -p agent-evidence`.

use agent_evidence::disk::Folder;
use agent_evidence::key::Key;
use agent_evidence::mark::MarkFile;
use agent_evidence::record::{Decision, Draft, Object, Process, Rule, Session, What};
use agent_evidence::recorder::Recorder;
use agent_evidence::segment::Trust;
use agent_evidence::store::Settings;
use agent_evidence::verify::verify;
use std::time::{Duration, Instant};

const A_SECOND: u32 = 5_000;
const SECONDS: u32 = 10;
/// How many come at once, as the daemon takes them from the ring.
const BATCH: u32 = 250;

fn denial(number: u32) -> Draft {
    let process = |pid| Process {
        pid,
        exe: Some("/usr/bin/python3.13".into()),
        comm: "python3".into(),
        args: vec!["python3".into(), "-m".into(), "agent.tools.fetch".into()],
        started: "2026-03-02T09:59:59.123456789Z".into(),
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
        facts_before: vec!["step:fetch".into()],
        facts_after: vec!["step:fetch".into()],
        rule: Some(Rule {
            file: "/etc/interlock/policies/agent.yaml".into(),
            line: 12,
            text: "connect 198.51.100.0/24:443".into(),
            ..Rule::default()
        }),
        process: process(number),
        tid: number,
        ancestry: (1..=4).map(process).collect(),
        ..Decision::default()
    };
    let session = Session {
        id: "0123456789abcdef".into(),
        agent: Some("agent".into()),
        owner: Some("Accounts Payable".into()),
        policy: Some("0".repeat(64)),
        ..Session::default()
    };
    Draft::now(Some(session), What::Decision(Box::new(decision)))
}

/// Processor time of this process, with what the kernel did for it.
fn used() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(used.tv_sec).unwrap_or(0),
        u32::try_from(used.tv_nsec).unwrap_or(0),
    )
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let home = std::env::temp_dir().join(format!("evidence-bench-{}", std::process::id()));
    let folder = home.join("evidence");
    let disk = Folder::make(&folder)?;
    let key = Key::take(&home.join("evidence.key"))?;
    let mark = MarkFile::at(&home.join("evidence.mark"));
    let settings = Settings::of("node", "boot");
    let (recorder, writer) = Recorder::begin(disk, key.clone(), mark, settings)?;
    recorder.flush(Duration::from_secs(10));
    let (began, before) = (Instant::now(), used());
    let mut handed = 0;
    let mut making = Duration::ZERO;
    while handed < A_SECOND * SECONDS {
        let due = began + Duration::from_secs(1) * handed / A_SECOND;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let own = used();
        let drafts: Vec<Draft> = (0..BATCH).map(|number| denial(handed + number)).collect();
        making += used().saturating_sub(own);
        for draft in drafts {
            recorder.record(draft);
        }
        handed += BATCH;
    }
    let whole = recorder.flush(Duration::from_secs(60));
    let (took, used) = (began.elapsed(), used() - before);
    let lost = recorder.health().lost;
    drop(writer);
    let trust = Trust {
        key: Some(key.public()),
        known: Vec::new(),
    };
    let verified = Instant::now();
    let report = verify(&Folder::at(&folder), &trust)?;
    let verified = verified.elapsed();
    let bytes: u64 = std::fs::read_dir(&folder)?
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .map(|meta| meta.len())
        .sum();
    println!(
        "{handed} denials in {:.1} s, {lost} found no room, all synced: {whole}",
        took.as_secs_f64()
    );
    println!(
        "processor: {:.1} % of one core, {:.1} \u{b5}s a record (of the {:.1} % in all, making the drafts took the rest)",
        100.0 * (used.saturating_sub(making)).as_secs_f64() / took.as_secs_f64(),
        1e6 * (used.saturating_sub(making)).as_secs_f64() / f64::from(handed),
        100.0 * used.as_secs_f64() / took.as_secs_f64()
    );
    println!(
        "{} bytes a record; verified whole: {} in {:.2} s",
        bytes / u64::from(handed),
        report.whole,
        verified.as_secs_f64()
    );
    std::fs::remove_dir_all(home)?;
    Ok(())
}
