//! What is mounted where: from the paths that people write to those that the kernel programs see,
//! which are paths inside one file system, and back.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read, Seek};

/// A path inside a file system: the device's number as the kernel has it, and the path from the
/// file system's own root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FsPath {
    /// `super_block.s_dev`.
    pub device: u32,
    /// Absolute; `/` is the root of the file system.
    pub path: Vec<u8>,
}

/// One line of mountinfo.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    id: u32,
    parent: u32,
    /// What is mounted: a directory of a file system, or a file.
    what: FsPath,
    point: Vec<u8>,
}

/// Every mount of a mount namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mounts {
    mounts: Vec<Mount>,
    /// The last mount on a parent's mount and a path, by its index.
    on: HashMap<(u32, Vec<u8>), usize>,
    root: Option<usize>,
}

/// Where the mounts of this process are told.
#[derive(Debug)]
pub struct MountInfo(File);

impl MountInfo {
    /// Opens it.
    pub fn open() -> io::Result<Self> {
        File::open("/proc/self/mountinfo").map(Self)
    }

    /// What is mounted now.
    pub fn read(&mut self) -> io::Result<Mounts> {
        let mut text = Vec::new();
        self.0.rewind()?;
        self.0.read_to_end(&mut text)?;
        Ok(Mounts::parse(&text))
    }

    /// Whether anything was mounted or unmounted since this was last asked.
    pub fn has_changed(&self) -> io::Result<bool> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        use std::os::fd::AsFd;
        let mut asked = [PollFd::new(self.0.as_fd(), PollFlags::POLLPRI)];
        Ok(poll(&mut asked, PollTimeout::ZERO)? > 0)
    }
}

impl Mounts {
    /// Those that a process sees.
    pub fn of(pid: u32) -> io::Result<Self> {
        std::fs::read(format!("/proc/{pid}/mountinfo")).map(|text| Self::parse(&text))
    }

    /// All but those of some file systems.
    pub fn without(&self, devices: &BTreeSet<u32>) -> Self {
        let mounts = self.mounts.iter();
        Self::among(
            mounts
                .filter(|mount| !devices.contains(&mount.what.device))
                .cloned()
                .collect(),
        )
    }

    /// Reads mountinfo. A line that makes no sense is no mount: what lies on it has no rules.
    pub fn parse(text: &[u8]) -> Self {
        Self::among(text.split(|byte| *byte == b'\n').filter_map(line).collect())
    }

    fn among(mounts: Vec<Mount>) -> Self {
        let mut on = HashMap::new();
        for (index, mount) in mounts.iter().enumerate() {
            on.insert((mount.parent, mount.point.clone()), index);
        }
        let is_root = |mount: &Mount| {
            mount.point == b"/"
                && !mounts
                    .iter()
                    .any(|other| other.id == mount.parent && other.id != mount.id)
        };
        let root = mounts.iter().position(is_root);
        Self { mounts, on, root }
    }

    /// Where a path leads that has no symbolic links in it.
    pub fn resolve(&self, path: &[u8]) -> Option<FsPath> {
        let mount = self.mounts.get(self.mount_of(path)?)?;
        let rest = path.strip_prefix(trimmed(&mount.point))?;
        Some(mount.what.below(rest))
    }

    /// Every mount that a path leads to: where, and what is there.
    pub fn visible(&self) -> impl Iterator<Item = (&[u8], &FsPath)> {
        let seen = |(index, mount): &(usize, &Mount)| self.mount_of(&mount.point) == Some(*index);
        self.mounts
            .iter()
            .enumerate()
            .filter(seen)
            .map(|(_, mount)| (mount.point.as_slice(), &mount.what))
    }

    /// A path that leads to something, if there is one.
    pub fn shown(&self, of: &FsPath) -> Option<Vec<u8>> {
        self.leading_to(of).next()
    }

    /// Every path that leads to something.
    pub fn names(&self, of: &FsPath) -> Vec<Vec<u8>> {
        self.leading_to(of).collect()
    }

    fn leading_to(&self, of: &FsPath) -> impl Iterator<Item = Vec<u8>> {
        self.mounts.iter().filter_map(|mount| {
            if mount.what.device != of.device {
                return None;
            }
            let rest = of.path.strip_prefix(trimmed(&mount.what.path))?;
            if !rest.is_empty() && !rest.starts_with(b"/") {
                return None;
            }
            let path = joined(&mount.point, trimmed(rest));
            (self.resolve(&path).as_ref() == Some(of)).then_some(path)
        })
    }

    /// The mount that a path lies on, by its index.
    fn mount_of(&self, path: &[u8]) -> Option<usize> {
        let mut at = self.topmost(self.root?, b"/");
        let ends = path
            .iter()
            .enumerate()
            .filter(|(i, byte)| *i > 0 && **byte == b'/')
            .map(|(i, _)| i);
        for end in ends.chain([path.len()]) {
            let prefix = path.get(..end)?;
            if prefix.len() > 1 {
                at = self.topmost(at, prefix);
            }
        }
        Some(at)
    }

    /// What lies on top where mounts were stacked on one point.
    fn topmost(&self, mut at: usize, point: &[u8]) -> usize {
        // Each step goes to another mount, of which there are so many.
        for _ in 0..self.mounts.len() {
            let id = self.mounts.get(at).map(|mount| mount.id);
            let Some(next) = id.and_then(|id| self.on.get(&(id, point.to_vec()))) else {
                break;
            };
            if *next == at {
                break;
            }
            at = *next;
        }
        at
    }
}

