//! Operators who show a token instead of a certificate: who an OpenID provider says they are.
//!
//! The provider's keys are read from a file, a JWK set, and read anew when it changes. What fetches
//! them is not the controller's affair: it asks nobody.

mod verifier;

use agent_proto::identity::{Identity, Role};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use std::{fs, io};

/// The longest token that is looked at.
const MAX_TOKEN: usize = 8 * 1024;

/// How far the provider's clock may be from this one.
const LEEWAY: Duration = Duration::from_secs(30);

/// How the keys sign that are believed. None that a key would have to be kept secret for.
const ALGORITHMS: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// An OpenID provider, and how its tokens are read.
#[derive(Debug, Clone)]
pub struct Provider {
    /// What it calls itself (`iss`).
    pub issuer: String,
    /// For whom its tokens must be (`aud`).
    pub audience: String,
    /// Its keys: a file that holds a JWK set.
    pub keys: PathBuf,
    /// The claim that names roles, or a path to it: `realm_access.roles`.
    pub roles: String,
    /// The claim that names the operator.
    pub name: String,
}

/// Why a provider's keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// They cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// They are none.
    #[error("{}: expected a JWK set with a key in it", path.display())]
    Keys {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Option<serde_json::Error>,
    },
}

/// Why a token says nothing here.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It is none.
    #[error("found no token, expected `Authorization: Bearer TOKEN`")]
    None,
    /// No key of the provider has this name, or signs in this way.
    #[error("it is signed by a key that the provider does not have")]
    Key,
    /// Forged, expired, for somebody else, or by somebody else.
    #[error("{0}")]
    Refused(&'static str),
    /// A claim is missing, or something else than it should be.
    #[error("found no usable claim `{0}`")]
    Claim(String),
    /// It is a workload's: an agent's, say.
    #[error("found `{0}`: workloads have no roles")]
    Workload(String),
    /// It names no role.
    #[error("it names none of the roles that there are, in `{0}`")]
    Role(String),
}

/// Reads tokens.
#[derive(Debug)]
pub struct Tokens {
    provider: Provider,
    held: Mutex<(Option<Stamp>, Arc<JwkSet>)>,
}

type Stamp = (u64, i64, i64, u64);

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = path.metadata().ok()?;
    Some((
        metadata.ino(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.size(),
    ))
}

fn read(path: &Path) -> Result<JwkSet, ProviderError> {
    let wrong = |source| ProviderError::Keys {
        path: path.to_owned(),
        source,
    };
    let bytes = fs::read(path).map_err(|source| ProviderError::Read {
        path: path.to_owned(),
        source,
    })?;
    let set: JwkSet = serde_json::from_slice(&bytes).map_err(|error| wrong(Some(error)))?;
    if set.keys.is_empty() {
        return Err(wrong(None));
    }
    Ok(set)
}

impl Tokens {
    /// Those of a provider.
    pub fn of(provider: Provider) -> Result<Self, ProviderError> {
        verifier::install();
        let seen = stamp(&provider.keys);
        let keys = Arc::new(read(&provider.keys)?);
        Ok(Self {
            provider,
            held: Mutex::new((seen, keys)),
        })
    }

