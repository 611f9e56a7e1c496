//! Which build of the kernel programs is meant: the one in this binary, or one that is in the kernel.

use super::pins::Pins;
use std::fmt;
use std::io;

/// The digest of the object file in this binary.
const OWN: &str = env!("INTERLOCK_EBPF_DIGEST");

/// A build of the kernel programs, by the digest of their object file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build(String);

impl Build {
    /// The one that this binary carries.
    pub fn own() -> Self {
        Self(OWN.to_owned())
    }

    /// Those that are in the kernel. More than one: while one takes another's place, or after that was
    /// interrupted.
    pub fn all_of(pins: &Pins) -> io::Result<Vec<Self>> {
        let is_whole = |name: &String| name.len() == OWN.len();
        let names = std::fs::read_dir(pins.builds())?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()?;
        Ok(names.into_iter().filter(is_whole).map(Self).collect())
    }

    /// The names of its programs.
    pub fn programs(&self, pins: &Pins) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(pins.build(self))?;
        let name = |entry: io::Result<std::fs::DirEntry>| {
            Ok(entry?.file_name().to_string_lossy().into_owned())
        };
        entries.map(name).collect()
    }

    /// As the folder of its programs is called.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
