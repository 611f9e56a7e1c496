//! Which kernels the project is tested on, and which package of the archive holds the newest of
//! each.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::arch::Arch;

/// Debian's smallest kernels: they boot fastest and have all that is tested here.
const FLAVOUR: &str = "-cloud";

/// A line of kernels for one processor: all of one minor version, or all of one major version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Series {
    major: u32,
    minor: Option<u32>,
    arch: Arch,
}

impl Series {
    const fn new(major: u32, minor: u32) -> Self {
        Self {
            major,
            minor: Some(minor),
            arch: Arch::OWN,
        }
    }

    /// The whole matrix, oldest first.
    pub(crate) const MATRIX: [Self; 5] = [
        Self::new(5, 10),
        Self::new(6, 1),
        Self::new(6, 12),
        Self::new(6, 18),
        Self {
            major: 7,
            minor: None,
            arch: Arch::OWN,
        },
    ];

    /// For another processor than this machine's: emulated whatever the machine, and in no matrix.
    pub(crate) const FOREIGN: Self = Self {
        arch: Arch::Arm64,
        ..Self::MATRIX[2]
    };

    /// What `test` runs on when nothing is said.
    pub(crate) const DEFAULT: [Self; 3] = [Self::MATRIX[1], Self::MATRIX[2], Self::MATRIX[4]];

    /// What `bench` measures system calls on: other products' figures are from there.
    pub(crate) const BENCH: Self = Self::MATRIX[1];

    /// What `demo` and the trial of KVM run on, and the tests that are not the red team's.
    pub(crate) const DEMO: Self = Self::MATRIX[2];

    /// What a kernel of the series needs on its command line. Since 7.0 task storage is allocated
    /// by `kmalloc_nolock`, which without `cmpxchg16b` (see `machine.rs`) works for caches with
    /// sanity checks alone.
    pub(crate) fn parameters(self) -> &'static str {
        if self.major >= 7 { " slab_debug=F" } else { "" }
    }

    /// The processor that it is for.
    pub(crate) fn arch(self) -> Arch {
        self.arch
    }

    /// How the releases of its kernels end.
    fn flavour(self) -> String {
        format!("{FLAVOUR}-{}", self.arch.debian())
    }

    fn holds(self, release: &str) -> bool {
        let mut parts = release.split(['.', '-', '+']);
        let mut number = || parts.next().and_then(|part| part.parse::<u32>().ok());
        let (major, minor) = (number(), number());
        major == Some(self.major) && (self.minor.is_none() || minor == self.minor)
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.minor {
            Some(minor) => write!(f, "{}.{minor}{}", self.major, self.arch.suffix()),
            None => write!(f, "{}.x{}", self.major, self.arch.suffix()),
        }
    }
}

impl FromStr for Series {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let foreign = Self::FOREIGN.arch;
        let (version, arch) = match text.strip_suffix(foreign.suffix().as_str()) {
            Some(version) => (version, foreign),
            None => (text, Arch::OWN),
        };
        let parsed = match version.split_once('.') {
            _ if text == "newest" => Some(Self::MATRIX[Self::MATRIX.len() - 1]),
            Some((major, "x")) => major.parse().ok().map(|major| Self {
                major,
                minor: None,
                arch,
            }),
            Some((major, minor)) => {
                let numbers = major.parse().ok().zip(minor.parse().ok());
                numbers.map(|(major, minor)| Self {
                    arch,
                    ..Self::new(major, minor)
                })
            }
            None => None,
        };
        parsed.ok_or_else(|| {
            let names = Self::MATRIX.map(|series| series.to_string()).join(", ");
            let foreign = Self::FOREIGN;
            format!(
                "`{text}` is no kernel of the matrix; expected one of {names}, newest, or {foreign}"
            )
        })
    }
}

/// The packages that hold one kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    /// The kernel's release, as `uname -r` prints it.
    pub(crate) release: String,
    /// The packages with its image and its modules.
    pub(crate) packages: Vec<String>,
}

