//! How fast a session under load falls silent and ends, as JSON lines: one a revocation.

use crate::cases::revoke_streams::{Figures, revoke_under_load};
use crate::harness::kernel;
use crate::sys::net;
use anyhow::{Context, Result};
use serde_json::json;
use std::os::fd::AsFd as _;

/// Connections that stream, and processes of the fork bomb beside them.
const CONNECTIONS: usize = 64;
const BOMB: u32 = 100;

/// Revokes so many sessions, one after the other.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let runs = words.first().map_or("200", String::as_str);
    let runs: u32 = runs
        .parse()
        .with_context(|| format!("{runs} is no number"))?;
    // The first stamped socket makes the kernel change its own code, the last one once more. Hundreds of times is
    // more than an emulator of two processors bears: one ran into the other's half-made change, and the kernel
    // died of it.
    let stamped = net::socket(net::INET, net::DGRAM)?;
    net::stamp(stamped.as_fd())?;
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
