//! Folders of policies, without a kernel.

use super::{Change, Library, Look};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A folder that is gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("library-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn library(&self) -> Library {
        Library::of(vec![self.0.clone()])
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn policy(agent: &str, spec: &str) -> String {
    format!(
        "apiVersion: interlock.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {{name: {agent}}}\n\
         spec:\n  owner: {{name: A, contact: a@example.com}}\n{spec}"
    )
}

fn port(agent: &str, port: u16) -> String {
    let rule = format!("  egress: {{allow: [{{to: [192.0.2.1], ports: [{port}]}}]}}\n");
    policy(agent, &rule)
}

/// What a look has changed, each in a word or two.
fn refresh(library: &mut Library) -> Vec<String> {
    let look = Look::into(library.roots(), |_| Ok(()));
    let changes = library.take(look);
    let word = |change: &Change| match change {
        Change::Loaded(loaded) => format!("{} {}", loaded.start.agent, loaded.generation),
        Change::Gone(loaded) => format!("{} gone", loaded.start.agent),
        Change::Rejected(path, _) => format!("{} rejected", name(path)),
    };
    changes.iter().map(word).collect()
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn error(library: &Library, file: &str) -> String {
    let mut rejected = library.rejected();
    let (_, rejected) = rejected.find(|(path, _)| name(path) == file).unwrap();
    rejected.error.clone()
}

#[test]
fn a_folder_is_loaded_without_cases_profiles_and_hidden_files() {
    let folder = Folder::new("load");
    folder.put("a.yaml", &policy("a", "  extends: [net]\n"));
    folder.put("b.yml", &port("b", 443));
    folder.put("a.cases.yaml", "kind: Cases");
    folder.put(".hidden.yaml", "nonsense");
    folder.put("README.md", "nonsense");
    let profile = "apiVersion: interlock.dev/v1alpha1\nkind: AgentProfile\nmetadata: {name: net}\n\
                   spec:\n  egress: {allow: [{to: [192.0.2.7], ports: [443]}]}\n";
    folder.put("profiles/net.yaml", profile);
    let mut library = folder.library();
    assert_eq!(refresh(&mut library), ["a 1", "b 1"]);
    assert_eq!(refresh(&mut library), [""; 0]);
    assert_eq!(library.get("a").unwrap().start.profiles.len(), 1);
    assert!(library.get("c").is_none());
    // A profile that changes is another version of those who extend it.
    folder.put("profiles/net.yaml", &profile.replace("443", "80"));
    assert_eq!(refresh(&mut library), ["a 2"]);
}

#[test]
fn a_bad_version_is_rejected_and_the_old_one_stays() {
    let folder = Folder::new("bad");
    let file = folder.put("a.yaml", &port("a", 443));
    let mut library = folder.library();
    assert_eq!(refresh(&mut library), ["a 1"]);
    let digest = library.get("a").unwrap().compiled.digest;
    for bad in [port("a", 443).replace("443", "https"), String::new()] {
        folder.put("a.yaml", &bad);
        assert_eq!(refresh(&mut library), ["a.yaml rejected"]);
        assert_eq!(refresh(&mut library), [""; 0]);
        assert_eq!(library.get("a").unwrap().compiled.digest, digest);
    }
    folder.put("a.yaml", &port("a", 443).replace("443", "https"));
    refresh(&mut library);
    let place = format!("{}:6:", file.display());
    assert!(error(&library, "a.yaml").starts_with(&place));
    folder.put("a.yaml", &port("a", 80));
    assert_eq!(refresh(&mut library), ["a 2"]);
    assert_eq!(library.rejected().count(), 0);
}

#[test]
fn what_the_host_cannot_enforce_is_rejected() {
    let folder = Folder::new("refused");
    folder.put("a.yaml", &port("a", 443));
    let mut library = folder.library();
    let look = Look::into(library.roots(), |_| Err("not here".into()));
    library.take(look);
    assert_eq!(error(&library, "a.yaml"), "not here");
    assert!(library.why_not("a").contains("not here"));
}

#[test]
fn a_file_is_taken_as_a_whole_or_not_at_all() {
    let folder = Folder::new("whole");
    let both = |last: &str| format!("{}---\n{}", port("a", 443), last);
    folder.put("both.yaml", &both(&port("b", 443)));
    let mut library = folder.library();
    assert_eq!(refresh(&mut library), ["a 1", "b 1"]);
    let bad = both(&policy("b", "  nonsense: 1\n")).replace("443", "80");
    folder.put("both.yaml", &bad);
    assert_eq!(refresh(&mut library), ["both.yaml rejected"]);
    assert_eq!(library.get("a").unwrap().generation, 1);
}

#[test]
fn comments_change_no_generation() {
    let folder = Folder::new("comments");
    folder.put("a.yaml", &port("a", 443));
    let mut library = folder.library();
    refresh(&mut library);
    folder.put("a.yaml", &format!("# why\n{}", port("a", 443)));
    assert_eq!(refresh(&mut library), ["a 1"]);
}

#[test]
fn a_second_file_of_an_agent_is_rejected_until_the_first_is_gone() {
    let folder = Folder::new("clash");
    let file = folder.put("b.yaml", &port("a", 443));
    let mut library = folder.library();
    assert_eq!(refresh(&mut library), ["a 1"]);
    folder.put("a.yaml", &port("a", 80));
    assert_eq!(refresh(&mut library), ["a.yaml rejected"]);
    assert!(error(&library, "a.yaml").contains("`a`"));
    fs::remove_file(file).unwrap();
    assert_eq!(refresh(&mut library), ["a 2"]);
    fs::remove_file(folder.0.join("a.yaml")).unwrap();
    assert_eq!(refresh(&mut library), ["a gone"]);
    assert!(library.get("a").is_none());
}

#[test]
fn a_folder_that_is_away_takes_no_policy_with_it() {
    let folder = Folder::new("away");
    folder.put("a.yaml", &port("a", 443));
    let mut library = folder.library();
    refresh(&mut library);
    let aside = folder.0.with_extension("aside");
    fs::rename(&folder.0, &aside).unwrap();
    assert_eq!(refresh(&mut library).len(), 1, "said aloud");
    assert_eq!(refresh(&mut library), [""; 0]);
    assert!(library.get("a").is_some());
    fs::rename(&aside, &folder.0).unwrap();
    assert_eq!(refresh(&mut library), [""; 0]);
    assert!(library.get("a").is_some());
}

/// As Kubernetes does it: `a.yaml` is a link to `..data/a.yaml`, and `..data` a link to a folder that
/// is put in its place by a rename.
#[test]
fn a_config_map_is_followed() {
    let folder = Folder::new("config-map");
    let version = |name: &str, port_: u16| {
        folder.put(&format!("{name}/a.yaml"), &port("a", port_));
        let fresh = folder.0.join("..data_tmp");
        symlink(name, &fresh).unwrap();
        fs::rename(fresh, folder.0.join("..data")).unwrap();
    };
    version("..2026_01", 443);
    symlink("..data/a.yaml", folder.0.join("a.yaml")).unwrap();
    let mut library = folder.library();
    assert_eq!(refresh(&mut library), ["a 1"]);
    version("..2026_02", 80);
    assert_eq!(refresh(&mut library), ["a 2"]);
    assert_eq!(library.iter().count(), 1);
}
