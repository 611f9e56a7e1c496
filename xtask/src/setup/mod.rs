//! `cargo xtask setup`: finds or installs what the other verbs need. They ask for their own part
//! themselves, so that nobody has to know this verb.

mod needs;

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::arch::Arch;
use crate::kernels::{self, Kernel};
use crate::series::Series;
use crate::{os, process, root_image};
use needs::Need;

/// A part of the project's tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// What compiles the kernel programs
    Build,
    /// QEMU, the kernels and a root file system
    Vm,
    /// What `lint` runs beside the compiler's own tools
    Lint,
    /// What `fuzz` builds its targets with
    Fuzz,
    /// What `package deb` makes packages with
    Deb,
    /// What `package image` makes the image with
    Image,
    /// What builds for another processor than this machine's, and emulates it
    Foreign,
}

/// What `cargo xtask setup` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only these parts; build and vm when nothing is said, for the others are fetched by the verbs that need them
    #[arg(value_enum)]
    parts: Vec<Part>,
}

/// Sets up, with a line for everything that is found or done.
pub(crate) fn run(options: &Options) -> Result<()> {
    let parts = if options.parts.is_empty() {
        &[Part::Build, Part::Vm]
    } else {
        options.parts.as_slice()
    };
    for &part in parts {
        for need in needs::of(part) {
            if need.is_met() {
                println!("found    {} ({})", need.name, need.reason);
            }
        }
        provide(part)?;
        if part == Part::Vm {
            test_bench()?;
        }
    }
    println!("all is set up");
    Ok(())
}

/// Installs what a part lacks; silent and quick when it lacks nothing.
pub(crate) fn ensure(parts: &[Part]) -> Result<()> {
    parts.iter().try_for_each(|&part| provide(part))
}

fn provide(part: Part) -> Result<()> {
    let missing = needs::of(part)
        .iter()
        .filter(|need| !need.is_met())
        .collect::<Vec<_>>();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages = missing
        .iter()
        .flat_map(|need| need.packages.iter().copied())
        .collect::<Vec<_>>();
    if let Some(need) = missing.iter().find(|need| need.is_for_a_person()) {
        bail!(
            "{} is missing ({}). Please run {}",
            need.name,
            need.reason,
            need.elsewhere
        );
    }
    packages.dedup();
    packages.retain(|package| !is_installed(package));
    if os::debian_suite().is_none() {
        bail!("{}", foreign(&missing));
    }
    if !packages.is_empty() {
        if !process::is_root() {
            bail!("{}", for_root(&missing, &packages));
        }
        for need in &missing {
            println!("missing  {} ({})", need.name, need.reason);
        }
        install(&packages)?;
    }
    for need in missing {
        if let Some(build) = need.build {
            println!("building {} ({}): {}", need.name, need.reason, build.line());
            process::show(&mut build.command()).with_context(|| {
                format!("cannot build {}, without which: {}", need.name, need.reason)
            })?;
        }
        if !need.is_met() {
            bail!(
                "{} is still missing ({}), though {} {} installed",
                need.name,
                need.reason,
                need.packages.join(", "),
                if need.packages.len() == 1 {
                    "is"
                } else {
                    "are"
                }
            );
        }
    }
    Ok(())
}

fn install(packages: &[&str]) -> Result<()> {
    println!("installing packages: {}", packages.join(" "));
    let apt = || {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").arg("--quiet");
        apt
    };
    process::run(apt().arg("update")).context("cannot read the package lists")?;
    process::run(
        apt()
            .args(["--yes", "--no-install-recommends", "install"])
            .args(packages),
    )?;
    Ok(())
}

fn test_bench() -> Result<()> {
    let there = root_image::cached(Arch::OWN).is_some();
    root_image::get(Arch::OWN)?;
    println!(
        "{} the root file system of the test machines",
        if there { "found   " } else { "made    " }
    );
    for series in Series::MATRIX {
        let there = Kernel::cached(series).is_some();
        let kernel = match Kernel::cached(series) {
            Some(kernel) => kernel,
            None => kernels::fetch(series)?,
        };
        println!(
            "{} kernel {series} ({}, for the test machines)",
            if there { "found   " } else { "fetched " },
            kernel.release
        );
    }
    Ok(())
}

fn is_installed(package: &str) -> bool {
    process::text(Command::new("dpkg-query").args(["--show", "--showformat=${Status}", package]))
        .is_ok_and(|status| status == "install ok installed")
}

fn for_root(missing: &[&Need], packages: &[&str]) -> String {
    let mut text = String::from("this user may not install packages. Missing:\n");
    for need in missing {
        text.push_str(&format!("  {} ({})\n", need.name, need.reason));
    }
    text.push_str(&format!(
        "Please run:\n  sudo apt-get update\n  sudo apt-get install {}\n\
         and then `cargo xtask setup` again, which does the rest without root",
        packages.join(" ")
    ));
    text
}

fn foreign(missing: &[&Need]) -> String {
    let mut text = format!(
        "{} is not Debian, so nothing can be installed here by itself. Missing:\n",
        os::name()
    );
    for need in missing {
        text.push_str(&format!(
            "  {} ({}): {}\n",
            need.name, need.reason, need.elsewhere
        ));
    }
    text.push_str("Please install these and run this again");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_missing_thing_is_named() {
        let build = needs::of(Part::Build);
        let missing = build.iter().collect::<Vec<_>>();
        for text in [foreign(&missing), for_root(&missing, &["rustc-web", "gcc"])] {
            for need in &missing {
                assert!(text.contains(need.name), "{text}");
            }
        }
        assert!(for_root(&missing, &["rustc-web", "gcc"]).contains("install rustc-web gcc\n"));
    }
}
