//! Path rules as tables of texts, which the loader hashes with the seed of this boot.
//!
//! The order of precedence: an exact path; then base names and extensions that deny; then the
//! deepest directory; then base names and extensions that allow. So a name denies wherever the file
//! lies, and allows only where no directory's rule speaks.

use std::collections::BTreeMap;

use agent_common::path::{ACCESSES, Access};

use crate::policy::{Destination, Effect, Pattern, Policy};
use crate::text::Diagnostics;

use super::NO_LIST;
use super::authored::{AnyRule, Authored};
use super::list::Lists;

/// Paths of one policy.
pub const MAX_PATHS: usize = 16_384;

/// By what part of a path an entry is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PathKind {
    /// The whole path.
    Exact,
    /// A directory on the way to it, or itself; the deepest counts.
    Under,
    /// Its base name.
    Name,
    /// The text behind the last dot of its base name.
    Extension,
    /// It is no path, but the name of a Unix socket that has none.
    Abstract,
}

/// A path and its rules for each access.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathEntry {
    /// What `text` is.
    pub kind: PathKind,
    /// The text; the root as a directory is the empty text.
    pub text: String,
    /// The list for each [`Access`], `u32::MAX` where there is none. For a name or an extension the
    /// rules that deny; otherwise all that speak, those of wider patterns included.
    pub lists: [u32; ACCESSES],
    /// For a name or an extension the rules that allow, asked when nothing else has spoken.
    pub fallback: [u32; ACCESSES],
}

/// The rules of each pattern, by access.
type Own = BTreeMap<Pattern, [Vec<u32>; ACCESSES]>;

pub(super) fn compile(
    policy: &Policy,
    rules: &[(u32, Authored<'_>)],
    lists: &mut Lists<'_>,
) -> Result<Vec<PathEntry>, Diagnostics> {
    let own = own(rules);
    policy.bound("paths", own.len(), MAX_PATHS)?;
    let mut entries = Vec::with_capacity(own.len());
    for pattern in own.keys() {
        let mut entry = PathEntry {
            kind: match pattern {
                Pattern::Exact(_) => PathKind::Exact,
                Pattern::Under(_) => PathKind::Under,
                Pattern::Name(_) => PathKind::Name,
                Pattern::Extension(_) => PathKind::Extension,
                Pattern::Abstract(_) => PathKind::Abstract,
            },
            text: pattern.text().to_owned(),
            lists: [NO_LIST; ACCESSES],
            fallback: [NO_LIST; ACCESSES],
        };
        for access in Access::ALL {
            let (levels, fallback) = levels(&own, pattern, *access, lists);
            entry.lists[usize::from(access.wire())] = lists.intern(&levels)?;
            entry.fallback[usize::from(access.wire())] = lists.intern(&fallback)?;
        }
        entries.push(entry);
    }
    entries.sort();
    Ok(entries)
}

fn own(rules: &[(u32, Authored<'_>)]) -> Own {
    let mut own = Own::new();
    let mut add = |pattern: &Pattern, access: Access, number: u32| {
        if let Some(numbers) = own
            .entry(pattern.clone())
            .or_default()
            .get_mut(usize::from(access.wire()))
        {
            numbers.push(number);
        }
    };
    for (number, authored) in rules {
        match authored.rule {
            AnyRule::File(rule) => {
                for (pattern, _) in &rule.paths {
                    for access in &rule.access {
                        add(pattern, *access, *number);
                    }
                }
            }
            AnyRule::Exec(rule) => {
                for (pattern, _) in &rule.programs {
                    add(pattern, Access::Exec, *number);
                }
            }
            AnyRule::Egress(rule) => {
                for (destination, _) in &rule.to {
                    if let Destination::Unix(pattern) = destination {
                        add(pattern, Access::Connect, *number);
                    }
                }
            }
        }
    }
    own
}

/// The levels of a pattern's list, and those of its fallback.
fn levels(
    own: &Own,
    pattern: &Pattern,
    access: Access,
    lists: &Lists<'_>,
) -> (Vec<Vec<u32>>, Vec<Vec<u32>>) {
    let of = |pattern: &Pattern| -> &[u32] {
        own.get(pattern)
            .and_then(|by_access| by_access.get(usize::from(access.wire())))
            .map_or(&[], Vec::as_slice)
    };
    let part = |pattern: &Pattern, allowing: bool| -> Vec<u32> {
        let of = of(pattern).iter().copied();
        of.filter(|number| (lists.effect(*number) == Effect::Allow) == allowing)
            .collect()
    };
    match pattern {
        Pattern::Name(_) | Pattern::Extension(_) => {
            (vec![part(pattern, false)], vec![part(pattern, true)])
        }
        Pattern::Abstract(_) => (vec![of(pattern).to_vec()], Vec::new()),
        Pattern::Under(directory) => (
            directories(directory)
                .map(|directory| of(&directory).to_vec())
                .collect(),
            Vec::new(),
        ),
        Pattern::Exact(path) => {
            let name = path.rsplit('/').next().unwrap_or(path);
            let mut names = vec![Pattern::Name(name.to_owned())];
            if let Some((_, extension)) = name.rsplit_once('.') {
                names.push(Pattern::Extension(extension.to_owned()));
            }
            let mut levels = vec![of(pattern).to_vec()];
            levels.extend(names.iter().map(|name| part(name, false)));
            levels.extend(directories(path).map(|directory| of(&directory).to_vec()));
            levels.extend(names.iter().map(|name| part(name, true)));
            (levels, Vec::new())
        }
    }
}

/// A directory and those above it, up to the root.
pub(super) fn directories(path: &str) -> impl Iterator<Item = Pattern> {
    let mut next = Some(if path == "/" { "" } else { path });
    std::iter::from_fn(move || {
        let directory = next?;
        next = directory.rfind('/').and_then(|at| directory.get(..at));
        Some(Pattern::Under(directory.to_owned()))
    })
}
