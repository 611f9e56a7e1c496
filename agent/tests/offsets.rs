//! Offsets on every kernel of the matrix, from cuts of their own type information
//! (`cargo xtask kernels fixtures` makes them).

use std::path::Path;

use interlock_agent::kernel::{
    btf::{Btf, OffsetError},
    offsets, processor,
};

const V5_10: &str = "5.10.0-46-cloud-amd64";
const V6_1: &str = "6.1.0-56-cloud-amd64";
const V6_12: &str = "6.12.117+deb12-cloud-amd64";
const V6_18: &str = "6.18.15+deb13-cloud-amd64";
const V7: &str = "7.3.4+deb13-cloud-amd64";
const MATRIX: [&str; 5] = [V5_10, V6_1, V6_12, V6_18, V7];
const ARM64: &str = "6.12.117+deb12-cloud-arm64";

fn bytes(release: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/btf/{release}.btf"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn btf(release: &str) -> Btf {
    Btf::from_bytes(bytes(release), release).expect("the fixture is BTF")
}

/// A field's place on each kernel of the matrix, in its order, as `btfparse` tells it from the whole
/// of the kernel's type information.
const PLACES: &[(&str, &str, [Option<u32>; 5])] = &[
    (
        "task_struct",
        "bpf_storage",
        [None, Some(5224), Some(5224), Some(5544), Some(5784)],
    ),
    (
        "task_struct",
        "real_parent",
        [Some(2248), Some(2432), Some(2448), Some(2720), Some(2888)],
    ),
    (
        "task_struct",
        "group_leader",
        [Some(2296), Some(2480), Some(2496), Some(2768), Some(2936)],
    ),
    (
        "task_struct",
        "tgid",
        [Some(2236), Some(2420), Some(2436), Some(2708), Some(2876)],
    ),
    (
        "task_struct",
        "pid",
        [Some(2232), Some(2416), Some(2432), Some(2704), Some(2872)],
    ),
    (
        "task_struct",
        "start_boottime",
        [Some(2544), Some(2784), Some(2784), Some(3056), Some(3224)],
    ),
    (
        "task_struct",
        "comm",
        [Some(2736), Some(2976), Some(2976), Some(3248), Some(3408)],
    ),
    (
        "task_struct",
        "cred",
        [Some(2720), Some(2960), Some(2960), Some(3232), Some(3392)],
    ),
    (
        "cred",
        "euid",
        [Some(24), Some(24), Some(24), Some(24), Some(24)],
    ),
    (
        "linux_binprm",
        "filename",
        [Some(96), Some(96), Some(96), Some(96), Some(120)],
    ),
    (
        "socket",
        "sk",
        [Some(24), Some(24), Some(24), Some(24), Some(24)],
    ),
    (
        "sock",
        "__sk_common.skc_family",
        [Some(16), Some(16), Some(16), Some(16), Some(16)],
    ),
    (
        "sock",
        "sk_type",
        [Some(538), Some(514), Some(572), Some(534), Some(542)],
    ),
    (
        "sock",
        "sk_protocol",
        [Some(540), Some(516), Some(574), Some(532), Some(540)],
    ),
    (
        "file",
        "f_path",
        [Some(16), Some(16), Some(64), Some(64), Some(64)],
    ),
    (
        "file",
        "f_path.dentry",
        [Some(24), Some(24), Some(72), Some(72), Some(72)],
    ),
    (
        "file",
        "f_inode",
        [Some(32), Some(32), Some(40), Some(32), Some(32)],
    ),
    (
        "path",
        "dentry",
        [Some(8), Some(8), Some(8), Some(8), Some(8)],
    ),
    (
        "dentry",
        "d_parent",
        [Some(24), Some(24), Some(24), Some(24), Some(24)],
    ),
    (
        "dentry",
        "d_name.len",
        [Some(36), Some(36), Some(36), Some(36), Some(36)],
    ),
    (
        "dentry",
        "d_name.name",
        [Some(40), Some(40), Some(40), Some(40), Some(40)],
    ),
    (
        "dentry",
        "d_inode",
        [Some(48), Some(48), Some(48), Some(48), Some(48)],
    ),
    (
        "dentry",
        "d_sb",
        [Some(104), Some(104), Some(104), Some(104), Some(104)],
    ),
    (
        "inode",
        "i_generation",
        [Some(560), Some(592), Some(124), Some(124), Some(124)],
    ),
    (
        "super_block",
        "s_dev",
        [Some(16), Some(16), Some(16), Some(16), Some(16)],
    ),
    (
        "task_struct",
        "real_cred",
        [Some(2712), Some(2952), Some(2952), Some(3224), Some(3384)],
    ),
    (
        "task_struct",
        "pid_links",
        [Some(2344), Some(2528), Some(2544), Some(2816), Some(2984)],
    ),
    (
        "pid",
        "tasks",
        [Some(16), Some(16), Some(32), Some(64), Some(48)],
    ),
    (
        "proc_inode",
        "pid",
        [Some(0), Some(0), Some(0), Some(0), Some(0)],
    ),
    (
        "proc_inode",
        "vfs_inode.i_mode",
        [Some(72), Some(72), Some(72), Some(72), Some(72)],
    ),
    (
        "pt_regs",
        "orig_ax",
        [Some(120), Some(120), Some(120), Some(120), Some(120)],
    ),
    (
        "pt_regs",
        "si",
        [Some(104), Some(104), Some(104), Some(104), Some(104)],
    ),
    (
        "pt_regs",
        "dx",
        [Some(96), Some(96), Some(96), Some(96), Some(96)],
    ),
    (
        "pt_regs",
        "ax",
        [Some(80), Some(80), Some(80), Some(80), Some(80)],
    ),
    (
        "file",
        "f_flags",
        [Some(64), Some(64), Some(48), Some(40), Some(40)],
    ),
    (
        "inode",
        "i_sb",
        [Some(40), Some(40), Some(40), Some(40), Some(40)],
    ),
    (
        "super_block",
        "s_magic",
        [Some(96), Some(96), Some(96), Some(96), Some(112)],
    ),
];

