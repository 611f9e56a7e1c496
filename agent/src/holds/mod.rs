//! Questions to people: actions that wait for a yes.
//!
//! The kernel asks and enforces; what is here shows the questions, writes answers into the kernel's
//! table, and lets those go on that were stopped. Without it nobody gets a yes, and nothing else
//! changes.

pub mod answer;
pub mod bell;
pub mod deputy;
pub mod expression;
mod house;
pub mod program;
pub mod question;
pub mod records;
mod take;
pub mod wake;

use crate::events::line;
use crate::ids::HoldId;
use crate::kernel::clock;
use crate::kernel::held::Held;
use crate::kernel::maps::MapsError;
use crate::kernel::pins::Pins;
use crate::sessions::Sessions;
use agent_common::event::Denial;
use agent_common::hold::{Hold, HoldKey, HoldState};
use agent_common::session::Session as State;
use answer::{Answer, Answered, Counters, NotTaken};
use bell::Bell;
pub use house::Controller;
use program::{Program, Readers};
use question::Question;
use records::Records;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
pub use take::{answer, digest, judge_all, wake_all};

const NS: u64 = 1_000_000_000;

/// How long a no stands, and that nobody answered: whoever tries again meanwhile asks nobody.
const NO_STANDS_NS: u64 = 60 * NS;

/// How long processes are remembered that waited for an answer, in nanoseconds.
const WAKES_NS: u64 = 5 * NS;

/// What a session did that is shown with its next question.
const RECENT: usize = 10;

/// An open question, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HoldInfo {
    /// What is asked.
    #[serde(flatten)]
    pub question: Question,
    /// Seconds until it is denied.
    pub left_s: u64,
    /// The same, from when it was asked.
    pub wait_s: u64,
    /// The processes that are stopped for it.
    pub waiting: Vec<u32>,
}

/// How many questions there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Those that wait for an answer.
    pub open: usize,
    /// How long the oldest of these has waited; zero where there is none.
    pub oldest: Duration,
    /// All that are in the kernel's table, answered ones included.
    pub taken: usize,
}

/// All questions.
pub struct Holds {
    held: Held,
    records: Records,
    questions: BTreeMap<u64, Asked>,
    /// What sessions did, the latest last.
    recent: HashMap<u64, VecDeque<String>>,
    /// Slots of which questions were seen.
    slots: HashSet<u32>,
    readers: Readers,
    /// What sessions were answered.
    counters: HashMap<u64, Counters>,
    /// Questions that their policies' expressions are to answer.
    to_judge: Vec<(HoldId, String)>,
    bell: Option<Bell>,
    /// What was asked before, nobody can answer any more.
    asked_since_ns: u64,
    /// Until then the house has nothing to do, unless something changes.
    rests_until_ns: u64,
    /// Programs that were read meanwhile, by question.
    read: Arc<Mutex<Vec<(u64, Program)>>>,
}

struct Asked {
    question: Question,
    /// The file of the program that it is about.
    program: Option<Program>,
    /// Whether its policy's expression is asked, which needs no controller.
    is_judged: bool,
    /// When it was answered, in nanoseconds since boot, and how.
    answered: Option<(u64, Answered)>,
}

impl Holds {
    /// Takes over what is asked. What was asked of a daemon that died before this one began is denied.
    pub fn adopt(
        pins: &Pins,
        sessions: &Path,
        bell: Option<Bell>,
        began_ns: u64,
    ) -> Result<Self, MapsError> {
        let records = Records::beside(sessions);
        let mut holds = Self {
            held: Held::open(pins)?,
            asked_since_ns: match records.take_over() {
                true => 0,
                false => began_ns,
            },
            records,
            questions: BTreeMap::new(),
            recent: HashMap::new(),
            slots: HashSet::new(),
            counters: HashMap::new(),
            to_judge: Vec::new(),
            bell,
            rests_until_ns: 0,
            readers: Readers::default(),
            read: Arc::default(),
        };
        let alive: HashSet<u64> = holds.held.all().iter().map(|(_, hold)| hold.id).collect();
        for question in holds.records.read() {
            if alive.contains(&question.hold.0) {
                holds.insert(question);
            } else {
                holds.records.remove(question.hold);
            }
        }
        Ok(holds)
    }

    /// The next daemon takes over what is open.
    pub fn hand_over(&self) {
        self.records.hand_over();
    }

    fn insert(&mut self, question: Question) {
        self.rests_until_ns = 0;
        let asked = Asked {
            question,
            program: None,
            is_judged: false,
            answered: None,
        };
        self.questions.insert(asked.question.hold.0, asked);
    }

