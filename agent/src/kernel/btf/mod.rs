//! A reader of BTF, the type information that a kernel carries about itself.
//!
//! Why not a crate: `btf-rs` is under the LGPL, and `btfparse` 1.3.9 never returns from a typedef
//! that names itself and takes the last type of a name, whatever its kind, although kernels hold
//! several different structs of one name. It serves as the second opinion in the tests instead.
//!
//! Nothing here trusts the bytes: every length is checked, every walk is bounded.

mod error;
mod kind;
mod member;

use std::{fs::File, io::Read as _, ops::Range, path::Path};

pub use self::{
    error::{BtfError, OffsetError},
    kind::Kind,
    member::Member,
};

/// Where a kernel shows its own type information.
pub const RUNNING_KERNEL: &str = "/sys/kernel/btf/vmlinux";

/// Type information of distribution kernels is 3 to 6 MB; this bounds what a wrong file can cost.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Typedefs and qualifiers that may stand between a member and its type. Linux has at most six.
const MAX_HOPS: usize = 32;

/// Interlock runs on 64-bit kernels alone, and BTF does not say how wide a pointer is.
const POINTER_BYTES: u32 = 8;

/// The type information of one kernel.
#[derive(Debug)]
pub struct Btf {
    release: String,
    bytes: Vec<u8>,
    strings: Range<usize>,
    /// Every type in its order. Types count from 1, since 0 is `void`.
    index: Vec<Entry>,
}

/// What a search by name needs of each of a kernel's hundred thousand types.
#[derive(Clone, Copy, Debug)]
struct Entry {
    at: usize,
    name: u32,
    kind: Kind,
}

/// One type as it stands in the file.
#[derive(Clone, Copy, Debug)]
struct Type {
    kind: Kind,
    /// Place of the name in the string section.
    name: u32,
    /// Entries that follow the type: members of a struct, parameters of a function.
    entries: u16,
    /// For a struct: offsets carry the width of bit-fields.
    flag: bool,
    /// The size in bytes or the type that this one names, depending on the kind.
    size_or_type: u32,
    /// Where what follows the common part starts.
    body: usize,
}

impl Btf {
    /// Reads the type information of the running kernel.
    pub fn of_running_kernel() -> Result<Btf, BtfError> {
        Btf::from_file(Path::new(RUNNING_KERNEL))
    }

    /// Reads a file of raw type information. Errors of later look-ups name the running kernel's
    /// release, so a file of another kernel is better read with [`Btf::from_bytes`].
    pub fn from_file(path: &Path) -> Result<Btf, BtfError> {
        let unreadable = |source| BtfError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let mut bytes = Vec::new();
        File::open(path)
            .map_err(unreadable)?
            .take(MAX_BYTES)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        let release = super::release().unwrap_or_else(|| "of unknown release".to_owned());
        Btf::from_bytes(bytes, &release)
    }

    /// Reads raw type information that belongs to the kernel `release`.
    pub fn from_bytes(bytes: Vec<u8>, release: &str) -> Result<Btf, BtfError> {
        const MAGIC: [u8; 2] = 0xeb9f_u16.to_ne_bytes();
        const HEADER: usize = 24;

        match bytes.get(..4) {
            Some([a, b, version, _]) if [*a, *b] == MAGIC => {
                if *version != 1 {
                    return Err(BtfError::Version { found: *version });
                }
            }
            Some([b, a, ..]) if [*a, *b] == MAGIC => return Err(BtfError::OtherByteOrder),
            _ => return Err(BtfError::NotBtf),
        }
        let header = read_u32(&bytes, 4)? as usize;
        if header < HEADER {
            return Err(BtfError::Header { found: header });
        }
        let section = |name, at: usize| -> Result<Range<usize>, BtfError> {
            let start = header.checked_add(read_u32(&bytes, at)? as usize);
            let length = read_u32(&bytes, at + 4)? as usize;
            start
                .and_then(|start| Some(start..start.checked_add(length)?))
                .filter(|range| range.end <= bytes.len())
                .ok_or(BtfError::Section { name })
        };
        let types = section("types", 8)?;
        let strings = section("strings", 16)?;

        let mut btf = Btf {
            release: release.to_owned(),
            bytes,
            strings,
            index: Vec::new(),
        };
        let mut at = types.start;
        while at < types.end {
            let parsed = btf.type_at(at)?;
            let next = parsed.body + parsed.kind.body_bytes(parsed.entries);
            if next > types.end {
                return Err(BtfError::CutOff { at });
            }
            btf.index.push(Entry {
                at,
                name: parsed.name,
                kind: parsed.kind,
            });
            at = next;
        }
        Ok(btf)
    }

