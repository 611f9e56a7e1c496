//! Directives: signed, in order, first what ends sessions, and known again after everything.

use crate::sim::{Orders, Place, hello, revoke_agent};
use agent_proto::grant::{self, GrantError};
use agent_proto::seal::{self, Purpose};
use agent_proto::wire::directive::What;
use agent_proto::wire::*;
use interlock_controller::store::Store as _;
use interlock_controller::store::sqlite::Sqlite;
use std::time::Duration;
use tonic::{Code, Streaming};

async fn watch(place: &Place, epoch: u64, once: bool) -> Streaming<WatchResponse> {
    let mut operator = place.operator("see").await;
    let asked = WatchRequest { epoch, once };
    operator.watch(asked).await.unwrap().into_inner()
}

async fn outcome(place: &Place, epoch: u64) -> WatchResponse {
    let mut watch = watch(place, epoch, true).await;
    watch.message().await.unwrap().unwrap()
}

async fn revoke(place: &Place, agent: &str) -> OrderResponse {
    let mut kill = place.operator("kill").await;
    kill.revoke(revoke_agent(agent)).await.unwrap().into_inner()
}

fn scope(directive: &Directive) -> String {
    format!("{:?}", directive.what)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_reaches_every_node_and_each_step_is_told() {
    let place = Place::of(&["n1", "n2"]).await;
    let (mut n1, mut n2) = (place.node("n1").await, place.node("n2").await);
    let keys = n1.enrolled.keys.clone();
    let (mut first, mut second) = (n1.subscribe(&[]).await, n2.subscribe(&[]).await);
    connected(&place, 2).await;
    let order = revoke(&place, "a").await;
    assert_eq!((order.nodes, order.connected), (2, 2));
    for orders in [&mut first, &mut second] {
        let (signed, directive) = orders.next().await.unwrap();
        assert!(seal::is_signed(
            &keys,
            Purpose::Directive,
            &signed.body,
            &signed.signature
        ));
        assert_eq!(
            (directive.epoch, directive.issued_by.as_str()),
            (order.epoch, "operator/kill")
        );
        assert_eq!(directive.controller, n1.enrolled.controller);
    }
    let mut watch = watch(&place, order.epoch, false).await;
    assert!(!watch.message().await.unwrap().unwrap().complete);
    for state in [State::Received, State::InForce, State::TreeEmpty] {
        first.answer(order.epoch, state).await;
        second.answer(order.epoch, state).await;
    }
    let mut complete = false;
    while let Some(news) = watch.message().await.unwrap() {
        complete = news.complete;
    }
    assert!(complete);
    for node in outcome(&place, order.epoch).await.nodes {
        assert_eq!(node.state(), State::TreeEmpty, "{node:?}");
        assert!(node.issued_ms <= node.received_ms && node.received_ms <= node.in_force_ms);
        assert!(node.in_force_ms <= node.empty_ms, "{node:?}");
    }
    // It was told once.
    assert_eq!(first.soon().await, None);
}

async fn connected(place: &Place, count: usize) {
    let mut see = place.operator("see").await;
    for _ in 0..100 {
        let nodes = see
            .list_nodes(ListNodesRequest {})
            .await
            .unwrap()
            .into_inner()
            .nodes;
        if nodes.iter().filter(|node| node.connected).count() == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not {count} connected");
}

async fn roll_out(place: &Place, agent: &str, purpose: &str) -> OrderResponse {
    let mut write = place.operator("write").await;
    let text = format!(
        "apiVersion: interlock.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {{name: {agent}}}\nspec:\n  \
         owner: {{name: Ada, contact: ada@example.com}}\n  purpose: {purpose}\n"
    );
    let asked = UploadPolicyRequest {
        file: "p.yaml".into(),
        text,
        profiles: Vec::new(),
    };
    let uploaded = write
        .upload_policy(asked)
        .await
        .unwrap()
        .into_inner()
        .versions;
    let version = uploaded[0].version;
    let asked = RollOutRequest {
        agent: agent.into(),
        version,
        ..RollOutRequest::default()
    };
    write.roll_out(asked).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_gets_what_ends_sessions_before_anything_else() {
    let mut place = Place::of(&["n1"]).await;
    place.node("n1").await;
    roll_out(&place, "a", "one").await;
    let policy = roll_out(&place, "a", "two").await;
    let order = revoke(&place, "a").await;
    assert_eq!((order.nodes, order.connected), (1, 0));
    // Nothing of it is lost with the controller's memory.
    place.stop().await;
    place.start().await;
    let mut node = place.node("n1").await;
    let mut orders = node.subscribe(&[]).await;
    let (_, first) = orders.next().await.unwrap();
    assert!(matches!(first.what, Some(What::Revocation(_))), "{first:?}");
    let (_, second) = orders.next().await.unwrap();
    assert_eq!(second.epoch, policy.epoch, "{}", scope(&second));
    assert_eq!(orders.soon().await, None, "the first version was replaced");
    orders.answer(order.epoch, State::TreeEmpty).await;
    orders.answer(policy.epoch, State::InForce).await;
    settled(&place, policy.epoch, State::InForce).await;
    // What stands and the node still has is not told again; what it has lost is.
    let mut orders = node.subscribe(&[order.epoch, policy.epoch]).await;
    assert_eq!(orders.soon().await, None);
    let mut orders = node.subscribe(&[]).await;
    assert_eq!(orders.next().await.unwrap().1.epoch, order.epoch);
    assert_eq!(orders.next().await.unwrap().1.epoch, policy.epoch);
}

async fn settled(place: &Place, epoch: u64, state: State) {
    for _ in 0..100 {
        let nodes = outcome(place, epoch).await.nodes;
        if nodes.iter().all(|node| node.state() == state) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("directive {epoch} does not become {state:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_rolled_out_refused_and_rolled_back() {
    let place = Place::of(&["n1"]).await;
    let mut node = place.node("n1").await;
    let mut orders = node.subscribe(&[]).await;
    let mut write = place.operator("write").await;
    let back = RollOutRequest {
        agent: "a".into(),
        ..RollOutRequest::default()
    };
    let first = roll_out(&place, "a", "one").await;
    let refused = write.roll_out(back.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    let second = roll_out(&place, "a", "two").await;
    orders.answer(first.epoch, State::InForce).await;
    orders.answer(second.epoch, State::Refused).await;
    settled(&place, second.epoch, State::Refused).await;
    let third = write.roll_out(back).await.unwrap().into_inner();
    let mut versions = Vec::new();
    for _ in 0..3 {
        if let Some(What::Policy(policy)) = orders.next().await.unwrap().1.what {
            versions.push((policy.version, policy.text.contains("purpose: one")));
        }
    }
    assert_eq!(versions, [(1, true), (2, false), (1, true)]);
    orders.answer(third.epoch, State::InForce).await;
    settled(&place, third.epoch, State::InForce).await;
    let asked = ListPoliciesRequest { agent: "a".into() };
    let list = write
        .list_policies(asked)
        .await
        .unwrap()
        .into_inner()
        .versions;
    let told: Vec<_> = list
        .iter()
        .map(|one| (one.version, one.epoch, one.in_force, one.refused))
        .collect();
    assert_eq!(told, [(1, third.epoch, 1, 0), (2, second.epoch, 0, 1)]);
    let wrong = UploadPolicyRequest {
        file: "x.yaml".into(),
        text: "kind: Nothing\n".into(),
        profiles: Vec::new(),
    };
    let refused = write.upload_policy(wrong).await.unwrap_err();
    assert!(refused.message().contains("x.yaml:1"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_restored_from_an_old_backup_is_noticed_and_outgrown() {
    let mut place = Place::of(&["n1"]).await;
    place.node("n1").await;
    revoke(&place, "old").await;
    let backup = place.folder.0.join("backup.db");
    let database = place.folder.0.join("data/controller.db");
    Sqlite::open(&database).unwrap().back_up(&backup).unwrap();
    let mut node = place.node("n1").await;
    let mut orders: Orders = node.subscribe(&[]).await;
    orders.next().await.unwrap();
    let newest = revoke(&place, "new").await;
    let (signed, _) = orders.next().await.unwrap();
    drop((orders, node));
    place.stop().await;
    for file in ["controller.db-wal", "controller.db-shm"] {
        let _ = std::fs::remove_file(place.folder.0.join("data").join(file));
    }
    std::fs::copy(&backup, &database).unwrap();
    place.start().await;
    let mut node = place.node("n1").await;
    // Nobody but the controller can say that it is behind.
    let forged = SignedDirective {
        signature: vec![0; 64],
        ..signed.clone()
    };
    for (newest_had, raised) in [(forged, false), (signed, true)] {
        let request = EnrolRequest {
            newest: Some(newest_had),
            ..hello()
        };
        let enrolled = node.client.enrol(request).await.unwrap().into_inner();
        assert!(
            enrolled.epoch < newest.epoch,
            "the node sees that it is ahead"
        );
        let after = node.client.enrol(hello()).await.unwrap().into_inner();
        assert_eq!(after.epoch == newest.epoch, raised);
    }
    assert!(revoke(&place, "newer").await.epoch > newest.epoch);
    let mut see = place.operator("see").await;
    let audit = see
        .audit(AuditRequest { last: 0 })
        .await
        .unwrap()
        .into_inner()
        .entries;
    assert!(
        audit
            .iter()
            .any(|entry| entry.action == "database is older"),
        "{audit:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_newest_connection_of_a_node_is_told() {
    let place = Place::of(&["n1"]).await;
    let (mut one, mut two) = (place.node("n1").await, place.node("n1").await);
    let mut first = one.subscribe(&[]).await;
    connected(&place, 1).await;
    let mut second = two.subscribe(&[]).await;
    let ended = tokio::time::timeout(Duration::from_secs(5), first.next())
        .await
        .unwrap();
    assert_eq!(ended.unwrap_err().code(), Code::Aborted);
    let order = revoke(&place, "a").await;
    assert_eq!(second.next().await.unwrap().1.epoch, order.epoch);
    assert_eq!(order.connected, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_are_signed_for_one_node_and_policy() {
    let place = Place::of(&["n1"]).await;
    let node = place.node("n1").await;
    let asked = IssueGrantRequest {
        agent: "a".into(),
        task: "TICKET-1".into(),
        node: "n1".into(),
        policy: vec![7; 32],
        lives_ms: 60_000,
        ..IssueGrantRequest::default()
    };
    let mut approver = place.operator("grant").await;
    let issued = approver
        .issue_grant(asked.clone())
        .await
        .unwrap()
        .into_inner();
    let read = grant::read(&issued.grant, &node.enrolled.keys).unwrap();
    assert_eq!(
        (read.id, read.issuer.as_str()),
        (issued.id, "operator/grant")
    );
    let other = Place::of(&["n1"]).await.node("n1").await;
    assert_eq!(
        grant::read(&issued.grant, &other.enrolled.keys),
        Err(GrantError::Forged)
    );
    let labels = std::collections::HashMap::from([("zone".to_owned(), "eu".to_owned())]);
    let two = Budget {
        rule: "payout".into(),
        left: Some(budget::Left::Actions(2)),
    };
    let wider = IssueGrantRequest {
        node: String::new(),
        labels: labels.clone(),
        budgets: vec![two.clone()],
        ..asked.clone()
    };
    let issued = approver.issue_grant(wider.clone()).await.unwrap();
    let read = grant::read(&issued.into_inner().grant, &node.enrolled.keys).unwrap();
    assert_eq!((&read.labels, read.node.as_str()), (&labels, ""));
    // A node of an earlier version must not take it for one without.
    assert_eq!(
        (read.budgets, read.requires),
        (vec![two], vec!["budgets".to_owned(), "labels".to_owned()])
    );
    let wrong = [
        IssueGrantRequest {
            lives_ms: u64::MAX,
            ..asked.clone()
        },
        IssueGrantRequest {
            node: "n1".into(),
            ..wider.clone()
        },
        IssueGrantRequest {
            labels: [].into(),
            ..wider.clone()
        },
        IssueGrantRequest {
            budgets: vec![Budget::default()],
            ..wider
        },
    ];
    for request in wrong {
        assert!(approver.issue_grant(request).await.is_err());
    }
}
