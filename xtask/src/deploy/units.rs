//! The units, as systemd reads them.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::folder;
use crate::{process, workspace};

/// Each unit, and how exposed systemd may call it: of ten, less is better.
const UNITS: [(&str, u32); 2] = [
    ("interlock.service", 55),
    ("interlock-controller.service", 15),
];

pub(super) fn check() -> Result<()> {
    if process::find("systemd-analyze").is_none() {
        println!(
            "units        not checked: no systemd-analyze here (Debian: apt-get install systemd)"
        );
        return Ok(());
    }
    let copies = folder().join("units");
    fs::create_dir_all(&copies)?;
    for (unit, exposure) in UNITS {
        let text = fs::read_to_string(workspace::root().join("deploy/systemd").join(unit))
            .with_context(|| format!("cannot read {unit}"))?;
        // Programs and manuals that are not installed here are no fault of the unit.
        let text = text
            .replace(
                "ExecStart=/usr/bin/interlock-controller",
                "ExecStart=/bin/true",
            )
            .replace("ExecStart=/usr/bin/interlock", "ExecStart=/bin/true");
        let copy = copies.join(unit);
        fs::write(&copy, text)?;
        let mut verify = Command::new("systemd-analyze");
        let output = verify.args(["verify", "--man=no"]).arg(&copy).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let of_it: Vec<_> = said.lines().filter(|line| line.contains(unit)).collect();
        ensure!(of_it.is_empty(), "{}", of_it.join("\n"));
        let mut security = Command::new("systemd-analyze");
        security.args(["security", "--offline=true", "--no-pager"]);
        security.arg(format!("--threshold={exposure}")).arg(&copy);
        let said = process::text(&mut security)?;
        let overall = said.lines().last().unwrap_or_default();
        let overall = overall.trim_start_matches(['→', ' ']);
        println!("unit         {overall}");
    }
    Ok(())
}
