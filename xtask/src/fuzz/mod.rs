//! `cargo xtask fuzz`: the fuzz targets of the policy language, of the record, of the contract and of lookups, one after the other,
//! within stated bounds of time and memory.

mod seeds;
mod words;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::setup::{self, Part};
use crate::{process, workspace};
use words::{Said, Totals};

/// What is fuzzed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Target {
    /// Every reader: policies, profiles, cases, actions, host names
    Parse,
    /// What follows a policy that was read: compiling, checking, explaining, comparing, trying
    Compile,
    /// The decision function, on arbitrary tables
    Decide,
    /// The record: every reader, and somebody who changes its files
    Evidence,
    /// Every message between nodes, the controller and operators; grants, certificates
    Wire,
    /// Directives in any order, signed or not
    Directive,
    /// What nodes report
    Report,
    /// Operators' tokens
    Token,
    /// What sessions look up, and what servers answer
    Lookup,
    /// What relayed connections say first
    Hello,
}

/// What `cargo xtask fuzz` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only these targets
    #[arg(value_enum, value_name = "TARGET")]
    targets: Vec<Target>,
    /// Seconds for each target
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Runs one target on one input, such as a failure that was found, and shows what happens
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
}

/// Memory that a target may take, in MiB. The largest policy takes a tenth of it.
const MEMORY_MIB: u32 = 1024;

/// An input that takes longer hangs: each takes milliseconds on an idle machine.
const HANG_S: u32 = 20;

/// How often a running target is shown.
const BEAT: Duration = Duration::from_secs(30);

impl Target {
    const ALL: [Self; 10] = [
        Self::Parse,
        Self::Compile,
        Self::Decide,
        Self::Evidence,
        Self::Wire,
        Self::Directive,
        Self::Report,
        Self::Token,
        Self::Lookup,
        Self::Hello,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Compile => "compile",
            Self::Decide => "decide",
            Self::Evidence => "evidence",
            Self::Wire => "wire",
            Self::Directive => "directive",
            Self::Report => "report",
            Self::Token => "token",
            Self::Lookup => "lookup",
            Self::Hello => "hello",
        }
    }

    /// The longest input, in bytes: a policy of some hundred rules; every table that the target of
    /// `decide` can draw; a segment.
    const fn longest(self) -> u32 {
        match self {
            Self::Parse => 65_536,
            Self::Compile => 16_384,
            Self::Decide => 8_192,
            Self::Evidence | Self::Directive | Self::Lookup | Self::Hello => 4_096,
            Self::Wire | Self::Report => 16_384,
            Self::Token => 9_000,
        }
    }

    /// The others read tables and records, not policies.
    const fn reads_policies(self) -> bool {
        matches!(self, Self::Parse | Self::Compile)
    }

    /// Where its folder is.
    const fn folder(self) -> &'static str {
        match self {
            Self::Parse | Self::Compile | Self::Decide => "agent-policy/fuzz",
            Self::Evidence => "agent-evidence/fuzz",
            Self::Lookup | Self::Hello => "agent/fuzz",
            Self::Wire | Self::Directive | Self::Report | Self::Token => "controller/fuzz",
        }
    }
}

/// Runs the targets, and says whether none found anything.
pub(crate) fn run(options: &Options) -> Result<bool> {
    setup::ensure(&[Part::Fuzz])?;
    let targets = if options.targets.is_empty() {
        Target::ALL.as_slice()
    } else {
        options.targets.as_slice()
    };
    if let Some(input) = &options.replay {
        let &[target] = targets else {
            bail!("--replay: found {} targets, expected one", targets.len());
        };
        return Ok(Command::new(build(target)?).arg(input).status()?.success());
    }
    let seeds = folder("seeds")?;
    seeds::write(&seeds)?;
    // All of them first: a target that does not build should not be found out after an hour.
    let programs = targets
        .iter()
        .map(|&target| Ok((target, build(target)?)))
        .collect::<Result<Vec<_>>>()?;
    let mut ended = Vec::new();
    for (target, program) in &programs {
        ended.push(fuzz(*target, program, options.seconds, &seeds)?);
    }
    println!();
    for ended in &ended {
        println!("{}", ended.line);
    }
    Ok(ended.iter().all(|ended| ended.clean))
}

