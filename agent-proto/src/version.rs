//! Which version and features a connection has.

use crate::wire::EnrolRequest;

/// The versions of the contract that this program speaks.
pub const VERSIONS: std::ops::RangeInclusive<u32> = 1..=1;

/// What this program knows besides the contract's first version. Who requires anything else is
/// refused, and what requires anything else is not carried out.
pub const FEATURES: &[&str] = &["lift", "grants", "answers", "budgets", "labels"];

/// Why two sides cannot talk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DisagreeError {
    /// No version in common.
    #[error("the other side speaks versions {from} to {to} of the contract, this one {} to {}", VERSIONS.start(), VERSIONS.end())]
    Version {
        /// Its lowest.
        from: u32,
        /// Its highest.
        to: u32,
    },
    /// Something is required and unknown.
    #[error("found the required feature `{0}`, which this version does not know")]
    Feature(String),
}

/// The version both speak.
pub fn agree(request: &EnrolRequest) -> Result<u32, DisagreeError> {
    know(&request.requires)?;
    let (from, to) = (request.version_from, request.version_to);
    let common = to.min(*VERSIONS.end());
    if from > to || common < from.max(*VERSIONS.start()) {
        return Err(DisagreeError::Version { from, to });
    }
    Ok(common)
}

/// Whether all that is required is known.
pub fn know(requires: &[String]) -> Result<(), DisagreeError> {
    match requires
        .iter()
        .find(|word| !FEATURES.contains(&word.as_str()))
    {
        Some(unknown) => Err(DisagreeError::Feature(unknown.clone())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(from: u32, to: u32, requires: &[&str]) -> Result<u32, DisagreeError> {
        agree(&EnrolRequest {
            version_from: from,
            version_to: to,
            requires: requires.iter().map(|word| (*word).to_owned()).collect(),
            ..EnrolRequest::default()
        })
    }

    #[test]
    fn the_highest_common_version_is_taken() {
        assert_eq!(asks(1, 1, &[]), Ok(1));
        assert_eq!(asks(0, 9, &["lift"]), Ok(1));
    }

    #[test]
    fn no_common_version_or_an_unknown_requirement_is_refused() {
        for (from, to) in [(2, 3), (0, 0), (3, 1)] {
            assert_eq!(
                asks(from, to, &[]),
                Err(DisagreeError::Version { from, to })
            );
        }
        let refused = asks(1, 1, &["lift", "teleport"]);
        assert_eq!(refused, Err(DisagreeError::Feature("teleport".into())));
    }
}
