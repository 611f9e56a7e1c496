//! A node of a controller that has no certificate yet.

use crate::harness::Test;
use crate::harness::controller::{CERTS, Controller, daemon, is_connected, until};
use crate::harness::network::{self, ALLOWED4, DENIED4, PORT, at};
use crate::harness::policy::Policy;
use crate::harness::product::{self, said};
use crate::harness::session::Place;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new(
        "central.certificate",
        "a node without its certificate is held, says that it has lost its controller, and finds it \
         when the certificate comes",
        certificate,
    )]
}

/// What the daemon says of its controller.
fn controller() -> Result<Value> {
    let output = product::call(&["status", "--json"])?;
    let status: Value = serde_json::from_slice(&output.stdout).with_context(|| said(&output))?;
    Ok(status["controller"].clone())
}

fn certificate() -> Result<()> {
    network::set_up()?;
    product::stop()?;
    let _controller = Controller::start(6)?;
    let (there, elsewhere) = (format!("{CERTS}/node.pem"), format!("{CERTS}/later.pem"));
    fs::rename(&there, &elsewhere)?;
    daemon().context("without a certificate")?;
    let policy = Policy::named("central-late").allow(ALLOWED4, &PORT.to_string(), "udp");
    for (place, expected) in [(ALLOWED4, "ok"), (DENIED4, "EPERM")] {
        let place = at(place, PORT)?.to_string();
        let said = Place::Inside(&policy).act(&["way", "udp", &place])?;
        ensure!(said == expected, "{place}: {said}, expected {expected}");
    }
    let said = controller()?;
    let error = said["error"].as_str().unwrap_or_default();
    ensure!(
        said["connected"] == false && error.contains(&there),
        "{said}, expected that {there} cannot be read"
    );
    fs::rename(&elsewhere, &there)?;
    let nodes = until(&["nodes"], is_connected)?;
    let name = controller()?["node"].clone();
    ensure!(
        name == nodes[0]["node"],
        "{name}, and the controller has {nodes}"
    );
    Ok(())
}
