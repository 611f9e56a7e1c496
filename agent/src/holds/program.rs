//! The file of a program that somebody is asked about: its digest, and whether it is still the same when the
//! answer comes.
//!
//! The file lies where the session can put it, so whoever reads it can be made to wait. The daemon does not:
//! threads read, few at a time, and what takes too long is not known.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The longest file that is read.
const MOST: u64 = 256 << 20;

/// Threads that may read at once.
const READERS: u32 = 4;

/// How long an answer waits for a reader.
const PATIENCE: Duration = Duration::from_secs(5);

/// A program's file, as it was when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    path: PathBuf,
    /// SHA-256 in hexadecimal digits.
    pub digest: String,
}

/// Who reads.
#[derive(Debug, Clone, Default)]
pub struct Readers(Arc<AtomicU32>);

impl Readers {
    /// Reads the file that a process sees at a path, and says what was found. Nothing where that cannot be.
    pub fn read(&self, pid: u32, path: &str, then: impl FnOnce(Program) + Send + 'static) {
        let path = PathBuf::from(format!("/proc/{pid}/root{path}"));
        self.spawn(move || {
            if let Ok(digest) = digest(&path) {
                then(Program { path, digest });
            }
        });
    }

    /// Whether the file still is what it was.
    pub async fn is_same(&self, program: Program) -> bool {
        let (tell, told) = tokio::sync::oneshot::channel();
        self.spawn(move || {
            let same = digest(&program.path).is_ok_and(|found| found == program.digest);
            // Who asked may have lost patience.
            let _ = tell.send(same);
        });
        matches!(tokio::time::timeout(PATIENCE, told).await, Ok(Ok(true)))
    }

    fn spawn(&self, work: impl FnOnce() + Send + 'static) {
        let count = Arc::clone(&self.0);
        if count.fetch_add(1, Ordering::Relaxed) >= READERS {
            count.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let work = move || {
            work();
            count.fetch_sub(1, Ordering::Relaxed);
        };
        let spawned = std::thread::Builder::new()
            .name("program".into())
            .spawn(work);
        if let Err(error) = spawned {
            self.0.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!(%error, "a program's file is not read");
        }
    }
}

fn digest(path: &PathBuf) -> io::Result<String> {
    let mut file = File::open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.size() > MOST {
        return Err(io::Error::other("no file that is read"));
    }
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let mut room = vec![0; 64 * 1024];
    loop {
        match file.read(&mut room)? {
            0 => break,
            read => context.update(&room[..read]),
        }
    }
    Ok(hex::encode(context.finish().as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_changed_is_another() {
        let path = std::env::temp_dir().join(format!("interlock-program-{}", std::process::id()));
        std::fs::write(&path, "one").expect("written");
        let before = digest(&path).expect("read");
        let pid = std::process::id();
        let (tell, told) = std::sync::mpsc::channel();
        let readers = Readers::default();
        let text = path.to_str().expect("text").to_owned();
        readers.read(pid, &text, move |program| tell.send(program).expect("told"));
        let program = told.recv().expect("a digest");
        assert_eq!(program.digest, before);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        assert!(runtime.block_on(readers.is_same(program.clone())));
        std::fs::write(&path, "two").expect("written");
        assert!(!runtime.block_on(readers.is_same(program.clone())));
        std::fs::remove_file(&path).expect("removed");
        assert!(!runtime.block_on(readers.is_same(program)));
    }
}
