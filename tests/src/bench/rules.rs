//! Policies with so many rules of one kind.

use super::operations::{self, Kind};
use crate::harness::policy::{EVERY_USE, Policy};
use std::net::SocketAddr;

/// How many rules there are.
pub(super) const SIZES: [u32; 3] = [1, 100, 10_000];

/// A policy under which the operations of a kind are allowed, those that are to be denied are
/// denied, and which has so many rules of that kind. Those for files and programs come beside the
/// one for `/**`.
pub(super) fn policy(kind: Kind, rules: u32) -> Policy {
    let policy = Policy::named(&format!("bench-{}-{rules}", kind.word()));
    let refused = [&format!("{}/**", operations::REFUSED) as &str];
    match kind {
        Kind::Files => (1..rules).map(other).fold(
            policy.files("deny", EVERY_USE, &refused),
            |policy, (effect, path)| policy.files(effect, "read, write", &[&path]),
        ),
        Kind::Programs => (1..rules).map(other).fold(
            policy.exec("deny", &format!("{{programs: {refused:?}}}")),
            |policy, (effect, path)| policy.exec(effect, &format!("{{programs: [\"{path}\"]}}")),
        ),
        Kind::Network => (1..rules).fold(network(policy), |policy, number| {
            let [_, a, b, c] = number.to_be_bytes();
            let network = format!("10.{}.{b}.{c}/32", a.wrapping_add(1));
            policy.allow(&network, &(1_000 + number % 50_000).to_string(), "tcp")
        }),
    }
}

/// One allowed endpoint for each operation.
fn network(policy: Policy) -> Policy {
    let allow = |policy: Policy, at: SocketAddr, protocol| {
        policy.allow(&at.ip().to_string(), &at.port().to_string(), protocol)
    };
    // A Unix socket has no ports, and a rule's are not asked.
    let policy = policy.allow(&format!("unix:{}", operations::SOCKET), "1", "udp");
    let policy = allow(policy, operations::UDP, "udp");
    let mut bulk = operations::TCP;
    bulk.set_port(operations::BULK);
    let policy = allow(policy, bulk, "tcp");
    let places = [
        (operations::UDP, "udp"),
        (operations::TCP, "tcp"),
        (bulk, "tcp"),
    ];
    let listen = places.map(|(at, protocol)| {
        format!(
            "{{on: [{}], ports: [{}], protocol: {protocol}}}",
            at.ip(),
            at.port()
        )
    });
    allow(policy, operations::TCP, "tcp")
        .with(&format!("  listen: {{allow: [{}]}}\n", listen.join(", ")))
}

/// A rule that speaks of something near what is measured, and not of that: of each form of path as
/// many.
fn other(number: u32) -> (&'static str, String) {
    let folder = operations::FOLDER;
    match number % 4 {
        0 => ("allow", format!("{folder}/rest-{number}/**")),
        1 => ("deny", format!("{folder}/file-{number}")),
        2 => ("deny", format!("name-{number}")),
        _ => ("deny", format!("*.x{number}")),
    }
}
