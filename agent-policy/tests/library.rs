//! What the CLI builds on: cases, differences, simulations, pictures, the schema, profiles, tools.

use agent_common::decide::Verdict;
use agent_policy::{
    Action, Compiled, Instant, Need, Policy, Profiles, Recorded, Simulation, Trial, check, diff,
    graph, is_cases, not_enforced, parse, parse_cases, parse_with, run_cases, schema,
};

const CODER: &str = include_str!("golden/coder.yaml");
const HEAD: &str = "apiVersion: interlock.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: demo}\nspec:\n  owner: {name: Ada, contact: ada@example.com}\n";

fn read(text: &str) -> (Policy, Compiled) {
    let mut policies =
        parse("demo.yaml", text.as_bytes()).unwrap_or_else(|found| panic!("{found}"));
    let policy = policies.remove(0);
    let compiled = policy.compile().unwrap_or_else(|found| panic!("{found}"));
    (policy, compiled)
}

fn demo(spec: &str) -> (Policy, Compiled) {
    read(&format!("{HEAD}{spec}"))
}

const CASES: &str = "apiVersion: interlock.dev/v1alpha1
kind: PolicyCases
agent: coder
cases:
  - case: commits what was tested, pushes what a person has seen
    start: 2026-03-02T10:00:00Z
    trace:
      - {do: exec /usr/bin/git commit, expect: deny, reason: fact missing, facts: []}
      - {do: exec /usr/bin/cargo test, expect: allow, facts: [tested, step:test]}
      - {do: exec /usr/bin/git commit, expect: allow}
      - {do: exec /usr/bin/git push, expect: hold}
      - {approve: push}
      - {wait: 11m}
      - {do: exec /usr/bin/git push, expect: hold}
      - {approve: push}
      - {do: exec /usr/bin/git push, expect: allow}
  - case: a program that the session could have written does not run
    trace:
      - {do: exec /work/target/app, writable: true, expect: deny, reason: program is writable}
";

#[test]
fn cases_pass_and_say_what_they_did_not_reach() {
    let (policy, compiled) = read(CODER);
    assert!(is_cases(CASES.as_bytes()) && !is_cases(CODER.as_bytes()));
    let cases =
        parse_cases("coder.cases.yaml", CASES.as_bytes()).unwrap_or_else(|found| panic!("{found}"));
    let result = run_cases(&policy, &compiled, &cases.iter().collect::<Vec<_>>());
    assert!(result.passed(), "{result}");
    assert_eq!((result.reached, result.rules), (4, 15), "{result}");
    assert!(
        result
            .not_reached
            .iter()
            .any(|rule| rule.contains("coder") || rule.contains("redact"))
    );
    assert!(result.junit("coder").contains("tests=\"2\" failures=\"0\""));
}

#[test]
fn a_case_that_expects_something_else_fails_with_its_line() {
    let (policy, compiled) = read(CODER);
    let wrong = CASES.replace(
        "expect: hold}\n      - {approve: push}\n      - {wait",
        "expect: deny}\n      - {approve: push}\n      - {wait",
    );
    assert_ne!(wrong, CASES);
    let cases =
        parse_cases("coder.cases.yaml", wrong.as_bytes()).unwrap_or_else(|found| panic!("{found}"));
    let result = run_cases(&policy, &compiled, &cases.iter().collect::<Vec<_>>());
    assert_eq!(
        result.results[0].failures,
        ["line 11: exec /usr/bin/git push: found hold (approval missing), expected deny"]
    );
    assert!(result.junit("coder").contains("failures=\"1\""));
}

