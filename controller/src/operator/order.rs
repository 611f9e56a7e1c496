//! What operators order.

use super::Operators;
use super::see::look;
use crate::clock;
use crate::fleet::Draft;
use crate::policy;
use agent_proto::grant;
use agent_proto::identity::is_name;
use agent_proto::wire::directive::What;
use agent_proto::wire::revocation::Scope;
use agent_proto::wire::{
    Budget, Grant, IssueGrantRequest, IssueGrantResponse, Lift, LiftRequest, OrderResponse,
    PolicyVersion, Revocation, RevokeRequest, RollOutRequest, Selector, UploadPolicyRequest,
    UploadPolicyResponse,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use tonic::Status;

/// The longest reason.
const MAX_REASON: usize = 1000;

/// The longest life of a grant: it is for a start that comes at once.
const MAX_LIFE_MS: u64 = 24 * 3600 * 1000;

/// The most budgets of one grant: a policy has no more limits.
const MAX_BUDGETS: usize = 16;

/// How long a grant lives unless it is said.
const LIFE_MS: u64 = 10 * 60 * 1000;

fn wrong(what: impl Into<String>) -> Status {
    Status::invalid_argument(what)
}

impl Operators {
    pub(super) async fn order_revocation(
        &self,
        who: String,
        asked: RevokeRequest,
    ) -> Result<OrderResponse, Status> {
        let scope = asked.what.and_then(|what| what.scope);
        let scope = scope.ok_or_else(|| wrong("found nothing to revoke"))?;
        let named = |name: &String| is_name(name).then(|| name.clone());
        let object = match &scope {
            Scope::Session(id) => named(id).map(|id| format!("session {id}")),
            // Whoever names a task may write what they like, within bounds.
            Scope::Task(task) => {
                (!task.is_empty() && task.len() <= 256).then(|| format!("task {task}"))
            }
            Scope::Agent(agent) => named(agent).map(|agent| format!("agent {agent}")),
            Scope::Node(true) => named(&asked.node).map(|node| format!("node {node}")),
            Scope::Everything(true) => Some("everything".to_owned()),
            Scope::Node(false) | Scope::Everything(false) => None,
        };
        let object = object.ok_or_else(|| wrong("found no name of what is to be revoked"))?;
        let nodes = self.nodes_of(&scope, asked.node).await?;
        let what = What::Revocation(Revocation { scope: Some(scope) });
        self.order(who, "revoke", &object, (what, asked.reason, nodes))
            .await
    }

    /// Which nodes are told. Where one session is, is known; if not, every node there is looks for it.
    async fn nodes_of(&self, scope: &Scope, node: String) -> Result<Selector, Status> {
        if !node.is_empty() {
            let (asked, known) = (node.clone(), self.read(|store| store.labels()).await?);
            if !known.contains_key(&asked) {
                return Err(Status::not_found(format!("no node `{asked}`")));
            }
            return Ok(Selector {
                names: vec![node],
                ..Selector::default()
            });
        }
        let Scope::Session(id) = scope else {
            return Ok(Selector::default());
        };
        let id = id.clone();
        let names = self.read(move |store| {
            let sessions = store.sessions("", "")?;
            let here = sessions.into_iter().filter(|there| {
                there
                    .session
                    .as_ref()
                    .is_some_and(|session| session.session == id)
            });
            let names: Vec<String> = here.map(|there| there.node).collect();
            if names.is_empty() {
                return Ok(store.labels()?.into_keys().collect());
            }
            Ok(names)
        });
        let names = names.await?;
        if names.is_empty() {
            return Err(Status::not_found("no node has ever enrolled"));
        }
        Ok(Selector {
            names,
            ..Selector::default()
        })
    }

    pub(super) async fn order_lift(
        &self,
        who: String,
        asked: LiftRequest,
    ) -> Result<OrderResponse, Status> {
        let revocation = self.fleet.get(asked.epoch);
        let revocation = revocation
            .filter(|known| matches!(known.directive.what, Some(What::Revocation(_))))
            .ok_or_else(|| Status::not_found(format!("no revocation {}", asked.epoch)))?;
        let nodes = revocation.issued.nodes.clone();
        let what = What::Lift(Lift { epoch: asked.epoch });
        let object = format!("revocation {}", asked.epoch);
        self.order(who, "lift", &object, (what, asked.reason, nodes))
            .await
    }

    pub(super) async fn upload(
        &self,
        who: String,
        asked: UploadPolicyRequest,
    ) -> Result<UploadPolicyResponse, Status> {
        let file = asked.file.clone();
        // Compiling takes its time, and others go on meanwhile.
        let read = tokio::task::spawn_blocking(move || policy::read(&asked)).await;
        let read = read.map_err(|error| Status::internal(error.to_string()))?;
        let (policies, warnings) = match read {
            Ok(read) => read,
            Err(error) => {
                self.audit(&who, "upload a policy", &file, "refused: it is wrong")
                    .await?;
                return Err(wrong(error));
            }
        };
        let mut versions = Vec::new();
        for policy in policies {
            let by = who.clone();
            let uploaded = self
                .write(move |store| store.upload(policy, &by, clock::now_ms()))
                .await?;
            let policy = uploaded.policy;
            let object = format!("{} version {}", policy.agent, policy.version);
            self.audit(
                &who,
                "upload a policy",
                &object,
                &hex::encode(&policy.digest),
            )
            .await?;
            versions.push(PolicyVersion {
                agent: policy.agent,
                version: policy.version,
                digest: policy.digest,
                file: policy.file,
                by: uploaded.by,
                time_ms: uploaded.time_ms,
                ..PolicyVersion::default()
            });
        }
        Ok(UploadPolicyResponse { versions, warnings })
    }

    pub(super) async fn order_rollout(
        &self,
        who: String,
        asked: RollOutRequest,
    ) -> Result<OrderResponse, Status> {
        let agent = asked.agent.clone();
        let versions = self.read(move |store| store.policies(&agent)).await?;
        let version = match asked.version {
            0 => self.version_before(&asked.agent)?,
            version => version,
        };
        let found = versions
            .into_iter()
            .find(|known| known.policy.version == version);
        let policy = found.map(|found| found.policy).ok_or_else(|| {
            Status::not_found(format!(
                "no version {version} of a policy for agent `{}`",
                asked.agent
            ))
        })?;
        let object = format!("{} version {}", policy.agent, policy.version);
        let nodes = asked.nodes.unwrap_or_default();
        let what = What::Policy(policy);
        self.order(
            who,
            "roll out a policy",
            &object,
            (what, asked.reason, nodes),
        )
        .await
    }

    /// The version that was rolled out before the one that is now.
    fn version_before(&self, agent: &str) -> Result<u32, Status> {
        let all = self.fleet.all();
        let mut out = all
            .iter()
            .rev()
            .filter_map(|known| match &known.directive.what {
                Some(What::Policy(policy)) if policy.agent == agent => Some(policy.version),
                _ => None,
            });
        let now = out.next();
        out.find(|version| Some(*version) != now).ok_or_else(|| {
            Status::failed_precondition(format!(
                "agent `{agent}` has had no other version rolled out before: nothing to go back to"
            ))
        })
    }

    async fn order(
        &self,
        who: String,
        action: &str,
        object: &str,
        (what, reason, nodes): (What, String, Selector),
    ) -> Result<OrderResponse, Status> {
        if reason.len() > MAX_REASON {
            return Err(wrong(format!(
                "found a reason of more than {MAX_REASON} bytes"
            )));
        }
        let draft = Draft {
            by: who.clone(),
            reason: reason.clone(),
            what,
            requires: Vec::new(),
        };
        let known = self
            .fleet
            .issue(draft, nodes)
            .await
            .map_err(crate::node::unavailable)?;
        let epoch = known.issued.epoch;
        self.audit(
            &who,
            action,
            object,
            &format!("directive {epoch}: {reason}"),
        )
        .await?;
        let nodes = look(&self.fleet, &known).await?;
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Ok(OrderResponse {
            epoch,
            nodes: count(nodes.len()),
            connected: count(nodes.iter().filter(|node| node.connected).count()),
        })
    }

    pub(super) async fn grant(
        &self,
        who: String,
        asked: IssueGrantRequest,
    ) -> Result<IssueGrantResponse, Status> {
        if !is_name(&asked.agent) || asked.task.len() > 256 {
            return Err(wrong("expected an agent and a task of at most 256 bytes"));
        }
        let by_labels = !asked.labels.is_empty();
        let is_one = if by_labels {
            asked.node.is_empty()
        } else {
            is_name(&asked.node)
        };
        if !is_one {
            return Err(wrong("expected a node, or labels that nodes must have"));
        }
        let is_budget = |budget: &Budget| is_name(&budget.rule) && budget.left.is_some();
        if asked.budgets.len() > MAX_BUDGETS || !asked.budgets.iter().all(is_budget) {
            return Err(wrong(format!(
                "expected at most {MAX_BUDGETS} budgets, each of a rule with an id"
            )));
        }
        if asked.lives_ms > MAX_LIFE_MS {
            return Err(wrong(format!(
                "expected a life of at most {} s",
                MAX_LIFE_MS / 1000
            )));
        }
        if asked.policy.len() != 32 {
            return Err(wrong("expected a policy's digest of 32 bytes"));
        }
        let mut id = [0; 16];
        let drawn = SystemRandom::new().fill(&mut id);
        drawn.map_err(|_| Status::unavailable("cannot draw a number"))?;
        let now_ms = clock::now_ms();
        let lives_ms = if asked.lives_ms == 0 {
            LIFE_MS
        } else {
            asked.lives_ms
        };
        let mut requires = Vec::new();
        if !asked.budgets.is_empty() {
            requires.push("budgets".to_owned());
        }
        if by_labels {
            requires.push("labels".to_owned());
        }
        let grant = Grant {
            id: hex::encode(id),
            controller: self.fleet.controller.clone(),
            issuer: who.clone(),
            agent: asked.agent,
            task: asked.task,
            node: asked.node,
            policy: asked.policy,
            issued_ms: now_ms,
            expires_ms: now_ms + lives_ms,
            session_ms: asked.session_ms,
            requires,
            budgets: asked.budgets,
            labels: asked.labels,
        };
        let text = grant::write(&self.fleet.key, &grant);
        let kept = grant.clone();
        self.write(move |store| store.keep_grant(&kept, now_ms))
            .await?;
        let nodes = match by_labels {
            true => format!("nodes with {}", grant::pairs(&grant.labels)),
            false => format!("node {}", grant.node),
        };
        let object = format!("agent {} on {nodes}", grant.agent);
        let budgets = grant.budgets.iter().map(grant::budget);
        let what: Vec<_> = [format!("{} task {}", grant.id, grant.task)]
            .into_iter()
            .chain(budgets)
            .collect();
        self.audit(&who, "issue a grant", &object, &what.join(", "))
            .await?;
        Ok(IssueGrantResponse {
            grant: text,
            id: grant.id,
            expires_ms: grant.expires_ms,
        })
    }
}
