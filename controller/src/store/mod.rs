//! What the controller keeps, behind small traits: SQLite here, anything that keeps its promises
//! elsewhere.
//!
//! Every method that changes something has done so for good when it returns.

mod desk;
pub mod sqlite;

use agent_proto::wire::{
    AuditEntry, CheckpointsRequest, CheckpointsResponse, EnrolRequest, EventsRequest,
    EventsResponse, Grant, InventoryRequest, NodeAgent, NodeInfo, NodeOutcome, NodeSession,
    Outcome, Policy, Position, Record, Selector, SignedDirective,
};
pub use desk::{Desk, DeskError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Why something is not kept, or not found.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database says no.
    #[error("the database at {}", path.display())]
    Sqlite {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// It was made by a later version.
    #[error("{}: found a database of version {found}, expected at most {known}", path.display())]
    Newer {
        /// Its file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
    /// Something in it makes no sense.
    #[error("{}: {what} makes no sense", path.display())]
    Garbled {
        /// Its file.
        path: PathBuf,
        /// What.
        what: String,
    },
}

/// The outcome of asking a store.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// What is known of the record of a node that enrols.
#[derive(Debug, Clone, PartialEq)]
pub struct Enrolled {
    /// The chain: one node's, under one key of it.
    pub chain: i64,
    /// How far it is stored.
    pub stored: Position,
    /// Why it is not the chain that is stored.
    pub forked: Option<String>,
    /// The node had another key before.
    pub renewed: bool,
    /// So many records were countersigned, and are not stored any more.
    pub forgotten: u64,
}

/// Records of one chain that follow one another, by number and by hash.
#[derive(Debug)]
pub struct Batch {
    /// The chain.
    pub chain: i64,
    /// What stands before the first.
    pub before: Position,
    /// The records.
    pub records: Vec<Record>,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// How far the chain is stored.
    pub stored: Position,
    /// Why nothing of it was taken.
    pub forked: Option<String>,
    /// What the node has lost.
    pub holes: Holes,
}

/// Numbers that a node has skipped, first and last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holes {
    /// Of records that never came.
    pub lost: Option<(u64, u64)>,
    /// Of records that are stored, and that the node has no more.
    pub forgotten: Option<(u64, u64)>,
}

/// Records as they are read.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// They, oldest first.
    pub events: Vec<EventsResponse>,
    /// Whether there may be more.
    pub more: bool,
}

/// Records of a chain that were removed.
#[derive(Debug, Clone, PartialEq)]
pub struct Cut {
    /// Whose they were.
    pub node: String,
    /// The last of them: what is left follows from it.
    pub last: Position,
    /// How many went.
    pub records: u64,
}

/// A directive that was issued.
#[derive(Debug, Clone, PartialEq)]
pub struct Issued {
    /// Its epoch.
    pub epoch: u64,
    /// What nodes get.
    pub signed: SignedDirective,
    /// Who gets it.
    pub nodes: Selector,
}

/// A policy as it was uploaded.
#[derive(Debug, Clone, PartialEq)]
pub struct Uploaded {
    /// The policy.
    pub policy: Policy,
    /// Who brought it.
    pub by: String,
    /// When.
    pub time_ms: u64,
}

/// What an operator did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// Who.
    pub who: String,
    /// What.
    pub action: String,
    /// On what.
    pub object: String,
    /// What became of it.
    pub outcome: String,
}

/// Nodes and what they say of themselves.
pub trait Nodes {
    /// Notes a node that has come, and says what is known of its record.
    fn enrol(
        &mut self,
        node: &str,
        request: &EnrolRequest,
        now_ms: u64,
    ) -> Result<Option<Enrolled>>;
    /// Notes what there is on a node.
    fn take_inventory(&mut self, node: &str, there: &InventoryRequest, now_ms: u64) -> Result<()>;
    /// Every node. Who is connected is not known here.
    fn nodes(&mut self) -> Result<Vec<NodeInfo>>;
    /// The labels of every node.
    fn labels(&mut self) -> Result<BTreeMap<String, BTreeMap<String, String>>>;
    /// Sessions, by node and agent; empty for all.
    fn sessions(&mut self, node: &str, agent: &str) -> Result<Vec<NodeSession>>;
    /// Agents that have a policy somewhere.
    fn agents(&mut self) -> Result<Vec<NodeAgent>>;
}

