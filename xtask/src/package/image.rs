//! The container image: both programs and nothing else, made by buildah without a registry and without a daemon.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::{PROGRAMS, built, folder};
use crate::arch::Arch;
use crate::{process, workspace};

/// Makes it, and makes it once more: it must be the same.
pub(super) fn make(arch: Arch) -> Result<()> {
    let target = workspace::target().join("image");
    fs::create_dir_all(&target)?;
    let version = env!("CARGO_PKG_VERSION");
    let archive = target.join(format!("interlock-{version}{}.tar", arch.suffix()));
    let digest = once(&archive, arch)?;
    let again = target.join("again.tar");
    let other = once(&again, arch)?;
    fs::remove_file(&again)?;
    ensure!(
        digest == other,
        "the same programs gave another image: {digest} and {other}"
    );
    println!("{} {digest}", workspace::shown(&archive));
    Ok(())
}

/// The digest of the image that was put into an archive.
fn once(archive: &Path, arch: Arch) -> Result<String> {
    let container = said(&["from", "scratch"])?;
    let outcome = fill(&container, archive, arch);
    said(&["rm", &container])?;
    outcome
}

fn fill(container: &str, archive: &Path, arch: Arch) -> Result<String> {
    for (program, _) in PROGRAMS {
        let path = built(program, arch);
        let path = path.to_str().context("a path of UTF-8")?;
        let to = format!("/{program}");
        said(&[
            "copy", "--chmod", "0755", "--chown", "0:0", container, path, &to,
        ])?;
        let list = folder().join(format!("{program}.cdx.json"));
        let list = list.to_str().context("a path of UTF-8")?;
        let to = format!("/sbom/{program}.cdx.json");
        said(&[
            "copy", "--chmod", "0644", "--chown", "0:0", container, list, &to,
        ])?;
    }
    let version = format!(
        "org.opencontainers.image.version={}",
        env!("CARGO_PKG_VERSION")
    );
    said(&[
        "config",
        "--arch",
        arch.debian(),
        "--entrypoint",
        r#"["/interlock"]"#,
        "--cmd",
        "",
        "--label",
        "org.opencontainers.image.title=Interlock",
        "--label",
        &version,
        "--label",
        "org.opencontainers.image.licenses=Apache-2.0 OR MIT",
        container,
    ])?;
    if archive.exists() {
        fs::remove_file(archive)?;
    }
    let to = format!("oci-archive:{}", archive.display());
    said(&["commit", "--timestamp", "0", container, &to])?;
    digest(archive)
}

/// What an archive says of the image in it.
fn digest(archive: &Path) -> Result<String> {
    let mut tar = Command::new("tar");
    tar.arg("--extract").arg("--to-stdout");
    let index = process::text(tar.arg("--file").arg(archive).arg("index.json"))?;
    let index: serde_json::Value = serde_json::from_str(&index).context("index.json")?;
    let digest = index["manifests"][0]["digest"].as_str();
    Ok(digest.context("a digest in index.json")?.to_owned())
}

/// A verb of buildah. Its own folders lie in the cache: those of the machine are left alone.
fn said(words: &[&str]) -> Result<String> {
    let home = workspace::cache().join("buildah");
    let mut buildah = Command::new("buildah");
    buildah.args(["--storage-driver", "vfs"]);
    buildah.arg("--root").arg(home.join("root"));
    buildah.arg("--runroot").arg(home.join("run"));
    Ok(process::text(buildah.args(words))?.trim().to_owned())
}
