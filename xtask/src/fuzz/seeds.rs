//! Inputs to begin with: every policy, profile and case of the repository, the inputs of the golden
//! messages, and the examples of the language page.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::workspace;

/// What the tests put before a part of a policy.
const HEAD: &str = "apiVersion: interlock.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: demo}\n\
                    spec:\n  owner: {name: Ada, contact: ada@example.com}\n";

/// Writes each as a file of its own.
pub(super) fn write(to: &Path) -> Result<()> {
    let mut seeds = Vec::new();
    for folder in ["policies", "policies/profiles", "agent-policy/tests/golden"] {
        whole_files(&workspace::root().join(folder), &mut seeds)?;
    }
    seeds.extend(golden(&read("agent-policy/tests/golden/messages.txt")?));
    seeds.extend(examples(&read("docs/policy.md")?));
    // For the target that reads profiles of the input's own before this line.
    let own = "policies/profiles/python.yaml";
    let python = read(own)?.replace("name: python", "name: own");
    seeds.push(format!("{python}\n--- policies\n{HEAD}  extends: [own]\n"));
    for (number, seed) in seeds.iter().enumerate() {
        let path = to.join(format!("{number:03}.yaml"));
        fs::write(&path, seed).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Writes those of a target that reads no policies: a token, a record and a signature over it as they
/// are stored, a message as it is sent.
pub(super) fn write_others(name: &str, to: &Path) -> Result<()> {
    let seeds: Vec<Vec<u8>> = match name {
        "token" => {
            let token = read("controller/tests/central/tokens/rsa.token")?;
            let claims = token.split('.').nth(1).unwrap_or_default().to_owned();
            vec![token.into_bytes(), claims.into_bytes()]
        }
        "report" => vec![RECORD.into(), SIGNED.into(), BATCH.into()],
        // An enrolment, a record, a directive, a list of nodes: first which message it is.
        "wire" => vec![
            b"\x00\x08\x01\x10\x01\x1a\x04lift\x2a\x06boot-1\x42\x08\x0a\x02eu\x12\x02de".into(),
            [&b"\x25"[..], BATCH].concat(),
            b"\x23\x0a\x01c\x10\x07\x18\x09\x22\x01a\x3a\x03\x1a\x01a".into(),
            b"\x0b\x0a\x06\x0a\x02n1\x10\x01".into(),
        ],
        // A question of four lengths and what answers it; a request, and the beginning of TLS.
        "lookup" => vec![[&b"\x00\x1f"[..], QUESTION, ANSWER].concat()],
        "hello" => vec![
            b"GET / HTTP/1.1\r\nHost: a.example.com:80\r\n\r\n".into(),
            HELLO.into(),
        ],
        _ => Vec::new(),
    };
    for (number, seed) in seeds.iter().enumerate() {
        let path = to.join(format!("{number:03}"));
        fs::write(&path, seed).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

const RECORD: &[u8] = br#"{"sequence":1,"node":"n1","boot":"boot-1","bootNs":7,"time":"2026-03-02T10:00:00Z","session":{"id":"00000000000000aa","agent":"a"},"what":{"decision":{"verdict":"deny","reason":"no rule"}}}"#;
const SIGNED: &[u8] = br#"{"checkpoint":{"sequence":1,"hash":"0000000000000000000000000000000000000000000000000000000000000000","node":"n1","boot":"boot-1","time":"2026-03-02T10:00:00Z"},"key":"00","signature":"00"}"#;
/// For an address of a.example.com.
const QUESTION: &[u8] =
    b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x07example\x03com\x00\x00\x01\x00\x01";
/// By another name of it.
const ANSWER: &[u8] = b"\x00\x07\x81\x80\x00\x01\x00\x02\x00\x00\x00\x00\x01a\x07example\x03com\x00\x00\x01\x00\x01\
    \xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x04\x01b\xc0\x0e\xc0\x2b\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x07";
/// A `ClientHello` for a.example.com and nothing else.
const HELLO: &[u8] = b"\x16\x03\x01\x00\x45\x01\x00\x00\x41\x03\x03................................\x00\x00\x02\x13\x01\x01\x00\
    \x00\x16\x00\x00\x00\x12\x00\x10\x00\x00\x0da.example.com";
/// A batch of one record.
const BATCH: &[u8] = b"\x0a\x0c\x0a\x02\x12\x00\x12\x06\x08\x01\x1a\x02{}";

fn read(file: &str) -> Result<String> {
    let path = workspace::root().join(file);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

fn whole_files(folder: &Path, seeds: &mut Vec<String>) -> Result<()> {
    let cannot = || format!("cannot read {}", folder.display());
    for entry in fs::read_dir(folder).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            seeds.push(fs::read_to_string(&path).with_context(cannot)?);
        }
    }
    Ok(())
}

/// The inputs of `=== TITLE`, input, `---`, output.
fn golden(text: &str) -> Vec<String> {
    text.split("=== ")
        .skip(1)
        .filter_map(|section| section.split_once('\n')?.1.split_once("---\n"))
        .map(|(input, _)| format!("{HEAD}{input}"))
        .collect()
}

/// The YAML blocks of a page; a block that shows a part stands under `spec`.
fn examples(page: &str) -> Vec<String> {
    let mut seeds = Vec::new();
    let mut rest = page;
    while let Some((_, block)) = rest.split_once("\n```yaml") {
        let Some((block, behind)) = block.split_once("\n```") else {
            break;
        };
        rest = behind;
        let Some((info, text)) = block.split_once('\n') else {
            continue;
        };
        if info.contains("fragment") {
            let indented = text.lines().map(|line| format!("  {line}\n"));
            seeds.push(format!("{HEAD}{}", indented.collect::<String>()));
        } else {
            seeds.push(format!("{text}\n"));
        }
    }
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_become_policies() {
        let seeds = golden("=== a title\n  facts: []\n---\nsaid\n\n=== b\n  x: 1\n---\n");
        assert_eq!(
            seeds,
            [format!("{HEAD}  facts: []\n"), format!("{HEAD}  x: 1\n")]
        );
        let page = "text\n```yaml\nkind: A\n```\n\n```yaml fragment warns\nfacts:\n  - x\n```\n```sh\nno\n```\n";
        assert_eq!(
            examples(page),
            ["kind: A\n".to_owned(), format!("{HEAD}  facts:\n    - x\n")]
        );
    }
}
