//! Operators who show a token instead of a certificate.

use crate::sim::{Place, hello, revoke_agent};
use agent_proto::client::Client;
use agent_proto::files::Files;
use agent_proto::wire::*;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as TEXT;
use interlock_controller::token::Provider;
use node_client::NodeClient;
use operator_client::OperatorClient;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use tonic::transport::Channel;
use tonic::{Code, Request};

const ISSUER: &str = "https://id.example.com";

/// What signs tokens.
enum Signer {
    Ed(Ed25519KeyPair),
    Ec(EcdsaKeyPair),
}

impl Signer {
    fn ed() -> Self {
        let drawn = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed(Ed25519KeyPair::from_pkcs8(drawn.as_ref()).unwrap())
    }

    fn ec() -> Self {
        let (way, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let drawn = EcdsaKeyPair::generate_pkcs8(way, &random).unwrap();
        Self::Ec(EcdsaKeyPair::from_pkcs8(way, drawn.as_ref(), &random).unwrap())
    }

    fn jwk(&self, name: &str) -> Value {
        match self {
            Self::Ed(key) => json!({
                "kty": "OKP", "crv": "Ed25519", "kid": name, "alg": "EdDSA",
                "x": TEXT.encode(key.public_key()),
            }),
            Self::Ec(key) => {
                let point = key.public_key().as_ref();
                json!({
                    "kty": "EC", "crv": "P-256", "kid": name,
                    "x": TEXT.encode(&point[1..33]), "y": TEXT.encode(&point[33..]),
                })
            }
        }
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Ed(_) => "EdDSA",
            Self::Ec(_) => "ES256",
        }
    }

    fn sign(&self, name: &str, claims: &Value) -> String {
        self.sign_as(&json!({"alg": self.algorithm(), "kid": name}), claims)
    }

    fn sign_as(&self, header: &Value, claims: &Value) -> String {
        let message = [header, claims]
            .map(|part| TEXT.encode(part.to_string()))
            .join(".");
        let signature = match self {
            Self::Ed(key) => key.sign(message.as_bytes()).as_ref().to_vec(),
            Self::Ec(key) => {
                let signed = key.sign(&SystemRandom::new(), message.as_bytes());
                signed.unwrap().as_ref().to_vec()
            }
        };
        format!("{message}.{}", TEXT.encode(signature))
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_secs()
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": ["other", "interlock"], "sub": "ada@example.com",
        "exp": now() + 300, "nbf": now() - 5, "realm_access": {"roles": ["responder", "cook"]},
    })
}

