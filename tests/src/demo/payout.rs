//! An agent that pays invoices: it reads, reasons and posts by itself; each payout waits for a person.

use super::{field, say, title};
use crate::harness::controller::{ctl, until};
use crate::harness::holds::until_stopped;
use crate::harness::network::{ALLOWED4, DENIED4, Server, at};
use crate::harness::policy::Policy;
use crate::harness::session::Place;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;

const AGENT: &str = "invoice-payer";
const INVOICES: &str = "/tmp/interlock-demo-invoices";

fn policy() -> Policy {
    Policy::named(AGENT).with(&format!(
        "  chain:
    steps:
      - step: read
        repeat: true
        files: [{{access: [read], paths: [{INVOICES}/**]}}]
      - step: reason
        egress: [{{to: [{ALLOWED4}], ports: [8001], protocol: tcp}}]
      - step: post
        egress: [{{to: [{ALLOWED4}], ports: [8002], protocol: tcp}}]
      - step: pay
        repeat: true
        approval: {{by: [finance-leads], once: true, show: [the invoice], wait: 10m}}
        egress: [{{to: [{DENIED4}], ports: [8003], protocol: tcp}}]
"
    ))
}

/// Shows it, with a controller that runs already.
pub(super) fn show(node: &str) -> Result<()> {
    title("12. An agent that pays invoices. Its payouts need a person's yes; the policy says");
    let policy = policy();
    for line in policy
        .text()
        .lines()
        .skip_while(|line| !line.contains("chain:"))
    {
        say(line);
    }
    fs::create_dir_all(INVOICES)?;
    fs::write(format!("{INVOICES}/4711"), "ACME, 1,200.00 EUR")?;
    let (model, ledger, bank) = (at(ALLOWED4, 8001)?, at(ALLOWED4, 8002)?, at(DENIED4, 8003)?);
    let servers = [
        Server::tcp(model)?,
        Server::tcp(ledger)?,
        Server::tcp(bank)?,
    ];
    let mut actor = Place::Inside(&policy).obey()?;
    for (what, order) in [
        ("reads an invoice", format!("file read {INVOICES}/4711")),
        ("reasons, with its model", format!("way tcp {model}")),
        ("posts it to the ledger", format!("way tcp {ledger}")),
    ] {
        let answer = actor.order(&order)?;
        ensure!(answer == "ok", "{what}: {answer}");
        field(what, &answer);
    }
    for (which, yes) in [("the payout", true), ("another payout", false)] {
        actor.begin(&format!("way tcp {bank}"))?;
        until_stopped(actor.pid)?;
        ensure!(
            servers[2].reached()? == u32::from(!yes),
            "somebody was paid"
        );
        field(which, "HELD: its process is stopped, nothing has left");
        let of_agent = |list: &Value| list[0]["agent"] == AGENT && list[0]["answeredBy"].is_null();
        let list = until(&["approvals"], of_agent)?;
        let asks = &list[0]["asks"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if yes {
            say("interlock ctl approvals, anywhere:");
            field(
                "  asks",
                &format!("{AGENT} on {node}, owner {}", text(&asks["owner"])),
            );
            let object = &asks["object"];
            let to = format!("{}:{}", text(&object["address"]), object["port"]);
            field("  to", &format!("{} {to}", text(&asks["action"])));
            field("  step", &text(&asks["step"]));
            let before = asks["recent"].as_array().and_then(|all| all.last());
            field("  before", &before.map(text).unwrap_or_default());
            field("  without an answer", &text(&asks["onNoAnswer"]));
        }
        let question = text(&list[0]["question"]);
        let (verb, expected) = if yes {
            ("approve", "ok")
        } else {
            ("deny", "EPERM")
        };
        let (done, told) = ctl(&[verb, &question, "--reason", "a person has looked"])?;
        ensure!(done, "{told}");
        let answer = actor.answer().context("after the answer")?;
        ensure!(answer == expected, "{verb}: {answer}");
        field(
            &format!("interlock ctl {verb}"),
            &format!("the agent's connect says {answer}"),
        );
    }
    ensure!(
        servers[2].reached()? == 0,
        "what was denied has reached the bank"
    );
    say("The bank saw one connection.");
    actor.end()?;
    Ok(())
}
