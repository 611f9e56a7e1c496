//! What is over: questions that nobody answered, sessions that are gone, processes that still have to be woken.

use super::answer::Answered;
use super::question::Question;
use super::{Asked, Holds, NO_STANDS_NS, NS, WAKES_NS, wake, word};
use crate::kernel::clock;
use crate::kernel::maps::MapsError;
use crate::sessions::Sessions;
use agent_common::hold::{Hold, HoldKey, HoldState};
use std::collections::HashSet;

/// How long the house rests while nothing is due: those who wait are to cost nothing.
const REST_NS: u64 = 5 * NS;

/// Whether the node's controller can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controller {
    /// The node has none.
    None,
    /// It is there.
    There,
    /// It has not been heard for a while.
    Away,
}

impl Holds {
    /// Closes what nobody answered in time and what no session asks any more, finds what no record told
    /// of, and forgets what is over. What only the controller's people can answer is denied where they cannot.
    pub fn keep_house(
        &mut self,
        sessions: &Sessions,
        controller: Controller,
    ) -> Result<Vec<Answered>, MapsError> {
        let now_ns = clock::boot_ns();
        let mut told = self.deny_what_nobody_answers(controller)?;
        if now_ns < self.rests_until_ns {
            return Ok(told);
        }
        let mut next_ns = now_ns.saturating_add(REST_NS);
        let mut alive = HashSet::new();
        for (key, mut hold) in self.held.all() {
            if let Some((state, until_ns)) = self.without_daemon(&hold, now_ns) {
                let answered = self.nobody_there(&self.question_of(key, hold, sessions), state);
                self.close(key, hold, (state, until_ns, 0), &answered)?;
                told.push(answered);
                hold.state = state.wire();
                hold.until_ns = until_ns;
            }
            let is_asked = hold.state == HoldState::Asked.wire();
            let is_over = now_ns >= hold.until_ns;
            self.slots.insert(hold.slot);
            if sessions.get(key.session).is_none() {
                if let Some(asked) = self.questions.get(&hold.id).filter(|_| is_asked) {
                    let withdrawn = self.closed(&asked.question, "withdrawn");
                    self.ring_answer(&withdrawn);
                    told.push(withdrawn);
                }
                self.held.remove(key)?;
                continue;
            }
            alive.insert(hold.id);
            // Its record may be on the way.
            let is_old = now_ns.saturating_sub(hold.asked_ns) > NS;
            let is_known = self.questions.contains_key(&hold.id);
            next_ns = next_ns.min(if is_known { hold.until_ns } else { now_ns });
            if is_asked && is_old && !is_known {
                self.insert(Question::unknown(
                    hold.id,
                    key.session,
                    hold.asked_ns,
                    sessions,
                ));
            }
            if is_asked && is_over {
                let question = self.question_of(key, hold, sessions);
                let answered = self.closed(&question, word(HoldState::Late));
                let until_ns = now_ns.saturating_add(NO_STANDS_NS);
                self.close(key, hold, (HoldState::Late, until_ns, 0), &answered)?;
                told.push(answered);
            } else if is_over {
                self.held.remove(key)?;
            }
        }
        for (waiter, _) in self.held.waiting() {
            let answered = self.questions.get(&waiter.hold);
            let answered = answered.and_then(|asked| Some(asked.answered.as_ref()?.0));
            let is_alive = alive.contains(&waiter.hold);
            if answered.is_none() && is_alive {
                continue;
            }
            next_ns = now_ns;
            if answered.is_some_and(|at| now_ns.saturating_sub(at) < WAKES_NS) || is_alive {
                wake::wake(&self.held, waiter.hold);
            }
            if answered.is_none_or(|at| now_ns.saturating_sub(at) >= WAKES_NS) {
                wake::wake(&self.held, waiter.hold);
                self.held.forget(waiter)?;
            }
        }
        self.forget_others(&alive, now_ns);
        // Looked at once, however many sessions ask.
        let open = self.open();
        for slot in std::mem::take(&mut self.slots) {
            let count = open.iter().filter(|(_, hold)| hold.slot == slot).count();
            self.held.set_open(slot, count as u64)?;
        }
        self.rests_until_ns = next_ns;
        self.recent.retain(|id, _| sessions.get(*id).is_some());
        self.counters.retain(|id, _| sessions.get(*id).is_some());
        Ok(told)
    }

