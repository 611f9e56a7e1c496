//! The policy language: parse, check, compile, explain. No I/O, no async.
//!
//! A policy file goes one way through this crate: [`parse`] turns its bytes into [`Policy`] values
//! or into [`Diagnostics`] that name the place of every mistake; [`Policy::compile`] turns a policy
//! into the tables that the kernel looks up, with a digest that names them.

mod compile;
mod policy;
mod text;

pub use compile::{
    Compiled, MAX_NETWORKS, MAX_PORTS, MAX_RULES, NetworkEntry, PortEntry, RuleSource,
};
pub use policy::{
    API_VERSION, Effect, Egress, EgressRule, KIND, Network, Owner, Policy, PortRange, Protocol,
    parse,
};
pub use text::{Diagnostic, Diagnostics, MAX_BYTES, MAX_DEPTH, MAX_NODES, Severity, Span};
