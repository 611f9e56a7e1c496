//! From a record in the ring to a line that a person can read.

pub mod explain;
pub mod journal;
pub mod line;
pub mod process;
pub mod ring;
