//! `cargo xtask build`: the kernel programs, which agent/build.rs compiles, and user space.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::setup::{self, Part};
use crate::{process, workspace};

/// What the cargo that runs xtask says of xtask's own package. Some build scripts, such as ring's, run anew
/// when it changes, and all that stands on them is built once more.
const OWN: [&str; 2] = ["CARGO_PKG_", "CARGO_MANIFEST_"];

/// A cargo command in the workspace.
pub(crate) fn cargo(verb: &str) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.arg(verb).current_dir(workspace::root());
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| OWN.iter().any(|own| name.starts_with(own)))
        {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// Builds everything.
pub(crate) fn run(release: bool) -> Result<()> {
    setup::ensure(&[Part::Build])?;
    process::show(cargo("build").args(release.then_some("--release")))
}

/// Makes Rust of the contract. What it makes is checked in.
pub(crate) fn contract() -> Result<()> {
    process::show(cargo("run").args([
        "--quiet",
        "--manifest-path",
        "agent-proto/generate/Cargo.toml",
        "--target-dir",
        "target/generate",
    ]))
}

/// Which build of the project's programs a test machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// The one that tests run on.
    Dev,
    /// The one that is installed, and measured.
    Release,
}

impl Profile {
    /// Where a program of it lies.
    pub(crate) fn program(self, name: &str) -> PathBuf {
        let folder = match self {
            Self::Dev => "debug",
            Self::Release => "release",
        };
        workspace::target().join(folder).join(name)
    }
}

/// Builds what runs in a test machine.
pub(crate) fn guest_programs(profile: Profile) -> Result<()> {
    setup::ensure(&[Part::Build, Part::Vm])?;
    process::show(
        cargo("build")
            .args([
                "--quiet",
                "--package",
                "agent",
                "--package",
                "controller",
                "--package",
                "interlock-tests",
            ])
            .args((profile == Profile::Release).then_some("--release")),
    )
}