/// Records.
pub trait Records {
    /// Keeps batches, each record once; of a batch that does not go on where its chain stops,
    /// nothing.
    fn keep(&mut self, batches: &[Batch], now_ms: u64) -> Result<Vec<Kept>>;
    /// Keeps a checkpoint that was countersigned, or says why not.
    fn keep_checkpoint(
        &mut self,
        chain: i64,
        of: &Position,
        countersigned: &[u8],
    ) -> Result<Option<String>>;
    /// Chains, and the newest checkpoints of each.
    fn checkpoints(&mut self, asked: &CheckpointsRequest) -> Result<CheckpointsResponse>;
    /// Removes some of what arrived before a time and is countersigned, the oldest of each chain.
    fn cut(&mut self, before_ms: u64) -> Result<Vec<Cut>>;
    /// A time before which some arrived, and not too many; nothing where there are none.
    fn oldest(&mut self) -> Result<Option<u64>>;
    /// Bytes that are used, whatever the file takes.
    fn used(&mut self) -> Result<u64>;
    /// The record after which the newest so many begin.
    fn before_newest(&mut self, filter: &EventsRequest, count: usize) -> Result<u64>;
    /// Records after one: a page of them.
    fn events(&mut self, filter: &EventsRequest, after: u64) -> Result<Page>;
}

/// What nodes are told, and what became of it.
pub trait Steering {
    /// Which controller this is.
    fn controller(&mut self) -> Result<String>;
    /// The highest epoch.
    fn epoch(&mut self) -> Result<u64>;
    /// What is issued from now on has a higher epoch than this.
    fn raise_epoch(&mut self, epoch: u64) -> Result<()>;
    /// Issues a directive under the next epoch, which `make` writes into it.
    fn issue(
        &mut self,
        nodes: &Selector,
        make: &mut dyn FnMut(u64) -> SignedDirective,
    ) -> Result<Issued>;
    /// Every directive.
    fn directives(&mut self) -> Result<Vec<Issued>>;
    /// Notes what became of directives at nodes.
    fn note_outcomes(&mut self, outcomes: &[(String, Outcome)], now_ms: u64) -> Result<()>;
    /// What became of a directive, by node.
    fn outcomes(&mut self, epoch: u64) -> Result<Vec<NodeOutcome>>;
    /// What became of all directives at a node.
    fn outcomes_at(&mut self, node: &str) -> Result<BTreeMap<u64, NodeOutcome>>;
    /// Keeps a policy as the agent's next version, or finds the version that says the same.
    fn upload(&mut self, policy: Policy, by: &str, now_ms: u64) -> Result<Uploaded>;
    /// The versions of an agent's policy, or of all.
    fn policies(&mut self, agent: &str) -> Result<Vec<Uploaded>>;
    /// Keeps a grant.
    fn keep_grant(&mut self, grant: &Grant, now_ms: u64) -> Result<()>;
}

/// What operators did.
pub trait Audit {
    /// Writes it down, bound to all that was written before.
    fn audit(&mut self, deed: &Deed, now_ms: u64) -> Result<()>;
    /// The newest entries, oldest first.
    fn audited(&mut self, last: u32) -> Result<Vec<AuditEntry>>;
}

/// All of it.
pub trait Store: Nodes + Records + Steering + Audit + Send {
    /// Another way to the same store, for those who only read.
    fn reader(&self) -> Result<Box<dyn Store>>;
    /// Writes a copy of everything to a file.
    fn back_up(&mut self, to: &Path) -> Result<()>;
}
