//! Hostile input: whatever the bytes, an answer comes, soon, and it is no panic.

use std::time::{Duration, Instant};

use agent_policy::{
    MAX_BYTES, Profiles, check, describe, diff, graph, parse, parse_cases, parse_with,
};

const CODER: &str = include_str!("golden/coder.yaml");
const HEAD: &str = "apiVersion: interlock.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: demo}\nspec:\n  owner: {name: Ada, contact: ada@example.com}\n";

/// Each input here takes well under a second on an idle machine. The limit is for machines that are
/// not idle; what grows with the square of a file's size is beyond it all the same.
const SOON: Duration = Duration::from_secs(60);

/// Between two words of progress.
const TOLD: Duration = Duration::from_secs(30);

/// Everything that reads a file, on bytes of any kind.
fn try_all(bytes: &[u8]) {
    let _ = parse_cases("hostile.yaml", bytes);
    if let Ok(policies) = parse("hostile.yaml", bytes) {
        for policy in policies {
            let _ = check(&policy, None);
            let _ = describe(&policy).to_string();
            let _ = graph(&policy);
            if let Ok(compiled) = policy.compile() {
                let _ = diff((&policy, &compiled), (&policy, &compiled));
            }
        }
    }
}

fn within(limit: Duration, what: &str, run: impl FnOnce()) {
    let start = Instant::now();
    run();
    let taken = start.elapsed();
    assert!(taken < limit, "{what} took {taken:?}");
}

#[test]
fn large_and_deep_files_are_answered_soon() {
    let size = MAX_BYTES - 1;
    let repeated = |unit: &str| unit.repeat(size / unit.len());
    let inputs = [
        ("brackets", repeated("[")),
        ("braces", repeated("{")),
        ("dashes", repeated("- ")),
        ("nested lists", repeated("- - - - - - - -\n")),
        ("question marks", repeated("? ")),
        ("documents", repeated("---\n")),
        ("document ends", repeated("...\n")),
        ("directives", repeated("%YAML 1.2\n---\n")),
        ("keys", (0..80_000).map(|i| format!("k{i}: 1\n")).collect()),
        ("long key", format!("{}: 1", repeated("a"))),
        ("quotes", format!("\"{}", repeated("\\u0041"))),
        ("block scalar", format!("a: |\n{}", repeated(" x\n"))),
        ("commas", format!("[{}]", repeated("a,"))),
        ("colons", repeated("a: ")),
        ("aliases", format!("a: &a [x]\nb: [{}]", repeated("*a,"))),
        ("tabs", repeated("\t")),
        ("comments", repeated("#\n")),
        ("spaces", repeated(" ")),
    ];
    for (what, text) in inputs {
        let text = text.get(..text.len().min(size)).expect("ASCII");
        within(SOON, what, || try_all(text.as_bytes()));
    }
}

#[test]
fn policies_made_to_grow_are_bounded() {
    let networks: Vec<String> = (0..40_000)
        .map(|i| format!("10.{}.{}.{}", i >> 16, i >> 8 & 255, i & 255))
        .collect();
    let every_other = |first: usize| -> Vec<String> {
        (0..32_000).map(|i| (first + 2 * i).to_string()).collect()
    };
    let (odd, even) = (every_other(1).join(", "), every_other(2).join(", "));
    let dirs: Vec<String> = (0..30_000).map(|i| format!("\"/d{i}/**\"")).collect();
    let nested: Vec<String> = (0..25).map(|i| format!("10.0.0.0/{}", 8 + i)).collect();
    let rules: Vec<String> = (0..3000)
        .map(|i| {
            format!(
                "{{to: [{}], ports: [{}-{}]}}",
                nested.join(", "),
                i + 1,
                i + 5000
            )
        })
        .collect();
    let facts: Vec<String> = (0..20).map(|i| format!("{{fact: f{i}}}")).collect();
    let conditional: Vec<String> = (0..20)
        .map(|i| format!("{{to: [10.0.0.0/8], requires: [f{i}]}}"))
        .collect();
    let inputs = [
        format!(
            "{HEAD}  egress: {{allow: [{{to: [{}]}}]}}\n",
            networks.join(", ")
        ),
        format!(
            "{HEAD}  egress: {{allow: [{{to: [10.0.0.1], ports: [{odd}]}}, {{to: [10.0.0.2], ports: [{even}]}}]}}
"
        ),
        format!(
            "{HEAD}  files: {{deny: [{{access: [read], paths: [{}]}}]}}\n",
            dirs.join(", ")
        ),
        format!("{HEAD}  egress: {{allow: [{}]}}\n", rules.join(",\n      ")),
        format!(
            "{HEAD}  facts: [{}]\n  egress: {{allow: [{}]}}\n",
            facts.join(", "),
            conditional.join(",\n      ")
        ),
    ];
    for text in inputs {
        let what = text
            .get(HEAD.len()..HEAD.len() + 60)
            .unwrap_or("")
            .to_owned();
        within(SOON, &what, || {
            let policies = parse("large.yaml", text.as_bytes());
            let refused = policies.map_or_else(
                |found| found.to_string(),
                |policies| {
                    policies[0]
                        .compile()
                        .expect_err("more than the stated bounds")
                        .to_string()
                },
            );
            assert!(refused.contains("expected at most"), "{refused}");
        });
    }
}

