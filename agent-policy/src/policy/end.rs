//! How a session ends, and how firmly its policy is held.

use crate::text::{Fields, Node, Reader, Value, quoted};

use super::{Spans, condition};

/// What ends a session's permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RevokeOn {
    /// The chain is complete.
    Completion,
    /// The chain has failed.
    Failure,
    /// A step came too late.
    Timeout,
    /// An action that the policy does not allow.
    Deviation,
    /// An action for which a budget has no room left.
    Budget,
    /// The controller has been out of reach for so many seconds.
    ControllerLost(u64),
}

/// What becomes of an action that deviates, besides being denied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnDeviation {
    /// Nothing.
    #[default]
    Deny,
    /// The session's processes are killed.
    Kill,
    /// The session's permission ends.
    Revoke,
}

/// Whether the policy is held or only watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// What it does not allow does not happen.
    #[default]
    Enforce,
    /// What it does not allow is recorded.
    Audit,
}

/// What becomes of running sessions when this version of the policy takes the place of another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnChange {
    /// They are held to the version with which they began.
    #[default]
    Keep,
    /// They are held to this one from then on.
    Move,
}

impl OnChange {
    /// As it stands in a policy.
    pub fn word(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Move => "move",
        }
    }
}

/// Whether a session needs a grant of the controller to begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Grant {
    /// Whoever may start sessions may start this one.
    #[default]
    Optional,
    /// No session begins without one.
    Required,
}

/// The weakest enforcement under which a session may start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MinEnforcement {
    /// Actions are observed.
    Observe,
    /// The actor is killed, perhaps after the action.
    Kill,
    /// Actions are blocked before they take effect.
    #[default]
    Block,
}

/// How a session ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Seconds that a grant lives.
    pub ttl_s: Option<u64>,
    /// What ends the permission.
    pub revoke_on: Vec<RevokeOn>,
    /// What becomes of a deviation.
    pub on_deviation: OnDeviation,
}

pub(super) fn read(reader: &mut Reader<'_>, node: &Node, spans: &mut Spans) -> End {
    let Some(fields) = Fields::of(reader, node, "end", &["ttl", "revokeOn", "onDeviation"]) else {
        return End::default();
    };
    let mut revoke_on = Vec::new();
    let words = [
        ("completion", RevokeOn::Completion),
        ("failure", RevokeOn::Failure),
        ("timeout", RevokeOn::Timeout),
        ("deviation", RevokeOn::Deviation),
        ("budget", RevokeOn::Budget),
    ];
    let expected =
        "a list of completion, failure, timeout, deviation, budget and {controllerLost: 5m}";
    if let Some(list) = fields.get("revokeOn") {
        for item in reader.items(list, expected) {
            if let Value::Map(_) = item.value {
                let lost = Fields::of(reader, item, "revokeOn", &["controllerLost"])
                    .and_then(|fields| fields.get("controllerLost"))
                    .and_then(|node| condition::duration(reader, node));
                revoke_on
                    .extend(lost.map(|seconds| (RevokeOn::ControllerLost(seconds), item.span)));
            } else if matches!(&item.value, Value::Scalar { text, .. } if text == "controllerLost")
            {
                reader.found(item.span, &quoted("controllerLost"), "{controllerLost: 5m}");
            } else if let Some(word) = reader.word(item, &words) {
                revoke_on.push((word, item.span));
            }
        }
    }
    let words = [
        ("deny", OnDeviation::Deny),
        ("kill", OnDeviation::Kill),
        ("revoke", OnDeviation::Revoke),
    ];
    spans.ttl = fields.get("ttl").map(|node| node.span);
    spans.on_deviation = fields.get("onDeviation").map(|node| node.span);
    spans.revoke_on.clone_from(&revoke_on);
    End {
        ttl_s: fields
            .get("ttl")
            .and_then(|node| condition::duration(reader, node)),
        revoke_on: revoke_on.into_iter().map(|(on, _)| on).collect(),
        on_deviation: fields
            .get("onDeviation")
            .and_then(|node| reader.word(node, &words))
            .unwrap_or_default(),
    }
}

pub(super) fn mode(reader: &mut Reader<'_>, node: &Node) -> Option<Mode> {
    reader.word(node, &[("enforce", Mode::Enforce), ("audit", Mode::Audit)])
}

pub(super) fn grant(reader: &mut Reader<'_>, node: &Node) -> Option<Grant> {
    let words = [("required", Grant::Required), ("optional", Grant::Optional)];
    reader.word(node, &words)
}

pub(super) fn on_change(reader: &mut Reader<'_>, node: &Node) -> Option<OnChange> {
    reader.word(node, &[("keep", OnChange::Keep), ("move", OnChange::Move)])
}

pub(super) fn min_enforcement(reader: &mut Reader<'_>, node: &Node) -> Option<MinEnforcement> {
    let words = [
        ("block", MinEnforcement::Block),
        ("kill", MinEnforcement::Kill),
        ("observe", MinEnforcement::Observe),
    ];
    reader.word(node, &words)
}