    fn question_of(&self, key: HoldKey, hold: Hold, sessions: &Sessions) -> Question {
        let known = self.questions.get(&hold.id);
        known.map_or_else(
            || Question::unknown(hold.id, key.session, hold.asked_ns, sessions),
            |asked| asked.question.clone(),
        )
    }

    /// The answer to a question, and until when it stands, if there was no daemon to give one: the deputy
    /// gave it, or gives it here because it died as well.
    fn without_daemon(&self, hold: &Hold, now_ns: u64) -> Option<(HoldState, u64)> {
        if hold.flags & Hold::BY_DEPUTY != 0 {
            return Some((HoldState::from_wire(hold.state)?, hold.until_ns));
        }
        let is_asked = hold.state == HoldState::Asked.wire();
        let is_lost = is_asked && hold.asked_ns < self.asked_since_ns && now_ns < hold.until_ns;
        is_lost.then(|| (HoldState::Refused, now_ns.saturating_add(NO_STANDS_NS)))
    }

    /// What is told of a question that was asked of nobody.
    fn nobody_there(&self, question: &Question, state: HoldState) -> Answered {
        let mut answered = self.closed(question, word(state));
        if state == HoldState::Refused {
            answered.by = Some("the deputy".to_owned());
            answered.because = Some("the daemon that was asked had died".to_owned());
        }
        answered
    }

    /// Denies what is asked at the controller, where that is not there.
    fn deny_what_nobody_answers(
        &mut self,
        controller: Controller,
    ) -> Result<Vec<Answered>, MapsError> {
        let (asks_there, because): (fn(&Question) -> bool, _) = match controller {
            Controller::There => return Ok(Vec::new()),
            Controller::Away => (
                |question| !question.waits_alone,
                "the controller is away, where people answer",
            ),
            Controller::None => (
                |question| question.people > 1,
                "more than one person has to answer, at a controller, and this node has none",
            ),
        };
        let nobody_answers = |asked: &&Asked| {
            asks_there(&asked.question) && !asked.is_judged && asked.answered.is_none()
        };
        if !self.questions.values().any(|asked| nobody_answers(&asked)) {
            return Ok(Vec::new());
        }
        let until_ns = clock::boot_ns().saturating_add(NO_STANDS_NS);
        let mut told = Vec::new();
        for (key, hold) in self.open() {
            let asked = self.questions.get(&hold.id).filter(nobody_answers);
            let Some(question) = asked.map(|asked| asked.question.clone()) else {
                continue;
            };
            let answered = Answered {
                by: Some("the daemon".to_owned()),
                because: Some(because.to_owned()),
                ..self.closed(&question, word(HoldState::Refused))
            };
            self.close(key, hold, (HoldState::Refused, until_ns, 0), &answered)?;
            told.push(answered);
        }
        Ok(told)
    }

    /// Forgets questions that are not in the kernel's table any more.
    fn forget_others(&mut self, alive: &HashSet<u64>, now_ns: u64) {
        let records = &self.records;
        self.questions.retain(|id, asked| {
            let young = now_ns.saturating_sub(*id) < WAKES_NS;
            let woken = asked.answered.as_ref();
            let waits = woken.is_some_and(|(at, _)| now_ns.saturating_sub(*at) < WAKES_NS);
            let stays = alive.contains(id) || waits || young;
            if !stays {
                records.remove(asked.question.hold);
            }
            stays
        });
    }
}
