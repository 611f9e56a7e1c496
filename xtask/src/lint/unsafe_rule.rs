//! The project's own rule: unsafe code is opened module by module, each time with a reason, and
//! among the kernel programs only in `agent-ebpf/src/kernel/`.
//!
//! `unsafe_code = "deny"` and `undocumented_unsafe_blocks` do the rest; no lint of the compiler
//! asks where an opening stands.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::workspace;

/// The one place of raw access among the kernel programs.
const RAW: &str = "agent-ebpf/src/kernel/";

/// Reads every source file of the workspace.
pub(super) fn check() -> Result<()> {
    let mut files = Vec::new();
    sources(workspace::root(), &mut files)?;
    let mut broken = Vec::new();
    for file in files {
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let shown = workspace::shown(&file);
        for (line, what) in breaches(&shown, &text) {
            broken.push(format!("{shown}:{line}: {what}"));
        }
    }
    if !broken.is_empty() {
        bail!("{}", broken.join("\n"));
    }
    Ok(())
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or("");
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" {
                sources(&path, files)?;
            }
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// The lines of a file that break the rule.
fn breaches(file: &str, text: &str) -> Vec<(usize, &'static str)> {
    let code = code_of(text);
    let in_kernel_programs = file.starts_with("agent-ebpf/") && !file.starts_with(RAW);
    let mut found = Vec::new();
    for (position, word) in words(&code) {
        let line = code[..position].matches('\n').count() + 1;
        match word {
            "unsafe_code" => match opening(&code, position) {
                Some(attribute) if !attribute.contains("reason") => {
                    found.push((line, "unsafe code is opened without a reason"));
                }
                Some(_) if in_kernel_programs => found.push((
                    line,
                    "kernel programs open unsafe code only below agent-ebpf/src/kernel/",
                )),
                _ => {}
            },
            // Attributes of exported programs are spelled `#[unsafe(no_mangle)]`.
            "unsafe" if in_kernel_programs && !code[..position].ends_with("#[") => found.push((
                line,
                "kernel programs use unsafe code only below agent-ebpf/src/kernel/",
            )),
            _ => {}
        }
    }
    found
}

/// The attribute that a lint's name stands in, when it opens the lint.
fn opening(code: &str, position: usize) -> Option<&str> {
    let start = code[..position].rfind('[')?;
    let end = position + code[position..].find(']')?;
    let attribute = &code[start + 1..end];
    let verb = attribute.split('(').next()?.trim();
    matches!(verb, "allow" | "expect" | "warn").then_some(attribute)
}

fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    code.split(move |c: char| !part_of_word(c))
        .map(move |word| (word.as_ptr() as usize - code.as_ptr() as usize, word))
        .filter(|(_, word)| !word.is_empty())
}

/// The text with comments and strings blanked, so that a word in them is no code.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(raw) = raw_string(rest) {
            raw
        } else if first == '"' {
            string(rest)
        } else if rest.starts_with("'\"'") {
            3
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        let blanked = rest[..length].chars();
        code.extend(blanked.map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &rest[length..];
    }
    code
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (position, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return position + 1,
            _ => {}
        }
    }
    text.len()
}

fn raw_string(text: &str) -> Option<usize> {
    let hashes = text.strip_prefix('r')?;
    let count = hashes.len() - hashes.trim_start_matches('#').len();
    let content = hashes[count..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(count));
    let length = content.find(&end)? + end.len();
    Some(1 + count + 1 + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: &str = "#![expect(unsafe_code, reason = \"system calls\")]\n";

    #[test]
    fn an_opening_needs_a_reason() {
        assert!(breaches("agent/src/a.rs", OPEN).is_empty());
        for line in [
            "#![expect(unsafe_code)]",
            "fn f() {}\n#[allow(\n    unsafe_code\n)]\nfn g() {}",
        ] {
            assert_eq!(breaches("agent/src/a.rs", line).len(), 1, "{line}");
        }
        assert!(breaches("agent/src/a.rs", "#![deny(unsafe_code)]").is_empty());
    }

    #[test]
    fn kernel_programs_are_raw_in_one_place() {
        let block = "fn f() {\n    unsafe { g() }\n}\n";
        assert_eq!(breaches("agent-ebpf/src/connect.rs", block)[0].0, 2);
        assert_eq!(breaches("agent-ebpf/src/connect.rs", OPEN).len(), 1);
        assert!(breaches("agent-ebpf/src/kernel/map.rs", block).is_empty());
        assert!(breaches("agent-ebpf/src/kernel/map.rs", OPEN).is_empty());
        assert!(breaches("agent/src/lib.rs", block).is_empty());
        assert!(breaches("agent-ebpf/src/main.rs", "#[unsafe(no_mangle)]\n").is_empty());
    }

    #[test]
    fn words_that_are_no_code() {
        let text = "// unsafe\n/* unsafe */ let a = \"unsafe \\\" unsafe\"; let q = '\"'; let b = r#\"unsafe\"#;\n";
        assert!(breaches("agent-ebpf/src/connect.rs", text).is_empty());
        let after = format!("{text}unsafe fn f() {{}}");
        assert_eq!(breaches("agent-ebpf/src/connect.rs", &after)[0].0, 3);
    }
}
