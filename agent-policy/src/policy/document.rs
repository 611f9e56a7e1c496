//! The outer form of a document: what it is, whose it is, and the parts of its `spec`.

use std::sync::Arc;

use crate::text::{Fields, Node, Reader, Source, Value};

use super::{API_VERSION, KIND, Owner, Policy, egress};

/// Bytes of an agent's name: one DNS label, so that it fits a SPIFFE path and an object name.
const MAX_NAME: usize = 63;
/// Bytes of a text meant for people.
const MAX_TEXT: usize = 1024;

pub(super) fn read(reader: &mut Reader<'_>, source: &Arc<Source>, node: &Node) -> Option<Policy> {
    let known = ["apiVersion", "kind", "metadata", "spec"];
    let fields = Fields::of(reader, node, "a policy document", &known)?;
    expect_word(reader, &fields, "apiVersion", API_VERSION);
    expect_word(reader, &fields, "kind", KIND);
    let metadata = fields
        .require(reader, "metadata", "metadata with the agent's name")
        .and_then(|node| Fields::of(reader, node, "metadata", &["name", "labels"]));
    let spec = fields
        .require(reader, "spec", "a spec with at least an owner")
        .and_then(|node| Fields::of(reader, node, "spec", &["owner", "purpose", "egress"]));
    let name = metadata.as_ref().and_then(|metadata| {
        let (name, span) = metadata.text(reader, "name", NAME)?;
        is_name(name).then(|| (name.to_owned(), span)).or_else(|| {
            reader.found(span, &crate::text::quoted(name), NAME);
            None
        })
    });
    let labels = metadata
        .as_ref()
        .and_then(|metadata| metadata.get("labels"))
        .map(|node| labels(reader, node))
        .unwrap_or_default();
    let spec = spec?;
    let owner = owner(reader, &spec);
    let purpose = spec
        .get("purpose")
        .and_then(|node| bounded(reader, node, "a sentence"));
    let egress = spec
        .get("egress")
        .map(|node| egress::read(reader, node))
        .unwrap_or_default();
    let (name, name_span) = name?;
    Some(Policy {
        name,
        name_span,
        labels,
        owner: owner?,
        purpose,
        egress,
        source: source.clone(),
    })
}

const NAME: &str =
    "a name of 1 to 63 lower-case letters, digits and \"-\", with a letter or digit at both ends";

fn is_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty()
        && name.len() <= MAX_NAME
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn expect_word(reader: &mut Reader<'_>, fields: &Fields<'_>, key: &str, word: &str) {
    let expected = format!("\"{key}: {word}\"");
    if let Some((text, span)) = fields.text(reader, key, &expected)
        && text != word
    {
        reader.found(span, &crate::text::quoted(text), &expected);
    }
}

fn owner(reader: &mut Reader<'_>, spec: &Fields<'_>) -> Option<Owner> {
    let expected = "an owner with a name and a contact: no policy without an accountable person";
    let node = spec.require(reader, "owner", expected)?;
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

fn labels(reader: &mut Reader<'_>, node: &Node) -> Vec<(String, String)> {
    let Value::Map(fields) = &node.value else {
        reader.found(
            node.span,
            &node.found(),
            "a mapping of label names to texts",
        );
        return Vec::new();
    };
    fields
        .iter()
        .filter_map(|field| {
            let text = bounded(reader, &field.node, "the label's text")?;
            Some((field.key.clone(), text))
        })
        .collect()
}

fn bounded(reader: &mut Reader<'_>, node: &Node, expected: &str) -> Option<String> {
    let text = reader.text(node, expected)?;
    if text.len() > MAX_TEXT {
        let found = format!("{} bytes of text", text.len());
        reader.found(node.span, &found, &format!("at most {MAX_TEXT}"));
        return None;
    }
    Some(text.to_owned())
}
