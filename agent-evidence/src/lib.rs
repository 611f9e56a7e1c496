//! The tamper-evident record of what happened on a node.
//!
//! | module | is |
//! |---|---|
//! | `record`, `kinds` | what is recorded, and its canonical bytes |
//! | `chain` | the hash by which each record carries all before it |
//! | `frame`, `segment`, `walk` | files: their format, and what of a file can be believed |
//! | `checkpoint`, `key`, `mark` | what holds a record against who rewrites it: signatures, and memory outside |
//! | `disk` | the one way to the disk, behind a trait |
//! | `survey`, `finding` | a folder looked at as a whole, and what is wrong with it |
//! | `repair`, `retain`, `store` | the one writer: opens, repairs, appends, takes the oldest away |
//! | `recorder` | the writer's thread and the bounded queue before it |
//! | `verify`, `read` | for whoever reads: is it whole, and what does it say |
//!
//! One thread writes. Everybody else sends it drafts through the queue, which never blocks them,
//! or reads the files, which only grow at their end. Nothing here is async.

pub mod chain;
pub mod checkpoint;
pub mod disk;
pub mod finding;
pub mod frame;
pub mod key;
mod kinds;
pub mod mark;
pub mod read;
pub mod record;
pub mod recorder;
mod repair;
mod retain;
pub mod segment;
pub mod store;
pub mod survey;
pub mod verify;
mod walk;
