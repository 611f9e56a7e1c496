//! How the API is reached: as the pod's service account, whose token the kubelet replaces every hour.

use super::Settings;
use crate::chain::chain;
use kube::client::ClientBuilder;
use kube::{Client, Config};
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

/// How long the API may take to say anything. A watch says something more often: it is begun anew before that.
const PATIENCE: Duration = Duration::from_secs(330);

/// Why the API cannot be talked to.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is none.
    #[error("found the address `{found}`, expected one such as https://10.0.0.1:443")]
    Address {
        /// What was found.
        found: String,
    },
    /// No certificate is in a file.
    #[error("found no certificate in {}, expected those of the authorities of the API", .0.display())]
    NoAuthority(PathBuf),
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// How to reach it.
pub(super) fn config(settings: &Settings) -> Result<Config, ClientError> {
    let found = || ClientError::Address {
        found: settings.server.clone(),
    };
    let address: http::Uri = settings.server.parse().map_err(|_| found())?;
    if address.scheme_str() != Some("https") || address.host().is_none() {
        return Err(found());
    }
    let mut config = Config::new(address);
    let authorities = settings.account.join("ca.crt");
    let token = settings.account.join("token");
    // Now, so that a wrong folder is an error of the start.
    read(&token)?;
    // Both: with the file alone the host's own authorities are wanted, too, and it may have none.
    config.root_cert = Some(certificates(&authorities)?);
    config.root_cert_file = Some(authorities);
    config.auth_info.token_file = Some(token.display().to_string());
    config.read_timeout = Some(PATIENCE);
    config.reset_reader_on_write = true;
    Ok(config)
}

/// The namespace in which this daemon runs.
pub(super) fn namespace(settings: &Settings) -> Result<String, ClientError> {
    let text = read(&settings.account.join("namespace"))?;
    Ok(text.trim().to_owned())
}

fn certificates(path: &Path) -> Result<Vec<Vec<u8>>, ClientError> {
    let text = read(path)?;
    let found = CertificateDer::pem_slice_iter(text.as_bytes()).flatten();
    let found: Vec<_> = found.map(|certificate| certificate.to_vec()).collect();
    match found.is_empty() {
        true => Err(ClientError::NoAuthority(path.to_owned())),
        false => Ok(found),
    }
}

fn read(path: &Path) -> Result<String, ClientError> {
    std::fs::read_to_string(path).map_err(|source| ClientError::File {
        path: path.to_owned(),
        source,
    })
}

/// Why the API did not answer, in words: its own, where it said any.
pub(super) fn said<E: Error + 'static>(error: E) -> String {
    let mut next: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(cause) = next {
        if let Some(kube::Error::Api(status)) = cause.downcast_ref() {
            return status.message.clone();
        }
        next = cause.source();
    }
    chain(error)
}

/// A client, which connects when it is asked. To be called where its tasks can run.
pub(super) fn connect(config: Config) -> kube::Result<Client> {
    Ok(ClientBuilder::try_from(config)?.build())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_cannot_be_used_is_named() {
        let account =
            std::env::temp_dir().join(format!("interlock-account-{}", std::process::id()));
        fs::create_dir_all(&account).unwrap();
        let refused = |server: &str| {
            let settings = Settings {
                server: server.into(),
                account: account.clone(),
                node: "n".into(),
                folder: PathBuf::new(),
            };
            chain(config(&settings).expect_err("it cannot be used"))
        };
        assert!(refused("10.0.0.1:443").starts_with("found the address `10.0.0.1:443`, expected"));
        assert!(refused("http://10.0.0.1").contains("expected one such as https://"));
        let server = "https://10.0.0.1:443";
        assert!(
            refused(server).contains("account") && refused(server).contains("/token: No such file")
        );
        fs::write(account.join("token"), "t").unwrap();
        fs::write(account.join("ca.crt"), "nothing").unwrap();
        assert!(refused(server).starts_with("found no certificate in "));
        fs::remove_dir_all(account).unwrap();
    }
}
