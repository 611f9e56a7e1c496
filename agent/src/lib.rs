//! The host agent behind the binary `interlock`.
//!
//! [`kernel`] tells what the running kernel looks like.

pub mod kernel;
