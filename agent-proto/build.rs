//! Makes Rust of the contract, without protoc.

use prost::Message as _;
use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let contract = protox::compile(["interlock/v1/interlock.proto"], ["proto"])?;
    let folder = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(folder.join("interlock.binpb"), contract.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(contract)?;
    Ok(())
}
