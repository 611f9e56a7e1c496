//! The person who answers: what waits gets the answer that the case has for it.

use super::now;
use super::performance::Performance;
use crate::harness::holds::{approve, deny, open_questions};
use agent_policy::{Action, Outcome, Trial};
use anyhow::{Context, Result, ensure};

/// An action that waits.
pub(super) struct Open {
    /// The question's number.
    hold: String,
    /// The order that the actor has not carried out yet.
    order: String,
}

impl<'a> Performance<'a> {
    /// Somebody is going to say yes, when it is asked for: the kernel gives no approval before.
    pub(super) fn approve(&mut self, name: &str) {
        let facts = |side: &super::script::Side| {
            agent_policy::approval_facts(&side.policy, &side.compiled, name)
        };
        self.shipped
            .set_facts(facts(&self.reading.shipped), self.at);
        self.given |= facts(&self.reading.played);
    }

    /// The session as it is with every yes that was said.
    pub(super) fn trial_with_yes(&self) -> Result<Trial<'a>> {
        let mut trial = self.trial.clone();
        trial.set_facts(self.given, now()?);
        Ok(trial)
    }

    /// Gives an order that must wait for an answer, unless it waits already.
    pub(super) fn ask(
        &mut self,
        line: u32,
        order: &str,
        action: Action,
        outcome: Outcome,
    ) -> Result<()> {
        if self.open.as_ref().is_some_and(|open| open.order == order) {
            return Ok(());
        }
        self.no()?;
        let actor = self.actor.as_mut().context("the session has ended")?;
        actor.begin(order)?;
        self.expected.push((line, action, outcome));
        self.compare_told()?;
        let mut questions = open_questions(self.agent)?;
        ensure!(questions.len() == 1, "one question, not {questions:?}");
        self.open = questions.pop().map(|question| Open {
            hold: question.hold,
            order: order.to_owned(),
        });
        Ok(())
    }

    /// Says yes to what waits, and gives what the actor says then.
    pub(super) fn yes(&mut self) -> Result<String> {
        let open = self.open.take().context("nothing waits")?;
        approve(&open.hold)?;
        let actor = self.actor.as_mut().context("the session has ended")?;
        actor.answer()
    }

    /// Says no, if anything waits.
    pub(super) fn no(&mut self) -> Result<()> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        deny(&open.hold)?;
        let actor = self.actor.as_mut().context("the session has ended")?;
        let said = actor.answer()?;
        let all = self.events.wait(self.agent, self.told + 1)?;
        let told = &all[self.told];
        self.told += 1;
        ensure!(
            said == "EPERM" && told.reason == "approval refused",
            "{} was refused: the kernel answered {said}, and told {told:?}",
            open.order
        );
        Ok(())
    }
}