#[test]
fn what_a_case_says_in_vain_is_an_error() {
    for (was, is, found) in [
        (
            "{wait: 11m}",
            "{wait: 11m, do: exec /usr/bin/git push}",
            "13:21",
        ),
        ("{approve: push}", "{approve: push, expect: allow}", "12:25"),
        ("writable: true", "bytes: 20 MB", "found \"20 MB\""),
        (
            "exec /work/target/app",
            "connect 10.0.0.1:443",
            "writable of `connect 10.0.0.1:443`",
        ),
    ] {
        let wrong = CASES.replacen(was, is, 1);
        assert_ne!(wrong, CASES);
        let errors = parse_cases("coder.cases.yaml", wrong.as_bytes()).expect_err(is);
        assert!(errors.to_string().contains(found), "{errors}");
    }
    let megabytes = CASES.replacen("writable: true", "bytes: 20MB", 1);
    parse_cases("coder.cases.yaml", megabytes.as_bytes()).unwrap_or_else(|found| panic!("{found}"));
}

#[test]
fn a_difference_has_an_example_for_each_change() {
    let old = demo(
        "  egress:\n    allow: [{to: [10.0.0.0/8], ports: [443]}]\n    deny: [{to: [10.9.0.0/16]}]\n  files:\n    allow: [{access: [read], paths: [/work/**]}]\n",
    );
    let new = demo(
        "  egress:\n    allow: [{to: [10.0.0.0/8], ports: [443, 8080]}]\n  files:\n    allow: [{access: [read], paths: [/work/**]}]\n    deny: [{access: [read], paths: [.env]}]\n",
    );
    let found = diff((&old.0, &old.1), (&new.0, &new.1));
    let allowed: Vec<&str> = found
        .becomes_allowed
        .iter()
        .map(|change| change.example.as_str())
        .collect();
    let denied: Vec<&str> = found
        .becomes_denied
        .iter()
        .map(|change| change.example.as_str())
        .collect();
    assert_eq!(
        allowed,
        ["connect 10.0.0.0:8080", "connect 10.9.0.0:443"],
        "{found}"
    );
    assert_eq!(denied, ["read /work/.env"], "{found}");
    assert!(found.complete);
    let same = diff((&old.0, &old.1), (&old.0, &old.1));
    assert!(
        same.becomes_allowed.is_empty()
            && same.becomes_denied.is_empty()
            && same.conditions_change.is_empty()
    );
    // Every example is true: judged by both policies it has the verdicts that are told.
    for change in found.becomes_allowed.iter().chain(&found.becomes_denied) {
        let action: Action = change.example.parse().expect("an action");
        let verdict = |compiled: &Compiled| {
            Trial::start(compiled, Instant::default())
                .judge(&action, None, Instant::default(), 0)
                .decision
                .verdict
        };
        assert_ne!(verdict(&old.1), verdict(&new.1), "{}", change.example);
    }
}

#[test]
fn a_changed_condition_is_a_difference() {
    let old = demo("  exec: {allow: [{programs: [/usr/bin/pay]}]}\n");
    let new = demo("  exec: {allow: [{programs: [/usr/bin/pay], approval: {by: [ada]}}]}\n");
    let found = diff((&old.0, &old.1), (&new.0, &new.1));
    assert_eq!(found.conditions_change.len(), 1, "{found}");
    assert_eq!(
        found.conditions_change[0].new,
        "allow, once ada has approved it"
    );
}

#[test]
fn recorded_events_are_held_against_a_policy() {
    let (policy, compiled) = read(CODER);
    let lines = [
        r#"{"time": "2026-03-02T10:00:00Z", "session": "a", "action": "exec /usr/bin/cargo test"}"#,
        r#"{"time": 1772445601, "session": "a", "action": "exec /usr/bin/git commit"}"#,
        r#"{"time": 1772445602, "session": "b", "action": "exec /usr/bin/git commit"}"#,
        r#"{"action": "dance"}"#,
    ];
    let mut simulation = Simulation::new(&policy, &compiled);
    let mut hold = |line: &str| {
        let event: Recorded = serde_json::from_str(line).expect("an event");
        simulation.hold(&event)
    };
    for line in &lines[..2] {
        assert_eq!(hold(line), Ok(None), "{line}");
    }
    let refused = hold(lines[2]).expect("an action").expect("a refusal");
    assert_eq!(refused.reason, "fact missing");
    let skipped = hold(lines[3]).expect_err("no action").to_string();
    assert!(skipped.starts_with("found \"dance\""), "{skipped}");
    // A session of the same number afterwards is another one.
    simulation.end(Some("a"));
    let event: Recorded = serde_json::from_str(lines[1]).expect("an event");
    assert!(simulation.hold(&event).expect("an action").is_some());
}

