//! Who a certificate names.
//!
//! A name is the one SPIFFE id among the certificate's alternative names:
//! `spiffe://TRUST/node/NAME`, `spiffe://TRUST/operator/NAME` or `spiffe://TRUST/controller/NAME`.
//! Whatever else is there, `spiffe://TRUST/agent/NAME` above all, may ask nothing. An operator has
//! the roles that the certificate's organizational units name, or a path that ends in them:
//! `/operator/NAME/responder+approver`.

use std::collections::BTreeSet;
use std::fmt;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// What an operator may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// See.
    Viewer,
    /// End sessions.
    Responder,
    /// Give grants, and answer what waits for a person.
    Approver,
    /// Bring policies and roll them out.
    Author,
    /// All of it.
    Admin,
}

impl Role {
    const ALL: [Self; 5] = [
        Self::Viewer,
        Self::Responder,
        Self::Approver,
        Self::Author,
        Self::Admin,
    ];

    /// As certificates name it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Responder => "responder",
            Self::Approver => "approver",
            Self::Author => "policy-author",
            Self::Admin => "admin",
        }
    }

    /// The role of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// A node.
    Node(String),
    /// A person, or what acts for one.
    Operator {
        /// Its name.
        name: String,
        /// What it may do.
        roles: BTreeSet<Role>,
    },
    /// A controller.
    Controller(String),
    /// Somebody who has shown no certificate: it may show a token.
    Bearer,
}

impl Identity {
    /// Whether it has a role. Whoever has any role may see; an admin may do everything.
    pub fn has(&self, role: Role) -> bool {
        match self {
            Self::Operator { roles, .. } => {
                roles.contains(&role)
                    || roles.contains(&Role::Admin)
                    || (role == Role::Viewer && !roles.is_empty())
            }
            Self::Node(_) | Self::Controller(_) | Self::Bearer => false,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(name) => write!(f, "node/{name}"),
            Self::Operator { name, .. } => write!(f, "operator/{name}"),
            Self::Controller(name) => write!(f, "controller/{name}"),
            Self::Bearer => f.write_str("somebody without a certificate"),
        }
    }
}

/// Whom a certificate names, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The trust domain.
    pub trust: String,
    /// Who it is.
    pub identity: Identity,
    /// Seconds since 1970 at which the certificate ends.
    pub until_s: i64,
}

/// Why a certificate names nobody here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NobodyError {
    /// It is not one.
    #[error("found no certificate")]
    NoCertificate,
    /// It has not one SPIFFE id.
    #[error("found {0} SPIFFE ids among the certificate's names, expected one")]
    Ids(usize),
    /// The id names nobody who may ask.
    #[error(
        "found `{0}`, expected spiffe://TRUST/node/NAME, spiffe://TRUST/operator/NAME or \
         spiffe://TRUST/controller/NAME, each NAME of a-z, A-Z, 0-9, `.`, `_` and `-`"
    )]
    Id(String),
    /// It has roles and is no operator.
    #[error("found the role `{role}` in the certificate of {identity}: operators alone have roles")]
    Role {
        /// Whose it is.
        identity: String,
        /// The role.
        role: &'static str,
    },
}

/// Whom a certificate names, of which the chain has been verified.
pub fn of_certificate(der: &[u8]) -> Result<Named, NobodyError> {
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|_| NobodyError::NoCertificate)?;
    let names = certificate.subject_alternative_name().ok().flatten();
    let uris: Vec<&str> = names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
        .collect();
    let [uri] = uris[..] else {
        return Err(NobodyError::Ids(uris.len()));
    };
    let units = certificate.subject().iter_organizational_unit();
    let units: Vec<Role> = units
        .filter_map(|unit| Role::from_word(unit.as_str().ok()?))
        .collect();
    let (trust, identity) = of_id(uri, &units)?;
    Ok(Named {
        trust,
        identity,
        until_s: certificate.validity().not_after.timestamp(),
    })
}

/// Whom a SPIFFE id names, with the roles that the certificate has besides.
fn of_id(id: &str, units: &[Role]) -> Result<(String, Identity), NobodyError> {
    let wrong = || NobodyError::Id(id.to_owned());
    let rest = id.strip_prefix("spiffe://").ok_or_else(wrong)?;
    let words: Vec<&str> = rest.split('/').collect();
    let (trust, kind, name, more) = match words[..] {
        [trust, kind, name] => (trust, kind, name, None),
        [trust, "operator", name, roles] => (trust, "operator", name, Some(roles)),
        _ => return Err(wrong()),
    };
    if !is_name(trust) || !is_name(name) {
        return Err(wrong());
    }
    let mut roles: BTreeSet<Role> = units.iter().copied().collect();
    for role in more.into_iter().flat_map(|more| more.split('+')) {
        roles.insert(Role::from_word(role).ok_or_else(wrong)?);
    }
    let name = name.to_owned();
    let identity = match kind {
        "node" => Identity::Node(name),
        "controller" => Identity::Controller(name),
        "operator" => Identity::Operator { name, roles },
        _ => return Err(wrong()),
    };
    match (&identity, units.first()) {
        (Identity::Operator { .. }, _) | (_, None) => Ok((trust.to_owned(), identity)),
        (other, Some(role)) => Err(NobodyError::Role {
            identity: other.to_string(),
            role: role.word(),
        }),
    }
}

/// Whether this can be a name: it stands in tables, files' names and messages.
pub fn is_name(text: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !text.is_empty() && text.len() <= 128 && text.bytes().all(fine) && !text.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(words: &[Role]) -> BTreeSet<Role> {
        words.iter().copied().collect()
    }

    #[test]
    fn ids_name_nodes_operators_and_controllers() {
        let (trust, node) = of_id("spiffe://example.com/node/web-1", &[]).expect("a node");
        assert_eq!(
            (trust.as_str(), node),
            ("example.com", Identity::Node("web-1".into()))
        );
        let (_, ada) = of_id("spiffe://t/operator/ada", &[Role::Author]).expect("an operator");
        assert_eq!(
            ada,
            Identity::Operator {
                name: "ada".into(),
                roles: roles(&[Role::Author])
            }
        );
        let (_, both) =
            of_id("spiffe://t/operator/ada/responder+approver", &[]).expect("an operator");
        assert!(both.has(Role::Responder) && both.has(Role::Approver) && both.has(Role::Viewer));
        assert!(!both.has(Role::Author) && !both.has(Role::Admin));
    }

    #[test]
    fn nobody_else_may_ask() {
        for id in [
            "spiffe://t/agent/coder",
            "spiffe://t/agent/coder/admin",
            "spiffe://t/operator/ada/root",
            "spiffe://t/operator/ada/admin/x",
            "spiffe://t/operator/",
            "spiffe://t/node/a/admin",
            "spiffe://t/node/..",
            "spiffe:///node/a",
            "https://t/node/a",
            "spiffe://t/node/a b",
        ] {
            assert_eq!(of_id(id, &[]), Err(NobodyError::Id(id.into())), "{id}");
        }
    }

    #[test]
    fn a_node_has_no_role_whatever_its_certificate_says() {
        let refused = of_id("spiffe://t/node/a", &[Role::Admin]);
        assert!(
            matches!(refused, Err(NobodyError::Role { .. })),
            "{refused:?}"
        );
        for role in Role::ALL {
            assert!(!Identity::Node("a".into()).has(role));
        }
    }

    #[test]
    fn an_operator_without_a_role_sees_nothing() {
        let (_, nobody) = of_id("spiffe://t/operator/ada", &[]).expect("an operator");
        assert!(Role::ALL.iter().all(|role| !nobody.has(*role)));
    }
}
