//! `cargo xtask vm`: one command, or a shell, on one kernel.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::kernels::Kernel;
use crate::machine::{LSM, Machine, Processor, Stream};
use crate::series::Series;
use crate::setup::{self, Part};

/// What `cargo xtask vm` takes.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The kernel: one of `cargo xtask kernels list`, `newest`, or `6.12-arm64`, whose programs are cross-built
    #[arg(long, default_value_t = Series::DEMO)]
    kernel: Series,
    /// Copies a folder into the machine, as /with/<its name>
    #[arg(long, value_name = "DIR")]
    with: Vec<PathBuf>,
    /// The kernel's active security modules
    #[arg(long, value_name = "LIST", default_value = LSM)]
    lsm: String,
    /// Boots systemd, which runs the command anew whenever the machine is booted; until it has ended
    #[arg(long)]
    systemd: bool,
    /// Processors
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    smp: u32,
    /// Memory in MiB
    #[arg(long, value_name = "M", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(256..))]
    mem: u32,
    /// One emulated processor whose clock counts instructions
    #[arg(long, conflicts_with = "smp")]
    icount: bool,
    /// Kills the machine after this long
    #[arg(long, value_name = "SECONDS", default_value_t = 1200)]
    timeout: u64,
    /// The command and its arguments; a shell on this terminal when there is none
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Runs the command and returns its exit code.
pub(crate) fn run(options: &Options) -> Result<u8> {
    setup::ensure(&[Part::Vm])?;
    let kernel = Kernel::get(options.kernel)?;
    let machine = Machine {
        with: &options.with,
        lsm: &options.lsm,
        processor: if options.icount {
            Processor::Counted
        } else {
            Processor::Fastest
        },
        systemd: options.systemd,
        smp: if options.icount { 1 } else { options.smp },
        memory: options.mem,
        timeout: Duration::from_secs(options.timeout),
        ..Machine::new(&kernel)
    };
    if options.command.is_empty() {
        return machine.shell();
    }
    machine.run(&options.command, show)
}

/// Hands on what a machine's command prints.
pub(crate) fn show(stream: Stream, bytes: &[u8]) -> Result<()> {
    match stream {
        Stream::Out => {
            let mut out = std::io::stdout().lock();
            out.write_all(bytes)?;
            out.flush()?;
        }
        Stream::Err => std::io::stderr().lock().write_all(bytes)?,
    }
    Ok(())
}
