//! What somebody else remembers of this node's record: the controller, or a file that it once gave.

use super::verify::ReadError;
use crate::cli::EvidenceVerify;
use agent_evidence::chain::Hash;
use agent_evidence::checkpoint::Countersigned;
use agent_evidence::mark::Mark;
use agent_proto::client::{Client, ClientError};
use agent_proto::files::Files;
use agent_proto::wire::CheckpointsRequest;
use agent_proto::wire::operator_client::OperatorClient;
use serde::Serialize;
use std::path::Path;
use std::{fs, io};
use tonic::Status;

/// Why nobody can be asked.
#[derive(Debug, thiserror::Error)]
pub enum AgainstError {
    /// The controller cannot be reached.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It says no.
    #[error("the controller says: {}", .0.message())]
    Status(Status),
    /// Nothing can be run here.
    #[error("cannot begin")]
    Runtime(#[from] io::Error),
    /// The file is none.
    #[error(
        "{path}: line {line}: expected a checkpoint, as `interlock ctl checkpoints --json` prints"
    )]
    Line {
        /// The file.
        path: String,
        /// Its line.
        line: usize,
    },
    /// What the controller said makes no sense.
    #[error("the controller's checkpoints make no sense")]
    Answer,
}

/// What it says stands in ours: it is no cause beside it.
impl From<Status> for AgainstError {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

/// What is remembered.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Against {
    /// By whom.
    pub(super) by: String,
    /// The newest record that is known there.
    pub(super) newest: u64,
    /// Checkpoints with the controller's signature.
    pub(super) checkpoints: usize,
    /// The keys that have signed them.
    pub(super) keys: Vec<String>,
    /// What is wrong whatever the folder holds.
    pub(super) wrong: Vec<String>,
    #[serde(skip)]
    pub(super) marks: Vec<Mark>,
}

/// Asks whom the options name, about the record of a key.
pub(super) fn ask(options: &EvidenceVerify, key: &[u8]) -> Result<Option<Against>, ReadError> {
    let Some(by) = &options.against else {
        return Ok(None);
    };
    let mut against = if Path::new(by).is_file() {
        from_file(by)?
    } else {
        from_controller(by, options, key)?
    };
    against.by.clone_from(by);
    let newest = against.marks.iter().map(|mark| mark.sequence).max();
    against.newest = newest.unwrap_or(0);
    Ok(Some(against))
}

fn from_file(by: &str) -> Result<Against, ReadError> {
    let text = fs::read_to_string(by).map_err(|source| ReadError::Read {
        path: by.into(),
        source,
    })?;
    let mut against = Against::default();
    for (at, line) in text.lines().enumerate() {
        let read = serde_json::from_str(line).map_err(|_| AgainstError::Line {
            path: by.to_owned(),
            line: at + 1,
        })?;
        against.take(read);
    }
    if against.marks.is_empty() {
        against.wrong.push("there is no checkpoint in it".into());
    }
    Ok(against)
}

fn from_controller(
    by: &str,
    options: &EvidenceVerify,
    key: &[u8],
) -> Result<Against, AgainstError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let chains = runtime.block_on(async {
        let files = Files::in_folder(&options.certs, &options.name);
        let channel = Client::new(by, files)?.connect().await?;
        let asked = CheckpointsRequest {
            node: String::new(),
            key: key.to_vec(),
        };
        let answer = OperatorClient::new(channel).checkpoints(asked).await?;
        Ok::<_, AgainstError>(answer.into_inner().chains)
    })?;
    let mut against = Against::default();
    for chain in &chains {
        for text in &chain.countersigned {
            against.take(serde_json::from_slice(text).map_err(|_| AgainstError::Answer)?);
        }
        let stored = chain.stored.clone().unwrap_or_default();
        let hash: [u8; 32] = stored.hash.try_into().map_err(|_| AgainstError::Answer)?;
        if stored.sequence > 0 {
            against.marks.push(Mark {
                sequence: stored.sequence,
                hash: Hash(hash),
            });
        }
    }
    if chains.is_empty() {
        against.wrong.push(format!(
            "no node has ever reported a record under the key {}",
            hex::encode(key)
        ));
    }
    Ok(against)
}

impl Against {
    fn take(&mut self, countersigned: Countersigned) {
        let of = &countersigned.checkpoint;
        if !countersigned.is_sound() {
            let sequence = of.sequence;
            let wrong = format!("the checkpoint over record {sequence} has a false signature");
            return self.wrong.push(wrong);
        }
        self.checkpoints += 1;
        self.marks.push(Mark {
            sequence: of.sequence,
            hash: of.hash,
        });
        if !self.keys.contains(&countersigned.key) {
            self.keys.push(countersigned.key);
        }
    }

    /// For people.
    pub(super) fn told(&self) -> Vec<String> {
        let Self {
            by,
            newest,
            checkpoints,
            keys,
            ..
        } = self;
        let mut lines = vec![format!("held against {by}: up to record {newest}")];
        if *checkpoints > 0 {
            let keys = keys.join(" and ");
            lines.push(format!(
                "checkpoints of the controller: {checkpoints}, signed by {keys}"
            ));
        }
        lines.extend(
            self.wrong
                .iter()
                .map(|wrong| format!("WRONG  {by}: {wrong}")),
        );
        lines
    }
}
