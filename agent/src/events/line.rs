//! The lines that the daemon prints, one JSON object each.

use crate::control::protocol::Revoked;
use crate::holds::answer::Answered;
use crate::ids::{HoldId, SessionId};
use agent_common::session::ALLOWED;
use agent_evidence::record::Container;
use serde::Serialize;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Line {
    /// An action was not allowed.
    Denial(Box<Denial>),
    /// A session has its first process.
    Started(Session),
    /// A session should have begun, and none lay ready.
    NotReady(NotReady),
    /// A container runs in no session, because nobody was there to ask whose it is.
    Released(Released),
    /// A question to a person is closed.
    Answered(Closed),
    /// A session's permission has ended.
    Revoked(Revocation),
    /// A session's last process is gone.
    Ended(Box<Ended>),
    /// A session reached another, or was denied it; told once for each of the two.
    Handoff(Box<Handoff>),
    /// Enforcement is not proven any more, or is again.
    Canary(Canary),
    /// Events found the ring full since the last such line.
    Loss(Loss),
    /// A record of the ring that makes no sense: a fault of ours, said aloud.
    Garbled(Garbled),
    /// A session was to begin with a grant.
    Grant(GrantUse),
}

/// An action that was not allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Denial {
    /// When, by the wall clock.
    pub time: String,
    /// The same in nanoseconds since boot.
    #[serde(skip)]
    pub boot_ns: u64,
    /// The session.
    pub session: SessionId,
    /// Its agent; nothing if the daemon no longer knows the session.
    pub agent: Option<String>,
    /// The thread that acted.
    pub tid: u32,
    /// Its user.
    pub uid: u32,
    /// Who acted.
    #[serde(flatten)]
    pub process: Process,
    /// Its ancestors, nearest first.
    pub ancestry: Vec<Process>,
    /// What it attempted.
    pub action: &'static str,
    /// On what.
    pub object: Object,
    /// The facts that held, and hold on: what is not allowed changes none.
    pub facts: Vec<String>,
    /// The rule that decided, if one did.
    pub rule: Option<Rule>,
    /// Why.
    pub reason: &'static str,
    /// What the policy's author says to whoever is denied by the rule.
    pub because: Option<String>,
    /// The last step of the chain that the session has performed, if any.
    pub step: Option<String>,
    /// What the rule requires and did not hold, where that is the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// What became of it.
    pub verdict: &'static str,
    /// The policy's digest.
    pub policy: Option<String>,
    /// The question that it asks, or asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldId>,
    /// The tool that the actor is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
}

/// What became of a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Closed {
    /// When, by the wall clock.
    pub time: String,
    /// The answer.
    #[serde(flatten)]
    pub answered: Answered,
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its program, if it could still be learned.
    pub exe: Option<String>,
    /// Its short name.
    pub comm: String,
    /// The words with which the program was started, its own name first: those that the kernel had
    /// for it, or for who is in no session those that it shows. At most 256 bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Whether there were more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub args_cut: bool,
    /// When it started, by the wall clock.
    pub started: String,
}

/// What an action was attempted on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", untagged)]
pub enum Object {
    /// A place on a network.
    #[serde(rename_all = "camelCase")]
    Endpoint {
        /// The address. IPv4 in its own form, however it was spelled.
        address: String,
        /// The port.
        port: u16,
        /// `tcp`, `udp`, or the protocol's number.
        protocol: String,
        /// The name that led the session there, where one did.
        #[serde(skip_serializing_if = "Option::is_none")]
        host: Option<String>,
    },
    /// A file.
    #[serde(rename_all = "camelCase")]
    File {
        /// Its path as this host sees it; otherwise what the kernel calls it.
        path: String,
        /// The words of a program that was denied by them, its own name first; at most 256 bytes.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        arguments: Vec<String>,
    },
    /// The name of a host, that was looked up.
    #[serde(rename_all = "camelCase")]
    Host {
        /// The name.
        #[serde(rename = "host")]
        name: String,
        /// The type of records that were asked for.
        records: String,
    },
    /// A Unix socket.
    #[serde(rename_all = "camelCase")]
    Unix {
        /// The path by which it was bound, or `@` and its name without one.
        unix: String,
    },
    /// Another session.
    #[serde(rename_all = "camelCase")]
    Session {
        /// Its agent, if the daemon still knows it.
        handoff: Option<String>,
        /// Its number.
        session: SessionId,
    },
    /// An address of another family.
    #[serde(rename_all = "camelCase")]
    Family {
        /// The family's number.
        family: u8,
        /// Its name, if it is one that people know.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'static str>,
    },
    /// What needs a privilege.
    #[serde(rename_all = "camelCase")]
    Privilege {
        /// The privilege.
        privilege: &'static str,
        /// The process that was to be reached, if it was one.
        #[serde(skip_serializing_if = "Option::is_none")]
        target: Option<u32>,
        /// The kind of socket that was to be made, if it was one: family, type and protocol.
        #[serde(skip_serializing_if = "Option::is_none")]
        socket: Option<String>,
    },
}

