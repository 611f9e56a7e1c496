//! Whatever a file says, what the parser takes the compiler answers, always the same; and every verb
//! that shows a policy or tries it agrees with itself.

#![no_main]

use std::sync::LazyLock;

use agent_policy::{
    Action, Compiled, Instant, Policy, Profiles, Trial, check, describe, diff, explain, graph,
    parse_with,
};
use libfuzzer_sys::fuzz_target;

const FILE: &str = "fuzz.yaml";

static PROFILES: LazyLock<Profiles> = LazyLock::new(|| {
    let mut profiles = Profiles::none();
    for (name, text) in [
        (
            "base.yaml",
            include_str!("../../../policies/profiles/base.yaml"),
        ),
        (
            "java.yaml",
            include_str!("../../../policies/profiles/java.yaml"),
        ),
        (
            "node.yaml",
            include_str!("../../../policies/profiles/node.yaml"),
        ),
        (
            "open-host.yaml",
            include_str!("../../../policies/profiles/open-host.yaml"),
        ),
        (
            "python.yaml",
            include_str!("../../../policies/profiles/python.yaml"),
        ),
        (
            "shell.yaml",
            include_str!("../../../policies/profiles/shell.yaml"),
        ),
    ] {
        profiles
            .add(name, text.as_bytes())
            .expect("a ready-made profile");
    }
    profiles
});

/// A path past most kinds of object; what a policy speaks of, `diff` draws from it.
const ACTIONS: [&str; 13] = [
    "connect 10.0.0.1:443",
    "connect 192.0.2.7:53/udp",
    "connect [2001:db8::1]:8080",
    "connect api.example.com:443",
    "connect unix:/run/x.sock",
    "connect agent:planner",
    "listen 127.0.0.1:8080",
    "listen 0.0.0.0:443",
    "exec /usr/bin/git push --force",
    "read /work/src/a.rs",
    "write /work/.env",
    "map /usr/lib/libc.so",
    "privilege signal",
];

/// Before this the input holds profiles of its own.
const CUT: &[u8] = b"\n--- policies\n";

fuzz_target!(|bytes: &[u8]| {
    let mut profiles = PROFILES.clone();
    let cut = bytes.windows(CUT.len()).position(|window| window == CUT);
    let policies = match cut {
        Some(at) => {
            let _ = profiles.add("own.yaml", &bytes[..at]);
            &bytes[at + CUT.len()..]
        }
        None => bytes,
    };
    let Ok(policies) = parse_with(FILE, policies, &profiles) else {
        return;
    };
    for policy in policies.iter().take(4) {
        let found = check(policy, None);
        let _ = found.to_string();
        let _ = describe(policy).to_string();
        let _ = graph(policy);
        match policy.compile() {
            Err(refused) => {
                assert!(refused.has_errors());
                assert_eq!(found, refused, "check says what compile says");
            }
            Ok(compiled) => {
                let again = policy.compile().expect("it compiled before");
                assert!(compiled == again, "compilation is deterministic");
                try_out(policy, &compiled);
            }
        }
    }
});

fn try_out(policy: &Policy, compiled: &Compiled) {
    if compiled.rules.len() < 64 {
        let same = diff((policy, compiled), (policy, compiled));
        assert!(same.becomes_allowed.is_empty() && same.becomes_denied.is_empty());
        assert!(same.conditions_change.is_empty());
    }
    let mut at = Instant {
        now_ns: 1,
        wall_s: 1_772_442_000,
    };
    let mut trial = Trial::start(compiled, at);
    for (i, text) in ACTIONS.iter().cycle().take(2 * ACTIONS.len()).enumerate() {
        let action: Action = text.parse().expect("an action");
        let tool = (i % 3 == 2).then_some(0);
        let explained = explain(compiled, &trial, &action, tool, at);
        let _ = explained.to_string();
        let outcome = trial.attempt(&action, tool, at, 100);
        // `explain` asks of an action that moves nothing; budgets of bytes may tell them apart.
        if compiled.terms.limits.iter().all(|limit| limit.kind == 0) {
            assert_eq!(explained.verdict, outcome.decision.verdict.word(), "{text}");
        }
        at.now_ns += 7_000_000_000;
        at.wall_s += 7;
    }
    trial.revoke();
    let action: Action = ACTIONS[0].parse().expect("an action");
    let outcome = trial.attempt(&action, None, at, 0);
    assert_eq!(
        outcome.decision.verdict.word(),
        "deny",
        "a revoked session may nothing"
    );
}
