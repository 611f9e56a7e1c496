//! Headers that each message to the collector has, from a file: a token stands in no list of processes.

use super::settings::{OtlpError, read};
use std::path::Path;
use tonic::metadata::{Ascii, AsciiMetadataKey, MetadataMap, MetadataValue};

/// Reads them. The file may be replaced at any time.
pub(super) fn headers(path: &Path) -> Result<MetadataMap, OtlpError> {
    let text = read(path)?;
    let mut headers = MetadataMap::new();
    for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let (name, value) = header(line).map_err(|found| OtlpError::Header {
            path: path.to_owned(),
            line: at + 1,
            found,
        })?;
        headers.insert(name, value);
    }
    match headers.is_empty() {
        true => Err(OtlpError::NoHeader(path.to_owned())),
        false => Ok(headers),
    }
}

fn header(line: &[u8]) -> Result<(AsciiMetadataKey, MetadataValue<Ascii>), &'static str> {
    let colon = line.iter().position(|byte| *byte == b':');
    let (name, value) = line.split_at(colon.ok_or("no colon")?);
    let name = name.trim_ascii().to_ascii_lowercase();
    let name = AsciiMetadataKey::from_bytes(&name).map_err(|_| "a name that no header can have")?;
    let value = value.get(1..).unwrap_or_default().trim_ascii();
    let mut value = MetadataValue::try_from(value).map_err(|_| "a value that is not ASCII")?;
    // Whoever shows a message does not show this.
    value.set_sensitive(true);
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::chain;

    #[test]
    fn headers_are_read_and_nonsense_is_named_but_not_shown() {
        let path = std::env::temp_dir().join(format!("interlock-headers-{}", std::process::id()));
        let said = |text: &str| {
            std::fs::write(&path, text).expect("a file");
            headers(&path).map_err(chain)
        };
        let found = said("Authorization: Bearer a:b\n\nx-tenant:t1\n").expect("two headers");
        assert_eq!(found.get("authorization").expect("it"), "Bearer a:b");
        assert_eq!(found.get("x-tenant").expect("it"), "t1");
        assert!(!format!("{found:?}").contains("Bearer"), "{found:?}");
        for (text, at, expected) in [
            ("x: 1\nhunter2\n", ":2: ", "found no colon"),
            (
                "a b: hunter2",
                ":1: ",
                "found a name that no header can have",
            ),
            (
                "x-bin: hunter2",
                ":1: ",
                "found a name that no header can have",
            ),
            ("x: hunter2\u{1}", ":1: ", "found a value that is not ASCII"),
            ("\n", ": ", "found no header"),
        ] {
            let why = said(text).expect_err(text);
            assert!(why.contains(&format!("{at}{expected}")), "{why}");
            assert!(!why.contains("hunter2"), "{why}");
        }
        std::fs::remove_file(&path).expect("removed");
        let why = said_of(&path);
        assert!(why.starts_with("cannot read /"), "{why}");
    }

    fn said_of(path: &Path) -> String {
        chain(headers(path).expect_err("no file"))
    }
}
