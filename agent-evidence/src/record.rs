//! What is recorded. A record is one JSON object, canonical by construction: no white space, fields
//! in the order of the types here, what is absent left out, no floats and no maps.

pub use crate::kinds::{
    Approval, Container, Daemon, Decision, Gap, Handoff, Lifecycle, Loss, Object, PolicyChange,
    Process, Retired, Rule, Summary,
};
use serde::{Deserialize, Serialize, Serializer};

/// Bytes that hardly any record needs more of.
const USUAL: usize = 2048;

/// A record.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Its number on this node, counted from 1. It goes on over boots.
    pub sequence: u64,
    /// The node.
    pub node: String,
    /// The boot, by the kernel's own id.
    pub boot: String,
    /// When it happened, in nanoseconds since boot, suspended time included.
    pub boot_ns: u64,
    /// The same by the wall clock of that moment, in RFC 3339.
    pub time: String,
    /// The session concerned; nothing where it is no session's.
    #[serde(default)]
    pub session: Option<Session>,
    /// What happened.
    pub what: What,
}

/// A record as it is stored.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stored<'a> {
    sequence: u64,
    node: &'a str,
    boot: &'a str,
    boot_ns: u64,
    time: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a Session>,
    what: &'a What,
}

/// A record that has no number and no place yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// When, in nanoseconds since boot.
    pub boot_ns: u64,
    /// When, by the wall clock, in RFC 3339.
    pub time: String,
    /// The session concerned.
    pub session: Option<Session>,
    /// What happened.
    pub what: What,
}

/// The session that a record is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Session {
    /// Its number, as sixteen hexadecimal digits.
    pub id: String,
    /// Its agent; nothing if nobody knew the session any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Who answers for the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The grant it runs under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// The task that the grant is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// The digest of the policy by which it was judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The last step of the chain that it had performed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum What {
    /// An action was judged, and not plainly allowed.
    Decision(Box<Decision>),
    /// A session began, lost its permission, or ended.
    Lifecycle(Box<Lifecycle>),
    /// An action crossed from one session into another, or tried to.
    Handoff(Box<Handoff>),
    /// A policy came, went, or was not taken.
    Policy(PolicyChange),
    /// A person said yes or no.
    Approval(Approval),
    /// Something happened that no record tells.
    Loss(Loss),
    /// Records are missing here, or what lay here could not be believed.
    Gap(Gap),
    /// Actions that were allowed, counted.
    Summary(Summary),
    /// The oldest segments were taken away, as the limits ask.
    Retired(Retired),
    /// The daemon itself began, or ended, or could not prove enforcement.
    Daemon(Daemon),
}

impl What {
    /// Whether it may wait a moment before it is on the disk, and is the first to go where there is
    /// no room. All else is synced before it counts as recorded.
    pub fn is_ordinary(&self) -> bool {
        matches!(self, Self::Summary(summary) if !summary.last)
    }

    /// Its kind in one word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Decision(_) => "decision",
            Self::Lifecycle(_) => "lifecycle",
            Self::Handoff(_) => "handoff",
            Self::Policy(_) => "policy",
            Self::Approval(_) => "approval",
            Self::Loss(_) => "loss",
            Self::Gap(_) => "gap",
            Self::Summary(_) => "summary",
            Self::Retired(_) => "retired",
            Self::Daemon(_) => "daemon",
        }
    }
}

impl Draft {
    /// Something that happens now.
    pub fn now(session: Option<Session>, what: What) -> Self {
        Self {
            boot_ns: boot_ns(),
            time: jiff::Timestamp::now().to_string(),
            session,
            what,
        }
    }

    /// The bytes of the record that it becomes, with a number and a place.
    pub fn encode(&self, sequence: u64, node: &str, boot: &str) -> Vec<u8> {
        Stored {
            sequence,
            node,
            boot,
            boot_ns: self.boot_ns,
            time: &self.time,
            session: self.session.as_ref(),
            what: &self.what,
        }
        .encode()
    }
}

impl Stored<'_> {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(USUAL);
        serde_json::to_writer(&mut bytes, self).expect("a record has no maps, and text is text");
        bytes
    }
}

/// Nanoseconds since boot, suspended time included.
fn boot_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.stored().serialize(serializer)
    }
}

impl Record {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        self.stored().encode()
    }

    fn stored(&self) -> Stored<'_> {
        Stored {
            sequence: self.sequence,
            node: &self.node,
            boot: &self.boot,
            boot_ns: self.boot_ns,
            time: &self.time,
            session: self.session.as_ref(),
            what: &self.what,
        }
    }

    /// From its bytes. What a later version added is passed over.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_what_it_always_was() {
        let draft = Draft {
            boot_ns: 5,
            time: "2026-03-02T10:00:00Z".into(),
            session: Some(Session {
                id: "0000000000000007".into(),
                agent: Some("ci".into()),
                ..Session::default()
            }),
            what: What::Decision(Box::new(Decision {
                verdict: "deny".into(),
                reason: "no rule".into(),
                action: "connect".into(),
                object: Object::Endpoint {
                    address: "192.0.2.7".into(),
                    port: 443,
                    protocol: "tcp".into(),
                    host: None,
                },
                facts_before: vec!["step:fetch".into()],
                facts_after: vec!["step:fetch".into()],
                process: Process {
                    pid: 9,
                    comm: "curl\u{202e}\"".into(),
                    started: "2026-03-02T09:59:59Z".into(),
                    ..Process::default()
                },
                tid: 9,
                uid: 1000,
                ..Decision::default()
            })),
        };
        let text = String::from_utf8(draft.encode(3, "n1", "b-1")).unwrap();
        assert_eq!(
            text,
            r#"{"sequence":3,"node":"n1","boot":"b-1","bootNs":5,"time":"2026-03-02T10:00:00Z","session":{"id":"0000000000000007","agent":"ci"},"what":{"decision":{"verdict":"deny","reason":"no rule","action":"connect","object":{"kind":"endpoint","address":"192.0.2.7","port":443,"protocol":"tcp"},"factsBefore":["step:fetch"],"factsAfter":["step:fetch"],"process":{"pid":9,"comm":"curl"#.to_owned()
                + "\u{202e}"
                + r#"\"","started":"2026-03-02T09:59:59Z"},"tid":9,"uid":1000,"ancestry":[]}}}"#
        );
        let record = Record::decode(text.as_bytes()).unwrap();
        assert_eq!((record.sequence, &record.what), (3, &draft.what));
        assert_eq!(record.encode(), text.as_bytes());
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over() {
        let text = r#"{"sequence":1,"node":"n","boot":"b","bootNs":0,"time":"t","new":1,"what":{"loss":{"place":"ring","events":2,"more":[]}}}"#;
        let record = Record::decode(text.as_bytes()).unwrap();
        assert_eq!(record.what.word(), "loss");
    }
}
