//! What is said on the socket.

use crate::central::ControllerInfo;
use crate::events::journal::{Filter, Selection};
use crate::holds::HoldInfo;
use crate::holds::answer::{Answer, Answered};
use crate::ids::SessionId;
use crate::kernel::loader::Mode;
use crate::kubernetes::KubernetesInfo;
use crate::otlp::OtlpInfo;
use agent_evidence::record::Container;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The longest line either side accepts. A policy of the largest size and the profiles that it is made
/// with fit, escaped.
pub const MAX_LINE: usize = 8 * 1024 * 1024;

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Request {
    /// Is enforcement in force, and what has it done?
    Status,
    /// Which sessions are there?
    Sessions,
    /// Make room for a session, under a policy.
    Start(Start),
    /// Make room for a session of an agent, under the policy that the daemon has loaded for it.
    StartLoaded(String),
    /// End a session's permission and kill it.
    Revoke(Revoke),
    /// Which events were there?
    Events(Filter),
    /// Which processes do sessions have?
    Processes,
    /// Which connections do sessions have?
    Connections,
    /// Which questions are open?
    Holds,
    /// A person's answer to one.
    Answer(Answer),
    /// End the permission of every session at once, and begin to kill them.
    RevokeAll {
        /// Why, in the words of who orders it.
        reason: Option<String>,
    },
    /// Make room for a session that says more of itself.
    StartAs(StartAs),
}

/// A session to be started for a task, or with a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartAs {
    /// The agent.
    pub agent: String,
    /// Its policy; none for the one that the daemon has loaded.
    pub start: Option<Start>,
    /// The task.
    pub task: Option<String>,
    /// The grant's text.
    pub grant: Option<String>,
}

/// A session to be ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Revoke {
    /// The session.
    pub session: SessionId,
    /// Why, in the words of who orders it.
    pub reason: Option<String>,
}

/// A session to be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Start {
    /// The agent, which must be in the policy.
    pub agent: String,
    /// The policy's file name, for events that point into it.
    pub file: String,
    /// The policy.
    pub policy: String,
    /// The profiles that it is made with.
    #[serde(default)]
    pub profiles: Vec<ProfileText>,
}

/// A file of profiles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProfileText {
    /// Its name, for events that point into it.
    pub file: String,
    /// What it says.
    pub text: String,
}

/// What the daemon answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Response {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Sessions`].
    Sessions(Vec<SessionInfo>),
    /// To [`Request::Start`]: the session waits for its first process.
    Started(Started),
    /// To [`Request::StartLoaded`]: the same.
    StartedLoaded(StartedLoaded),
    /// To [`Request::Revoke`].
    Revoked(Revoked),
    /// To [`Request::Events`].
    Events(Selection),
    /// To [`Request::Processes`].
    Processes(Vec<ProcessInfo>),
    /// To [`Request::Connections`].
    Connections(Vec<ConnectionInfo>),
    /// To [`Request::Holds`].
    Holds(Vec<HoldInfo>),
    /// To [`Request::Answer`].
    Answered(Answered),
    /// To [`Request::RevokeAll`]: nothing is allowed to these any more. [`Request::Revoke`] waits for
    /// the end of each.
    Revoking(Vec<SessionId>),
    /// To anything: no, and why.
    Error(String),
}

/// The end of a session's permission, and the proof that nothing of it runs any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Revoked {
    /// The session.
    pub session: SessionId,
    /// Its agent.
    pub agent: String,
    /// What ended the permission.
    pub cause: String,
    /// Why, in the words of who ordered it.
    pub reason: Option<String>,
    /// Microseconds from the order until everything was denied; nothing where it was the kernel
    /// that ended the permission.
    pub denied_after_us: Option<u64>,
    /// When the permission ended, by the wall clock.
    pub revoked_at: Option<String>,
    /// When a task that was found was last allowed an action; nothing where none ever was.
    pub last_action: Option<String>,
    /// Microseconds from the end of the permission until the first action was denied because of it,
    /// or the first packet dropped; nothing where nothing was attempted.
    pub first_denial_after_us: Option<u64>,
    /// Connections that were destroyed; their peers were told.
    pub cut: usize,
    /// Microseconds from the order until those that were found first had been destroyed.
    pub cut_after_us: Option<u64>,
    /// Sockets that are still there. Nothing leaves them and nothing comes to them.
    pub not_cut: Vec<NotCut>,
    /// Microseconds from the order until every process that was found had been killed: none
    /// executes anything from then on.
    pub killed_after_us: Option<u64>,
    /// Microseconds from the order until the kernel had ended them all; nothing where something is
    /// still there.
    pub empty_after_us: Option<u64>,
    /// Processes that the daemon killed. Those that the kernel killed at a fork or exec are not
    /// counted.
    pub killed: usize,
    /// How often the daemon looked for what is left. The last two times there must be nothing.
    pub looks: u32,
    /// What still runs, and why.
    pub left: Vec<Left>,
}

