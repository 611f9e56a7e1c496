//! What operators ask.

mod approve;
mod order;
mod see;

use crate::clock;
use crate::door::Peer;
use crate::fleet::Fleet;
use crate::node::unavailable;
use crate::store::{Deed, Store, StoreError};
use agent_proto::identity::{Identity, Role};
use agent_proto::wire::operator_server::Operator;
use agent_proto::wire::*;
use std::future::Future;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tracing::info;

/// Who answers operators.
pub(crate) struct Operators {
    pub(crate) fleet: Arc<Fleet>,
    /// Streams that may go on at once: who reads none of it holds a page in memory.
    pub(crate) readers: Arc<Semaphore>,
}

/// So many.
pub(crate) const READERS: usize = 128;

type Answer<T> = Result<Response<T>, Status>;
type Stream<T> = ReceiverStream<Result<T, Status>>;

impl Operators {
    /// Who asks, if it may. A refusal is audited.
    async fn allow<T>(
        &self,
        request: Request<T>,
        role: Role,
        action: &str,
    ) -> Result<(String, T), Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let peer = peer.ok_or_else(|| Status::unauthenticated("nobody is known to ask"))?;
        if !peer.may_call() {
            return Err(Status::resource_exhausted(
                "too many calls a second on this connection",
            ));
        }
        let who = peer.identity.to_string();
        if peer.identity.has(role) {
            return Ok((who, request.into_inner()));
        }
        let needs = role.word();
        self.audit(
            &who,
            action,
            "",
            &format!("refused: needs the role {needs}"),
        )
        .await?;
        Err(Status::permission_denied(format!(
            "{who} may not {action}: it needs the role {needs}"
        )))
    }

    /// Room for one more stream.
    fn turn(&self) -> Result<OwnedSemaphorePermit, Status> {
        let turn = Arc::clone(&self.readers).try_acquire_owned();
        turn.map_err(|_| Status::resource_exhausted("too many streams are read already"))
    }

    async fn audit(
        &self,
        who: &str,
        action: &str,
        object: &str,
        outcome: &str,
    ) -> Result<(), Status> {
        info!(who, action, object, outcome, "audited");
        let deed = Deed {
            who: who.to_owned(),
            action: action.to_owned(),
            object: object.to_owned(),
            outcome: outcome.to_owned(),
        };
        self.write(move |store| store.audit(&deed, clock::now_ms()))
            .await
    }

    async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Status> {
        self.fleet.desk.read(job).await.map_err(unavailable)
    }

    async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Status> {
        self.fleet.desk.write(job).await.map_err(unavailable)
    }
}

/// When who asks is nobody any more.
fn until<T>(request: &Request<T>) -> Option<Instant> {
    request.extensions().get::<Peer>()?.until
}

/// Works, but no longer than that.
async fn end_at<T>(
    (until, _turn): (Option<Instant>, OwnedSemaphorePermit),
    work: impl Future<Output = ()>,
    sender: mpsc::Sender<Result<T, Status>>,
) {
    let Some(until) = until else {
        return work.await;
    };
    if tokio::time::timeout_at(until, work).await.is_err() {
        // Who reads nothing is not waited for.
        let _ = sender.try_send(Err(Status::unauthenticated("the token has expired")));
    }
}

/// A stream that somebody fills.
fn stream<T>() -> (mpsc::Sender<Result<T, Status>>, Response<Stream<T>>) {
    let (sender, receiver) = mpsc::channel(16);
    (sender, Response::new(ReceiverStream::new(receiver)))
}

#[tonic::async_trait]
impl Operator for Operators {
    type EventsStream = Stream<EventsResponse>;
    type WatchStream = Stream<WatchResponse>;
    type ApprovalsStream = Stream<ApprovalsResponse>;

    async fn whoami(&self, request: Request<WhoamiRequest>) -> Answer<WhoamiResponse> {
        let peer = request.extensions().get::<Peer>().cloned();
        let peer = peer.ok_or_else(|| Status::unauthenticated("nobody is known to ask"))?;
        match &*peer.identity {
            Identity::Operator { name, roles } => Ok(Response::new(WhoamiResponse {
                name: name.clone(),
                roles: roles.iter().map(|role| role.word().to_owned()).collect(),
                controller: self.fleet.controller.clone(),
            })),
            other => Err(Status::permission_denied(format!("{other} is no operator"))),
        }
    }