#[test]
fn every_field_is_where_the_kernel_has_it() {
    for (name, path, places) in PLACES {
        for (release, expected) in MATRIX.iter().zip(places) {
            let found = btf(release).offset_of(name, path);
            match expected {
                Some(place) => assert_eq!(found.ok(), Some(*place), "{release}: {name}.{path}"),
                None => assert_eq!(
                    found.expect_err("the kernel lacks the field").to_string(),
                    format!("kernel {release}: struct {name} has no field {path}"),
                ),
            }
        }
    }
}

#[test]
fn every_needed_field_resolves_and_only_task_storage_may_be_absent() {
    for release in MATRIX {
        let kernel = btf(release);
        let resolved = offsets::resolve(&kernel, &processor::X86_64)
            .expect("every kernel of the matrix serves");
        let needed = offsets::NEEDED.iter().chain(processor::X86_64.registers);
        assert_eq!(resolved.len(), needed.clone().count());
        for (field, (global, offset)) in needed.zip(resolved) {
            assert_eq!(field.global, global);
            match kernel.offset_of(field.name, field.path) {
                Ok(place) => assert_eq!(offset, place, "{release}: {global}"),
                Err(_) => {
                    assert_eq!((release, global), (V5_10, "TASK_BPF_STORAGE"));
                    assert_eq!(offset, 0);
                }
            }
        }
    }
}

#[test]
fn the_words_of_a_call_are_where_arm64_has_them() {
    let fields = offsets::resolve(&btf(ARM64), &processor::AARCH64).expect("this kernel serves");
    // 31 registers, then the stack's, the program's and the processor's state.
    for (global, place) in [
        ("REGS_RESULT", 0),
        ("REGS_SECOND", 8),
        ("REGS_THIRD", 16),
        ("REGS_FIRST", 34 * 8),
        ("REGS_CALL", 35 * 8),
    ] {
        assert!(fields.contains(&(global, place)), "{global}: {fields:?}");
    }
    let error = offsets::resolve(&btf(V6_12), &processor::AARCH64).expect_err("another processor");
    assert_eq!(
        error.to_string(),
        format!("kernel {V6_12}: struct pt_regs has no field syscallno")
    );
}

#[test]
fn a_field_that_is_missing_is_named_with_kernel_and_struct() {
    let kernel = btf(V6_1);
    let told = |name, path| {
        kernel
            .offset_of(name, path)
            .expect_err("there is no such field")
            .to_string()
    };
    assert_eq!(
        told("task_struct", "real_parents"),
        format!("kernel {V6_1}: struct task_struct has no field real_parents")
    );
    assert_eq!(
        told("task_structs", "real_parent"),
        format!("kernel {V6_1} has no struct task_structs, expected one with a field real_parent")
    );
    // A name is not found by its beginning, nor in a struct further in that has a name.
    for path in ["real_paren", "", "skc_family", "real_parent.pid", "pid."] {
        assert!(kernel.offset_of("task_struct", path).is_err(), "{path}");
    }
    assert!(kernel.offset_of("sock", "skc_family").is_err());
}

#[test]
fn a_bit_field_is_refused() {
    for release in MATRIX {
        for (name, path) in [
            ("task_struct", "in_execve"),
            ("sock", "sk_no_check_tx"),
            ("sock", "__sk_common.skc_ipv6only"),
        ] {
            let found = btf(release).offset_of(name, path);
            assert!(
                matches!(found, Err(OffsetError::BitField { .. })),
                "{release}: {name}.{path} is {found:?}"
            );
        }
    }
}

#[test]
fn the_second_opinion_agrees_on_every_cut() {
    struct Bytes(Vec<u8>);
    impl btfparse::Readable for Bytes {
        fn read(&self, at: u64, into: &mut [u8]) -> btfparse::Result<()> {
            let at = usize::try_from(at).expect("a fixture is small");
            let part = self
                .0
                .get(at..at + into.len())
                .ok_or_else(|| std::io::Error::other("the fixture ends here"))?;
            into.copy_from_slice(part);
            Ok(())
        }
    }
    for release in MATRIX {
        let other = btfparse::TypeInformation::new(&Bytes(bytes(release)))
            .expect("the fixture is BTF to others, too");
        for (name, path, _) in PLACES {
            let theirs = other
                .id_of(name)
                .and_then(|id| other.offset_of(id, path).ok())
                .map(|(_, offset)| offset);
            let ours = btf(release)
                .offset_of(name, path)
                .ok()
                .map(btfparse::Offset::ByteOffset);
            assert_eq!(ours, theirs, "{release}: {name}.{path}");
        }
    }
}
