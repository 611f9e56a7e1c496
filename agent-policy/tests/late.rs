//! Steps that come too late, and what that brings.

use agent_policy::{Action, Compiled, Instant, Trial, parse};

fn policy(end: &str, steps: &str) -> Compiled {
    let text = format!(
        "apiVersion: interlock.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {{name: a}}\nspec:\n  \
         owner: {{name: Owner, contact: o@example.org}}\n{end}  chain:\n    steps:\n{steps}  egress: {{allow: [{{to: \
         [10.0.0.9]}}]}}\n"
    );
    let policies = parse("p.yaml", text.as_bytes()).unwrap_or_else(|found| panic!("{found}"));
    let policy = policies.into_iter().next().expect("a policy");
    policy.compile().unwrap_or_else(|found| panic!("{found}"))
}

const ENDS: &str = "  end: {revokeOn: [timeout]}\n";
const TWO: &str = "      - {step: one, repeat: true, egress: [{to: [10.0.0.1]}]}\n      \
                   - {step: two, within: 10s, repeat: true, egress: [{to: [10.0.0.2]}]}\n";

/// What a session does, as `second destination`, and whether its permission has ended at the last.
fn ended(compiled: &Compiled, story: &[(u64, u8)]) -> bool {
    let at = |second: u64| Instant {
        now_ns: second * 1_000_000_000,
        wall_s: second,
    };
    let mut trial = Trial::start(compiled, at(0));
    for (second, to) in story {
        let action: Action = format!("connect 10.0.0.{to}:443")
            .parse()
            .expect("an action");
        trial.attempt(&action, None, at(*second), 0);
    }
    trial.is_revoked()
}

#[test]
fn a_step_is_late_when_its_time_has_passed_and_it_was_not_performed() {
    let compiled = policy(ENDS, TWO);
    assert!(!ended(&compiled, &[(0, 1), (9, 9)]));
    assert!(ended(&compiled, &[(0, 1), (10, 9)]));
    // The time begins anew with each action of the step before.
    assert!(!ended(&compiled, &[(0, 1), (8, 1), (17, 9)]));
    assert!(ended(&compiled, &[(0, 1), (8, 1), (18, 9)]));
}

#[test]
fn what_is_not_due_or_was_done_is_not_late() {
    let compiled = policy(ENDS, TWO);
    assert!(!ended(&compiled, &[(100, 9)]));
    assert!(!ended(&compiled, &[(0, 1), (5, 2), (100, 9)]));
}

#[test]
fn the_first_step_is_due_from_the_start() {
    let compiled = policy(
        ENDS,
        "      - {step: one, within: 10s, egress: [{to: [10.0.0.1]}]}\n",
    );
    assert!(!ended(&compiled, &[(9, 9)]));
    assert!(ended(&compiled, &[(10, 9)]));
}

#[test]
fn where_the_chain_begins_again_nothing_of_the_last_round_is_due() {
    let steps = format!(
        "{TWO}      - {{step: back, optional: true, resets: [one], egress: [{{to: [10.0.0.3]}}]}}\n"
    );
    let compiled = policy(ENDS, &steps);
    assert!(!ended(&compiled, &[(0, 1), (5, 2), (6, 3), (100, 9)]));
    assert!(ended(&compiled, &[(0, 1), (5, 2), (6, 3), (7, 1), (17, 9)]));
}

#[test]
fn of_several_steps_the_one_that_may_come_last_counts() {
    let steps = |second: &str| {
        format!(
            "      - anyOf:\n          - {{step: fast, within: 10s, egress: [{{to: [10.0.0.1]}}]}}\n          \
             - {{step: slow{second}, egress: [{{to: [10.0.0.2]}}]}}\n"
        )
    };
    let timed = policy(ENDS, &steps(", within: 20s"));
    assert!(!ended(&timed, &[(19, 9)]));
    assert!(ended(&timed, &[(20, 9)]));
    assert!(!ended(&timed, &[(15, 2), (100, 9)]));
    assert!(!ended(&policy(ENDS, &steps("")), &[(100, 9)]));
}

#[test]
fn an_optional_step_is_never_late() {
    let steps = "      - {step: one, egress: [{to: [10.0.0.1]}]}\n      \
                 - {step: two, optional: true, within: 10s, egress: [{to: [10.0.0.2]}]}\n";
    assert!(!ended(&policy(ENDS, steps), &[(0, 1), (100, 9)]));
}

#[test]
fn it_ends_a_session_only_where_the_policy_says_so() {
    let story = [(0, 1), (10, 9)];
    assert!(!ended(&policy("", TWO), &story));
    assert!(!ended(
        &policy("  end: {revokeOn: [failure]}\n", TWO),
        &story
    ));
    let watched = format!("{ENDS}  mode: audit\n");
    assert!(!ended(&policy(&watched, TWO), &story));
    let fails = format!("{TWO}    failedBy: [timeout]\n");
    assert!(ended(
        &policy("  end: {revokeOn: [failure]}\n", &fails),
        &story
    ));
}
