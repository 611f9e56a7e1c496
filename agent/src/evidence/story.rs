//! The story of a session, as a person would tell it.

use agent_evidence::record::{
    Decision, Lifecycle, Loss, Object, Process, Record, Session, Summary, What,
};
use std::fmt::Write;

/// What is told of one session.
#[derive(Default)]
pub(super) struct Story {
    session: Session,
    node: String,
    begun: bool,
    pub(super) lines: Vec<Told>,
    denied: u64,
    watched: u64,
    lost: u64,
    ended: bool,
}

/// A line of the story. What is said again and again is said once, and counted.
pub(super) struct Told {
    time: String,
    pub(super) text: String,
    times: u64,
    until: String,
    /// What belongs to it, below.
    pub(super) below: Vec<String>,
}

impl Story {
    /// Takes up a record of the session. They come in order.
    pub(super) fn hear(&mut self, record: Record) {
        self.begun = true;
        self.node = record.node;
        if let Some(session) = record.session {
            self.know(session);
        }
        let time = record.time;
        match record.what {
            What::Decision(decision) => {
                match decision.verdict.as_str() {
                    "audit" => self.watched += 1,
                    _ => self.denied += 1,
                }
                self.tell(time, attempt(&decision), details(&decision));
            }
            What::Lifecycle(life) => {
                self.ended |= life.step == "ended";
                self.tell(time, step(&life), Vec::new());
            }
            What::Handoff(handoff) => {
                let agent = handoff.peer_agent.as_deref().unwrap_or("an unknown agent");
                let other = format!("session {} of {agent}", handoff.peer);
                let crossed = match handoff.direction.as_str() {
                    "to" => format!("{} reached for {other}", who(&handoff.process)),
                    _ => format!("{other} reached for it"),
                };
                let text = format!("{crossed} ({}): {}", handoff.action, handoff.verdict);
                self.tell(time, text, handoff.reason.into_iter().collect());
            }
            What::Loss(Loss { events, .. }) => {
                self.lost += events;
                let text = format!("{events} events were lost: what they were is not known");
                self.tell(time, text, Vec::new());
            }
            What::Approval(approval) => {
                let by = approval.by.as_deref().unwrap_or("somebody");
                let text = format!("{by} answered to `{}`: {}", approval.of, approval.answer);
                self.tell(time, text, approval.reason.into_iter().collect());
            }
            What::Summary(summary) => {
                self.tell(time, summed_up(&summary), Vec::new());
            }
            other => self.tell(time, super::sentence::of_node(&other), Vec::new()),
        }
    }

    /// Whether anything was heard.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    fn know(&mut self, session: Session) {
        let own = &mut self.session;
        own.id = session.id;
        let later = [
            (&mut own.agent, session.agent),
            (&mut own.owner, session.owner),
            (&mut own.grant, session.grant),
            (&mut own.task, session.task),
            (&mut own.policy, session.policy),
        ];
        for (known, said) in later {
            if said.is_some() {
                *known = said;
            }
        }
    }

    fn tell(&mut self, time: String, text: String, below: Vec<String>) {
        if let Some(last) = self.lines.last_mut()
            && last.text == text
            && last.below == below
        {
            last.times += 1;
            last.until = time;
            return;
        }
        self.lines.push(Told {
            until: time.clone(),
            time,
            text,
            times: 1,
            below,
        });
    }

    /// The story.
    pub(super) fn told(&self) -> String {
        let mut text = String::new();
        let Session {
            id,
            agent,
            owner,
            grant,
            task,
            policy,
            ..
        } = &self.session;
        let agent = agent.as_deref().unwrap_or("an unknown agent");
        let _ = write!(text, "Session {id} of agent {agent}");
        if let Some(owner) = owner {
            let _ = write!(text, ", for which {owner} answers");
        }
        let _ = write!(text, ", on node {}", self.node);
        if let Some(grant) = grant {
            let _ = write!(text, ", under grant {grant}");
        }
        if let Some(task) = task {
            let _ = write!(text, ", for task {task}");
        }
        if let Some(policy) = policy {
            let _ = write!(
                text,
                ", held to policy {}",
                policy.get(..12).unwrap_or(policy)
            );
        }
        text.push_str(".\n");
        for line in &self.lines {
            let _ = write!(text, "{}  {}", line.time, line.text);
            if line.times > 1 {
                let _ = write!(text, " ({} times, until {})", line.times, line.until);
            }
            text.push('\n');
            for below in &line.below {
                let _ = writeln!(text, "    {below}");
            }
        }
        let mut sums = vec![format!("{} attempts were refused", self.denied)];
        if self.watched > 0 {
            sums.push(format!("{} were only watched", self.watched));
        }
        if self.lost > 0 {
            sums.push(format!("{} events were lost", self.lost));
        }
        if !self.ended {
            sums.push("no end is recorded".to_owned());
        }
        let _ = writeln!(text, "In all, {}.", sums.join("; "));
        text
    }
}

