//! The root file system of the test machines: Debian packages, unpacked and put into an image.
//!
//! The suite is the machine's own, so that what is built here finds its C library there.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::arch::Arch;
use crate::archive::{self, Archive};
use crate::{disk, os, workspace};

/// What the tests and their helpers call. Everything these depend on comes with them.
const PACKAGES: &[&str] = &[
    "base-files",
    "base-passwd",
    "bash",
    "bind9-dnsutils",
    "busybox-static",
    "coreutils",
    "crun",
    "curl",
    "dash",
    "diffutils",
    "dnsmasq-base",
    "dnsperf",
    "dpkg",
    "e2fsprogs",
    "findutils",
    "gawk",
    "gcc",
    "git",
    "grep",
    "gron",
    "gzip",
    "hostname",
    "init-system-helpers",
    "iproute2",
    "kmod",
    "libc-bin",
    "libc6-dev",
    "libgcc-s1",
    "libstdc++6",
    "mount",
    "musl-tools",
    "ncurses-base",
    "ncurses-bin",
    "nodejs",
    "nsd",
    "postgresql-client",
    "procps",
    "python3",
    "python3-requests",
    "redis-tools",
    "rsync",
    "sed",
    "strace",
    "systemd",
    "tar",
    "tmux",
    "util-linux",
];

/// Documents and translations, which no test reads.
const UNWANTED: &[&str] = &[
    "doc",
    "man",
    "locale",
    "info",
    "lintian",
    "bash-completion",
    "perl",
];

/// Changes with everything that shapes the image, so that an old one is made again.
const VERSION: u32 = 2;

const GIB: u64 = 1 << 30;

fn folder(arch: Arch) -> PathBuf {
    workspace::cache().join(format!("root{}", arch.suffix()))
}

fn stamp(suite: &str) -> String {
    format!("{VERSION} {suite} {}", PACKAGES.join(" "))
}

/// The image, if it is there and up to date.
pub(crate) fn cached(arch: Arch) -> Option<PathBuf> {
    let suite = os::debian_suite()?;
    let made = fs::read_to_string(folder(arch).join("stamp")).ok()?;
    let image = folder(arch).join("root.ext4");
    (made == stamp(&suite) && image.exists()).then_some(image)
}

/// The image, made when it is not there yet.
pub(crate) fn get(arch: Arch) -> Result<PathBuf> {
    if let Some(image) = cached(arch) {
        return Ok(image);
    }
    make(arch).context("cannot make the root file system of the test machines")?;
    cached(arch).context("the root file system was made but is not there")
}

/// A static busybox, for the RAM file systems.
pub(crate) fn busybox(arch: Arch) -> Result<PathBuf> {
    get(arch)?;
    Ok(folder(arch).join("busybox"))
}

fn make(arch: Arch) -> Result<()> {
    let Some(suite) = os::debian_suite() else {
        bail!("this needs a Debian system, from whose suite the packages are taken");
    };
    let suites = [
        suite.clone(),
        format!("{suite}-updates"),
        format!("{suite}-security"),
    ];
    let archive = Archive::of_arch("root", &suites.each_ref().map(String::as_str), arch)?;
    let name = arch.debian();
    eprintln!("making the root file system of the {name} test machines from {suite}");
    let work = workspace::cache().join(format!("root.{}.part", std::process::id()));
    let _ = fs::remove_dir_all(&work);
    let tree = work.join("tree");
    prepare(&tree)?;
    archive::unpack(&archive.download_closure(PACKAGES)?, &tree)?;
    archive.forget_downloads()?;
    finish(&tree)?;
    fs::copy(tree.join("usr/bin/busybox"), work.join("busybox"))?;
    disk::make(&tree, &work.join("root.ext4"), GIB)?;
    fs::remove_dir_all(&tree)?;
    fs::write(work.join("stamp"), stamp(&suite))?;
    let _ = fs::remove_dir_all(folder(arch));
    fs::rename(&work, folder(arch))?;
    Ok(())
}

/// The merged layout must be there first: packages of older suites still say `/bin`.
fn prepare(tree: &Path) -> Result<()> {
    for name in ["bin", "sbin", "lib", "lib64"] {
        fs::create_dir_all(tree.join("usr").join(name))?;
        symlink(format!("usr/{name}"), tree.join(name))?;
    }
    Ok(())
}

/// What the packages' own scripts would have done, as far as a test notices.
fn finish(tree: &Path) -> Result<()> {
    for name in UNWANTED {
        let _ = fs::remove_dir_all(tree.join("usr/share").join(name));
    }
    for name in [
        "dev",
        "proc",
        "sys",
        "run",
        "tmp",
        "root",
        "with",
        "lib/modules",
        "usr/local",
        "var/tmp",
    ] {
        fs::create_dir_all(tree.join(name))?;
    }
    for name in ["tmp", "var/tmp"] {
        fs::set_permissions(tree.join(name), fs::Permissions::from_mode(0o1777))?;
    }
    for name in ["passwd", "group"] {
        fs::copy(
            tree.join("usr/share/base-passwd")
                .join(format!("{name}.master")),
            tree.join("etc").join(name),
        )?;
    }
    for (name, content) in [
        ("hostname", "vm\n"),
        ("hosts", "127.0.0.1 localhost vm\n::1 localhost\n"),
        ("resolv.conf", ""),
        ("fstab", ""),
        (
            "nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files\n",
        ),
    ] {
        fs::write(tree.join("etc").join(name), content)?;
    }
    for (name, target) in [("sh", "dash"), ("awk", "gawk")] {
        let link = tree.join("usr/bin").join(name);
        if link.symlink_metadata().is_err() {
            symlink(target, link)?;
        }
    }
    Ok(())
}
