//! Where the kernel's own variables lie.

use std::fs::File;
use std::io::{self, BufRead, BufReader};

const SYMBOLS: &str = "/proc/kallsyms";

/// The address of a variable of the running kernel; nothing where the kernel does not tell, because it was
/// built without (`CONFIG_KALLSYMS_ALL`), or because the caller may not know (`CAP_SYSLOG`).
pub(super) fn address(name: &str) -> io::Result<Option<u64>> {
    find(
        BufReader::with_capacity(1 << 16, File::open(SYMBOLS)?),
        name,
    )
}

fn find(mut symbols: impl BufRead, name: &str) -> io::Result<Option<u64>> {
    let mut line = Vec::new();
    while symbols.read_until(b'\n', &mut line)? != 0 {
        if let Some(address) = of_line(&line, name) {
            return Ok((address != 0).then_some(address));
        }
        line.clear();
    }
    Ok(None)
}

/// The address in a line of the form `ffffffff82a1b0c0 D rename_lock`, if it is that of the name. A module's
/// variables, whose lines end with its name, are none of the kernel's own.
fn of_line(line: &[u8], name: &str) -> Option<u64> {
    let line = line.trim_ascii_end().strip_suffix(name.as_bytes())?;
    let (address, kind) = line.split_at_checked(16)?;
    let [b' ', _, b' '] = kind else {
        return None;
    };
    u64::from_str_radix(std::str::from_utf8(address).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<u64> {
        find(text.as_bytes(), "rename_lock").unwrap()
    }

    #[test]
    fn a_variable_is_found_by_its_whole_name() {
        let text = "ffffffff81000000 T _text\nffffffff81000010 t s_rename_lock\n\
                    ffffffffc0000000 d rename_lock\t[other]\nffffffff82a1b0c0 D rename_lock\n";
        assert_eq!(found(text), Some(0xffff_ffff_82a1_b0c0));
    }

    #[test]
    fn what_the_kernel_does_not_tell_is_not_found() {
        assert_eq!(found("0000000000000000 D rename_lock\n"), None);
        assert_eq!(found("ffffffff81000000 T _text\n"), None);
        assert_eq!(found("rename_lock\n"), None);
    }
}
