//! `interlock policy`: the policy library at the command line, one file a verb.
//!
//! All reading and writing of files is here, none of it in the library. A verb answers with a text
//! and an exit code, which are printed in one place; a mistake in what it was given is a [`Fault`],
//! which the edge prints and answers with exit code 2.

mod answer;
mod check;
mod compile;
mod diff;
mod explain;
mod fault;
mod graph;
mod new;
mod read;
mod schema;
mod simulate;
mod test;
mod walk;

pub use fault::Fault;
pub(crate) use read::{start, starts};

use crate::cli::Policy;
use std::path::PathBuf;
use std::process::ExitCode;

/// Does what a verb says and prints its answer.
pub fn run(verb: &Policy) -> Result<ExitCode, Fault> {
    let answer = match verb {
        Policy::New(options) => new::run(options),
        Policy::Check(options) => check::run(options),
        Policy::Explain(options) => explain::run(options),
        Policy::Test(options) => test::run(options),
        Policy::Simulate(options) => simulate::run(options),
        Policy::Diff(options) => diff::run(options),
        Policy::Graph(options) => graph::run(options),
        Policy::Compile(options) => compile::run(options),
        Policy::Schema { json: _, crd } => schema::run(*crd),
    }?;
    answer.print()
}

/// The paths that were named, for a message about all of them.
fn named(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    names.join(", ")
}
