//! What one record says, in a line.

use super::story::Story;
use agent_evidence::record::{Record, What};

/// Tells it.
pub(crate) fn sentence(record: Record) -> String {
    let mut story = Story::default();
    story.hear(record);
    let told = story.lines.into_iter().next();
    told.map_or_else(String::new, |told| {
        let below = told.below.into_iter();
        let words: Vec<String> = [told.text].into_iter().chain(below).collect();
        words.join("; ")
    })
}

/// What is no session's.
pub(super) fn of_node(what: &What) -> String {
    match what {
        What::Daemon(daemon) => {
            let programs = daemon.programs.as_ref();
            let words = [
                daemon.enforcement.clone(),
                programs.map(|build| format!("kernel programs {build}")),
                daemon.error.clone(),
            ];
            let words = words.into_iter().flatten().map(|word| format!("; {word}"));
            let more: String = words.collect();
            format!(
                "the daemon {}, version {}{more}",
                daemon.step, daemon.version
            )
        }
        What::Policy(policy) => {
            let agent = policy.agent.as_deref().unwrap_or("an unknown agent");
            let error = policy.error.iter().map(|error| format!("; {error}"));
            let more: String = error.collect();
            format!("policy of {agent} {}: {}{more}", policy.change, policy.file)
        }
        What::Gap(gap) if gap.loses() => format!(
            "gap ({}): records {} to {} are missing",
            gap.found, gap.first, gap.last
        ),
        What::Gap(gap) => format!("gap ({}): no record is missing", gap.found),
        What::Retired(retired) => format!("records up to {} were taken away", retired.last),
        other => other.word().to_owned(),
    }
}