/// Picks the newest complete kernel of a series from the names of an archive's packages.
///
/// Up to 6.18 `linux-image` holds everything. Later the image is in `linux-binary` and the
/// modules are in `linux-modules`, and a release may be in the archive by halves.
pub(crate) fn choose(series: Series, names: &[String]) -> Option<Choice> {
    let package = |kind: &str, release: &str| format!("linux-{kind}-{release}");
    let flavour = series.flavour();
    let in_archive = |package: &String| names.contains(package);
    names
        .iter()
        .filter_map(|name| {
            let (release, split) = if let Some(release) = name.strip_prefix("linux-binary-") {
                (release, true)
            } else {
                (name.strip_prefix("linux-image-")?, false)
            };
            let version = release.strip_suffix(flavour.as_str())?;
            // `linux-image-6.1-cloud-amd64` is a name for whichever is newest, not a kernel.
            let is_kernel = version.split('.').count() > 2 && !version.contains("rt");
            if !is_kernel || !series.holds(version) {
                return None;
            }
            let packages = if split {
                vec![package("binary", release), package("modules", release)]
            } else if in_archive(&package("binary", release)) {
                return None;
            } else {
                vec![name.clone()]
            };
            packages.iter().all(in_archive).then(|| Choice {
                release: release.to_owned(),
                packages,
            })
        })
        .max_by(|a, b| natural(version(&a.release), version(&b.release)))
}

/// A release without its flavour.
fn version(release: &str) -> &str {
    let version = release.split_once(FLAVOUR).map(|(version, _)| version);
    version.unwrap_or(release)
}

/// Orders texts with the numbers in them taken as numbers.
fn natural(a: &str, b: &str) -> Ordering {
    chunks(a).cmp(chunks(b))
}

fn chunks(text: &str) -> impl Iterator<Item = (u64, &str)> {
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .flat_map(|word| {
            let letters = word.trim_end_matches(|c: char| c.is_ascii_digit()).len();
            let (letters, digits) = word.split_at(letters);
            // Words rank below numbers: `6.1.0-0.deb11.5` is older than `6.1.0-5`.
            let number = digits.parse().unwrap_or(0);
            [(0, letters), (number, "")]
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(series: &str, names: &[&str]) -> Option<String> {
        let names = names
            .iter()
            .map(|&name| name.to_owned())
            .collect::<Vec<_>>();
        let series = series.parse().expect("a series");
        choose(series, &names).map(|choice| choice.packages.join(" "))
    }

    #[test]
    fn newest_by_number() {
        let names = [
            "linux-image-6.12.95+deb12-cloud-amd64",
            "linux-image-6.12.107+deb12-cloud-amd64",
            "linux-image-6.12.107+deb12.1-cloud-amd64",
            "linux-image-6.12.107+deb12-cloud-amd64-dbg",
            "linux-image-6.12.107+deb12-cloud-amd64-unsigned",
            "linux-image-6.12.200+deb12-rt-amd64",
            "linux-image-6.12-cloud-amd64",
        ];
        assert_eq!(
            chosen("6.12", &names).as_deref(),
            Some("linux-image-6.12.107+deb12.1-cloud-amd64")
        );
        assert_eq!(chosen("6.1", &names), None);
    }

    #[test]
    fn own_suite_before_backport() {
        let names = [
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-0.deb11.152-cloud-amd64",
        ];
        assert_eq!(
            chosen("6.1", &names).as_deref(),
            Some("linux-image-6.1.0-56-cloud-amd64")
        );
    }

    #[test]
    fn split_packages_must_be_complete() {
        let names = [
            "linux-image-7.2.9+deb13-cloud-amd64",
            "linux-binary-7.2.9+deb13-cloud-amd64",
            "linux-modules-7.2.9+deb13-cloud-amd64",
            "linux-binary-7.2.12+deb13-cloud-amd64",
            "linux-image-7.2.12+deb13-cloud-amd64",
            "linux-modules-7.3.4+deb13-cloud-amd64",
        ];
        assert_eq!(
            chosen("7.x", &names).as_deref(),
            Some("linux-binary-7.2.9+deb13-cloud-amd64 linux-modules-7.2.9+deb13-cloud-amd64")
        );
    }

    #[test]
    fn another_processor() {
        let names = [
            "linux-image-6.12.107+deb12-cloud-amd64",
            "linux-image-6.12.95+deb12-cloud-arm64",
        ];
        let foreign = Series::FOREIGN.to_string();
        assert_eq!(
            chosen(&foreign, &names).as_deref(),
            Some("linux-image-6.12.95+deb12-cloud-arm64")
        );
    }

    #[test]
    fn names_of_series() {
        for series in Series::MATRIX.into_iter().chain([Series::FOREIGN]) {
            assert_eq!(series.to_string().parse(), Ok(series));
        }
        assert_eq!("newest".parse(), Ok(Series::MATRIX[4]));
        for wrong in ["", "6", "6.", "x.6", "all", "6.1.2"] {
            assert!(wrong.parse::<Series>().is_err(), "{wrong}");
        }
    }
}
