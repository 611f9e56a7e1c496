//! `interlock policy schema`: for editors.

use super::answer::{Answer, Outcome};
use super::fault::Fault;

pub(super) fn run() -> Result<Answer, Fault> {
    Answer::json(&agent_policy::schema(), Outcome::Fine)
}
