//! `interlock evidence show`: the story of a session.

use super::export::each;
use super::story::Story;
use super::verify::ReadError;
use crate::cli::EvidenceShow;
use std::io::Write;

/// Tells it. False when no record speaks of the session.
pub fn run(options: &EvidenceShow) -> Result<bool, ReadError> {
    let id = options.session.to_string();
    let mut story = Story::default();
    let mut bodies = Vec::new();
    each(&options.folder, |entry, record| {
        if record
            .session
            .as_ref()
            .is_some_and(|session| session.id == id)
        {
            if options.json {
                bodies.push(entry.body);
            }
            story.hear(record);
        }
        Ok(true)
    })?;
    if !story.has_begun() {
        eprintln!("interlock: no record speaks of session {id}");
        return Ok(false);
    }
    let mut out = std::io::stdout().lock();
    // Who stops reading has read enough.
    let _ = match options.json {
        true => bodies
            .iter()
            .try_for_each(|body| out.write_all(body).and_then(|()| out.write_all(b"\n"))),
        false => out.write_all(story.told().as_bytes()),
    };
    Ok(true)
}
