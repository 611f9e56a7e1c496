//! What operators order.

use super::{Asker, CtlError, print_json, table, time};
use agent_proto::wire::budget::Left;
use agent_proto::wire::revocation::Scope;
use agent_proto::wire::{
    Budget, IssueGrantRequest, LiftRequest, NodeOutcome, OrderResponse, Revocation, RevokeRequest,
    State, WatchRequest,
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// What to revoke.
#[derive(Debug, Subcommand)]
pub enum Revoke {
    /// One session
    Session {
        /// Its number, as `interlock ctl sessions` shows it
        session: String,
        /// How.
        #[command(flatten)]
        how: How,
    },
    /// All sessions of a task, everywhere
    Task {
        /// The task
        task: String,
        /// How.
        #[command(flatten)]
        how: How,
    },
    /// All sessions of an agent, everywhere
    Agent {
        /// The agent
        agent: String,
        /// How.
        #[command(flatten)]
        how: How,
    },
    /// All sessions of a node
    Node {
        /// The node
        node: String,
        /// How.
        #[command(flatten)]
        how: How,
    },
    /// All sessions of all nodes
    Everything {
        /// How.
        #[command(flatten)]
        how: How,
    },
}

/// How an order is given.
#[derive(Debug, Args)]
pub struct How {
    /// Why, for the record
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
    /// Do not wait for the nodes
    #[arg(long)]
    pub no_wait: bool,
    /// Seconds to wait for nodes, those that are away included
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub timeout: u64,
}

/// Options of `ctl lift`.
#[derive(Debug, Args)]
pub struct Lift {
    /// The revocation's directive, as `interlock ctl revoke` printed it
    pub epoch: u64,
    /// How.
    #[command(flatten)]
    pub how: How,
}

/// Options of `ctl watch`.
#[derive(Debug, Args)]
pub struct Watch {
    /// The directive
    pub epoch: u64,
    /// Seconds to wait for nodes; 0: not at all
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub timeout: u64,
}

/// Options of `ctl grant`.
#[derive(Debug, Args)]
pub struct Grant {
    /// The agent
    #[arg(long, value_name = "NAME")]
    pub agent: String,
    /// The node
    #[arg(
        long,
        value_name = "NAME",
        required_unless_present = "label",
        conflicts_with = "label"
    )]
    pub node: Option<String>,
    /// A label that nodes must have, for one start on each; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = crate::cli::pair)]
    pub label: Vec<(String, String)>,
    /// What the session may use of a rule's budget: so many actions, or bytes (20MB); may be repeated
    #[arg(long, value_name = "RULE=AMOUNT", value_parser = budget)]
    pub budget: Vec<Budget>,
    /// The task
    #[arg(long, value_name = "NAME", default_value = "")]
    pub task: String,
    /// The policy: a file, or its digest
    #[arg(long, value_name = "FILE|DIGEST")]
    pub policy: String,
    /// Where profiles lie that the policy extends; may be repeated
    #[arg(long, value_name = "FILE|DIR")]
    pub profiles: Vec<PathBuf>,
    /// Seconds in which the session must begin
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub lives: u64,
    /// Seconds that the session may live [default: as long as the grant]
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub session: u64,
}

impl Asker {
    pub(super) async fn revoke(&mut self, what: &Revoke) -> Result<bool, CtlError> {
        let (scope, node, how) = match what {
            Revoke::Session { session, how } => (Scope::Session(session.clone()), "", how),
            Revoke::Task { task, how } => (Scope::Task(task.clone()), "", how),
            Revoke::Agent { agent, how } => (Scope::Agent(agent.clone()), "", how),
            Revoke::Node { node, how } => (Scope::Node(true), node.as_str(), how),
            Revoke::Everything { how } => (Scope::Everything(true), "", how),
        };
        let asked = RevokeRequest {
            what: Some(Revocation { scope: Some(scope) }),
            node: node.to_owned(),
            reason: how.reason.clone(),
        };
        let order = self.client.revoke(asked).await?.into_inner();
        self.follow(&order, how).await
    }

    pub(super) async fn lift(&mut self, what: &Lift) -> Result<bool, CtlError> {
        let asked = LiftRequest {
            epoch: what.epoch,
            reason: what.how.reason.clone(),
        };
        let order = self.client.lift(asked).await?.into_inner();
        self.follow(&order, &what.how).await
    }

    /// Says what was ordered, and what becomes of it.
    pub(super) async fn follow(
        &mut self,
        order: &OrderResponse,
        how: &How,
    ) -> Result<bool, CtlError> {
        if !self.json {
            println!(
                "directive {} to {} nodes, {} of them connected",
                order.epoch, order.nodes, order.connected
            );
        }
        let wait = if how.no_wait { 0 } else { how.timeout };
        let complete = self.look(order.epoch, wait).await?;
        Ok(complete || how.no_wait)
    }

    pub(super) async fn watch(&mut self, what: &Watch) -> Result<bool, CtlError> {
        self.look(what.epoch, what.timeout).await
    }