impl Revoked {
    /// Whether there was nothing to end any more.
    pub fn did_nothing(&self) -> bool {
        self.killed == 0 && self.cut == 0 && self.left.is_empty() && self.not_cut.is_empty()
    }

    /// Whether nothing of the session is left.
    pub fn is_over(&self) -> bool {
        self.empty_after_us.is_some() && self.left.is_empty()
    }
}

/// A process of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProcessInfo {
    /// The session.
    pub session: SessionId,
    /// Its agent; nothing if the daemon does not know the session.
    pub agent: Option<String>,
    /// The process.
    pub pid: u32,
    /// Its parent.
    pub parent: u32,
    /// When it started, by the wall clock.
    pub started: String,
    /// The same in nanoseconds since boot, which tells it from whoever gets its pid next.
    pub start_ns: u64,
    /// Its short name.
    pub comm: String,
    /// How many threads it has.
    pub threads: u32,
}

/// A socket of a session that could not be destroyed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NotCut {
    /// Its own address; nothing where sockets could not be listed.
    pub local: Option<SocketAddr>,
    /// Its peer's.
    pub remote: Option<SocketAddr>,
    /// Why.
    pub why: String,
}

/// A connection of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConnectionInfo {
    /// The session.
    pub session: SessionId,
    /// Its agent; nothing if the daemon does not know the session any more.
    pub agent: Option<String>,
    /// The tool inside which it was made, if it was in one.
    pub tool: Option<String>,
    /// The step of the chain whose rule allowed it.
    pub step: Option<String>,
    /// Its own address.
    pub local: SocketAddr,
    /// Its peer's, or where it was meant to go.
    pub remote: SocketAddr,
    /// Whether it goes to the daemon instead: a lookup, or what is relayed.
    pub diverted: bool,
    /// How far it has got, as `ss` calls it.
    pub state: String,
    /// Bytes that were sent, without those sent again.
    pub sent: u64,
    /// Bytes that were received.
    pub received: u64,
    /// Whether a process holds it: a process's end leaves what it had sent to the kernel.
    pub held: bool,
}

/// A process that was killed and still is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Left {
    /// Its id.
    pub pid: u32,
    /// Its short name.
    pub comm: String,
    /// What it waits for, as far as the kernel tells.
    pub why: String,
}

/// The daemon's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// How this kernel lets us enforce.
    pub enforcement: Mode,
    /// The kernel programs.
    pub programs: ProgramsInfo,
    /// Programs that are not attached: the kernel lacks their hooks, or somebody took them away.
    pub missing: Vec<String>,
    /// Sessions in force.
    pub sessions: usize,
    /// Actions allowed to sessions since the programs were loaded.
    pub allowed: u64,
    /// Actions denied to sessions.
    pub denied: u64,
    /// Of these, denied because something could not be read or told apart.
    pub doubts: u64,
    /// Forks of sessions that failed because the child could not be labelled.
    pub labels_refused: u64,
    /// Events that found the ring full.
    pub events_lost: u64,
    /// How often the kernel skipped a program that it had interrupted, by the program.
    pub skipped: BTreeMap<String, u64>,
    /// Times the kernel looked whether a session has a capability, and it has not.
    pub probes: u64,
    /// Hooks that this kernel does not have, and since when kernels have them.
    pub hooks_missing: Vec<String>,
    /// The policies that the daemon has loaded, by agent.
    pub policies: Vec<PolicyInfo>,
    /// Files and folders of which what is there now was not taken.
    pub rejected: Vec<RejectedInfo>,
    /// Times a session should have begun and none lay ready, since the programs were loaded.
    pub not_ready: u64,
    /// The ways by which sessions are recognised.
    pub ways: Vec<WayInfo>,
    /// How the way to the controller is, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<Box<ControllerInfo>>,
    /// How the way to the Kubernetes API is, if it is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<Box<KubernetesInfo>>,
    /// The record of what happens.
    pub evidence: EvidenceInfo,
    /// How the way to the collector is, if there is one. Nothing depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otlp: Option<Box<OtlpInfo>>,
    /// Why enforcement is not proven at the moment, if it is not: then no session is started.
    pub not_proven: Option<String>,
}

impl Status {
    /// Whether everything is as it should be. What was not taken does not count: what was loaded
    /// before holds on.
    pub fn is_whole(&self) -> bool {
        let holds = |way: &WayInfo| way.error.is_none() && way.ready > 0;
        self.enforcement == Mode::Full
            && self.programs.reason().is_none()
            && self.not_proven.is_none()
            && self.ways.iter().all(holds)
            && self.evidence.degraded.is_none()
            && self
                .controller
                .iter()
                .all(|it| it.forked.is_none() && it.unsaved.is_none())
    }
}

