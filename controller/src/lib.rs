//! The central controller: one place sees and steers all nodes.
//!
//! | task | owns | ends when |
//! |---|---|---|
//! | door | the listening socket; lets in who has a certificate | the process ends |
//! | server | every connection and its calls | a signal, or the door has closed |
//! | a connection's calls | their streams | the peer, its certificate or the server ends |
//! | `retain` | what is removed of old records | the process ends |
//! | threads `store-writes`, `store-reads` | the database | nobody asks any more |
//!
//! What nodes are told is signed, stored, and only then sent: [`fleet`] keeps it in memory, wakes
//! every node's stream, and each finds out by itself what its node still lacks.

pub mod approvals;
pub mod certs;
pub mod clock;
pub mod door;
pub mod fleet;
mod gate;
mod node;
mod operator;
mod policy;
mod rate;
pub mod report;
pub mod retain;
pub mod room;
pub mod serve;
pub mod store;
pub mod token;
