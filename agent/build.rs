//! Builds the kernel programs, so that the daemon carries them in its own binary.

use bpf_toolchain::Toolchain;
use std::path::{Path, PathBuf};

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("agent lies in the workspace");
    for source in ["agent-ebpf", "agent-common/src", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    println!("cargo::rerun-if-env-changed=PATH");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    match build(root, &out) {
        Ok(object) => println!("cargo::rustc-env=INTERLOCK_EBPF={}", object.display()),
        Err(error) => println!("cargo::error={error}"),
    }
}

fn build(root: &Path, out: &Path) -> Result<PathBuf, String> {
    let toolchain = Toolchain::find().map_err(|missing| {
        format!("{missing}. `cargo xtask setup` installs what is missing, or says how to")
    })?;
    toolchain
        .build(root, &out.join("ebpf"))
        .map_err(|error| error.to_string())
}