    /// The kernel that the types belong to.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// The number of the first type of this kind and name, as `bpf(2)` wants it.
    pub fn find(&self, kind: Kind, name: &str) -> Option<u32> {
        self.all(kind, name).next().map(|(id, _)| id)
    }

    /// The names of a function's arguments, in their order.
    pub fn arguments(&self, function: &str) -> Option<Vec<String>> {
        let (_, function) = self.all(Kind::Function, function).next()?;
        let prototype = self.get(function.size_or_type).ok()?;
        if prototype.kind != Kind::Prototype {
            return None;
        }
        (0..usize::from(prototype.entries))
            .map(|entry| self.text(read_u32(&self.bytes, prototype.body + 8 * entry).ok()?))
            .collect()
    }

    fn text(&self, place: u32) -> Option<String> {
        let strings = self.bytes.get(self.strings.clone())?;
        let text = strings.get(place as usize..)?;
        let end = text.iter().position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(text.get(..end)?).into_owned())
    }

    fn all(&self, kind: Kind, name: &str) -> impl Iterator<Item = (u32, Type)> {
        let wanted = name.as_bytes().first().copied().unwrap_or(0);
        (1..)
            .zip(&self.index)
            .filter(move |(_, entry)| entry.kind == kind)
            // Most names differ in the first letter, which is cheap to see.
            .filter(move |(_, entry)| self.first_letter(entry.name) == Some(wanted))
            .filter(move |(_, entry)| self.is_named(entry.name, name))
            .filter_map(|(id, entry)| Some((id, self.type_at(entry.at).ok()?)))
    }

    fn get(&self, id: u32) -> Result<Type, BtfError> {
        let index = id.checked_sub(1).ok_or(BtfError::NoSuchType { id })?;
        let entry = self
            .index
            .get(index as usize)
            .ok_or(BtfError::NoSuchType { id })?;
        self.type_at(entry.at)
    }

    /// The type behind typedefs, qualifiers and tags.
    fn resolve(&self, id: u32) -> Result<Type, BtfError> {
        let mut found = self.get(id)?;
        for _ in 0..MAX_HOPS {
            if !found.kind.is_transparent() {
                return Ok(found);
            }
            found = self.get(found.size_or_type)?;
        }
        Err(BtfError::Endless { id })
    }

    /// Bytes that a value of the type takes.
    fn size_of(&self, id: u32) -> Result<u32, BtfError> {
        let mut found = self.resolve(id)?;
        let mut count: u32 = 1;
        for _ in 0..MAX_HOPS {
            let size = match found.kind {
                Kind::Array => {
                    let elements = read_u32(&self.bytes, found.body + 8)?;
                    count = count
                        .checked_mul(elements)
                        .ok_or(BtfError::Endless { id })?;
                    found = self.resolve(read_u32(&self.bytes, found.body)?)?;
                    continue;
                }
                Kind::Pointer => POINTER_BYTES,
                _ => found.size_or_type,
            };
            return count.checked_mul(size).ok_or(BtfError::Endless { id });
        }
        Err(BtfError::Endless { id })
    }

    fn type_at(&self, at: usize) -> Result<Type, BtfError> {
        let info = read_u32(&self.bytes, at + 4)?;
        let number = (info >> 24) & 0x1f;
        Ok(Type {
            kind: Kind::from_number(number).ok_or(BtfError::UnknownKind { number, at })?,
            name: read_u32(&self.bytes, at)?,
            entries: (info & 0xffff) as u16,
            flag: info >> 31 == 1,
            size_or_type: read_u32(&self.bytes, at + 8)?,
            body: at + 12,
        })
    }

    fn first_letter(&self, place: u32) -> Option<u8> {
        let at = self.strings.start.checked_add(place as usize)?;
        self.bytes.get(at).copied()
    }

    fn is_named(&self, place: u32, name: &str) -> bool {
        let Some(rest) = self
            .bytes
            .get(self.strings.clone())
            .and_then(|strings| strings.get(place as usize..))
        else {
            return false;
        };
        rest.strip_prefix(name.as_bytes())
            .is_some_and(|rest| rest.first() == Some(&0))
    }
}

fn read_u32(bytes: &[u8], at: usize) -> Result<u32, BtfError> {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map(|chunk| u32::from_ne_bytes(*chunk))
        .ok_or(BtfError::CutOff { at })
}
