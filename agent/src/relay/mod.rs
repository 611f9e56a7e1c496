//! The relay: connections of sessions whose rules want to hear first for which name they are (`sni: required`),
//! or that go through a gateway (`egress.via`).
//!
//! | thread | owns | ends when |
//! |---|---|---|
//! | relay | a socket on the loopback of each network namespace with sessions, two for each connection | with the process |
//!
//! The kernel has judged the connection by then, and judges what is sent through it as long as it is used: for both
//! it is one to where the program wanted to go. So nothing is allowed here that was not allowed there; the relay can
//! only refuse. Its own sockets are no session's, so it asks before each write what the kernel asks of each
//! packet: whether the session has fallen silent.

mod hello;
mod server;

pub use hello::{Heard, hear};
pub use server::Relay;
