//! Every way to get code that is no program's and no library's.

use crate::sys::memory::{self, Page, READ, RUN, WRITE};
use crate::sys::{exec, file, process};
use anyhow::{Context, Result, bail};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

/// Gets code in a way, and runs it where it could be written. What cannot be set up is `Err`.
pub(crate) fn make(way: &str) -> Result<io::Result<()>> {
    const OWN: libc::c_int = libc::MAP_PRIVATE;
    let library = || File::open("/proc/self/exe").context("/proc/self/exe");
    Ok(match way {
        // Memory.
        "anonymous" => Page::new(None, READ | RUN, OWN).map(drop),
        "writable" => Page::new(None, READ | WRITE | RUN, OWN).and_then(|page| run(&page)),
        "shared" => {
            Page::new(None, READ | WRITE | RUN, libc::MAP_SHARED).and_then(|page| run(&page))
        }
        "shared-becomes" => becomes(&Page::new(None, READ | WRITE, libc::MAP_SHARED)?),
        "becomes" => becomes(&Page::new(None, READ | WRITE, OWN)?),
        "becomes-all" => {
            let page = Page::new(None, READ | WRITE, OWN)?;
            page.protect(READ | WRITE | RUN).and_then(|()| run(&page))
        }
        "by-key" => {
            let page = Page::new(None, READ | WRITE, OWN)?;
            page.fill();
            page.protect_by_key(READ | RUN).and_then(|()| page.run())
        }
        "heap" => becomes(&Page::of_heap()?),
        "segment" => Page::of_segment(libc::SHM_EXEC).and_then(|page| run(&page)),
        "segment-becomes" => becomes(&Page::of_segment(0)?),
        "zeros" => {
            let zeros = OpenOptions::new()
                .read(true)
                .write(true)
                .open("/dev/zero")?;
            becomes(&Page::new(Some(zeros.as_fd()), READ | WRITE, OWN)?)
        }
        "memory-file" => {
            let memory = memory_file()?;
            Page::new(Some(memory.as_fd()), READ | RUN, OWN).and_then(|page| page.run())
        }
        "memory-file-twice" => {
            let memory = memory_file()?;
            let _write = Page::new(Some(memory.as_fd()), READ | WRITE, libc::MAP_SHARED)?;
            Page::new(Some(memory.as_fd()), READ | RUN, libc::MAP_SHARED)
                .and_then(|page| page.run())
        }
        // What a file holds, changed.
        "file-writable" => {
            Page::new(Some(library()?.as_fd()), READ | WRITE | RUN, OWN).and_then(|page| run(&page))
        }
        "file-written" => becomes(&Page::new(Some(library()?.as_fd()), READ | WRITE, OWN)?),
        "file-reopened" => {
            let page = Page::new(Some(library()?.as_fd()), READ | RUN, OWN)?;
            page.protect(READ | WRITE | RUN).and_then(|()| run(&page))
        }
        "file-rewritten" => {
            let page = Page::new(Some(library()?.as_fd()), READ | RUN, OWN)?;
            page.protect(READ | WRITE)?;
            becomes(&page)
        }
        // What can be read can be run.
        "personality" => in_child(|| {
            memory::read_implies_run()?;
            Page::new(None, READ | WRITE, OWN).and_then(|page| run(&page))
        })?,
        "personality-heap" => in_child(|| {
            memory::read_implies_run()?;
            Page::of_heap().and_then(|page| run(&page))
        })?,
        // A file's page, written to as a debugger does.
        "own-memory" => {
            let page = Page::new(Some(library()?.as_fd()), READ | RUN, OWN)?;
            let memory = OpenOptions::new().write(true).open("/proc/self/mem")?;
            memory
                .write_all_at(&memory::code(), page.address())
                .and_then(|()| page.run())
        }
        // What a program needs to run at all.
        "file" => Page::new(Some(library()?.as_fd()), READ | RUN, OWN).map(drop),
        "file-becomes" => Page::new(Some(library()?.as_fd()), READ, OWN)?.protect(READ | RUN),
        "file-again" => {
            let page = Page::new(Some(library()?.as_fd()), READ | RUN, OWN)?;
            page.protect(READ)?;
            page.protect(READ | RUN)
        }
        _ => bail!("there is no way to code called {way}"),
    })
}

fn run(page: &Page) -> io::Result<()> {
    page.fill();
    page.run()
}

fn becomes(page: &Page) -> io::Result<()> {
    page.fill();
    page.protect(READ | RUN)?;
    page.run()
}

fn memory_file() -> io::Result<File> {
    let mut memory = File::from(file::memfd()?);
    memory.write_all(&memory::code())?;
    Ok(memory)
}

/// In a child, for what cannot be undone or may end by a signal.
fn in_child(work: impl FnOnce() -> io::Result<()>) -> Result<io::Result<()>> {
    let ended = exec::in_child(|| match work() {
        Ok(()) => process::exit_now(0),
        Err(error) => error,
    });
    Ok(match ended {
        Ok(process::End::Exited(0)) => Ok(()),
        Ok(end) => Err(io::Error::other(format!("{end:?}"))),
        Err(error) => Err(error),
    })
}
