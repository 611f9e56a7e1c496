//! The controller, with real gRPC and TLS over loopback.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod approvals;
mod contract;
mod frames;
mod hostile;
mod keeping;
mod orders;
mod records;
mod sim;
mod tokens;
