//! The ways to execute a program that might be judged as another one, or as none.

use crate::sys::exec;
use crate::sys::process::End;
use crate::sys::{errno_name, outcome};
use anyhow::{Context, Result, bail};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;

/// Where copies are made that lose their name.
const COPY: &str = "/tmp/interlock-copy";

/// Executes a program in a way, with words behind its name, and says what became of it: `ran CODE`,
/// `killed SIGNAL`, or the name of the error.
pub(crate) fn execute(way: &str, path: &str, arguments: &[&str]) -> Result<String> {
    let words: Vec<&str> = [path].iter().chain(arguments).copied().collect();
    let ended = match way {
        "execve" => exec::in_child(|| exec::execve(path, &words)),
        // No words at all, not even the program's own name.
        "empty" => exec::in_child(|| exec::execve(path, &[])),
        "vfork" => exec::spawn(path, &words),
        "thread" => exec::in_child(|| from_thread(path, &words)),
        "at" => {
            let (folder, name) = path.rsplit_once('/').context("an absolute path")?;
            let folder = File::open(folder).context("opening the folder")?;
            exec::in_child(|| exec::execveat(folder.as_fd(), name, &words))
        }
        "handle" => {
            let file = handle(path)?;
            exec::in_child(|| exec::execveat(file.as_fd(), "", &words))
        }
        "self-root" => {
            let path = format!("/proc/self/root{path}");
            exec::in_child(|| exec::execve(&path, &words))
        }
        "self-fd" => {
            let file = handle(path)?;
            let link = format!("/proc/self/fd/{}", file.as_raw_fd());
            exec::in_child(|| exec::execve(&link, &words))
        }
        "memory" => {
            let mut file = exec::memory_file().context("memfd_create")?;
            file.write_all(&fs::read(path)?)?;
            exec::in_child(|| exec::execveat(file.as_fd(), "", &words))
        }
        "memory-fd" => {
            let mut file = exec::memory_file().context("memfd_create")?;
            file.write_all(&fs::read(path)?)?;
            let link = format!("/proc/self/fd/{}", file.as_raw_fd());
            exec::in_child(|| exec::execve(&link, &words))
        }
        "deleted" => {
            let file = deleted(path)?;
            exec::in_child(|| exec::execveat(file.as_fd(), "", &words))
        }
        "temporary" => {
            let file = temporary(path)?;
            exec::in_child(|| exec::execveat(file.as_fd(), "", &words))
        }
        _ => bail!("there is no way called {way}"),
    };
    Ok(match ended {
        Ok(End::Exited(code)) => format!("ran {code}"),
        Ok(End::Killed(signal)) => format!("killed {signal}"),
        Err(error) => error
            .raw_os_error()
            .map_or_else(|| error.to_string(), errno_name),
    })
}

/// What became of an execution, as an exit code: for a tool, whose output is not its own.
pub(crate) fn as_code(said: &str) -> u8 {
    match said {
        "ran 0" => 40,
        "EPERM" => 41,
        _ => 42,
    }
}

/// Executes from a thread that is not the first.
fn from_thread(path: &str, words: &[&str]) -> io::Error {
    std::thread::scope(|scope| {
        scope
            .spawn(|| exec::execve(path, words))
            .join()
            .unwrap_or_else(|_| io::Error::other("the thread panicked"))
    })
}

/// A file that can be named and executed, and nothing else.
fn handle(path: &str) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path)
        .with_context(|| format!("opening {path}"))
}

/// A copy that is opened and then removed.
fn deleted(path: &str) -> Result<File> {
    copy(path, COPY)?;
    let file = handle(COPY)?;
    fs::remove_file(COPY).context(COPY)?;
    Ok(file)
}

/// A copy that never had a name.
fn temporary(path: &str) -> Result<File> {
    let mut writer = OpenOptions::new()
        .read(true)
        .write(true)
        .mode(0o755)
        .custom_flags(libc::O_TMPFILE)
        .open("/tmp")
        .context("O_TMPFILE")?;
    writer.write_all(&fs::read(path)?)?;
    // What is open for writing cannot be executed.
    let link = format!("/proc/self/fd/{}", writer.as_raw_fd());
    let reader = File::open(&link).context("opening it again")?;
    drop(writer);
    Ok(reader)
}

/// Copies a program, to be executed.
pub(crate) fn copy(from: &str, to: &str) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("copying {from} to {to}"))?;
    Ok(())
}

/// Makes another name for a program and executes that.
pub(crate) fn alias(kind: &str, path: &str, name: &str) -> Result<String> {
    let _ = fs::remove_file(name);
    let made = match kind {
        "copy" => fs::copy(path, name).map(drop),
        "symlink" => std::os::unix::fs::symlink(path, name),
        "link" => fs::hard_link(path, name),
        "rename" => fs::rename(path, name),
        _ => bail!("there is no alias called {kind}"),
    };
    if made.is_err() {
        return Ok(format!("not made: {}", outcome(&made)));
    }
    execute("execve", name, &[])
}
