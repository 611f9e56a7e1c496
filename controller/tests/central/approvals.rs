//! Questions of sessions: told by nodes, answered by people who may, as directives bound to what is asked.

use crate::sim::{Node, Place};
use agent_proto::wire::directive::What;
use agent_proto::wire::*;
use tonic::Code;

const BODY: &[u8] = br#"{"hold":"00000000000000aa"}"#;

fn question(number: &str, people: u32) -> Question {
    Question {
        question: number.into(),
        session: "01".into(),
        agent: "a".into(),
        boot: "b1".into(),
        expires_ms: 1,
        people,
        body: BODY.to_vec(),
    }
}

async fn tell(node: &mut Node, questions: Vec<Question>) {
    let there = InventoryRequest {
        questions,
        ..InventoryRequest::default()
    };
    node.client.inventory(there).await.unwrap();
}

async fn say(
    place: &Place,
    who: &str,
    number: &str,
    yes: bool,
) -> Result<SayResponse, tonic::Status> {
    let said = SayRequest {
        question: number.into(),
        yes,
        reason: "seen".into(),
        ..SayRequest::default()
    };
    let said = place.operator(who).await.say(said).await;
    said.map(tonic::Response::into_inner)
}

async fn open(place: &Place) -> Vec<NodeQuestion> {
    let asked = ApprovalsRequest { follow: false };
    let told = place.operator("see").await.approvals(asked).await.unwrap();
    let mut told = told.into_inner();
    told.message().await.unwrap().unwrap().questions
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yes_is_a_directive_to_one_node_bound_to_what_was_told() {
    let place = Place::of(&["n1", "n2"]).await;
    let (mut n1, mut n2) = (place.node("n1").await, place.node("n2").await);
    let (mut first, mut second) = (n1.subscribe(&[]).await, n2.subscribe(&[]).await);
    tell(&mut n1, vec![question("aa", 1)]).await;
    let listed = open(&place).await;
    assert_eq!((listed.len(), listed[0].node.as_str()), (1, "n1"));
    for who in ["see", "kill", "write"] {
        let refused = say(&place, who, "aa", true).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{who}");
    }
    let said = say(&place, "grant", "aa", true).await.unwrap();
    let (_, directive) = first.next().await.unwrap();
    assert_eq!(directive.epoch, said.epoch);
    assert_eq!(directive.requires, ["answers"]);
    let Some(What::Answer(answer)) = directive.what else {
        panic!("{directive:?}");
    };
    let digest = ring::digest::digest(&ring::digest::SHA256, BODY);
    assert!(answer.yes && answer.boot == "b1" && answer.digest == digest.as_ref());
    assert_eq!(answer.people, ["operator/grant"]);
    assert_eq!(second.soon().await, None, "the other node was told");
    let late = say(&place, "root", "aa", false).await.unwrap_err();
    assert!(late.message().contains("answered already"), "{late}");
    // The node tells that it is over.
    tell(&mut n1, Vec::new()).await;
    assert!(open(&place).await.is_empty());
    let gone = say(&place, "root", "aa", false).await.unwrap_err();
    assert!(gone.message().contains("no question"), "{gone}");
    let audit = AuditRequest { last: 0 };
    let audit = place.operator("see").await.audit(audit).await.unwrap();
    let entries = audit.into_inner().entries;
    let told = |action: &str| entries.iter().filter(|it| it.action == action).count();
    assert_eq!((told("approve"), told("deny")), (1, 2), "{entries:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_are_two_and_a_no_needs_one() {
    let place = Place::of(&["n1"]).await;
    let mut n1 = place.node("n1").await;
    let mut orders = n1.subscribe(&[]).await;
    tell(&mut n1, vec![question("aa", 2), question("bb", 2)]).await;
    let said = say(&place, "grant", "aa", true).await.unwrap();
    assert_eq!((said.epoch, said.missing), (0, 1));
    let again = say(&place, "grant", "aa", true).await.unwrap_err();
    assert!(again.message().contains("somebody else"), "{again}");
    assert_eq!(orders.soon().await, None, "one was enough");
    assert_eq!(open(&place).await[0].yes, ["operator/grant"]);
    let said = say(&place, "root", "aa", true).await.unwrap();
    assert!(said.epoch > 0 && said.missing == 0);
    let (_, directive) = orders.next().await.unwrap();
    let Some(What::Answer(answer)) = directive.what else {
        panic!("{directive:?}");
    };
    assert_eq!(answer.people, ["operator/grant", "operator/root"]);
    let said = say(&place, "grant", "bb", false).await.unwrap();
    assert!(said.epoch > 0);
}
