//! From bytes to a tree whose every node knows its place, and from a place to a message.

mod diagnostic;
mod fields;
mod node;
mod source;
mod yaml;

pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub(crate) use fields::{Fields, Reader};
pub(crate) use node::{Field, Node, Value, quoted};
pub(crate) use source::Source;
pub use source::Span;
pub(crate) use yaml::documents;
pub use yaml::{MAX_BYTES, MAX_DEPTH, MAX_NODES};
