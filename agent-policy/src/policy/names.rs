//! Names as Kubernetes, systemd and container engines give them: who is sought under a name that nobody
//! can have is never found, and runs unheld.

use super::document::bounded;
use crate::text::{Node, Reader, quoted};

/// A name that can be one.
pub(super) fn read(
    reader: &mut Reader<'_>,
    node: &Node,
    is_name: impl Fn(&str) -> bool,
    expected: &str,
) -> Option<String> {
    let text = bounded(reader, node, expected)?;
    if is_name(&text) {
        return Some(text);
    }
    reader.found(node.span, &quoted(&text), expected);
    None
}

/// Of a namespace, or of a container in its pod.
pub(super) fn is_label(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.len() <= 63
        && text.bytes().all(inside)
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !text.is_empty()
}

/// Of a service account: names with dots between.
pub(super) fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

/// What a label or an annotation is called, perhaps with who gave it before a slash.
pub(super) fn is_key(text: &str) -> bool {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    prefix.is_none_or(is_subdomain) && !name.is_empty() && is_value(name)
}

/// What a label says.
pub(super) fn is_value(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let outside = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && bytes.iter().copied().all(inside)
        && outside(bytes.first())
        && outside(bytes.last())
}

/// Of a container, as Docker and podman give it.
pub(super) fn is_container(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.bytes().all(inside)
        && text
            .bytes()
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric())
}

/// Bytes of a cgroup's path or a unit's name, as the kernel programs compare them.
const MAX_CGROUP: usize = 255;

/// What systemd gives a cgroup of its own.
const UNITS: [&str; 6] = ["service", "scope", "slice", "socket", "mount", "swap"];

/// Of a systemd unit that can run: no pattern, and no template without its instance.
pub(super) fn is_unit(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    let runs = |(name, kind): (&str, &str)| {
        !name.is_empty() && !name.ends_with('@') && UNITS.contains(&kind)
    };
    text.len() <= MAX_CGROUP && text.bytes().all(inside) && text.rsplit_once('.').is_some_and(runs)
}

/// Of a cgroup, from the root of cgroups on: no pattern, and not where that is mounted.
pub(super) fn is_cgroup(text: &str) -> bool {
    let is_name = |name: &str| !matches!(name, "" | "." | "..") && !name.contains(['*', '?', '[']);
    let mounted = text == "/sys/fs/cgroup" || text.starts_with("/sys/fs/cgroup/");
    let below = text.strip_prefix('/');
    text.len() <= MAX_CGROUP && !mounted && below.is_some_and(|names| names.split('/').all(is_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_can_be_and_names_that_cannot() {
        type Is = fn(&str) -> bool;
        let cases: [(Is, &[&str], &[&str]); 7] = [
            (
                is_label,
                &["a", "agents-1"],
                &["", "-a", "a-", "A", "a.b", "a*", "a/b"],
            ),
            (
                is_subdomain,
                &["a", "robot.v1"],
                &["", "a..b", "Robot", "*"],
            ),
            (
                is_key,
                &["app", "App_1", "app.kubernetes.io/name"],
                &["", "a/", "/a", "a/b/c", "a b", "App/*"],
            ),
            (
                is_value,
                &["", "a", "V1.2_b"],
                &["a b", "-a", "a-", "a*", "a/b"],
            ),
            (
                is_container,
                &["web", "Web_1.a-"],
                &["", "/web", "-web", "web*", "a b"],
            ),
            (
                is_unit,
                &[
                    "a.service",
                    "a@1.service",
                    "user-1000.slice",
                    "a\\x2db.scope",
                ],
                &[
                    "",
                    "a",
                    ".service",
                    "a@.service",
                    "a-*.service",
                    "a.timer",
                    "x/a.service",
                ],
            ),
            (
                is_cgroup,
                &["/a", "/a.slice/b c"],
                &[
                    "",
                    "/",
                    "a",
                    "/a/",
                    "/a//b",
                    "/a/../b",
                    "/a/*",
                    "/sys/fs/cgroup/a",
                ],
            ),
        ];
        for (is_name, names, others) in cases {
            for name in names {
                assert!(is_name(name), "{name:?}");
            }
            for name in others {
                assert!(!is_name(name), "{name:?}");
            }
        }
    }
}
