//! Puts the kernel programs into the kernel, or finds them there.

use super::build::Build;
use super::hooks::{self, HookError, Hooks};
use super::load;
use super::maps::Maps;
use super::object::{DIGEST, ENROL, Kind, MOVE, PROGRAMS, Program, REVOKE};
use super::offsets::OffsetError;
use super::pins::{self, Pins};
use super::swap::Swap;
use crate::chain::chain;
use aya::Btf;
use aya::programs::{ProgramError, RawTracePoint};
use std::fs;
use std::path::PathBuf;
use tracing::debug;

/// The LSMs that this kernel asks.
const LSM_LIST: &str = "/sys/kernel/security/lsm";

/// The kernel programs, in force.
pub struct Enforcement {
    /// The maps they share with us.
    pub maps: Maps,
    /// Whether BPF LSM denies, or the cgroup programs alone.
    pub mode: Mode,
    /// The build that is in force.
    pub build: Build,
    /// How that came.
    pub how: How,
}

/// How the programs came to be in force.
#[derive(Debug)]
pub enum How {
    /// There were none.
    Loaded,
    /// They were there already, and are this binary's own.
    Adopted,
    /// They are on probation beside another build's.
    Swapping(Swap),
    /// They are another build's, because this binary's own are no good here, and why.
    Kept(String),
}

/// How this kernel lets us enforce.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", tag = "mode", content = "reason")]
pub enum Mode {
    /// By BPF LSM and cgroup programs.
    Full,
    /// By cgroup programs alone, and why.
    Degraded(String),
}

