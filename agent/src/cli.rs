//! The command line.

use crate::control::SOCKET;
use crate::ids::{HoldId, SessionId};
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
    /// Policies to load, and to follow when they change; may be repeated. Of a folder, the files that
    /// end in .yaml [default: /etc/interlock/policies]
    #[arg(long, value_name = "FILE|DIR")]
    pub policies: Vec<PathBuf>,
    /// Where to keep what the next daemon needs to know; must not outlive the boot
    #[arg(long, value_name = "DIR", default_value = FOLDER)]
    pub records: PathBuf,
    /// Where sessions can read their own denials; must not outlive the boot
    #[arg(long, value_name = "DIR", default_value = crate::sessions::denials::FOLDER)]
    pub denials: PathBuf,
    /// Where to keep the newest events, at most 16 MiB
    #[arg(long, value_name = "DIR", default_value = crate::events::journal::FOLDER)]
    pub events: PathBuf,
    /// How to reach the controller.
    #[command(flatten)]
    pub central: Central,
    /// Where to keep the tamper-evident record; its key and how far it went lie beside the folder
    #[arg(long, value_name = "DIR", default_value = crate::evidence::FOLDER)]
    pub evidence: PathBuf,
    /// MiB of it that are kept; the oldest go
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(8..))]
    pub evidence_limit: u32,
    /// How long it is kept, such as 90d [default: as long as there is room]
    #[arg(long, value_name = "TIME", value_parser = crate::show::events::parse_span)]
    pub evidence_age: Option<std::time::Duration>,
    /// What this node is called in the record [default: as its certificate for the controller, or the host]
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// The file that names the servers by which names are looked up for sessions, followed when it changes
    #[arg(long, value_name = "FILE", default_value = "/etc/resolv.conf")]
    pub resolv_conf: PathBuf,
    /// Who is told of questions.
    #[command(flatten)]
    pub bell: Bell,
}

/// Whom a node tells of questions to people.
#[derive(Debug, Args)]
pub struct Bell {
    /// Where to post each question to people and each answer, as JSON [default: nowhere]
    #[arg(long, value_name = "URL", requires = "bell_key")]
    pub bell: Option<String>,
    /// The file with the key that they are signed with: HMAC-SHA256 over the time, a dot and the body
    #[arg(long, value_name = "FILE", requires = "bell")]
    pub bell_key: Option<PathBuf>,
    /// The authorities that the certificate there may be of
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/ssl/certs/ca-certificates.crt"
    )]
    pub bell_ca: PathBuf,
}

/// How a node reaches the controller.
#[derive(Debug, Args)]
pub struct Central {
    /// The controller that sees and steers this node [default: none]
    #[arg(long, value_name = "HOST:PORT", env = "INTERLOCK_CONTROLLER")]
    pub controller: Option<String>,
    /// Where ca.pem, node.pem and node.key lie; they may be replaced at any time
    #[arg(long, value_name = "DIR", default_value = crate::central::CERTS)]
    pub certs: PathBuf,
    /// Where to keep what the controller said; must outlive the boot
    #[arg(long, value_name = "DIR", default_value = crate::central::FOLDER)]
    pub central: PathBuf,
    /// What operators select this node by; may be repeated
    #[arg(long, value_name = "NAME=VALUE", requires = "controller", value_parser = pair)]
    pub label: Vec<(String, String)>,
    /// Start no session without a grant of the controller
    #[arg(long, requires = "controller")]
    pub require_grant: bool,
}

pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let pair = pair.ok_or_else(|| "expected NAME=VALUE".to_owned())?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}

/// What to do with the record.
#[derive(Debug, Subcommand)]
pub enum Evidence {
    /// Say whether anything was changed or is missing, and where
    ///
    /// Exit code 0: nothing; 1: something; 2: it cannot be read.
    Verify(EvidenceVerify),
    /// Print records as JSON lines, oldest first
    Export(EvidenceExport),
    /// Tell the story of a session
    ///
    /// Exit code 0: told; 1: no record speaks of it; 2: it cannot be read.
    Show(EvidenceShow),
}

/// Options of `evidence verify`.
#[derive(Debug, Args)]
pub struct EvidenceVerify {
    /// The record
    #[arg(long, value_name = "DIR", default_value = crate::evidence::FOLDER)]
    pub folder: PathBuf,
    /// The node's public key [default: the file that ends in .pub, beside the folder]
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// A record that somebody remembers, such as the controller; may be repeated
    #[arg(long, value_name = "SEQUENCE:HASH")]
    pub known: Vec<agent_evidence::mark::Mark>,
    /// Hold it against what the controller has, or a file of what `interlock ctl checkpoints --json`
    /// once printed
    #[arg(long, value_name = "HOST:PORT|FILE")]
    pub against: Option<String>,
    /// Where the node keeps whom it obeys: whose key is the controller's
    #[arg(long, value_name = "DIR", default_value = crate::central::FOLDER)]
    pub central: PathBuf,
    /// Where the certificates lie with which the controller is asked
    #[arg(long, value_name = "DIR", env = "INTERLOCK_CERTS", default_value = crate::central::CERTS)]
    pub certs: PathBuf,
    /// Whose certificate to use
    #[arg(
        long = "as",
        value_name = "NAME",
        env = "INTERLOCK_OPERATOR",
        default_value = "operator"
    )]
    pub name: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `evidence export`.
#[derive(Debug, Args)]
pub struct EvidenceExport {
    /// The record
    #[arg(long, value_name = "DIR", default_value = crate::evidence::FOLDER)]
    pub folder: PathBuf,
    /// In the shape of the Open Cybersecurity Schema Framework, where it has a class for a record
    #[arg(long)]
    pub ocsf: bool,
    /// Only what happened in this last time, such as 30s, 10m, 2h or 1d
    #[arg(long, value_name = "TIME", value_parser = crate::show::events::parse_span)]
    pub since: Option<std::time::Duration>,
    /// Only this session's
    #[arg(long)]
    pub session: Option<SessionId>,
    /// Print JSON, as is done anyway
    #[arg(long)]
    pub json: bool,
}

/// Options of `evidence show`.
#[derive(Debug, Args)]
pub struct EvidenceShow {
    /// The session
    pub session: SessionId,
    /// The record
    #[arg(long, value_name = "DIR", default_value = crate::evidence::FOLDER)]
    pub folder: PathBuf,
    /// Print its records as JSON lines
    #[arg(long)]
    pub json: bool,
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