/// Each of these profiles extends the next a hundred times: ten to the sixteenth, were each followed.
#[test]
fn profiles_that_multiply_are_followed_once() {
    let profile = |name: &str, extends: &str| {
        format!(
            "---\napiVersion: interlock.dev/v1alpha1\nkind: AgentProfile\nmetadata: {{name: {name}}}\nspec:\n  extends: [{extends}]\n"
        )
    };
    let policy = format!("{HEAD}  extends: [p0]\n");
    let read = |profiles: &str| {
        let mut known = Profiles::none();
        known
            .add("p.yaml", profiles.as_bytes())
            .unwrap_or_else(|found| panic!("{found}"));
        parse_with("a.yaml", policy.as_bytes(), &known)
    };
    let hundred = |name: &str| vec![name; 100].join(", ");
    let mut same: String = (0..7)
        .map(|i| profile(&format!("p{i}"), &hundred(&format!("p{}", i + 1))))
        .collect();
    same += &profile("p7", "").replace("  extends: []", "  purpose: x");
    within(SOON, "profiles that extend one profile often", || {
        assert!(read(&same).is_ok());
    });
    // With other variables on each way, each way is another profile.
    let mut other = String::new();
    for level in 0..6 {
        let next: Vec<String> = (0..4).map(|i| format!("q{}-{i}", level + 1)).collect();
        for i in 0..4 {
            let own = format!("q{level}-{i}");
            other += &profile(&own, &next.join(", "));
            other += &format!("  variables: {{v{level}: \"{i}\"}}\n");
        }
    }
    let mut last = String::new();
    for i in 0..4 {
        last += &profile(&format!("q6-{i}"), "").replace("  extends: []", "  purpose: x");
    }
    let first = profile("p0", "q0-0, q0-1, q0-2, q0-3");
    within(SOON, "profiles with other variables on each way", || {
        let found = read(&format!("{first}{other}{last}"))
            .expect_err("too many")
            .to_string();
        assert!(found.contains("found more than 64 profiles"), "{found}");
    });
}

#[test]
fn damaged_policies_do_no_harm() {
    let seconds: u64 = std::env::var("INTERLOCK_FUZZ_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(3);
    let mut state = std::env::var("INTERLOCK_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1u64);
    let mut next = move |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).expect("31 bits") % below
    };
    let words: Vec<&str> = CODER
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let pieces = [
        "[", "]", "{", "}", ":", "- ", "\n", "\"", "'", "&a", "*a", "|", "!!", "#", "\u{feff}",
        "~", "0", "-1", "${", "/**", "*.", "::", "/0", "\0", "\t", "é",
    ];
    let begin = Instant::now();
    let end = begin + Duration::from_secs(seconds);
    let mut told = begin;
    let mut tried = 0u64;
    let mut parsed = 0u64;
    while Instant::now() < end {
        let mut bytes = CODER.as_bytes().to_vec();
        for _ in 0..=next(4) {
            let at = next(bytes.len());
            let piece: &[u8] = match next(3) {
                0 => pieces[next(pieces.len())].as_bytes(),
                1 => words[next(words.len())].as_bytes(),
                _ => &[],
            };
            let length = next(12).min(bytes.len() - at);
            if next(8) == 0 {
                bytes[at] = u8::try_from(next(256)).expect("a byte");
            } else {
                bytes.splice(at..at + length, piece.iter().copied());
            }
        }
        within(SOON, "a damaged policy", || {
            try_all(&bytes);
        });
        parsed += u64::from(parse("damaged.yaml", &bytes).is_ok());
        tried += 1;
        if told.elapsed() > TOLD {
            told = Instant::now();
            eprintln!(
                "{tried} damaged policies in {} of {seconds} s",
                begin.elapsed().as_secs()
            );
        }
    }
    println!("{tried} damaged policies, {parsed} of them still policies");
    assert!(parsed > 0 && parsed < tried);
}

#[test]
fn words_that_yaml_could_take_for_something_else_stay_words() {
    let labels = "{a: no, b: on, c: 0755, d: 1e3, e: 12:30:45, f: 0x1f, g: .inf, h: 2026-01-01}";
    let text = HEAD.replace("{name: demo}", &format!("{{name: demo, labels: {labels}}}"));
    let policies = parse("words.yaml", text.as_bytes()).expect("a policy");
    let texts: Vec<&str> = policies[0]
        .labels
        .iter()
        .map(|(_, text)| text.as_str())
        .collect();
    assert_eq!(
        texts,
        [
            "no",
            "on",
            "0755",
            "1e3",
            "12:30:45",
            "0x1f",
            ".inf",
            "2026-01-01"
        ]
    );
}

#[test]
fn comparing_large_policies_ends() {
    let rules = |ports: &str| -> String {
        let rules: Vec<String> = (0..2000)
            .map(|i| {
                format!(
                    "{{to: [10.{}.{}.0/24], ports: [{}]}}",
                    i / 256,
                    i % 256,
                    i + 1
                )
            })
            .collect();
        format!(
            "{HEAD}  egress: {{allow: [{}, {{to: [192.0.2.0/24], ports: [{ports}]}}]}}\n",
            rules.join(",\n      ")
        )
    };
    let [old, new] = ["1-10", "1-11"].map(|ports| {
        let mut policies = parse("large.yaml", rules(ports).as_bytes()).expect("a policy");
        let policy = policies.remove(0);
        let compiled = policy.compile().expect("tables");
        (policy, compiled)
    });
    within(SOON, "a difference", || {
        let found = diff((&old.0, &old.1), (&new.0, &new.1));
        assert!(
            !found.complete,
            "the bound on actions must have been met, and said"
        );
    });
}
