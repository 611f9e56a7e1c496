//! Answers that a policy gives by itself: an expression in CEL, for what no table can hold.
//!
//! It sees the request, the session, the time and what the session was answered before. `true` is a yes,
//! `false` a no, `"ask"` leaves it to people; anything else, an error, and no result in time are a no.
//! What it may cost is bounded before it runs: its length and how often it walks over lists, which the
//! policy is read by, and the lists.

use super::answer::Counters;
use super::question::Question;
use cel::{Context, Program, Value};
use serde_json::json;
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_millis(500);

/// What an expression says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    /// Yes or no.
    Answer(bool),
    /// People are to say.
    Ask,
}

/// What an expression says to a question, within a time.
pub async fn judge(text: &str, question: &Question, counters: Counters) -> Result<Says, String> {
    agent_policy::check_expression(text).map_err(|found| format!("found {found}"))?;
    let (text, seen) = (text.to_owned(), seen(question, counters));
    let (tell, told) = tokio::sync::oneshot::channel();
    let work = move || {
        // Who asked may have lost patience.
        let _ = tell.send(say(&text, &seen));
    };
    let spawned = std::thread::Builder::new()
        .name("expression".into())
        .spawn(work);
    spawned.map_err(|error| error.to_string())?;
    match tokio::time::timeout(PATIENCE, told).await {
        Ok(Ok(said)) => said,
        Ok(Err(_)) => Err("it failed".to_owned()),
        Err(_) => Err(format!("no result within {} ms", PATIENCE.as_millis())),
    }
}

fn say(text: &str, seen: &serde_json::Value) -> Result<Says, String> {
    let program = Program::compile(text).map_err(|error| error.to_string())?;
    let mut context = Context::default();
    for (name, value) in seen.as_object().into_iter().flatten() {
        let value = cel::to_value(value).map_err(|error| error.to_string())?;
        context.add_variable_from_value(name.as_str(), value);
    }
    match program.execute(&context) {
        Ok(Value::Bool(yes)) => Ok(Says::Answer(yes)),
        Ok(Value::String(word)) if *word == "ask" => Ok(Says::Ask),
        Ok(_) => Err("found a result other than true, false and \"ask\"".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// What an expression sees.
fn seen(question: &Question, counters: Counters) -> serde_json::Value {
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    json!({
        "request": {
            "action": question.action, "object": question.object, "digest": question.digest,
            "program": question.process["exe"], "rule": question.rule, "stopped": question.stopped,
        },
        "session": {
            "id": question.session.to_string(), "agent": question.agent, "owner": question.owner,
            "task": question.task, "facts": question.facts, "step": question.step,
            "tool": question.tool, "recent": question.recent,
        },
        "time": {
            "unix": now.timestamp().as_second(), "hour": now.hour(), "minute": now.minute(),
            "weekday": now.weekday().to_monday_one_offset(), "text": question.asked,
        },
        "counters": {
            "asked": counters.asked, "approved": counters.approved, "denied": counters.denied,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::HoldId;
    use crate::ids::SessionId;

    fn said(text: &str) -> Result<Says, String> {
        let question = Question {
            action: "connect".into(),
            object: json!({"address": "192.0.2.1", "port": 443, "protocol": "tcp"}),
            facts: vec!["read".into(), "reviewed".into()],
            agent: Some("a".into()),
            ..Question::nothing(HoldId(1), SessionId(1))
        };
        let counters = Counters {
            asked: 3,
            approved: 1,
            denied: 1,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        runtime.block_on(judge(text, &question, counters))
    }

    #[test]
    fn an_expression_answers_by_what_it_sees() {
        for (text, expected) in [
            ("true", Says::Answer(true)),
            (
                "request.action == 'connect' && request.object.port == 443",
                Says::Answer(true),
            ),
            ("request.object.port == 80", Says::Answer(false)),
            ("'reviewed' in session.facts", Says::Answer(true)),
            ("session.agent == 'b'", Says::Answer(false)),
            ("counters.approved < 3", Says::Answer(true)),
            ("counters.asked > 2 ? 'ask' : true", Says::Ask),
            ("time.hour >= 0 && time.weekday <= 7", Says::Answer(true)),
            ("session.facts.exists(f, f == 'read')", Says::Answer(true)),
        ] {
            assert_eq!(said(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn an_error_is_no_answer() {
        for text in [
            "",
            "1 +",
            "1",
            "'yes'",
            "request.nothing == 1",
            "unknown == 1",
            "1 / 0 == 1",
            "[1].map(a, [1].map(b, [1].map(c, c)))",
            &"1 + ".repeat(500),
        ] {
            let said = said(text);
            assert!(said.is_err(), "{text}: {said:?}");
        }
    }
}
