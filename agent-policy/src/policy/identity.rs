//! Who an agent is besides its name, and how its sessions are recognised.

use crate::text::{Fields, Node, Reader, Span, Value, quoted};

use super::condition;
use super::container::{self, Engine};
use super::document::bounded;
use super::names;
use super::path::Pattern;
use super::pod::{self, Pod};

/// Who answers for an agent or a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The person or group.
    pub name: String,
    /// Where they can be reached.
    pub contact: String,
}

/// What the inventory holds of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Its SPIFFE id.
    pub spiffe: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// The models it uses.
    pub models: Vec<String>,
}

/// How a session of the agent is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recognised {
    /// Started by `interlock run`.
    Run,
    /// By its first program.
    Executable(Pattern),
    /// By its systemd unit.
    SystemdUnit(String),
    /// By its cgroup.
    Cgroup(String),
    /// By its pod.
    Kubernetes(Pod),
    /// By its container, which Docker or podman runs.
    Container(Engine),
}

pub(super) fn owner(reader: &mut Reader<'_>, node: &Node) -> Option<Owner> {
    let fields = Fields::of(reader, node, "owner", &["name", "contact"])?;
    let name = fields
        .require(
            reader,
            "name",
            "the person or group that answers for the agent",
        )
        .and_then(|node| bounded(reader, node, "a name"));
    let contact = fields
        .require(reader, "contact", "where the owner can be reached")
        .and_then(|node| {
            bounded(
                reader,
                node,
                "an e-mail address, a URL or a telephone number",
            )
        });
    Some(Owner {
        name: name?,
        contact: contact?,
    })
}

pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Identity {
    let Some(fields) = Fields::of(reader, node, "identity", &["spiffe", "version", "models"])
    else {
        return Identity::default();
    };
    let expected = "a SPIFFE id such as spiffe://example.com/agents/invoice";
    let spiffe = fields.get("spiffe").and_then(|node| {
        let text = bounded(reader, node, expected)?;
        let valid = text.strip_prefix("spiffe://").is_some_and(|rest| {
            let (domain, path) = rest.split_once('/').unwrap_or((rest, "a"));
            let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
            let segment = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
            let whole = |part: &str| {
                !part.is_empty() && part != "." && part != ".." && part.bytes().all(segment)
            };
            !domain.is_empty() && domain.bytes().all(lower) && path.split('/').all(whole)
        });
        if !valid {
            reader.found(node.span, &quoted(&text), expected);
        }
        valid.then_some(text)
    });
    let models = fields
        .get("models")
        .map(|node| condition::words(reader, node, "a list of models"));
    Identity {
        spiffe,
        version: fields
            .get("version")
            .and_then(|node| bounded(reader, node, "a version")),
        models: models
            .unwrap_or_default()
            .into_iter()
            .map(|word| word.text)
            .collect(),
    }
}

const UNIT: &str = "the whole name of a unit such as agent.service, at most 255 bytes";
const CGROUP: &str =
    "a cgroup's whole path below /sys/fs/cgroup, such as /agents.slice/a, at most 255 bytes";
const EXECUTABLE: &str = "an absolute path whose last name has at most 61 bytes";
/// Bytes of a file's name that the kernel programs can still tell from a longer one.
const MAX_EXECUTABLE: usize = agent_common::recognise::NAME - 3;
const RECOGNISED: &str = "one of run, executable, systemdUnit, cgroup, kubernetes and container";

pub(super) fn recognised(reader: &mut Reader<'_>, node: &Node) -> Vec<(Recognised, Span)> {
    let mut found = Vec::new();
    for item in reader.items(node, "a list of ways to recognise a session") {
        if matches!(item.value, Value::Scalar { .. }) {
            let run = reader.word(item, &[("run", ())]);
            found.extend(run.map(|()| (Recognised::Run, item.span)));
            continue;
        }
        let known = [
            "executable",
            "systemdUnit",
            "cgroup",
            "kubernetes",
            "container",
        ];
        let Some(fields) = Fields::of(reader, item, "a way to recognise a session", &known) else {
            continue;
        };
        let before = found.len();
        if let Some(node) = fields.get("executable")
            && let Some(text) = reader.text(node, EXECUTABLE)
        {
            let last = text.rsplit('/').next().unwrap_or_default();
            match Pattern::read(text) {
                Ok(pattern @ Pattern::Exact(_)) if last.len() <= MAX_EXECUTABLE => {
                    found.push((Recognised::Executable(pattern), item.span));
                }
                _ => reader.found(node.span, &quoted(text), EXECUTABLE),
            }
        }
        let unit = fields
            .get("systemdUnit")
            .and_then(|node| names::read(reader, node, names::is_unit, UNIT));
        found.extend(unit.map(|unit| (Recognised::SystemdUnit(unit), item.span)));
        let cgroup = fields
            .get("cgroup")
            .and_then(|node| names::read(reader, node, names::is_cgroup, CGROUP));
        found.extend(cgroup.map(|path| (Recognised::Cgroup(path), item.span)));
        found.extend(
            fields
                .get("kubernetes")
                .and_then(|node| pod::read(reader, node))
                .map(|pod| (Recognised::Kubernetes(pod), item.span)),
        );
        let engine = fields
            .get("container")
            .and_then(|node| container::read(reader, node));
        found.extend(engine.map(|engine| (Recognised::Container(engine), item.span)));
        if found.len() > before + 1 {
            reader.found(item.span, "several ways in one entry", RECOGNISED);
        }
    }
    found
}
