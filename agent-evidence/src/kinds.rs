//! What each kind of record says.

use serde::{Deserialize, Serialize};

/// An action that was judged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Decision {
    /// What became of it.
    pub verdict: String,
    /// Why.
    pub reason: String,
    /// What was attempted.
    pub action: String,
    /// On what.
    pub object: Object,
    /// The facts that held.
    pub facts_before: Vec<String>,
    /// The facts that hold afterwards.
    pub facts_after: Vec<String>,
    /// What the rule requires and did not hold, where that is the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// The rule that decided, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Rule>,
    /// What the policy's author says to whoever is denied by the rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// Who acted.
    pub process: Process,
    /// The thread that acted.
    pub tid: u32,
    /// Its user.
    pub uid: u32,
    /// Its ancestors, nearest first.
    pub ancestry: Vec<Process>,
    /// The question to a person that it asks, or asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
}

/// What an action was attempted on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Object {
    /// A place on a network.
    Endpoint {
        /// The address.
        address: String,
        /// The port.
        port: u16,
        /// `tcp`, `udp`, or the protocol's number.
        protocol: String,
        /// The name that led there, where one did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
    },
    /// A file.
    File {
        /// Its path.
        path: String,
        /// The words of a program that was judged by them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        arguments: Vec<String>,
    },
    /// The name of a host, that was looked up.
    Host {
        /// The name.
        name: String,
        /// The type of records that were asked for.
        records: String,
    },
    /// A Unix socket.
    Unix {
        /// The path by which it was bound, or `@` and its name without one.
        name: String,
    },
    /// Another session.
    Session {
        /// Its number.
        session: String,
        /// Its agent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<String>,
    },
    /// An address of another family.
    Family {
        /// The family's number.
        family: u8,
        /// Its name, if people know it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// What needs a privilege.
    Privilege {
        /// The privilege.
        privilege: String,
        /// The process that was to be reached.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target: Option<u32>,
        /// The kind of socket that was to be made.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        socket: Option<String>,
    },
    /// Nothing, or something that this version does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

/// A rule, as its author finds it again. The policy's digest stands with the session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// The policy's file.
    pub file: String,
    /// The line.
    pub line: u32,
    /// The rule itself.
    pub text: String,
    /// Its name, where its author gave it one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The step that its actions perform.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
}

/// A process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its program, if it could be learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// Its short name.
    pub comm: String,
    /// The words with which the program was started.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// When it started, by the wall clock.
    pub started: String,
}

/// A step in a session's life.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Lifecycle {
    /// `started`, `adopted` by a daemon that came later, `revoked`, `ended`, `notReady`, or `released`: a container that
    /// runs in no session, because nobody was there to ask whose it is.
    pub step: String,
    /// How the session was recognised, if not by `interlock run`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recognised: Option<String>,
    /// `completed`, `failed`, `revoked`, or `ended`; of an end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// What ended the permission.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Why, in the words of who ordered it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The first process's exit code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u32>,
    /// The signal that ended the first process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_signal: Option<u32>,
    /// How many processes were killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub killed: Option<u64>,
    /// How many could not be killed within the time for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<u64>,
    /// Microseconds from the order until everything was denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denied_after_us: Option<u64>,
    /// Microseconds from the order until nothing of it was left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty_after_us: Option<u64>,
    /// Who began, or would have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// Who started that process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<Process>,
    /// The container that the session is, or is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
    /// The session into whose container somebody came from outside, whose session it is: a person, or a probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entered: Option<String>,
}

/// A container, as its runtime told of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// Its number.
    pub id: String,
    /// Its name; where it is of a pod, its name there.
    pub name: String,
    /// Its image, as whoever made it named it.
    pub image: String,
    /// What the runtime knows that image by.
    pub digests: Vec<String>,
    /// The pod's name; empty, as what follows, where it is of none.
    pub pod: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's number.
    pub uid: String,
}

impl std::fmt::Display for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let id = self.id.get(..12).unwrap_or(&self.id);
        write!(f, "container {} ({id})", self.name)?;
        if !self.pod.is_empty() {
            write!(f, " of pod {}/{}", self.namespace, self.pod)?;
        }
        write!(f, ", image {}", self.image)
    }
}

/// One side of an action that crossed from one session into another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Handoff {
    /// `to` for the session that acted, `from` for the one that it reached.
    pub direction: String,
    /// The session on the other side.
    pub peer: String,
    /// Its agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_agent: Option<String>,
    /// What was attempted.
    pub action: String,
    /// What became of it.
    pub verdict: String,
    /// Why, where it was not allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who acted.
    pub process: Process,
}

/// A policy came, went, or was not taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyChange {
    /// `loaded`, `gone` or `rejected`.
    pub change: String,
    /// The file.
    pub file: String,
    /// Its agent, where it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The policy's digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Which version of the agent's policy it is, since the daemon began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Running sessions that were moved to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moved: Option<u64>,
    /// Why it was not taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A person said yes or no.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Approval {
    /// What was asked for: a rule's id or `step:NAME`.
    pub of: String,
    /// `given`, `refused`, `expired`, or `withdrawn` where the session was over first.
    pub answer: String,
    /// Who answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why, in their words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The question, as the decision has it that asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    /// Whether a yes is good for one action only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub once: bool,
    /// Seconds that a yes is good for; nothing for as long as the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
}

/// Something happened that no record tells.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Loss {
    /// Where it was lost: `ring`, `queue`, `disk` or `garbled`.
    pub place: String,
    /// How many.
    pub events: u64,
    /// Of these, how many were no more than summaries; nothing where nobody can tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ordinary: Option<u64>,
    /// What else is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Records are missing, or what lay there could not be believed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Gap {
    /// The first number that is missing.
    pub first: u64,
    /// The last number that may be missing; less than the first where none is.
    pub last: u64,
    /// What was found: `torn`, `changed`, `truncated`, `rolled back`, `re-sealed`, `unreadable`.
    pub found: String,
    /// The segment.
    pub segment: String,
    /// What exactly, and at which byte.
    pub detail: String,
    /// The file that what could not be believed was put into.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<String>,
}

impl Gap {
    /// Whether records are missing.
    pub fn loses(&self) -> bool {
        self.first <= self.last
    }
}

/// Actions that were allowed, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Summary {
    /// What the actions were about: `network`, `file`, `program` or `privilege`.
    pub about: String,
    /// By which rule. Those without rule and object are of all such actions, the others are parts of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Rule>,
    /// Where to, on a network; which privilege.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<Object>,
    /// How often since the last such record.
    pub allowed: u64,
    /// Seconds that this covers.
    pub seconds: u64,
    /// How often since the session began.
    pub total: u64,
    /// Whether the session is over: what it was allowed in all is told here at the latest.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub last: bool,
}

/// The oldest segments were taken away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retired {
    /// The number of the last record that went.
    pub last: u64,
    /// Its hash.
    pub hash: crate::chain::Hash,
    /// How many segments went.
    pub segments: u64,
    /// Which limit asked for it: `size` or `age`.
    pub limit: String,
}

/// The daemon began or ended, or could not prove enforcement, or could again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Daemon {
    /// `started`, `ended`, `notProven` or `proven`.
    pub step: String,
    /// Its version.
    pub version: String,
    /// How this kernel lets it enforce.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enforcement: Option<String>,
    /// Whether an earlier daemon's enforcement was taken over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adopted: Option<bool>,
    /// The build of the kernel programs that are in force, by the digest of their object file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub programs: Option<String>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
