//! The ways to make a process that might lose its label. Each child probes an address; the tally
//! says what became of all probes.

use super::way::probe;
use crate::sys::process::{self, End, Fork};
use anyhow::{Context, Result, bail};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::process::parent_id;
use std::sync::OnceLock;

/// What became of a number of probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Probes that were let through.
    pub(crate) allowed: u32,
    /// Probes that got EPERM.
    pub(crate) denied: u32,
    /// Anything else.
    pub(crate) other: u32,
}

const ALLOWED: i32 = 40;
const DENIED: i32 = 41;
const OTHER: i32 = 42;

static TARGET: OnceLock<SocketAddr> = OnceLock::new();

fn target() -> SocketAddr {
    *TARGET.get().expect("set before the first child is made")
}

/// Probes the target and says how it went, as an exit code.
fn probe_code() -> i32 {
    match probe(target()) {
        Ok(()) => ALLOWED,
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => DENIED,
        Err(_) => OTHER,
    }
}

impl Tally {
    fn add(&mut self, code: i32) {
        match code {
            ALLOWED => self.allowed += 1,
            DENIED => self.denied += 1,
            _ => self.other += 1,
        }
    }

    pub(crate) fn add_end(&mut self, end: End) {
        self.add(match end {
            End::Exited(code) => code,
            End::Killed(_) => OTHER,
        });
    }

    /// The line that [`Tally::from_line`] reads back.
    pub(crate) fn line(self) -> String {
        format!(
            "tally allowed={} denied={} other={}",
            self.allowed, self.denied, self.other
        )
    }

    /// Reads a tally from the output of an actor.
    pub(crate) fn from_output(output: &str) -> Option<Self> {
        let line = output.lines().find(|line| line.starts_with("tally "))?;
        let number = |name: &str| {
            line.split_whitespace()
                .find_map(|word| word.strip_prefix(name)?.parse().ok())
        };
        Some(Self {
            allowed: number("allowed=")?,
            denied: number("denied=")?,
            other: number("other=")?,
        })
    }
}

/// Makes children in one way and tallies their probes.
pub(crate) fn spread(kind: &str, to: SocketAddr, count: u32) -> Result<Tally> {
    TARGET.set(to).ok();
    match kind {
        "fork" => forks(count),
        "thread" => threads(count),
        "vfork" => each(count, || process::vfork(probe_code)),
        "spawn" => spawns(to, count),
        "exec" => execs(to, count),
        "clone3" => each(count, || child(process::clone3(0, None)?)),
        "clone-parent" => siblings(),
        "setsid" => each(count, || {
            branch(|| {
                process::setsid()?;
                Ok(probe_code())
            })
        }),
        "double-fork" => orphan(),
        "cgroup-move" => each(count, || branch(in_new_cgroup)),
        "cgroup-into" => each(count, || {
            let folder = new_cgroup()?;
            let cgroup = fs::File::open(&folder)?;
            child(process::clone3(0, Some(cgroup.as_fd()))?)
        }),
        "namespace-pid" => each(count, || branch(|| nested(libc::CLONE_NEWPID))),
        "namespace-mount" => each(count, || branch(|| nested(libc::CLONE_NEWNS))),
        "namespace-user" => each(count, || branch(|| nested(libc::CLONE_NEWUSER))),
        "namespace-cgroup" => each(count, || branch(|| nested(libc::CLONE_NEWCGROUP))),
        "namespace-all" => each(count, || {
            branch(|| {
                nested(
                    libc::CLONE_NEWUSER
                        | libc::CLONE_NEWPID
                        | libc::CLONE_NEWNS
                        | libc::CLONE_NEWCGROUP
                        | libc::CLONE_NEWIPC
                        | libc::CLONE_NEWUTS,
                )
            })
        }),
        "clone-namespaces" => each(count, || child(process::clone3(CLONE_PID_AND_MOUNT, None)?)),
        _ => bail!("no way of spreading is called {kind}"),
    }
}

const CLONE_PID_AND_MOUNT: u64 = (libc::CLONE_NEWPID | libc::CLONE_NEWNS) as u64;

/// Children one after the other, each waited for.
fn each(count: u32, mut make: impl FnMut() -> io::Result<i32>) -> Result<Tally> {
    let mut tally = Tally::default();
    for number in 0..count {
        let pid = make().with_context(|| format!("making child {number}"))?;
        tally.add_end(process::wait(pid)?);
    }
    Ok(tally)
}

/// The child's side of a fork probes and ends; the parent's side learns the pid.
fn child(fork: Fork) -> io::Result<i32> {
    match fork {
        Fork::Child => process::exit_now(probe_code()),
        Fork::Parent(pid) => Ok(pid),
    }
}

/// A child that does something of its own and ends with the code that comes of it.
fn branch(work: impl FnOnce() -> io::Result<i32>) -> io::Result<i32> {
    match process::fork()? {
        Fork::Child => {
            let code = work().unwrap_or_else(|error| {
                eprintln!("in the child: {error}");
                OTHER
            });
            process::exit_now(code)
        }
        Fork::Parent(pid) => Ok(pid),
    }
}

/// Children in batches, so that many run at once while the parent keeps forking.
fn forks(count: u32) -> Result<Tally> {
    const AT_ONCE: u32 = 100;
    let mut tally = Tally::default();
    let mut left = count;
    while left > 0 {
        let batch = left.min(AT_ONCE);
        for _ in 0..batch {
            child(process::fork()?)?;
        }
        for _ in 0..batch {
            tally.add_end(process::wait_any()?.1);
        }
        left -= batch;
    }
    Ok(tally)
}

