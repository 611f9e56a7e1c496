//! The reader of type information against bytes that no kernel wrote: it answers or refuses, and
//! never panics or runs on.

use interlock_agent::kernel::btf::{Btf, BtfError, Kind, OffsetError};
use interlock_agent::kernel::{offsets, processor};
use proptest::prelude::*;
use std::path::Path;

/// Every question the agent asks.
fn ask(bytes: Vec<u8>) {
    let Ok(btf) = Btf::from_bytes(bytes, "test") else {
        return;
    };
    for processor in [&processor::X86_64, &processor::AARCH64] {
        let _ = offsets::resolve(&btf, processor);
    }
    for name in ["s", "file", "sock", "task_struct", ""] {
        for path in [
            "f",
            "f.g.h",
            "f_path.dentry",
            "__sk_common.skc_family",
            "",
            ".",
        ] {
            let _ = btf.member(name, path);
        }
        let _ = btf.find(Kind::Function, name);
    }
}

fn fixture() -> Vec<u8> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/btf/6.18.15+deb13-cloud-amd64.btf");
    std::fs::read(path).expect("the fixture is there")
}

/// BTF with these types, each with the words of its head and body. Names are numbers: 1 is "s",
/// 3 is "f", 5 is "g".
fn btf(types: &[&[u32]]) -> Vec<u8> {
    let strings = b"\0s\0f\0g\0";
    let words: Vec<u32> = types.concat();
    let length = u32::try_from(4 * words.len()).expect("short");
    let strings_length = u32::try_from(strings.len()).expect("short");
    let mut out = vec![0x9f, 0xeb, 1, 0];
    for word in [24, 0, length, length, strings_length] {
        out.extend(u32::to_ne_bytes(word));
    }
    out.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    out.extend(strings);
    out
}

const S: u32 = 1;
const F: u32 = 3;
const G: u32 = 5;

fn info(kind: u32, entries: u32, flag: bool) -> u32 {
    kind << 24 | entries | u32::from(flag) << 31
}

fn integer(bytes: u32, first_bit: u32, bits: u32) -> [u32; 4] {
    [0, info(1, 0, false), bytes, first_bit << 16 | bits]
}

fn offset(types: &[&[u32]], path: &str) -> Result<u32, OffsetError> {
    Btf::from_bytes(btf(types), "test")
        .expect("the header and the types are whole")
        .offset_of("s", path)
}

#[test]
fn both_ways_of_writing_bit_fields_are_refused() {
    let int = integer(4, 0, 32);
    let with_flag = |offset: u32| [S, info(4, 1, true), 8, F, 2, offset];
    let without = |offset: u32| [S, info(4, 1, false), 8, F, 2, offset];
    assert_eq!(offset(&[&with_flag(32), &int], "f").ok(), Some(4));
    assert_eq!(offset(&[&without(32), &int], "f").ok(), Some(4));
    for refused in [
        offset(&[&with_flag(8 << 24 | 32), &int], "f"),
        offset(&[&with_flag(33), &int], "f"),
        offset(&[&without(33), &int], "f"),
        offset(&[&without(32), &integer(4, 0, 3)], "f"),
        offset(&[&without(32), &integer(4, 8, 32)], "f"),
    ] {
        assert!(
            matches!(refused, Err(OffsetError::BitField { .. })),
            "{refused:?}"
        );
    }
}

#[test]
fn fields_are_found_through_anonymous_unions_and_qualifiers() {
    // struct s { const union { struct { int g; int f; } } at byte 8 }
    let types: [&[u32]; 5] = [
        &[S, info(4, 1, false), 16, 0, 2, 64],
        &[0, info(10, 0, false), 3],
        &[0, info(5, 1, false), 8, 0, 4, 0],
        &[0, info(4, 2, false), 8, G, 5, 0, F, 5, 32],
        &integer(4, 0, 32),
    ];
    assert_eq!(offset(&types, "f").ok(), Some(12));
    assert_eq!(offset(&types, "g").ok(), Some(8));
}

