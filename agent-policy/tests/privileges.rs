//! Privileges: a closed list of words, which a tool can only narrow.

use agent_common::privilege::Privilege;
use agent_policy::{
    Action, Compiled, Instant, Policy, Severity, Trial, check, describe, diff, explain, parse,
};

fn policy(spec: &str) -> Policy {
    read(spec).expect("a policy").remove(0)
}

fn read(spec: &str) -> Result<Vec<Policy>, String> {
    let text = format!(
        "apiVersion: interlock.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {{name: a}}\nspec:\n  \
         owner: {{name: a, contact: b}}\n{spec}"
    );
    parse("p.yaml", text.as_bytes()).map_err(|found| found.to_string())
}

fn compiled(spec: &str) -> Compiled {
    policy(spec).compile().expect("a policy that compiles")
}

fn verdict(compiled: &Compiled, tool: Option<usize>, action: &str) -> String {
    let action: Action = action.parse().expect("an action");
    let at = Instant::default();
    let decision = Trial::start(compiled, at)
        .judge(&action, tool, at, 0)
        .decision;
    format!("{} ({})", decision.verdict, decision.reason)
}

const TOOL: &str = "  tools:\n    - tool: t\n      owner: {name: a, contact: b}\n      start: \
    {programs: [/bin/t]}\n      privileges: [signal]\n";

#[test]
fn what_is_not_named_is_denied() {
    let none = compiled("");
    let some = compiled("  privileges: [signal, cap_net_raw]\n");
    for privilege in Privilege::ALL {
        let action = format!("privilege {privilege}");
        assert_eq!(verdict(&none, None, &action), "deny (privilege missing)");
        let given = matches!(privilege, Privilege::Signal | Privilege::CapNetRaw);
        let expected = if given {
            "allow (rule)"
        } else {
            "deny (privilege missing)"
        };
        assert_eq!(verdict(&some, None, &action), expected, "{action}");
    }
}

#[test]
fn a_tool_has_what_both_lists_name() {
    let compiled = compiled(&format!("  privileges: [signal, ptrace]\n{TOOL}"));
    assert_eq!(
        verdict(&compiled, Some(0), "privilege signal"),
        "allow (rule)"
    );
    let expected = "deny (privilege missing)";
    assert_eq!(verdict(&compiled, Some(0), "privilege ptrace"), expected);
    let wider = policy(TOOL)
        .compile()
        .expect_err("a tool that widens")
        .to_string();
    let expected = "p.yaml:10:20: error: found tool \"t\" with privilege \"signal\", which the agent \
                    does not have, expected a tool to narrow what the agent may do";
    assert!(wider.starts_with(expected), "{wider}");
}

#[test]
fn an_unknown_word_names_the_known_ones() {
    let error = read("  privileges: [signals]\n").expect_err("no such privilege");
    assert!(error.contains("found \"signals\", expected"), "{error}");
    assert!(error.contains("did you mean \"signal\"?"), "{error}");
    for privilege in Privilege::ALL {
        assert!(error.contains(privilege.word()), "{privilege}: {error}");
    }
    let twice = read("  privileges: [bpf, bpf]\n").expect_err("twice");
    assert!(twice.contains("found privilege \"bpf\" twice"), "{twice}");
    let error = "privilege clock"
        .parse::<Action>()
        .expect_err("no such privilege");
    assert!(
        error.to_string().contains("a privilege, such as"),
        "{error}"
    );
}

#[test]
fn privileges_are_told_compared_and_part_of_the_digest() {
    let (old, new) = (policy(""), policy("  privileges: [cap_sys_time]\n"));
    let (before, after) = (compiled(""), compiled("  privileges: [cap_sys_time]\n"));
    assert_ne!(before.digest, after.digest);
    assert!(
        describe(&new)
            .to_string()
            .contains("It may set the clock (privilege cap_sys_time).")
    );
    let difference = diff((&old, &before), (&new, &after));
    let examples: Vec<&str> = difference
        .becomes_allowed
        .iter()
        .map(|change| change.example.as_str())
        .collect();
    assert_eq!(examples, ["privilege cap_sys_time"]);
    assert!(difference.becomes_denied.is_empty() && difference.conditions_change.is_empty());
    let at = Instant::default();
    let trial = Trial::start(&before, at);
    let action = Action::Privilege(Privilege::CapSysTime);
    let explanation = explain(&before, &trial, &action, None, at).to_string();
    assert!(
        explanation.contains("name it under privileges"),
        "{explanation}"
    );
}

#[test]
fn check_warns_of_what_can_undo_enforcement() {
    for privilege in Privilege::ALL {
        let found = check(&policy(&format!("  privileges: [{privilege}]\n")), None);
        let warned = found
            .iter()
            .any(|one| one.severity == Severity::Warning && one.to_string().contains("undo"));
        assert_eq!(warned, privilege.undoes_enforcement(), "{privilege}");
    }
}
