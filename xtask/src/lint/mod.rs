//! `cargo xtask lint`: everything about the sources that a machine can judge without running them.

mod unsafe_rule;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use bpf_toolchain::{Compiler, Toolchain};

use crate::build::cargo;
use crate::setup::{self, Part};
use crate::{process, workspace};

/// Runs every check, also after one has failed, and fails when one did.
pub(crate) fn run(advisories: bool) -> Result<()> {
    setup::ensure(&[Part::Build, Part::Lint])?;
    let mut failed = Vec::new();
    for (name, check) in CHECKS {
        eprintln!("lint: {name}");
        if let Err(error) = check() {
            eprintln!("{error:#}");
            failed.push(*name);
        }
    }
    if advisories {
        eprintln!("lint: advisories");
        if let Err(error) = deny(&["advisories"]) {
            eprintln!("{error:#}");
            failed.push("advisories");
        }
    }
    if !failed.is_empty() {
        bail!("lint found something: {}", failed.join(", "));
    }
    println!("lint found nothing");
    Ok(())
}

type Check = (&'static str, fn() -> Result<()>);

const CHECKS: &[Check] = &[
    ("format", format),
    ("the unsafe rule", unsafe_rule::check),
    ("clippy, user space", user_space),
    ("clippy, kernel programs", kernel_programs),
    ("dependencies", dependencies),
];

fn format() -> Result<()> {
    process::show(cargo("fmt").args(["--all", "--check"]))?;
    // What makes Rust of the contract is a workspace of its own.
    let manifest = "agent-proto/generate/Cargo.toml";
    process::show(cargo("fmt").args(["--check", "--manifest-path", manifest]))?;
    Ok(())
}

fn user_space() -> Result<()> {
    process::show(
        cargo("clippy")
            .args([
                "--quiet",
                "--workspace",
                "--exclude",
                "agent-ebpf",
                "--all-targets",
            ])
            .args(["--", "-D", "warnings"]),
    )
}

/// What lints code for the BPF target.
pub(crate) enum KernelClippy {
    /// The driver of the compiler whose `core` for the target is ready-made.
    Driver(PathBuf),
    /// rustup's, for its nightly.
    Nightly,
}

/// Finds the clippy of the compiler that builds the kernel programs: another compiler's cannot
/// read the `core` it comes with.
pub(crate) fn kernel_clippy() -> Option<KernelClippy> {
    match Toolchain::find().ok()?.compiler {
        Compiler::Prebuilt(rustc) => {
            let driver = rustc.with_file_name("clippy-driver");
            driver.is_file().then_some(KernelClippy::Driver(driver))
        }
        Compiler::Nightly => {
            process::run(Command::new("cargo").args(["+nightly", "clippy", "--version"])).ok()?;
            Some(KernelClippy::Nightly)
        }
    }
}

fn kernel_programs() -> Result<()> {
    let toolchain = Toolchain::find()?;
    let (root, target) = (workspace::root(), workspace::target().join("kernel-lint"));
    let clippy = kernel_clippy().context("no clippy for the BPF target")?;
    let mut command = match clippy {
        KernelClippy::Driver(driver) => {
            let mut check = toolchain.cargo("check", root, &target);
            // What `cargo clippy` would set, which brings the wrong driver here. It does not
            // know clippy.toml's folder for a wrapped check either.
            check
                .env("RUSTC_WORKSPACE_WRAPPER", driver)
                .env(
                    "CLIPPY_ARGS",
                    "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__",
                )
                .env("CLIPPY_CONF_DIR", root);
            check
        }
        KernelClippy::Nightly => {
            let mut lint = toolchain.cargo("clippy", root, &target);
            lint.args(["--", "-D", "warnings"]);
            lint
        }
    };
    process::show(command.arg("--quiet"))
}

fn dependencies() -> Result<()> {
    deny(&["licenses", "bans", "sources"])
}

fn deny(what: &[&str]) -> Result<()> {
    // The index of crates.io is not needed: all that is checked is in the lock file and in the
    // downloaded crates.
    process::run(
        cargo("deny")
            .args(["--log-level", "error", "check", "--hide-inclusion-graph"])
            .args(what),
    )?;
    Ok(())
}
