use std::{io, path::PathBuf};

/// Why type information cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BtfError {
    /// The file cannot be read at all.
    #[error("cannot read the kernel's type information (BTF) from {path}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The first bytes are something else.
    #[error("this is no BTF: it does not start with the bytes 9f eb")]
    NotBtf,
    /// Written on a machine of the other byte order.
    #[error("this BTF was written for a machine of the other byte order")]
    OtherByteOrder,
    /// A later version of the format.
    #[error("this BTF is of version {found}, expected version 1")]
    Version {
        /// The version of the file.
        found: u8,
    },
    /// A header shorter than version 1 has it.
    #[error("the BTF header claims {found} bytes, expected at least 24")]
    Header {
        /// The claimed length.
        found: usize,
    },
    /// A section that is not inside the file.
    #[error("the BTF section of {name} reaches beyond the file's end")]
    Section {
        /// Which section.
        name: &'static str,
    },
    /// A type that is not complete.
    #[error("the BTF type at byte {at} is cut off")]
    CutOff {
        /// Where it starts.
        at: usize,
    },
    /// A kind of type that this reader does not know, so that it cannot tell its length.
    #[error("the BTF type at byte {at} is of unknown kind {number}, expected 1 to 19")]
    UnknownKind {
        /// The kind's number.
        number: u32,
        /// Where the type starts.
        at: usize,
    },
    /// A reference to a type that is not there.
    #[error("there is no BTF type number {id}")]
    NoSuchType {
        /// The number referred to.
        id: u32,
    },
    /// Types that name each other in a circle, or that are too large to be true.
    #[error("BTF type number {id} has no end")]
    Endless {
        /// Where the walk began.
        id: u32,
    },
}

/// Why the place of a field is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OffsetError {
    /// The kernel's type information cannot be read at all.
    #[error(transparent)]
    Unread(#[from] BtfError),
    /// The kernel has no struct of that name.
    #[error("kernel {release} has no struct {name}, expected one with a field {path}")]
    NoStruct {
        /// The kernel.
        release: String,
        /// The struct.
        name: String,
        /// The field.
        path: String,
    },
    /// The struct is there, the field is not.
    #[error("kernel {release}: struct {name} has no field {path}")]
    NoField {
        /// The kernel.
        release: String,
        /// The struct.
        name: String,
        /// The field.
        path: String,
    },
    /// The field starts or ends within a byte.
    #[error(
        "kernel {release}: field {path} of struct {name} is a bit-field at bit {bit}, expected \
         whole bytes"
    )]
    BitField {
        /// The kernel.
        release: String,
        /// The struct.
        name: String,
        /// The field.
        path: String,
        /// Where it starts.
        bit: u64,
    },
    /// Several structs bear the name and hold the field in different places.
    #[error(
        "kernel {release} has several structs {name}, with field {path} at {first} and at {second}"
    )]
    Ambiguous {
        /// The kernel.
        release: String,
        /// The struct.
        name: String,
        /// The field.
        path: String,
        /// Its place in one of them.
        first: u32,
        /// Its place in another.
        second: u32,
    },
    /// The field is there but not as wide as the kernel programs read it.
    #[error(
        "kernel {release}: field {path} of struct {name} takes {found} bytes, expected {expected}"
    )]
    Size {
        /// The kernel.
        release: String,
        /// The struct.
        name: String,
        /// The field.
        path: String,
        /// What the kernel programs read.
        expected: u32,
        /// What the kernel has.
        found: u32,
    },
    /// The type information contradicts itself.
    #[error("kernel {release}: cannot find field {path} of struct {name}")]
    Broken {
        /// The kernel.
        release: String,
        /// The struct.
        name: String,
        /// The field.
        path: String,
        /// What is wrong with it.
        source: BtfError,
    },
}
