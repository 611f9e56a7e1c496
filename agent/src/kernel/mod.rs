//! What the running kernel looks like: its type information and the places of the fields that the
//! kernel programs read.

pub mod btf;
pub mod offsets;
