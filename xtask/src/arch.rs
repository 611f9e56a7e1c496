//! The processors that the programs are built for, and that test machines have.

use clap::ValueEnum;

/// One of them, by Debian's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub(crate) enum Arch {
    /// x86-64
    Amd64,
    /// 64-bit Arm
    Arm64,
}

impl Arch {
    /// This machine's own.
    #[cfg(target_arch = "x86_64")]
    pub(crate) const OWN: Self = Self::Amd64;
    /// This machine's own.
    #[cfg(target_arch = "aarch64")]
    pub(crate) const OWN: Self = Self::Arm64;

    /// What Debian calls it.
    pub(crate) fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// What Rust calls it.
    pub(crate) fn target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// The C compiler that builds and links for it on a machine of another kind.
    pub(crate) fn cross_compiler(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-linux-gnu-gcc",
            Self::Arm64 => "aarch64-linux-gnu-gcc",
        }
    }

    /// What emulates it.
    pub(crate) fn emulator(self) -> &'static str {
        match self {
            Self::Amd64 => "qemu-system-x86_64",
            Self::Arm64 => "qemu-system-aarch64",
        }
    }

    /// What a name is followed by that is otherwise one of this machine's own kind.
    pub(crate) fn suffix(self) -> String {
        if self == Self::OWN {
            return String::new();
        }
        format!("-{}", self.debian())
    }
}
