//! The command line.

use crate::control::SOCKET;
use crate::sessions::records::FOLDER;
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// Holds AI-agent workloads to an approved action chain, inside the Linux kernel.
#[derive(Debug, Parser)]
#[command(name = "interlock", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Put enforcement in force on this host, prove it, and explain what it denies
    ///
    /// Loads the kernel programs, or adopts those that an earlier daemon loaded; makes a process
    /// of its own attempt what it must be denied; then says `ready` on standard error. Events are
    /// printed on standard output, one JSON object a line. SIGTERM ends the daemon and leaves
    /// enforcement in force: `interlock uninstall` takes it out.
    Daemon(Daemon),
    /// Start a command as a session of an agent
    ///
    /// The command and all that descends from it are held to the agent's policy. Its exit code is
    /// ours, and a signal that ends it ends us. Otherwise: 2 the policy or an option is wrong,
    /// 125 Interlock failed, 126 the command cannot be executed, 127 it was not found.
    Run(Run),
    /// Say whether enforcement is in force, and what it has done
    ///
    /// Exit code 0: in force; 1: in force but degraded, or no daemon answers.
    Status(Ask),
    /// List the sessions of this host
    Sessions(Ask),
    /// Say what can be enforced on this kernel, by trying
    ///
    /// Exit code 0: everything this version does; 1: degraded; 2: nothing.
    Doctor {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take everything Interlock put into the kernel out again
    ///
    /// Sessions that still run are then held to nothing.
    Uninstall(Uninstall),
    /// What the daemon runs to prove that enforcement is real
    #[command(hide = true)]
    Canary,
}

/// Options of `daemon`.
#[derive(Debug, Args)]
pub struct Daemon {
    /// The socket to listen on
    #[arg(long, default_value = SOCKET)]
    pub socket: PathBuf,
    /// Where to keep what the next daemon needs to know; must not outlive the boot
    #[arg(long, value_name = "DIR", default_value = FOLDER)]
    pub records: PathBuf,
}

/// Options of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The policy file
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,
    /// The agent, as the policy names it
    #[arg(long, value_name = "NAME")]
    pub agent: String,
    /// The user to run as, by name or number [default: the one who calls]
    #[arg(long, value_name = "U")]
    pub user: Option<String>,
    /// The daemon's socket
    #[arg(long, default_value = SOCKET)]
    pub socket: PathBuf,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// Options of what asks the daemon.
#[derive(Debug, Args)]
pub struct Ask {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The daemon's socket
    #[arg(long, default_value = SOCKET)]
    pub socket: PathBuf,
}

/// Options of `uninstall`.
#[derive(Debug, Args)]
pub struct Uninstall {
    /// The socket on which no daemon may answer any more
    #[arg(long, default_value = SOCKET)]
    pub socket: PathBuf,
}
