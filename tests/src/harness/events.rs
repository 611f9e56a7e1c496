//! What the daemon told: the lines of its standard output. The one place that knows their form.

use super::product::Session;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::fs;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Where the daemon's standard output goes.
pub(crate) const FILE: &str = "/run/interlock-tests.events";

/// Forgets what was told: two million denials fill the machine's memory.
pub(crate) fn forget() -> Result<()> {
    // The daemon appends.
    fs::write(FILE, "").context(FILE)
}

/// How long the daemon may be silent while an event is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// A line that a daemon printed.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub(crate) enum Line {
    /// An action was not allowed.
    Denial(Box<Denial>),
    /// A container runs in no session.
    Released,
    /// A question is closed.
    Answered(Answered),
    /// A session's permission has ended.
    Revoked(Box<super::product::Revoked>),
    /// A session's last process is gone.
    Ended(Ended),
    /// What the canary has shown.
    Canary(Canary),
    /// One side of a handoff.
    Handoff(Box<Handoff>),
    /// Events were lost.
    Loss(Loss),
    /// A session should have begun and could not.
    NotReady(NotReady),
    /// Anything else.
    #[serde(other)]
    Other,
}

/// A denial.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Denial {
    pub(crate) number: u64,
    pub(crate) time: String,
    pub(crate) session: String,
    pub(crate) agent: Option<String>,
    #[serde(flatten)]
    pub(crate) process: Process,
    pub(crate) tid: u32,
    pub(crate) uid: u32,
    pub(crate) ancestry: Vec<Process>,
    pub(crate) action: String,
    pub(crate) object: Object,
    pub(crate) facts: Vec<String>,
    pub(crate) step: Option<String>,
    #[serde(default)]
    pub(crate) missing: Vec<String>,
    pub(crate) rule: Option<serde_json::Value>,
    pub(crate) reason: String,
    pub(crate) because: Option<String>,
    pub(crate) verdict: String,
    pub(crate) policy: Option<String>,
    /// The question that it asks, or asked.
    pub(crate) hold: Option<String>,
}

/// What became of a question.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Answered {
    pub(crate) hold: String,
    pub(crate) answer: String,
    pub(crate) by: Option<String>,
    pub(crate) because: Option<String>,
}

/// A process.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) exe: Option<String>,
    pub(crate) comm: String,
    #[serde(default)]
    pub(crate) args: Vec<String>,
    #[serde(default, rename = "argsCut")]
    pub(crate) args_cut: bool,
    pub(crate) started: String,
}

/// Where a denied action wanted to go. An address of another family has none of these.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(crate) struct Object {
    pub(crate) address: String,
    pub(crate) port: u16,
    pub(crate) protocol: String,
    /// The name of a host: that was looked up, or that led to the address.
    pub(crate) host: String,
    /// A file's path.
    pub(crate) path: String,
    /// The path of a Unix socket, or its name.
    pub(crate) unix: String,
    /// The agent of another session.
    pub(crate) handoff: String,
    /// A program's words.
    pub(crate) arguments: Vec<String>,
    /// The privilege, where the action is none of the network's.
    pub(crate) privilege: String,
    /// The process that was to be reached.
    pub(crate) target: Option<i32>,
    /// The kind of socket that was to be made.
    pub(crate) socket: Option<String>,
}

/// What the canary has shown.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Canary {
    pub(crate) proven: bool,
    pub(crate) error: Option<String>,
}

/// One side of a handoff.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Handoff {
    pub(crate) session: String,
    pub(crate) agent: Option<String>,
    pub(crate) direction: String,
    pub(crate) peer: String,
    pub(crate) peer_agent: Option<String>,
    pub(crate) pid: u32,
    pub(crate) verdict: String,
}

/// A session's end.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) agent: String,
    /// The session into whose container somebody came, whose session it was.
    pub(crate) entered: Option<String>,
    pub(crate) outcome: String,
    pub(crate) cause: Option<String>,
    pub(crate) exit: Option<Exit>,
}

/// How a session's first process ended.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Exit {
    /// With an exit code.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

/// A session that should have begun and could not.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct NotReady {
    pub(crate) agent: Option<String>,
    pub(crate) recognised: Option<String>,
}

/// Lost events.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Loss {
    pub(crate) events: u64,
}

/// The lines from some moment on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Events {
    from: u64,
}

impl Events {
    /// Everything that was ever told.
    pub(crate) const ALL: Self = Self { from: 0 };

    /// Everything that is told from now on. A line that is just being written is not among it.
    pub(crate) fn from_now() -> Result<Self> {
        Ok(Self {
            from: fs::metadata(FILE).context(FILE)?.len(),
        })
    }

