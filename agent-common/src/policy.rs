//! What the kernel programs know of a policy as a whole, by its number.

use crate::decide::Reason;
use crate::session::Session;
use crate::wire::assert_layout;

/// The head of a policy, one slot of the policy map. All zero gives nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PolicyHead {
    /// The bits of every [`Privilege`](crate::privilege::Privilege) that its sessions have.
    pub privileges: u64,
    /// Another number each time that the policy's number is given; 0 while it is nobody's.
    pub edition: u32,
    /// Padding, zero.
    pub padding: u32,
    /// Room, zero.
    pub reserved: [u64; 6],
}

assert_layout!(PolicyHead, size 64, privileges at 0, edition at 8);

impl PolicyHead {
    /// A policy whose sessions have these privileges.
    pub const fn with(privileges: u64, edition: u32) -> Self {
        Self {
            privileges,
            edition,
            padding: 0,
            reserved: [0; 6],
        }
    }

    /// Why a session with some flags must not do what needs a privilege, given by its number; nothing when it may.
    #[inline(always)]
    pub const fn refusal(&self, flags: u32, privilege: u8) -> Option<Reason> {
        if flags & Session::REVOKED != 0 {
            return Some(Reason::Revoked);
        }
        if self.privileges >> (privilege & 63) & 1 == 0 {
            return Some(Reason::Privilege);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privilege::Privilege;

    #[test]
    fn a_privilege_is_given_by_its_bit_until_the_permission_ends() {
        let policy = PolicyHead::with(Privilege::Ptrace.bit(), 1);
        let (ptrace, signal) = (Privilege::Ptrace.wire(), Privilege::Signal.wire());
        assert_eq!(policy.refusal(0, ptrace), None);
        assert_eq!(policy.refusal(0, signal), Some(Reason::Privilege));
        assert_eq!(
            policy.refusal(Session::REVOKED, ptrace),
            Some(Reason::Revoked)
        );
    }
}
