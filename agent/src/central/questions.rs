//! Questions of this node's sessions at the controller, and the answers that come from there.

use super::obey::Central;
use crate::events::explain;
use crate::events::line::{Closed, Line};
use crate::holds::answer::{Answer as Said, NotTaken};
use crate::holds::{self, HoldInfo};
use crate::ids::HoldId;
use agent_proto::wire::{Answer, Question, State as Step};
use std::rc::Rc;
use std::time::Instant;

/// Bytes of questions that are told at once: a message has its limit.
const MOST: usize = 2 << 20;

impl Central {
    /// What is open, as the controller is told.
    pub(super) fn questions(&self) -> Vec<Question> {
        let sessions = self.parts.sessions.borrow();
        let list = self.parts.holds.borrow_mut().list(&sessions);
        let mut room = MOST;
        let mut told: Vec<Question> = list.iter().map(told).collect();
        // The oldest first: the others come when these are answered.
        told.retain(|question| {
            let fits = question.body.len() <= room;
            room = if fits { room - question.body.len() } else { 0 };
            fits
        });
        told
    }

    /// Takes an answer, if it is to exactly what is asked here.
    pub(super) async fn take_answer(
        self: &Rc<Self>,
        epoch: u64,
        answer: Answer,
        reason: String,
        came: Instant,
    ) {
        match self.answer(&answer, reason).await {
            Ok(()) => self.tell(epoch, Step::InForce, came.elapsed(), Default::default()),
            Err(why) => self.refuse(epoch, why),
        }
    }

    async fn answer(&self, answer: &Answer, reason: String) -> Result<(), String> {
        let hold: HoldId = answer
            .question
            .parse()
            .map_err(|error| format!("{error}"))?;
        let asked = self.parts.holds.borrow_mut().asked(hold);
        let asked = asked.ok_or_else(|| NotTaken::NoQuestion(hold).to_string())?;
        if answer.boot != asked.boot {
            return Err(format!(
                "it is an answer to a question of boot {}",
                answer.boot
            ));
        }
        if answer.digest != holds::digest(&asked) {
            return Err("it is an answer to something else than what is asked here".to_owned());
        }
        let mut people = answer.people.clone();
        people.sort_unstable();
        people.dedup();
        let needs = usize::try_from(asked.people).unwrap_or(usize::MAX);
        if answer.yes && people.len() < needs {
            return Err(NotTaken::People(hold, asked.people).to_string());
        }
        let said = Said {
            hold,
            approve: answer.yes,
            once: answer.once,
            for_s: Some(answer.for_s).filter(|seconds| *seconds > 0),
            because: Some(reason).filter(|reason| !reason.is_empty()),
        };
        let answered = holds::answer(&self.parts.holds, &said, people).await;
        let answered = answered.map_err(|error| error.to_string())?;
        let closed = Closed {
            time: explain::now(),
            answered,
        };
        // The events task ends only with the daemon.
        let _ = self.parts.lines.send(Line::Answered(closed));
        Ok(())
    }
}

fn told(info: &HoldInfo) -> Question {
    let question = &info.question;
    let asked: Result<jiff::Timestamp, _> = question.asked.parse();
    let asked_ms = asked.map_or(0, |asked| asked.as_millisecond());
    Question {
        question: question.hold.to_string(),
        session: question.session.to_string(),
        agent: question.agent.clone().unwrap_or_default(),
        boot: question.boot.clone(),
        expires_ms: u64::try_from(asked_ms).unwrap_or(0) + info.wait_s * 1000,
        people: question.people,
        body: question.bytes(),
    }
}