    /// Notes what a session did.
    pub fn note_recent(&mut self, session: u64, what: String) {
        let recent = self.recent.entry(session).or_default();
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back(what);
    }

    /// Notes a question of which the kernel tells.
    pub fn note(&mut self, denial: &Denial, told: &line::Denial, sessions: &Sessions) {
        let known = self.questions.get(&denial.hold);
        if known.is_some_and(|asked| asked.question.is_known()) {
            return;
        }
        // One that was answered, by an earlier daemon perhaps, is none any more.
        if !is_question(told.reason) {
            return;
        }
        let recent = self.recent.get(&denial.header.session);
        let recent = recent.map_or_else(Vec::new, |recent| recent.iter().cloned().collect());
        let question = Question::of(denial, told, sessions, recent);
        self.records.write(&question);
        self.counters
            .entry(denial.header.session)
            .or_default()
            .asked += 1;
        if let Some(bell) = &self.bell {
            bell.ring("asked", &question);
        }
        let expression = question::expression(denial, sessions);
        let program = question.program();
        let hold = question.hold;
        self.insert(question);
        if let Some(text) = expression {
            self.set_judged(hold, true);
            self.to_judge.push((hold, text));
        }
        if let Some((pid, path)) = program {
            let (read, id) = (Arc::clone(&self.read), denial.hold);
            self.readers.read(pid, &path, move |program| {
                let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
                read.push((id, program));
            });
        }
    }

    fn set_judged(&mut self, hold: HoldId, is_judged: bool) {
        if let Some(asked) = self.questions.get_mut(&hold.0) {
            asked.is_judged = is_judged;
        }
    }

