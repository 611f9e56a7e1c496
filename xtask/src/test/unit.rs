//! The unit tests: whatever `cargo test` finds, without the crate that only a kernel can run.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use anyhow::{Context as _, Result};

use super::report::Tally;
use crate::build::cargo;
use crate::setup::{self, Part};

/// Runs them; shows what failed and everything that is not a test that passed.
pub(super) fn run(filter: Option<&str>) -> Result<Tally> {
    setup::ensure(&[Part::Build])?;
    println!("unit tests");
    let mut child = cargo("test")
        .args(["--no-fail-fast", "--quiet"])
        .arg("--")
        // One line a test, and the reasons of those that are ignored.
        .args(["--format", "pretty"])
        .args(filter)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let output = child.stdout.take().context("cargo has an output")?;
    let mut tally = Tally::new("unit");
    for line in BufReader::new(output).lines() {
        let line = line.context("cargo test prints text")?;
        if !count(&mut tally, &line) {
            println!("  {line}");
        }
    }
    let status = child.wait()?;
    if !status.success() && tally.failed.is_empty() {
        tally
            .failed
            .push(format!("cargo test: {status}, before any test had failed"));
    }
    Ok(tally)
}

/// Counts a line; says whether it needs not be shown.
fn count(tally: &mut Tally, line: &str) -> bool {
    let noise = line.is_empty()
        || (line.starts_with("running ") && (line.ends_with(" tests") || line.ends_with(" test")))
        || line.starts_with("test result: ok.");
    let test = line
        .strip_prefix("test ")
        .and_then(|test| test.split_once(" ... "));
    match test {
        Some((_, "ok")) => tally.passed += 1,
        Some((name, "FAILED")) => {
            tally.failed.push(name.to_owned());
            return false;
        }
        Some((name, outcome)) if outcome.starts_with("ignored") => {
            let reason = outcome
                .trim_start_matches("ignored")
                .trim_start_matches(", ");
            let reason = if reason.is_empty() {
                "without a reason"
            } else {
                reason
            };
            tally.skipped.push((name.to_owned(), reason.to_owned()));
        }
        _ => return noise,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_of_a_test_program() {
        let mut tally = Tally::new("unit");
        let output = "\nrunning 4 tests\ntest a::b ... ok\ntest a::c ... FAILED\n\
                      test a::d ... ignored, needs a kernel\ntest a::e - should panic ... ok\n\n\
                      failures:\n\n---- a::c stdout ----\npanicked\n\
                      test result: FAILED. 2 passed; 1 failed; 1 ignored\n\
                      test result: ok. 1 passed; 0 failed; 0 ignored\n";
        let shown = output
            .lines()
            .filter(|line| !count(&mut tally, line))
            .collect::<Vec<_>>();
        assert_eq!(tally.passed, 2);
        assert_eq!(tally.failed, ["a::c"]);
        assert_eq!(
            tally.skipped,
            [("a::d".to_owned(), "needs a kernel".to_owned())]
        );
        assert_eq!(
            shown,
            [
                "test a::c ... FAILED",
                "failures:",
                "---- a::c stdout ----",
                "panicked",
                "test result: FAILED. 2 passed; 1 failed; 1 ignored"
            ]
        );
    }
}
