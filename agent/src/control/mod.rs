//! The daemon's local socket: one JSON request a line, one JSON answer a line.

pub mod client;
pub mod protocol;
pub mod server;

/// Where the daemon listens unless told otherwise.
pub const SOCKET: &str = "/run/interlock/control.sock";
