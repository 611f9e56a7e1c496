//! The host daemon.

pub mod kernel;
