//! End to end: the product on a real kernel, inside a virtual machine that may be harmed.
//!
//! [`cases`] holds the tests, one file a family; [`harness`] runs them; [`act`] is what they make
//! agents do, by the raw system calls of [`sys`]. [`demo`], [`bench`] and [`verifier`] are the
//! guest's half of `cargo xtask demo` and `cargo xtask bench`.

mod act;
mod bench;
mod cases;
mod demo;
mod harness;
mod sys;
mod verifier;

use harness::runner::{self, Share};
use std::process::ExitCode;

const USAGE: &str = "\
usage: interlock-tests [run] [FILTER]   run the tests whose name contains FILTER
       interlock-tests run FILTER 1/2   the first of two shares of them; 1/2+ the red team's alone
       interlock-tests list             name the tests and what they show
       interlock-tests demo             the demonstration
       interlock-tests bench            measure, as JSON lines
       interlock-tests revoke [N]       revoke N sessions under load, as JSON lines
       interlock-tests hold [N]         hold N actions and 500 at once, as JSON lines
       interlock-tests memory           what the maps take, as JSON lines
       interlock-tests verifier         what the verifier says of each program, as JSON lines
       interlock-tests act PART ...     play the part of an agent";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let rest = words.get(1..).unwrap_or_default();
    // A copy of this program that stands for another one has that one's words.
    if let Some(code) =
        act::below::part().filter(|_| words.first().is_none_or(|word| word != "act"))
    {
        return code;
    }
    match words.first().map(String::as_str) {
        Some("act") => act::main(rest),
        Some("one") => runner::one(&cases::all(), rest.first().map_or("", String::as_str)),
        Some("list") => runner::list(&cases::all()),
        Some("demo") => reported(demo::run()),
        Some("bench") => reported(bench::run(rest)),
        Some("measure") => bench::measure(rest),
        Some("revoke") => reported(bench::revoke(rest)),
        Some("hold") => reported(bench::hold(rest)),
        Some("lookup") => reported(bench::lookup()),
        Some("memory") => reported(bench::memory()),
        Some("verifier") => reported(verifier::run()),
        Some("run") => run(rest),
        None => run(&[]),
        Some("help" | "--help" | "-h") => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Some(_) => run(&words),
    }
}

fn run(words: &[String]) -> ExitCode {
    let filter = words.first().map_or("", String::as_str);
    let share = words
        .get(1)
        .map_or(Some(Share::ALL), |text| Share::parse(text));
    let Some(share) = share else {
        eprintln!(
            "interlock-tests: found {:?}, expected a share such as 1/2",
            words[1]
        );
        return ExitCode::FAILURE;
    };
    runner::run(&cases::all(), filter, share)
}

fn reported(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("interlock-tests: {error:#}");
            ExitCode::FAILURE
        }
    }
}
