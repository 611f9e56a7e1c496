//! Who may ask what, with real certificates over real sockets.

use crate::sim;
use crate::sim::{Place, hello, revoke_agent, wanted};
use agent_proto::wire::node_client::NodeClient;
use agent_proto::wire::*;
use interlock_controller::certs::{self, Wanted};
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn versions_and_features_are_settled_when_a_node_enrols() {
    let place = Place::of(&["n1"]).await;
    let mut node = place.node("n1").await;
    assert_eq!(node.enrolled.version, 1);
    assert_eq!(node.enrolled.keys[0].len(), 32);
    let later = EnrolRequest {
        version_from: 2,
        version_to: 3,
        ..hello()
    };
    let refused = node.client.enrol(later).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(refused.message().contains("versions 2 to 3"), "{refused}");
    let more = EnrolRequest {
        requires: vec!["teleport".into()],
        ..hello()
    };
    let refused = node.client.enrol(more).await.unwrap_err();
    assert!(refused.message().contains("`teleport`"), "{refused}");
    let known = EnrolRequest {
        version_to: 9,
        requires: vec!["lift".into()],
        ..hello()
    };
    assert_eq!(
        node.client.enrol(known).await.unwrap().into_inner().version,
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_decide_what_operators_may_do_and_nodes_have_none() {
    let place = Place::of(&["n1"]).await;
    place.node("n1").await;
    let mut allowed = Vec::new();
    for name in ["see", "kill", "grant", "write", "root"] {
        let mut operator = place.operator(name).await;
        let seen = operator.list_nodes(ListNodesRequest {}).await.is_ok();
        let revoked = operator.revoke(revoke_agent("a")).await.is_ok();
        let grant = IssueGrantRequest {
            agent: "a".into(),
            node: "n1".into(),
            policy: vec![0; 32],
            ..IssueGrantRequest::default()
        };
        let granted = operator.issue_grant(grant).await.is_ok();
        let uploaded = operator.upload_policy(policy()).await.is_ok();
        allowed.push((name, seen, revoked, granted, uploaded));
    }
    let expected = [
        ("see", true, false, false, false),
        ("kill", true, true, false, false),
        ("grant", true, false, true, false),
        ("write", true, false, false, true),
        ("root", true, true, true, true),
    ];
    assert_eq!(allowed, expected);
    let channel = place.channel("node-n1").await.unwrap();
    let mut node = operator_client::OperatorClient::new(channel);
    let refused = node.revoke(revoke_agent("a")).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    let channel = place.channel("operator-root").await.unwrap();
    let refused = NodeClient::new(channel).enrol(hello()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    let mut root = place.operator("root").await;
    let audit = root
        .audit(AuditRequest { last: 0 })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(agent_proto::seal::audit_fault(&audit.entries), None);
    let said = |who: &str, outcome: &str| {
        let by = audit.entries.iter().filter(|entry| entry.who == who);
        by.filter(|entry| entry.action == "revoke" && entry.outcome.starts_with(outcome))
            .count()
    };
    assert_eq!(said("operator/kill", "directive "), 1);
    assert_eq!(said("operator/see", "refused: needs the role responder"), 1);
    assert_eq!(said("node/n1", "refused"), 1);
}

fn policy() -> UploadPolicyRequest {
    UploadPolicyRequest {
        file: "a.yaml".into(),
        text:
            "apiVersion: interlock.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: a}\nspec:\n  \
               owner: {name: Ada, contact: ada@example.com}\n"
                .into(),
        profiles: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_authority_an_expired_certificate_and_an_agent_are_not_let_in() {
    let place = Place::of(&["n1"]).await;
    // The control: the same way works with the right certificate.
    place.node("n1").await;
    let other = place.folder.0.join("other");
    certs::make(&other, &wanted(&["n1"])).unwrap();
    // The right authority for the controller, the wrong one for the node.
    std::fs::copy(place.certs().join("ca.pem"), other.join("ca.pem")).unwrap();
    let old = place.folder.0.join("old");
    std::fs::create_dir(&old).unwrap();
    for file in ["ca.pem", "ca.key"] {
        std::fs::copy(place.certs().join(file), old.join(file)).unwrap();
    }
    certs::make(
        &old,
        &Wanted {
            days: -1,
            ..wanted(&["n1"])
        },
    )
    .unwrap();
    let strange = place.folder.0.join("strange");
    std::fs::create_dir(&strange).unwrap();
    for file in ["ca.pem", "ca.key"] {
        std::fs::copy(place.certs().join(file), strange.join(file)).unwrap();
    }
    certs::make(
        &strange,
        &Wanted {
            trust: "elsewhere".into(),
            ..wanted(&["n1"])
        },
    )
    .unwrap();
    for folder in [&other, &old, &strange] {
        let refused = try_enrol(&place, folder).await;
        assert!(refused.is_err(), "{}: {refused:?}", folder.display());
    }
    // And a node does not talk to a controller that another authority vouches for.
    let mistaken = place.folder.0.join("mistaken");
    certs::make(&mistaken, &wanted(&["n1"])).unwrap();
    assert!(place_channel(&place, &mistaken).await.is_err());
}

async fn place_channel(place: &Place, folder: &std::path::Path) -> Result<(), String> {
    let channel = sim::channel(place.address, folder, "node-n1").await;
    channel
        .map(|_| ())
        .map_err(|error| format!("{:#}", anyhow::Error::from(error)))
}

async fn try_enrol(place: &Place, folder: &std::path::Path) -> Result<(), String> {
    let channel = sim::channel(place.address, folder, "node-n1").await;
    let channel = channel.map_err(|error| error.to_string())?;
    let enrolled = NodeClient::new(channel).enrol(hello()).await;
    enrolled.map(|_| ()).map_err(|status| status.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_rotate_under_a_controller_that_runs() {
    let place = Place::of(&["n1"]).await;
    let mut before = place.node("n1").await;
    // A new authority: whoever has a certificate of the old one only stays outside from now on.
    let fresh = place.folder.0.join("fresh");
    certs::make(&fresh, &wanted(&["n1"])).unwrap();
    for file in ["ca.pem", "controller.key", "controller.pem"] {
        let new = place.certs().join(format!("{file}.new"));
        std::fs::copy(fresh.join(file), &new).unwrap();
        std::fs::rename(new, place.certs().join(file)).unwrap();
    }
    assert!(try_enrol(&place, &fresh).await.is_ok());
    let old = place.folder.0.join("old");
    std::fs::create_dir(&old).unwrap();
    for file in ["node-n1.pem", "node-n1.key"] {
        std::fs::copy(place.certs().join(file), old.join(file)).unwrap();
    }
    std::fs::copy(fresh.join("ca.pem"), old.join("ca.pem")).unwrap();
    assert!(try_enrol(&place, &old).await.is_err());
    // Who was in stays in.
    assert!(before.client.enrol(hello()).await.is_ok());
    // Files that cannot be used, as in the middle of being replaced, change nothing.
    std::fs::write(place.certs().join("controller.pem"), "-----BEGIN").unwrap();
    assert!(try_enrol(&place, &fresh).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection_answer_ordinary_probes() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    let place = Place::of(&["n1"]).await;
    let channel = place.channel("operator-see").await.unwrap();
    let asked = HealthCheckRequest {
        service: "interlock.v1.Node".into(),
    };
    let health = HealthClient::new(channel.clone())
        .check(asked)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(health.status, 1, "SERVING");
    let list = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..ServerReflectionRequest::default()
    };
    let asked = tokio_stream::iter([list]);
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(asked)
        .await
        .unwrap()
        .into_inner();
    let answer = format!("{:?}", answers.message().await.unwrap());
    assert!(answer.contains("interlock.v1.Operator"), "{answer}");
}
