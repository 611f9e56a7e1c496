//! Every example of docs/policy.md is compiled, and its cases are run.

use agent_policy::{Compiled, Policy, is_cases, parse, parse_cases, run_cases};

const PAGE: &str = include_str!("../../docs/policy.md");

#[test]
fn examples_of_the_page_are_true() {
    let blocks: Vec<&str> = PAGE
        .split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or(""))
        .collect();
    let (cases, policies): (Vec<&str>, Vec<&str>) = blocks
        .into_iter()
        .partition(|block| is_cases(block.as_bytes()));
    let compiled: Vec<(Policy, Compiled)> = policies
        .iter()
        .flat_map(|block| {
            parse("docs/policy.md", block.as_bytes())
                .unwrap_or_else(|found| panic!("{block}\n{found}"))
        })
        .map(|policy| {
            let compiled = policy.compile().unwrap_or_else(|found| panic!("{found}"));
            (policy, compiled)
        })
        .collect();
    assert!(compiled.len() >= 4 && !cases.is_empty());
    for block in cases {
        for cases in parse_cases("docs/policy.md", block.as_bytes())
            .unwrap_or_else(|found| panic!("{found}"))
        {
            let (policy, compiled) = compiled
                .iter()
                .find(|(policy, _)| policy.name == cases.agent)
                .expect("the agent's policy");
            let result = run_cases(policy, compiled, &[&cases]);
            assert!(result.passed(), "{result}");
        }
    }
}
