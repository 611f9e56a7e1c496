//! Bad input: a refusal that names the place and what was expected, exit code 2.

use crate::harness::Test;
use crate::harness::policy::Policy;
use crate::harness::product::{Daemon, call, said};
use anyhow::{Context, Result, ensure};
use std::fs;

pub(super) fn tests() -> Vec<Test> {
    let good = || {
        Policy::named("bad")
            .allow("192.0.2.0/24", "443", "tcp")
            .text()
    };
    let replaced = |from: &str, to: &str| good().replace(from, to).into_bytes();
    let cases: Vec<(&str, &str, Vec<u8>, &[&str])> = vec![
        (
            "malformed",
            "YAML that is none",
            b"spec: [1, 2\nkind: }\n".to_vec(),
            &[":2:"],
        ),
        (
            "unknown_field",
            "a field that does not exist",
            replaced("ports:", "prots:"),
            &[":12:", "prots", "ports"],
        ),
        ("port_0", "port 0", replaced("443", "0"), &[":12:", "0"]),
        (
            "port_65536",
            "port 65536",
            replaced("443", "65536"),
            &[":12:", "65536", "65535"],
        ),
        (
            "prefix",
            "a prefix of 33 bits",
            replaced("192.0.2.0/24", "192.0.2.0/33"),
            &[":11:", "192.0.2.0/33"],
        ),
        (
            "host_bits",
            "a network with host bits",
            replaced("192.0.2.0/24", "192.0.2.1/24"),
            &[":11:", "192.0.2.1/24", "192.0.2.0/24"],
        ),
        (
            "no_address",
            "an address that is none",
            replaced("192.0.2.0/24", "192.0.2.256"),
            &[":11:", "192.0.2.256"],
        ),
        (
            "bytes_of_listeners",
            "a budget of bytes for what listens, which nothing counts,",
            replaced(
                "  owner:\n",
                "  listen:\n    allow:\n      - {on: [127.0.0.1], ports: [80], limit: {bytesPerSession: 1MB}}\n  owner:\n",
            ),
            &[":8:9:", "budgets of bytes", "^"],
        ),
        (
            "no_owner",
            "a policy without an owner",
            replaced(
                "  owner:\n    name: Test Bench\n    contact: bench@example.org\n",
                "",
            ),
            &["owner"],
        ),
        ("empty", "an empty file", Vec::new(), &[]),
        (
            "ten_megabytes",
            "a file of 10 MB",
            vec![b'#'; 10 << 20],
            &[],
        ),
        (
            "binary",
            "binary junk",
            (0..4096_u32)
                .map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[1])
                .collect(),
            &[],
        ),
        (
            "nul",
            "a zero byte in the middle",
            replaced("Test Bench", "Test\0Bench"),
            &[],
        ),
    ];
    let mut tests: Vec<Test> = cases
        .into_iter()
        .map(|(name, what, bytes, words)| {
            Test::new(
                format!("bad_input.{name}"),
                format!("{what} is refused with place and expectation, exit code 2"),
                move || {
                    let path = format!("/tmp/bad-{name}.yaml");
                    fs::write(&path, &bytes).with_context(|| path.clone())?;
                    refused(&path, "bad", words)
                },
            )
        })
        .collect();
    tests.push(Test::new(
        "bad_input.missing",
        "a file that is missing is refused, exit code 2",
        || refused("/nowhere/policy.yaml", "bad", &["No such file"]),
    ));
    tests.push(Test::new(
        "bad_input.folder",
        "a folder for a file is refused, exit code 2",
        || refused("/tmp", "bad", &["directory"]),
    ));
    tests.push(Test::new(
        "bad_input.agent",
        "an agent that the file lacks is refused, exit code 2",
        || {
            let path = Policy::named("good").write()?.display().to_string();
            refused(&path, "another", &["another", "good"])
        },
    ));
    tests.push(Test::new(
        "bad_input.options",
        "wrong options are exit code 2",
        || {
            for words in [
                &["run"][..],
                &["run", "--policy"],
                &["no-such-verb"],
                &["daemon", "--no-such-option"],
            ] {
                let output = call(words)?;
                ensure!(
                    output.status.code() == Some(2),
                    "{words:?}, expected 2: {}",
                    said(&output)
                );
                ensure!(!output.stderr.is_empty(), "{words:?} says nothing");
            }
            Ok(())
        },
    ));
    tests
}

/// `interlock run` with this policy file must fail as it should, and run nothing.
fn refused(path: &str, agent: &str, words: &[&str]) -> Result<()> {
    Daemon::shared()?;
    let mark = "/tmp/bad-input-ran";
    let _ = fs::remove_file(mark);
    let output = call(&[
        "run", "--policy", path, "--agent", agent, "--", "touch", mark,
    ])?;
    ensure!(
        output.status.code() == Some(2),
        "expected exit code 2: {}",
        said(&output)
    );
    ensure!(!fs::exists(mark)?, "the command ran");
    let text = String::from_utf8(output.stderr.clone()).context("the error is no UTF-8")?;
    let longest = text.lines().map(str::len).max().unwrap_or(0);
    ensure!(
        text.len() < 8192 && longest < 600,
        "{} bytes, the longest line {longest}: {}",
        text.len(),
        said(&output)
    );
    ensure!(
        text.contains(path),
        "the error does not name {path}: {text}"
    );
    ensure!(
        text.contains("expected"),
        "the error does not say what was expected: {text}"
    );
    ensure!(
        !text.chars().any(|c| c.is_control() && c != '\n'),
        "control characters: {text:?}"
    );
    for word in words {
        ensure!(
            text.contains(word),
            "the error does not say {word:?}: {text}"
        );
    }
    Ok(())
}
