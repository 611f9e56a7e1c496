//! The types of `agent-common`, as aya's maps want them.

#![expect(unsafe_code, reason = "aya's marker for plain data is an unsafe trait")]

use agent_common::argument::Pattern;
use agent_common::decide::Rule;
use agent_common::divert::{Origin, OriginKey, Station};
use agent_common::egress::{NetworkKey, PortKey};
use agent_common::hold::{Hold, HoldKey, Waiter};
use agent_common::names::{Answer, AnswerKey};
use agent_common::path::{Index, PathKey, PathRules};
use agent_common::policy::PolicyHead;
use agent_common::recognise::{Executable, Inside, Latecomer, PlaceKey, Pool, Watch};
use agent_common::session::{Label, Member, Session, Share};
use agent_common::terms::{Progress, Terms};
use agent_common::uses::UseKey;

/// A type that may cross the border as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Plain<T>(pub T);

macro_rules! plain {
    ($($name:ty),+) => {
        $(
            // SAFETY: `repr(C)`, made of integers and arrays of integers, with no hidden padding:
            // agent-common asserts the layout.
            unsafe impl aya::Pod for Plain<$name> {}
        )+
    };
}

plain!(
    Executable, Inside, Label, Latecomer, PlaceKey, Pool, Watch, Pattern, Index, Member,
    NetworkKey, PathKey, PathRules, PolicyHead, PortKey, Progress, Rule, Session, Share, Terms,
    Hold, HoldKey, Waiter, Answer, AnswerKey, Origin, OriginKey, Station, UseKey
);
