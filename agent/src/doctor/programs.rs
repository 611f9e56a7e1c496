//! The kernel programs and maps, each tried with one that changes nothing.

use super::check::{Check, Group, Weight};
use super::host::LsmList;
use crate::cgroups;
use crate::chain::chain;
use crate::kernel::bpf::Place;
use crate::kernel::btf::{Btf, Kind as TypeKind};
use crate::kernel::object::{HOLDS, Kind, PROGRAMS, Program, Use, hook_function};
use crate::kernel::trial::{self, Map};
use std::fs::File;
use std::net::UdpSocket;

/// The hook at which we look whether the kernel calls LSM programs at all.
const CALLED: &str = "bpf_lsm_socket_connect";

const NO_LSM: &str = "connect is judged by the cgroup programs alone, which see IPv4 and IPv6 and \
    no other family; a fork whose child cannot be labelled is not refused, but ends its session; no \
    privilege is held, so that a session may do what its user may";

pub(super) fn maps() -> Vec<Check> {
    let required = [
        (
            "ring-buffer",
            Map::RingBuffer,
            "tell user space what was decided",
        ),
        (
            "lpm-trie",
            Map::PrefixTrie,
            "find the network and port of a rule",
        ),
        ("hash", Map::Hash, "keep the label of each task"),
        (
            "prog-array",
            Map::Programs,
            "exchange the program of a hook in one step",
        ),
    ];
    let mut checks: Vec<Check> = required
        .into_iter()
        .map(|(id, map, purpose)| tried(Group::Map, id, purpose, trial::map(map)))
        .collect();
    checks.push(
        tried(
            Group::Map,
            "task-storage",
            "mark the tasks of sessions, so that other tasks pass faster",
            trial::map(Map::TaskStorage),
        )
        .weighing(Weight::Informing)
        .without("every task is looked up in the table of labels: slower, not less safe. On overlayfs a policy must allow the layers too, for what the overlay itself does to them passes as the session's own")
        .settled(),
    );
    checks
}

pub(super) fn programs(btf: Option<&Btf>, lsm_list: &LsmList) -> Vec<Check> {
    let calling = lsm_calls(btf);
    let root = cgroups::root();
    let cgroup = File::open(root);
    PROGRAMS
        .iter()
        .map(|program| {
            let check = match program.kind {
                Kind::Lsm(hook) => lsm(btf, program, hook, &calling, lsm_list),
                Kind::Tracepoint(name) => {
                    let found = find(btf, TypeKind::Typedef, &format!("btf_trace_{name}"));
                    traced(program, "tracepoint", name, found.map(Place::Tracepoint))
                }
                Kind::Function(name) => {
                    let found = find(btf, TypeKind::Function, name);
                    traced(program, "function", name, found.map(Place::Function))
                }
                Kind::Cgroup(point) => {
                    let id = format!("cgroup/{}", program.name);
                    match &cgroup {
                        Ok(cgroup) => {
                            let result = trial::program(Place::Cgroup(point, cgroup));
                            tried(Group::Program, &id, program.purpose, result)
                        }
                        Err(error) => Check::ok(Group::Program, &id, program.purpose, "")
                            .missing(format!("cannot open {}: {error}", root.display())),
                    }
                }
                Kind::Iter(objects) => {
                    let found = find(btf, TypeKind::Function, &format!("bpf_iter_{objects}"));
                    traced(program, "iter", objects, found.map(Place::Iter))
                }
                Kind::Run => tried(
                    Group::Program,
                    &format!("run/{}", program.name),
                    program.purpose,
                    trial::program(Place::Run),
                ),
            };
            check.weighing(match program.used {
                Use::Always => Weight::Required,
                Use::WithLsm => Weight::Degrading,
                Use::WithoutLsm => Weight::InPlaceOfLsm,
                Use::WithHookSince(_) | Use::WithFunctionSince(..) if meets(btf, program) => {
                    Weight::Degrading
                }
                Use::WithHookSince(_) | Use::WithFunctionSince(..) => Weight::Informing,
            })
        })
        .collect()
}

/// A program that is put at what the kernel's types name, or not: then why.
fn traced(program: &Program, sort: &str, at: &str, place: Result<Place<'_>, String>) -> Check {
    let id = format!("{sort}/{at}");
    match place {
        Ok(place) => tried(Group::Program, &id, program.purpose, trial::program(place)),
        Err(why) => Check::ok(Group::Program, &id, program.purpose, "").missing(why),
    }
}

/// Whether the kernel calls LSM programs; otherwise why not.
fn lsm_calls(btf: Option<&Btf>) -> Result<(), String> {
    let hook = find(btf, TypeKind::Function, CALLED)?;
    // Connecting a datagram socket sends nothing.
    let connect = || {
        let _ =
            UdpSocket::bind(("127.0.0.1", 0)).and_then(|socket| socket.connect(("127.0.0.1", 9)));
    };
    match trial::lsm_is_called(hook, connect) {
        Ok(true) => Ok(()),
        Ok(false) => Err("the kernel takes it and never calls it".to_owned()),
        Err(refusal) => Err(chain(refusal)),
    }
}

