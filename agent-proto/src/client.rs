//! The way to the controller: HTTP/2 over TLS, both sides known by their certificates.

use crate::files::{Files, FilesError, Followed};
use crate::identity::{self, Identity, NobodyError};
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::{InvalidDnsNameError, ServerName};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::Service;

/// How long a connection may take to come about.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often the other side is asked whether it is still there, and how long it may take to say so.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(10));

/// Why there is no way.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The certificates cannot be used.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The address is none.
    #[error("found the address `{0}`, expected HOST:PORT")]
    Address(String),
    /// The host is no name.
    #[error("found the host `{0}`, expected a name or an address")]
    Host(String, #[source] InvalidDnsNameError),
    /// The own certificate names nobody.
    #[error("the own certificate names nobody")]
    Nobody(#[from] NobodyError),
    /// Nobody answers, or it is not who it should be.
    #[error("cannot reach the controller at {address}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
}

/// A connection that comes about.
pub type Reaching = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// Reaches a `HOST:PORT`.
pub type Reach = Arc<dyn Fn(String) -> Reaching + Send + Sync>;

/// Where the controller is, and who asks it.
pub struct Client {
    address: String,
    name: ServerName<'static>,
    files: Files,
    config: OnceLock<Followed<ClientConfig>>,
    reach: Reach,
}

impl Client {
    /// The controller at `HOST:PORT`. The certificates may come later: each connect asks for them.
    pub fn new(address: &str, files: Files) -> Result<Self, ClientError> {
        let host = address
            .rsplit_once(':')
            .map(|(host, port)| (host, port.parse::<u16>()));
        let Some((host, Ok(_))) = host else {
            return Err(ClientError::Address(address.to_owned()));
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned())
            .map_err(|source| ClientError::Host(host.to_owned(), source))?;
        Ok(Self {
            address: address.to_owned(),
            name,
            files,
            config: OnceLock::new(),
            reach: Arc::new(|address| Box::pin(TcpStream::connect(address))),
        })
    }

    /// The same, reached in a way of its own.
    pub fn reached_by(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    /// Whom the own certificate names.
    pub fn own(&self) -> Result<Identity, ClientError> {
        let certificate = self.files.own()?;
        Ok(identity::of_certificate(&certificate)?.identity)
    }

    fn config(&self) -> Result<Arc<ClientConfig>, FilesError> {
        if let Some(made) = self.config.get() {
            return Ok(made.now().0);
        }
        let made = Followed::begin(self.files.clone())?;
        Ok(self.config.get_or_init(|| made).now().0)
    }

    /// Where the controller is.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Connects. What the certificates' files say at this moment is what counts.
    pub async fn connect(&self) -> Result<Channel, ClientError> {
        // The scheme is for HTTP alone: the connector below does TLS.
        let uri = format!("http://{}", self.address);
        let endpoint = Endpoint::from_shared(uri)
            .map_err(|_| ClientError::Address(self.address.clone()))?
            .connect_timeout(PATIENCE)
            .http2_keep_alive_interval(KEEP_ALIVE.0)
            .keep_alive_timeout(KEEP_ALIVE.1)
            .keep_alive_while_idle(true)
            .http2_max_header_list_size(16 * 1024);
        let connector = Connector {
            address: self.address.clone(),
            name: self.name.clone(),
            config: self.config()?,
            reach: Arc::clone(&self.reach),
        };
        endpoint
            .connect_with_connector(connector)
            .await
            .map_err(|source| ClientError::Unreachable {
                address: self.address.clone(),
                source,
            })
    }
}

#[derive(Clone)]
struct Connector {
    address: String,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
    reach: Reach,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect().await.map(TokioIo::new) })
    }
}

impl Connector {
    async fn connect(&self) -> io::Result<TlsStream<TcpStream>> {
        let tcp = (self.reach)(self.address.clone()).await?;
        tcp.set_nodelay(true)?;
        let tls = TlsConnector::from(Arc::clone(&self.config));
        let handshake = tls.connect(self.name.clone(), tcp);
        let stream = tokio::time::timeout(PATIENCE, handshake)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let certificates = stream.get_ref().1.peer_certificates();
        let first = certificates.and_then(|all| all.first());
        // Any certificate of the authority is not enough: a node must not pass for the controller.
        let named = identity::of_certificate(first.map_or(&[], |first| first.as_ref()))
            .map_err(io::Error::other)?;
        match named.identity {
            Identity::Controller(_) => Ok(stream),
            other => Err(io::Error::other(format!(
                "found {other} at {}, expected a controller",
                self.address
            ))),
        }
    }
}