impl FsPath {
    /// A path below this one.
    fn below(&self, rest: &[u8]) -> Self {
        Self {
            device: self.device,
            path: joined(&self.path, rest),
        }
    }

    /// The names from the root down.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.path
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
    }
}

/// A path without the one slash at its end that the root has.
fn trimmed(path: &[u8]) -> &[u8] {
    path.strip_suffix(b"/").unwrap_or(path)
}

fn joined(path: &[u8], rest: &[u8]) -> Vec<u8> {
    let joined = [trimmed(path), rest].concat();
    if joined.is_empty() {
        b"/".to_vec()
    } else {
        joined
    }
}

/// `36 35 98:0 /mnt1 /mnt/parent rw,noatime master:1 - ext3 /dev/root rw`
fn line(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|byte| *byte == b' ');
    let mut word = || words.next();
    let (id, parent, device, root, point) = (word()?, word()?, word()?, word()?, word()?);
    let (major, minor) = std::str::from_utf8(device).ok()?.split_once(':')?;
    // As `MKDEV` has it; mountinfo tells the two halves of `s_dev`.
    let device = major.parse::<u32>().ok()?.checked_mul(1 << 20)? | minor.parse::<u32>().ok()?;
    let (root, point) = (unescaped(root), unescaped(point));
    // A namespace's file has no path, and a removed folder none that leads anywhere.
    if root.first() != Some(&b'/') || root.ends_with(b"//deleted") {
        return None;
    }
    Some(Mount {
        id: number(id)?,
        parent: number(parent)?,
        what: FsPath { device, path: root },
        point,
    })
}

fn number(digits: &[u8]) -> Option<u32> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// mountinfo writes blanks, line ends and backslashes as three octal digits.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        let octal = (*byte == b'\\')
            .then(|| after.get(..3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match octal {
            Some(byte) => {
                out.push(byte);
                rest = after.get(3..).unwrap_or(&[]);
            }
            None => {
                out.push(*byte);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"\
21 1 8:1 / / rw - ext4 /dev/sda1 rw
22 21 0:5 / /dev rw - devtmpfs udev rw
23 21 0:20 / /tmp rw - tmpfs tmpfs rw
24 21 8:1 /data /srv/data rw - ext4 /dev/sda1 rw
25 21 0:30 / /a\\040b rw - tmpfs tmpfs rw
26 21 0:31 / /mnt/x rw - tmpfs tmpfs rw
27 21 0:32 / /mnt rw - tmpfs tmpfs rw
28 23 0:33 / /tmp rw - tmpfs tmpfs rw
29 21 8:1 /var/resolv.conf /etc/resolv.conf rw - ext4 /dev/sda1 rw
30 21 0:4 net:[4026531833] /run/netns/x rw - nsfs nsfs rw
";

    fn at(major: u32, minor: u32, path: &str) -> Option<FsPath> {
        Some(FsPath {
            device: major << 20 | minor,
            path: path.into(),
        })
    }

    #[test]
    fn a_path_leads_where_the_kernel_leads_it() {
        let mounts = Mounts::parse(TABLE);
        for (path, expected) in [
            ("/", at(8, 1, "/")),
            ("/etc/hosts", at(8, 1, "/etc/hosts")),
            ("/dev", at(0, 5, "/")),
            ("/dev/null", at(0, 5, "/null")),
            ("/device", at(8, 1, "/device")),
            ("/srv/data/f", at(8, 1, "/data/f")),
            ("/srv/data", at(8, 1, "/data")),
            ("/a b/c", at(0, 30, "/c")),
            // Hidden by what was mounted over its parent later.
            ("/mnt/x/y", at(0, 32, "/x/y")),
            // Stacked.
            ("/tmp/t", at(0, 33, "/t")),
            ("/etc/resolv.conf", at(8, 1, "/var/resolv.conf")),
            ("/run/netns/x", at(8, 1, "/run/netns/x")),
        ] {
            assert_eq!(mounts.resolve(path.as_bytes()), expected, "{path}");
        }
    }

    #[test]
    fn only_mounts_that_a_path_leads_to_are_visible() {
        let mounts = Mounts::parse(TABLE);
        let visible: Vec<_> = mounts.visible().map(|(point, _)| point).collect();
        let expected: [&[u8]; 7] = [
            b"/",
            b"/dev",
            b"/srv/data",
            b"/a b",
            b"/mnt",
            b"/tmp",
            b"/etc/resolv.conf",
        ];
        assert_eq!(visible, expected);
    }

    #[test]
    fn what_lies_in_a_file_system_is_shown_where_it_can_be_seen() {
        let mounts = Mounts::parse(TABLE);
        let shown = |major, minor, path| {
            let shown = mounts.shown(&at(major, minor, path).unwrap());
            shown.map(|path| String::from_utf8(path).unwrap())
        };
        assert_eq!(shown(8, 1, "/data/f").as_deref(), Some("/data/f"));
        assert_eq!(shown(0, 5, "/").as_deref(), Some("/dev"));
        assert_eq!(shown(0, 33, "/t").as_deref(), Some("/tmp/t"));
        assert_eq!(shown(0, 20, "/t"), None);
        assert_eq!(shown(8, 1, "/tmp/t"), None);
        assert_eq!(shown(9, 9, "/"), None);
    }

    #[test]
    fn any_bytes_are_taken_without_harm() {
        for text in [
            &b""[..],
            b"\n\n",
            b"1 2 3",
            b"1 1 8:1 / / rw",
            b"\\1 \\999 a:b c d",
        ] {
            let mounts = Mounts::parse(text);
            let _ = mounts.resolve(b"/x/y");
        }
    }
}
