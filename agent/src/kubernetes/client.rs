//! How the API is reached: as the pod's service account, whose token the kubelet replaces every hour.

use super::Settings;
use kube::client::ClientBuilder;
use kube::{Client, Config};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    for file in [&authorities, &token] {
        read(file)?;
    }
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

fn read(path: &Path) -> Result<String, ClientError> {
    std::fs::read_to_string(path).map_err(|source| ClientError::File {
        path: path.to_owned(),
        source,
    })
}

/// A client, which connects when it is asked. To be called where its tasks can run.
pub(super) fn connect(config: Config) -> kube::Result<Client> {
    Ok(ClientBuilder::try_from(config)?.build())
}
