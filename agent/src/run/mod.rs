//! `interlock run`: starts a command as the root of a session, and is as transparent as a parent
//! can be: exit code and signals pass through.

mod denied;
pub mod enrol;
pub mod signals;

use crate::control::client::{self, AskError};
use crate::control::protocol::{Request, Response, Start, StartAs};
use crate::ids::SessionId;
use crate::kernel::loader;
use crate::kernel::pins::BPFFS;
use crate::policy::{self, PolicyError};
use crate::policy_cli;
use crate::sessions::denials::VARIABLE;
use agent_common::session::Enrolment;
use enrol::Enrol;
use nix::errno::Errno;
use std::ffi::OsString;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What to run, and as what.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The daemon's socket.
    pub socket: PathBuf,
    /// The policy file; none for the policy that the daemon has loaded.
    pub policy: Option<PathBuf>,
    /// Where profiles lie that it extends; beside it if none is named.
    pub profiles: Vec<PathBuf>,
    /// The agent.
    pub agent: String,
    /// The user to run as; ours if none is named.
    pub user: Option<String>,
    /// The task that it is for.
    pub task: Option<String>,
    /// The file of the grant.
    pub grant: Option<PathBuf>,
    /// The command and its arguments.
    pub command: Vec<OsString>,
}

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With an exit code.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

/// Why the command did not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The policy file or a profile cannot be used.
    #[error(transparent)]
    Files(#[from] policy_cli::Fault),
    /// The policy cannot be put in force.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The grant cannot be read.
    #[error("--grant {}", path.display())]
    Grant {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The user does not exist.
    #[error("--user {0}: found no such user, expected a name or a number of this host")]
    NoUser(String),
    /// The user database cannot be read.
    #[error("--user {0}")]
    User(String, #[source] Errno),
    /// The daemon cannot be asked.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The daemon refuses.
    #[error("the daemon refuses: {0}")]
    Refused(String),
    /// The enrolling program cannot be reached.
    #[error(
        "cannot reach the program that enrols a process; is {BPFFS} hidden here? `ip netns exec` does that, `nsenter \
         --net=/run/netns/NAME` does not"
    )]
    Enrol(#[source] aya::programs::ProgramError),
    /// The command's process could not be put into the session.
    #[error("cannot put the command into session {session}: {answer}")]
    NotEnrolled {
        /// The session.
        session: SessionId,
        /// What the kernel program said.
        answer: Enrolment,
    },
    /// The command does not start.
    #[error("cannot start `{}` in session {}", command.display(), session)]
    Spawn {
        /// The command.
        command: OsString,
        /// Its session.
        session: SessionId,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The agent may not execute the command.
    #[error("agent `{agent}` may not execute {}: {why}", program.display())]
    NotAllowed {
        /// The agent.
        agent: String,
        /// The program.
        program: PathBuf,
        /// Why, and what to do.
        why: String,
    },
    /// The command cannot be waited for.
    #[error("cannot wait for the command")]
    Wait(#[source] Errno),
}

impl RunError {
    /// The exit code of this failure, as shells and `env` have it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Files(_) | Self::Policy(_) | Self::NoUser(_) | Self::Grant { .. } => 2,
            Self::NotAllowed { .. } => 126,
            Self::Spawn { source, .. } => match source.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ENOENT) => 127,
                Some(Errno::EACCES | Errno::ENOEXEC | Errno::ENOTDIR) => 126,
                _ => 125,
            },
            _ => 125,
        }
    }
}

/// Runs a command as a session and waits for it.
pub fn run(settings: &Settings) -> Result<Ended, RunError> {
    let own = settings
        .policy
        .as_ref()
        .map(|file| read_policy(file, settings))
        .transpose()?;
    let request = Request::StartAs(StartAs {
        agent: settings.agent.clone(),
        start: own.clone(),
        task: settings.task.clone(),
        grant: settings.grant.as_deref().map(read_grant).transpose()?,
    });
    let user = settings.user.as_deref().map(enrol::find_user).transpose()?;
    let (started, start) = match (client::ask(&settings.socket, &request)?, own) {
        (Response::Started(started), Some(start)) => (started, start),
        (Response::StartedLoaded(answer), _) => (answer.started, answer.start),
        (Response::Error(error), _) => return Err(RunError::Refused(error)),
        (other, _) => return Err(RunError::Refused(format!("answered {other:?}"))),
    };
    let program = loader::enrol_program().map_err(RunError::Enrol)?;
    let waiting = signals::Waiting::begin().map_err(RunError::Wait)?;
    let mut command = command(&settings.command);
    waiting.restore_in(&mut command);
    command.env(VARIABLE, &started.denials);
    let session = started.session;
    let enrol = Enrol {
        program,
        started,
        probation: None,
    };
    enrol::before_exec(&mut command, enrol, user.as_ref());
    let child = command
        .spawn()
        .map_err(|source| match enrol::answer(&source) {
            Some(answer) => RunError::NotEnrolled { session, answer },
            None => {
                denied::explained(&source, settings, &start).unwrap_or_else(|| RunError::Spawn {
                    command: settings.command.first().cloned().unwrap_or_default(),
                    session,
                    source,
                })
            }
        })?;
    waiting.until_end(&child).map_err(RunError::Wait)
}

/// Reads a grant's text, and no more than a grant can be long.
fn read_grant(path: &Path) -> Result<String, RunError> {
    let failed = |source| RunError::Grant {
        path: path.to_owned(),
        source,
    };
    let most = agent_proto::grant::MAX_TEXT as u64 + 1;
    let mut text = String::new();
    if path == Path::new("-") {
        io::stdin()
            .take(most)
            .read_to_string(&mut text)
            .map_err(failed)?;
    } else {
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(most).read_to_string(&mut text).map_err(failed)?;
    }
    Ok(text)
}

fn command(words: &[OsString]) -> Command {
    let (program, arguments) = words
        .split_first()
        .expect("clap asks for at least one word");
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// Reads the policy and checks it here, where the person who wrote it can see what is wrong. The
/// daemon compiles it again.
fn read_policy(file: &Path, settings: &Settings) -> Result<Start, RunError> {
    let start = policy_cli::start(file, &settings.profiles, &settings.agent)?;
    policy::compile(&start)?;
    Ok(start)
}
