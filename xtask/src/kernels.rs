//! The kernels of the matrix: downloaded, unpacked, ready to boot.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::archive::{self, Archive};
use crate::series::{Choice, Series, choose};
use crate::{disk, initramfs, process, root_image, workspace};

/// The suites that hold kernels of the matrix.
const SUITES: [&str; 6] = [
    "bullseye",
    "bullseye-security",
    "bookworm",
    "bookworm-security",
    "bookworm-backports",
    "trixie-backports",
];

/// A kernel in the cache.
pub(crate) struct Kernel {
    /// The series it stands for.
    pub(crate) series: Series,
    /// What `uname -r` prints in it.
    pub(crate) release: String,
    /// Its boot image.
    pub(crate) image: PathBuf,
    /// A RAM file system that finds the machine's disks.
    pub(crate) initramfs: PathBuf,
    /// A disk with its modules.
    pub(crate) modules: PathBuf,
}

impl Kernel {
    /// The kernel of a series, if it was fetched.
    pub(crate) fn cached(series: Series) -> Option<Self> {
        let folder = folder(series);
        let release = fs::read_to_string(folder.join("release")).ok()?;
        Some(Self {
            series,
            release: release.trim_end().to_owned(),
            image: folder.join("vmlinuz"),
            initramfs: folder.join("initramfs"),
            modules: folder.join("modules.ext4"),
        })
    }

    /// The kernel of a series, fetched when it is not there yet.
    pub(crate) fn get(series: Series) -> Result<Self> {
        if let Some(kernel) = Self::cached(series) {
            return Ok(kernel);
        }
        fetch(series)
    }
}

fn folder(series: Series) -> PathBuf {
    workspace::cache().join("kernels").join(series.to_string())
}

/// Prints the matrix, and what of it is in the cache and in the archive.
pub(crate) fn list() -> Result<()> {
    let names = package_names();
    if let Err(error) = &names {
        eprintln!("the archive cannot be read, so this is the cache alone: {error:#}");
    }
    println!("{:8} {:10} {:38} archive", "kernel", "test", "cache");
    for series in Series::MATRIX {
        let cached = Kernel::cached(series).map_or_else(|| "-".to_owned(), |kernel| kernel.release);
        let newest = match &names {
            Err(_) => "unknown".to_owned(),
            Ok(names) => match choose(series, names) {
                Some(choice) if choice.release == cached => "same".to_owned(),
                Some(choice) => choice.release,
                None => "-".to_owned(),
            },
        };
        let default = if Series::DEFAULT.contains(&series) {
            "default"
        } else {
            ""
        };
        println!("{:8} {default:10} {cached:38} {newest}", series.to_string());
    }
    Ok(())
}

/// Fetches the newest kernel of a series, unless the cache holds it already.
pub(crate) fn fetch(series: Series) -> Result<Kernel> {
    let archive = Archive::of_arch("kernels", &SUITES, series.arch())?;
    let names = archive.names("linux-")?;
    let Some(choice) = choose(series, &names) else {
        bail!(
            "the archive holds no complete kernel {series} (suites {})",
            SUITES.join(", ")
        );
    };
    if let Some(kernel) = Kernel::cached(series).filter(|kernel| kernel.release == choice.release) {
        return Ok(kernel);
    }
    eprintln!("fetching kernel {series}: {}", choice.release);
    make(series, &choice, &archive).with_context(|| format!("cannot fetch kernel {series}"))?;
    Kernel::cached(series).with_context(|| format!("kernel {series} was fetched but is not there"))
}

fn package_names() -> Result<Vec<String>> {
    Archive::open("kernels", &SUITES)?.names("linux-")
}

fn make(series: Series, choice: &Choice, archive: &Archive) -> Result<()> {
    let work = workspace::cache()
        .join("kernels")
        .join(format!("{series}.{}.part", std::process::id()));
    let _ = fs::remove_dir_all(&work);
    let unpacked = work.join("unpacked");
    fs::create_dir_all(&unpacked)?;
    archive::unpack(&archive.download(&choice.packages)?, &unpacked)?;
    archive.forget_downloads()?;

    let image = image(&unpacked, &choice.release)?;
    fs::rename(image, work.join("vmlinuz"))?;

    let tree = work.join("tree");
    let modules = tree.join("lib/modules").join(&choice.release);
    fs::create_dir_all(tree.join("lib/modules"))?;
    let found = ["lib/modules", "usr/lib/modules"]
        .map(|place| unpacked.join(place).join(&choice.release))
        .into_iter()
        .find(|folder| folder.join("kernel").is_dir())
        .with_context(|| format!("no modules in {}", choice.packages.join(", ")))?;
    fs::rename(found, &modules)?;
    process::run(
        Command::new(process::find("depmod").context("no depmod on this machine (package kmod)")?)
            .arg("--basedir")
            .arg(&tree)
            .arg(&choice.release),
    )?;
    let busybox = fs::read(root_image::busybox(series.arch())?)?;
    fs::write(work.join("initramfs"), initramfs::make(&modules, &busybox)?)?;
    disk::make(&tree.join("lib/modules"), &work.join("modules.ext4"), 0)?;
    fs::remove_dir_all(&unpacked)?;
    fs::remove_dir_all(&tree)?;
    // Last: a folder with this file is complete.
    fs::write(work.join("release"), &choice.release)?;
    let folder = folder(series);
    let _ = fs::remove_dir_all(&folder);
    fs::rename(&work, &folder).with_context(|| format!("cannot make {}", folder.display()))
}

fn image(unpacked: &Path, release: &str) -> Result<PathBuf> {
    [
        unpacked.join(format!("boot/vmlinuz-{release}")),
        unpacked.join(format!("usr/lib/modules/{release}/vmlinuz")),
    ]
    .into_iter()
    .find(|image| image.is_file())
    .with_context(|| format!("no boot image of {release} in its packages"))
}
