//! What each part needs, why, and where it comes from.

use std::path::Path;
use std::process::Command;

use bpf_toolchain::{Missing, Toolchain};

use super::Part;
use crate::arch::Arch;
use crate::{process, workspace};

/// One thing that must be on this machine.
pub(super) struct Need {
    /// What it is called.
    pub(super) name: &'static str,
    /// What it is needed for.
    pub(super) reason: &'static str,
    /// Debian's packages that hold it, or that it is built with.
    pub(super) packages: &'static [&'static str],
    /// How it is built, when no package holds it.
    pub(super) build: Option<Build>,
    /// Where it comes from on another system.
    pub(super) elsewhere: &'static str,
    found: fn() -> bool,
}

impl Need {
    /// Whether it is there.
    pub(super) fn is_met(&self) -> bool {
        (self.found)()
    }

    /// Whether nothing here can install it.
    pub(super) fn is_for_a_person(&self) -> bool {
        self.packages.is_empty() && self.build.is_none()
    }
}

/// How what no package holds comes here.
#[derive(Clone, Copy)]
pub(super) enum Build {
    /// A program that cargo builds from crates.io.
    Install {
        /// Which, and how.
        arguments: &'static [&'static str],
        /// What cargo is told beside that.
        environment: &'static [(&'static str, &'static str)],
    },
    /// Rust's library for another processor.
    Library(Arch),
}

impl Build {
    /// The command.
    pub(super) fn command(self) -> Command {
        match self {
            Self::Install {
                arguments,
                environment,
            } => {
                let mut cargo = Command::new("cargo");
                cargo.arg("install").args(arguments);
                cargo.envs(environment.iter().copied());
                // Not in the workspace, whose toolchain file and settings are not meant for it.
                cargo.current_dir("/");
                cargo
            }
            Self::Library(arch) => {
                let mut rustup = Command::new("rustup");
                rustup.args(["target", "add", arch.target()]);
                // For the toolchain of the workspace.
                rustup.current_dir(workspace::root());
                rustup
            }
        }
    }

    /// The command, for a person.
    pub(super) fn line(self) -> String {
        match self {
            Self::Install { arguments, .. } => format!("cargo install {}", arguments.join(" ")),
            Self::Library(arch) => format!("rustup target add {}", arch.target()),
        }
    }
}

const BUILD: &[Need] = &[
    Need {
        name: "rustc for the BPF target",
        reason: "compiles the kernel programs",
        packages: &["rustc-web", "libstd-rust-web-dev-bpf"],
        build: None,
        elsewhere: "`rustup toolchain install nightly --component rust-src,clippy`",
        found: || !matches!(Toolchain::find(), Err(Missing::Compiler)),
    },
    Need {
        name: "cc",
        reason: "links user space",
        packages: &["gcc", "libc6-dev"],
        build: None,
        elsewhere: "the system's C compiler",
        found: || process::find("cc").is_some(),
    },
    Need {
        name: "bpf-linker",
        reason: "links the kernel programs",
        packages: &[
            "g++",
            "llvm-22-dev",
            "libpolly-22-dev",
            "zlib1g-dev",
            "libzstd-dev",
            "libxml2-dev",
        ],
        build: Some(Build::Install {
            arguments: &[
                "bpf-linker@0.13.0",
                "--quiet",
                "--no-default-features",
                "--features",
                "llvm-22",
            ],
            environment: &[("LLVM_PREFIX", "/usr/lib/llvm-22")],
        }),
        elsewhere: "`cargo install bpf-linker@0.13.0`, with the LLVM of the compiler above",
        found: || installed("bpf-linker"),
    },
];

const VM: &[Need] = &[
    Need {
        name: "qemu-system-x86_64",
        reason: "runs the test machines",
        packages: &["qemu-system-x86"],
        build: None,
        elsewhere: "QEMU 7.2 or newer, for x86-64",
        found: || process::find("qemu-system-x86_64").is_some(),
    },
    Need {
        name: "mke2fs",
        reason: "makes the disks of the test machines",
        packages: &["e2fsprogs"],
        build: None,
        elsewhere: "e2fsprogs",
        found: || process::find("mke2fs").is_some(),
    },
    Need {
        name: "depmod",
        reason: "indexes the modules of the kernels",
        packages: &["kmod"],
        build: None,
        elsewhere: "kmod",
        found: || process::find("depmod").is_some(),
    },
    Need {
        name: "xz",
        reason: "unpacks the modules of the kernels",
        packages: &["xz-utils"],
        build: None,
        elsewhere: "xz",
        found: || process::find("xz").is_some(),
    },
    Need {
        name: "apt and dpkg",
        reason: "fetch the kernels and the root file system of the test machines",
        packages: &["apt", "dpkg"],
        build: None,
        elsewhere: "a Debian system, or a container with one, for this part",
        found: || {
            ["apt-get", "dpkg-deb"]
                .iter()
                .all(|name| process::find(name).is_some())
        },
    },
];