/// The claims with some changed; null takes one away.
fn with(changes: Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

fn keys(place: &std::path::Path) -> PathBuf {
    place.join("keys.json")
}

fn write_keys(folder: &std::path::Path, all: &[Value]) {
    let fresh = folder.join("keys.new");
    std::fs::write(&fresh, json!({"keys": all}).to_string()).unwrap();
    std::fs::rename(fresh, keys(folder)).unwrap();
}

/// A controller that believes a provider with these keys.
async fn believing(all: &[Value], roles: &str) -> Place {
    Place::with(&["n1"], |settings| {
        let folder = settings.data.parent().unwrap().to_owned();
        write_keys(&folder, all);
        settings.tokens = Some(Provider {
            issuer: ISSUER.into(),
            audience: "interlock".into(),
            keys: keys(&folder),
            roles: roles.into(),
            name: "sub".into(),
        });
    })
    .await
}

async fn without_certificate(place: &Place) -> Channel {
    let files = Files::in_folder(&place.certs(), "nobody").anonymous();
    let client = Client::new(&place.address.to_string(), files).unwrap();
    client.connect().await.unwrap()
}

fn bring<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_has_the_roles_that_it_names_and_no_others() {
    let (ed, ec) = (Signer::ed(), Signer::ec());
    let place = believing(&[ed.jwk("one"), ec.jwk("two")], "realm_access.roles").await;
    let channel = without_certificate(&place).await;
    let mut operator = OperatorClient::new(channel.clone());
    for token in [ed.sign("one", &claims()), ec.sign("two", &claims())] {
        let who = operator.whoami(bring(WhoamiRequest {}, &token)).await;
        let who = who.unwrap().into_inner();
        assert_eq!(who.name, "oidc:ada@example.com");
        assert_eq!(who.roles, ["responder"]);
        operator
            .list_nodes(bring(ListNodesRequest {}, &token))
            .await
            .unwrap();
        operator
            .revoke(bring(revoke_agent("a"), &token))
            .await
            .unwrap();
        let grant = bring(IssueGrantRequest::default(), &token);
        let refused = operator.issue_grant(grant).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
        // Nobody is a node by a token.
        let mut node = NodeClient::new(channel.clone());
        let refused = node.enrol(bring(hello(), &token)).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    }
    let mut see = place.operator("see").await;
    let audit = see
        .audit(AuditRequest { last: 0 })
        .await
        .unwrap()
        .into_inner();
    let by = audit
        .entries
        .iter()
        .filter(|it| it.who == "operator/oidc:ada@example.com");
    assert_eq!(by.count(), 4, "{:?}", audit.entries);
    // Certificates are what they were.
    place.node("n1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_do_not_hold_are_refused_with_their_reason() {
    let (key, other) = (Signer::ed(), Signer::ed());
    let place = believing(
        &[key.jwk("one"), Signer::ec().jwk("two")],
        "realm_access.roles",
    )
    .await;
    let mut operator = OperatorClient::new(without_certificate(&place).await);
    let good = key.sign("one", &claims());
    let parts: Vec<&str> = good.split('.').collect();
    let none = TEXT.encode(json!({"alg": "none"}).to_string());
    let public = match &key {
        Signer::Ed(key) => key.public_key().as_ref().to_vec(),
        Signer::Ec(_) => unreachable!("it is the other"),
    };
    // The public key as if it were a secret.
    let header = TEXT.encode(json!({"alg": "HS256", "kid": "one"}).to_string());
    let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &public);
    let tag = ring::hmac::sign(&secret, format!("{header}.{}", parts[1]).as_bytes());
    let confused = format!("{header}.{}.{}", parts[1], TEXT.encode(tag));
    let more = TEXT.encode(with(json!({"realm_access": {"roles": ["admin"]}})).to_string());
    let signed = |changes| key.sign("one", &with(changes));
    let wrong = [
        (other.sign("one", &claims()), "forged"),
        (format!("{}.{more}.{}", parts[0], parts[2]), "forged"),
        (format!("{none}.{}.", parts[1]), "no token"),
        (confused, "not believed"),
        (key.sign("two", &claims()), "forged"),
        (
            key.sign("three", &claims()),
            "a key that the provider does not have",
        ),
        (
            key.sign_as(&json!({"alg": "EdDSA"}), &claims()),
            "a key that the provider",
        ),
        (signed(json!({"exp": now() - 60})), "expired"),
        (
            signed(json!({"exp": null})),
            "by whom, for whom and until when",
        ),
        (signed(json!({"exp": "9999999999"})), ""),
        (signed(json!({"nbf": now() + 3600})), "holds later"),
        (signed(json!({"nbf": "soon"})), ""),
        (signed(json!({"aud": "other"})), "somebody else"),
        (signed(json!({"aud": null})), "by whom, for whom"),
        (
            signed(json!({"iss": "https://evil.example.com"})),
            "another provider",
        ),
        (signed(json!({"sub": null})), "`sub`"),
        (signed(json!({"sub": "a\nb"})), "`sub`"),
        (
            signed(json!({"sub": "spiffe://test/agent/coder"})),
            "workloads have no roles",
        ),
        (
            signed(json!({"realm_access": {"roles": ["cook"]}})),
            "none of the roles",
        ),
        (signed(json!({"realm_access": null})), "none of the roles"),
        ("x".repeat(9000), "no token"),
        (String::new(), "no token"),
    ];
    for (token, why) in wrong {
        let refused = operator
            .list_nodes(bring(ListNodesRequest {}, &token))
            .await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{token}: {refused}");
        assert!(refused.message().contains(why), "{why}: {refused}");
    }
    let refused = operator.list_nodes(ListNodesRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    // The control.
    operator
        .list_nodes(bring(ListNodesRequest {}, &good))
        .await
        .unwrap();
    // A certificate's owner gains nothing by a token: an agent's or a node's cannot become more.
    let mut node = OperatorClient::new(place.channel("node-n1").await.unwrap());
    let refused = node
        .revoke(bring(revoke_agent("a"), &good))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_replaced_and_a_stream_ends_with_its_token() {
    let (one, two) = (Signer::ec(), Signer::ec());
    let place = believing(&[one.jwk("one")], "realm_access.roles").await;
    let mut operator = OperatorClient::new(without_certificate(&place).await);
    let brief = one.sign("one", &with(json!({"exp": now() - 28})));
    let asked = EventsRequest {
        follow: true,
        ..EventsRequest::default()
    };
    let mut events = operator
        .events(bring(asked, &brief))
        .await
        .unwrap()
        .into_inner();
    let ended = tokio::time::timeout(Duration::from_secs(10), events.message()).await;
    let ended = ended.expect("it ends with the token").unwrap_err();
    assert!(ended.message().contains("expired"), "{ended}");
    let folder = place.settings.data.parent().unwrap();
    let token = two.sign("two", &claims());
    assert!(
        operator
            .whoami(bring(WhoamiRequest {}, &token))
            .await
            .is_err()
    );
    write_keys(folder, &[two.jwk("two")]);
    operator
        .whoami(bring(WhoamiRequest {}, &token))
        .await
        .unwrap();
    let old = one.sign("one", &claims());
    assert!(
        operator
            .whoami(bring(WhoamiRequest {}, &old))
            .await
            .is_err()
    );
    // A file that cannot be used changes nothing.
    std::fs::write(keys(folder), "{").unwrap();
    operator
        .whoami(bring(WhoamiRequest {}, &token))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_rsa_key_signs_as_others_do() {
    let jwk: Value = serde_json::from_str(include_str!("tokens/rsa.jwk")).unwrap();
    let place = believing(&[jwk], "roles").await;
    let mut operator = OperatorClient::new(without_certificate(&place).await);
    // By openssl, until 2100.
    let token = include_str!("tokens/rsa.token").trim();
    let who = operator
        .whoami(bring(WhoamiRequest {}, token))
        .await
        .unwrap();
    assert_eq!(who.into_inner().roles, ["viewer"]);
    let forged = format!("{}A{}", &token[..300], &token[301..]);
    assert_ne!(forged, token);
    let refused = operator
        .whoami(bring(WhoamiRequest {}, &forged))
        .await
        .unwrap_err();
    assert!(refused.message().contains("forged"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_provider_nobody_comes_in_without_a_certificate() {
    let place = Place::of(&["n1"]).await;
    let files = Files::in_folder(&place.certs(), "nobody").anonymous();
    let client = Client::new(&place.address.to_string(), files).unwrap();
    let token = Signer::ed().sign("one", &claims());
    let refused = async {
        let channel = client.connect().await.map_err(|error| error.to_string())?;
        let asked = bring(WhoamiRequest {}, &token);
        let answer = OperatorClient::new(channel).whoami(asked).await;
        answer.map_err(|status| status.to_string())
    };
    assert!(refused.await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_brings_no_certificate_has_so_many_connections_and_others_their_own() {
    let key = Signer::ed();
    let place = Place::with(&["n1"], |settings| {
        let folder = settings.data.parent().unwrap().to_owned();
        write_keys(&folder, &[key.jwk("one")]);
        settings.limits.bearers = 3;
        settings.tokens = Some(Provider {
            issuer: ISSUER.into(),
            audience: "interlock".into(),
            keys: keys(&folder),
            roles: "roles".into(),
            name: "sub".into(),
        });
    })
    .await;
    let token = key.sign("one", &with(json!({"roles": "viewer admin"})));
    let mut kept = Vec::new();
    for _ in 0..3 {
        let mut operator = OperatorClient::new(without_certificate(&place).await);
        operator
            .whoami(bring(WhoamiRequest {}, &token))
            .await
            .unwrap();
        kept.push(operator);
    }
    let files = Files::in_folder(&place.certs(), "nobody").anonymous();
    let client = Client::new(&place.address.to_string(), files).unwrap();
    let more = async {
        let channel = client.connect().await.ok()?;
        let asked = bring(WhoamiRequest {}, &token);
        OperatorClient::new(channel).whoami(asked).await.ok()
    };
    assert!(more.await.is_none(), "a fourth without a certificate");
    place
        .operator("see")
        .await
        .list_nodes(ListNodesRequest {})
        .await
        .unwrap();
}
