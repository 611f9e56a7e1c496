//! Watching the loads of BPF programs that another process makes, and asking the verifier for its
//! statistics on the way.
//!
//! A loader throws the verifier's log away when a load succeeds, and the kernel keeps no record of
//! the stack depth. So the loader is traced, and each `BPF_PROG_LOAD` gets `BPF_LOG_STATS` and a
//! buffer below the loader's stack pointer before the kernel sees it (the programs, the flags and
//! the result stay the loader's own).

use super::{check, check_long};
use std::collections::HashMap;
use std::io;
use std::mem;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

const BPF_PROG_LOAD: u64 = 5;
const BPF_LOG_STATS: u32 = 4;
/// Offsets into the part of `union bpf_attr` that `BPF_PROG_LOAD` uses.
const LOG_LEVEL: u64 = 24;
const NAME: u64 = 48;
const NAME_BYTES: usize = 16;
const LOG_BYTES: u32 = 32 * 1024;
/// Below the red zone and anything a signal handler may need.
const BELOW_STACK: u64 = 128 * 1024;

/// One program that was offered to the kernel.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Its name, at most 15 bytes.
    pub(crate) name: String,
    /// The error, if the kernel refused it.
    pub(crate) errno: Option<i32>,
    /// The verifier's log.
    pub(crate) log: String,
}

/// A process and its children, stopped at every system call.
pub(crate) struct Traced {
    child: Child,
    loading: HashMap<i32, (String, u64)>,
    in_call: HashMap<i32, bool>,
}

/// What came of looking once.
pub(crate) enum Seen {
    /// Nothing has happened.
    Nothing,
    /// Something that is of no interest.
    Other,
    /// A load has ended.
    Load(Load),
    /// The process has ended.
    End,
}

impl Traced {
    /// Starts a command under trace.
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        // SAFETY: the closure makes one system call.
        unsafe {
            command.pre_exec(|| check_long(libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0)).map(drop));
        }
        let child = command.spawn()?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        let mut status = 0;
        // SAFETY: the kernel writes one integer to a live one.
        check(unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) })?;
        let options = libc::PTRACE_O_TRACESYSGOOD
            | libc::PTRACE_O_TRACECLONE
            | libc::PTRACE_O_TRACEFORK
            | libc::PTRACE_O_TRACEVFORK
            | libc::PTRACE_O_EXITKILL;
        // SAFETY: takes numbers, and acts on a tracee of ours that is stopped.
        check_long(unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, pid, 0, options) })?;
        resume(pid, 0)?;
        Ok(Self {
            child,
            loading: HashMap::new(),
            in_call: HashMap::new(),
        })
    }

    /// Takes one stop of a tracee, if there is one, and lets it go on.
    pub(crate) fn look(&mut self) -> io::Result<Seen> {
        let mut status = 0;
        // SAFETY: the kernel writes one integer to a live one.
        let pid =
            check(unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::WNOHANG) })?;
        if pid == 0 {
            return Ok(Seen::Nothing);
        }
        if !libc::WIFSTOPPED(status) {
            let own = u32::try_from(pid).is_ok_and(|pid| pid == self.child.id());
            return Ok(if own { Seen::End } else { Seen::Other });
        }
        let signal = libc::WSTOPSIG(status);
        if signal == libc::SIGTRAP | 0x80 {
            let load = self.call(pid)?;
            resume(pid, 0)?;
            return Ok(load.map_or(Seen::Other, Seen::Load));
        }
        // The trace's own stops are no signals of the tracee's.
        let own = signal == libc::SIGTRAP || signal == libc::SIGSTOP;
        resume(pid, if own { 0 } else { signal })?;
        Ok(Seen::Other)
    }

    /// A system call begins or ends.
    fn call(&mut self, pid: i32) -> io::Result<Option<Load>> {
        let inside = self.in_call.entry(pid).or_insert(false);
        *inside = !*inside;
        let begins = *inside;
        let registers = registers(pid)?;
        if begins {
            let is_load = i64::try_from(registers.call) == Ok(libc::SYS_bpf)
                && registers.first == BPF_PROG_LOAD;
            if is_load {
                let attr = registers.second;
                let mut name = [0; NAME_BYTES];
                read(pid, attr + NAME, &mut name)?;
                let name = text(&name);
                // The loader's own probes have no name, or aya's. They are left alone: it takes a
                // probe's outcome for the kernel's ability.
                if name.is_empty() || name.starts_with("aya") {
                    return Ok(None);
                }
                let buffer = (registers.stack - BELOW_STACK) & !15;
                let mut wanted = [0; 16];
                wanted[..4].copy_from_slice(&BPF_LOG_STATS.to_ne_bytes());
                wanted[4..8].copy_from_slice(&LOG_BYTES.to_ne_bytes());
                wanted[8..].copy_from_slice(&buffer.to_ne_bytes());
                write(pid, attr + LOG_LEVEL, &wanted)?;
                self.loading.insert(pid, (name, buffer));
            }
            return Ok(None);
        }
        let Some((name, buffer)) = self.loading.remove(&pid) else {
            return Ok(None);
        };
        let result = registers.result.cast_signed();
        let mut log = vec![0; LOG_BYTES as usize];
        // A load that fails before the verifier leaves the buffer unmapped: there is no log.
        let log = match read(pid, buffer, &mut log) {
            Ok(()) => text(&log),
            Err(_) => String::new(),
        };
        Ok(Some(Load {
            name,
            errno: (result < 0).then(|| i32::try_from(-result).unwrap_or(i32::MAX)),
            log,
        }))
    }
}

