//! `interlock doctor`: what can be enforced on this kernel, found by trying.
//!
//! Every check is a [`check::Check`]; [`host`] looks at the machine, [`programs`] tries each kernel
//! program and map with one that changes nothing, [`verdict`] draws the conclusion, [`text`] prints.

mod check;
mod host;
mod programs;
mod text;
mod verdict;

use crate::kernel::btf::Btf;
use std::process::ExitCode;

pub use self::check::{Check, Group, State, Weight};
pub use self::verdict::{Outcome, Report};

/// Checks everything, prints what was found, and answers 0 when all that this version does can be
/// enforced, 1 when less, 2 when nothing.
pub fn run(json: bool) -> ExitCode {
    let report = examine();
    if json {
        match serde_json::to_string_pretty(&report) {
            Ok(text) => println!("{text}"),
            Err(error) => eprintln!("cannot print the report: {error}"),
        }
    } else {
        print!("{}", text::of(&report));
    }
    ExitCode::from(report.exit_code)
}

fn examine() -> Report {
    let is_root = nix::unistd::geteuid().is_root();
    let btf = Btf::of_running_kernel();
    let mut checks = vec![host::root(is_root), host::capabilities()];
    checks.extend(host::memory_limit(is_root));
    checks.push(host::fields(&btf));
    checks.extend(host::lockdown());
    checks.push(host::hold(&btf));
    let lsm_list = host::lsm_list();
    checks.push(lsm_list.check());
    checks.push(host::cgroup());
    checks.extend(host::cgroup_v1());
    checks.push(host::bpffs());
    checks.push(host::namespaces());
    if is_root {
        checks.push(host::sockets());
        checks.extend(programs::maps());
        let programs = programs::programs(btf.as_ref().ok(), &lsm_list);
        let privileges = programs::privileges(&programs);
        checks.extend(programs);
        checks.extend(privileges);
    }
    Report::of(host::release(), checks)
}