#[test]
fn the_chain_is_drawn() {
    let (policy, _) = read(CODER);
    let picture = graph(&policy);
    assert!(
        picture.dot.contains("\"test\" -> \"commit\";"),
        "{}",
        picture.dot
    );
    assert!(
        picture
            .dot
            .contains("\"test\" -> \"commit\" [style=dashed, label=resets];")
    );
    assert!(picture.text.contains("3.  push"), "{}", picture.text);
}

/// Every key that the schema knows at some place of the language.
fn keys(value: &serde_json::Value, into: &mut Vec<String>) {
    if let serde_json::Value::Object(map) = value {
        if let Some(serde_json::Value::Object(properties)) = map.get("properties") {
            into.extend(properties.keys().cloned());
        }
        map.values().for_each(|value| keys(value, into));
    }
    if let serde_json::Value::Array(items) = value {
        items.iter().for_each(|value| keys(value, into));
    }
}

#[test]
fn the_schema_knows_every_field_of_the_example() {
    let mut known = Vec::new();
    keys(&schema(), &mut known);
    for line in CODER.lines() {
        let line = line.trim().trim_start_matches("- ").trim_start_matches('{');
        if let Some((key, _)) = line.split_once(':')
            && key.chars().all(|c| c.is_ascii_alphabetic())
            && key != "workspace"
        {
            assert!(known.iter().any(|other| other == key), "{key}");
        }
    }
    let text = schema().to_string();
    assert!(!text.contains("$ref\":\"#/$defs/\""));
}

