//! What a process does between fork and exec to become a session's first.

#![expect(unsafe_code, reason = "code between fork and exec is unsafe to add")]

use super::RunError;
use crate::control::protocol::Started;
use crate::kernel::probation::Probation;
use agent_common::session::Enrolment;
use aya::programs::{RawTracePoint, RawTracePointRunOptions, TestRun};
use nix::errno::Errno;
use nix::unistd::{Gid, Uid, User};
use std::ffi::CString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// What it takes to enrol a process.
pub struct Enrol {
    /// The kernel program that does it.
    pub program: RawTracePoint,
    /// The session.
    pub started: Started,
    /// Where this process is the one that kernel programs on probation judge.
    pub probation: Option<Probation>,
}

/// The user that a command becomes.
#[derive(Debug, Clone)]
pub struct Become {
    user: User,
    groups: Vec<Gid>,
}

/// Finds a user by name or number, with all groups: after the fork it is too late to look.
pub fn find_user(name: &str) -> Result<Become, RunError> {
    let failed = |errno| RunError::User(name.to_owned(), errno);
    let user = match name.parse() {
        Ok(number) => User::from_uid(Uid::from_raw(number)),
        Err(_) => User::from_name(name),
    };
    let user = user
        .map_err(failed)?
        .ok_or_else(|| RunError::NoUser(name.to_owned()))?;
    let c_name = CString::new(user.name.as_str()).map_err(|_| RunError::NoUser(name.to_owned()))?;
    let groups = nix::unistd::getgrouplist(&c_name, user.gid).map_err(failed)?;
    Ok(Become { user, groups })
}

/// Makes a command enrol itself, become a user, and only then be executed.
pub fn before_exec(command: &mut Command, enrol: Enrol, user: Option<&Become>) {
    if let Some(Become { user, .. }) = user {
        command
            .env("USER", &user.name)
            .env("LOGNAME", &user.name)
            .env("HOME", &user.dir);
    }
    let user = user.cloned();
    // SAFETY: the closure runs in the child between fork and exec. It makes system calls and
    // touches memory of its own; it takes no lock and does not allocate.
    unsafe {
        command.pre_exec(move || {
            enrol_self(&enrol)?;
            if let Some(user) = &user {
                change_user(user)?;
            }
            Ok(())
        });
    }
}

fn enrol_self(enrol: &Enrol) -> io::Result<()> {
    if let Some(probation) = &enrol.probation {
        probation.enter()?;
    }
    let mut options = RawTracePointRunOptions::new();
    options.args[0] = enrol.started.session.0;
    options.args[1] = u64::from(enrol.started.slot);
    let answer = enrol
        .program
        .test_run(options)
        .map_err(|_| Errno::EPERM)?
        .return_value;
    match Enrolment::from_wire(answer) {
        Some(Enrolment::Done) => Ok(()),
        Some(Enrolment::NoSuchSession) => Err(Errno::ESRCH.into()),
        Some(Enrolment::AlreadyInOne) => Err(Errno::EALREADY.into()),
        Some(Enrolment::Revoked) => Err(Errno::EKEYREVOKED.into()),
        Some(Enrolment::NoRoom) | None => Err(Errno::ENOSPC.into()),
    }
}

/// What `enrol_self` meant by an error: only its number came through to the parent. `execve` fails
/// with none of these.
pub fn answer(error: &io::Error) -> Option<Enrolment> {
    match Errno::from_raw(error.raw_os_error()?) {
        Errno::ESRCH => Some(Enrolment::NoSuchSession),
        Errno::EALREADY => Some(Enrolment::AlreadyInOne),
        Errno::ENOSPC => Some(Enrolment::NoRoom),
        Errno::EKEYREVOKED => Some(Enrolment::Revoked),
        _ => None,
    }
}

fn change_user(user: &Become) -> io::Result<()> {
    nix::unistd::setgroups(&user.groups)?;
    nix::unistd::setgid(user.user.gid)?;
    nix::unistd::setuid(user.user.uid)?;
    Ok(())
}
