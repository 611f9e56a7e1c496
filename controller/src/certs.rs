//! Certificates for a demonstration and for tests: an authority, a controller, nodes and operators.
//! Where certificates matter, something else makes them: SPIRE, Vault, a company's own authority.

use agent_proto::identity::is_name;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use std::fs;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is to be made.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The trust domain.
    pub trust: String,
    /// The names and addresses under which the controller is reached.
    pub hosts: Vec<String>,
    /// Nodes.
    pub nodes: Vec<String>,
    /// Operators, as `NAME` or `NAME=ROLE+ROLE`.
    pub operators: Vec<String>,
    /// How long all of it holds; what is negative has expired.
    pub days: i64,
}

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// A file cannot be written or read.
    #[error("{}", path.display())]
    File {
        /// It.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A name is none.
    #[error("found the name `{0}`, expected a-z, A-Z, 0-9, `.`, `_` and `-`")]
    Name(String),
    /// It cannot be made.
    #[error("cannot make the certificate of {0}")]
    Make(String, #[source] rcgen::Error),
}

/// Makes them, with the folder's own authority, which is made when it is not there yet. Files:
/// `ca.pem`, `ca.key`, and `NAME.pem` and `NAME.key` for `controller`, `node-NAME` and
/// `operator-NAME`.
pub fn make(folder: &Path, wanted: &Wanted) -> Result<(), CertsError> {
    let all = wanted.nodes.iter().chain([&wanted.trust]);
    let names = wanted.operators.iter().map(|operator| split(operator).0);
    if let Some(wrong) = all
        .map(String::as_str)
        .chain(names)
        .find(|name| !is_name(name))
    {
        return Err(CertsError::Name(wrong.to_owned()));
    }
    fs::create_dir_all(folder).map_err(|source| CertsError::File {
        path: folder.to_owned(),
        source,
    })?;
    let authority = authority(folder, wanted)?;
    let controller = Subject {
        file: "controller".into(),
        path: "controller/main".into(),
        units: &[],
        hosts: &wanted.hosts,
    };
    controller.make(folder, wanted, &authority)?;
    for node in &wanted.nodes {
        let subject = Subject {
            file: format!("node-{node}"),
            path: format!("node/{node}"),
            units: &[],
            hosts: &[],
        };
        subject.make(folder, wanted, &authority)?;
    }
    for operator in &wanted.operators {
        let (name, roles) = split(operator);
        let subject = Subject {
            file: format!("operator-{name}"),
            path: format!("operator/{name}"),
            units: &roles,
            hosts: &[],
        };
        subject.make(folder, wanted, &authority)?;
    }
    Ok(())
}

/// An operator's name and its roles, all of them where none is said.
fn split(operator: &str) -> (&str, Vec<&str>) {
    match operator.split_once('=') {
        Some((name, roles)) => (name, roles.split('+').collect()),
        None => (operator, vec!["admin"]),
    }
}

/// Whose certificate it is.
struct Subject<'a> {
    file: String,
    path: String,
    units: &'a [&'a str],
    hosts: &'a [String],
}

impl Subject<'_> {
    fn make(
        &self,
        folder: &Path,
        wanted: &Wanted,
        authority: &CertifiedIssuer<'static, KeyPair>,
    ) -> Result<(), CertsError> {
        let failed = |source| CertsError::Make(self.path.clone(), source);
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        parameters
            .distinguished_name
            .push(DnType::CommonName, self.path.as_str());
        for unit in self.units {
            parameters
                .distinguished_name
                .push(DnType::OrganizationalUnitName, *unit);
        }
        let id = format!("spiffe://{}/{}", wanted.trust, self.path);
        parameters.subject_alt_names = vec![SanType::URI(Ia5String::try_from(id).map_err(failed)?)];
        for host in self.hosts {
            parameters
                .subject_alt_names
                .push(match host.parse::<IpAddr>() {
                    Ok(address) => SanType::IpAddress(address),
                    Err(_) => SanType::DnsName(Ia5String::try_from(host.as_str()).map_err(failed)?),
                });
        }
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        set_time(&mut parameters, wanted.days);
        let key = KeyPair::generate().map_err(failed)?;
        let made = parameters.signed_by(&key, authority).map_err(failed)?;
        write(
            &folder.join(format!("{}.key", self.file)),
            &key.serialize_pem(),
        )?;
        write(&folder.join(format!("{}.pem", self.file)), &made.pem())
    }
}

fn set_time(parameters: &mut CertificateParams, days: i64) {
    let day = Duration::from_secs(24 * 3600);
    let now = std::time::SystemTime::now();
    let span = day * u32::try_from(days.unsigned_abs()).unwrap_or(u32::MAX);
    parameters.not_before = (now - day * 2 - if days < 0 { span } else { Duration::ZERO }).into();
    parameters.not_after = if days < 0 { now - span } else { now + span }.into();
}

fn authority(
    folder: &Path,
    wanted: &Wanted,
) -> Result<CertifiedIssuer<'static, KeyPair>, CertsError> {
    let (pem, key_file) = (folder.join("ca.pem"), folder.join("ca.key"));
    let failed = |source| CertsError::Make("the authority".into(), source);
    let known = key_file.exists();
    let key = if known {
        let text = fs::read_to_string(&key_file).map_err(|source| CertsError::File {
            path: key_file.clone(),
            source,
        })?;
        KeyPair::from_pem(&text)
    } else {
        KeyPair::generate()
    };
    let key = key.map_err(failed)?;
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    let name = format!("Interlock demonstration authority of {}", wanted.trust);
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_time(&mut parameters, 3650);
    let text = key.serialize_pem();
    let made = CertifiedIssuer::self_signed(parameters, key).map_err(failed)?;
    if !known {
        write(&key_file, &text)?;
    }
    if !known || !pem.exists() {
        write(&pem, &made.pem())?;
    }
    Ok(made)
}

/// Writes a file for its owner alone, whole or not at all.
fn write(path: &Path, text: &str) -> Result<(), CertsError> {
    let fresh = path.with_extension("new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options
        .open(&fresh)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    let done = written.and_then(|()| fs::rename(&fresh, path));
    done.map_err(|source| CertsError::File {
        path: path.to_owned(),
        source,
    })
}
