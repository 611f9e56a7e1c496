//! Makes Rust of the contract, without protoc, and notes of what it was made.

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// What is noted, as `sha256sum` writes and checks it in the folder of agent-proto.
const FILES: [&str; 3] = [
    "proto/interlock/v1/interlock.proto",
    "src/generated/interlock.v1.rs",
    "src/generated/interlock.binpb",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::env::set_current_dir(package)?;
    let contract = protox::compile(["interlock/v1/interlock.proto"], ["proto"])?;
    fs::create_dir_all("src/generated")?;
    fs::write("src/generated/interlock.binpb", contract.encode_to_vec())?;
    tonic_prost_build::configure()
        .out_dir("src/generated")
        .compile_fds(contract)?;
    let mut sums = String::new();
    for file in FILES {
        for byte in Sha256::digest(fs::read(file)?) {
            write!(sums, "{byte:02x}")?;
        }
        writeln!(sums, "  {file}")?;
    }
    fs::write("src/generated/SUMS", sums)?;
    Ok(())
}
