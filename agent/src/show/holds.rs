//! `interlock holds`, `approve` and `deny`: what sessions ask people, and what people say.

use super::{command_line, object, refused, word};
use crate::cli::{Approve, Deny, Holds};
use crate::control::client;
use crate::control::protocol::{Request, Response};
use crate::holds::HoldInfo;
use crate::holds::answer::{Answer, Answered};
use crate::holds::question::Question;
use crate::report::{ReportError, print_json};
use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

/// How often the daemon is asked for what is new.
const PAUSE: Duration = Duration::from_millis(500);

/// Shows open questions; with `--follow`, each once, for ever.
pub fn run(options: &Holds) -> Result<(), ReportError> {
    let (socket, json) = (&options.ask.socket, options.ask.json);
    let mut shown = HashSet::new();
    loop {
        let list = ask(socket)?;
        if json && !options.follow {
            return print_json(&list);
        }
        if list.is_empty() && !options.follow {
            println!("nobody waits for an answer");
        }
        let open: HashSet<_> = list.iter().map(|info| info.question.hold).collect();
        for info in &list {
            if !shown.insert(info.question.hold) {
                continue;
            }
            if json {
                println!("{}", serde_json::to_string(info)?);
            } else {
                println!("{}", text(info));
            }
        }
        shown.retain(|hold| open.contains(hold));
        if !options.follow {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
}

fn ask(socket: &Path) -> Result<Vec<HoldInfo>, ReportError> {
    match client::ask(socket, &Request::Holds)? {
        Response::Holds(list) => Ok(list),
        other => Err(refused(other)),
    }
}

/// Says yes.
pub fn approve(options: &Approve) -> Result<(), ReportError> {
    let answer = Answer {
        hold: options.hold,
        approve: true,
        once: options.once,
        for_s: options.lasts.map(|lasts| lasts.as_secs()),
        because: options.because.clone(),
    };
    say(&options.ask, answer)
}

/// Says no.
pub fn deny(options: &Deny) -> Result<(), ReportError> {
    let answer = Answer {
        hold: options.hold,
        approve: false,
        once: false,
        for_s: None,
        because: options.because.clone(),
    };
    say(&options.ask, answer)
}

fn say(ask: &crate::cli::Ask, answer: Answer) -> Result<(), ReportError> {
    let answered = match client::ask(&ask.socket, &Request::Answer(answer))? {
        Response::Answered(answered) => answered,
        other => return Err(refused(other)),
    };
    if ask.json {
        return print_json(&answered);
    }
    println!("{}", sentence(&answered));
    Ok(())
}

fn sentence(answered: &Answered) -> String {
    let (hold, of) = (answered.hold, &answered.of);
    if answered.answer != "given" {
        return format!("{hold}: {of} is denied");
    }
    let lasts = match (answered.once, answered.for_s) {
        (true, None) => "for one action".to_owned(),
        (true, Some(seconds)) => format!("for one action within {seconds} s"),
        (false, Some(seconds)) => format!("for {seconds} s"),
        (false, None) => "for as long as the session lasts".to_owned(),
    };
    format!("{hold}: {of} is approved {lasts}")
}

/// A question for a person.
fn text(info: &HoldInfo) -> String {
    let asks = &info.question;
    let mut lines = about(asks);
    let mut line = |name: &str, text: String| lines.push(format!("  {name:<9} {text}"));
    let waits = if asks.stopped {
        format!("stopped: {}", pids(&info.waiting))
    } else {
        "denied for now; it can be tried again after a yes".to_owned()
    };
    line("waits", waits);
    line(
        "no answer",
        format!("{} in {} s", asks.on_no_answer, info.left_s),
    );
    lines.join("\n")
}

/// What is asked, line by line.
pub fn about(asks: &Question) -> Vec<String> {
    let agent = asks.agent.as_deref().unwrap_or("an unknown agent");
    let owner = asks.owner.as_deref().unwrap_or("nobody known");
    let mut lines = vec![
        format!("{}  {agent} asks", asks.hold),
        format!("  to        {} {}", asks.action, object(&asks.object)),
        format!("  session   {}, owner {owner}", asks.session),
    ];
    let mut line = |name: &str, text: String| lines.push(format!("  {name:<9} {text}"));
    if let Some(arguments) = asks.object["arguments"].as_array() {
        let words: Vec<&str> = arguments.iter().filter_map(|word| word.as_str()).collect();
        line("words", words.join(" "));
    }
    if let Some(digest) = &asks.digest {
        line("digest", digest.clone());
    }
    line(
        "process",
        format!("{} {}", asks.process["pid"], command_line(&asks.process)),
    );
    for (name, value) in [
        ("task", &asks.task),
        ("tool", &asks.tool),
        ("step", &asks.step),
    ] {
        if let Some(value) = value {
            line(name, value.clone());
        }
    }
    if !asks.facts.is_empty() {
        line("facts", asks.facts.join(", "));
    }
    if let Some(rule) = &asks.rule {
        let (file, text) = (word(rule, "file"), word(rule, "text"));
        line("rule", format!("{text} ({file}:{})", rule["line"]));
    }
    if let Some(because) = &asks.because {
        line("because", because.clone());
    }
    if !asks.by.is_empty() {
        line("approver", asks.by.join(" or "));
    }
    if asks.people > 1 {
        line(
            "people",
            format!("{} must say yes, at the controller", asks.people),
        );
    }
    if asks.waits_alone {
        line("waits", "also while the controller is away".to_owned());
    }
    if !asks.show.is_empty() {
        line("look at", asks.show.join(", "));
    }
    for recent in &asks.recent {
        line("before", recent.clone());
    }
    let yes = match (asks.once, asks.expires_s) {
        (true, _) => "for one action".to_owned(),
        (false, Some(seconds)) => format!("for {seconds} s"),
        (false, None) => "for as long as the session lasts".to_owned(),
    };
    line("a yes", format!("is good for this alone, {yes}"));
    lines
}

fn pids(pids: &[u32]) -> String {
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    match pids.as_slice() {
        [] => "nobody any more".to_owned(),
        pids => format!("process {}", pids.join(", ")),
    }
}
