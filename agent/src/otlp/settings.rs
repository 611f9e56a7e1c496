//! Where the collector is, and how long and how much waits for it.

use crate::names::Finder;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::transport::Uri;

/// Where the collector is.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `http://HOST:PORT` or `https://HOST:PORT`.
    pub url: String,
    /// How that is found.
    pub finder: Finder,
    /// The authorities that its certificate may be of.
    pub authorities: PathBuf,
    /// The file with headers that each message has, such as a token.
    pub headers: Option<PathBuf>,
    /// What is not an option: times and sizes.
    pub bounds: Bounds,
}

/// How long and how much.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes of events that may wait.
    pub room: usize,
    /// Between two readings of the metrics.
    pub interval: Duration,
    /// How long the collector may take to answer.
    pub patience: Duration,
    /// The first and the longest pause before it is tried again.
    pub pauses: (Duration, Duration),
    /// How long the end of the daemon waits.
    pub end: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            // A denial takes about 1 KiB.
            room: 8 << 20,
            interval: Duration::from_secs(15),
            patience: Duration::from_secs(10),
            pauses: (Duration::from_millis(500), Duration::from_secs(30)),
            end: Duration::from_secs(3),
        }
    }
}

/// Why nobody can be told.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// It is no address.
    #[error("found the address `{0}`, expected http://HOST:PORT or https://HOST:PORT")]
    Url(String),
    /// Who lists processes would see it.
    #[error("found a user or a token in the address, expected it in the file of `--otlp-headers`")]
    Secret,
    /// Who listens would see them.
    #[error("found headers for the address `{0}`, expected https://: they would travel in clear")]
    Plain(String),
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line of the file of headers is none. What it says is not shown: it may be secret.
    #[error("{}:{line}: found {found}, expected `NAME: VALUE`", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// What is wrong with it.
        found: &'static str,
    },
    /// There is none in it.
    #[error("{}: found no header, expected lines such as `authorization: Bearer TOKEN`", .0.display())]
    NoHeader(PathBuf),
    /// There is none in it.
    #[error("{}: found no certificate, expected those of authorities as PEM", .0.display())]
    NoAuthority(PathBuf),
    /// They cannot be used.
    #[error("cannot use the authorities of {}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
    /// The thread cannot be started.
    #[error("cannot start the thread that tells the collector")]
    Thread(#[source] io::Error),
}

impl Settings {
    /// The address, if it is one.
    pub(super) fn uri(&self) -> Result<Uri, OtlpError> {
        let wrong = || OtlpError::Url(self.url.clone());
        // Before anything shows it.
        if self.url.contains('@') {
            return Err(OtlpError::Secret);
        }
        let uri: Uri = self.url.parse().map_err(|_| wrong())?;
        let is_known = matches!(uri.scheme_str(), Some("http" | "https"));
        // OTLP over HTTP has paths, over gRPC it has none.
        let is_bare = uri.path_and_query().is_none_or(|path| path.as_str() == "/");
        if !is_known || !is_bare || uri.port_u16().is_none() {
            return Err(wrong());
        }
        match uri.scheme_str() {
            Some("http") if self.headers.is_some() => Err(OtlpError::Plain(self.url.clone())),
            _ => Ok(uri),
        }
    }
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, OtlpError> {
    std::fs::read(path).map_err(|source| OtlpError::File {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::chain;

    #[test]
    fn an_address_is_one_of_grpc_and_holds_no_secret() {
        let said = |url: &str, headers: Option<&str>| {
            let settings = Settings {
                finder: Finder::Host,
                url: url.to_owned(),
                authorities: PathBuf::new(),
                headers: headers.map(PathBuf::from),
                bounds: Bounds::default(),
            };
            settings.uri().map(|uri| uri.to_string()).map_err(chain)
        };
        for url in [
            "http://127.0.0.1:4317/",
            "https://[::1]:4317/",
            "https://otel.example.com:443/",
        ] {
            assert_eq!(said(url, None).as_deref(), Ok(url));
        }
        for url in [
            "",
            "host:4317",
            "grpc://host:4317",
            "http://host",
            "http://host:4318/v1/logs",
        ] {
            let why = said(url, None).expect_err(url);
            assert_eq!(
                why,
                format!(
                    "found the address `{url}`, expected http://HOST:PORT or https://HOST:PORT"
                )
            );
        }
        let why = said("https://ada:hunter2@host:4317", None).expect_err("a secret");
        assert!(!why.contains("hunter2"), "{why}");
        let why = said("http://host:4317", Some("token")).expect_err("in clear");
        assert!(why.contains("expected https://"), "{why}");
    }
}
