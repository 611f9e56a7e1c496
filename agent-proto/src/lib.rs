//! The contract between nodes, the controller and its operators: what is sent, who may say it, and
//! what both sides must do in the same way.
//!
//! | module | holds |
//! |---|---|
//! | `wire` | the messages and services of `proto/interlock/v1/interlock.proto` |
//! | `identity` | who a certificate names: a node, an operator with roles, or nobody |
//! | `version` | which version and features a connection has |
//! | `seal` | what is signed, and how it is checked |
//! | `accept` | whether a directive is carried out |
//! | `grant` | a grant as text |
//! | `files` | certificates from files that may change meanwhile |
//! | `client` | the way to the controller |

pub mod accept;
pub mod client;
pub mod files;
pub mod grant;
pub mod identity;
pub mod seal;
pub mod version;
pub mod wire;

/// Where controllers listen unless told otherwise.
pub const PORT: u16 = 7443;

/// The longest message either side takes. A policy of the largest size with its profiles fits.
pub const MAX_MESSAGE: usize = 4 * 1024 * 1024;