/// How a target ended.
struct Ended {
    line: String,
    clean: bool,
}

fn fuzz(target: Target, program: &Path, seconds: u32, seeds: &Path) -> Result<Ended> {
    let name = target.name();
    println!("{name}: {seconds} s");
    let mut command = Command::new(program);
    command.arg(folder(&format!("corpus/{name}"))?);
    if target.reads_policies() {
        command.arg(seeds);
    } else {
        let own = folder(&format!("seeds-{name}"))?;
        seeds::write_others(name, &own)?;
        command.arg(own);
    }
    let found = folder("found")?.join(format!("{name}-"));
    command
        .arg(format!("-artifact_prefix={}", found.display()))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={}", target.longest()))
        .arg(format!("-timeout={HANG_S}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
        .arg("-print_final_stats=1")
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let began = Instant::now();
    let mut child = command.spawn().context("cannot start the fuzz target")?;
    let output = child.stderr.take().context("the target has an output")?;
    let totals = follow(name, output)?;
    let status = child.wait()?;
    let took = began.elapsed().as_secs();
    let counted = format!(
        "{name:8} {} inputs in {took} s, the slowest {} s, {} MiB at most",
        totals.inputs, totals.slowest_s, totals.memory_mib
    );
    if status.success() && totals.failure.is_none() {
        let line = format!("{counted}: nothing found");
        return Ok(Ended { line, clean: true });
    }
    let why = match &totals.failure {
        Some(path) => format!(
            "FAILED\n  the input: {0}\n  again: cargo xtask fuzz {name} --replay {0}",
            workspace::shown(Path::new(path))
        ),
        None => format!("FAILED: {status}"),
    };
    Ok(Ended {
        line: format!("{counted}: {why}"),
        clean: false,
    })
}

/// Reads what the target says, shows now and then how far it is, and all that is not routine.
fn follow(name: &str, output: impl std::io::Read) -> Result<Totals> {
    let mut totals = Totals::default();
    let mut shown = Instant::now();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("the target's output can be read")?;
        let line = String::from_utf8_lossy(&line);
        match totals.take(&line) {
            Said::Progress if shown.elapsed() >= BEAT => {
                shown = Instant::now();
                println!(
                    "  {name}: {} inputs, {} MiB",
                    totals.inputs, totals.memory_mib
                );
            }
            Said::Progress | Said::Routine => {}
            Said::News => println!("  {line}"),
        }
    }
    Ok(totals)
}

/// Builds a target. No sanitizer: the language has no unsafe code, and a sanitizer's own memory
/// would hide how much a policy takes. Overflows are checked.
fn build(target: Target) -> Result<PathBuf> {
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let built = workspace::target().join("fuzz");
    let mut cargo = Command::new("cargo");
    cargo
        .args(["+nightly", "fuzz", "build", "--sanitizer", "none"])
        .args(["--target", &triple])
        // Lint only reads the targets, and has no need of libFuzzer's C++.
        .args(["--features", "libfuzzer-sys/link_libfuzzer"])
        .arg("--fuzz-dir")
        .arg(workspace::root().join(target.folder()))
        .arg("--target-dir")
        .arg(&built)
        .arg(target.name())
        .current_dir(workspace::root())
        // It would optimise across what counts the ways through the code.
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        // Of the cargo that runs xtask, which is not the nightly one.
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO");
    process::run(&mut cargo)?;
    Ok(built.join(triple).join("release").join(target.name()))
}

fn folder(name: &str) -> Result<PathBuf> {
    let path = workspace::cache().join("fuzz").join(name);
    fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(path)
}
