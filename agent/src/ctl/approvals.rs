//! What sessions of all nodes ask people, and what people say.

use super::{Asker, CtlError, order, print_json, time};
use crate::holds::question::Question as Asked;
use crate::show::holds::about;
use agent_proto::wire::{ApprovalsRequest, NodeQuestion, Question, SayRequest};
use clap::Args;
use serde_json::{Value, json};
use std::collections::HashSet;

/// Options of `ctl approvals`.
#[derive(Debug, Args)]
pub struct Approvals {
    /// Go on with what comes
    #[arg(long, short)]
    pub follow: bool,
}

/// Options of `ctl approve`.
#[derive(Debug, Args)]
pub struct Approve {
    /// Good for one action, also where the policy would let it be good for more
    #[arg(long)]
    pub once: bool,
    /// Good for this time, such as 30s, 10m, 2h or 1d; never longer than the policy says
    #[arg(long = "for", value_name = "TIME", value_parser = crate::show::events::parse_span)]
    pub lasts: Option<std::time::Duration>,
    /// To what.
    #[command(flatten)]
    pub to: To,
}

/// Options of `ctl deny`.
#[derive(Debug, Args)]
pub struct Deny {
    /// To what.
    #[command(flatten)]
    pub to: To,
}

/// A question.
#[derive(Debug, Args)]
pub struct To {
    /// The question, as `interlock ctl approvals` shows it
    pub question: String,
    /// The node, where several ask under this number
    #[arg(long, value_name = "NAME", default_value = "")]
    pub node: String,
    /// How.
    #[command(flatten)]
    pub how: order::How,
}

impl Asker {
    pub(super) async fn approvals(&mut self, what: &Approvals) -> Result<(), CtlError> {
        let asked = ApprovalsRequest {
            follow: what.follow,
        };
        let mut told = self.client.approvals(asked).await?.into_inner();
        let (mut shown, mut all) = (HashSet::new(), Vec::new());
        while let Some(part) = told.message().await? {
            for asked in part.questions {
                let Some(question) = asked.question.clone() else {
                    continue;
                };
                if !what.follow {
                    all.push(asked);
                    continue;
                }
                // Each once, and once more when somebody has said something.
                let key = (asked.node.clone(), question.question, asked.yes.len());
                if asked.epoch == 0 && shown.insert(key) {
                    if self.json {
                        println!("{}", serde_json::to_string(&as_json(&asked))?);
                    } else {
                        println!("{}", text(&asked));
                    }
                }
            }
        }
        if what.follow {
            return Ok(());
        }
        if self.json {
            return print_json(&Value::Array(all.iter().map(as_json).collect()));
        }
        if all.is_empty() {
            println!("nobody waits for an answer");
        }
        for asked in &all {
            println!("{}", text(asked));
        }
        Ok(())
    }

    pub(super) async fn approve(&mut self, what: &Approve) -> Result<bool, CtlError> {
        let said = SayRequest {
            yes: true,
            once: what.once,
            for_s: what.lasts.map_or(0, |lasts| lasts.as_secs()),
            ..said(&what.to)
        };
        self.say(said, &what.to.how).await
    }

    pub(super) async fn deny(&mut self, what: &Deny) -> Result<bool, CtlError> {
        self.say(said(&what.to), &what.to.how).await
    }

    async fn say(&mut self, said: SayRequest, how: &order::How) -> Result<bool, CtlError> {
        let question = said.question.clone();
        let answer = self.client.say(said).await?.into_inner();
        if answer.missing > 0 {
            let missing = answer.missing;
            if self.json {
                print_json(&json!({"question": question, "missing": missing}))?;
            } else {
                println!("question {question}: {missing} more must say yes");
            }
            return Ok(true);
        }
        let wait = if how.no_wait { 0 } else { how.timeout };
        let done = self.look(answer.epoch, wait).await?;
        Ok(done || how.no_wait)
    }
}

fn said(to: &To) -> SayRequest {
    SayRequest {
        question: to.question.clone(),
        node: to.node.clone(),
        reason: to.how.reason.clone(),
        ..SayRequest::default()
    }
}

fn body(asked: &NodeQuestion) -> (Question, Option<Asked>) {
    let question = asked.question.clone().unwrap_or_default();
    let body = serde_json::from_slice(&question.body).ok();
    (question, body)
}

fn as_json(asked: &NodeQuestion) -> Value {
    let (question, body) = body(asked);
    json!({
        "node": asked.node, "connected": asked.connected, "question": question.question,
        "session": question.session, "agent": question.agent, "expires": time(question.expires_ms),
        "people": question.people.max(1), "yes": asked.yes,
        "answeredBy": (asked.epoch > 0).then_some(asked.epoch), "asks": body,
    })
}

/// A question for a person.
fn text(asked: &NodeQuestion) -> String {
    let (question, body) = body(asked);
    let mut lines = match body {
        Some(body) => about(&body),
        None => vec![format!(
            "{}  {} asks what this version cannot read",
            question.question, question.agent
        )],
    };
    let mut line = |name: &str, text: String| lines.push(format!("  {name:<9} {text}"));
    let away = if asked.connected {
        ""
    } else {
        ", which is away"
    };
    line("node", format!("{}{away}", asked.node));
    line(
        "no answer",
        format!("denied at {}", time(question.expires_ms)),
    );
    if question.people > 1 {
        line("people", format!("{} must say yes", question.people));
    }
    if !asked.yes.is_empty() {
        line("yes", asked.yes.join(", "));
    }
    if asked.epoch > 0 {
        line("answered", format!("by directive {}", asked.epoch));
    }
    // What a node says comes from agents in the end, and goes to a terminal.
    let shown = |line: String| line.replace(|letter: char| letter.is_control(), "\u{fffd}");
    let lines: Vec<String> = lines.into_iter().map(shown).collect();
    lines.join("\n")
}
