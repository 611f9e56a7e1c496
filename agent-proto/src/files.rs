//! Certificates from files that may change meanwhile.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::{fs, io};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, ServerConfig};

/// What HTTP/2 is called when a connection begins.
const HTTP_2: &[u8] = b"h2";

/// Where one side's certificates lie, as PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The own certificate, with those between it and the authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authorities by which the other side is known.
    pub authority: PathBuf,
    /// At a server: who shows no certificate may come in, to show something else. At a client: it
    /// shows none, and its own files need not be there.
    pub anonymous: bool,
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It holds something else.
    #[error("{}: expected {expected} as PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What should be there.
        expected: &'static str,
        /// What is wrong.
        #[source]
        source: PemError,
    },
    /// They do not go together.
    #[error("cannot use {} with its key", path.display())]
    Use {
        /// The certificate.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The authorities cannot be used.
    #[error("cannot use the authorities of {}", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: VerifierBuilderError,
    },
}

/// What the files held.
#[derive(Debug)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    authority: Vec<u8>,
}

impl Files {
    /// Files called `NAME.pem`, `NAME.key` and `ca.pem` in a folder, as `interlock-controller certs`
    /// makes them.
    pub fn in_folder(folder: &Path, name: &str) -> Self {
        Self {
            certificate: folder.join(format!("{name}.pem")),
            key: folder.join(format!("{name}.key")),
            authority: folder.join("ca.pem"),
            anonymous: false,
        }
    }

    /// The same, without the need of a certificate.
    pub fn anonymous(self) -> Self {
        Self {
            anonymous: true,
            ..self
        }
    }

    fn contents(&self) -> Result<Contents, FilesError> {
        Ok(Contents {
            certificate: read(&self.certificate)?,
            key: read(&self.key)?,
            authority: read(&self.authority)?,
        })
    }

    /// The own certificate, the first of its file.
    pub fn own(&self) -> Result<Vec<u8>, FilesError> {
        let chain = self.chain(&read(&self.certificate)?)?;
        Ok(chain
            .first()
            .map(|first| first.to_vec())
            .unwrap_or_default())
    }

    fn chain(&self, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, FilesError> {
        certificates(&self.certificate, pem)
    }

    fn key(&self, pem: &[u8]) -> Result<PrivateKeyDer<'static>, FilesError> {
        PrivateKeyDer::from_pem_slice(pem).map_err(|source| FilesError::Pem {
            path: self.key.clone(),
            expected: "a private key",
            source,
        })
    }

    fn roots(&self, pem: &[u8]) -> Result<RootCertStore, FilesError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.authority, pem)? {
            roots.add(certificate).map_err(|source| FilesError::Use {
                path: self.authority.clone(),
                source,
            })?;
        }
        Ok(roots)
    }

    fn unusable(&self) -> impl FnOnce(rustls::Error) -> FilesError {
        let path = self.certificate.clone();
        |source| FilesError::Use { path, source }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, FilesError> {
    fs::read(path).map_err(|source| FilesError::Read {
        path: path.to_owned(),
        source,
    })
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, FilesError> {
    let wrong = |source| FilesError::Pem {
        path: path.to_owned(),
        expected: "certificates",
        source,
    };
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all.map_err(wrong)? {
        none if none.is_empty() => Err(wrong(PemError::NoItemsFound)),
        all => Ok(all),
    }
}

/// A way to talk that is made from files.
pub trait Made: Sized {
    /// Makes it.
    fn from_files(files: &Files) -> Result<Self, FilesError>;
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

impl Made for ClientConfig {
    fn from_files(files: &Files) -> Result<Self, FilesError> {
        let roots = files.roots(&read(&files.authority)?)?;
        let builder = Self::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(files.unusable())?
            .with_root_certificates(roots);
        let mut config = if files.anonymous {
            builder.with_no_client_auth()
        } else {
            let contents = files.contents()?;
            builder
                .with_client_auth_cert(
                    files.chain(&contents.certificate)?,
                    files.key(&contents.key)?,
                )
                .map_err(files.unusable())?
        };
        config.alpn_protocols = vec![HTTP_2.to_vec()];
        Ok(config)
    }
}

impl Made for ServerConfig {
    fn from_files(files: &Files) -> Result<Self, FilesError> {
        let contents = files.contents()?;
        let roots = Arc::new(files.roots(&contents.authority)?);
        let mut verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
        if files.anonymous {
            verifier = verifier.allow_unauthenticated();
        }
        let verifier = verifier.build().map_err(|source| FilesError::Authority {
            path: files.authority.clone(),
            source,
        })?;
        let mut config = Self::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(files.unusable())?
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                files.chain(&contents.certificate)?,
                files.key(&contents.key)?,
            )
            .map_err(files.unusable())?;
        config.alpn_protocols = vec![HTTP_2.to_vec()];
        // A ticket would let an authority that was taken away in.
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

/// What was made of files, made anew when they change.
#[derive(Debug)]
pub struct Followed<C> {
    files: Files,
    held: Mutex<(Stamp, Arc<C>)>,
}

/// By what a change is seen: a file that is replaced has another inode or time.
type Stamp = [Option<(u64, i64, i64, u64)>; 3];

fn stamp(files: &Files) -> Stamp {
    use std::os::unix::fs::MetadataExt as _;
    [&files.certificate, &files.key, &files.authority].map(|path| {
        let metadata = path.metadata().ok()?;
        Some((
            metadata.ino(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.size(),
        ))
    })
}

impl<C: Made> Followed<C> {
    /// Makes it for the first time.
    pub fn begin(files: Files) -> Result<Self, FilesError> {
        let seen = stamp(&files);
        let made = Arc::new(C::from_files(&files)?);
        Ok(Self {
            files,
            held: Mutex::new((seen, made)),
        })
    }

    /// What the files say now. While they cannot be used, as in the middle of being replaced, what
    /// they said before, and why.
    pub fn now(&self) -> (Arc<C>, Option<FilesError>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = stamp(&self.files);
        if seen == held.0 {
            return (Arc::clone(&held.1), None);
        }
        match C::from_files(&self.files) {
            Ok(made) => {
                *held = (seen, Arc::new(made));
                (Arc::clone(&held.1), None)
            }
            Err(error) => (Arc::clone(&held.1), Some(error)),
        }
    }

    /// The files.
    pub fn files(&self) -> &Files {
        &self.files
    }
}