    /// The provider's keys now; those before while the file cannot be used.
    fn keys(&self) -> Arc<JwkSet> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = stamp(&self.provider.keys);
        if seen != held.0 {
            match read(&self.provider.keys) {
                Ok(keys) => *held = (seen, Arc::new(keys)),
                Err(error) => tracing::warn!(%error, "the provider's keys stay as they were"),
            }
        }
        Arc::clone(&held.1)
    }

    /// Who brings a token, and until when it holds.
    pub fn read(&self, token: &str) -> Result<(Identity, SystemTime), TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::None);
        }
        let header = decode_header(token).map_err(|_| TokenError::None)?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(TokenError::Refused(
                "it is signed in a way that is not believed",
            ));
        }
        let keys = self.keys();
        let key = named(&keys, header.kid.as_deref()).ok_or(TokenError::Key)?;
        if let Some(usual) = key.common.key_algorithm
            && usual.to_string() != format!("{:?}", header.alg)
        {
            return Err(TokenError::Key);
        }
        let key = DecodingKey::from_jwk(key).map_err(|_| TokenError::Key)?;
        let mut wanted = Validation::new(header.alg);
        wanted.set_issuer(&[&self.provider.issuer]);
        wanted.set_audience(&[&self.provider.audience]);
        wanted.set_required_spec_claims(&["exp", "iss", "aud"]);
        wanted.validate_nbf = true;
        wanted.leeway = LEEWAY.as_secs();
        let claims: Map<String, Value> = decode(token, &key, &wanted).map_err(refused)?.claims;
        // Read once more: what is no number must not pass for what is not there.
        let until = number(&claims, "exp")?.ok_or_else(|| TokenError::Claim("exp".into()))?;
        number(&claims, "nbf")?;
        let identity = self.identity(&claims)?;
        let until = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(until) + LEEWAY);
        let until = until.ok_or_else(|| TokenError::Claim("exp".into()))?;
        Ok((identity, until))
    }

    fn identity(&self, claims: &Map<String, Value>) -> Result<Identity, TokenError> {
        let provider = &self.provider;
        let subject = claims.get("sub").and_then(Value::as_str);
        let subject = subject.ok_or_else(|| TokenError::Claim("sub".into()))?;
        // A workload that can have a token for this audience is a workload all the same.
        if subject.to_ascii_lowercase().starts_with("spiffe:") {
            return Err(TokenError::Workload(subject.to_owned()));
        }
        let name = claims.get(&provider.name).and_then(Value::as_str);
        let name = name.filter(|name| is_shown(name));
        let name = name.ok_or_else(|| TokenError::Claim(provider.name.clone()))?;
        let roles: BTreeSet<Role> = words(at(claims, &provider.roles))
            .filter_map(Role::from_word)
            .collect();
        if roles.is_empty() {
            return Err(TokenError::Role(provider.roles.clone()));
        }
        // No certificate's name has a colon: nobody is taken for somebody else in the audit.
        let name = format!("oidc:{name}");
        Ok(Identity::Operator { name, roles })
    }
}

/// The key of a name; where the token names none, the only one there is.
fn named<'a>(keys: &'a JwkSet, name: Option<&str>) -> Option<&'a Jwk> {
    match (name, &keys.keys[..]) {
        (Some(name), _) => keys.find(name),
        (None, [only]) => Some(only),
        (None, _) => None,
    }
}

fn refused(error: jsonwebtoken::errors::Error) -> TokenError {
    use jsonwebtoken::errors::ErrorKind;
    TokenError::Refused(match error.kind() {
        ErrorKind::InvalidSignature => "forged: the signature is not the provider's",
        ErrorKind::ExpiredSignature => "expired",
        ErrorKind::ImmatureSignature => "it holds later, or a clock is wrong",
        ErrorKind::InvalidIssuer => "another provider has issued it",
        ErrorKind::InvalidAudience => "it is for somebody else",
        ErrorKind::MissingRequiredClaim(_) => "it does not say by whom, for whom and until when",
        _ => "it makes no sense",
    })
}

fn number(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, TokenError> {
    let wrong = || TokenError::Claim(name.to_owned());
    let found = claims.get(name);
    found
        .map(|value| value.as_u64().ok_or_else(wrong))
        .transpose()
}

/// A claim by its name, or by a path.
fn at<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let (first, rest) = name.split_once('.')?;
    let inner = claims.get(first)?;
    rest.split('.')
        .try_fold(inner, |value, name| value.get(name))
}

/// The words of a list, or of a text.
fn words(value: Option<&Value>) -> impl Iterator<Item = &str> {
    let list = value.and_then(Value::as_array).into_iter().flatten();
    let text = value.and_then(Value::as_str).into_iter();
    list.filter_map(Value::as_str)
        .chain(text.flat_map(str::split_ascii_whitespace))
}

/// Whether this can stand in tables and messages.
fn is_shown(name: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_graphic() && byte != b'/';
    !name.is_empty() && name.len() <= 128 && name.bytes().all(fine)
}
