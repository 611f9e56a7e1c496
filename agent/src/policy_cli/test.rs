//! `interlock policy test`: the cases that lie beside policies.

use super::answer::{Answer, Outcome};
use super::fault::Fault;
use super::read::{self, PolicyFile};
use super::walk::{self, Holds};
use crate::cli::Test;
use agent_policy::{Cases, CasesResult, Compiled, Policy, parse_cases, run_cases};
use serde::Serialize;
use std::fmt::Write as _;
use std::fs;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tested {
    passed: usize,
    failed: usize,
    policies: Vec<PolicyResult>,
}

/// How the cases of one policy went.
#[derive(Serialize)]
struct PolicyResult {
    file: String,
    agent: String,
    #[serde(flatten)]
    cases: CasesResult,
}

pub(super) fn run(options: &Test) -> Result<Answer, Fault> {
    let tested = try_all(options)?;
    if let Some(path) = &options.junit {
        fs::write(path, junit(&tested)).map_err(|source| Fault::Write {
            path: path.clone(),
            source,
        })?;
    }
    let uncovered = tested
        .policies
        .iter()
        .any(|policy| !policy.cases.not_reached.is_empty());
    let outcome = Outcome::findings(tested.failed > 0 || options.cover_all && uncovered);
    if options.reading.json {
        return Answer::json(&tested, outcome);
    }
    Ok(Answer::text(text(&tested), outcome))
}

fn try_all(options: &Test) -> Result<Tested, Fault> {
    let found = walk::walk(&options.paths)?;
    let mut files: Vec<PolicyFile> = Vec::new();
    let mut cases: Vec<(&str, Cases)> = Vec::new();
    for content in &found.files {
        match content.holds {
            Holds::Policies => {
                let named = &options.reading.profiles;
                let profiles = read::profiles_among(&content.path, named, &found.files)?;
                files.push(read::parse_file(content, &profiles)?);
            }
            Holds::Cases => {
                let parsed = parse_cases(&content.name, &content.bytes)?;
                cases.extend(
                    parsed
                        .into_iter()
                        .map(|cases| (content.name.as_str(), cases)),
                );
            }
            Holds::Profiles => {}
        }
    }
    // A run that tries nothing must not look like one that found nothing.
    if cases.iter().all(|(_, cases)| cases.cases.is_empty()) {
        return Err(Fault::unexpected(
            super::named(&options.paths),
            "no cases",
            "files that say \"kind: PolicyCases\"",
        ));
    }
    let mut policies: Vec<(&PolicyFile, &Policy, Compiled)> = Vec::new();
    for file in &files {
        for (policy, compiled) in file.chosen(None)? {
            if let Some((other, ..)) = policies.iter().find(|(_, old, _)| old.name == policy.name) {
                return Err(Fault::unexpected(
                    &file.name,
                    format!("a second policy named `{}`", policy.name),
                    format!("another name than in {}", other.name),
                ));
            }
            policies.push((file, policy, compiled));
        }
    }
    for (name, cases) in &cases {
        if !policies
            .iter()
            .any(|(_, policy, _)| policy.name == cases.agent)
        {
            return Err(Fault::Unknown {
                place: (*name).to_owned(),
                what: "policy for agent",
                name: cases.agent.clone(),
                known: policies
                    .iter()
                    .map(|(_, policy, _)| policy.name.clone())
                    .collect(),
            });
        }
    }
    let results: Vec<PolicyResult> = policies
        .iter()
        .map(|(file, policy, compiled)| {
            let own: Vec<&Cases> = cases
                .iter()
                .map(|(_, cases)| cases)
                .filter(|cases| cases.agent == policy.name)
                .collect();
            PolicyResult {
                file: file.name.clone(),
                agent: policy.name.clone(),
                cases: run_cases(policy, compiled, &own),
            }
        })
        .collect();
    let all = || results.iter().flat_map(|policy| &policy.cases.results);
    let failed = all().filter(|case| !case.failures.is_empty()).count();
    Ok(Tested {
        passed: all().count() - failed,
        failed,
        policies: results,
    })
}

fn text(tested: &Tested) -> String {
    let mut text = String::new();
    for policy in &tested.policies {
        let _ = writeln!(text, "{} ({})", policy.agent, policy.file);
        if policy.cases.results.is_empty() {
            text += "no cases\n";
        }
        let _ = writeln!(text, "{}\n", policy.cases);
    }
    let _ = write!(text, "{} passed, {} failed", tested.passed, tested.failed);
    text
}

/// One suite for each policy.
fn junit(tested: &Tested) -> String {
    let suites: String = tested
        .policies
        .iter()
        .map(|policy| policy.cases.junit(&policy.agent))
        .collect();
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n{suites}</testsuites>\n")
}
