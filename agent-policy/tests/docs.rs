//! Every YAML block of `docs/policy.md` is read, checked and, where it has cases, run.
//!
//! Profiles are those of the page and those of `policies/profiles`.
//!
//! A block marked `fragment` is wrapped into a whole policy, a block marked `warns` must bring a
//! warning, and every other block must bring none.

use std::collections::BTreeSet;

use agent_policy::{
    CASES_KIND, Cases, PROFILE_KIND, Policy, Profiles, check, parse_cases, parse_with, run_cases,
};

const FILE: &str = "docs/policy.md";
const HEAD: &str = "apiVersion: interlock.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: example}\nspec:\n  owner: {name: Ada Lovelace, contact: ada@example.com}\n";

struct Block {
    /// The file and the line of the block's first line, for messages.
    name: String,
    text: String,
    fragment: bool,
    warns: bool,
}

fn blocks() -> Vec<Block> {
    let path = format!("{}/../{FILE}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("docs/policy.md");
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(info) = line.strip_prefix("```") {
            open = !open && info.starts_with("yaml");
            if open {
                let words: BTreeSet<&str> = info.split(' ').skip(1).collect();
                let unknown = words
                    .iter()
                    .find(|word| !["fragment", "warns"].contains(word));
                assert_eq!(unknown, None, "{FILE}:{number}");
                blocks.push(Block {
                    name: format!("{FILE}:{}", number + 1),
                    text: String::new(),
                    fragment: words.contains("fragment"),
                    warns: words.contains("warns"),
                });
            }
        } else if open && let Some(block) = blocks.last_mut() {
            block.text += line;
            block.text.push('\n');
        }
    }
    blocks
}

fn is(block: &Block, kind: &str) -> bool {
    block.text.contains(&format!("kind: {kind}\n"))
}

#[test]
fn every_example_is_read_checked_and_run() {
    let blocks = blocks();
    assert!(blocks.len() >= 15, "{} examples", blocks.len());
    let mut profiles = Profiles::none();
    for block in blocks.iter().filter(|block| is(block, PROFILE_KIND)) {
        let added = profiles.add(&block.name, block.text.as_bytes());
        added.unwrap_or_else(|found| panic!("{found}"));
    }
    let ready_made = format!("{}/../policies/profiles", env!("CARGO_MANIFEST_DIR"));
    for entry in std::fs::read_dir(ready_made).expect("the ready-made profiles") {
        let path = entry.expect("an entry of the directory").path();
        let bytes = std::fs::read(&path).expect("a profile");
        let added = profiles.add(&path.display().to_string(), &bytes);
        added.unwrap_or_else(|found| panic!("{found}"));
    }
    let mut policies: Vec<Policy> = Vec::new();
    let mut cases: Vec<Cases> = Vec::new();
    for block in &blocks {
        if is(block, CASES_KIND) {
            let found = parse_cases(&block.name, block.text.as_bytes());
            cases.extend(found.unwrap_or_else(|found| panic!("{found}")));
        } else if !is(block, PROFILE_KIND) {
            policies.extend(policies_of(block, &profiles));
        }
    }
    assert!(!cases.is_empty(), "no example of cases");
    for file in &cases {
        let policy = policies.iter().find(|policy| policy.name == file.agent);
        let policy = policy.unwrap_or_else(|| panic!("no example of agent {}", file.agent));
        let compiled = policy.compile().unwrap_or_else(|found| panic!("{found}"));
        let result = run_cases(policy, &compiled, &[file]);
        assert!(result.passed(), "{result}");
    }
}

fn policies_of(block: &Block, profiles: &Profiles) -> Vec<Policy> {
    let text = if block.fragment {
        let lines = block.text.lines().map(|line| format!("  {line}\n"));
        HEAD.to_owned() + &lines.collect::<String>()
    } else {
        block.text.clone()
    };
    let policies = parse_with(&block.name, text.as_bytes(), profiles)
        .unwrap_or_else(|found| panic!("in the example at {}: {found}", block.name));
    assert!(!policies.is_empty(), "{}: no policy", block.name);
    for policy in &policies {
        let found = check(policy, None);
        assert!(
            !found.has_errors(),
            "in the example at {}: {found}",
            block.name
        );
        assert_eq!(
            !found.is_empty(),
            block.warns,
            "in the example at {}: {found}",
            block.name
        );
    }
    policies
}
