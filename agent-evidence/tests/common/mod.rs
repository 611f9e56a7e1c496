//! A node's folder, for tests.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop here"
)]

use agent_evidence::disk::Folder;
use agent_evidence::key::Key;
use agent_evidence::mark::{Mark, MarkFile};
use agent_evidence::record::{Decision, Draft, Object, Process, Session, What};
use agent_evidence::segment::{self, Trust};
use agent_evidence::store::{Settings, Store};
use agent_evidence::verify::{Report, verify};
use std::fs;
use std::path::{Path, PathBuf};

/// A denial with a number to tell it from others.
pub(crate) fn denial(number: u32) -> Draft {
    let session = Session {
        id: "0000000000000001".into(),
        agent: Some("agent".into()),
        ..Session::default()
    };
    let decision = Decision {
        verdict: "deny".into(),
        reason: "no rule".into(),
        action: "connect".into(),
        object: Object::Endpoint {
            address: "192.0.2.1".into(),
            port: 443,
            protocol: "tcp".into(),
            host: None,
        },
        process: Process {
            pid: number,
            comm: "curl".into(),
            ..Process::default()
        },
        tid: number,
        ..Decision::default()
    };
    Draft::now(Some(session), What::Decision(Box::new(decision)))
}

/// A folder that goes with the test.
pub(crate) struct Node {
    home: PathBuf,
    kept: bool,
}

impl Node {
    /// An empty one.
    pub(crate) fn new(test: &str) -> Self {
        let name = format!("evidence-{test}-{}", std::process::id());
        // In memory where there is room for it: the tests sync thousands of times.
        let memory = Path::new("/dev/shm");
        let home = match memory.is_dir() {
            true => memory.join(name),
            false => std::env::temp_dir().join(name),
        };
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(home.join("evidence")).unwrap();
        Self { home, kept: false }
    }

    /// Somebody else's, who takes it away.
    pub(crate) fn at(home: &Path) -> Self {
        Self {
            home: home.to_owned(),
            kept: true,
        }
    }

    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.home.join("evidence")
    }

    pub(crate) fn mark(&self) -> PathBuf {
        self.home.join("mark")
    }

    pub(crate) fn segment(&self, first: u64) -> PathBuf {
        self.folder().join(segment::name(first))
    }

    pub(crate) fn key(&self) -> Key {
        Key::take(&self.home.join("evidence.key")).unwrap()
    }

    pub(crate) fn disk(&self) -> Folder {
        Folder::at(&self.folder())
    }

    pub(crate) fn settings() -> Settings {
        Settings {
            reserve: 4096,
            ..Settings::of("node", "boot")
        }
    }

    /// Its writer.
    pub(crate) fn open(&self) -> Store<Folder> {
        self.open_with(Self::settings())
    }

    pub(crate) fn open_with(&self, settings: Settings) -> Store<Folder> {
        let mark = MarkFile::at(&self.mark());
        let mut store = Store::at(self.disk(), self.key(), mark, settings);
        store.open().unwrap();
        store
    }

    /// What is remembered outside its folder.
    pub(crate) fn head(&self) -> Mark {
        MarkFile::at(&self.mark()).read().unwrap().unwrap()
    }

    pub(crate) fn mark_of(&self, bytes: &[u8]) -> Mark {
        let path = self.home.join("other-mark");
        fs::write(&path, bytes).unwrap();
        MarkFile::at(&path).read().unwrap().unwrap()
    }

    pub(crate) fn verify(&self) -> Report {
        let known = MarkFile::at(&self.mark()).read().unwrap();
        self.verify_against(known.into_iter().collect())
    }

    pub(crate) fn verify_against(&self, known: Vec<Mark>) -> Report {
        let trust = Trust {
            key: Some(self.key().public()),
            known,
        };
        verify(&self.disk(), &trust).unwrap()
    }

    /// Files that were put aside.
    pub(crate) fn quarantined(&self) -> Vec<(String, Vec<u8>)> {
        let files = fs::read_dir(self.folder()).unwrap().flatten();
        files
            .filter_map(|file| {
                let name = file.file_name().into_string().unwrap();
                let bytes = fs::read(file.path()).unwrap();
                name.starts_with("quarantine-").then_some((name, bytes))
            })
            .collect()
    }

    /// Takes all files of the record away.
    pub(crate) fn clear(&self) {
        fs::remove_dir_all(self.folder()).unwrap();
        fs::create_dir_all(self.folder()).unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_dir_all(&self.home);
        }
    }
}
