//! `cargo xtask build`: the kernel programs, which agent/build.rs compiles, and user space.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::arch::Arch;
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
    pub(crate) fn program(self, arch: Arch, name: &str) -> PathBuf {
        let folder = match self {
            Self::Dev => "debug",
            Self::Release => "release",
        };
        let target = workspace::target();
        let target = match arch {
            Arch::OWN => target,
            _ => target.join(arch.target()),
        };
        target.join(folder).join(name)
    }
}

/// Builds what runs in a test machine.
pub(crate) fn guest_programs(profile: Profile, arch: Arch) -> Result<()> {
    setup::ensure(&[Part::Build, Part::Vm])?;
    let mut build = cargo("build");
    build.arg("--quiet");
    for package in ["agent", "controller", "interlock-tests"] {
        build.args(["--package", package]);
    }
    build.args((profile == Profile::Release).then_some("--release"));
    if arch != Arch::OWN {
        foreign(&mut build, arch)?;
    }
    process::show(&mut build)
}

/// Makes a cargo command build for a processor that is not this machine's.
pub(crate) fn foreign(cargo: &mut Command, arch: Arch) -> Result<()> {
    setup::ensure(&[Part::Foreign])?;
    cargo.args(["--target", arch.target()]);
    cargo.env(of_target(arch, "LINKER"), arch.cross_compiler());
    Ok(())
}

/// The variable by which cargo is told something of one target.
pub(crate) fn of_target(arch: Arch, what: &str) -> String {
    let name = arch.target().replace('-', "_").to_uppercase();
    format!("CARGO_TARGET_{name}_{what}")
}