/// Which kernel programs are in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProgramsInfo {
    /// Their build, by the digest of their object file.
    pub build: String,
    /// How they came to be in force, when this daemon began.
    #[serde(flatten)]
    pub how: ProgramsHow,
}

/// How the kernel programs came to be in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "how")]
pub enum ProgramsHow {
    /// There were none.
    Loaded,
    /// They were there already.
    Adopted,
    /// They took the place of another build's, under running sessions.
    Swapped,
    /// They are another build's, because the daemon's own are no good here.
    Kept {
        /// Why.
        reason: String,
    },
}

impl ProgramsHow {
    /// The word for it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Adopted => "adopted",
            Self::Swapped => "swapped",
            Self::Kept { .. } => "kept",
        }
    }
}

impl ProgramsInfo {
    /// Why they are not those of the daemon, if they are not.
    pub fn reason(&self) -> Option<&str> {
        match &self.how {
            ProgramsHow::Kept { reason } => Some(reason),
            _ => None,
        }
    }
}

/// The record of what happens on this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EvidenceInfo {
    /// Where it lies.
    pub folder: PathBuf,
    /// The newest record that is on the disk.
    pub recorded: u64,
    /// Its hash.
    pub hash: String,
    /// What waits to be written.
    pub waiting: usize,
    /// What found no room, since the daemon began.
    pub lost: u64,
    /// What was wrong with it when the daemon began, in words.
    pub repaired: Vec<String>,
    /// Why not everything is recorded; enforcement does not depend on it.
    pub degraded: Option<String>,
}

/// A way by which sessions are recognised, or should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WayInfo {
    /// The agent.
    pub agent: String,
    /// The cgroup, unit or executable.
    pub recognised: String,
    /// Sessions that lie ready.
    pub ready: usize,
    /// Times that none lay ready, since the daemon began.
    pub not_ready: u64,
    /// When that was last told.
    pub last_not_ready: Option<String>,
    /// Why nobody is recognised by it.
    pub error: Option<String>,
}

/// A policy that the daemon has loaded: sessions of the agent that begin now are held to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyInfo {
    /// The agent.
    pub agent: String,
    /// The file.
    pub file: String,
    /// The policy's digest.
    pub policy: String,
    /// Which version of the agent's policy it is, counted from 1 since the daemon began.
    pub generation: u64,
    /// Since when it is in force.
    pub since: String,
    /// What becomes of running sessions when it comes: `keep` or `move`.
    pub on_change: String,
    /// Running sessions that are held to it.
    pub sessions: usize,
    /// Running sessions of the agent that are held to an earlier version.
    pub sessions_before: usize,
    /// Whether the file holds a newer version, which was rejected.
    pub rejected: bool,
}

/// What a file or folder holds and was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RejectedInfo {
    /// The file or folder.
    pub file: String,
    /// Since when.
    pub since: String,
    /// Why, as `interlock policy check` says it.
    pub error: String,
}

/// One session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionInfo {
    /// Its number.
    pub session: SessionId,
    /// Its agent.
    pub agent: String,
    /// The policy's file.
    pub file: String,
    /// The policy's digest.
    pub policy: String,
    /// The facts that hold; steps performed are `step:NAME`.
    pub facts: Vec<String>,
    /// Tasks that carry its label.
    pub tasks: u64,
    /// How it was recognised, if not by `interlock run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recognised: Option<String>,
    /// The container that it is, or is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
    /// The session into whose container somebody came, whose session it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entered: Option<SessionId>,
    /// Where it can read its own denials.
    pub denials: PathBuf,
}

impl SessionInfo {
    /// The container, and whose it is where somebody came into it: a line each.
    pub fn whereabouts(&self) -> impl Iterator<Item = String> {
        let container = self.container.as_ref().map(Container::to_string);
        let entered = self
            .entered
            .map(|entered| format!("entered from outside, where session {entered} is"));
        container.into_iter().chain(entered)
    }
}

/// What a process needs to become the session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Started {
    /// The session's number.
    pub session: SessionId,
    /// The slot of its state.
    pub slot: u32,
    /// Where it can read its own denials.
    pub denials: PathBuf,
}

/// A session that waits for its first process, and what it was started with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartedLoaded {
    /// What the process needs.
    pub started: Started,
    /// The policy that the daemon has loaded, and its profiles.
    pub start: Start,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_with_an_unknown_field_is_refused() {
        let line = r#"{"start":{"agent":"a","file":"f","policy":"p","mode":"audit"}}"#;
        let error = serde_json::from_str::<Request>(line).unwrap_err();
        assert!(
            error.to_string().contains("unknown field `mode`"),
            "{error}"
        );
    }
}
