//! The words of `interlock policy`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What to do with policies.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Write a commented starter, from a few answers or from flags
    New(New),
    /// Say what is wrong, what is perhaps not meant, and what this version does not enforce
    ///
    /// Exit code 0: nothing; 1: warnings; 2: a policy that cannot be used, or a file that cannot be
    /// read.
    Check(Check),
    /// Say in words what a policy means, or why an action has its verdict
    ///
    /// Exit code 0 without `--action`, and where the action is allowed; 1: it is not.
    Explain(Explain),
    /// Run the cases that lie beside policies
    ///
    /// Exit code 0: all passed; 1: some failed; 2: there are none, or a file is wrong.
    Test(Test),
    /// Say what of recorded events a policy would not have allowed
    ///
    /// Exit code 0: it would have allowed all; 1: not all, or not all could be tried.
    Simulate(Simulate),
    /// Say what becomes allowed and what becomes denied, each with an action that shows it
    ///
    /// Exit code 0: the same; 1: different.
    Diff(Diff),
    /// Draw the chain
    Graph(Graph),
    /// Compile into the tables that the kernel programs look up, and the digest that names them
    Compile(Compile),
    /// Print the JSON Schema of policies, for editors
    Schema {
        /// Print JSON, as is done anyway
        #[arg(long)]
        json: bool,
        /// Print the resource definitions for the API server of Kubernetes: policies, profiles, nodes' reports
        #[arg(long)]
        crd: bool,
    },
}

/// Options of all that reads policies.
#[derive(Debug, Args)]
pub struct Reading {
    /// Where profiles lie that policies extend; may be repeated [default: the policy's own folder
    /// and `profiles` in it]
    #[arg(long, value_name = "FILE|DIR")]
    pub profiles: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `policy new`.
#[derive(Debug, Args)]
pub struct New {
    /// The agent
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The person or team that answers for it
    #[arg(long)]
    pub owner: Option<String>,
    /// How to reach the owner
    #[arg(long)]
    pub contact: Option<String>,
    /// What the agent is for, in a sentence
    #[arg(long)]
    pub purpose: Option<String>,
    /// An address or network with a port that it may connect to; may be repeated
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub connect: Vec<String>,
    /// A program that it may run; may be repeated
    #[arg(long, value_name = "PATH")]
    pub program: Vec<String>,
    /// The folder that it may read and write
    #[arg(long, value_name = "DIR")]
    pub workspace: Option<String>,
    /// The file to write, which must not exist yet [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `policy check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Policies, or folders of them
    #[arg(required = true, value_name = "FILE|DIR")]
    pub paths: Vec<PathBuf>,
    /// Take what this version does not enforce for an error
    #[arg(long)]
    pub enforceable: bool,
    /// What else there is.
    #[command(flatten)]
    pub reading: Reading,
}

/// Options of `policy explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// The policy
    pub file: PathBuf,
    /// The agent, where the file has several
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// What is attempted, such as "connect 192.0.2.7:443" or "exec /usr/bin/git push"
    #[arg(long)]
    pub action: Option<String>,
    /// What the session did before, in order; may be repeated
    #[arg(long, value_name = "ACTION", requires = "action")]
    pub after: Vec<String>,
    /// The id of a rule, or step:NAME, whose approval was given; may be repeated
    #[arg(long, value_name = "ID", requires = "action")]
    pub approved: Vec<String>,
    /// A fact that holds, or step:NAME for a step performed; may be repeated
    #[arg(long, value_name = "FACT", requires = "action")]
    pub fact: Vec<String>,
    /// The time, such as 2026-03-02T10:00:00Z [default: now]
    #[arg(long, value_name = "TIME", requires = "action")]
    pub at: Option<String>,
    /// The tool inside which it is attempted, and what was done before too
    #[arg(long, value_name = "NAME", requires = "action")]
    pub tool: Option<String>,
    /// For exec: the session can write the program
    #[arg(long, requires = "action")]
    pub writable: bool,
    /// For exec: the program's digest, as policies write it
    #[arg(long, value_name = "sha256:HEX", requires = "action")]
    pub digest: Option<String>,
    /// What else there is.
    #[command(flatten)]
    pub reading: Reading,
}

/// Options of `policy test`.
#[derive(Debug, Args)]
pub struct Test {
    /// Folders or files of policies and their cases
    #[arg(required = true, value_name = "FILE|DIR")]
    pub paths: Vec<PathBuf>,
    /// Write the results as JUnit XML too
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Take a rule that no case reached for a failure
    #[arg(long)]
    pub cover_all: bool,
    /// What else there is.
    #[command(flatten)]
    pub reading: Reading,
}

/// Options of `policy simulate`.
#[derive(Debug, Args)]
pub struct Simulate {
    /// The policy
    pub file: PathBuf,
    /// The events, one JSON object a line: those that the daemon prints, or {"action": "...",
    /// "time": ..., "session": ..., "tool": ..., "bytes": ..., "writable": ..., "digest": ...}; `-`
    /// for standard input. A line has at most 65536 bytes
    #[arg(long, value_name = "FILE")]
    pub events: PathBuf,
    /// The agent, where the file has several
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// What else there is.
    #[command(flatten)]
    pub reading: Reading,
}

/// Options of `policy diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// The policies as they are
    pub old: PathBuf,
    /// The policies as they would be
    pub new: PathBuf,
    /// What else there is.
    #[command(flatten)]
    pub reading: Reading,
}

/// Options of `policy graph`.
#[derive(Debug, Args)]
pub struct Graph {
    /// The policy
    pub file: PathBuf,
    /// The agent, where the file has several
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// Print DOT, for Graphviz
    #[arg(long, conflicts_with = "json")]
    pub dot: bool,
    /// What else there is.
    #[command(flatten)]
    pub reading: Reading,
}

/// Options of `policy compile`.
#[derive(Debug, Args)]
pub struct Compile {
    /// The policy
    pub file: PathBuf,
    /// The agent, where the file has several [default: all]
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// What else there is.
    #[command(flatten)]
    pub reading: Reading,
}
