//! The words of `interlock evidence`.

use crate::ids::SessionId;
use clap::{Args, Subcommand};
use std::path::PathBuf;

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