/// Why the programs are not in force.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// bpffs is not there.
    #[error(
        "{0} is not a bpf file system: mount it with `mount -t bpf bpf {0}`",
        pins::BPFFS
    )]
    NoBpffs,
    /// The pins could not be made or named.
    #[error("cannot pin under {}", pins::BPFFS)]
    Pins(#[source] std::io::Error),
    /// Another version is in force.
    #[error("{} is in force, of another version of Interlock: `interlock uninstall` removes it", .0.display())]
    OtherVersion(PathBuf),
    /// The kernel's BTF could not be read.
    #[error("cannot read the kernel's own type information")]
    Btf(#[source] aya::BtfError),
    /// A field is missing.
    #[error("cannot find a field in the kernel's structures")]
    Offsets(#[from] OffsetError),
    /// The object could not be loaded.
    #[error("cannot load the kernel programs")]
    Object(#[source] Box<aya::EbpfError>),
    /// The object file cannot be read: a fault of the build.
    #[error("cannot read the object file")]
    Parse(#[from] aya_obj::ParseError),
    /// A table that is there has another shape than the programs expect.
    #[error(
        "table `{name}` is there with keys of {} bytes, values of {} and room for {}; these programs expect {}, {} and {}",
        found.0, found.1, found.2, expected.0, expected.1, expected.2
    )]
    OtherShape {
        /// The map.
        name: String,
        /// What is there.
        found: (u32, u32, u32),
        /// What the object file says.
        expected: (u32, u32, u32),
    },
    /// The object lacks a program: a fault of the build.
    #[error("the object file has no program `{0}`")]
    NoProgram(&'static str),
    /// A program was refused.
    #[error("the kernel refuses program `{name}`")]
    Refused {
        /// The program.
        name: &'static str,
        /// What the kernel said.
        #[source]
        source: Box<ProgramError>,
    },
    /// The new programs cannot judge one process alone.
    #[error("cannot put programs on probation")]
    Probation(#[source] nix::errno::Errno),
    /// A program is not at its hook.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// A program or map cannot be pinned.
    #[error("`{0}` cannot be pinned")]
    Pin(
        &'static str,
        #[source] Box<dyn std::error::Error + Send + Sync>,
    ),
    /// A pinned map does not open.
    #[error("cannot open a map")]
    Map(#[from] super::maps::MapsError),
}

/// Finds the programs in force, or puts them there. Those of another build make way for this binary's.
pub fn ensure() -> Result<Enforcement, LoadError> {
    if !pins::is_bpffs() {
        return Err(LoadError::NoBpffs);
    }
    let pins = Pins::in_force();
    let own = Build::own();
    if pins.exist() {
        return take_over(pins, own);
    }
    let fresh = Pins::in_preparation();
    for other in pins::all().map_err(LoadError::Pins)? {
        if !fresh.maps().starts_with(&other) {
            return Err(LoadError::OtherVersion(other));
        }
    }
    let mode = match lsm_refusal() {
        None => match begin(&fresh, &own, true) {
            Ok(()) => Mode::Full,
            // Some kernels list bpf and refuse its programs all the same.
            Err(LoadError::Refused { name, source }) => {
                begin(&fresh, &own, false)?;
                debug!(name, %source, "refused");
                let why = brief(&source);
                Mode::Degraded(format!("the kernel refuses LSM program `{name}`: {why}"))
            }
            Err(error) => return Err(error),
        },
        Some(reason) => {
            begin(&fresh, &own, false)?;
            Mode::Degraded(reason)
        }
    };
    fresh.rename_to(&pins).map_err(LoadError::Pins)?;
    Ok(Enforcement {
        maps: Maps::open(&pins)?,
        mode,
        build: own,
        how: How::Loaded,
    })
}

/// Takes over what is in force.
fn take_over(pins: Pins, own: Build) -> Result<Enforcement, LoadError> {
    let lsm = pins.is_linked("socket_connect");
    let mode = if lsm {
        Mode::Full
    } else {
        Mode::Degraded("BPF LSM was not available when the programs were loaded".into())
    };
    let builds = Build::all_of(&pins).map_err(LoadError::Pins)?;
    let (build, how) = match builds.into_iter().find(|build| *build != own) {
        None => {
            let types = Btf::from_sys_fs().map_err(LoadError::Btf)?;
            Hooks::of(&pins, &types)?.put_back(&own)?;
            (own, How::Adopted)
        }
        Some(before) => match Swap::begin(pins, own.clone(), before.clone(), lsm) {
            Ok(swap) => (own, How::Swapping(swap)),
            Err(error) => (before, How::Kept(chain(error))),
        },
    };
    Ok(Enforcement {
        maps: Maps::open(&Pins::in_force())?,
        mode,
        build,
        how,
    })
}

/// Puts everything there where nothing is yet.
fn begin(pins: &Pins, own: &Build, lsm: bool) -> Result<(), LoadError> {
    pins.create().map_err(LoadError::Pins)?;
    let types = Btf::from_sys_fs().map_err(LoadError::Btf)?;
    load::whole(pins, own, &types, lsm)?;
    Ok(Hooks::of(pins, &types)?.put_all(own)?)
}

/// The program that enrols a process, for the process itself to run.
pub fn enrol_program() -> Result<RawTracePoint, ProgramError> {
    RawTracePoint::from_pin(Pins::in_force().program(ENROL))
}

/// Programs that should be attached in this mode and are not.
pub fn missing(mode: &Mode) -> Vec<String> {
    let pins = Pins::in_force();
    let lsm = *mode == Mode::Full;
    PROGRAMS
        .iter()
        .filter(|program| program.is_used(lsm) && program.kind != Kind::Run)
        .filter(|program| !hooks::is_at_work(&pins, program))
        .map(|program| program.name.to_owned())
        .collect()
}

/// The names of programs that were put at their hooks and are there no more.
pub fn taken_away() -> std::io::Result<Vec<&'static str>> {
    let gone = hooks::taken_away(&Pins::in_force())?;
    Ok(gone.into_iter().map(|program| program.name).collect())
}

/// The program that ends a session's permission.
pub fn revoke_program() -> Result<RawTracePoint, ProgramError> {
    RawTracePoint::from_pin(Pins::in_force().program(REVOKE))
}

/// The program that moves a session to another policy.
pub fn move_program() -> Result<RawTracePoint, ProgramError> {
    RawTracePoint::from_pin(Pins::in_force().program(MOVE))
}

/// Why this kernel will not ask BPF LSM programs; nothing when it will.
fn lsm_refusal() -> Option<String> {
    match fs::read_to_string(LSM_LIST) {
        Ok(list) if list.trim().split(',').any(|name| name == "bpf") => None,
        Ok(list) => Some(format!(
            "the kernel's LSM list is `{0}`: add bpf to it by the kernel parameter lsm={0},bpf",
            list.trim()
        )),
        Err(error) => Some(format!(
            "cannot read {LSM_LIST} ({error}): mount securityfs"
        )),
    }
}

/// What the kernel said, without the verifier's log.
fn brief(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, .. } => io_error.to_string(),
        other => other.to_string(),
    }
}

/// Whether files are judged here, and yet nobody can tell what they contain.
pub fn lacks_digests() -> bool {
    let pins = Pins::in_force();
    pins.is_linked("bprm_check_security") && !pins.is_linked(DIGEST)
}

/// The programs that would be in force if this kernel had their hooks.
pub fn hooks_missing(pins: &Pins, mode: &Mode) -> Vec<&'static Program> {
    let is_absent = |program: &&Program| !pins.is_linked(program.name);
    let optional = |program: &&Program| program.condition().is_some();
    if *mode != Mode::Full {
        return Vec::new();
    }
    PROGRAMS.iter().filter(optional).filter(is_absent).collect()
}
