//! What is the enforcer's own on this host: no session reaches it, whatever its policy says.
//!
//! It becomes entries among each policy's path rules, so it costs the kernel programs nothing more than
//! those do.

use super::mounts::{FsPath, Mounts};
use agent_common::path::{Access, KEEP_OUT, PathRules};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What a session may still do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Nothing.
    Nothing,
    /// What changes nothing, if its policy says so.
    Looking,
}

/// Files and folders, by the paths of this host.
#[derive(Debug, Clone, Default)]
pub struct Guarded(Vec<(PathBuf, Left)>);

/// One of them, where it lies now.
#[derive(Debug, Clone)]
pub struct Held {
    /// Its path on this host.
    pub path: Vec<u8>,
    /// Its path inside its file system.
    pub at: FsPath,
    left: Left,
}

impl Guarded {
    /// What no session touches at all: a folder with all that is in it, or a file.
    #[must_use]
    pub fn closed(mut self, path: &Path) -> Self {
        self.0.push((path.to_owned(), Left::Nothing));
        self
    }

    /// What no session changes.
    #[must_use]
    pub fn unchanged(mut self, path: &Path) -> Self {
        self.0.push((path.to_owned(), Left::Looking));
        self
    }

    /// Where each of them lies.
    pub fn placed(&self, mounts: &Mounts) -> Vec<Held> {
        let held = |(path, left): &(PathBuf, Left)| {
            let path = resolved(path)?.as_os_str().as_bytes().to_vec();
            Some(Held {
                at: mounts.resolve(&path)?,
                path,
                left: *left,
            })
        };
        self.0.iter().filter_map(held).collect()
    }
}

/// A path without symbolic links, of what may not be there yet.
fn resolved(path: &Path) -> Option<PathBuf> {
    if let Ok(path) = path.canonicalize() {
        return Some(path);
    }
    let name: &OsStr = path.file_name()?;
    Some(resolved(path.parent()?)?.join(name))
}

impl Held {
    /// Takes from the rules of a path what they would allow here, if it lies here.
    pub fn keep_out(&self, at: &FsPath, rules: &mut PathRules) {
        let rest = at.path.strip_prefix(self.at.path.as_slice());
        let is_here = at.device == self.at.device
            && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"));
        if !is_here {
            return;
        }
        for access in Access::ALL {
            let looks = matches!(
                access,
                Access::Read | Access::Map | Access::Exec | Access::Connect
            );
            if self.left == Left::Nothing || !looks {
                let list = rules.lists.get_mut(usize::from(access.wire()));
                list.into_iter().for_each(|list| *list = KEEP_OUT);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(path: &str, left: Left) -> Held {
        Held {
            path: path.into(),
            at: at(path),
            left,
        }
    }

    fn at(path: &str) -> FsPath {
        FsPath {
            device: 1,
            path: path.into(),
        }
    }

    #[test]
    fn what_lies_inside_is_kept_whatever_the_rules_say() {
        let allow_all = PathRules {
            lists: [7; 16],
            ..PathRules::NONE
        };
        let lists = |held: &Held, path: FsPath| {
            let mut rules = allow_all;
            held.keep_out(&path, &mut rules);
            [Access::Read, Access::Write, Access::Connect]
                .map(|access| rules.lists[usize::from(access.wire())])
        };
        let closed = held("/run/interlock", Left::Nothing);
        assert_eq!(lists(&closed, at("/run/interlock")), [KEEP_OUT; 3]);
        assert_eq!(lists(&closed, at("/run/interlock/a/b")), [KEEP_OUT; 3]);
        assert_eq!(lists(&closed, at("/run/interlock2")), [7; 3]);
        let elsewhere = FsPath {
            device: 2,
            ..at("/run/interlock")
        };
        assert_eq!(lists(&closed, elsewhere), [7; 3]);
        let unchanged = held("/etc/policies", Left::Looking);
        assert_eq!(lists(&unchanged, at("/etc/policies/a")), [7, KEEP_OUT, 7]);
    }
}
