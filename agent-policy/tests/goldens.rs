//! Messages and explanations as a person reads them. `INTERLOCK_GOLDEN=write` writes what is found;
//! read the difference before committing it.

use agent_policy::{
    Action, Compiled, Instant, Policy, Trial, approval_facts, check, describe, explain, parse,
};

const HEAD: &str = "apiVersion: interlock.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: demo}\nspec:\n  owner: {name: Ada, contact: ada@example.com}\n";
const CODER: &str = include_str!("golden/coder.yaml");

/// Compares every section of a file, `=== TITLE`, input, `---`, expected, with what is found.
fn compare(file: &str, found: impl Fn(&str, &str) -> String) -> usize {
    let path = format!("{}/tests/golden/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("the golden file");
    let mut written = String::new();
    let mut differing = Vec::new();
    let mut count = 0;
    for section in text.split("=== ").skip(1) {
        let (title, rest) = section.split_once('\n').expect("a title");
        let (input, expected) = rest.split_once("---\n").expect("a line of dashes");
        let found = found(title, input);
        if found.trim() != expected.trim() {
            differing.push(format!(
                "=== {title}\n{input}--- expected\n{expected}--- found\n{found}"
            ));
        }
        written += &format!("=== {title}\n{input}---\n{}\n\n", found.trim());
        count += 1;
    }
    if std::env::var("INTERLOCK_GOLDEN").is_ok_and(|word| word == "write") {
        std::fs::write(&path, written).expect("the golden file");
    } else {
        assert!(differing.is_empty(), "{}", differing.join("\n"));
    }
    count
}

#[test]
fn messages() {
    let count = compare("messages.txt", |title, input| {
        let text = format!("{HEAD}{input}");
        let found = match parse("demo.yaml", text.as_bytes()) {
            Err(found) => found,
            Ok(policies) => check(&policies[0], None),
        };
        assert!(!found.is_empty(), "{title}: no message");
        assert_ne!(
            found.has_errors(),
            title.starts_with("lint"),
            "{title}: {found}"
        );
        found.to_string()
    });
    assert!(count >= 60, "{count} messages");
}

fn coder() -> (Policy, Compiled) {
    let mut policies =
        parse("coder.yaml", CODER.as_bytes()).unwrap_or_else(|found| panic!("{found}"));
    let policy = policies.remove(0);
    let compiled = policy.compile().unwrap_or_else(|found| panic!("{found}"));
    (policy, compiled)
}

#[test]
fn explanations() {
    let (policy, compiled) = coder();
    let count = compare("explain.txt", |title, _| {
        let (before, action) = title
            .split_once(" => ")
            .expect("what was done before, and the action");
        // Monday 2 March 2026, ten in the morning in Berlin.
        let mut at = Instant {
            now_ns: 1_000_000_000,
            wall_s: 1_772_442_000,
        };
        if before == "sunday" {
            at.wall_s -= 86_400;
        }
        let mut trial = Trial::start(&compiled, at);
        for event in before.split("; ") {
            match event.split_once(' ') {
                _ if event == "revoked" => trial.revoke(),
                Some(("approve", name)) => {
                    trial.set_facts(approval_facts(&policy, &compiled, name), at);
                }
                Some(_) => {
                    let action: Action = event.parse().expect("an action");
                    trial.attempt(&action, None, at, 0);
                }
                None => {}
            }
        }
        let action: Action = action.parse().expect("an action");
        explain(&compiled, &trial, &action, None, at).to_string()
    });
    assert!(count >= 20, "{count} explanations");
}

#[test]
fn a_whole_policy_in_words() {
    let (policy, _) = coder();
    compare("describe.txt", |_, _| describe(&policy).to_string());
}

#[test]
fn resource_definitions_of_the_chart() {
    for crd in agent_policy::crds() {
        let name = crd["spec"]["names"]["plural"].as_str().expect("its name");
        let folder = "../deploy/helm/interlock/crds";
        let path = format!("{}/{folder}/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let found = serde_json::to_string_pretty(&crd).expect("JSON") + "\n";
        if std::env::var("INTERLOCK_GOLDEN").is_ok_and(|word| word == "write") {
            std::fs::write(&path, found).expect("the file");
            continue;
        }
        let expected = std::fs::read_to_string(&path).expect("the file");
        assert_eq!(
            found, expected,
            "{path}: `INTERLOCK_GOLDEN=write` writes it anew"
        );
    }
}
