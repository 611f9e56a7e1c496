//! `cargo xtask package`: what is installed. One static build of both programs is in the Debian packages and in the
//! container image, with the list of all that it is made of.

mod image;
mod sbom;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use crate::arch::Arch;
use crate::build::{Profile, cargo, foreign, guest_programs, of_target};
use crate::setup::{self, Part};
use crate::{process, workspace};

/// What is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PackageVerb {
    /// Two Debian packages, in target/debian/
    Deb,
    /// A container image from scratch, as an OCI archive in target/image/
    Image,
    /// What both programs are made of, as CycloneDX, in target/package/
    Sbom,
}

/// Both programs, each with the package that it is built from.
const PROGRAMS: [(&str, &str); 2] = [
    ("interlock", "agent"),
    ("interlock-controller", "controller"),
];

/// Makes it.
pub(crate) fn run(verb: PackageVerb, arch: Arch) -> Result<()> {
    fs::create_dir_all(folder())?;
    for (program, package) in PROGRAMS {
        let file = folder().join(format!("{program}.cdx.json"));
        fs::write(&file, sbom::of(package, program, arch)?)?;
        println!("{}", workspace::shown(&file));
    }
    match verb {
        PackageVerb::Sbom => Ok(()),
        PackageVerb::Deb => {
            setup::ensure(&[Part::Build, Part::Deb])?;
            build(arch)?;
            manuals(arch)?;
            debian(arch)
        }
        PackageVerb::Image => {
            setup::ensure(&[Part::Build, Part::Image])?;
            build(arch)?;
            image::make(arch)
        }
    }
}

/// Where the Debian packages lie.
pub(crate) fn debian_folder() -> PathBuf {
    workspace::target().join("debian")
}

/// Where parts of packages lie.
fn folder() -> PathBuf {
    workspace::target().join("package")
}

/// A program of the static build.
fn built(program: &str, arch: Arch) -> PathBuf {
    workspace::target()
        .join(arch.target())
        .join("release")
        .join(program)
}

/// Without a dynamic loader, and without the paths of this machine in it: the same sources give the same bytes.
fn build(arch: Arch) -> Result<()> {
    bpf_toolchain::cargo_home().context("neither CARGO_HOME nor HOME is set")?;
    let unnamed = bpf_toolchain::without_folders(workspace::root());
    let flags = format!("-Ctarget-feature=+crt-static {unnamed}");
    let mut build = cargo("build");
    build.args(["--release", "--locked"]);
    if arch == Arch::OWN {
        build.args(["--target", arch.target()]);
    } else {
        foreign(&mut build, arch)?;
    }
    for (_, package) in PROGRAMS {
        build.args(["--package", package]);
    }
    build.env(of_target(arch, "RUSTFLAGS"), flags);
    process::show(&mut build)
}

/// What the programs say of themselves: manual pages and completions. Those for another processor do not run
/// here, but this machine's own say the same.
fn manuals(arch: Arch) -> Result<()> {
    if arch != Arch::OWN {
        guest_programs(Profile::Dev, Arch::OWN)?;
    }
    let (man, completions) = (folder().join("man"), folder().join("completions"));
    for folder in [&man, &completions] {
        // Of commands that there are no more, nothing is left.
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
    }
    for (program, _) in PROGRAMS {
        let runs = if arch == Arch::OWN {
            built(program, arch)
        } else {
            Profile::Dev.program(Arch::OWN, program)
        };
        process::run(Command::new(&runs).arg("manual").arg(&man))?;
        let files = [
            ("bash", program.to_owned()),
            ("zsh", format!("_{program}")),
            ("fish", format!("{program}.fish")),
        ];
        for (shell, file) in files {
            let words = process::text(Command::new(&runs).args(["completions", shell]))?;
            fs::write(completions.join(file), words)?;
        }
    }
    Ok(())
}

fn debian(arch: Arch) -> Result<()> {
    for (_, package) in PROGRAMS {
        let mut deb = cargo("deb");
        deb.args([
            "--no-build",
            "--no-strip",
            "--locked",
            "--target",
            arch.target(),
        ]);
        deb.args(["--package", package, "--output"]);
        // With a slash at its end it is a folder.
        deb.arg(debian_folder().join(""));
        process::show(&mut deb)?;
    }
    Ok(())
}