fn lsm(
    btf: Option<&Btf>,
    program: &Program,
    hook: &str,
    calling: &Result<(), String>,
    list: &LsmList,
) -> Check {
    let id = match program.used {
        // Another program has the hook's name.
        Use::WithFunctionSince(..) => format!("lsm/{}", program.name),
        _ => format!("lsm/{hook}"),
    };
    let check = match find(btf, TypeKind::Function, &hook_function(hook)) {
        Ok(number) => {
            let check = tried(
                Group::Program,
                &id,
                program.purpose,
                trial::program(Place::Lsm(number)),
            );
            match calling {
                Err(why) if check.state.is_ok() => check.missing(why),
                _ => check,
            }
        }
        Err(why) => Check::ok(Group::Program, &id, program.purpose, "").missing(why),
    };
    let is_built_in = find(btf, TypeKind::Function, CALLED).is_ok();
    if let Some((function, since)) = program.condition()
        && is_built_in
        && !meets(btf, program)
    {
        return check.missing(format!("kernels have {function} since {since}"));
    }
    check
        .without(NO_LSM)
        .remedy(if !is_built_in {
            "use a kernel built with CONFIG_BPF_LSM=y".to_owned()
        } else if list.has_bpf() {
            let instead = if cfg!(target_arch = "aarch64") {
                "arm64 calls LSM programs since Linux 6.4"
            } else {
                "no kernel parameter changes that, use another kernel or machine"
            };
            format!("bpf is in the LSM list, and yet this machine refuses the program: {instead}")
        } else {
            list.remedy()
        })
        .settled()
}

fn find(btf: Option<&Btf>, kind: TypeKind, name: &str) -> Result<u32, String> {
    btf.ok_or_else(|| "cannot be tried without the kernel's BTF".to_owned())?
        .find(kind, name)
        .ok_or_else(|| format!("the kernel has no {name}"))
}

/// Whether the kernel has what the program cannot do without.
fn meets(btf: Option<&Btf>, program: &Program) -> bool {
    program
        .condition()
        .is_none_or(|(function, _)| find(btf, TypeKind::Function, &function).is_ok())
}

/// Which privileges are held here, by the programs that each of them needs.
pub(super) fn privileges(programs: &[Check]) -> Vec<Check> {
    let state_of = |name: &&&str| {
        let program = PROGRAMS.iter().find(|program| program.name == **name);
        let Some(Kind::Lsm(hook)) = program.map(|program| program.kind) else {
            return false;
        };
        let id = format!("lsm/{hook}");
        programs
            .iter()
            .any(|check| check.id == id && check.state.is_ok())
    };
    let capabilities: &[&str] = &["capable"];
    HOLDS
        .iter()
        .map(|(privilege, programs)| (privilege.word(), privilege.meaning(), *programs))
        .chain([("capabilities", "use those that a policy can name", capabilities)])
        .map(|(word, meaning, programs)| {
            let lacking: Vec<&str> = programs
                .iter()
                .filter(|name| !state_of(name))
                .copied()
                .collect();
            let check = Check::ok(Group::Privilege, word, meaning, "tried")
                .weighing(Weight::Informing);
            if lacking.is_empty() {
                return check;
            }
            let found = if lacking.len() == programs.len() {
                "not held on this kernel"
            } else {
                "held in part"
            };
            check.missing(format!("{found}: no {}", lacking.join(", ")))
        })
        .map(|check| {
            let consequence = match check.id.as_str() {
                "userns" => {
                    "a session can make a user namespace, in which it is held as it is outside: the \
                     capabilities there are refused as well"
                }
                "uring" => {
                    "a session can let io_uring act from a thread of its own; what that does is \
                     judged like the session's own acts"
                }
                "terminal" => {
                    "a 32-bit program of a session can type into its terminal, where the kernel \
                     lets programs do that"
                }
                _ => return check,
            };
            check.without(consequence).settled()
        })
        .collect()
}

fn tried(group: Group, id: &str, purpose: &str, result: Result<(), trial::Refusal>) -> Check {
    let check = Check::ok(group, id, purpose, "tried");
    match result {
        Ok(()) => check,
        Err(refusal) => check.missing(chain(refusal)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_act_is_held_by_programs_that_there_are() {
        use agent_common::privilege::Privilege;
        for privilege in Privilege::ALL {
            let held = HOLDS.iter().find(|(held, _)| held == privilege);
            assert_eq!(held.is_some(), !privilege.is_capability(), "{privilege}");
        }
        for name in HOLDS.iter().flat_map(|(_, names)| *names) {
            assert!(
                PROGRAMS.iter().any(|program| program.name == *name),
                "{name}"
            );
        }
    }
}
