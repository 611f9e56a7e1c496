//! How the cost of checking, compiling and deciding grows with the number of policies and rules.
//! `cargo bench -p agent-policy` prints a table; the goal is 1,000 policies with 10,000 rules checked
//! and compiled in under one second.

use std::hint::black_box;
use std::time::{Duration, Instant};

use agent_common::decide::{Circumstances, Rule, Standing, Verdict, Weighing, ask_list};
use agent_common::terms::{Progress, Terms};
use agent_policy::{check, parse};

/// A policy of ten rules, as different as real ones are.
fn policy(number: usize) -> String {
    let (a, b) = (number / 256 % 256, number % 256);
    format!(
        "apiVersion: interlock.dev/v1alpha1
kind: AgentPolicy
metadata: {{name: agent-{number}}}
spec:
  owner: {{name: Ada, contact: ada@example.com}}
  facts: [{{fact: tested}}, {{fact: customer-data}}]
  egress:
    allow:
      - {{to: [10.{a}.{b}.0/24], ports: [443, 8000-8010], protocol: tcp, forbids: [customer-data]}}
      - {{to: [192.0.2.{b}], ports: [5432], limit: {{rate: 10/min}}}}
    deny:
      - {{to: [10.{a}.{b}.7]}}
  files:
    allow:
      - {{access: [read], paths: [/work/{number}/**, /usr/**]}}
      - {{access: [write, create], paths: [/work/{number}/src/**], clears: [tested]}}
      - {{access: [read], paths: [/work/{number}/customers/**], sets: [customer-data]}}
    deny:
      - {{access: [read, write], paths: [.env, \"*.pem\"]}}
  exec:
    allow:
      - {{programs: [/usr/bin/cargo], sets: [tested]}}
      - {{programs: [/usr/bin/git], args: [{{at: 1, is: commit}}], requires: [tested]}}
      - {{programs: [/usr/bin/redact], clears: [customer-data], approval: {{by: [ada], once: true}}}}
"
    )
}

fn best(mut run: impl FnMut()) -> Duration {
    let times = (0..5).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed()
    });
    times.min().unwrap_or_default()
}

fn main() {
    println!("policies  rules   parse      check      compile    parse+check+compile");
    for count in [1, 10, 100, 1000] {
        let texts: Vec<String> = (0..count).map(policy).collect();
        let parse_all = || -> Vec<agent_policy::Policy> {
            texts
                .iter()
                .flat_map(|text| parse("bench.yaml", text.as_bytes()).expect("a policy"))
                .collect()
        };
        let policies = parse_all();
        let rules: usize = policies.iter().map(|policy| policy.authored().len()).sum();
        let parsing = best(|| drop(black_box(parse_all())));
        let checking = best(|| {
            policies
                .iter()
                .for_each(|policy| drop(black_box(check(policy, None))));
        });
        let compiling = best(|| {
            policies
                .iter()
                .for_each(|policy| drop(black_box(policy.compile())));
        });
        println!(
            "{count:8}  {rules:5}  {parsing:9.1?}  {checking:9.1?}  {compiling:9.1?}  {:9.1?}",
            parsing + checking + compiling
        );
    }
    println!("\none policy of many rules, each its own network and path");
    for rules in [10, 100, 1000, 4000] {
        let mut text = policy(0).replace("    deny:\n      - {to: [10.0.0.7]}\n", "");
        let many: String = (0..rules)
            .map(|i| {
                format!(
                    "      - {{to: [10.{}.{}.0/24], ports: [{}]}}\n",
                    i / 256,
                    i % 256,
                    1 + i % 500
                )
            })
            .collect();
        text = text.replace(
            "  egress:\n    allow:\n",
            &format!("  egress:\n    allow:\n{many}"),
        );
        let policies =
            parse("bench.yaml", text.as_bytes()).unwrap_or_else(|found| panic!("{found}"));
        let compiling = best(|| drop(black_box(policies[0].compile())));
        let compiled = policies[0]
            .compile()
            .unwrap_or_else(|found| panic!("{found}"));
        let (length, deciding) = decide_time(&compiled.rules);
        println!(
            "{rules:6} rules: compile {compiling:9.1?}, decide {deciding:6.1?} over lists of up to {length}"
        );
    }
}

/// The longest list, and the time of one decision over it.
fn decide_time(rules: &[Rule]) -> (usize, Duration) {
    let mut longest = &rules[..0];
    let mut start = 0;
    for (i, rule) in rules.iter().enumerate() {
        if rule.flags & Rule::MORE == 0 {
            let list = &rules[start..=i];
            if list.len() > longest.len() {
                longest = list;
            }
            start = i + 1;
        }
    }
    let standing = Standing {
        terms: &Terms::NONE,
        progress: &Progress::START,
    };
    const ROUNDS: u32 = 100_000;
    let took = best(|| {
        for _ in 0..ROUNDS {
            let mut weighing = Weighing::EMPTY;
            weighing.begin(black_box(0), standing, Circumstances::default());
            ask_list(0, |index| match longest.get(index as usize) {
                Some(rule) => weighing.consider(standing, rule),
                None => weighing.unreadable(),
            });
            weighing.finish(standing.terms);
            assert!(black_box(weighing).verdict != Verdict::Hold.wire());
        }
    });
    (longest.len(), took / ROUNDS)
}
