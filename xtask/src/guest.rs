//! What a test machine finds under /usr/local: the project's programs, and what init is to run.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::arch::Arch;
use crate::build::Profile;
use crate::disk;

/// Programs of the project that a machine has on its PATH when they were built.
const PROGRAMS: [&str; 3] = ["interlock", "interlock-controller", "interlock-tests"];

const INIT: &str = include_str!("guest/init.sh");

/// Lays out the tree in `folder`.
pub(crate) fn lay_out(
    folder: &Path,
    (profile, arch): (Profile, Arch),
    command: Option<&[String]>,
) -> Result<()> {
    let programs = folder.join("bin");
    fs::create_dir_all(&programs)?;
    for name in PROGRAMS {
        let built = profile.program(arch, name);
        if built.is_file() {
            disk::copy(&built, &programs.join(name))?;
        }
    }
    let own = folder.join("lib/interlock-vm");
    fs::create_dir_all(&own)?;
    script(&own.join("init"), INIT)?;
    match command {
        Some(words) => script(&own.join("command"), &command_script(words)),
        None => script(&own.join("shell"), &shell_script()),
    }
}

fn script(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn command_script(words: &[String]) -> String {
    let words = words.iter().map(|word| quoted(word)).collect::<Vec<_>>();
    format!("#!/bin/bash\nexec {}\n", words.join(" "))
}

/// The terminal behind the console does not tell the machine its size.
fn shell_script() -> String {
    let size = std::process::Command::new("stty")
        .arg("size")
        .stdin(std::process::Stdio::inherit())
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok());
    let mut size = size.as_deref().unwrap_or_default().split_whitespace();
    let size = size
        .next()
        .zip(size.next())
        .map_or_else(String::new, |(rows, columns)| {
            format!("stty rows {rows} cols {columns}\n")
        });
    let terminal = std::env::var("TERM").unwrap_or_else(|_| "dumb".to_owned());
    format!(
        "#!/bin/bash\nexport TERM={}\n{size}exec bash --login\n",
        quoted(&terminal)
    )
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn words_arrive_as_they_are() {
        let words = [
            "printf",
            "%s|",
            "a b",
            "it's",
            "$HOME `x` \\",
            "",
            "*",
            "\n",
        ]
        .map(str::to_owned);
        let output = Command::new("bash")
            .args(["-c", &command_script(&words)])
            .output()
            .expect("bash runs");
        assert_eq!(
            String::from_utf8(output.stdout).expect("text"),
            "a b|it's|$HOME `x` \\||*|\n|"
        );
    }
}
