//! Policies and profiles of the API as files, one a resource, as the library reads them. Each is replaced whole,
//! so that nobody reads half a policy.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The first line of each file: which generation of the resource it is.
const HEAD: &str = "# generation ";

/// A folder of them.
#[derive(Debug, Clone)]
pub(super) struct Files(PathBuf);

impl Files {
    /// Those in a folder, which is made where it is not there.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self(folder.to_owned()))
    }

    /// Keeps these, and no others that end like them.
    pub(super) fn keep(&self, suffix: &str, kept: &BTreeMap<String, String>) -> io::Result<()> {
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str().and_then(|name| name.strip_suffix(suffix)) else {
                continue;
            };
            if !kept.contains_key(name) {
                fs::remove_file(entry.path())?;
            }
        }
        for (name, text) in kept {
            self.put(&format!("{name}{suffix}"), text)?;
        }
        Ok(())
    }

    fn put(&self, name: &str, text: &str) -> io::Result<()> {
        let path = self.0.join(name);
        if fs::read_to_string(&path).is_ok_and(|before| before == text) {
            return Ok(());
        }
        // Hidden, so that the library passes over it.
        let part = self.0.join(format!(".{name}.part"));
        fs::write(&part, text)?;
        fs::File::open(&part)?.sync_all()?;
        fs::rename(part, path)
    }
}

/// A file's text: its generation, and the resource as the parser reads it.
pub(super) fn text(generation: i64, resource: &serde_json::Value) -> String {
    format!("{HEAD}{generation}\n{resource:#}\n")
}

/// The generation of the resource that a text is of.
pub(super) fn generation(text: &str) -> Option<i64> {
    text.lines().next()?.strip_prefix(HEAD)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::{Library, Look};

    fn resource(name: &str, generation: i64, rule: &str) -> (String, String) {
        let spec = serde_json::json!({
            "owner": {"name": "Ada", "contact": "ada@example.com"},
            "egress": {"allow": [{"to": [rule], "ports": [443]}]}
        });
        let resource = serde_json::json!({
            "apiVersion": agent_policy::API_VERSION, "kind": "AgentPolicy",
            "metadata": {"name": name}, "spec": spec
        });
        (name.to_owned(), text(generation, &resource))
    }

    #[test]
    fn the_library_follows_what_is_kept() {
        let folder = std::env::temp_dir().join(format!("interlock-crd-{}", std::process::id()));
        let files = Files::open(&folder).unwrap();
        let mut library = Library::of(vec![folder.clone()]);
        let mut loaded = |kept: Vec<(String, String)>| {
            files.keep(".yaml", &kept.into_iter().collect()).unwrap();
            library.take(Look::into(library.roots(), |_| Ok(())));
            let generation = |loaded: &std::rc::Rc<crate::library::Loaded>| {
                (loaded.start.agent.clone(), generation(&loaded.start.policy))
            };
            library.iter().map(generation).collect::<Vec<_>>()
        };
        let one = |name: &str, generation| (name.to_owned(), Some(generation));
        let both = vec![resource("a", 1, "192.0.2.1"), resource("b", 7, "192.0.2.1")];
        assert_eq!(loaded(both), [one("a", 1), one("b", 7)]);
        let wrong = vec![resource("a", 2, "nowhere at all"), resource("b", 8, "::1")];
        assert_eq!(loaded(wrong), [one("a", 1), one("b", 8)]);
        assert_eq!(loaded(vec![resource("b", 8, "::1")]), [one("b", 8)]);
        fs::remove_dir_all(folder).unwrap();
    }
}
