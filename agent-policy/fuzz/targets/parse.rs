//! Whatever the bytes, every reader of the language answers: policies, profiles, cases, actions,
//! hosts. A refusal names something.

#![no_main]

use agent_policy::{Action, Host, Profiles, is_cases, parse, parse_cases};
use libfuzzer_sys::fuzz_target;

const FILE: &str = "fuzz.yaml";

fuzz_target!(|bytes: &[u8]| {
    let _ = is_cases(bytes);
    match parse(FILE, bytes) {
        Ok(policies) => assert!(!policies.is_empty(), "a file without policies is refused"),
        Err(found) => refused(&found),
    }
    if let Err(found) = parse_cases(FILE, bytes) {
        refused(&found);
    }
    let mut profiles = Profiles::none();
    if let Err(found) = profiles.add(FILE, bytes) {
        refused(&found);
    }
    for line in std::str::from_utf8(bytes)
        .unwrap_or_default()
        .lines()
        .take(8)
    {
        if let Ok(action) = line.parse::<Action>() {
            round_trip(&action);
        }
        if let Ok(host) = Host::read(line) {
            assert_eq!(
                Host::read(&host.to_string()),
                Ok(host),
                "the form stays as it is"
            );
        }
    }
});

fn refused(found: &agent_policy::Diagnostics) {
    assert!(found.has_errors(), "a refusal is an error: {found}");
    let text = found.to_string();
    assert!(
        !text.chars().any(|c| c.is_control() && c != '\n'),
        "{text:?} would move the cursor"
    );
}

/// What an action is called is the action.
fn round_trip(action: &Action) {
    let told = action.to_string();
    let again: Action = told
        .parse()
        .unwrap_or_else(|error| panic!("{told:?}: {error}"));
    assert_eq!(again.to_string(), told);
}
