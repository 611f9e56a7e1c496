//! Taking answers, of people and of policies.

use super::answer::{Answer, Answered, NotTaken};
use super::expression::{self, Says};
use super::question::Question;
use super::{Holds, wake};
use crate::events::explain;
use crate::events::line::{Closed, Line};
use crate::ids::HoldId;
use std::cell::RefCell;
use std::rc::Rc;
use tokio::sync::mpsc::UnboundedSender;
use tracing::warn;

/// Takes somebody's answer, and lets those go on that wait for it. A yes to a program is one to the file that
/// was asked about.
pub async fn answer(
    holds: &Rc<RefCell<Holds>>,
    answer: &Answer,
    people: Vec<String>,
) -> Result<Answered, NotTaken> {
    let (program, readers) = {
        let mut all = holds.borrow_mut();
        all.note_programs();
        let asked = all.questions.get(&answer.hold.0);
        let program = asked.and_then(|asked| asked.program.clone());
        (program.filter(|_| answer.approve), all.readers.clone())
    };
    if let Some(program) = program
        && !readers.is_same(program).await
    {
        return Err(NotTaken::Changed(answer.hold));
    }
    let answered = holds.borrow_mut().answer(answer, &people.join(" and "))?;
    wake_all(holds, answer.hold);
    Ok(answered)
}

/// Has policies answer the questions that they answer themselves. Each takes its time beside what else there is.
pub fn judge_all(holds: &Rc<RefCell<Holds>>, lines: &UnboundedSender<Line>) {
    let waiting = std::mem::take(&mut holds.borrow_mut().to_judge);
    for (hold, text) in waiting {
        let (holds, lines) = (Rc::clone(holds), lines.clone());
        tokio::task::spawn_local(async move {
            let answered = judge(&holds, hold, &text).await;
            holds.borrow_mut().set_judged(hold, false);
            if let Some(answered) = answered {
                let time = explain::now();
                // The events task ends only with the daemon.
                let _ = lines.send(Line::Answered(Closed { time, answered }));
            }
        });
    }
}

async fn judge(holds: &Rc<RefCell<Holds>>, hold: HoldId, text: &str) -> Option<Answered> {
    let (question, counters) = {
        let mut holds = holds.borrow_mut();
        let question = holds.asked(hold)?;
        let counters = holds.counters.get(&question.session.0).copied();
        (question, counters.unwrap_or_default())
    };
    let (approve, because) = match expression::judge(text, &question, counters).await {
        Ok(Says::Ask) => return None,
        Ok(Says::Answer(yes)) => (yes, text.to_owned()),
        Err(why) => {
            warn!(%hold, why, "a policy's expression gives no answer: denied");
            (false, format!("{text}: {why}"))
        }
    };
    let said = Answer {
        hold,
        approve,
        once: false,
        for_s: None,
        because: Some(because),
    };
    // A person may have been faster.
    answer(holds, &said, vec!["the policy".to_owned()])
        .await
        .ok()
}

/// What an answer from elsewhere is bound to.
pub fn digest(question: &Question) -> Vec<u8> {
    let digest = ring::digest::digest(&ring::digest::SHA256, &question.bytes());
    digest.as_ref().to_vec()
}

/// Looks again and again after an answer, beside what else there is to do.
pub fn wake_all(holds: &Rc<RefCell<Holds>>, hold: HoldId) {
    let holds = Rc::clone(holds);
    tokio::task::spawn_local(async move {
        for pause in wake::LOOKS {
            tokio::time::sleep(pause).await;
            holds.borrow().wake(hold);
        }
    });
}