fn attempt(decision: &Decision) -> String {
    let who = who(&decision.process);
    let became = match decision.verdict.as_str() {
        "deny" => "was refused",
        "kill" => "was refused, and ended the session",
        "audit" => "would have been refused, and was only watched",
        other => other,
    };
    format!(
        "{who} attempted: {} {}. It {became}: {}",
        decision.action,
        object(&decision.object),
        decision.reason
    )
}

fn details(decision: &Decision) -> Vec<String> {
    let mut details = Vec::new();
    if let Some(rule) = &decision.rule {
        details.push(format!("rule {}:{}: {}", rule.file, rule.line, rule.text));
    }
    if !decision.missing.is_empty() {
        details.push(format!("missing: {}", decision.missing.join(", ")));
    }
    if !decision.facts_before.is_empty() {
        details.push(format!("facts: {}", decision.facts_before.join(", ")));
    }
    if let Some(because) = &decision.because {
        details.push(format!("the policy's author says: {because}"));
    }
    let above: Vec<_> = decision.ancestry.iter().map(who).collect();
    if !above.is_empty() {
        details.push(format!("started by {}", above.join(", by ")));
    }
    details
}

fn who(process: &Process) -> String {
    let name = process.exe.as_deref().unwrap_or(&process.comm);
    match process.args.get(1..) {
        Some(words) if !words.is_empty() => {
            format!(
                "{name} (process {}: {})",
                process.pid,
                process.args.join(" ")
            )
        }
        _ => format!("{name} (process {})", process.pid),
    }
}

fn summed_up(summary: &Summary) -> String {
    let about = match summary.about.as_str() {
        "network" => "networks",
        "file" => "files",
        "program" => "programs",
        "privilege" => "privileges",
        other => other,
    };
    let rule = summary.rule.as_ref();
    let by = rule.map(|rule| format!(" by `{}` ({}:{})", rule.text, rule.file, rule.line));
    let to = summary
        .object
        .as_ref()
        .map(|it| format!(", {}", object(it)));
    format!(
        "{} actions about {about} were allowed in {} s{}{}, {} since it began",
        summary.allowed,
        summary.seconds,
        by.unwrap_or_default(),
        to.unwrap_or_default(),
        summary.total
    )
}

fn object(object: &Object) -> String {
    match object {
        Object::Endpoint {
            address,
            port,
            protocol,
            ..
        } if address.contains(':') => format!("[{address}]:{port}/{protocol}"),
        Object::Endpoint {
            address,
            port,
            protocol,
            host: Some(host),
        } => format!("{address}:{port}/{protocol}, by the name {host}"),
        Object::Endpoint {
            address,
            port,
            protocol,
            host: None,
        } => format!("{address}:{port}/{protocol}"),
        Object::File { path, arguments } if arguments.len() > 1 => {
            format!("{path} ({})", arguments.join(" "))
        }
        Object::File { path, .. } => path.clone(),
        Object::Host { name, records } => format!("{name} ({records})"),
        Object::Unix { name } => format!("Unix socket {name}"),
        Object::Session { session, agent } => match agent {
            Some(agent) => format!("session {session} of agent {agent}"),
            None => format!("session {session}"),
        },
        Object::Family { family, name } => match name {
            Some(name) => format!("a {name} socket"),
            None => format!("address family {family}"),
        },
        Object::Privilege {
            privilege,
            socket: Some(socket),
            ..
        } => format!("{privilege}, for a socket of {socket}"),
        Object::Privilege {
            privilege, target, ..
        } => match target {
            Some(pid) => format!("{privilege} (process {pid})"),
            None => privilege.clone(),
        },
        Object::Unknown => "something".to_owned(),
    }
}