/// A rule, as its author finds it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
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

/// One side of a handoff.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Handoff {
    /// When, by the wall clock.
    pub time: String,
    /// The session on this side.
    pub session: SessionId,
    /// Its agent; nothing if the daemon no longer knows the session.
    pub agent: Option<String>,
    /// `to` for the session that acted, `from` for the one that it reached.
    pub direction: &'static str,
    /// The session on the other side.
    pub peer: SessionId,
    /// Its agent.
    pub peer_agent: Option<String>,
    /// Who acted, in the session that did.
    #[serde(flatten)]
    pub process: Process,
    /// What it attempted.
    pub action: &'static str,
    /// What became of it.
    pub verdict: &'static str,
    /// Why, where it was not allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
}

/// A session's beginning or end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// When, by the wall clock.
    pub time: String,
    /// The session.
    pub session: SessionId,
    /// Its agent.
    pub agent: String,
    /// The policy's digest.
    pub policy: String,
    /// How it was recognised, if not by `interlock run`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recognised: Option<String>,
    /// The container that it is, or is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
    /// The session into whose container somebody came, whose session it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entered: Option<SessionId>,
    /// It had begun before this daemon.
    #[serde(skip)]
    pub adopted: bool,
    /// Its first process, and who made that.
    #[serde(skip)]
    pub first: Option<Box<[Process; 2]>>,
}

/// A session that should have begun and could not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NotReady {
    /// When, by the wall clock.
    pub time: String,
    /// The agent whose session it would have been, if the way is known.
    pub agent: Option<String>,
    /// How it was recognised.
    pub recognised: Option<String>,
    /// Who would have begun it: was not executed, or is denied everything.
    #[serde(flatten)]
    pub process: Process,
}

/// A container that runs in no session, because nobody was there to ask whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Released {
    /// When, by the wall clock.
    pub time: String,
    /// Its first process.
    #[serde(flatten)]
    pub process: Process,
}

/// The end of a session's permission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Revocation {
    /// When it was over, by the wall clock.
    pub time: String,
    /// What became of it.
    #[serde(flatten)]
    pub revoked: Revoked,
}

/// A session's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// The session.
    #[serde(flatten)]
    pub session: Session,
    /// `completed`, `failed`, `revoked`, or `ended` where the policy calls it neither.
    pub outcome: &'static str,
    /// What ended the permission.
    pub cause: Option<&'static str>,
    /// How the first process ended, if that was learned.
    pub exit: Option<Exit>,
    /// What it was allowed since that was asked last.
    #[serde(skip)]
    pub allowed: Option<Allowed>,
}

/// What a session was allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// When it was asked, by the wall clock.
    pub time: String,
    /// The session.
    pub session: SessionId,
    /// Its agent.
    pub agent: String,
    /// The policy's digest.
    pub policy: String,
    /// How many actions since it was asked last and since the session began, by
    /// [`Allowed`](agent_common::session::Allowed).
    pub counts: [(u64, u64); ALLOWED],
    /// Of these, by rule and place.
    pub used: Vec<Used>,
    /// Seconds since it was asked last.
    pub seconds: u64,
}

/// What a session was allowed by one rule, to one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// What the actions were about.
    pub about: &'static str,
    /// The digest of the policy, if it is still known.
    pub policy: Option<String>,
    /// The rule, if one allowed it.
    pub rule: Option<Rule>,
    /// Where to, on a network; which privilege.
    pub object: Option<Object>,
    /// How often since it was asked last.
    pub count: u64,
    /// How often since the session began.
    pub total: u64,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Exit {
    /// With an exit code.
    Code(u32),
    /// By a signal.
    Signal(u32),
}

impl Exit {
    /// From what `wait` tells.
    pub fn from_status(status: u32) -> Self {
        match status & 0x7f {
            0 => Self::Code(status >> 8 & 0xff),
            signal => Self::Signal(signal),
        }
    }
}

/// What became of a grant with which a session was to begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantUse {
    /// When, by the wall clock.
    pub time: String,
    /// The agent.
    pub agent: String,
    /// The task.
    pub task: Option<String>,
    /// The grant, if it could be believed.
    pub grant: Option<String>,
    /// `accepted` or `refused`.
    pub outcome: String,
    /// Why it was refused.
    pub reason: Option<String>,
}

/// What the canary has shown, where that is news.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Canary {
    /// When, by the wall clock.
    pub time: String,
    /// Whether it was denied all that it should be, and that was told.
    pub proven: bool,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Lost events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Loss {
    /// When it was noticed, by the wall clock.
    pub time: String,
    /// The session whose events they were; nothing for what is no session's.
    pub session: Option<SessionId>,
    /// Its agent.
    pub agent: Option<String>,
    /// How many were lost since the last such line.
    pub events: u64,
    /// How many were lost since the session began.
    pub total: u64,
}

/// A record that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Garbled {
    /// When, by the wall clock.
    pub time: String,
    /// What is wrong with it.
    pub error: String,
}
