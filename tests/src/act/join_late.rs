//! A process that has the daemon's ear before it joins a session.

use agent_common::abi;
use agent_common::session::Enrolment;
use anyhow::{Context, Result, ensure};
use aya::programs::{RawTracePoint, RawTracePointRunOptions, TestRun};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

/// Connects, is answered, joins a session, asks again on the same connection, and prints what the
/// daemon said to both.
pub(crate) fn join_late(socket: &str, policy: &str) -> Result<()> {
    let mut stream = UnixStream::connect(socket).context("connecting to the daemon")?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let mut ask = |request: &Value| -> Result<Value> {
        writeln!(stream, "{request}")?;
        let mut line = String::new();
        answers.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    };
    let start = json!({"agent": "late", "file": "late.yaml", "policy": policy, "profiles": []});
    let started = ask(&json!({"start": start}))?;
    println!("before: {}", ask(&json!("status"))?["status"].is_object());

    enrol(&enroller()?, &started["started"])?;
    match ask(&json!("status")) {
        Ok(refusal) => println!(
            "after: {}",
            refusal["error"].as_str().unwrap_or("an answer")
        ),
        Err(error) => println!("after: {error:#}"),
    }
    Ok(())
}

/// The program that puts who runs it into a session.
pub(crate) fn enroller() -> Result<RawTracePoint> {
    let path = format!("/sys/fs/bpf/interlock/v{}/programs/enrol", abi::VERSION);
    RawTracePoint::from_pin(&path).context(path)
}

/// Joins the session that the daemon has started.
pub(crate) fn enrol(program: &RawTracePoint, started: &Value) -> Result<()> {
    let id = started["session"]
        .as_str()
        .with_context(|| format!("the daemon answered {started}"))?;
    let mut options = RawTracePointRunOptions::new();
    options.args[0] = u64::from_str_radix(id, 16)?;
    options.args[1] = started["slot"].as_u64().context("no slot")?;
    let answer = program.test_run(options)?.return_value;
    ensure!(
        answer == Enrolment::Done.wire(),
        "the enrolment ended with {answer}"
    );
    Ok(())
}
