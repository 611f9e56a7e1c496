//! The kernel programs, seen from user space.

pub mod barrier;
pub mod bpf;
pub mod btf;
pub mod build;
pub mod clock;
pub mod held;
pub mod hook_times;
mod hooks;
mod load;
mod loaded;
pub mod loader;
pub mod maps;
pub mod object;
pub mod offsets;
pub mod pins;
pub mod plain;
pub mod probation;
pub mod processor;
pub mod recognised;
pub mod skipped;
mod slot;
pub mod swap;
mod symbols;
pub mod trial;

/// Which kernel runs; nothing where it does not say.
pub fn release() -> Option<String> {
    let names = nix::sys::utsname::uname().ok()?;
    Some(names.release().to_string_lossy().into_owned())
}
