//! What a session may do although it reaches other processes or the kernel itself.

use agent_common::privilege::Privilege;

use crate::text::{Node, Reader, Span};

/// Reads a list of privileges, each with its place.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Vec<(Privilege, Span)> {
    let mut privileges: Vec<(Privilege, Span)> = Vec::new();
    let words: Vec<(&str, Privilege)> = Privilege::ALL
        .iter()
        .map(|privilege| (privilege.word(), *privilege))
        .collect();
    for item in reader.items(node, "a list of privileges") {
        let Some(privilege) = reader.word(item, &words) else {
            continue;
        };
        if privileges.iter().any(|(other, _)| *other == privilege) {
            let found = format!("privilege \"{privilege}\" twice");
            reader.found(item.span, &found, "each privilege once");
            continue;
        }
        privileges.push((privilege, item.span));
    }
    privileges
}

/// The mask of privileges.
pub(crate) fn mask(privileges: &[(Privilege, Span)]) -> u64 {
    privileges
        .iter()
        .fold(0, |mask, (privilege, _)| mask | privilege.bit())
}