fn step(life: &Lifecycle) -> String {
    match life.step.as_str() {
        "started" => began(life),
        "adopted" => "Another daemon took over".to_owned(),
        "revoked" => revoked(life),
        "ended" => {
            let mut text = format!("It ended: {}", life.outcome.as_deref().unwrap_or("somehow"));
            if let Some(cause) = &life.cause {
                let _ = write!(text, ", by {cause}");
            }
            match (life.exit_code, life.exit_signal) {
                (Some(code), _) => {
                    let _ = write!(text, "; its first process exited with {code}");
                }
                (_, Some(signal)) => {
                    let _ = write!(text, "; its first process was ended by signal {signal}");
                }
                _ => {}
            }
            text
        }
        other => other.to_owned(),
    }
}

fn began(life: &Lifecycle) -> String {
    let mut text = match &life.recognised {
        Some(by) => format!("It began, recognised by {by}"),
        None => "It began, by `interlock run`".to_owned(),
    };
    if let Some(container) = &life.container {
        let _ = write!(text, ", {container}");
    }
    if let Some(entered) = &life.entered {
        let _ = write!(
            text,
            ", which somebody entered from outside while session {entered} was there"
        );
    }
    if let Some(process) = &life.process {
        let _ = write!(text, ": {}", who(process));
    }
    if let Some(by) = &life.by {
        let _ = write!(text, ", started by {}", who(by));
    }
    text
}

fn revoked(life: &Lifecycle) -> String {
    let mut text = "Its permission ended".to_owned();
    if let Some(cause) = &life.cause {
        let _ = write!(text, ", by {cause}");
    }
    if let Some(reason) = &life.reason {
        let _ = write!(text, " (\"{reason}\")");
    }
    if let Some(after) = life.denied_after_us {
        let _ = write!(text, ": all was denied after {after} µs");
    }
    if let Some(killed) = life.killed {
        let _ = write!(text, "; {killed} processes were killed");
    }
    match (life.left, life.empty_after_us) {
        (Some(left), _) if left > 0 => {
            let _ = write!(text, "; {left} STILL RAN");
        }
        (_, Some(after)) => {
            let _ = write!(text, "; nothing of it was left after {after} µs");
        }
        _ => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_evidence::record::Draft;

    fn record(second: u32, what: What) -> Record {
        let session = Session {
            id: "0000000000000007".into(),
            agent: Some("ci".into()),
            owner: Some("Ada".into()),
            policy: Some("0123456789abcdef".into()),
            ..Session::default()
        };
        let draft = Draft {
            boot_ns: 0,
            time: format!("2026-03-02T10:00:{second:02}Z"),
            session: Some(session),
            what,
        };
        Record::decode(&draft.encode(1, "n1", "b")).unwrap()
    }

    #[test]
    fn a_story_is_told_in_order_and_says_repetitions_once() {
        let life = |life| What::Lifecycle(Box::new(life));
        let mut story = Story::default();
        story.hear(record(
            0,
            life(Lifecycle {
                step: "started".into(),
                ..Lifecycle::default()
            }),
        ));
        let denied = Decision {
            verdict: "deny".into(),
            reason: "no rule".into(),
            action: "connect".into(),
            object: Object::Endpoint {
                address: "192.0.2.7".into(),
                port: 443,
                protocol: "tcp".into(),
                host: None,
            },
            process: Process {
                pid: 9,
                exe: Some("/usr/bin/curl".into()),
                args: vec!["curl".into(), "x".into()],
                ..Process::default()
            },
            ancestry: vec![Process {
                pid: 8,
                comm: "sh".into(),
                ..Process::default()
            }],
            ..Decision::default()
        };
        for second in 1..=3 {
            story.hear(record(second, What::Decision(Box::new(denied.clone()))));
        }
        story.hear(record(
            4,
            life(Lifecycle {
                step: "revoked".into(),
                cause: Some("order".into()),
                reason: Some("enough".into()),
                denied_after_us: Some(300),
                killed: Some(2),
                left: Some(0),
                empty_after_us: Some(900),
                ..Lifecycle::default()
            }),
        ));
        assert_eq!(
            story.told(),
            "Session 0000000000000007 of agent ci, for which Ada answers, on node n1, held to policy 0123456789ab.\n\
             2026-03-02T10:00:00Z  It began, by `interlock run`\n\
             2026-03-02T10:00:01Z  /usr/bin/curl (process 9: curl x) attempted: connect 192.0.2.7:443/tcp. It was refused: no rule (3 times, until 2026-03-02T10:00:03Z)\n    \
             started by sh (process 8)\n\
             2026-03-02T10:00:04Z  Its permission ended, by order (\"enough\"): all was denied after 300 µs; 2 processes were killed; nothing of it was left after 900 µs\n\
             In all, 3 attempts were refused; no end is recorded.\n"
        );
    }
}
