//! Puts the kernel programs into the kernel, or finds them there.

use super::maps::Maps;
use super::object::{DIGEST, ENROL, Kind, MOVE, OBJECT, PROGRAMS, Program, REVOKE, Way};
use super::offsets::{self, OffsetError};
use super::pins::{self, Pins};
use super::symbols;
use aya::programs::links::{FdLink, LinkError};
use aya::programs::{
    BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSock, CgroupSockAddr,
    Iter, Lsm, ProgramError, RawTracePoint,
};
use aya::{Btf, Ebpf, EbpfLoader, VerifierLogLevel};
use aya_obj::btf::BtfKind;
use std::fs::File;
use std::path::PathBuf;
use tracing::{debug, info};

/// The root of the cgroup hierarchy, where the cgroup programs see every process.
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// The LSMs that this kernel asks.
const LSM_LIST: &str = "/sys/kernel/security/lsm";

/// The map that 5.10 cannot create.
const MARKS: &str = "MARKS";

/// The kernel programs, in force.
pub struct Enforcement {
    /// The maps they share with us.
    pub maps: Maps,
    /// Whether BPF LSM denies, or the cgroup programs alone.
    pub mode: Mode,
    /// Whether they were already in force when this process came.
    pub adopted: bool,
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
    /// A link cannot be pinned.
    #[error("the link of program `{name}` cannot be pinned")]
    Link {
        /// The program.
        name: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The root cgroup could not be opened.
    #[error("cannot open {CGROUP_ROOT}, where cgroup v2 belongs")]
    Cgroup(#[source] std::io::Error),
    /// A pinned map does not open.
    #[error("cannot open a map")]
    Map(#[from] super::maps::MapsError),
}

/// Finds the programs in force, or puts them there.
pub fn ensure() -> Result<Enforcement, LoadError> {
    if !pins::is_bpffs() {
        return Err(LoadError::NoBpffs);
    }
    let pins = Pins::in_force();
    if pins.exist() {
        let mode = if pins.is_linked("socket_connect") {
            Mode::Full
        } else {
            Mode::Degraded("BPF LSM was not available when the programs were loaded".into())
        };
        return Ok(Enforcement {
            maps: Maps::open(&pins)?,
            mode,
            adopted: true,
        });
    }
    let fresh = Pins::in_preparation();
    for other in pins::all().map_err(LoadError::Pins)? {
        if !fresh.maps().starts_with(&other) {
            return Err(LoadError::OtherVersion(other));
        }
    }
    let mode = match lsm_refusal() {
        None => match load(&fresh, true) {
            Ok(()) => Mode::Full,
            // Some kernels list bpf and refuse its programs all the same.
            Err(LoadError::Refused { name, source }) => {
                load(&fresh, false)?;
                debug!(name, %source, "refused");
                let why = brief(&source);
                Mode::Degraded(format!("the kernel refuses LSM program `{name}`: {why}"))
            }
            Err(error) => return Err(error),
        },
        Some(reason) => {
            load(&fresh, false)?;
            Mode::Degraded(reason)
        }
    };
    fresh.rename_to(&pins).map_err(LoadError::Pins)?;
    Ok(Enforcement {
        maps: Maps::open(&pins)?,
        mode,
        adopted: false,
    })
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
        .filter(|program| !pins.is_linked(program.name))
        .map(|program| program.name.to_owned())
        .collect()
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
    match std::fs::read_to_string(LSM_LIST) {
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

fn load(pins: &Pins, lsm: bool) -> Result<(), LoadError> {
    pins.create().map_err(LoadError::Pins)?;
    let btf = Btf::from_sys_fs().map_err(LoadError::Btf)?;
    let mut object = open(pins, &btf)?;
    let cgroup = File::open(CGROUP_ROOT).map_err(LoadError::Cgroup)?;
    for program in PROGRAMS.iter().filter(|program| program.is_used(lsm)) {
        if let Some((function, since)) = program.condition()
            && btf.id_by_type_name_kind(&function, BtfKind::Func).is_err()
        {
            debug!(
                program.name,
                function, since, "this kernel does not have it"
            );
            continue;
        }
        let link = attach(&mut object, program, &btf, &cgroup, pins)?;
        if let Some(link) = link {
            link.pin(pins.link(program.name))
                .map_err(|source| LoadError::Link {
                    name: program.name,
                    source: Box::new(source),
                })?;
        }
    }
    Ok(())
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

/// Parses the object, creates the maps and writes the offsets.
pub fn open(pins: &Pins, btf: &Btf) -> Result<Ebpf, LoadError> {
    let fields = offsets::of_running_kernel()?;
    let has_task_storage = fields
        .iter()
        .any(|(name, offset)| *name == "TASK_BPF_STORAGE" && *offset != 0);
    let marks = pins.map(MARKS);
    if !has_task_storage && !marks.exists() {
        // The kernel cannot create this map, and no program that runs here uses it: the verifier
        // drops those branches. An array stands in its place.
        let placeholder: aya::maps::Array<_, u64> =
            aya::maps::Array::create(1, 0).map_err(super::maps::MapsError::from)?;
        placeholder.pin(&marks).map_err(|source| LoadError::Link {
            name: MARKS,
            source: Box::new(source),
        })?;
    }
    let mut loader = EbpfLoader::new();
    loader
        .btf(Some(btf))
        // A signal interrupts the verifier, and aya loads once more, with a log. With every
        // instruction in it the log of these programs is too long for any room.
        .verifier_log_level(VerifierLogLevel::STATS)
        .allow_unsupported_maps()
        .default_map_pin_directory(pins.maps());
    for (name, offset) in &fields {
        loader.override_global(name, offset, true);
    }
    let renames = renames();
    loader.override_global("RENAME_LOCK", &renames, true);
    let asks_early = u32::from(asks_early());
    loader.override_global("ASKS_EARLY", &asks_early, true);
    loader
        .load(OBJECT)
        .map_err(|source| LoadError::Object(Box::new(source)))
}

/// Where the kernel counts changes of names, or 0. Without it every walk goes up to the root.
fn renames() -> u64 {
    match symbols::address("rename_lock") {
        Ok(Some(address)) => return address,
        Ok(None) => info!(
            "the kernel does not tell where it counts changes of names (found no CAP_SYSLOG, or CONFIG_KALLSYMS_ALL is not \
             set): sessions' files cost more"
        ),
        Err(error) => info!(%error, "cannot read where the kernel counts changes of names"),
    }
    0
}

/// Whether the kernel asks for `CAP_SYS_NICE` before it knows whether it is needed. What it is, its types do
/// not tell: 6.0 does so no more.
fn asks_early() -> bool {
    let major = super::release().and_then(|release| release.split('.').next()?.parse::<u32>().ok());
    major.is_some_and(|major| major < 6)
}

fn attach_type(way: Way) -> CgroupSkbAttachType {
    match way {
        Way::Out => CgroupSkbAttachType::Egress,
        Way::In => CgroupSkbAttachType::Ingress,
    }
}

/// Loads one program and attaches it, if it is one that is attached.
fn attach(
    object: &mut Ebpf,
    program: &Program,
    btf: &Btf,
    cgroup: &File,
    pins: &Pins,
) -> Result<Option<FdLink>, LoadError> {
    let name = program.name;
    let refused = |source: ProgramError| LoadError::Refused {
        name,
        source: Box::new(source),
    };
    let link = |source: LinkError| LoadError::Link {
        name,
        source: Box::new(source),
    };
    let loaded = object.program_mut(name).ok_or(LoadError::NoProgram(name))?;
    Ok(Some(match program.kind {
        Kind::Lsm(hook) => {
            let lsm: &mut Lsm = loaded.try_into().map_err(refused)?;
            lsm.load(hook, btf).map_err(refused)?;
            let id = lsm.attach().map_err(refused)?;
            lsm.take_link(id).map_err(refused)?.into()
        }
        Kind::Tracepoint(tracepoint) => {
            let tp: &mut BtfTracePoint = loaded.try_into().map_err(refused)?;
            tp.load(tracepoint, btf).map_err(refused)?;
            let id = tp.attach().map_err(refused)?;
            tp.take_link(id).map_err(refused)?.into()
        }
        Kind::Cgroup => {
            let addr: &mut CgroupSockAddr = loaded.try_into().map_err(refused)?;
            addr.load().map_err(refused)?;
            let id = addr
                .attach(cgroup, CgroupAttachMode::Single)
                .map_err(refused)?;
            addr.take_link(id)
                .map_err(refused)?
                .try_into()
                .map_err(link)?
        }
        Kind::Sockets => {
            let sock: &mut CgroupSock = loaded.try_into().map_err(refused)?;
            sock.load().map_err(refused)?;
            let id = sock
                .attach(cgroup, CgroupAttachMode::Single)
                .map_err(refused)?;
            sock.take_link(id)
                .map_err(refused)?
                .try_into()
                .map_err(link)?
        }
        Kind::Packets(way) => {
            let skb: &mut CgroupSkb = loaded.try_into().map_err(refused)?;
            skb.load().map_err(refused)?;
            let id = skb
                .attach(cgroup, attach_type(way), CgroupAttachMode::Single)
                .map_err(refused)?;
            skb.take_link(id)
                .map_err(refused)?
                .try_into()
                .map_err(link)?
        }
        Kind::Iter(objects) => {
            let iter: &mut Iter = loaded.try_into().map_err(refused)?;
            iter.load(objects, btf).map_err(refused)?;
            let id = iter.attach().map_err(refused)?;
            iter.take_link(id)
                .map_err(refused)?
                .try_into()
                .map_err(link)?
        }
        Kind::Run => {
            let run: &mut RawTracePoint = loaded.try_into().map_err(refused)?;
            run.load().map_err(refused)?;
            run.pin(pins.program(name))
                .map_err(|source| LoadError::Link {
                    name,
                    source: Box::new(source),
                })?;
            return Ok(None);
        }
    }))
}
