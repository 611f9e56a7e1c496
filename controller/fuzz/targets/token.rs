//! Tokens of operators. Nobody has the provider's key here: whatever comes is refused, and none of it
//! makes the controller stumble.

#![no_main]

use interlock_controller::token::{Provider, Tokens};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

const RSA: &str = include_str!("../../tests/central/tokens/rsa.jwk");
const TOKEN: &str = include_str!("../../tests/central/tokens/rsa.token");

static TOKENS: LazyLock<Tokens> = LazyLock::new(|| {
    let keys = std::env::temp_dir().join(format!("interlock-fuzz-{}.json", std::process::id()));
    std::fs::write(&keys, format!("{{\"keys\":[{RSA}]}}")).expect("a file");
    Tokens::of(Provider {
        issuer: "https://id.example.com".into(),
        audience: "interlock".into(),
        keys,
        roles: "roles".into(),
        name: "sub".into(),
    })
    .expect("a provider")
});

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    assert!(TOKENS.read(text).is_err(), "a token that nobody has signed");
    // The good one's header and signature round other claims.
    let good: Vec<&str> = TOKEN.trim().split('.').collect();
    if text != good[1] {
        let read = TOKENS.read(&format!("{}.{text}.{}", good[0], good[2]));
        assert!(read.is_err(), "the signature of another");
    }
});
