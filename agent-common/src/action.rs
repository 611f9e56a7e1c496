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
        /// A socket gets an address of this host's, listens on it, or takes a connection there.
        Listen = 3 => "listen",
        /// An act that needs a [`Privilege`](crate::privilege::Privilege).
        Privilege = 16 => "privilege",
        /// A file is opened for reading.
        Read = 20 => "read",
        /// A file is opened for writing, or its attributes change.
        Write = 21 => "write",
        /// A file comes into being.
        Create = 22 => "create",
        /// A file is removed.
        Delete = 23 => "delete",
        /// A file gets another name, or a name another file.
        Rename = 24 => "rename",
        /// A file gets a second name.
        Link = 25 => "link",
        /// A file is mapped as code.
        Map = 26 => "map",
        /// A program is executed.
        Exec = 27 => "exec",
    }
}

impl Action {
    /// The use of a file by which its rules are found, for an action on a file. Sockets that have a
    /// path are files, too.
    pub const fn access(self) -> Option<Access> {
        Some(match self {
            Self::Read => Access::Read,
            Self::Write => Access::Write,
            Self::Create => Access::Create,
            Self::Delete => Access::Delete,
            Self::Rename => Access::Rename,
            Self::Link => Access::Link,
            Self::Map => Access::Map,
            Self::Exec => Access::Exec,
            Self::Connect | Self::Send => Access::Connect,
            _ => return None,
        })
    }
}
