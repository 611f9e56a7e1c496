//! What is sent, as `cargo xtask proto` makes it of `proto/`.

#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "made by a generator; the contract has the comments"
)]

include!("generated/interlock.v1.rs");

/// The contract itself, for reflection.
pub const DESCRIPTOR: &[u8] = include_bytes!("generated/interlock.binpb");

#[cfg(test)]
mod tests {
    use ring::digest::{SHA256, digest};

    #[test]
    fn what_was_made_of_the_contract_is_of_this_contract() {
        let files: [(&str, &[u8]); 3] = [
            (
                "proto/interlock/v1/interlock.proto",
                include_bytes!("../proto/interlock/v1/interlock.proto"),
            ),
            (
                "src/generated/interlock.v1.rs",
                include_bytes!("generated/interlock.v1.rs"),
            ),
            ("src/generated/interlock.binpb", super::DESCRIPTOR),
        ];
        let sums = files.map(|(file, bytes)| {
            let sum = hex::encode(digest(&SHA256, bytes).as_ref());
            format!("{sum}  {file}\n")
        });
        assert_eq!(
            sums.concat(),
            include_str!("generated/SUMS"),
            "run `cargo xtask proto`"
        );
    }
}
