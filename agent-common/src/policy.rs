//! What the kernel programs know of a policy as a whole, by its number.

use crate::decide::Reason;
use crate::privilege::Privilege;
use crate::session::Session;
use crate::wire::assert_layout;

/// Tools that one policy can have.
pub const MAX_TOOLS: usize = 64;

/// The head of a policy, one slot of the policy map. All zero gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct PolicyHead {
    /// The bits of every [`Privilege`](crate::privilege::Privilege) that its sessions have.
    pub privileges: u64,
    /// Another number each time that the policy's number is given; 0 while it is nobody's.
    pub edition: u32,
    /// 1 where rules name programs by their digests, or 0.
    pub digests: u32,
    /// The privileges of each tool. Inside a tool both must have it, unless it is the program's own.
    pub tools: [u64; MAX_TOOLS],
    /// The hash of its agent's name, by which other sessions' rules find it; 0 while it is nobody's.
    pub agent: u64,
    /// 1 where rules name hosts: then lookups go to the daemon's resolver. 0 otherwise.
    pub names: u32,
    /// Padding, zero.
    pub reserved: u32,
}

assert_layout!(PolicyHead, size 544, privileges at 0, edition at 8, digests at 12, tools at 16, agent at 528, names at 536);

impl PolicyHead {
    /// A policy that gives nothing.
    pub const NONE: Self = Self {
        privileges: 0,
        edition: 0,
        digests: 0,
        tools: [0; MAX_TOOLS],
        agent: 0,
        names: 0,
        reserved: 0,
    };

    /// Why a session with some flags must not do what needs a privilege, given by its number, inside
    /// a tool (or 0 where it is in none); nothing when it may. The tools around that one are asked
    /// by [`Self::gives_tool`].
    #[inline(always)]
    pub const fn refusal(&self, flags: u32, privilege: u8, innermost: u8) -> Option<Reason> {
        if flags & Session::REVOKED != 0 {
            return Some(Reason::Revoked);
        }
        let alone = innermost != 0 && Privilege::is_of_program(privilege);
        if !alone && self.privileges >> (privilege & 63) & 1 == 0 {
            return Some(Reason::Privilege);
        }
        if innermost != 0 && !self.gives_tool(innermost, privilege) {
            return Some(Reason::Privilege);
        }
        None
    }

    /// Whether a tool, counted from 1, has a privilege.
    #[inline(always)]
    pub const fn gives_tool(&self, tool: u8, privilege: u8) -> bool {
        let tool = (tool as usize).wrapping_sub(1) & (MAX_TOOLS - 1);
        self.tools[tool] >> (privilege & 63) & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_privilege_is_given_by_its_bit_until_the_permission_ends() {
        let mut policy = PolicyHead {
            privileges: Privilege::Ptrace.bit(),
            ..PolicyHead::NONE
        };
        let (ptrace, signal) = (Privilege::Ptrace.wire(), Privilege::Signal.wire());
        assert_eq!(policy.refusal(0, ptrace, 0), None);
        policy.tools[63] = Privilege::Ptrace.bit();
        assert!(policy.gives_tool(64, ptrace));
        assert_eq!(policy.refusal(0, ptrace, 64), None);
        assert_eq!(policy.refusal(0, ptrace, 1), Some(Reason::Privilege));
        assert!(!policy.gives_tool(64, signal) && !policy.gives_tool(1, ptrace));
        assert_eq!(policy.refusal(0, signal, 0), Some(Reason::Privilege));
        assert_eq!(
            policy.refusal(Session::REVOKED, ptrace, 0),
            Some(Reason::Revoked)
        );
    }

    #[test]
    fn what_is_of_a_program_its_tool_alone_has() {
        let jit = Privilege::Jit.wire();
        let mut policy = PolicyHead::NONE;
        policy.tools[0] = Privilege::Jit.bit() | Privilege::Signal.bit();
        assert_eq!(policy.refusal(0, jit, 1), None);
        assert_eq!(policy.refusal(0, jit, 0), Some(Reason::Privilege));
        let signal = Privilege::Signal.wire();
        assert_eq!(policy.refusal(0, signal, 1), Some(Reason::Privilege));
        assert_eq!(
            policy.refusal(Session::REVOKED, jit, 1),
            Some(Reason::Revoked)
        );
        policy.privileges = Privilege::Jit.bit();
        assert_eq!(policy.refusal(0, jit, 2), Some(Reason::Privilege));
    }
}
