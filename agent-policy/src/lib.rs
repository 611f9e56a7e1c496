//! The policy language: parse, check, compile, explain. No I/O, no async.
