//! `cargo xtask bench`: what Interlock costs, counted in instructions, and what the verifier says
//! of each kernel program.

mod goal;
mod table;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value};

use crate::build::Profile;
use crate::kernels::Kernel;
use crate::machine::{Machine, Processor, Stream};
use crate::series::Series;
use crate::{build, process, vm, workspace};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Subject {
    /// System calls: without Interlock, outside and inside a session
    Calls,
    /// The memory of all maps, with 1, 100 and 10,000 sessions
    Memory,
    /// The verifier's work on each kernel program
    Verifier,
    /// How fast a session under load falls silent and ends
    Revoke,
    /// How long a hold takes to be told, an answer to be felt, and what 500 open holds cost
    Hold,
    /// How many lookups a second are answered, by the server itself and through the resolver
    Lookup,
    /// What one controller carries: nodes, records a second, a revocation for all; here, in one process
    Central,
    /// What the daemon takes of a processor while much is denied and more allowed; here
    Busy,
}

impl Subject {
    /// Where user space is part of what is measured, the build that is installed.
    const fn profile(self) -> Profile {
        match self {
            Self::Calls | Self::Lookup => Profile::Release,
            _ => Profile::Dev,
        }
    }
}

/// What `cargo xtask bench` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What to measure
    #[arg(value_enum, default_value_t = Subject::Calls)]
    subject: Subject,
    /// On this kernel. Default: 6.1 for calls, 6.1 and 6.12 for memory, 6.12 for revoke, hold and lookup, the
    /// whole matrix for the verifier
    #[arg(long = "kernel", value_name = "K")]
    kernels: Vec<Series>,
    /// For revoke: how many sessions are revoked
    #[arg(long, value_name = "N", default_value_t = 200)]
    runs: u32,
    /// For hold: how many actions are held
    #[arg(long, value_name = "N", default_value_t = 1000)]
    holds: u32,
    /// For central: how many nodes are connected
    #[arg(long, value_name = "N", default_value_t = 5000)]
    nodes: u32,
    /// Where to write the figures, but for central. Default: target/bench/<SUBJECT>.json
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One line of figures.
type Row = Map<String, Value>;

/// Measures, prints a table, writes JSON. Whether all goals are met.
pub(crate) fn run(options: &Options) -> Result<bool> {
    // These need no machine of their own, and no kernel.
    if options.subject == Subject::Busy {
        let bench = ["--package", "agent", "--bench", "busy"];
        return process::show(build::cargo("bench").arg("--quiet").args(bench)).map(|()| true);
    }
    if options.subject == Subject::Central {
        let nodes = options.nodes.to_string();
        let bench = [
            "--package",
            "controller",
            "--bench",
            "central",
            "--",
            &nodes,
        ];
        return process::show(build::cargo("bench").arg("--quiet").args(bench)).map(|()| true);
    }
    let kernels = match (options.kernels.as_slice(), options.subject) {
        ([], Subject::Calls) => &[Series::BENCH],
        ([], Subject::Memory) => &Series::MATRIX[1..3],
        ([], Subject::Verifier) => Series::MATRIX.as_slice(),
        ([], _) => &Series::MATRIX[2..3],
        (named, _) => named,
    };
    let mut rows = Vec::new();
    let mut faults = Vec::new();
    for &series in kernels {
        build::guest_programs(options.subject.profile(), series.arch())?;
        let kernel = Kernel::get(series)?;
        eprintln!("measuring on {}", kernel.release);
        let (here, fault) = measure(options, &kernel)?;
        rows.extend(here);
        faults.extend(fault);
    }
    let file = options.json.clone().unwrap_or_else(|| {
        let name = match options.subject {
            Subject::Calls => "calls.json",
            Subject::Memory => "memory.json",
            Subject::Verifier => "verifier.json",
            Subject::Revoke => "revoke.json",
            Subject::Hold => "hold.json",
            Subject::Lookup => "lookup.json",
            Subject::Central => "central.json",
            Subject::Busy => "busy.json",
        };
        workspace::target().join("bench").join(name)
    });
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::write(&file, serde_json::to_string_pretty(&rows)? + "\n")
        .with_context(|| format!("cannot write {}", file.display()))?;
    let missed = match options.subject {
        Subject::Calls => {
            let (text, missed) = table::calls(&rows);
            print!("{text}");
            missed
        }
        Subject::Memory => {
            print!("{}", table::memory(&rows));
            0
        }
        Subject::Verifier | Subject::Lookup | Subject::Central | Subject::Busy => {
            print!("{}", table::plain(&rows));
            0
        }
        Subject::Revoke => {
            print!("{}", table::revoke(&rows));
            0
        }
        Subject::Hold => {
            print!("{}", table::hold(&rows));
            0
        }
    };
    eprintln!("written to {}", workspace::shown(&file));
    if missed > 0 {
        eprintln!("{missed} figures miss a goal");
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(missed == 0)
}

/// The figures, and why they do not count if they do not.
fn measure(options: &Options, kernel: &Kernel) -> Result<(Vec<Row>, Option<String>)> {
    let subject = options.subject;
    let usual = Machine {
        profile: subject.profile(),
        ..Machine::new(kernel)
    };
    let machine = match subject {
        Subject::Calls => Machine {
            processor: Processor::Counted,
            smp: 1,
            timeout: Duration::from_secs(1800),
            ..usual
        },
        // Room for 10,000 processes.
        Subject::Memory => Machine {
            memory: 6144,
            timeout: Duration::from_secs(3600),
            ..usual
        },
        Subject::Revoke | Subject::Hold => Machine {
            timeout: Duration::from_secs(7200),
            ..usual
        },
        _ => usual,
    };
    let verb = match subject {
        Subject::Calls => "bench",
        Subject::Memory => "memory",
        Subject::Verifier | Subject::Central | Subject::Busy => "verifier",
        Subject::Revoke => "revoke",
        Subject::Hold => "hold",
        Subject::Lookup => "lookup",
    };
    let mut words = vec!["interlock-tests".to_owned(), verb.to_owned()];
    if subject == Subject::Revoke {
        words.push(options.runs.to_string());
    }
    if subject == Subject::Hold {
        words.push(options.holds.to_string());
    }
    let mut printed = Vec::new();
    let code = machine.run(&words, |stream, bytes| {
        match stream {
            Stream::Out => printed.extend_from_slice(bytes),
            Stream::Err => vm::show(stream, bytes)?,
        }
        Ok(())
    })?;
    let printed = String::from_utf8_lossy(&printed);
    let rows = rows(&printed, kernel)?;
    let fault = (code != 0 || rows.is_empty()).then(|| {
        format!(
            "interlock-tests {verb} on {} ended with {code} and {} lines of figures",
            kernel.release,
            rows.len()
        )
    });
    Ok((rows, fault))
}

/// Lines that are objects of JSON hold figures; the others are for a person.
fn rows(printed: &str, kernel: &Kernel) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for line in printed.lines() {
        if !line.starts_with('{') {
            eprintln!("  {line}");
            continue;
        }
        let mut row: Row = serde_json::from_str(line)
            .with_context(|| format!("a line of figures is not JSON: {line}"))?;
        row.insert("kernel".to_owned(), Value::from(kernel.release.as_str()));
        rows.push(row);
    }
    Ok(rows)
}
