//! A policy laid out for sessions that began under another version decides as it did, and finds what
//! they remember.

use agent_policy::{Action, Compiled, Instant, Layout, Outcome, Trial, parse};

const CODER: &str = include_str!("golden/coder.yaml");

fn compiled(text: &str) -> Compiled {
    let policies = parse("p.yaml", text.as_bytes()).unwrap_or_else(|found| panic!("{found}"));
    policies[0]
        .compile()
        .unwrap_or_else(|found| panic!("{found}"))
}

fn policy(spec: &str) -> Compiled {
    compiled(&format!(
        "apiVersion: interlock.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {{name: a}}\nspec:\n  \
         owner: {{name: Ada, contact: ada@example.com}}\n{spec}"
    ))
}

fn at(second: u64) -> Instant {
    Instant {
        now_ns: second * 1_000_000_000,
        wall_s: 1_772_442_000 + second,
    }
}

fn attempt(trial: &mut Trial<'_>, action: &str, second: u64) -> Outcome {
    let action: Action = action.parse().expect("an action");
    trial.attempt(&action, None, at(second), 0)
}

/// A layout in which every name of a policy has another place than the compiler gave it.
fn shifted(compiled: &Compiled) -> Layout {
    let other = |kind: &str| vec![format!("{kind} of another")];
    let other = Layout {
        facts: other("fact"),
        timers: other("timer"),
        limits: other("limit"),
        tools: other("tool"),
    };
    let mut own = compiled.layout.clone();
    own.facts.reverse();
    own.limits.reverse();
    other.with(&own).expect("room")
}

#[test]
fn every_decision_is_the_same_wherever_the_names_lie() {
    let compiled = compiled(CODER);
    let layout = shifted(&compiled);
    let laid_out = compiled.laid_out(&layout).expect("all names");
    assert_eq!(laid_out.layout, layout);
    assert_ne!(laid_out.rules, compiled.rules);
    let mut here = Trial::start(&compiled, at(1));
    let mut there = Trial::start(&laid_out, at(1));
    let text = include_str!("golden/explain.txt");
    let titles = text
        .lines()
        .filter_map(|line| line.strip_prefix("=== ")?.split_once(" => "));
    let events = titles.flat_map(|(before, action)| before.split("; ").chain([action]));
    let mut tried = 0;
    for (second, event) in (2..).zip(events) {
        if event.parse::<Action>().is_err() {
            continue;
        }
        let (one, other) = (
            attempt(&mut here, event, second).decision,
            attempt(&mut there, event, second).decision,
        );
        assert_eq!(
            (one.verdict, one.reason, one.number),
            (other.verdict, other.reason, other.number),
            "{event}"
        );
        assert_eq!(
            compiled.fact_names(one.facts),
            {
                let mut names = laid_out.fact_names(other.facts);
                names.sort_by_key(|name| {
                    compiled.fact_names(u64::MAX).iter().position(|n| n == name)
                });
                names
            },
            "{event}"
        );
        tried += 1;
    }
    assert!(tried > 20, "{tried}");
}

#[test]
fn names_keep_their_places_and_new_ones_come_behind() {
    let one = policy("  facts: [{fact: x}, {fact: y, expires: 5m}]\n");
    let two = policy("  facts: [{fact: z}, {fact: y}, {fact: x, expires: 1h}]\n");
    let layout = one.layout.with(&two.layout).expect("room");
    assert_eq!(layout.facts, ["fact x", "fact y", "fact z"]);
    assert_eq!(layout.timers, ["fact y", "fact x"]);
    let laid_out = two.laid_out(&layout).expect("all names");
    let timers: Vec<(u64, u64)> = laid_out.terms.timers[..3]
        .iter()
        .map(|timer| (timer.fact, timer.lifetime_ns))
        .collect();
    // What y was given under the first version ends when it was to end.
    assert_eq!(timers, [(2, u64::MAX), (1, 3_600_000_000_000), (0, 0)]);
    assert_eq!(one.laid_out(&two.layout), None);
}

#[test]
fn limits_are_carried_by_the_rules_id_and_kind() {
    let limit = |id: &str, limits: &str| {
        policy(&format!(
            "  egress: {{allow: [{{id: {id}, to: [192.0.2.1], ports: [443], limit: {limits}}}]}}\n"
        ))
        .layout
        .limits
    };
    let first = limit("web", "{perSession: 5}");
    assert_eq!(first, ["count of rule web"]);
    assert_eq!(first, limit("web", "{perSession: 9}"));
    assert_ne!(first, limit("other", "{perSession: 5}"));
    assert_ne!(first, limit("web", "{rate: 5/min}"));
}

#[test]
fn a_group_is_the_same_only_with_the_same_steps() {
    let group = |steps: &str| {
        let step = |name: &str| format!("{{step: {name}, exec: [{{programs: [/bin/{name}]}}]}}");
        let steps: Vec<String> = steps.split(' ').map(step).collect();
        let steps = steps.join(", ");
        policy(&format!("  chain: {{steps: [{{anyOf: [{steps}]}}]}}\n"))
            .layout
            .facts
    };
    let has = |facts: &[String], name: &str| facts.iter().any(|fact| fact == name);
    assert!(has(&group("a b"), "a step of a, b"));
    assert!(has(&group("b a"), "a step of a, b"));
    assert!(!has(&group("a c"), "a step of a, b"));
}

#[test]
fn what_does_not_fit_is_refused() {
    let facts = |prefix: &str| {
        let facts: Vec<String> = (0..40).map(|i| format!("{{fact: {prefix}{i}}}")).collect();
        policy(&format!("  facts: [{}]\n", facts.join(", "))).layout
    };
    assert_eq!(facts("a").with(&facts("b")), None);
    assert!(facts("a").with(&facts("a")).is_some());
}