    /// Prints what became of a directive, when it is complete or the time is over. True where all do it.
    pub(super) async fn look(&mut self, epoch: u64, seconds: u64) -> Result<bool, CtlError> {
        let asked = WatchRequest {
            epoch,
            once: seconds == 0,
        };
        let mut watch = self.client.watch(asked).await?.into_inner();
        let deadline = Instant::now() + Duration::from_secs(seconds.max(10));
        let mut nodes: BTreeMap<String, NodeOutcome> = BTreeMap::new();
        let mut complete = false;
        while let Ok(news) = timeout_at(deadline, watch.message()).await {
            let Some(news) = news? else {
                break;
            };
            complete = news.complete;
            nodes.extend(news.nodes.into_iter().map(|node| (node.node.clone(), node)));
        }
        let nodes: Vec<_> = nodes.into_values().collect();
        self.print(epoch, &nodes, complete)?;
        let is_refused = |node: &NodeOutcome| node.state() == State::Refused;
        Ok(complete && !nodes.iter().any(is_refused))
    }

    fn print(&self, epoch: u64, nodes: &[NodeOutcome], complete: bool) -> Result<(), CtlError> {
        if self.json {
            let list: Vec<Value> = nodes.iter().map(json_of).collect();
            return print_json(&json!({"directive": epoch, "complete": complete, "nodes": list}));
        }
        let after = |node: &NodeOutcome, ms: u64| match ms {
            0 => "-".to_owned(),
            ms => format!("{} ms", ms.saturating_sub(node.issued_ms)),
        };
        let rows = nodes.iter().map(|node| {
            let killed: u32 = node.ends.iter().map(|end| end.killed).sum();
            [
                node.node.clone(),
                if node.connected { "connected" } else { "AWAY" }.to_owned(),
                word(node.state()).to_owned(),
                after(node, node.received_ms),
                after(node, node.in_force_ms),
                after(node, node.empty_ms),
                node.ends.len().to_string(),
                killed.to_string(),
                node.reason.clone(),
            ]
        });
        let rows: Vec<_> = rows.collect();
        table::print(
            [
                "NODE",
                "STATE",
                "DIRECTIVE",
                "RECEIVED",
                "IN FORCE",
                "EMPTY",
                "SESSIONS",
                "KILLED",
                "REASON",
            ],
            &rows,
        );
        let count = |state| nodes.iter().filter(|node| node.state() == state).count();
        let in_force = count(State::InForce) + count(State::TreeEmpty);
        println!("in force on {in_force} of {}", nodes.len());
        Ok(())
    }

    pub(super) async fn grant(&mut self, what: &Grant) -> Result<(), CtlError> {
        let policy = match digest(&what.policy) {
            Some(digest) => digest,
            None => {
                let file = PathBuf::from(&what.policy);
                let start = crate::policy_cli::start(&file, &what.profiles, &what.agent)?;
                let compiled = crate::policy::compile(&start)?;
                crate::sessions::spent(&compiled, &what.budget)?;
                compiled.digest.to_vec()
            }
        };
        let asked = IssueGrantRequest {
            agent: what.agent.clone(),
            task: what.task.clone(),
            node: what.node.clone().unwrap_or_default(),
            labels: what.label.iter().cloned().collect(),
            budgets: what.budget.clone(),
            policy,
            lives_ms: what.lives * 1000,
            session_ms: what.session * 1000,
        };
        let issued = self.client.issue_grant(asked).await?.into_inner();
        if self.json {
            let expires = time(issued.expires_ms);
            return print_json(
                &json!({"grant": issued.grant, "id": issued.id, "expires": expires}),
            );
        }
        println!("{}", issued.grant);
        Ok(())
    }
}

/// A budget as a grant has it.
fn budget(text: &str) -> Result<Budget, String> {
    const EXPECTED: &str = "expected RULE=NUMBER, or RULE=BYTES such as upload=20MB";
    let (rule, amount) = text.split_once('=').ok_or(EXPECTED)?;
    let left = match (amount.parse(), agent_policy::bytes_of(amount)) {
        (Ok(count), _) => Left::Actions(count),
        (_, Some(bytes)) => Left::Bytes(bytes),
        _ => return Err(format!("found `{amount}`, {EXPECTED}")),
    };
    Ok(Budget {
        rule: rule.to_owned(),
        left: Some(left),
    })
}

/// A policy's digest, if it is one.
fn digest(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    (0..64)
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

fn word(state: State) -> &'static str {
    match state {
        State::Unspecified => "waiting",
        State::Received => "received",
        State::InForce => "in force",
        State::TreeEmpty => "tree empty",
        State::Refused => "REFUSED",
    }
}

fn json_of(node: &NodeOutcome) -> Value {
    let ends = node.ends.iter().map(|end| {
        json!({
            "session": end.session, "agent": end.agent, "deniedAfterUs": end.denied_after_us,
            "killedAfterUs": end.killed_after_us, "emptyAfterUs": end.empty_after_us,
            "killed": end.killed, "left": end.left,
        })
    });
    let ends: Vec<Value> = ends.collect();
    json!({
        "node": node.node, "connected": node.connected, "state": word(node.state()),
        "issued": node.issued_ms, "received": node.received_ms, "inForce": node.in_force_ms,
        "empty": node.empty_ms, "reason": node.reason, "sessions": ends,
    })
}
