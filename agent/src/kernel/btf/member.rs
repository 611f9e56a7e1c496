use super::{Btf, BtfError, Kind, OffsetError, Type, read_u32};

/// Anonymous structs and unions within each other. Linux has at most five.
const MAX_DEPTH: usize = 16;

/// Members looked at for one field. The largest struct of Linux has a few hundred; without a bound,
/// a small file of structs that hold each other twice would take years.
const MAX_VISITS: usize = 100_000;

/// The place of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Bytes from the start of the struct.
    pub offset: u32,
    /// Bytes that it takes.
    pub size: u32,
}

/// The place of a field in bits, because that is how BTF has it.
#[derive(Clone, Copy)]
struct Place {
    bit: u64,
    type_id: u32,
    is_bit_field: bool,
}

impl Btf {
    /// Bytes from the start of `struct name` to the field at `path`, such as `__sk_common.skc_family`.
    ///
    /// Fields of anonymous structs and unions are found as if they stood in the outer struct, as in
    /// C: between 6.12 and 6.18 `file.f_path` moved into such a union.
    pub fn offset_of(&self, name: &str, path: &str) -> Result<u32, OffsetError> {
        self.member(name, path).map(|member| member.offset)
    }

    /// Place and size of the field at `path` in `struct name`.
    pub fn member(&self, name: &str, path: &str) -> Result<Member, OffsetError> {
        let mut is_there = false;
        let mut first: Option<Member> = None;
        for (_, outer) in self.all(Kind::Struct, name) {
            is_there = true;
            let Some(member) = self.member_of(outer, name, path)? else {
                continue;
            };
            match first {
                Some(other) if other.offset != member.offset => {
                    return Err(OffsetError::Ambiguous {
                        release: self.release.clone(),
                        name: name.to_owned(),
                        path: path.to_owned(),
                        first: other.offset,
                        second: member.offset,
                    });
                }
                _ => first = Some(member),
            }
        }
        first.ok_or_else(|| {
            let (release, name, path) = self.subject(name, path);
            if is_there {
                OffsetError::NoField {
                    release,
                    name,
                    path,
                }
            } else {
                OffsetError::NoStruct {
                    release,
                    name,
                    path,
                }
            }
        })
    }

    fn member_of(
        &self,
        outer: Type,
        name: &str,
        path: &str,
    ) -> Result<Option<Member>, OffsetError> {
        let broken = |source| {
            let (release, name, path) = self.subject(name, path);
            OffsetError::Broken {
                release,
                name,
                path,
                source,
            }
        };
        let mut visits = MAX_VISITS;
        let mut place = None;
        let mut bits: u64 = 0;
        let mut within = outer;
        for (step, field) in path.split('.').enumerate() {
            if step > 0 {
                // A pointer in the middle of a path ends it: what it points to is elsewhere.
                within = match place {
                    Some(Place { type_id, .. }) => self.resolve(type_id).map_err(broken)?,
                    None => return Ok(None),
                };
            }
            place = self
                .find_member(within, field, 0, &mut visits)
                .map_err(broken)?;
            bits = match place {
                Some(found) => bits.saturating_add(found.bit),
                None => return Ok(None),
            };
        }
        let Some(place) = place else {
            return Ok(None);
        };
        if place.is_bit_field || !bits.is_multiple_of(8) {
            let (release, name, path) = self.subject(name, path);
            return Err(OffsetError::BitField {
                release,
                name,
                path,
                bit: bits,
            });
        }
        let id = place.type_id;
        Ok(Some(Member {
            offset: u32::try_from(bits / 8).map_err(|_| broken(BtfError::Endless { id }))?,
            size: self.size_of(id).map_err(broken)?,
        }))
    }

    fn find_member(
        &self,
        within: Type,
        field: &str,
        depth: usize,
        visits: &mut usize,
    ) -> Result<Option<Place>, BtfError> {
        if !matches!(within.kind, Kind::Struct | Kind::Union) {
            return Ok(None);
        }
        let mut anonymous = Vec::new();
        for entry in 0..usize::from(within.entries) {
            let at = within.body + 12 * entry;
            let type_id = read_u32(&self.bytes, at + 4)?;
            *visits = visits
                .checked_sub(1)
                .ok_or(BtfError::Endless { id: type_id })?;
            let name = read_u32(&self.bytes, at)?;
            let offset = read_u32(&self.bytes, at + 8)?;
            if self.is_named(name, field) && !field.is_empty() {
                return Ok(Some(self.place(within, type_id, offset)?));
            }
            if self.is_named(name, "") {
                anonymous.push((type_id, offset));
            }
        }
        for (type_id, offset) in anonymous {
            let inner = self.resolve(type_id)?;
            if depth == MAX_DEPTH {
                return Err(BtfError::Endless { id: type_id });
            }
            if let Some(found) = self.find_member(inner, field, depth + 1, visits)? {
                let outer = self.place(within, type_id, offset)?;
                return Ok(Some(Place {
                    bit: outer.bit.saturating_add(found.bit),
                    ..found
                }));
            }
        }
        Ok(None)
    }

    /// Two ways of writing bit-fields exist: a struct with the flag has the width beside the offset,
    /// one without it leaves both to an integer type of odd width.
    fn place(&self, within: Type, type_id: u32, offset: u32) -> Result<Place, BtfError> {
        if within.flag {
            return Ok(Place {
                bit: (offset & 0x00ff_ffff).into(),
                type_id,
                is_bit_field: offset >> 24 != 0,
            });
        }
        let mut is_bit_field = false;
        // `void` cannot be a member, but a forward declaration of nothing is no reason to fail here.
        if let Ok(found) = self.resolve(type_id)
            && found.kind == Kind::Integer
        {
            let layout = read_u32(&self.bytes, found.body)?;
            let (first_bit, width) = ((layout >> 16) & 0xff, layout & 0xff);
            is_bit_field = first_bit != 0 || u64::from(width) != 8 * u64::from(found.size_or_type);
        }
        Ok(Place {
            bit: offset.into(),
            type_id,
            is_bit_field,
        })
    }

    fn subject(&self, name: &str, path: &str) -> (String, String, String) {
        (self.release.clone(), name.to_owned(), path.to_owned())
    }
}
