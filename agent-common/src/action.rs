//! The operations that the kernel mediates.

use crate::path::Access;
use crate::wire::wire_enum;

wire_enum! {
    /// One kind of operation a session may attempt.
    Action: u16 {
        /// A socket is connected to an address.
        Connect = 1 => "connect",
        /// A datagram is sent to an address.
        Send = 2 => "send",
        /// A file is opened for reading.
        Read = 10 => "read",
        /// A file is opened for writing, or its attributes change.
        Write = 11 => "write",
        /// A file comes into being.
        Create = 12 => "create",
        /// A file is removed.
        Delete = 13 => "delete",
        /// A file gets another name, or a name another file.
        Rename = 14 => "rename",
        /// A file gets a second name.
        Link = 15 => "link",
        /// A file is mapped as code.
        Map = 16 => "map",
    }
}

impl Action {
    /// The use of a file by which its rules are found, for an action on a file.
    pub const fn access(self) -> Option<Access> {
        Some(match self {
            Self::Read => Access::Read,
            Self::Write => Access::Write,
            Self::Create => Access::Create,
            Self::Delete => Access::Delete,
            Self::Rename => Access::Rename,
            Self::Link => Access::Link,
            Self::Map => Access::Map,
            Self::Connect | Self::Send => return None,
        })
    }
}
