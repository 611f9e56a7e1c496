//! The file of a program that somebody is asked about: its digest, and whether it is still the same when the
//! answer comes.
//!
//! The file lies where the session can put it, so whoever reads it can be made to wait. The daemon does not:
//! threads read, few at a time, and what takes too long is not known.

use nix::fcntl::{self, OFlag, OpenHow, ResolveFlag};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
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
    pid: u32,
    path: String,
    /// SHA-256 in hexadecimal digits.
    pub digest: String,
}

/// Who reads.
#[derive(Debug, Clone, Default)]
pub struct Readers(Arc<AtomicU32>);

impl Readers {
    /// Reads the file that a process sees at a path, and says what was found. Nothing where that cannot be.
    pub fn read(&self, pid: u32, path: &str, then: impl FnOnce(Program) + Send + 'static) {
        let path = path.to_owned();
        self.spawn(move || {
            if let Ok(digest) = digest(pid, &path) {
                then(Program { pid, path, digest });
            }
        });
    }

    /// Whether the file still is what it was.
    pub async fn is_same(&self, program: Program) -> bool {
        let (tell, told) = tokio::sync::oneshot::channel();
        self.spawn(move || {
            let found = digest(program.pid, &program.path);
            let same = found.is_ok_and(|found| found == program.digest);
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

/// A file that a process sees, to be read. What lies there may be a pipe or a device by now, which opening would wait
/// for or set to work, and a link may lead anywhere: so it is found as the process finds it, looked at, and then opened.
fn open(pid: u32, path: &str) -> io::Result<File> {
    let root = fcntl::open(
        format!("/proc/{pid}/root").as_str(),
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    let as_seen_there = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let found = File::from(fcntl::openat2(root, path, as_seen_there)?);
    let kind = found.metadata()?;
    if !kind.is_file() || kind.size() > MOST {
        return Err(io::Error::other("no file that is read"));
    }
    File::open(format!("/proc/self/fd/{}", found.as_raw_fd()))
}

fn digest(pid: u32, path: &str) -> io::Result<String> {
    let mut file = open(pid, path)?;
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
        let pid = std::process::id();
        let text = path.to_str().expect("text").to_owned();
        let before = digest(pid, &text).expect("read");
        let (tell, told) = std::sync::mpsc::channel();
        let readers = Readers::default();
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

    #[test]
    fn a_pipe_is_not_waited_for() {
        let path = std::env::temp_dir().join(format!("interlock-pipe-{}", std::process::id()));
        nix::unistd::mkfifo(&path, Mode::S_IRUSR).expect("a pipe");
        let found = digest(std::process::id(), path.to_str().expect("text"));
        std::fs::remove_file(&path).expect("removed");
        let error = found.expect_err("a pipe has no digest");
        assert_eq!(error.to_string(), "no file that is read");
    }
}
