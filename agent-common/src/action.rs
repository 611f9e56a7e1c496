//! The operations that the kernel mediates.

use crate::wire::wire_enum;

wire_enum! {
    /// One kind of operation a session may attempt.
    Action: u16 {
        /// A socket is connected to an address.
        Connect = 1 => "connect",
        /// A datagram is sent to an address.
        Send = 2 => "send",
        /// An act that needs a [`Privilege`](crate::privilege::Privilege).
        Privilege = 16 => "privilege",
    }
}
