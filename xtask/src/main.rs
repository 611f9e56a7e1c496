//! The developer's commands: everything that one does to this project is a verb of
//! `cargo xtask`.

mod archive;
mod cpio;
mod disk;
mod guest;
mod initramfs;
mod kernels;
mod kvm;
mod machine;
mod mirror;
mod os;
mod process;
mod root_image;
mod series;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::series::Series;

/// Builds, tests, shows and measures Interlock
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Runs a command, or a shell, in a virtual machine with one kernel of the matrix
    ///
    /// The machine has the built programs (interlock, interlock-tests: the newer of debug and
    /// release) on its PATH, and a writable root with bash, python3, curl, ip, cgroup v2 and
    /// bpffs. Nothing that it writes stays. The command's output and exit code are passed on;
    /// 125 means that the machine itself failed. The kernel's log is in .cache/console/.
    Vm(vm::Options),
    /// Lists the kernels of the matrix, or fetches the newest of each
    Kernels {
        /// What to do with them
        #[arg(value_enum, default_value_t = KernelsVerb::List)]
        verb: KernelsVerb,
        /// Only these
        #[arg(long = "kernel", value_name = "K")]
        kernels: Vec<Series>,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum KernelsVerb {
    /// Shows what is in the cache and in the archive
    List,
    /// Brings the cache up to date
    Fetch,
}

/// The exit code when a virtual machine, rather than the command in it, failed.
const MACHINE_FAILED: u8 = 125;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let (result, failed) = match cli.verb {
        Verb::Vm(options) => (vm::run(&options), MACHINE_FAILED),
        Verb::Kernels { verb, kernels } => (run_kernels(verb, &kernels).map(|()| 0), 1),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(failed)
        }
    }
}

fn run_kernels(verb: KernelsVerb, kernels: &[Series]) -> anyhow::Result<()> {
    match verb {
        KernelsVerb::List => kernels::list(),
        KernelsVerb::Fetch => {
            let kernels = if kernels.is_empty() {
                &Series::MATRIX
            } else {
                kernels
            };
            for &series in kernels {
                let kernel = kernels::fetch(series)?;
                println!("{series:8} {}", kernel.release);
            }
            Ok(())
        }
    }
}
