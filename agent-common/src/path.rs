//! What can be done with a file, by which a policy's path rules are looked up.

use crate::wire::wire_enum;

wire_enum! {
    /// One kind of use of a file; the index of its rules in a path entry.
    Access: u8 {
        /// Its contents are read.
        Read = 0 => "read",
        /// Its contents or attributes are changed.
        Write = 1 => "write",
        /// It comes into being.
        Create = 2 => "create",
        /// It is removed.
        Delete = 3 => "delete",
        /// It gets another name, or another file gets its name.
        Rename = 4 => "rename",
        /// It gets a second name.
        Link = 5 => "link",
        /// It is mapped as code.
        Map = 6 => "map",
        /// It is executed.
        Exec = 7 => "exec",
        /// It is a Unix socket that is connected to.
        Connect = 8 => "connect",
    }
}

/// Number of accesses.
pub const ACCESSES: usize = Access::ALL.len();