#[test]
fn two_structs_of_one_name_that_disagree_are_refused() {
    let int = integer(4, 0, 32);
    let s = |bits: u32| [S, info(4, 1, false), 16, F, 1, bits];
    let other = [S, info(4, 1, false), 16, G, 1, 0];
    assert_eq!(offset(&[&int, &s(32), &other, &s(32)], "f").ok(), Some(4));
    let found = offset(&[&int, &s(32), &s(64)], "f");
    assert!(
        matches!(
            found,
            Err(OffsetError::Ambiguous {
                first: 4,
                second: 8,
                ..
            })
        ),
        "{found:?}"
    );
}

#[test]
fn types_without_end_are_refused() {
    let endless = |types: &[&[u32]], path: &str| {
        let found = offset(types, path);
        assert!(
            matches!(
                found,
                Err(OffsetError::Broken {
                    source: BtfError::Endless { .. },
                    ..
                })
            ),
            "{found:?}"
        );
    };
    // A typedef of itself, a struct that holds itself without a name, an array of itself.
    endless(
        &[
            &[S, info(4, 1, false), 8, F, 2, 0],
            &[G, info(8, 0, false), 2],
        ],
        "f.g",
    );
    endless(&[&[S, info(4, 1, false), 8, 0, 1, 0]], "f");
    endless(
        &[
            &[S, info(4, 1, false), 8, F, 2, 0],
            &[0, info(3, 0, false), 0, 2, 2, 1],
        ],
        "f",
    );
    // Fourteen structs, each of which holds the next one four times: 268 million places to look.
    let fourfold: Vec<Vec<u32>> = (0..14)
        .map(|n| {
            let head = [if n == 0 { S } else { 0 }, info(4, 4, false), 8];
            [head.as_slice(), &[0, n + 2, 0].repeat(4)].concat()
        })
        .collect();
    let mut types: Vec<&[u32]> = fourfold.iter().map(Vec::as_slice).collect();
    let int = integer(4, 0, 32);
    types.push(&int);
    endless(&types, "f");
}

#[test]
fn what_is_not_btf_is_refused_by_name() {
    let refusal = |bytes: Vec<u8>| Btf::from_bytes(bytes, "test").expect_err("refused");
    assert!(matches!(refusal(Vec::new()), BtfError::NotBtf));
    assert!(matches!(refusal(b"\x7fELF".to_vec()), BtfError::NotBtf));
    assert!(matches!(
        refusal(vec![0xeb, 0x9f, 1, 0]),
        BtfError::OtherByteOrder
    ));
    assert!(matches!(
        refusal(vec![0x9f, 0xeb, 2, 0]),
        BtfError::Version { found: 2 }
    ));
    let unknown = btf(&[&[0, info(20, 0, false), 0]]);
    assert!(matches!(
        refusal(unknown),
        BtfError::UnknownKind { number: 20, .. }
    ));
    for length in 4..fixture().len() {
        refusal(fixture()[..length].to_vec());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        ask(bytes);
    }

    #[test]
    fn any_types_are_answered(
        types in proptest::collection::vec(
            (0_u32..7, 0_u32..24, 0_u32..4, any::<bool>(), 0_u32..20,
             proptest::collection::vec(0_u32..20, 0..12)),
            1..12,
        ),
    ) {
        let types: Vec<Vec<u32>> = types
            .into_iter()
            .map(|(name, kind, entries, flag, size, body)| {
                [vec![name, info(kind, entries, flag), size], body].concat()
            })
            .collect();
        ask(btf(&types.iter().map(Vec::as_slice).collect::<Vec<_>>()));
    }

    #[test]
    fn a_damaged_kernel_is_answered(
        damage in proptest::collection::vec((0_usize..2100, any::<u8>()), 1..12),
    ) {
        let mut bytes = fixture();
        for (at, value) in damage {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        ask(bytes);
    }
}
