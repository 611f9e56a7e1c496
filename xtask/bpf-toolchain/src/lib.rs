//! Finds the compiler and linker for the kernel programs, and runs them.
//!
//! Used by `agent/build.rs`, so that a plain `cargo build` works, and by `cargo xtask setup`, so
//! that both agree on what is missing. Two compilers will do:
//!
//! - a rustc that carries a ready-made `core` for the BPF target (Debian's packages do);
//! - rustup's nightly with `rust-src`, which builds `core` on the way.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The target of the kernel programs.
pub const TARGET: &str = "bpfel-unknown-none";

/// The file that a build leaves in its target directory.
pub const OBJECT: &str = "interlock-ebpf";

/// A compiler that can build for [`TARGET`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compiler {
    /// A rustc whose sysroot holds `core` for the target.
    Prebuilt(PathBuf),
    /// rustup's nightly, which must build `core` first.
    Nightly,
}

/// What the kernel programs are built with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    /// The compiler.
    pub compiler: Compiler,
    /// The linker.
    pub linker: PathBuf,
}

/// A part of the toolchain that was not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// No compiler for the target.
    Compiler,
    /// No `bpf-linker`.
    Linker,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Compiler => {
                "no compiler for the BPF target (neither Debian's rustc-web with \
                 libstd-rust-web-dev-bpf, nor rustup's nightly with rust-src)"
            }
            Self::Linker => "no bpf-linker on PATH or in cargo's bin folder",
        })
    }
}

impl std::error::Error for Missing {}

/// Why a build failed.
#[derive(Debug)]
pub enum BuildError {
    /// The compiler could not be started.
    Start(std::io::Error),
    /// The compiler said no; its words are on standard error.
    Failed(std::process::ExitStatus),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(_) => f.write_str("cannot start cargo for the kernel programs"),
            Self::Failed(status) => write!(f, "the kernel programs do not build: cargo {status}"),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Start(source) => Some(source),
            Self::Failed(_) => None,
        }
    }
}

impl Toolchain {
    /// Looks for a compiler and the linker on this machine.
    pub fn find() -> Result<Self, Missing> {
        Ok(Self {
            compiler: find_compiler().ok_or(Missing::Compiler)?,
            linker: find_linker().ok_or(Missing::Linker)?,
        })
    }

    /// Builds the kernel programs of the workspace at `root` and returns the object file.
    pub fn build(&self, root: &Path, target_dir: &Path) -> Result<PathBuf, BuildError> {
        let status = self
            .cargo("build", root, target_dir)
            .status()
            .map_err(BuildError::Start)?;
        if !status.success() {
            return Err(BuildError::Failed(status));
        }
        Ok(target_dir.join(TARGET).join("release").join(OBJECT))
    }

    /// A cargo command for the kernel programs, which the caller may extend.
    pub fn cargo(&self, verb: &str, root: &Path, target_dir: &Path) -> Command {
        let mut cargo = Command::new("cargo");
        // Inside a build script cargo describes the outer build in the environment; none of it
        // fits the inner one.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(describes_outer_build) {
                cargo.env_remove(name);
            }
        }
        match &self.compiler {
            Compiler::Prebuilt(rustc) => {
                cargo
                    .arg(verb)
                    .env("RUSTC", rustc)
                    .env("RUSTC_BOOTSTRAP", "1");
            }
            Compiler::Nightly => {
                cargo.args(["+nightly", verb, "-Z", "build-std=core"]);
            }
        }
        cargo
            .current_dir(root)
            .args([
                "--package",
                "agent-ebpf",
                "--release",
                "--target",
                TARGET,
                "--target-dir",
            ])
            .arg(target_dir)
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &self.linker)
            .env(
                "CARGO_TARGET_BPFEL_UNKNOWN_NONE_RUSTFLAGS",
                // aya asks for a processor. The programs are told it when they are loaded, so that the
                // object is the same for all. And it is the same wherever it is built.
                format!(
                    "--cfg bpf_target_arch=\"x86_64\" -C debuginfo=2 -C link-arg=--btf {}",
                    without_folders(root)
                ),
            );
        cargo
    }
}

fn describes_outer_build(name: &str) -> bool {
    let kept = ["CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_TERM_COLOR"];
    let outer = [
        "RUSTC",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTDOC",
        "RUSTFLAGS",
    ];
    (name.starts_with("CARGO") && !kept.contains(&name))
        || outer.contains(&name)
        || name == "RUSTUP_TOOLCHAIN"
        || name == "CLIPPY_ARGS"
}

fn find_compiler() -> Option<Compiler> {
    let system = PathBuf::from("/usr/bin/rustc");
    if system.exists() && target_is_in_sysroot(&system) {
        return Some(Compiler::Prebuilt(system));
    }
    let sysroot = sysroot(Command::new("rustc").arg("+nightly"))?;
    let source = sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml");
    source.exists().then_some(Compiler::Nightly)
}

fn target_is_in_sysroot(rustc: &Path) -> bool {
    sysroot(&mut Command::new(rustc)).is_some_and(|sysroot| {
        sysroot
            .join("lib/rustlib")
            .join(TARGET)
            .join("lib")
            .exists()
    })
}

fn sysroot(rustc: &mut Command) -> Option<PathBuf> {
    let output = rustc
        .args(["--print", "sysroot"])
        .env_remove("RUSTUP_TOOLCHAIN")
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output
        .status
        .success()
        .then(|| PathBuf::from(text.trim_end()))
}

/// Flags by which what the compiler makes names no folder of this machine, and is the same wherever it is built.
pub fn without_folders(root: &Path) -> String {
    let root = (root.to_owned(), "/interlock");
    let home = cargo_home().map(|home| (home, "/cargo"));
    let flags = [root].into_iter().chain(home);
    let flags = flags.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    flags.collect::<Vec<_>>().join(" ")
}

/// Where cargo keeps what it has fetched.
pub fn cargo_home() -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))
}

/// Where `cargo install` puts programs.
pub fn cargo_bin() -> Option<PathBuf> {
    cargo_home().map(|home| home.join("bin"))
}

fn find_linker() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(cargo_bin())
        .map(|folder| folder.join("bpf-linker"))
        .find(|candidate| candidate.is_file())
}