fn threads(count: u32) -> Result<Tally> {
    const AT_ONCE: u32 = 50;
    let mut tally = Tally::default();
    let mut left = count;
    while left > 0 {
        let batch = left.min(AT_ONCE);
        let threads: Vec<_> = (0..batch).map(|_| std::thread::spawn(probe_code)).collect();
        for thread in threads {
            tally.add(thread.join().unwrap_or(OTHER));
        }
        left -= batch;
    }
    Ok(tally)
}

/// `posix_spawn`, which the standard library uses when nothing forbids it.
fn spawns(to: SocketAddr, count: u32) -> Result<Tally> {
    let mut tally = Tally::default();
    for _ in 0..count {
        let status = std::process::Command::new("/proc/self/exe")
            .args(["act", "probe-code", &to.to_string()])
            .status()
            .context("spawning")?;
        tally.add(status.code().unwrap_or(OTHER));
    }
    Ok(tally)
}

/// A chain of programs, each replacing the one before, the last of which probes.
fn execs(to: SocketAddr, count: u32) -> Result<Tally> {
    let pid = branch(|| {
        let to = to.to_string();
        Err(process::exec(
            "/proc/self/exe",
            &["act", "exec-chain", &to, &count.to_string()],
        ))
    })?;
    let mut tally = Tally::default();
    tally.add_end(process::wait(pid)?);
    Ok(tally)
}

/// One link of the chain that [`execs`] begins.
pub(crate) fn exec_chain(to: SocketAddr, left: u32) -> Result<i32> {
    if left == 0 {
        return Ok(probe_as_code(to));
    }
    let (to, left) = (to.to_string(), (left - 1).to_string());
    Err(process::exec("/proc/self/exe", &["act", "exec-chain", &to, &left]).into())
}

/// A probe whose outcome is an exit code that a [`Tally`] understands.
pub(crate) fn probe_as_code(to: SocketAddr) -> i32 {
    TARGET.set(to).ok();
    probe_code()
}

/// `CLONE_PARENT`: the middle process makes a child that becomes this one's.
fn siblings() -> Result<Tally> {
    let middle = branch(|| {
        child(process::clone3(process::CLONE_PARENT, None)?)?;
        Ok(0)
    })?;
    let mut tally = Tally::default();
    for _ in 0..2 {
        let (pid, end) = process::wait_any()?;
        if pid == middle {
            if end != End::Exited(0) {
                bail!("the middle process ended with {end:?}");
            }
        } else {
            tally.add_end(end);
        }
    }
    Ok(tally)
}

/// A daemon in the old style: fork, setsid, fork; the grandchild waits until it has been handed
/// to another parent before it probes.
fn orphan() -> Result<Tally> {
    let (mut read, mut write) = io::pipe()?;
    let middle = branch(|| {
        process::setsid()?;
        let own = std::process::id();
        branch(|| {
            while parent_id() == own {
                std::thread::yield_now();
            }
            let code = probe_code();
            io::Write::write_all(&mut write, &[u8::try_from(code).unwrap_or(0)])?;
            Ok(0)
        })?;
        Ok(0)
    })?;
    process::wait(middle)?;
    drop(write);
    let mut code = [0];
    io::Read::read_exact(&mut read, &mut code).context("hearing from the grandchild")?;
    let mut tally = Tally::default();
    tally.add(i32::from(code[0]));
    Ok(tally)
}

fn new_cgroup() -> io::Result<String> {
    let folder = format!("/sys/fs/cgroup/interlock-tests-{}", std::process::id());
    match fs::create_dir(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(folder),
    }
}

/// Moves into a new cgroup and forks there, so that one was moved and one was born in it.
fn in_new_cgroup() -> io::Result<i32> {
    let folder = new_cgroup()?;
    fs::write(format!("{folder}/cgroup.procs"), "0")?;
    let moved = probe_code();
    let born = match process::wait(child(process::fork()?)?)? {
        End::Exited(code) => code,
        End::Killed(_) => OTHER,
    };
    Ok(if moved == born { moved } else { OTHER })
}

/// Leaves a namespace and forks, since only a child is born into a new pid namespace.
fn nested(flags: libc::c_int) -> io::Result<i32> {
    process::unshare(flags)?;
    let left = probe_code();
    let born = match process::wait(child(process::fork()?)?)? {
        End::Exited(code) => code,
        End::Killed(_) => OTHER,
    };
    Ok(if left == born { left } else { OTHER })
}

/// Makes a child that is born in a cgroup, and says how its probe ended.
pub(crate) fn born_into(cgroup: &str, to: SocketAddr) -> Result<String> {
    let folder = fs::File::open(cgroup).context("opening the cgroup")?;
    let pid = match process::clone3(0, Some(folder.as_fd()))? {
        Fork::Child => process::exit_now(probe_as_code(to)),
        Fork::Parent(pid) => pid,
    };
    let mut tally = Tally::default();
    tally.add_end(process::wait(pid)?);
    Ok(match (tally.allowed, tally.denied) {
        (1, 0) => "ok".to_owned(),
        (0, 1) => "EPERM".to_owned(),
        _ => format!("{tally:?}"),
    })
}
