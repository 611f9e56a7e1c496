//! What people say to questions of sessions.

use super::Operators;
use crate::approvals::Said;
use crate::fleet::{Draft, Fleet};
use agent_proto::wire::directive::What;
use agent_proto::wire::{Answer, ApprovalsResponse, SayRequest, SayResponse, Selector};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::Status;

/// The longest reason.
const MAX_REASON: usize = 1000;

/// How often somebody who follows is told at most.
const PAUSE: Duration = Duration::from_millis(50);

/// Questions in one message.
const TOGETHER: usize = 200;

impl Operators {
    pub(super) async fn say_to(
        &self,
        who: String,
        asked: SayRequest,
    ) -> Result<SayResponse, Status> {
        if asked.reason.len() > MAX_REASON {
            return Err(Status::invalid_argument(format!(
                "found a reason of more than {MAX_REASON} bytes"
            )));
        }
        let action = if asked.yes { "approve" } else { "deny" };
        let object = |node: &str| format!("question {} of node {node}", asked.question);
        let said = Said {
            yes: asked.yes,
            who: who.clone(),
        };
        let taken = match self.fleet.approvals.say(&asked.node, &asked.question, said) {
            Ok(taken) => taken,
            Err(error) => {
                let why = format!("refused: {error}");
                self.audit(&who, action, &object(&asked.node), &why).await?;
                return Err(Status::failed_precondition(error.to_string()));
            }
        };
        let object = object(&taken.node);
        if taken.missing > 0 {
            let outcome = format!("{} more must say yes: {}", taken.missing, asked.reason);
            self.audit(&who, action, &object, &outcome).await?;
            return Ok(SayResponse {
                epoch: 0,
                node: taken.node,
                missing: taken.missing,
            });
        }
        let answer = Answer {
            question: asked.question.clone(),
            yes: asked.yes,
            boot: taken.question.boot.clone(),
            digest: ring::digest::digest(&ring::digest::SHA256, &taken.question.body)
                .as_ref()
                .to_vec(),
            people: taken.people.clone(),
            once: asked.once,
            for_s: asked.for_s,
        };
        let draft = Draft {
            by: who.clone(),
            reason: asked.reason.clone(),
            what: What::Answer(answer),
            requires: vec!["answers".to_owned()],
        };
        let node = Selector {
            names: vec![taken.node.clone()],
            ..Selector::default()
        };
        let issued = self.fleet.issue(draft, node).await;
        let epoch = issued.as_ref().ok().map(|known| known.issued.epoch);
        self.fleet.approvals.close(&taken, epoch);
        let epoch = issued.map_err(crate::node::unavailable)?.issued.epoch;
        let people = taken.people.join(" and ");
        let outcome = format!("directive {epoch}, by {people}: {}", asked.reason);
        self.audit(&who, action, &object, &outcome).await?;
        Ok(SayResponse {
            epoch,
            node: taken.node,
            missing: 0,
        })
    }
}

/// Tells all that is open; with `follow`, again at each change.
pub(super) async fn approvals(
    fleet: Arc<Fleet>,
    follow: bool,
    sender: mpsc::Sender<Result<ApprovalsResponse, Status>>,
) {
    let mut changes = fleet.approvals.changes();
    loop {
        changes.mark_unchanged();
        let mut questions = fleet.approvals.list();
        for question in &mut questions {
            question.connected = fleet.is_connected(&question.node);
        }
        let mut parts: Vec<_> = questions.chunks(TOGETHER).map(<[_]>::to_vec).collect();
        if parts.is_empty() {
            parts.push(Vec::new());
        }
        for questions in parts {
            if sender
                .send(Ok(ApprovalsResponse { questions }))
                .await
                .is_err()
            {
                return;
            }
        }
        if !follow {
            return;
        }
        tokio::time::sleep(PAUSE).await;
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = sender.closed() => return,
        }
    }
}
