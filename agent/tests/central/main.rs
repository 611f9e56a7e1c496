//! A node's record on its way to a controller, with the real evidence, the real reporter and the real
//! controller, each in a process of its own: what kills, partitions, disks, certificates and old
//! backups do to it. No kernel program is needed: what makes denials is a loop.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod faults;
mod kills;
mod place;
mod processes;
mod way;
