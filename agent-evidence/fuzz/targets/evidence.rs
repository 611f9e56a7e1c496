//! Whatever the bytes, every reader of the record answers. And whatever somebody does to the bytes
//! of a folder who has no key and cannot change what is remembered outside it: what is called whole
//! is what was recorded.

#![no_main]

use agent_evidence::disk::Disk;
use agent_evidence::key::Key;
use agent_evidence::mark::{Mark, MarkFile};
use agent_evidence::read::{self, Entry};
use agent_evidence::record::{Draft, Loss, Record, What};
use agent_evidence::segment::Trust;
use agent_evidence::store::{Settings, Store};
use agent_evidence::survey::Survey;
use agent_evidence::verify::verify;
use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};

type Files = BTreeMap<String, Vec<u8>>;

/// A disk in memory.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Files>>);

impl Memory {
    fn of(files: Files) -> Self {
        Self(Arc::new(Mutex::new(files)))
    }

    fn files<T>(&self, act: impl FnOnce(&mut Files) -> T) -> T {
        act(&mut self.0.lock().expect("nobody panics here"))
    }
}

impl Disk for Memory {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.files(|files| files.keys().cloned().collect()))
    }
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let found = self.files(|files| files.get(name).cloned());
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
    fn size(&self, name: &str) -> io::Result<u64> {
        Ok(self.read(name)?.len() as u64)
    }
    fn create(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.files(|files| files.insert(name.to_owned(), bytes.to_owned()));
        Ok(())
    }
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.files(|files| files.entry(name.to_owned()).or_default().extend(bytes));
        Ok(())
    }
    fn sync(&mut self, _name: &str) -> io::Result<()> {
        Ok(())
    }
    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).expect("a small file");
        self.files(|files| files.entry(name.to_owned()).or_default().truncate(length));
        Ok(())
    }
    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.files(|files| files.remove(name));
        Ok(())
    }
}

/// What somebody does to a file.
#[derive(Debug, Arbitrary)]
enum Edit {
    Flip { at: u16, mask: u8 },
    Cut { at: u16 },
    Remove { at: u16, length: u8 },
    Insert { at: u16, bytes: [u8; 4] },
    Swap { one: u16, other: u16, length: u8 },
    Double { from: u16, length: u16 },
    Away,
    Over,
}

struct Known {
    key: Key,
    files: Files,
    entries: Vec<Entry>,
    head: Mark,
}

fn settings() -> Settings {
    Settings {
        segment: 2048,
        reserve: 0,
        ..Settings::of("node", "boot")
    }
}

/// A mark file that cannot be: what is remembered is handed in.
fn no_mark() -> MarkFile {
    MarkFile::at(Path::new("/dev/null/none"))
}

static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    let key = Key::draw().expect("a key");
    let memory = Memory::default();
    let mut store = Store::at(memory.clone(), key.clone(), no_mark(), settings());
    // What is remembered cannot be read, which is only told.
    store.open().expect("an empty folder opens");
    for events in 0..12 {
        let loss = Loss {
            place: "ring".into(),
            events,
            ..Loss::default()
        };
        store
            .commit(&[Draft::now(None, What::Loss(loss))])
            .expect("memory");
    }
    store.seal().expect("memory");
    Known {
        head: store.head(),
        entries: read::after(&memory, 0, usize::MAX).expect("memory"),
        files: memory.files(|files| files.clone()),
        key,
    }
});

fn apply(edit: &Edit, file: &mut Vec<u8>) {
    let place = |at: u16| usize::from(at) % (file.len() + 1);
    match *edit {
        Edit::Flip { at, mask } => {
            let at = place(at);
            if let Some(byte) = file.get_mut(at) {
                *byte ^= mask;
            }
        }
        Edit::Cut { at } => file.truncate(place(at)),
        Edit::Remove { at, length } => {
            let from = place(at);
            let to = (from + usize::from(length)).min(file.len());
            file.drain(from..to);
        }
        Edit::Insert { at, bytes } => {
            let at = place(at);
            file.splice(at..at, bytes);
        }
        Edit::Swap { one, other, length } => {
            let (one, other) = (place(one), place(other));
            for step in 0..usize::from(length) {
                if one + step < file.len() && other + step < file.len() {
                    file.swap(one + step, other + step);
                }
            }
        }
        Edit::Double { from, length } => {
            let from = place(from);
            let to = (from + usize::from(length)).min(file.len());
            file.extend_from_within(from..to);
        }
        Edit::Away | Edit::Over => {}
    }
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(record) = Record::decode(bytes) {
        let again = Record::decode(&record.encode()).expect("what was written can be read");
        assert_eq!(again, record);
    }
    let known = &*KNOWN;
    let mut input = Unstructured::new(bytes);
    let mut files = known.files.clone();
    let names: Vec<String> = files.keys().cloned().collect();
    let mut edits = 0;
    while edits < 6 && !input.is_empty() {
        let (Ok(which), Ok(edit)) = (usize::arbitrary(&mut input), Edit::arbitrary(&mut input))
        else {
            break;
        };
        edits += 1;
        let name = &names[which % names.len()];
        match edit {
            Edit::Away => {
                files.remove(name);
            }
            // A file of the input's own.
            Edit::Over => {
                files.insert(name.clone(), bytes.to_vec());
            }
            edit => {
                if let Some(file) = files.get_mut(name) {
                    apply(&edit, file);
                }
            }
        }
    }
    let trust = Trust {
        key: Some(known.key.public()),
        known: vec![known.head],
    };
    let memory = Memory::of(files);
    let report = verify(&memory, &trust).expect("memory");
    let entries = read::after(&memory, 0, usize::MAX).expect("memory");
    if report.whole {
        assert_eq!(entries, known.entries, "called whole, and is not");
    }
    // The next writer goes on, whatever it finds, and leaves nothing unexplained.
    let mut store = Store::at(memory.clone(), known.key.clone(), no_mark(), settings());
    store.open().expect("memory");
    let loss = What::Loss(Loss::default());
    store.commit(&[Draft::now(None, loss)]).expect("memory");
    store.seal().expect("memory");
    let trust = Trust {
        known: vec![store.head()],
        ..trust
    };
    let survey = Survey::of(&memory, &trust).expect("memory");
    assert!(survey.findings.is_empty(), "{:?}", survey.findings);
});
