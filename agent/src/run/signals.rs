//! Waiting for a command without standing in its way.

#![expect(unsafe_code, reason = "code between fork and exec is unsafe to add")]

use super::Ended;
use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// Signals that mean the command rather than us.
const FORWARDED: [Signal; 8] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGWINCH,
];

/// Signals are taken one by one from here on.
pub struct Waiting {
    signals: SignalFd,
    before: SigSet,
}

impl Waiting {
    /// Holds signals back, so that none that comes before the command runs is lost.
    pub fn begin() -> Result<Self, Errno> {
        let mut held: SigSet = FORWARDED.into_iter().collect();
        held.add(Signal::SIGCHLD);
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&held), Some(&mut before))?;
        Ok(Self {
            signals: SignalFd::with_flags(&held, SfdFlags::SFD_CLOEXEC)?,
            before,
        })
    }

    /// Gives a command the signals as they were before.
    pub fn restore_in(&self, command: &mut Command) {
        let before = self.before;
        // SAFETY: the closure makes one system call.
        unsafe {
            command
                .pre_exec(move || Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?));
        }
    }

    /// Passes signals on until the command has ended.
    pub fn until_end(self, child: &Child) -> Result<Ended, Errno> {
        let pid = Pid::from_raw(i32::try_from(child.id()).map_err(|_| Errno::ERANGE)?);
        loop {
            match self.signals.read_signal() {
                Ok(Some(signal)) => forward(&signal, pid),
                Ok(None) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
            match waitpid(pid, Some(WaitPidFlag::WNOHANG))? {
                WaitStatus::Exited(_, code) => return Ok(Ended::Code(code)),
                WaitStatus::Signaled(_, signal, _) => return Ok(Ended::Signal(signal as i32)),
                _ => {}
            }
        }
    }
}

/// Passes one signal on. What the terminal sends reaches the command by itself, because it is in
/// the same process group.
fn forward(signal: &siginfo, to: Pid) {
    if signal.ssi_code == nix::libc::SI_KERNEL {
        return;
    }
    let Ok(number) = i32::try_from(signal.ssi_signo) else {
        return;
    };
    match Signal::try_from(number) {
        Ok(Signal::SIGCHLD) | Err(_) => {}
        // It may be gone already; then its end is what comes next.
        Ok(signal) => drop(kill(to, signal)),
    }
}

/// Ends this process by the signal that ended the command, so that whoever waits for us sees what
/// we saw. Comes back only for a signal that does not end a process.
pub fn end_by(signal: i32) {
    use nix::sys::resource::{Resource, setrlimit};
    use nix::sys::signal::{SigHandler, raise, signal as handle};
    let Ok(signal) = Signal::try_from(signal) else {
        return;
    };
    // The command has dumped its core if it should; ours would say nothing.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    if signal != Signal::SIGKILL && signal != Signal::SIGSTOP {
        // SAFETY: the default action is no handler of ours.
        let _ = unsafe { handle(signal, SigHandler::SigDfl) };
    }
    let _ = SigSet::from(signal).thread_unblock();
    let _ = raise(signal);
}
