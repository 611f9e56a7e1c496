//! What the daemon tells becomes records.

use crate::control::protocol::{ProgramsHow, ProgramsInfo, Revoked};
use crate::events::line::{self, Line};
use crate::holds::answer::Answered;
use crate::ids::SessionId;
use crate::kernel::loader::Mode;
use crate::library::Change;
use crate::sessions::Sessions;
use crate::sessions::moving::Moved;
use agent_common::session::Allowed;
use agent_evidence::record::{
    Approval, Daemon, Decision, Draft, Handoff, Lifecycle, Loss, Object, PolicyChange, Process,
    Rule, Session, Summary, What,
};
use agent_evidence::recorder::Recorder;
use std::collections::HashMap;

/// Hands in what happens. It never waits.
pub struct Scribe {
    recorder: Recorder,
    /// Who answers for the sessions that were spoken of, beyond their end.
    owners: HashMap<u64, Answers>,
}

/// Who answers for a session, and by what it began.
#[derive(Debug)]
struct Answers {
    owner: String,
    task: Option<String>,
    grant: Option<String>,
}

impl Scribe {
    /// One that hands in to a recorder.
    pub fn new(recorder: Recorder) -> Self {
        Self {
            recorder,
            owners: HashMap::new(),
        }
    }

    /// Hands in what was told.
    pub fn note(&mut self, lines: &[Line], sessions: &Sessions) {
        for line in lines {
            if let Line::Ended(ended) = line {
                self.sum_up(ended.allowed.as_slice(), true);
            }
            self.hand_in(line);
            match line {
                Line::Ended(ended) => {
                    self.owners.remove(&ended.session.session.0);
                }
                Line::Started(started) => {
                    let id = started.session.0;
                    if let Some(session) = sessions.get(id) {
                        let answers = Answers {
                            owner: session.compiled().owner.clone(),
                            task: session.task().map(str::to_owned),
                            grant: session.grant().map(str::to_owned),
                        };
                        self.owners.insert(id, answers);
                    }
                }
                _ => {}
            }
        }
    }

    /// Hands one line in.
    pub fn hand_in(&self, line: &Line) {
        // Somebody who is full counts it: nothing is lost silently.
        self.recorder.record(self.draft(line));
    }

    /// Hands in what sessions were allowed.
    pub fn count(&self, allowed: &[line::Allowed]) {
        self.sum_up(allowed, false);
    }

    fn sum_up(&self, allowed: &[line::Allowed], last: bool) {
        for allowed in allowed {
            let record = |policy: Option<String>, summary| {
                let session = Session {
                    policy,
                    ..self.session(allowed.session, Some(allowed.agent.as_str()))
                };
                let what = What::Summary(Summary {
                    seconds: allowed.seconds,
                    last,
                    ..summary
                });
                self.recorder.record(at(&allowed.time, Some(session), what));
            };
            let counts = Allowed::ALL.iter().zip(allowed.counts);
            for (kind, (count, total)) in counts.filter(|(_, (count, _))| *count > 0) {
                let all = Summary {
                    about: kind.word().to_owned(),
                    allowed: count,
                    total,
                    ..Summary::default()
                };
                record(Some(allowed.policy.clone()), all);
            }
            for used in &allowed.used {
                let part = Summary {
                    about: used.about.to_owned(),
                    rule: used.rule.as_ref().map(rule),
                    object: used.object.as_ref().map(object),
                    allowed: used.count,
                    total: used.total,
                    ..Summary::default()
                };
                record(used.policy.clone(), part);
            }
        }
    }

