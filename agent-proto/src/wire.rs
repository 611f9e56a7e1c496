//! What is sent, as it is made from `proto/`.

#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "made by a generator; the contract has the comments"
)]

tonic::include_proto!("interlock.v1");

/// The contract itself, for reflection.
pub const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/interlock.binpb"));
