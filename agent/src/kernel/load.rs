//! Loads the programs of this binary into the kernel, where nothing runs them yet.

use super::build::Build;
use super::loader::LoadError;
use super::maps::MapsError;
use super::object::{Kind, OBJECT, PROGRAMS, Program};
use super::offsets;
use super::pins::{self, Pins};
use super::symbols;
use aya::maps::MapInfo;
use aya::programs::{
    BtfTracePoint, CgroupSockAddr, FEntry, Iter, Lsm, Program as Loadable, ProgramError,
    RawTracePoint,
};
use aya::{Btf, Ebpf, EbpfLoader, VerifierLogLevel};
use aya_obj::btf::BtfKind;
use std::fs;
use std::path::Path;
use tracing::{debug, info};

/// The map that 5.10 cannot create.
const MARKS: &str = "MARKS";

/// Loads the programs of this binary beside whatever is at work. They are there whole, or not at all.
pub(super) fn whole(pins: &Pins, own: &Build, types: &Btf, lsm: bool) -> Result<(), LoadError> {
    let folder = pins.build_in_preparation(own);
    // What an attempt left that was interrupted.
    pins::remove_tree(&folder).map_err(LoadError::Pins)?;
    fs::create_dir_all(&folder).map_err(LoadError::Pins)?;
    if let Err(error) = all(pins, types, lsm, &folder) {
        pins::remove_tree(&folder).map_err(LoadError::Pins)?;
        return Err(error);
    }
    fs::rename(folder, pins.build(own)).map_err(LoadError::Pins)
}

/// Loads all programs that this kernel has hooks for, and pins them in a folder.
fn all(pins: &Pins, types: &Btf, lsm: bool, folder: &Path) -> Result<(), LoadError> {
    let mut object = open(pins, types)?;
    for program in PROGRAMS.iter().filter(|program| program.is_used(lsm)) {
        if let Some((function, since)) = program.condition()
            && types
                .id_by_type_name_kind(&function, BtfKind::Func)
                .is_err()
        {
            debug!(
                program.name,
                function, since, "this kernel does not have it"
            );
            continue;
        }
        let name = program.name;
        let loaded = object.program_mut(name).ok_or(LoadError::NoProgram(name))?;
        load_one(loaded, program, types).map_err(|source| LoadError::Refused {
            name,
            source: Box::new(source),
        })?;
        let pinned = loaded.pin(folder.join(name));
        pinned.map_err(|source| LoadError::Pin(name, Box::new(source)))?;
    }
    Ok(())
}

fn load_one(loaded: &mut Loadable, program: &Program, types: &Btf) -> Result<(), ProgramError> {
    match program.kind {
        Kind::Lsm(hook) => TryInto::<&mut Lsm>::try_into(loaded)?.load(hook, types),
        Kind::Tracepoint(name) => {
            TryInto::<&mut BtfTracePoint>::try_into(loaded)?.load(name, types)
        }
        Kind::Function(name) => TryInto::<&mut FEntry>::try_into(loaded)?.load(name, types),
        Kind::Iter(objects) => TryInto::<&mut Iter>::try_into(loaded)?.load(objects, types),
        Kind::Run => TryInto::<&mut RawTracePoint>::try_into(loaded)?.load(),
        Kind::Cgroup(_) => match loaded {
            Loadable::CgroupSkb(packets) => packets.load(),
            Loadable::CgroupSock(sockets) => sockets.load(),
            other => TryInto::<&mut CgroupSockAddr>::try_into(other)?.load(),
        },
    }
}

/// Whether the tables that are there are those that these programs expect. The version says so too; whoever
/// forgets to raise it is found out here.
pub(super) fn check_shapes(pins: &Pins) -> Result<(), LoadError> {
    for (name, map) in aya_obj::Object::parse(OBJECT)?.maps {
        let pin = pins.map(&name);
        // What stands in the place of marks has no shape to speak of.
        if name == MARKS || !pin.exists() {
            continue;
        }
        let there = MapInfo::from_pin(pin).map_err(MapsError::from)?;
        let found = (there.key_size(), there.value_size(), there.max_entries());
        let expected = (map.key_size(), map.value_size(), map.max_entries());
        if found != expected {
            return Err(LoadError::OtherShape {
                name,
                found,
                expected,
            });
        }
    }
    Ok(())
}

/// Parses the object, creates the maps and writes the offsets.
fn open(pins: &Pins, btf: &Btf) -> Result<Ebpf, LoadError> {
    let fields = offsets::of_running_kernel()?;
    let has_task_storage = fields
        .iter()
        .any(|(name, offset)| *name == "TASK_BPF_STORAGE" && *offset != 0);
    let marks = pins.map(MARKS);
    if !has_task_storage && !marks.exists() {
        // The kernel cannot create this map, and no program that runs here uses it: the verifier
        // drops those branches. An array stands in its place.
        let placeholder: aya::maps::Array<_, u64> =
            aya::maps::Array::create(1, 0).map_err(MapsError::from)?;
        let pinned = placeholder.pin(&marks);
        pinned.map_err(|source| LoadError::Pin(MARKS, Box::new(source)))?;
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
