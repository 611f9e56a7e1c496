//! Every message of the contract, and what else is read of the other side before it is believed:
//! grants, certificates, versions, audits. Whatever the bytes, an answer; and what was read says the
//! same when it is written and read again.

#![no_main]

use agent_proto::{grant, identity, seal, version, wire::*};
use libfuzzer_sys::fuzz_target;
use prost::Message;
use std::sync::LazyLock;

static KEYS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| vec![vec![7; 32], vec![]]);

fn read<M: Message + Default + PartialEq>(bytes: &[u8]) -> Option<M> {
    let message = M::decode(bytes).ok()?;
    let again = M::decode(&message.encode_to_vec()[..]).expect("what was written can be read");
    // What is no number is not equal to itself; there are no floating-point numbers in the contract.
    assert!(again == message);
    Some(message)
}

macro_rules! one_of {
    ($which:expr, $bytes:expr, $($message:ty),+ $(,)?) => {{
        let readers: &[fn(&[u8])] = &[$(|bytes| { let _ = read::<$message>(bytes); }),+];
        readers[usize::from($which) % readers.len()]($bytes);
    }};
}

fuzz_target!(|bytes: &[u8]| {
    let Some((which, rest)) = bytes.split_first() else {
        return;
    };
    one_of!(
        *which,
        rest,
        EnrolRequest,
        EnrolResponse,
        ReportRequest,
        ReportResponse,
        DirectivesRequest,
        DirectivesResponse,
        InventoryRequest,
        InventoryResponse,
        WhoamiRequest,
        WhoamiResponse,
        ListNodesRequest,
        ListNodesResponse,
        ListSessionsRequest,
        ListSessionsResponse,
        ListAgentsRequest,
        ListAgentsResponse,
        EventsRequest,
        EventsResponse,
        WatchRequest,
        WatchResponse,
        CheckpointsRequest,
        CheckpointsResponse,
        AuditRequest,
        AuditResponse,
        RevokeRequest,
        OrderResponse,
        LiftRequest,
        UploadPolicyRequest,
        UploadPolicyResponse,
        ListPoliciesRequest,
        ListPoliciesResponse,
        RollOutRequest,
        IssueGrantRequest,
        IssueGrantResponse,
        SignedDirective,
        Directive,
        Grant,
        Record,
        AuditEntry,
    );
    if let Some(request) = read::<EnrolRequest>(rest) {
        let _ = version::agree(&request);
    }
    if let Some(answer) = read::<AuditResponse>(rest) {
        let _ = seal::audit_fault(&answer.entries);
    }
    let _ = identity::of_certificate(rest);
    if let Ok(text) = std::str::from_utf8(rest) {
        assert!(grant::read(text, &KEYS).is_err(), "nobody has signed it");
    }
    // With a key that has signed whatever is there, the body alone decides.
    if let Some(grant) = read::<Grant>(rest) {
        let labels = grant.labels.clone().into_iter().collect();
        let wanted = grant::Wanted {
            controller: &grant.controller,
            agent: &grant.agent,
            task: None,
            node: &grant.node,
            labels: &labels,
            policy: &grant.policy,
            now_ms: grant.issued_ms,
        };
        let holds = grant::allows(&grant, &wanted).is_ok();
        assert_eq!(holds, grant.issued_ms < grant.expires_ms);
    }
});
