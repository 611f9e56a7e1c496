//! The command line.

mod daemon;
mod evidence;
mod policy;

use crate::control::SOCKET;
use crate::ids::{HoldId, SessionId};
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

pub(crate) use daemon::pair;
pub use daemon::{Bell, Central, Daemon, Kubernetes, Otlp};
pub use evidence::{Evidence, EvidenceExport, EvidenceShow, EvidenceVerify};
pub use policy::{Check, Compile, Diff, Explain, Graph, New, Policy, Reading, Simulate, Test};

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
    Daemon(Box<Daemon>),
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
    /// Show the processes of sessions, as trees
    Ps(Ps),
    /// Show the TCP connections of sessions: whose they are, where to, and how much went through them
    Conns(Conns),
    /// Show the newest events
    Events(Events),
    /// Explain a denial: an event, or the last of a process
    ///
    /// Exit code 0: explained; 1: there is none, or no daemon answers.
    Why(Why),
    /// Show the questions that sessions ask people: actions that wait for a yes
    Holds(Holds),
    /// Say yes to a question: the action goes on
    ///
    /// Exit code 0: answered; 1: there is no such open question, or no daemon answers.
    Approve(Approve),
    /// Say no to a question: the action is denied
    ///
    /// Exit code 0: answered; 1: there is no such open question, or no daemon answers.
    Deny(Deny),
    /// End a session: deny it everything, cut its connections, kill it, and prove that nothing of it
    /// is left
    ///
    /// Exit code 0: nothing of it runs any more; 1: something does, or there is no such session.
    Revoke(Revoke),
    /// Say what can be enforced on this kernel, by trying
    ///
    /// Exit code 0: everything this version does; 1: degraded; 2: nothing.
    Doctor {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write, check, understand, try and compare policies; needs no kernel and no daemon
    ///
    /// Exit code 0: fine; 1: there is something to read: a warning, a failed case, a difference, an
    /// action that is not allowed; 2: a file, a policy or an option is wrong.
    #[command(subcommand)]
    Policy(Policy),
    /// Ask the central controller, and order through it
    ///
    /// Exit code 0: done, and for what is waited for: at every node; 1: not, or not everywhere.
    Ctl(crate::ctl::Ctl),
    /// Verify, export and read the record of what happened on this node; needs no daemon
    #[command(subcommand)]
    Evidence(Evidence),
    /// Take everything Interlock put into the kernel out again
    ///
    /// Sessions that still run are then held to nothing.
    Uninstall(Uninstall),
    /// Print what completes this command's words in a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages, for whoever packages this
    #[command(hide = true)]
    Manual {
        /// Where to
        folder: PathBuf,
    },
    /// What the daemon runs to prove that enforcement is real
    #[command(hide = true)]
    Canary,
    /// What the daemon has at hand for when it is gone
    #[command(hide = true)]
    Deputy(Deputy),
}

/// Options of `deputy`.
#[derive(Debug, Args)]
pub struct Deputy {
    /// The daemon's socket
    #[arg(long)]
    pub socket: PathBuf,
    /// What the daemon wrote where its place is taken
    #[arg(long)]
    pub mark: String,
}

/// Options of `events`.
#[derive(Debug, Args)]
pub struct Events {
    /// Go on with what comes
    #[arg(long, short)]
    pub follow: bool,
    /// Only what happened in this last time, such as 30s, 10m, 2h or 1d
    #[arg(long, value_name = "TIME", value_parser = crate::show::events::parse_span)]
    pub since: Option<std::time::Duration>,
    /// Only this agent's
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// Only what had this verdict: deny, audit, kill or hold
    #[arg(long, value_name = "VERDICT")]
    pub verdict: Option<String>,
    /// How to ask.
    #[command(flatten)]
    pub ask: Ask,
}

/// Options of `why`.
#[derive(Debug, Args)]
pub struct Why {
    /// A process's id, or an event's number after an `e`, such as e57
    #[arg(value_name = "PID|EVENT")]
    pub what: crate::show::why::What,
    /// How to ask.
    #[command(flatten)]
    pub ask: Ask,
}

/// Options of `ps`.
#[derive(Debug, Args)]
pub struct Ps {
    /// Only this session's
    pub session: Option<SessionId>,
    /// How to ask.
    #[command(flatten)]
    pub ask: Ask,
}

/// Options of `conns`.
#[derive(Debug, Args)]
pub struct Conns {
    /// Only this session's
    pub session: Option<SessionId>,
    /// How to ask.
    #[command(flatten)]
    pub ask: Ask,
}

/// Options of `holds`.
#[derive(Debug, Args)]
pub struct Holds {
    /// Go on with what comes
    #[arg(long, short)]
    pub follow: bool,
    /// How to ask.
    #[command(flatten)]
    pub ask: Ask,
}

/// Options of `approve`.
#[derive(Debug, Args)]
pub struct Approve {
    /// The question
    pub hold: HoldId,
    /// Good for one action, also where the policy would let it be good for more
    #[arg(long)]
    pub once: bool,
    /// Good for this time, such as 30s, 10m, 2h or 1d; never longer than the policy says
    #[arg(long = "for", value_name = "TIME", value_parser = crate::show::events::parse_span)]
    pub lasts: Option<std::time::Duration>,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub because: Option<String>,
    /// How to ask.
    #[command(flatten)]
    pub ask: Ask,
}

/// Options of `deny`.
#[derive(Debug, Args)]
pub struct Deny {
    /// The question
    pub hold: HoldId,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub because: Option<String>,
    /// How to ask.
    #[command(flatten)]
    pub ask: Ask,
}

/// Options of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The policy file [default: the policy that the daemon has loaded for the agent, which it
    /// follows when it changes]
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Where profiles lie that the policy extends; may be repeated [default: the policy's own
    /// folder and `profiles` in it]
    #[arg(long, value_name = "FILE|DIR", requires = "policy")]
    pub profiles: Vec<PathBuf>,
    /// The agent, as the policy names it
    #[arg(long, value_name = "NAME")]
    pub agent: String,
    /// The user to run as, by name or number [default: the one who calls]
    #[arg(long, value_name = "U")]
    pub user: Option<String>,
    /// The task that it is for [default: the grant's]
    #[arg(long, value_name = "NAME")]
    pub task: Option<String>,
    /// The grant to start with, as the controller issued it; `-` for standard input
    #[arg(long, value_name = "FILE|-")]
    pub grant: Option<PathBuf>,
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

/// Options of `revoke`.
#[derive(Debug, Args)]
pub struct Revoke {
    /// The session, as `interlock sessions` shows it
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub session: Option<SessionId>,
    /// Every session of this host: all are denied everything before the first is killed
    #[arg(long)]
    pub all: bool,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// How to ask.
    #[command(flatten)]
    pub ask: Ask,
}

/// Options of `uninstall`.
#[derive(Debug, Args)]
pub struct Uninstall {
    /// The socket on which no daemon may answer any more
    #[arg(long, default_value = SOCKET)]
    pub socket: PathBuf,
}