    /// Every whole line told so far.
    pub(crate) fn lines(self) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        self.each(|line| {
            lines.push(line);
            Ok(())
        })?;
        Ok(lines)
    }

    /// Looks at every whole line told so far, one after the other: a long test tells of more than the machine
    /// could hold.
    pub(crate) fn each(self, mut look: impl FnMut(Line) -> Result<()>) -> Result<()> {
        let mut reader = BufReader::new(fs::File::open(FILE).context(FILE)?);
        let mut bytes = Vec::new();
        if self.from > 0 {
            // The byte before tells whether a line begins here.
            reader.seek(SeekFrom::Start(self.from - 1))?;
            reader.read_until(b'\n', &mut bytes)?;
        }
        loop {
            bytes.clear();
            reader.read_until(b'\n', &mut bytes)?;
            if !bytes.ends_with(b"\n") {
                return Ok(());
            }
            let line = String::from_utf8_lossy(&bytes);
            let line =
                serde_json::from_str(&line).with_context(|| format!("no event line: {line}"))?;
            look(line)?;
        }
    }

    /// The denials of an agent told so far.
    pub(crate) fn denials(self, agent: &str) -> Result<Vec<Denial>> {
        Ok(self
            .lines()?
            .into_iter()
            .filter_map(|line| match line {
                Line::Denial(denial) if denial.agent.as_deref() == Some(agent) => Some(*denial),
                _ => None,
            })
            .collect())
    }

    /// Waits for a denial.
    pub(crate) fn find(self, what: &str, wanted: impl Fn(&Denial) -> bool) -> Result<Denial> {
        self.first(what, |line| match line {
            Line::Denial(denial) if wanted(&denial) => Some(*denial),
            _ => None,
        })
    }

    /// How many events were lost, as told so far.
    pub(crate) fn lost(self) -> Result<u64> {
        Ok(self
            .lines()?
            .into_iter()
            .map(|line| {
                if let Line::Loss(loss) = line {
                    loss.events
                } else {
                    0
                }
            })
            .sum())
    }

    /// Waits for the first line of which `wanted` makes something.
    pub(crate) fn first<T>(self, what: &str, wanted: impl Fn(Line) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = self.lines()?.into_iter().find_map(&wanted) {
                return Ok(found);
            }
            ensure!(
                Instant::now() < deadline,
                "{what} was not told within {PATIENCE:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for the end of an agent's session.
    pub(crate) fn ended(self, agent: &str) -> Result<Ended> {
        self.first(&format!("the end of {agent}"), |line| match line {
            Line::Ended(ended) if ended.agent == agent => Some(ended),
            _ => None,
        })
    }

    /// Waits for the end of the session of somebody who came into another's container.
    pub(crate) fn left(self, agents: &Session) -> Result<Ended> {
        let entered = Some(&agents.session);
        self.first("the end of who came in", |line| match line {
            Line::Ended(ended) if ended.entered.as_ref() == entered => Some(ended),
            _ => None,
        })
    }

    /// Waits until at least `count` denials of an agent have been told.
    pub(crate) fn wait(self, agent: &str, count: usize) -> Result<Vec<Denial>> {
        let mut deadline = Instant::now() + PATIENCE;
        let mut before = 0;
        loop {
            let denials = self.denials(agent)?;
            let found = denials.len();
            if found >= count {
                return Ok(denials);
            }
            if found > before {
                deadline = Instant::now() + PATIENCE;
                before = found;
            }
            ensure!(
                Instant::now() < deadline,
                "{found} denials of {agent} were told and no more for {PATIENCE:?}, expected {count}"
            );
            // Reading the file takes the processor from the daemon that writes it.
            std::thread::sleep(Duration::from_millis(if count > 1000 { 1000 } else { 20 }));
        }
    }

    /// Waits for the denial of an act that needs a privilege.
    pub(crate) fn expect_privilege(self, agent: &str, privilege: &str) -> Result<Denial> {
        let mut told = 1;
        loop {
            let denials = self.wait(agent, told).with_context(|| {
                let found = self.denials(agent).unwrap_or_default();
                let found: Vec<_> = found.iter().map(|denial| &denial.object).collect();
                format!("no denial of privilege {privilege} was told, only of {found:?}")
            })?;
            if let Some(denial) = denials.iter().find(|d| d.object.privilege == privilege) {
                ensure!(
                    denial.action == "privilege"
                        && denial.verdict == "deny"
                        && denial.reason == "privilege missing"
                        && denial.rule.is_none(),
                    "expected a denial for want of a privilege: {denial:?}"
                );
                return Ok(denial.clone());
            }
            told = denials.len() + 1;
        }
    }

    /// Waits for the denial of one endpoint and checks what every denial must say.
    pub(crate) fn expect(
        self,
        agent: &str,
        action: &str,
        to: SocketAddr,
        protocol: &str,
    ) -> Result<Denial> {
        let object = Object {
            address: to.ip().to_string(),
            port: to.port(),
            protocol: protocol.to_owned(),
            ..Object::default()
        };
        let mut told = 1;
        let denial = loop {
            let denials = self.wait(agent, told).with_context(|| {
                let found = self.denials(agent).unwrap_or_default();
                let found: Vec<_> = found.iter().map(|denial| &denial.object).collect();
                format!("no denial of {object:?} was told, only of {found:?}")
            })?;
            if let Some(denial) = denials.iter().find(|denial| denial.object == object) {
                break denial.clone();
            }
            // An actor may be denied more than the one thing; wait until more is told.
            told = denials.len() + 1;
        };
        ensure!(
            denial.action == action,
            "the action is {}, expected {action}",
            denial.action
        );
        ensure!(
            denial.verdict == "deny",
            "the verdict is {}, expected deny",
            denial.verdict
        );
        ensure!(
            denial.reason == "no rule",
            "the reason is {}, expected no rule",
            denial.reason
        );
        ensure!(
            denial.rule.is_none(),
            "a rule is named where none decided: {:?}",
            denial.rule
        );
        ensure!(
            denial.session.len() == 16 && denial.session.bytes().all(|b| b.is_ascii_hexdigit()),
            "the session is {:?}, expected sixteen hexadecimal digits",
            denial.session
        );
        ensure!(
            denial.time.ends_with('Z'),
            "the time is {:?}, expected UTC",
            denial.time
        );
        Ok(denial)
    }
}
