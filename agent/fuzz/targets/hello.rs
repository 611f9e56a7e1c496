//! What a relayed connection says first. Whatever it is, what is heard of the beginning is not unsaid by what follows:
//! the relay decides as soon as it can, and the site reads all of it.

#![no_main]

#[expect(unreachable_pub, reason = "public in the daemon's library")]
#[path = "../../src/relay/hello.rs"]
mod hello;

use hello::{Heard, hear};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = hear(bytes);
    if let Heard::Name(name) = &whole {
        assert!(!name.is_empty() && name.is_ascii(), "{name:?}");
        assert!(
            !name.bytes().any(|byte| byte.is_ascii_uppercase()),
            "{name:?}"
        );
    }
    // Every beginning of a short one, some of a long one.
    let step = (bytes.len() / 64).max(1);
    for length in (0..bytes.len()).step_by(step) {
        let heard = hear(&bytes[..length]);
        assert!(
            heard == Heard::Part || heard == whole,
            "{length}: {heard:?}, then {whole:?}"
        );
    }
});
