//! What sessions were allowed, counted by rule and place.

use crate::wire::{assert_layout, wire_struct};

/// Different uses that are counted at once on one host.
pub const MAX_USES: u32 = 65_536;

/// Different uses of one session beyond which its places are not told apart.
pub const APART: u64 = 128;

/// Different uses of one session that are counted.
pub const EACH: u64 = 512;

/// Actions that a task is allowed by the same rule, one after the other, before they are counted.
pub const KEPT: u32 = 64;

wire_struct! {
    /// What a task was allowed by one rule, and is not counted yet.
    Kept {
        /// The number of the policy.
        policy: u32,
        /// The rule.
        rule: u32,
        /// An [`Allowed`](crate::session::Allowed).
        kind: u32,
        /// How often.
        count: u32,
    }
}
assert_layout!(Kept, size 16, policy at 0, rule at 4, kind at 8, count at 12);

wire_struct! {
    /// Actions that are counted together.
    UseKey {
        /// The session.
        session: u64,
        /// A place on a network as [`Endpoint::packed`](crate::egress::Endpoint::packed) has it, or the number of
        /// a privilege, from 1; zero for all else, and where places are not told apart.
        object: [u64; 3],
        /// The number of the policy.
        policy: u32,
        /// The rule that allowed it, by its number there; [`NO_RULE`](crate::decide::NO_RULE) where it needs none.
        rule: u32,
        /// An [`Allowed`](crate::session::Allowed).
        kind: u32,
        /// Padding, zero.
        reserved: u32,
    }
}
assert_layout!(UseKey, size 48, session at 0, object at 8, policy at 32, rule at 36, kind at 40);
