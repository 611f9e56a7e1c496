//! Host names: one form, precedence, narrowing, differences.

use agent_common::decide::Verdict;
use agent_policy::{Action, Compiled, Host, Instant, Policy, Trial, diff, parse};

const HEAD: &str = "apiVersion: interlock.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: demo}\nspec:\n  owner: {name: Ada, contact: ada@example.com}\n";

fn egress(rules: &str) -> (Policy, Compiled) {
    let text = format!("{HEAD}  egress:\n{rules}");
    let mut policies = parse("demo.yaml", text.as_bytes()).unwrap_or_else(|e| panic!("{e}"));
    let policy = policies.remove(0);
    let compiled = policy.compile().unwrap_or_else(|e| panic!("{e}"));
    (policy, compiled)
}

fn verdict(compiled: &Compiled, action: &str) -> Verdict {
    let action: Action = action.parse().expect("an action");
    let at = Instant::default();
    let trial = Trial::start(compiled, at);
    trial.judge(&action, None, at, 0).decision.verdict
}

#[test]
fn host_names_have_one_form() {
    let name = |text: &str| Host::read(text).map(|host| host.to_string()).ok();
    assert_eq!(name("API.Example.COM."), Some("api.example.com".to_owned()));
    assert_eq!(
        name("*.bücher.example"),
        Some("*.xn--bcher-kva.example".to_owned())
    );
    for bad in [
        "a..b.com",
        "api.example.com..",
        "api\0.example.com",
        "-a.example.com",
        "a_b.example.com",
        "1.2.3.4",
        "ex ample.com",
        "*",
        "*.",
        "",
        "a.b.c.0x7f",
        "localhost",
        "a.localhost",
    ] {
        assert_eq!(name(bad), None, "{bad:?}");
    }
    let wild = Host::read("*.example.com").expect("a host name");
    assert!(wild.matches("a.example.com") && wild.matches("a.b.example.com"));
    assert!(
        !wild.matches("example.com")
            && !wild.matches("badexample.com")
            && !wild.matches(".example.com")
    );
}

/// A rule with a protocol is no more specific than one without: the one that denies decides.
#[test]
fn deny_beats_allow_on_one_name_and_port_whatever_the_protocol() {
    let (_, compiled) = egress(
        "    allow: [{to: [api.example.com], ports: [443]}]\n    deny: [{to: [api.example.com], ports: [443], protocol: tcp}]\n",
    );
    assert_eq!(
        verdict(&compiled, "connect api.example.com:443"),
        Verdict::Deny
    );
    assert_eq!(
        verdict(&compiled, "connect api.example.com:443/udp"),
        Verdict::Allow
    );
    // Nor is one range than another of the same width.
    let (_, compiled) = egress(
        "    allow: [{to: [api.example.com], ports: [400-500]}]\n    deny: [{to: [api.example.com], ports: [450-550]}]\n",
    );
    assert_eq!(
        verdict(&compiled, "connect api.example.com:449"),
        Verdict::Allow
    );
    assert_eq!(
        verdict(&compiled, "connect api.example.com:450"),
        Verdict::Deny
    );
}

#[test]
fn the_nearest_name_decides_and_wider_ones_speak_where_it_is_silent() {
    let (_, compiled) = egress(
        "    allow:\n      - {to: [\"*.example.com\"], ports: [443]}\n      - {to: [api.example.com], ports: [8443]}\n    deny:\n      - {to: [\"*.internal.example.com\"]}\n",
    );
    for (action, expected) in [
        ("connect www.example.com:443", Verdict::Allow),
        ("connect api.example.com:443", Verdict::Allow),
        ("connect api.example.com:8443", Verdict::Allow),
        ("connect v1.api.example.com:8443", Verdict::Deny),
        ("connect a.internal.example.com:443", Verdict::Deny),
        ("connect internal.example.com:443", Verdict::Allow),
        ("connect example.com:443", Verdict::Deny),
    ] {
        assert_eq!(verdict(&compiled, action), expected, "{action}");
    }
}

#[test]
fn a_tool_may_narrow_a_name() {
    let tool = |to: &str| {
        format!(
            "    allow: [{{to: [\"*.example.com\"], ports: [443]}}]\n  tools:\n    - tool: t\n      owner: {{name: a, contact: b}}\n      start: {{programs: [/bin/t]}}\n      egress: {{allow: [{{to: [{to}], ports: [443]}}]}}\n"
        )
    };
    let compiles = |to: &str| {
        let text = format!("{HEAD}  egress:\n{}", tool(to));
        let policies = parse("demo.yaml", text.as_bytes()).unwrap_or_else(|e| panic!("{e}"));
        policies[0].compile().is_ok()
    };
    assert!(compiles("api.example.com") && compiles("\"*.api.example.com\""));
    assert!(compiles("\"*.example.com\""));
    assert!(!compiles("example.com") && !compiles("\"*.example.org\""));
}

#[test]
fn a_difference_behind_a_range_is_found() {
    let [old, new] = ["443-500", "443-450"].map(|ports| {
        egress(&format!(
            "    allow: [{{to: [\"*.example.com\"]}}]\n    deny: [{{to: [api.example.com], ports: [{ports}]}}]\n"
        ))
    });
    let found = diff((&old.0, &old.1), (&new.0, &new.1));
    assert_eq!(found.becomes_allowed.len(), 1, "{found}");
    assert_eq!(
        found.becomes_allowed[0].example,
        "connect api.example.com:451"
    );
    assert!(found.becomes_denied.is_empty() && found.complete, "{found}");
}
