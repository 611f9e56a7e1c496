//! A question to a person: all that is needed to say yes or no.

use crate::events::line;
use crate::ids::{HoldId, SessionId};
use crate::kernel::clock::WallClock;
use crate::sessions::Sessions;
use agent_common::event::Denial;
use agent_policy::{ApprovalInfo, Compiled};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is asked, and on whose behalf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Question {
    /// Its number.
    pub hold: HoldId,
    /// The session.
    pub session: SessionId,
    /// The boot of the host.
    pub boot: String,
    /// The digest of its policy.
    pub policy: Option<String>,
    /// The task that it is for.
    pub task: Option<String>,
    /// Its agent.
    pub agent: Option<String>,
    /// Who answers for the agent.
    pub owner: Option<String>,
    /// When it was asked, by the wall clock.
    pub asked: String,
    /// What is to be done.
    pub action: String,
    /// To what, as events have it.
    pub object: Value,
    /// The SHA-256 of a program's file, as it was when it was asked about.
    pub digest: Option<String>,
    /// Whether the process is stopped until the answer. Otherwise the action was denied, and can be
    /// tried again after it.
    pub stopped: bool,
    /// Who asks: the process and its program, as events have them.
    pub process: Value,
    /// The tool that it is in.
    pub tool: Option<String>,
    /// The last step of the chain that was performed.
    pub step: Option<String>,
    /// The facts that hold.
    pub facts: Vec<String>,
    /// The rule that asks for it.
    pub rule: Option<Value>,
    /// What the policy's author says of it.
    pub because: Option<String>,
    /// Who can say yes, in the policy's words.
    pub by: Vec<String>,
    /// How many people must say yes; more than one do it at the controller.
    pub people: u32,
    /// Whether it stays open while the node's controller is away. Otherwise it is denied then.
    #[serde(default)]
    pub waits_alone: bool,
    /// What the policy wants to be looked at first.
    pub show: Vec<String>,
    /// Whether a yes is good for one action only.
    pub once: bool,
    /// Seconds that a yes is good for; nothing for as long as the session.
    pub expires_s: Option<u64>,
    /// What the session did before, the latest last.
    pub recent: Vec<String>,
    /// What becomes of the action without an answer.
    pub on_no_answer: String,
}

/// What is to be said of every question to which nobody answers.
const ON_NO_ANSWER: &str = "denied";

impl Question {
    /// Of a record of the kernel's, and the line that explains it.
    pub fn of(
        denial: &Denial,
        told: &line::Denial,
        sessions: &Sessions,
        recent: Vec<String>,
    ) -> Self {
        let session = sessions.get(denial.header.session);
        let policy = session.map(|session| session.version(denial.policy));
        let approval = policy.and_then(|policy| approval(policy, denial.rule));
        let word = |word: Option<&str>| word.map(str::to_owned);
        let value = |value| serde_json::to_value(value).unwrap_or_default();
        Self {
            hold: HoldId(denial.hold),
            session: told.session,
            boot: boot(),
            policy: policy.map(|policy| policy.digest_hex()),
            task: session.and_then(|session| word(session.task())),
            agent: told.agent.clone(),
            owner: session.map(|session| session.compiled().owner.clone()),
            asked: told.time.clone(),
            action: told.action.to_owned(),
            object: serde_json::to_value(&told.object).unwrap_or_default(),
            digest: None,
            stopped: told.verdict == "hold",
            process: value(&told.process),
            tool: told.tool.clone(),
            step: told.step.clone(),
            facts: told.facts.clone(),
            rule: told
                .rule
                .as_ref()
                .and_then(|rule| serde_json::to_value(rule).ok()),
            because: told.because.clone(),
            people: approval.map_or(1, |approval| approval.people),
            waits_alone: approval.is_some_and(|approval| approval.waits_alone),
            by: approval.map_or_else(Vec::new, |approval| approval.by.clone()),
            show: approval.map_or_else(Vec::new, |approval| approval.show.clone()),
            once: approval.is_none_or(|approval| approval.once),
            expires_s: approval.and_then(|approval| approval.expires_s),
            recent,
            on_no_answer: ON_NO_ANSWER.to_owned(),
        }
    }

    /// One of which no record came: what it asks is not known, so nobody can say yes to it.
    pub fn unknown(id: u64, session: u64, asked_ns: u64, sessions: &Sessions) -> Self {
        let found = sessions.get(session);
        Self {
            agent: found.map(|session| session.agent.clone()),
            owner: found.map(|session| session.compiled().owner.clone()),
            asked: WallClock::read().at(asked_ns),
            ..Self::nothing(HoldId(id), SessionId(session))
        }
    }

    /// One of which nothing is known.
    pub(super) fn nothing(hold: HoldId, session: SessionId) -> Self {
        Self {
            hold,
            session,
            boot: boot(),
            policy: None,
            task: None,
            agent: None,
            owner: None,
            asked: String::new(),
            action: UNKNOWN.to_owned(),
            object: Value::Null,
            digest: None,
            stopped: true,
            process: Value::Null,
            tool: None,
            step: None,
            facts: Vec::new(),
            rule: None,
            because: None,
            people: 1,
            waits_alone: false,
            by: Vec::new(),
            show: Vec::new(),
            once: true,
            expires_s: None,
            recent: Vec::new(),
            on_no_answer: ON_NO_ANSWER.to_owned(),
        }
    }

    /// The process that wants to run a program, and the program's path.
    pub fn program(&self) -> Option<(u32, String)> {
        let pid = self.process["pid"]
            .as_u64()
            .filter(|_| self.action == "exec")?;
        let path = self.object["path"].as_str()?;
        Some((u32::try_from(pid).ok()?, path.to_owned()))
    }

    /// What an answer from elsewhere is bound to: everything that is asked, and the bytes that were told.
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Whether it is known what is asked.
    pub fn is_known(&self) -> bool {
        self.action != UNKNOWN
    }

    /// What people call what is asked for: the rule's id, its step, or where it stands.
    pub fn subject(&self) -> String {
        let Some(rule) = &self.rule else {
            return UNKNOWN.to_owned();
        };
        let text = |field: &str| rule[field].as_str();
        match (text("id"), text("step"), text("file")) {
            (Some(id), ..) => id.to_owned(),
            (_, Some(step), _) => format!("step:{step}"),
            (.., Some(file)) => format!("{file}:{}", rule["line"]),
            _ => UNKNOWN.to_owned(),
        }
    }
}

/// This boot of the host, or nothing.
fn boot() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    boot.unwrap_or_default().trim().to_owned()
}

/// What is said of a question of which no record came.
const UNKNOWN: &str = "unknown";

/// The expression that answers a question of a record's, if its policy has one.
pub(super) fn expression(denial: &Denial, sessions: &Sessions) -> Option<String> {
    let session = sessions.get(denial.header.session)?;
    approval(session.version(denial.policy), denial.rule)?
        .answer
        .clone()
}

/// What a policy says of the approval of a rule.
fn approval(policy: &Compiled, number: u32) -> Option<&ApprovalInfo> {
    let needs = |rule: &&agent_common::decide::Rule| rule.number == number && rule.approval != 0;
    let fact = policy.rules.iter().find(needs)?.approval - 1;
    let mut approvals = policy.approvals.iter();
    approvals.find(|approval| approval.fact == fact)
}