    async fn list_nodes(&self, request: Request<ListNodesRequest>) -> Answer<ListNodesResponse> {
        self.allow(request, Role::Viewer, "list nodes").await?;
        self.nodes().await.map(Response::new)
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Answer<ListSessionsResponse> {
        let (_, asked) = self.allow(request, Role::Viewer, "list sessions").await?;
        self.sessions(asked).await.map(Response::new)
    }

    async fn list_agents(&self, request: Request<ListAgentsRequest>) -> Answer<ListAgentsResponse> {
        self.allow(request, Role::Viewer, "list agents").await?;
        let agents = self.read(|store| store.agents()).await?;
        Ok(Response::new(ListAgentsResponse { agents }))
    }

    async fn events(&self, request: Request<EventsRequest>) -> Answer<Self::EventsStream> {
        let until = until(&request);
        let (_, asked) = self.allow(request, Role::Viewer, "read events").await?;
        let (sender, response) = stream();
        let work = see::events(Arc::clone(&self.fleet), asked, sender.clone());
        let turn = self.turn()?;
        tokio::spawn(end_at((until, turn), work, sender));
        Ok(response)
    }

    async fn watch(&self, request: Request<WatchRequest>) -> Answer<Self::WatchStream> {
        let until = until(&request);
        let (_, asked) = self
            .allow(request, Role::Viewer, "watch directives")
            .await?;
        let known = self.fleet.get(asked.epoch);
        let known =
            known.ok_or_else(|| Status::not_found(format!("no directive {}", asked.epoch)))?;
        let (sender, response) = stream();
        let fleet = Arc::clone(&self.fleet);
        let work = see::watch(fleet, known, asked.once, sender.clone());
        let turn = self.turn()?;
        tokio::spawn(end_at((until, turn), work, sender));
        Ok(response)
    }

    async fn checkpoints(
        &self,
        request: Request<CheckpointsRequest>,
    ) -> Answer<CheckpointsResponse> {
        let (_, asked) = self
            .allow(request, Role::Viewer, "read checkpoints")
            .await?;
        let found = self.read(move |store| store.checkpoints(&asked));
        found.await.map(Response::new)
    }

    async fn audit(&self, request: Request<AuditRequest>) -> Answer<AuditResponse> {
        let (_, asked) = self.allow(request, Role::Viewer, "read the audit").await?;
        self.audited(asked.last).await.map(Response::new)
    }

    async fn revoke(&self, request: Request<RevokeRequest>) -> Answer<OrderResponse> {
        let (who, asked) = self.allow(request, Role::Responder, "revoke").await?;
        self.order_revocation(who, asked).await.map(Response::new)
    }

    async fn lift(&self, request: Request<LiftRequest>) -> Answer<OrderResponse> {
        let (who, asked) = self.allow(request, Role::Responder, "lift").await?;
        self.order_lift(who, asked).await.map(Response::new)
    }

    async fn upload_policy(
        &self,
        request: Request<UploadPolicyRequest>,
    ) -> Answer<UploadPolicyResponse> {
        let (who, asked) = self.allow(request, Role::Author, "upload a policy").await?;
        self.upload(who, asked).await.map(Response::new)
    }

    async fn list_policies(
        &self,
        request: Request<ListPoliciesRequest>,
    ) -> Answer<ListPoliciesResponse> {
        let (_, asked) = self.allow(request, Role::Viewer, "list policies").await?;
        self.policies(asked).await.map(Response::new)
    }

    async fn roll_out(&self, request: Request<RollOutRequest>) -> Answer<OrderResponse> {
        let (who, asked) = self
            .allow(request, Role::Author, "roll out a policy")
            .await?;
        self.order_rollout(who, asked).await.map(Response::new)
    }

    async fn issue_grant(&self, request: Request<IssueGrantRequest>) -> Answer<IssueGrantResponse> {
        let (who, asked) = self.allow(request, Role::Approver, "issue a grant").await?;
        self.grant(who, asked).await.map(Response::new)
    }

    async fn approvals(&self, request: Request<ApprovalsRequest>) -> Answer<Self::ApprovalsStream> {
        let (_, asked) = self.allow(request, Role::Viewer, "list approvals").await?;
        let (sender, response) = stream();
        tokio::spawn(approve::approvals(
            Arc::clone(&self.fleet),
            asked.follow,
            sender,
        ));
        Ok(response)
    }

    async fn say(&self, request: Request<SayRequest>) -> Answer<SayResponse> {
        let (who, asked) = self
            .allow(request, Role::Approver, "answer a question")
            .await?;
        self.say_to(who, asked).await.map(Response::new)
    }
}
