//! The RAM file system that a kernel starts in: it loads what the machine's disks need, mounts
//! them, and hands over to the root file system.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::cpio::Cpio;
use crate::process;

/// Modules without which nothing is reached; a kernel may have any of them built in. The CRC is
/// what ext4 asks for by name, which a kernel without modprobe cannot resolve.
const NEEDED: [&str; 5] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_console",
    "crc32c_generic",
    "ext4",
];

const INIT: &str = include_str!("guest/initramfs.sh");

/// Makes the archive for the kernel whose modules lie in `modules`.
pub(crate) fn make(modules: &Path, busybox: &[u8]) -> Result<Vec<u8>> {
    let list = modules.join("modules.dep");
    let list =
        fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let mut archive = Cpio::default();
    for folder in ["bin", "dev", "proc", "root", "modules"] {
        archive.folder(folder);
    }
    archive.program("bin/busybox", busybox);
    archive.program("init", INIT.as_bytes());
    let mut order = String::new();
    for path in load_order(&list, &NEEDED) {
        let name = format!("{}.ko", module_name(path));
        archive.file(
            &format!("modules/{name}"),
            &read_module(&modules.join(path))?,
        );
        order.push_str(&name);
        order.push('\n');
    }
    archive.file("modules/order", order.as_bytes());
    Ok(archive.finish())
}

/// The paths of the needed modules and of all they need, in an order that loads.
///
/// depmod lists, behind the colon, everything a module needs, the first to load last.
fn load_order<'a>(list: &'a str, needed: &[&str]) -> Vec<&'a str> {
    let mut order: Vec<&str> = Vec::new();
    for name in needed {
        let entry = list
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(path, _)| module_name(path) == *name);
        let Some((path, dependencies)) = entry else {
            continue;
        };
        for path in dependencies.split_whitespace().rev().chain([path]) {
            if !order.contains(&path) {
                order.push(path);
            }
        }
    }
    order
}

fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let name = file.split('.').next().unwrap_or(file);
    name.replace('-', "_")
}

/// The module, unpacked: busybox loads no compressed ones.
fn read_module(path: &Path) -> Result<Vec<u8>> {
    let unpack = match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return fs::read(path).with_context(|| format!("cannot read {}", path.display())),
    };
    let output = process::run(Command::new(unpack).args(["-d", "-c"]).arg(path))?;
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_first_and_once() {
        let list = "kernel/fs/ext4/ext4.ko.xz: kernel/lib/crc16.ko.xz kernel/fs/mbcache.ko.xz\n\
                    kernel/lib/crc16.ko.xz:\n\
                    kernel/drivers/virtio/virtio-pci.ko: kernel/drivers/virtio/ring.ko kernel/drivers/virtio.ko\n\
                    kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/ring.ko kernel/drivers/virtio.ko\n";
        assert_eq!(
            load_order(list, &["virtio_pci", "virtio_blk", "built_in", "ext4"]),
            [
                "kernel/drivers/virtio.ko",
                "kernel/drivers/virtio/ring.ko",
                "kernel/drivers/virtio/virtio-pci.ko",
                "kernel/drivers/block/virtio_blk.ko",
                "kernel/fs/mbcache.ko.xz",
                "kernel/lib/crc16.ko.xz",
                "kernel/fs/ext4/ext4.ko.xz",
            ]
        );
    }
}
