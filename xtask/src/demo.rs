//! `cargo xtask demo`: the product at work, in a machine, told step by step.

use anyhow::Result;

use crate::kernels::Kernel;
use crate::machine::Machine;
use crate::series::Series;
use crate::{build, vm};

/// Builds, boots, shows, and returns the demonstration's exit code.
pub(crate) fn run(series: Series) -> Result<u8> {
    eprintln!("building (a few minutes the first time)");
    build::guest_programs(build::Profile::Dev, series.arch())?;
    let kernel = Kernel::get(series)?;
    eprintln!(
        "booting Linux {} in a virtual machine; nothing is loaded into this machine's kernel\n",
        kernel.release
    );
    let command = ["interlock-tests", "demo"].map(str::to_owned);
    Machine::new(&kernel).run(&command, vm::show)
}