    fn draft(&self, line: &Line) -> Draft {
        match line {
            Line::Denial(denial) => Draft {
                boot_ns: denial.boot_ns,
                ..at(
                    &denial.time,
                    Some(Session {
                        policy: denial.policy.clone(),
                        step: denial.step.clone(),
                        ..self.session(denial.session, denial.agent.as_deref())
                    }),
                    What::Decision(Box::new(decision(denial))),
                )
            },
            Line::Started(session) => {
                at(&session.time, Some(self.of(session)), life(begin(session)))
            }
            Line::Ended(ended) => at(
                &ended.session.time,
                Some(self.of(&ended.session)),
                life(end(ended)),
            ),
            Line::Answered(closed) => at(
                &closed.time,
                Some(self.session(closed.answered.session, closed.answered.agent.as_deref())),
                What::Approval(approval(&closed.answered)),
            ),
            Line::Revoked(revocation) => at(
                &revocation.time,
                Some(self.session(
                    revocation.revoked.session,
                    Some(revocation.revoked.agent.as_str()),
                )),
                life(revoked(&revocation.revoked)),
            ),
            Line::NotReady(not_ready) => at(
                &not_ready.time,
                None,
                life(Lifecycle {
                    step: "notReady".into(),
                    recognised: not_ready.recognised.clone(),
                    process: Some(process(&not_ready.process)),
                    ..Lifecycle::default()
                }),
            ),
            Line::Released(released) => at(
                &released.time,
                None,
                life(Lifecycle {
                    step: "released".into(),
                    process: Some(process(&released.process)),
                    ..Lifecycle::default()
                }),
            ),
            Line::Loss(loss) => at(
                &loss.time,
                loss.session
                    .map(|session| self.session(session, loss.agent.as_deref())),
                What::Loss(Loss {
                    place: "ring".into(),
                    events: loss.events,
                    ..Loss::default()
                }),
            ),
            Line::Handoff(handoff) => at(
                &handoff.time,
                Some(self.session(handoff.session, handoff.agent.as_deref())),
                What::Handoff(Box::new(handed(handoff))),
            ),
            Line::Canary(canary) => at(
                &canary.time,
                None,
                What::Daemon(Daemon {
                    step: if canary.proven { "proven" } else { "notProven" }.into(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    error: canary.error.clone(),
                    ..Daemon::default()
                }),
            ),
            Line::Grant(used) => at(
                &used.time,
                None,
                What::Approval(Approval {
                    of: match &used.grant {
                        Some(id) => format!("grant {id} for agent {}", used.agent),
                        None => format!("a grant for agent {}", used.agent),
                    },
                    answer: if used.outcome == "accepted" {
                        "given"
                    } else {
                        "refused"
                    }
                    .into(),
                    by: Some("this node".into()),
                    reason: used.reason.clone(),
                    ..Approval::default()
                }),
            ),
            Line::Garbled(garbled) => at(
                &garbled.time,
                None,
                What::Loss(Loss {
                    place: "garbled".into(),
                    events: 1,
                    detail: Some(garbled.error.clone()),
                    ..Loss::default()
                }),
            ),
        }
    }

    fn of(&self, session: &line::Session) -> Session {
        Session {
            policy: Some(session.policy.clone()),
            ..self.session(session.session, Some(session.agent.as_str()))
        }
    }

    fn session(&self, id: SessionId, agent: Option<&str>) -> Session {
        let answers = self.owners.get(&id.0);
        Session {
            id: id.to_string(),
            agent: agent.map(str::to_owned),
            owner: answers.map(|answers| answers.owner.clone()),
            task: answers.and_then(|answers| answers.task.clone()),
            grant: answers.and_then(|answers| answers.grant.clone()),
            ..Session::default()
        }
    }
}

/// Hands in that this daemon begins or ends.
pub fn note_life(recorder: &Recorder, step: &str, how: Option<(&Mode, &ProgramsInfo)>) {
    let life = Daemon {
        step: step.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        enforcement: how.map(|(mode, _)| match mode {
            Mode::Full => "full".to_owned(),
            Mode::Degraded(why) => format!("degraded: {why}"),
        }),
        adopted: how.map(|(_, programs)| programs.how != ProgramsHow::Loaded),
        programs: how.map(|(_, programs)| programs.build.clone()),
        error: how.and_then(|(_, programs)| programs.reason().map(str::to_owned)),
    };
    recorder.record(Draft::now(None, What::Daemon(life)));
}

/// Hands in that files of policies have changed.
pub fn note_change(recorder: &Recorder, change: &Change, moved: Moved) {
    let of = |change: &str, loaded: &crate::library::Loaded| PolicyChange {
        change: change.into(),
        file: loaded.path.display().to_string(),
        agent: Some(loaded.start.agent.clone()),
        digest: Some(loaded.compiled.digest_hex()),
        generation: Some(loaded.generation),
        ..PolicyChange::default()
    };
    let what = match change {
        Change::Loaded(loaded) => PolicyChange {
            moved: Some(moved.moved as u64),
            ..of("loaded", loaded)
        },
        Change::Gone(loaded) => of("gone", loaded),
        Change::Rejected(path, error) => PolicyChange {
            change: "rejected".into(),
            file: path.display().to_string(),
            error: Some(error.clone()),
            ..PolicyChange::default()
        },
    };
    recorder.record(Draft::now(None, What::Policy(what)));
}

fn at(time: &str, session: Option<Session>, what: What) -> Draft {
    Draft {
        time: time.to_owned(),
        ..Draft::now(session, what)
    }
}

fn life(lifecycle: Lifecycle) -> What {
    What::Lifecycle(Box::new(lifecycle))
}

fn begin(session: &line::Session) -> Lifecycle {
    // Of one that had begun before, this is not the first.
    let first = session.first.as_deref().filter(|_| !session.adopted);
    Lifecycle {
        step: if session.adopted {
            "adopted"
        } else {
            "started"
        }
        .into(),
        recognised: session.recognised.clone(),
        container: session.container.clone(),
        entered: session.entered.map(|entered| entered.to_string()),
        process: first.map(|[own, _]| process(own)),
        by: first.map(|[_, by]| process(by)),
        ..Lifecycle::default()
    }
}

fn end(ended: &line::Ended) -> Lifecycle {
    let (exit_code, exit_signal) = match ended.exit {
        Some(line::Exit::Code(code)) => (Some(code), None),
        Some(line::Exit::Signal(signal)) => (None, Some(signal)),
        None => (None, None),
    };
    Lifecycle {
        step: "ended".into(),
        outcome: Some(ended.outcome.into()),
        cause: ended.cause.map(str::to_owned),
        exit_code,
        exit_signal,
        ..Lifecycle::default()
    }
}

fn revoked(revoked: &Revoked) -> Lifecycle {
    Lifecycle {
        step: "revoked".into(),
        cause: Some(revoked.cause.clone()),
        reason: revoked.reason.clone(),
        killed: Some(revoked.killed as u64),
        left: Some(revoked.left.len() as u64),
        denied_after_us: revoked.denied_after_us,
        empty_after_us: revoked.empty_after_us,
        ..Lifecycle::default()
    }
}

fn handed(handoff: &line::Handoff) -> Handoff {
    Handoff {
        direction: handoff.direction.into(),
        peer: handoff.peer.to_string(),
        peer_agent: handoff.peer_agent.clone(),
        action: handoff.action.into(),
        verdict: handoff.verdict.into(),
        reason: handoff.reason.map(str::to_owned),
        process: process(&handoff.process),
    }
}

fn approval(answered: &Answered) -> Approval {
    Approval {
        of: answered.of.clone(),
        answer: answered.answer.clone(),
        by: answered.by.clone(),
        reason: answered.because.clone(),
        hold: Some(answered.hold.to_string()),
        once: answered.once,
        seconds: answered.for_s,
    }
}

fn decision(denial: &line::Denial) -> Decision {
    Decision {
        verdict: denial.verdict.into(),
        reason: denial.reason.into(),
        action: denial.action.into(),
        object: object(&denial.object),
        facts_before: denial.facts.clone(),
        facts_after: denial.facts.clone(),
        missing: denial.missing.clone(),
        rule: denial.rule.as_ref().map(rule),
        because: denial.because.clone(),
        process: process(&denial.process),
        tid: denial.tid,
        uid: denial.uid,
        ancestry: denial.ancestry.iter().map(process).collect(),
        hold: denial.hold.map(|hold| hold.to_string()),
    }
}

fn rule(rule: &line::Rule) -> Rule {
    Rule {
        file: rule.file.clone(),
        line: rule.line,
        text: rule.text.clone(),
        id: rule.id.clone(),
        step: rule.step.clone(),
    }
}

fn object(object: &line::Object) -> Object {
    match object {
        line::Object::Endpoint {
            address,
            port,
            protocol,
            host,
        } => Object::Endpoint {
            address: address.clone(),
            port: *port,
            protocol: protocol.clone(),
            host: host.clone(),
        },
        line::Object::File { path, arguments } => Object::File {
            path: path.clone(),
            arguments: arguments.clone(),
        },
        line::Object::Host { name, records } => Object::Host {
            name: name.clone(),
            records: records.clone(),
        },
        line::Object::Unix { unix } => Object::Unix { name: unix.clone() },
        line::Object::Session { handoff, session } => Object::Session {
            session: session.to_string(),
            agent: handoff.clone(),
        },
        line::Object::Family { family, name } => Object::Family {
            family: *family,
            name: name.map(str::to_owned),
        },
        line::Object::Privilege {
            privilege,
            target,
            socket,
        } => Object::Privilege {
            privilege: (*privilege).to_owned(),
            target: *target,
            socket: socket.clone(),
        },
    }
}

fn process(process: &line::Process) -> Process {
    Process {
        pid: process.pid,
        exe: process.exe.clone(),
        comm: process.comm.clone(),
        args: process.args.clone(),
        started: process.started.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::line::{Ended, Exit};

    #[test]
    fn an_end_says_how() {
        let scribe = Scribe {
            recorder: Recorder::none(String::new()),
            owners: HashMap::from([(
                7,
                Answers {
                    owner: "Ada".to_owned(),
                    task: None,
                    grant: None,
                },
            )]),
        };
        let line = Line::Ended(Box::new(Ended {
            session: line::Session {
                time: "2026-03-02T10:00:00Z".into(),
                session: SessionId(7),
                agent: "ci".into(),
                policy: "ab".into(),
                recognised: None,
                container: None,
                entered: None,
                adopted: false,
                first: None,
            },
            outcome: "failed",
            cause: Some("root exit"),
            exit: Some(Exit::Code(3)),
            allowed: None,
        }));
        let draft = scribe.draft(&line);
        let session = draft.session.unwrap();
        assert_eq!(session.id, "0000000000000007");
        assert_eq!(session.owner.as_deref(), Some("Ada"));
        assert_eq!(draft.time, "2026-03-02T10:00:00Z");
        let What::Lifecycle(life) = draft.what else {
            panic!("an end is a step of a life");
        };
        assert_eq!((life.step.as_str(), life.exit_code), ("ended", Some(3)));
    }
}