    /// Notes the programs that were read.
    fn note_programs(&mut self) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, program) in read.drain(..) {
            let Some(asked) = self.questions.get_mut(&id) else {
                continue;
            };
            asked.question.digest = Some(program.digest.clone());
            asked.program = Some(program);
            self.records.write(&asked.question);
        }
    }

    /// What a question asks.
    pub fn asked(&mut self, hold: HoldId) -> Option<Question> {
        self.note_programs();
        Some(self.questions.get(&hold.0)?.question.clone())
    }

    /// The open questions, the oldest first.
    pub fn list(&mut self, sessions: &Sessions) -> Vec<HoldInfo> {
        self.note_programs();
        let now_ns = clock::boot_ns();
        let waiting = self.held.waiting();
        let mut list = Vec::new();
        for (key, hold) in self.open() {
            // Of one that is over nobody waits, and no answer changes anything; the house takes its
            // questions away once it is gone.
            let state = sessions.state(key.session);
            if !state.is_ok_and(|state| state.is_some_and(|it| it.flags & State::REVOKED == 0)) {
                continue;
            }
            let Some(asked) = self.questions.get(&hold.id) else {
                continue;
            };
            let of = |(waiter, _): &&(agent_common::hold::Waiter, u64)| waiter.hold == hold.id;
            list.push(HoldInfo {
                question: asked.question.clone(),
                left_s: hold.until_ns.saturating_sub(now_ns) / NS,
                wait_s: hold.until_ns.saturating_sub(hold.asked_ns) / NS,
                waiting: waiting.iter().filter(of).map(|(it, _)| it.pid).collect(),
            });
        }
        list.sort_by_key(|info| info.question.hold);
        list
    }

    /// How many questions there are, and since when the oldest is open.
    pub fn figures(&self) -> Figures {
        let all = self.held.all();
        let taken = all.len();
        let mut open: Vec<_> = all
            .into_iter()
            .filter(|(_, hold)| hold.state == HoldState::Asked.wire())
            .map(|(_, hold)| hold.asked_ns)
            .collect();
        open.sort_unstable();
        let age_ns = |asked_ns: &u64| clock::boot_ns().saturating_sub(*asked_ns);
        Figures {
            open: open.len(),
            oldest: Duration::from_nanos(open.first().map_or(0, age_ns)),
            taken,
        }
    }

    fn open(&self) -> Vec<(HoldKey, Hold)> {
        let mut all = self.held.all();
        all.retain(|(_, hold)| hold.state == HoldState::Asked.wire());
        all
    }

    /// Takes an answer.
    fn answer(&mut self, answer: &Answer, by: &str) -> Result<Answered, NotTaken> {
        let id = answer.hold;
        let all = self.held.all();
        let mut of = all.into_iter().filter(|(_, hold)| hold.id == id.0);
        let (found, another) = (of.next(), of.next());
        let asked = self.questions.get(&id.0);
        if let Some((_, answered)) = asked.and_then(|asked| asked.answered.as_ref()) {
            return Err(NotTaken::Answered(id, answered.answer.clone()));
        }
        let Some(((key, hold), asked)) = found.zip(asked) else {
            return Err(NotTaken::NoQuestion(id));
        };
        let now_ns = clock::boot_ns();
        if hold.state != HoldState::Asked.wire() || now_ns >= hold.until_ns {
            let state = HoldState::from_wire(hold.state).filter(|state| *state != HoldState::Asked);
            let state = state.unwrap_or(HoldState::Late);
            return Err(NotTaken::Answered(id, state.word().to_owned()));
        }
        // Of two that share a number nobody knows which is meant.
        if answer.approve && (another.is_some() || !asked.question.is_known()) {
            return Err(NotTaken::Unknown(id));
        }
        let question = asked.question.clone();
        let once = question.once || answer.once;
        let for_s = [question.expires_s, answer.for_s]
            .into_iter()
            .flatten()
            .min();
        let (state, until_ns) = if answer.approve {
            let lasts = |seconds: u64| now_ns.saturating_add(seconds.saturating_mul(NS));
            (HoldState::Approved, for_s.map_or(u64::MAX, lasts))
        } else {
            (HoldState::Refused, now_ns.saturating_add(NO_STANDS_NS))
        };
        let answered = Answered {
            by: Some(by.to_owned()),
            because: answer.because.clone(),
            once: answer.approve && once,
            for_s: for_s.filter(|_| answer.approve),
            ..self.closed(&question, word(state))
        };
        let flags = if once { Hold::ONCE } else { 0 };
        self.close(key, hold, (state, until_ns, flags), &answered)
            .map_err(|error| NotTaken::Map(error.to_string()))?;
        Ok(answered)
    }

    /// What became of a question.
    fn closed(&self, question: &Question, answer: &str) -> Answered {
        let waiting = self.held.waiting();
        Answered {
            hold: question.hold,
            session: question.session,
            agent: question.agent.clone(),
            of: question.subject(),
            answer: answer.to_owned(),
            by: None,
            because: None,
            once: false,
            for_s: None,
            waiting: waiting
                .iter()
                .filter(|(waiter, _)| waiter.hold == question.hold.0)
                .count(),
        }
    }

    /// Writes what became of a question into the kernel's table.
    fn close(
        &mut self,
        key: HoldKey,
        hold: Hold,
        (state, until_ns, flags): (HoldState, u64, u32),
        answered: &Answered,
    ) -> Result<(), MapsError> {
        let answer = Hold {
            state: state.wire(),
            until_ns,
            flags,
            ..hold
        };
        self.held.answer(key, answer)?;
        self.rests_until_ns = 0;
        let counters = self.counters.entry(key.session).or_default();
        match state {
            HoldState::Approved => counters.approved += 1,
            _ => counters.denied += 1,
        }
        self.ring_answer(answered);
        if let Some(asked) = self.questions.get_mut(&hold.id) {
            asked.answered = Some((clock::boot_ns(), answered.clone()));
        }
        wake::wake(&self.held, hold.id);
        self.count(key.session, hold.slot)
    }

    fn ring_answer(&self, answered: &Answered) {
        if let Some(bell) = &self.bell {
            bell.ring("answered", answered);
        }
    }

    /// Tells the kernel how many questions of a slot's session are open. Those of one that had the slot before may
    /// still be in the table.
    fn count(&mut self, session: u64, slot: u32) -> Result<(), MapsError> {
        let open = self.open();
        let count = open
            .iter()
            .filter(|(key, _)| key.session == session)
            .count();
        self.held.set_open(slot, count as u64)
    }

    /// Lets those go on again that wait for an answer that was given: some had yet to stop then.
    pub fn wake(&self, hold: HoldId) {
        wake::wake(&self.held, hold.0);
    }
}

/// What evidence calls a state.
fn word(state: HoldState) -> &'static str {
    match state {
        HoldState::Asked => "asked",
        HoldState::Approved => "given",
        HoldState::Refused => "refused",
        HoldState::Late => "expired",
    }
}

/// Whether a record with this reason asks something.
fn is_question(reason: &str) -> bool {
    use agent_common::decide::Reason;
    [Reason::ApprovalMissing, Reason::ApprovalPending]
        .iter()
        .any(|asks| asks.word() == reason)
}
