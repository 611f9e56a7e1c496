//! Under which conditions something is allowed, in words.

use crate::policy::{Approval, Common, Hours, Limit, LimitKind, Word};

pub(crate) fn conditions(common: &Common) -> String {
    let mut text = String::new();
    if !common.during.is_empty() {
        text += &format!(", during {}", words(&common.during));
    }
    if !common.requires.is_empty() {
        text += &format!(", if {} holds", words(&common.requires));
    }
    if !common.forbids.is_empty() {
        text += &format!(", unless {} holds", words(&common.forbids));
    }
    if let Some(hours) = &common.hours {
        text += &format!(", {}", hours_in_words(hours));
    }
    if let Some(approval) = &common.approval {
        let outside = common
            .hours
            .as_ref()
            .is_some_and(|hours| hours.otherwise_approval);
        text += if outside {
            ", and outside those hours "
        } else {
            ", "
        };
        text += &approved(approval);
    }
    for limit in &common.limits {
        text += &format!(", {}", limit_in_words(limit));
    }
    if !common.sets.is_empty() {
        text += &format!("; then {} holds", words(&common.sets));
    }
    if !common.clears.is_empty() {
        text += &format!("; then {} no longer holds", words(&common.clears));
    }
    text
}

/// How an approval comes about, and how long it is good.
pub(super) fn approved(approval: &Approval) -> String {
    let by = approval.by.join(" or ");
    let mut text = match approval.people {
        1 => format!("once {by} has approved it"),
        people => format!("once {people} people of {by} have approved it"),
    };
    if approval.once {
        text += " (good for one time)";
    }
    if let Some(seconds) = approval.expires_s {
        text += &format!(" (good for {})", duration(seconds));
    }
    if let Some(seconds) = approval.wait_s {
        text += &format!(" (waiting at most {})", duration(seconds));
    }
    if approval.waits_alone {
        text += " (also while the controller is away)";
    }
    if !approval.show.is_empty() {
        text += &format!(" (shown: {})", approval.show.join(", "));
    }
    if let Some(expression) = &approval.answer {
        text += &format!(" (answered where it can be by: {expression})");
    }
    text
}

pub(super) fn words(words: &[Word]) -> String {
    words
        .iter()
        .map(|word| format!("\"{}\"", word.text))
        .collect::<Vec<_>>()
        .join(" and ")
}

/// Seconds in the largest unit that fits.
pub(crate) fn duration(seconds: u64) -> String {
    for (scale, unit) in [(86_400, "days"), (3600, "hours"), (60, "minutes")] {
        if seconds >= scale && seconds.is_multiple_of(scale) {
            let count = seconds / scale;
            return if count == 1 {
                format!("1 {}", unit.trim_end_matches('s'))
            } else {
                format!("{count} {unit}")
            };
        }
    }
    format!("{seconds} seconds")
}

fn hours_in_words(hours: &Hours) -> String {
    let names = [
        "Monday",
        "Tuesday",
        "Wednesday",
        "Thursday",
        "Friday",
        "Saturday",
        "Sunday",
    ];
    let days: Vec<&str> = names
        .iter()
        .enumerate()
        .filter(|(i, _)| hours.days >> i & 1 != 0)
        .map(|(_, name)| *name)
        .collect();
    let on = match days.len() {
        7 => "every day".to_owned(),
        _ => format!("on {}", days.join(", ")),
    };
    let time = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
    format!(
        "{on} from {} to {} {}",
        time(hours.from),
        time(hours.to),
        hours.zone
    )
}

fn limit_in_words(limit: &Limit) -> String {
    let per = if limit.per_step { "step" } else { "session" };
    match limit.kind {
        LimitKind::Rate {
            count,
            period_s,
            burst,
        } => pace(count, period_s, burst),
        LimitKind::Count(count) => format!("at most {count} times in a {per}"),
        LimitKind::Bytes(bytes) => format!("at most {bytes} bytes in a {per}"),
    }
}

/// So many in so much time.
pub(super) fn pace(count: u64, period_s: u64, burst: u64) -> String {
    format!(
        "at most {count} times in {} and {burst} at once",
        duration(period_s)
    )
}
