//! How fast a session under load falls silent and ends, as JSON lines: one a revocation.

use crate::cases::revoke_streams::{Figures, revoke_under_load};
use crate::harness::kernel;
use anyhow::{Context, Result};
use serde_json::json;

/// Connections that stream, and processes of the fork bomb beside them.
const CONNECTIONS: usize = 64;
const BOMB: u32 = 100;

/// Revokes so many sessions, one after the other.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let runs = words.first().map_or("200", String::as_str);
    let runs: u32 = runs
        .parse()
        .with_context(|| format!("{runs} is no number"))?;
    for run in 1..=runs {
        let Figures {
            first_denial,
            cut,
            last_byte,
            empty,
        } = revoke_under_load(&format!("load-{run}"), 4610, CONNECTIONS, BOMB)?;
        let figures = json!({
            "kernel": kernel::release(),
            "run": run,
            "first denial": first_denial,
            "last byte": last_byte,
            "cut": cut,
            "empty": empty,
        });
        println!("{figures}");
    }
    Ok(())
}
