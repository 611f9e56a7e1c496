//! Builds the kernel programs, so that the daemon carries them in its own binary.

use bpf_toolchain::Toolchain;
use sha2::{Digest as _, Sha256};
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
    match build(root, &out).and_then(|object| Ok((digest(&object)?, object))) {
        Ok((digest, object)) => {
            println!("cargo::rustc-env=INTERLOCK_EBPF={}", object.display());
            println!("cargo::rustc-env=INTERLOCK_EBPF_DIGEST={digest}");
        }
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

/// What tells this build of the kernel programs from others.
fn digest(object: &Path) -> Result<String, String> {
    let bytes = std::fs::read(object).map_err(|error| format!("{}: {error}", object.display()))?;
    Ok(hex::encode(&Sha256::digest(bytes)[..8]))
}
