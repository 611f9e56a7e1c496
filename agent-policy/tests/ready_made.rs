//! The policies of `policies/`: each is checked, compiled, and tried by cases that reach every rule.

use std::path::{Path, PathBuf};

use agent_policy::{Policy, Profiles, check, parse_cases, parse_with, run_cases};

/// The agents that must be there; a renamed or lost file must not pass unseen.
const AGENTS: [&str; 10] = [
    "browser-agent",
    "ci-repair-bot",
    "coding-agent",
    "data-analyst",
    "egress-first",
    "executor",
    "invoice-agent",
    "mcp-tools",
    "planner",
    "retrieval-agent",
];
const PROFILES: [&str; 6] = ["base", "java", "node", "open-host", "python", "shell"];

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies")
}

/// The YAML files of a directory with their bytes, by name.
fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(directory).expect("the directory of policies");
    let mut files: Vec<(String, Vec<u8>)> = entries
        .map(|entry| entry.expect("an entry of the directory").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .map(|path| {
            let name = path.file_name().expect("a file's name").to_string_lossy();
            (name.into_owned(), std::fs::read(&path).expect("a file"))
        })
        .collect();
    files.sort();
    files
}

fn profiles() -> Profiles {
    let mut profiles = Profiles::none();
    for (name, bytes) in files(&directory().join("profiles")) {
        let added = profiles.add(&name, &bytes);
        added.unwrap_or_else(|found| panic!("{found}"));
    }
    profiles
}

fn checked(name: &str, bytes: &[u8], profiles: &Profiles) -> Vec<Policy> {
    let policies = parse_with(name, bytes, profiles).unwrap_or_else(|found| panic!("{found}"));
    for policy in &policies {
        let found = check(policy, None);
        assert!(found.is_empty(), "{found}");
    }
    policies
}

#[test]
fn every_policy_passes_cases_that_reach_all_its_rules() {
    let profiles = profiles();
    let files = files(&directory());
    let mut agents = Vec::new();
    for (name, bytes) in files
        .iter()
        .filter(|(name, _)| !name.ends_with(".cases.yaml"))
    {
        let beside = name.replace(".yaml", ".cases.yaml");
        let (_, cases) = files
            .iter()
            .find(|(name, _)| *name == beside)
            .unwrap_or_else(|| panic!("{name} has no {beside}"));
        let cases = parse_cases(&beside, cases).unwrap_or_else(|found| panic!("{found}"));
        let policies = checked(name, bytes, &profiles);
        for file in &cases {
            let known = policies.iter().any(|policy| policy.name == file.agent);
            assert!(known, "{beside}: no agent {} in {name}", file.agent);
        }
        for policy in &policies {
            let compiled = policy.compile().unwrap_or_else(|found| panic!("{found}"));
            let own: Vec<_> = cases
                .iter()
                .filter(|own| own.agent == policy.name)
                .collect();
            let result = run_cases(policy, &compiled, &own);
            assert!(result.passed() && result.not_reached.is_empty(), "{result}");
            assert_eq!(result.reached, result.rules, "{result}");
            agents.push(policy.name.clone());
        }
    }
    agents.sort();
    assert_eq!(agents, AGENTS);
}

#[test]
fn every_profile_compiles_alone() {
    let profiles = profiles();
    assert_eq!(profiles.names().collect::<Vec<_>>(), PROFILES);
    for name in PROFILES {
        let text = format!(
            "apiVersion: interlock.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {{name: alone}}\nspec:\n  owner: {{name: Ada, contact: ada@example.com}}\n  extends: [{name}]\n"
        );
        for policy in checked(name, text.as_bytes(), &profiles) {
            let compiled = policy.compile().unwrap_or_else(|found| panic!("{found}"));
            assert!(!compiled.rules.is_empty(), "{name} says nothing");
        }
    }
}
