//! A Kubernetes API server for the machines that test against one. No registry that is reached here has one ready
//! made, so it is built from Debian's source package, once: some five minutes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::archive::{self, Archive};
use crate::{os, process, workspace};

/// What it stores things in, what asks it, and what makes its keys.
const PACKAGES: [&str; 3] = ["etcd-server", "kubernetes-client", "openssl"];

/// The folder's name, below `/with` in the machine.
const NAME: &str = "kubernetes";

/// What the tests that need one are named after.
const TESTS: &str = "kubernetes";

/// What builds it. The source's own copy of the library crashes where it is built by a Go after 1.17.
const BUILDERS: [&str; 2] = ["golang-go", "golang-github-modern-go-reflect2-dev"];
const LIBRARY: &str = "github.com/modern-go/reflect2";

/// What its source calls itself.
const IMPORT: &str = "k8s.io/kubernetes";

/// The folder with it, if one of the words of a machine's command asks for it; made when it is not there yet.
pub(crate) fn wanted_by(command: &[String]) -> Result<Option<PathBuf>> {
    if !command.iter().any(|word| word.contains(TESTS)) {
        return Ok(None);
    }
    let Some(suite) = os::debian_suite() else {
        bail!("this needs a Debian system, from whose suite the API server is taken");
    };
    let folder = workspace::cache().join("kubernetes").join(&suite);
    let tree = folder.join(NAME);
    if !tree.exists() {
        let part = folder.join(format!("{}.part", std::process::id()));
        let _ = fs::remove_dir_all(&part);
        fs::create_dir_all(part.join("usr/bin"))?;
        let archive = Archive::open("root", &[&suite])?;
        let packages = PACKAGES.map(str::to_owned);
        archive::unpack(&archive.download(&packages)?, &part)?;
        archive.forget_downloads()?;
        let _ = fs::remove_dir_all(part.join("usr/share"));
        let made = folder.join("build");
        fs::create_dir_all(&made)?;
        build(&suite, &made, &part.join("usr/bin/kube-apiserver"))?;
        fs::remove_dir_all(made)?;
        fs::rename(&part, &tree)?;
    }
    Ok(Some(tree))
}

/// Builds the server, with Debian's Go, in a folder.
fn build(suite: &str, folder: &Path, to: &Path) -> Result<()> {
    eprintln!("building a Kubernetes API server from Debian's source, which takes some minutes");
    let archive = Archive::open("root", &[suite])?;
    archive::unpack(&archive.download_closure(&BUILDERS)?, folder)?;
    archive.forget_downloads()?;
    let source = Archive::of_sources("source", suite)?.source("kubernetes")?;
    let place = folder.join("go/src").join(IMPORT);
    fs::create_dir_all(&place)?;
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--strip-components=1", "--file"]);
    process::run(tar.arg(&source).arg("--directory").arg(&place))?;
    let old = place.join("vendor").join(LIBRARY);
    fs::remove_dir_all(&old).with_context(|| format!("cannot remove {}", old.display()))?;
    let new = folder.join("usr/share/gocode/src").join(LIBRARY);
    process::run(Command::new("cp").arg("--recursive").args([&new, &old]))?;
    let go = Go {
        root: folder.join("usr/lib/go"),
        path: folder.join("go"),
        place,
    };
    go.describe_types()?;
    let version = version(&source)?;
    let linked = format!(
        "-s -w -X k8s.io/component-base/version.gitVersion=v{version} \
         -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor={}",
        version.split('.').nth(1).unwrap_or_default()
    );
    let mut build = go.command("build");
    build.args(["-trimpath", "-ldflags", &linked, "-o"]).arg(to);
    process::run(build.arg(format!("{IMPORT}/cmd/kube-apiserver")))?;
    Ok(())
}

/// The version in a source's name: of `1.20.5+really1.20.2`, what it really is.
fn version(source: &Path) -> Result<String> {
    let name = source.file_name().unwrap_or_default().to_string_lossy();
    let version = name
        .strip_prefix("kubernetes_")
        .and_then(|name| name.strip_suffix(".orig.tar.gz"))
        .with_context(|| format!("found {name}, expected kubernetes_VERSION.orig.tar.gz"))?;
    let version = version.rsplit("really").next().unwrap_or(version);
    Ok(version.to_owned())
}

/// A Go, and where its sources lie.
struct Go {
    root: PathBuf,
    path: PathBuf,
    place: PathBuf,
}

impl Go {
    fn command(&self, verb: &str) -> Command {
        let mut go = Command::new(self.root.join("bin/go"));
        go.arg(verb)
            .current_dir(&self.place)
            .env("GOROOT", &self.root)
            .env("GOPATH", &self.path)
            .env("GOCACHE", self.path.join("cache"))
            .envs([
                ("GO111MODULE", "off"),
                ("GOPROXY", "off"),
                ("CGO_ENABLED", "0"),
            ]);
        go
    }

    /// Writes what the server knows of its own types, which the source leaves to be generated.
    fn describe_types(&self) -> Result<()> {
        let mut types = Vec::new();
        for (folder, import) in [
            ("staging/src/k8s.io", "k8s.io"),
            ("pkg", &format!("{IMPORT}/pkg")),
        ] {
            let folder = self.place.join(folder);
            let mut grep = Command::new("grep");
            grep.args(["-rl", "--include=*.go", "+k8s:openapi-gen=", "."]);
            let found = process::text(grep.current_dir(folder))?;
            let is_ours = |file: &&str| {
                let others = [
                    "_test",
                    "testdata",
                    "/examples/",
                    "sample",
                    "code-generator",
                ];
                !others.iter().any(|other| file.contains(other))
            };
            for file in found.lines().filter(is_ours) {
                let folder = Path::new(file).parent().unwrap_or(Path::new("."));
                let folder = folder.strip_prefix(".").unwrap_or(folder);
                types.push(format!("{import}/{}", folder.display()));
            }
        }
        types.sort();
        types.dedup();
        let mut run = self.command("run");
        run.arg(format!(
            "{IMPORT}/vendor/k8s.io/kube-openapi/cmd/openapi-gen"
        ));
        run.args([
            "-O",
            "zz_generated.openapi",
            "-h",
            "hack/boilerplate/boilerplate.generatego.txt",
        ]);
        run.args([
            "-i",
            &types.join(","),
            "-p",
            &format!("{IMPORT}/pkg/generated/openapi"),
        ]);
        run.arg("-r").arg(self.path.join("violations"));
        process::run(&mut run)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::version;
    use std::path::Path;

    #[test]
    fn a_source_is_what_it_really_is() {
        let of = |name: &str| version(Path::new(name)).ok();
        let really = "/a/kubernetes_1.20.5+really1.20.2.orig.tar.gz";
        assert_eq!(of(really).as_deref(), Some("1.20.2"));
        assert_eq!(
            of("kubernetes_1.31.4.orig.tar.gz").as_deref(),
            Some("1.31.4")
        );
        assert_eq!(of("kubernetes.dsc"), None);
    }
}
