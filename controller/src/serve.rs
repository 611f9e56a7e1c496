//! The server: everything put together.

use crate::door::{self, Limits};
use crate::fleet::Fleet;
use crate::gate::Gate;
use crate::node::Nodes;
use crate::operator::{Operators, READERS};
use crate::retain::{self, Keep};
use crate::room::Room;
use crate::store::sqlite::Sqlite;
use crate::store::{Desk, DeskError, StoreError};
use crate::token::{Provider, ProviderError, Tokens};
use agent_proto::MAX_MESSAGE;
use agent_proto::files::{Files, FilesError, Followed};
use agent_proto::identity::{self, Identity, NobodyError};
use agent_proto::seal::{Key, KeyError};
use agent_proto::wire::node_server::NodeServer;
use agent_proto::wire::operator_server::OperatorServer;
use agent_proto::wire::{self};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::future::Future;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tracing::{debug, info};

/// How often the other side is asked whether it is still there, and how long it may take to say so.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));

/// Calls that one connection may have open.
const CALLS: u32 = 32;

/// How the controller is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where the database and the key lie.
    pub data: PathBuf,
    /// Its certificates.
    pub files: Files,
    /// How long a node that hears nothing lets its sessions run; zero for ever.
    pub lease: Duration,
    /// How many may come.
    pub limits: Limits,
    /// Whose tokens are believed of operators who show no certificate.
    pub tokens: Option<Provider>,
    /// How long records are kept.
    pub keep: Keep,
    /// Bytes of the disk that they leave free.
    pub reserved: u64,
}

/// Why the controller does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Its certificates cannot be used.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// They name nobody.
    #[error("the controller's certificate names nobody")]
    Nobody(#[from] NobodyError),
    /// They name somebody else.
    #[error("found the certificate of {0}, expected a controller's")]
    NoController(Identity),
    /// The keys of those who issue tokens cannot be used.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be read.
    #[error(transparent)]
    Desk(#[from] DeskError),
    /// The key cannot be used.
    #[error("{}", path.display())]
    Key {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// A file or folder cannot be used.
    #[error("cannot use {}", path.display())]
    Path {
        /// It.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot listen.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server ended.
    #[error("the server ended")]
    Server(#[from] tonic::transport::Error),
    /// Reflection could not be set up.
    #[error("the contract cannot be shown")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Listens. "Everywhere" is written `[::]`, and where the kernel has no IPv6 it is IPv4 alone.
async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, address.port()));
    match TcpListener::bind(address).await {
        Err(error)
            if address == everywhere
                && error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()) =>
        {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

/// A controller that listens and does not serve yet.
pub struct Controller {
    listener: TcpListener,
    config: Followed<tokio_rustls::rustls::ServerConfig>,
    trust: String,
    limits: Limits,
    tokens: Option<Arc<Tokens>>,
    keep: Keep,
    fleet: Arc<Fleet>,
}

/// The database's file in the data folder.
pub fn database(data: &Path) -> PathBuf {
    data.join("controller.db")
}

impl Controller {
    /// Opens everything.
    pub async fn open(settings: &Settings) -> Result<Self, ServeError> {
        lift_descriptor_limit();
        let tokens = settings.tokens.clone().map(Tokens::of).transpose()?;
        let files = settings.files.clone();
        let files = match tokens {
            Some(_) => files.anonymous(),
            None => files,
        };
        let config = Followed::begin(files)?;
        let named = identity::of_certificate(&settings.files.own()?)?;
        if !matches!(named.identity, Identity::Controller(_)) {
            return Err(ServeError::NoController(named.identity));
        }
        let data = &settings.data;
        std::fs::create_dir_all(data).map_err(|source| ServeError::Path {
            path: data.clone(),
            source,
        })?;
        let key = key(&data.join("signing.key"))?;
        let room = Room::of(data.clone(), settings.reserved);
        let desk = Desk::of(Box::new(Sqlite::open(&database(data))?))?;
        let fleet = Fleet::begin(desk, key, settings.lease, room).await?;
        let address = settings.listen;
        let listener = listen(address)
            .await
            .map_err(|source| ServeError::Listen { address, source })?;
        Ok(Self {
            listener,
            config,
            trust: named.trust,
            limits: settings.limits,
            tokens: tokens.map(Arc::new),
            keep: settings.keep,
            fleet,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// All nodes.
    pub fn fleet(&self) -> Arc<Fleet> {
        Arc::clone(&self.fleet)
    }

    /// Serves until it is told to end.
    pub async fn serve(self, end: impl Future<Output = ()>) -> Result<(), ServeError> {
        let controller = &self.fleet.controller;
        info!(
            controller,
            trust = self.trust,
            epoch = self.fleet.epoch(),
            "serving"
        );
        let (health, healthy) = tonic_health::server::health_reporter();
        let gate = Gate {
            tokens: self.tokens,
        };
        let nodes = NodeServer::new(Nodes {
            fleet: Arc::clone(&self.fleet),
            limits: self.limits,
        })
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
        let house = tokio::spawn(retain::keep_house(Arc::clone(&self.fleet), self.keep));
        let _house = Ends(house);
        let operators = OperatorServer::new(Operators {
            fleet: self.fleet,
            readers: Arc::new(Semaphore::new(READERS)),
        })
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(4 * MAX_MESSAGE);
        health.set_serving::<NodeServer<Nodes>>().await;
        health.set_serving::<OperatorServer<Operators>>().await;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(wire::DESCRIPTOR)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()?;
        let guests = door::open(self.listener, self.config, self.trust, self.limits);
        Server::builder()
            .max_concurrent_streams(CALLS)
            .concurrency_limit_per_connection(CALLS as usize)
            .http2_keepalive_interval(Some(KEEP_ALIVE.0))
            .http2_keepalive_timeout(Some(KEEP_ALIVE.1))
            .http2_max_header_list_size(16 * 1024)
            .http2_max_pending_accept_reset_streams(Some(20))
            .initial_stream_window_size(256 * 1024)
            .initial_connection_window_size(1024 * 1024)
            .add_service(InterceptedService::new(healthy, gate.clone()))
            .add_service(InterceptedService::new(reflection, gate.clone()))
            .add_service(InterceptedService::new(nodes, gate.clone()))
            .add_service(InterceptedService::new(operators, gate))
            .serve_with_incoming_shutdown(guests, end)
            .await?;
        Ok(())
    }
}

/// A task that goes with its owner.
struct Ends(tokio::task::JoinHandle<()>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The key by which everything is signed, drawn when it is not there yet. It is not in the database:
/// whoever has a copy of that can forge nothing.
fn key(path: &Path) -> Result<Key, ServeError> {
    let failed = |source| ServeError::Path {
        path: path.to_owned(),
        source,
    };
    let wrong = |source| ServeError::Key {
        path: path.to_owned(),
        source,
    };
    match std::fs::read(path) {
        Ok(bytes) => return Key::from_pkcs8(&bytes).map_err(wrong),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let drawn = Key::draw().map_err(wrong)?;
    let fresh = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let opened = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh);
    let mut file = opened.map_err(failed)?;
    let written = file.write_all(&drawn).and_then(|()| file.sync_all());
    written
        .and_then(|()| std::fs::rename(&fresh, path))
        .map_err(failed)?;
    Key::from_pkcs8(&drawn).map_err(wrong)
}

/// A connection is a descriptor.
fn lift_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let lifted = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, lifted) {
        debug!(%error, "descriptors stay few");
    }
}
