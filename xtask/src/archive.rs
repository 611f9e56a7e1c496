//! Debian's package archive, read through a private apt configuration: the machine's own sources
//! and package database stay as they are, and nobody needs to be root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};

use crate::arch::Arch;
use crate::mirror::Mirror;
use crate::{process, workspace};

/// Lists older than this are read again before a download.
const FRESH: Duration = Duration::from_secs(12 * 60 * 60);

/// Some suites of the archive, and a folder for what apt knows about them.
pub(crate) struct Archive {
    folder: PathBuf,
    arch: Arch,
}

impl Archive {
    /// Opens the suites under a name of the cache; reads their package lists when those are old.
    pub(crate) fn open(name: &str, suites: &[&str]) -> Result<Self> {
        Self::of_arch(name, suites, Arch::OWN)
    }

    /// The same for another processor.
    pub(crate) fn of_arch(name: &str, suites: &[&str], arch: Arch) -> Result<Self> {
        let mirror = Mirror::of_this_machine();
        let lines = suites.iter().map(|suite| mirror.line(suite));
        Self::of_lines(name, &lines.collect::<String>(), arch)
    }

    /// The same for the sources of a suite.
    pub(crate) fn of_sources(name: &str, suite: &str) -> Result<Self> {
        let line = Mirror::of_this_machine().line(suite);
        Self::of_lines(name, &line.replacen("deb ", "deb-src ", 1), Arch::OWN)
    }

    fn of_lines(name: &str, sources: &str, arch: Arch) -> Result<Self> {
        let name = format!("{name}{}", arch.suffix());
        let archive = Self {
            folder: workspace::cache().join("apt").join(name),
            arch,
        };
        for folder in ["lists/partial", "cache/archives/partial"] {
            let folder = archive.folder.join(folder);
            fs::create_dir_all(&folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let list = archive.folder.join("sources.list");
        let changed = fs::read_to_string(&list).ok().as_deref() != Some(sources);
        let stamp = archive.folder.join("updated");
        if changed || age(&stamp).is_none_or(|age| age > FRESH) {
            fs::write(&list, sources)?;
            // An empty database: dependencies are resolved down to the C library.
            fs::write(archive.folder.join("status"), "")?;
            eprintln!("reading package lists: {}", sources.trim_end());
            process::run(archive.apt("apt-get").args(["--quiet", "update"]))?;
            fs::write(&stamp, "")?;
        }
        Ok(archive)
    }

    /// The names of all packages that begin with `prefix`.
    pub(crate) fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let text = process::text(self.apt("apt-cache").args(["pkgnames", prefix]))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Downloads exactly these packages and returns their files.
    pub(crate) fn download(&self, packages: &[String]) -> Result<Vec<PathBuf>> {
        let folder = self.folder.join("download");
        // Whatever an earlier, interrupted run left must not be mistaken for this one's.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        process::run(
            self.apt("apt-get")
                .args(["--quiet", "download"])
                .args(packages)
                .current_dir(&folder),
        )?;
        packages_in(&folder)
    }

    /// Downloads these packages and all that they depend on, and returns the files.
    pub(crate) fn download_closure(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        self.forget_downloads()?;
        process::run(
            self.apt("apt-get")
                .args([
                    "--quiet",
                    "--yes",
                    "--no-install-recommends",
                    "--download-only",
                ])
                .arg("install")
                .args(packages),
        )?;
        packages_in(&self.folder.join("cache/archives"))
    }

    /// Downloads the source of a package, as its authors wrote it, and returns the file.
    pub(crate) fn source(&self, package: &str) -> Result<PathBuf> {
        let folder = self.folder.join("download");
        fs::create_dir_all(&folder)?;
        let mut get = self.apt("apt-get");
        get.args(["--quiet", "--download-only", "source", package]);
        process::run(get.current_dir(&folder))?;
        let mut files = fs::read_dir(&folder)?.flatten().map(|entry| entry.path());
        let source = files.find(|path| path.to_string_lossy().contains(".orig.tar."));
        source.with_context(|| format!("the source of {package} is not in {}", folder.display()))
    }

    /// Removes the package files that were downloaded.
    pub(crate) fn forget_downloads(&self) -> Result<()> {
        for folder in ["cache/archives", "download"] {
            let folder = self.folder.join(folder);
            if folder.exists() {
                for file in packages_in(&folder)? {
                    fs::remove_file(file)?;
                }
            }
        }
        Ok(())
    }

    fn apt(&self, program: &str) -> Command {
        let own = |name: &str| self.folder.join(name).display().to_string();
        let mut apt = Command::new(program);
        for (option, value) in [
            ("Dir::State", own("")),
            ("Dir::State::Lists", own("lists")),
            ("Dir::State::status", own("status")),
            ("Dir::Cache", own("cache")),
            // Debian's container images switch these off.
            ("Dir::Cache::pkgcache", "pkgcache.bin".to_owned()),
            ("Dir::Cache::srcpkgcache", "srcpkgcache.bin".to_owned()),
            ("Dir::Etc::SourceList", own("sources.list")),
            ("Dir::Etc::SourceParts", "/dev/null".to_owned()),
            ("Dir::Etc::Preferences", "/dev/null".to_owned()),
            ("Dir::Etc::PreferencesParts", "/dev/null".to_owned()),
            // The machine's own hooks after an update are not meant for this.
            ("APT::Update::Post-Invoke", String::new()),
            ("APT::Update::Post-Invoke-Success", String::new()),
            ("APT::Sandbox::User", String::new()),
            ("APT::Architecture", self.arch.debian().to_owned()),
            ("APT::Architectures", self.arch.debian().to_owned()),
            ("Acquire::Languages", "none".to_owned()),
            // Suites out of regular support keep a signature, but its date has passed.
            ("Acquire::Check-Valid-Until", "false".to_owned()),
            ("Acquire::Retries", "3".to_owned()),
            (
                "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled",
                "false".to_owned(),
            ),
        ] {
            apt.arg("--option").arg(format!("{option}={value}"));
        }
        apt.env("LC_ALL", "C.UTF-8");
        apt
    }
}

/// Unpacks packages into a folder; nothing of them is run.
///
/// `dpkg -x` would replace a link to a folder, such as `/bin` of the merged layout, by a folder.
pub(crate) fn unpack(packages: &[PathBuf], folder: &Path) -> Result<()> {
    for package in packages {
        let mut reader = Command::new("dpkg-deb")
            .arg("--fsys-tarfile")
            .arg(package)
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start dpkg-deb")?;
        let content = reader.stdout.take().context("dpkg-deb has an output")?;
        process::run(
            Command::new("tar")
                .args([
                    "--extract",
                    "--keep-directory-symlink",
                    "--preserve-permissions",
                ])
                .arg("--directory")
                .arg(folder)
                .stdin(content),
        )
        .with_context(|| format!("cannot unpack {}", package.display()))?;
        if !reader.wait()?.success() {
            bail!("cannot unpack {}: dpkg-deb failed", package.display());
        }
    }
    Ok(())
}

fn packages_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn age(file: &Path) -> Option<Duration> {
    let modified = fs::metadata(file).ok()?.modified().ok()?;
    SystemTime::now().duration_since(modified).ok()
}