const LINT: &[Need] = &[
    Need {
        name: "clippy for the BPF target",
        reason: "lints the kernel programs",
        packages: &["rust-web-clippy"],
        build: None,
        elsewhere: "`rustup component add clippy --toolchain nightly`",
        found: || crate::lint::kernel_clippy().is_some(),
    },
    Need {
        name: "cargo-deny",
        reason: "checks licences and sources of all dependencies",
        packages: &[],
        // It runs for a second: compiling it fast is worth more than compiling it well.
        build: Some(Build::Install {
            arguments: &["cargo-deny@0.20.2", "--quiet", "--locked"],
            environment: &[
                ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
                ("CARGO_PROFILE_RELEASE_LTO", "off"),
                ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
            ],
        }),
        elsewhere: "`cargo install cargo-deny@0.20.2 --locked`",
        found: || installed("cargo-deny"),
    },
];

const FUZZ: &[Need] = &[
    Need {
        name: "the nightly compiler",
        reason: "instruments the fuzz targets, which stable cannot",
        packages: &[],
        build: None,
        elsewhere: "`rustup toolchain install nightly --profile minimal`",
        found: || process::run(Command::new("cargo").args(["+nightly", "--version"])).is_ok(),
    },
    Need {
        name: "c++",
        reason: "compiles libFuzzer",
        packages: &["g++"],
        build: None,
        elsewhere: "the system's C++ compiler",
        found: || process::find("c++").is_some(),
    },
    Need {
        name: "cargo-fuzz",
        reason: "builds the fuzz targets",
        packages: &[],
        build: Some(Build::Install {
            arguments: &["cargo-fuzz@0.13.2", "--quiet", "--locked"],
            environment: &[("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")],
        }),
        elsewhere: "`cargo install cargo-fuzz@0.13.2 --locked`",
        found: || installed("cargo-fuzz"),
    },
];

const DEB: &[Need] = &[
    Need {
        name: "dpkg-shlibdeps and strip",
        reason: "are called by cargo-deb",
        packages: &["dpkg-dev", "binutils"],
        build: None,
        elsewhere: "dpkg-dev and binutils",
        found: || process::find("dpkg-shlibdeps").is_some() && process::find("strip").is_some(),
    },
    Need {
        name: "cargo-deb",
        reason: "makes the Debian packages",
        packages: &[],
        build: Some(Build::Install {
            arguments: &["cargo-deb@3.8.0", "--quiet", "--locked"],
            environment: &[
                ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
                ("CARGO_PROFILE_RELEASE_LTO", "off"),
                ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
            ],
        }),
        elsewhere: "`cargo install cargo-deb@3.8.0 --locked`",
        found: || installed("cargo-deb"),
    },
];

const IMAGE: &[Need] = &[Need {
    name: "buildah",
    reason: "makes the container image",
    packages: &["buildah"],
    build: None,
    elsewhere: "buildah 1.28 or newer",
    found: || process::find("buildah").is_some(),
}];

const FOREIGN: &[Need] = &[
    Need {
        name: "a C compiler for arm64",
        reason: "builds and links user space for it",
        packages: &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
        build: None,
        elsewhere: "aarch64-linux-gnu-gcc, with a C library",
        found: || process::find(Arch::Arm64.cross_compiler()).is_some(),
    },
    Need {
        name: "Rust's library for arm64",
        reason: "is linked into user space for it",
        packages: &[],
        build: Some(Build::Library(Arch::Arm64)),
        elsewhere: "`rustup target add aarch64-unknown-linux-gnu`",
        found: has_library_for_arm64,
    },
    Need {
        name: "qemu-system-aarch64",
        reason: "runs test machines with arm64",
        packages: &["qemu-system-arm"],
        build: None,
        elsewhere: "QEMU 7.2 or newer, for arm64",
        found: || process::find(Arch::Arm64.emulator()).is_some(),
    },
];

fn has_library_for_arm64() -> bool {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", Arch::Arm64.target()]);
    process::text(rustc.current_dir(workspace::root()))
        .is_ok_and(|folder| Path::new(folder.trim()).exists())
}

/// What a part needs.
pub(super) fn of(part: Part) -> &'static [Need] {
    match part {
        Part::Build => BUILD,
        Part::Vm => VM,
        Part::Lint => LINT,
        Part::Fuzz => FUZZ,
        Part::Deb => DEB,
        Part::Image => IMAGE,
        Part::Foreign => FOREIGN,
    }
}

/// On PATH, or where `cargo install` puts programs.
fn installed(program: &str) -> bool {
    process::find(program).is_some()
        || bpf_toolchain::cargo_bin().is_some_and(|folder| folder.join(program).is_file())
}