const PROFILE: &str = "apiVersion: interlock.dev/v1alpha1
kind: AgentProfile
metadata: {name: python}
spec:
  variables: {python: /usr/bin/python3}
  extends: [base]
  exec: {allow: [{programs: [\"${python}\"]}]}
---
apiVersion: interlock.dev/v1alpha1
kind: AgentProfile
metadata: {name: base}
spec:
  files: {allow: [{access: [read], paths: [\"/usr/lib/**\"]}]}
---
apiVersion: interlock.dev/v1alpha1
kind: AgentProfile
metadata: {name: circle}
spec: {extends: [circle]}
";

#[test]
fn profiles_bring_their_rules_and_take_variables() {
    let mut profiles = Profiles::none();
    profiles
        .add("profiles.yaml", PROFILE.as_bytes())
        .unwrap_or_else(|found| panic!("{found}"));
    let text = format!("{HEAD}  extends: [python]\n  variables: {{python: /opt/python}}\n");
    let policies = parse_with("demo.yaml", text.as_bytes(), &profiles)
        .unwrap_or_else(|found| panic!("{found}"));
    let compiled = policies[0]
        .compile()
        .unwrap_or_else(|found| panic!("{found}"));
    let allows = |action: &str| {
        let action: Action = action.parse().expect("an action");
        let trial = Trial::start(&compiled, Instant::default());
        trial
            .judge(&action, None, Instant::default(), 0)
            .decision
            .verdict
            == Verdict::Allow
    };
    assert!(allows("exec /opt/python") && allows("read /usr/lib/x.so"));
    assert!(!allows("exec /usr/bin/python3"));
    assert_eq!(&*compiled.sources[0].file, "profiles.yaml");

    let circle = parse_with(
        "demo.yaml",
        format!("{HEAD}  extends: [circle]\n").as_bytes(),
        &profiles,
    );
    let found = circle.expect_err("a cycle").to_string();
    assert!(
        found.contains("profiles that extend each other: circle → circle"),
        "{found}"
    );
    let misspelt = parse_with(
        "demo.yaml",
        format!("{HEAD}  extends: [pyhton]\n").as_bytes(),
        &profiles,
    );
    assert!(
        misspelt
            .expect_err("no such profile")
            .to_string()
            .contains("did you mean \"python\"?")
    );
}

#[test]
fn a_tool_narrows_what_the_agent_may_do() {
    let (_, compiled) = demo(
        "  egress: {allow: [{to: [10.0.0.0/8], ports: [443]}]}\n  tools:\n    - tool: git\n      owner: {name: Ada, contact: ada@example.com}\n      start: {programs: [/usr/bin/git-mcp]}\n      egress: {allow: [{to: [10.1.0.0/16], ports: [443]}]}\n",
    );
    let at = Instant::default();
    let trial = Trial::start(&compiled, at);
    let judge = |action: &str, tool| {
        let action: Action = action.parse().expect("an action");
        trial.judge(&action, tool, at, 0)
    };
    assert_eq!(judge("exec /usr/bin/git-mcp", None).decision.tool, 1);
    assert_eq!(
        judge("connect 10.2.0.1:443", None).decision.verdict,
        Verdict::Allow
    );
    assert_eq!(
        judge("connect 10.1.0.1:443", Some(0)).decision.verdict,
        Verdict::Allow
    );
    let outside = judge("connect 10.2.0.1:443", Some(0));
    assert_eq!(
        (outside.decision.verdict, outside.by_tool),
        (Verdict::Deny, true)
    );
    assert!(!judge("connect 192.0.2.1:443", Some(0)).by_tool);
}

#[test]
fn what_the_kernel_side_cannot_enforce_is_an_error_where_it_stands() {
    let (policy, compiled) = demo("  files: {allow: [{access: [read], paths: [/work/**]}]}\n");
    assert_eq!(compiled.needs(), [Need::Files]);
    assert!(!check(&policy, Some(&[Need::Files])).has_errors());
    let (_, plain) = demo("  egress: {allow: [{to: [10.0.0.1]}]}\n");
    assert!(plain.needs().is_empty());
    for (spec, needs, place) in [
        (
            "  files: {allow: [{access: [read], paths: [/a/**]}]}\n",
            vec![Need::Files],
            "6:19",
        ),
        (
            "  egress: {allow: [{to: [10.0.0.1, a.example.com]}]}\n",
            vec![Need::HostNames],
            "6:36",
        ),
        (
            "  end: {ttl: 1h, onDeviation: kill}\n",
            vec![Need::Kill, Need::Ttl],
            "6:14",
        ),
        (
            "  end: {revokeOn: [deviation, failure]}\n",
            vec![Need::Revoke, Need::Failure],
            "6:20",
        ),
        ("  mode: audit\n", vec![Need::Audit], "6:9"),
        (
            "  chain: {steps: [{step: a, egress: [{to: [10.0.0.1]}]}], failedBy: [timeout, deviation]}\n  end: {revokeOn: [failure]}\n",
            vec![Need::Revoke, Need::Failure, Need::Timeout],
            "6:70",
        ),
        (
            "  session: [run, {cgroup: /a}]\n",
            vec![Need::Cgroups],
            "6:18",
        ),
        (
            "  session: [{systemdUnit: a.service}, {executable: /usr/bin/a}]\n",
            vec![Need::Cgroups, Need::Executables],
            "6:13",
        ),
        (
            "  session: [run, {kubernetes: {namespace: a, serviceAccount: b}}]\n",
            vec![Need::ServiceAccounts],
            "6:18",
        ),
        (
            "  session: [{kubernetes: {namespace: a, podLabels: {app: b}, container: c}}]\n",
            vec![Need::Pods],
            "6:13",
        ),
        (
            "  session: [run, {container: {labels: {app: a}}}]\n",
            vec![Need::Engines],
            "6:18",
        ),
        (
            "  facts: [{fact: a, expires: 1m}]\n",
            vec![Need::Timers],
            "6:18",
        ),
    ] {
        let (policy, compiled) = demo(spec);
        assert_eq!(compiled.needs(), needs, "{spec}");
        let found = not_enforced(&policy, &compiled, &[]).to_string();
        let first = format!("demo.yaml:{place}: error: found ");
        assert!(found.starts_with(&first), "{spec}{found}");
        assert!(check(&policy, Some(&[])).has_errors(), "{spec}");
    }
}

#[test]
fn an_unknown_history_can_be_forbidden_and_is_never_declared_or_set() {
    let rule = |word: &str| {
        format!(
            "  egress: {{allow: [{{to: [10.0.0.1], ports: [443], {word}: [unknown_history]}}]}}\n"
        )
    };
    let (_, compiled) = demo(&rule("forbids"));
    let fact = compiled.unknown_history();
    assert_eq!(fact.count_ones(), 1);
    assert_eq!(compiled.initial_facts & fact, 0);
    let at = Instant::default();
    let action: Action = "connect 10.0.0.1:443".parse().expect("an action");
    let mut trial = Trial::start(&compiled, at);
    let verdict = |trial: &Trial<'_>| trial.judge(&action, None, at, 0).decision.verdict;
    assert_eq!(verdict(&trial), Verdict::Allow);
    trial.set_facts(fact, at);
    assert_eq!(verdict(&trial), Verdict::Deny);
    let wrong = |spec: &str| parse("demo.yaml", format!("{HEAD}{spec}").as_bytes()).is_err();
    assert!(wrong(&rule("sets")));
    assert!(wrong("  facts: [{fact: unknown_history}]\n"));
    // Who is only ever started has none.
    let (_, compiled) = demo("  session: [run]\n");
    assert_eq!(compiled.unknown_history(), 0);
    let (_, compiled) = demo("  session: [{cgroup: /a}]\n");
    assert_ne!(compiled.unknown_history(), 0);
}

#[test]
fn listening_on_every_address_is_not_listening_on_loopback() {
    let (_, compiled) = demo("  listen: {allow: [{on: [loopback], ports: [8080]}]}\n");
    let trial = Trial::start(&compiled, Instant::default());
    let verdict = |action: &str| {
        let action: Action = action.parse().expect("an action");
        trial
            .judge(&action, None, Instant::default(), 0)
            .decision
            .verdict
    };
    assert_eq!(verdict("listen 127.0.0.1:8080"), Verdict::Allow);
    assert_eq!(verdict("listen 0.0.0.0:8080"), Verdict::Deny);
    assert_eq!(verdict("listen [::]:8080"), Verdict::Deny);
}

#[test]
fn the_starter_is_a_policy_without_complaints() {
    use agent_policy::{Answers, starter};
    let all = Answers {
        name: "helper".to_owned(),
        owner: "Ada \"the first\" Lovelace".to_owned(),
        contact: "ada@example.com".to_owned(),
        purpose: "Helps: with # everything".to_owned(),
        workspace: Some("/work".to_owned()),
        networks: vec!["10.0.0.0/8".to_owned(), "2001:db8::/32".to_owned()],
        programs: vec!["/usr/bin/python3".to_owned()],
    };
    let least = Answers {
        workspace: None,
        networks: Vec::new(),
        programs: Vec::new(),
        ..all.clone()
    };
    for answers in [all, least] {
        let (policy, _) = read(&starter(&answers));
        assert_eq!(policy.owner.name, answers.owner);
        let found = check(&policy, None);
        assert!(found.is_empty(), "{found}");
    }
}
