//! This host, as a kill needs it.

use crate::control::protocol::Left;
use crate::events::process::readable;
use crate::sessions::census::Census;
use crate::sessions::kill::Host;
use agent_common::event::{Living, Process};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io;
use std::os::fd::OwnedFd;

/// This host.
pub(super) struct Here<'a>(pub(super) &'a Census);

impl Host for Here<'_> {
    type Hold = OwnedFd;

    fn census(&mut self) -> io::Result<Vec<Living>> {
        self.0.take()
    }

    fn hold(&mut self, pid: u32) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(hold) => Ok(Some(hold)),
            // A pid whose process has just gone is no process's: EINVAL.
            Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => Ok(None),
            // Those that are held are killed and let go before the next is asked for.
            Err(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    fn kill(&mut self, hold: &OwnedFd) -> io::Result<()> {
        match pidfd_send_signal(hold, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// What is known of a process that was killed and still is there.
pub(super) fn left(process: &Process) -> Left {
    let why = i32::try_from(process.pid)
        .ok()
        .and_then(|pid| procfs::process::Process::new(pid).ok())
        .and_then(|found| Some((found.stat().ok()?.state, found.wchan().unwrap_or_default())))
        .map_or_else(
            || "it is gone by now".to_owned(),
            |(state, wchan)| match state {
                'D' => format!("it waits in the kernel, which cannot be interrupted ({wchan})"),
                'T' | 't' => "it is stopped".to_owned(),
                'Z' => "it has ended; its parent has yet to look".to_owned(),
                state => format!("it is about to end (state {state})"),
            },
        );
    Left {
        pid: process.pid,
        comm: readable(process.comm()),
        why,
    }
}
