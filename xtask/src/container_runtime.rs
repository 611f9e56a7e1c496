//! Container runtimes for the machines that test containers: Debian's, unpacked beside the root file
//! system and given to these machines only, because they are larger than all the rest.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::archive::{self, Archive};
use crate::{os, workspace};

/// A runtime, with everything that it needs and the root file system does not have.
struct Runtime {
    /// The folder's name, below `/with` in the machine; tests that need it have it in their names.
    name: &'static str,
    packages: &'static [&'static str],
}

const RUNTIMES: [Runtime; 3] = [
    Runtime {
        name: "containers",
        packages: &[
            "containerd",
            "containernetworking-plugins",
            "libseccomp2",
            "runc",
        ],
    },
    Runtime {
        name: "podman",
        packages: &[
            "conmon",
            "libassuan0",
            "libdevmapper1.02.1",
            "libglib2.0-0",
            "libgpgme11",
            "libsubid4",
            "podman",
        ],
    },
    Runtime {
        name: "docker",
        packages: &[
            "containerd",
            "docker.io",
            "libdevmapper1.02.1",
            "libseccomp2",
            "runc",
            "tini",
        ],
    },
];

/// The folders with the runtimes that the words of a machine's command ask for; made when they are not
/// there yet.
pub(crate) fn wanted_by(command: &[String]) -> Result<Vec<PathBuf>> {
    let is_wanted = |runtime: &&Runtime| {
        let family = format!("{}.", runtime.name);
        command.iter().any(|word| word.contains(&family))
    };
    let wanted = RUNTIMES.iter().filter(is_wanted);
    wanted.map(Runtime::folder).collect()
}

impl Runtime {
    fn folder(&self) -> Result<PathBuf> {
        let Some(suite) = os::debian_suite() else {
            bail!("this needs a Debian system, from whose suite the container runtime is taken");
        };
        // Called after what is in it, so that an old one is not taken for this.
        let made_of = format!("{suite}-{}", self.packages.join("-"));
        let folder = workspace::cache().join("runtime").join(made_of);
        let tree = folder.join(self.name);
        if !tree.exists() {
            let suites = [
                suite.clone(),
                format!("{suite}-updates"),
                format!("{suite}-security"),
            ];
            let archive = Archive::open("root", &suites.each_ref().map(String::as_str))?;
            eprintln!("getting {} from {suite}", self.packages.join(", "));
            let part = folder.join(format!("{}.part", std::process::id()));
            let _ = fs::remove_dir_all(&part);
            fs::create_dir_all(&part)?;
            let packages: Vec<String> = self.packages.iter().map(|&it| it.to_owned()).collect();
            archive::unpack(&archive.download(&packages)?, &part)
                .context("cannot unpack the container runtime")?;
            archive.forget_downloads()?;
            let _ = fs::remove_dir_all(part.join("usr/share"));
            fs::rename(&part, &tree)?;
        }
        Ok(tree)
    }
}