fn resume(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: takes numbers, and acts on a tracee of ours that is stopped.
    match check_long(unsafe { libc::ptrace(libc::PTRACE_SYSCALL, pid, 0, signal) }) {
        // It was killed in the meantime; its end comes next.
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other.map(drop),
    }
}

/// The registers of a system call, as this processor calls them.
struct Registers {
    call: u64,
    first: u64,
    second: u64,
    result: u64,
    stack: u64,
}

#[cfg(target_arch = "x86_64")]
impl From<libc::user_regs_struct> for Registers {
    fn from(all: libc::user_regs_struct) -> Self {
        Self {
            call: all.orig_rax,
            first: all.rdi,
            second: all.rsi,
            result: all.rax,
            stack: all.rsp,
        }
    }
}

#[cfg(target_arch = "aarch64")]
impl From<libc::user_regs_struct> for Registers {
    fn from(all: libc::user_regs_struct) -> Self {
        Self {
            call: all.regs[8],
            first: all.regs[0],
            second: all.regs[1],
            result: all.regs[0],
            stack: all.sp,
        }
    }
}

fn registers(pid: i32) -> io::Result<Registers> {
    // SAFETY: registers are integers, for which zero is a value.
    let mut registers: libc::user_regs_struct = unsafe { mem::zeroed() };
    let mut room = libc::iovec {
        iov_base: (&raw mut registers).cast(),
        iov_len: size_of_val(&registers),
    };
    // SAFETY: the kernel fills the structure that it knows by this number; the tracee is stopped.
    check_long(unsafe {
        libc::ptrace(
            libc::PTRACE_GETREGSET,
            pid,
            libc::NT_PRSTATUS,
            &raw mut room,
        )
    })?;
    Ok(registers.into())
}

fn read(pid: i32, from: u64, to: &mut [u8]) -> io::Result<()> {
    let local = libc::iovec {
        iov_base: to.as_mut_ptr().cast(),
        iov_len: to.len(),
    };
    let remote = libc::iovec {
        iov_base: from as *mut libc::c_void,
        iov_len: to.len(),
    };
    // SAFETY: the kernel writes at most `to.len()` bytes to `to`.
    check_long(
        unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) }
            as libc::c_long,
    )
    .map(drop)
}

fn write(pid: i32, to: u64, from: &[u8]) -> io::Result<()> {
    let local = libc::iovec {
        iov_base: from.as_ptr().cast_mut().cast(),
        iov_len: from.len(),
    };
    let remote = libc::iovec {
        iov_base: to as *mut libc::c_void,
        iov_len: from.len(),
    };
    // SAFETY: the kernel only reads `from`.
    check_long(
        unsafe { libc::process_vm_writev(pid, &raw const local, 1, &raw const remote, 1, 0) }
            as libc::c_long,
    )
    .map(drop)
}

fn text(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

impl Drop for Traced {
    fn drop(&mut self) {
        // Fails only when it is gone already.
        let _ = self.child.kill();
        // Its threads are tracees, too: the process ends for its parent when the last has been
        // waited for.
        while let Ok(seen) = self.look() {
            match seen {
                Seen::End => break,
                Seen::Nothing => thread::sleep(Duration::from_millis(1)),
                Seen::Load(_) | Seen::Other => {}
            }
        }
    }
}
