//! Who comes in: whoever has a certificate of the authority that names somebody of this trust
//! domain, as long as there is room.
//!
//! What is not let in costs a descriptor and a few kilobytes for at most [`HANDSHAKE`], and there is
//! room for [`Limits::strangers`] of them.

use crate::rate::Bucket;
use crate::report::Reports;
use agent_proto::files::Followed;
use agent_proto::identity::{self, Identity};
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use tracing::{debug, warn};

/// How long somebody may take to say who it is.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// How long a connection without a certificate lasts.
const BEARER: Duration = Duration::from_secs(3600);

/// How many may come.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections together.
    pub connections: usize,
    /// Of one identity.
    pub of_one: usize,
    /// That have not said yet who they are.
    pub strangers: usize,
    /// That have shown no certificate, and must show a token with each call.
    pub bearers: usize,
    /// Calls a second on one connection.
    pub calls: u32,
    /// Records a second on one connection; who has more waits.
    pub records: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 12_000,
            of_one: 32,
            strangers: 1024,
            bearers: 256,
            calls: 100,
            records: 50_000,
        }
    }
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Who it is.
    pub identity: Arc<Identity>,
    /// From where.
    pub address: SocketAddr,
    /// When it is nobody any more, if that is before the connection ends.
    pub until: Option<tokio::time::Instant>,
    calls: Arc<Mutex<Bucket>>,
    reports: Arc<Mutex<Option<Reports>>>,
}

impl Peer {
    /// The same connection, as somebody whom a token names.
    pub(crate) fn named(&self, identity: Identity, until: tokio::time::Instant) -> Self {
        Self {
            identity: Arc::new(identity),
            until: Some(until),
            ..self.clone()
        }
    }

    /// Whether one more call may be made now.
    pub(crate) fn may_call(&self) -> bool {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.try_take()
    }

    /// Settles which record is reported on this connection.
    pub(crate) fn report(&self, reports: Option<Reports>) {
        *self.reports.lock().unwrap_or_else(PoisonError::into_inner) = reports;
    }

    /// The record that is reported on this connection.
    pub(crate) fn reports(&self) -> Option<Reports> {
        let reports = self.reports.lock();
        reports.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Opens the door. Who comes in is handed over.
pub fn open(
    listener: TcpListener,
    config: Followed<ServerConfig>,
    trust: String,
    limits: Limits,
) -> ReceiverStream<io::Result<Guest>> {
    let (guests, let_in) = mpsc::channel(64);
    let door = Arc::new(Door {
        config,
        trust,
        limits,
        rooms: Arc::new(Semaphore::new(limits.connections)),
        strangers: Arc::new(Semaphore::new(limits.strangers)),
        bearers: Arc::new(Semaphore::new(limits.bearers)),
        inside: Arc::default(),
    });
    tokio::spawn(attend(listener, door, guests));
    ReceiverStream::new(let_in)
}

struct Door {
    config: Followed<ServerConfig>,
    trust: String,
    limits: Limits,
    rooms: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    bearers: Arc<Semaphore>,
    inside: Arc<Mutex<HashMap<String, usize>>>,
}

async fn attend(listener: TcpListener, door: Arc<Door>, guests: mpsc::Sender<io::Result<Guest>>) {
    loop {
        let (tcp, address) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, most likely: those who leave give some back.
                    warn!(%error, "cannot let anybody in");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = guests.closed() => return,
        };
        let places = (
            Arc::clone(&door.rooms).try_acquire_owned(),
            Arc::clone(&door.strangers).try_acquire_owned(),
        );
        let (Ok(room), Ok(stranger)) = places else {
            debug!(%address, "no room");
            continue;
        };
        let (door, guests) = (Arc::clone(&door), guests.clone());
        tokio::spawn(async move {
            let welcomed = tokio::time::timeout(HANDSHAKE, door.welcome(tcp, address, room)).await;
            drop(stranger);
            match welcomed {
                Ok(Ok(guest)) => {
                    // Only a server that is ending takes nobody.
                    let _ = guests.send(Ok(guest)).await;
                }
                Ok(Err(error)) => debug!(%address, %error, "not let in"),
                Err(_) => debug!(%address, "not let in: it took too long"),
            }
        });
    }
}

impl Door {
    async fn welcome(
        &self,
        tcp: TcpStream,
        address: SocketAddr,
        room: OwnedSemaphorePermit,
    ) -> io::Result<Guest> {
        tcp.set_nodelay(true)?;
        let (config, error) = self.config.now();
        if let Some(error) = error {
            warn!(%error, "the certificates' files cannot be used: those before them stay");
        }
        let stream = TlsAcceptor::from(config).accept(tcp).await?;
        let certificates = stream.get_ref().1.peer_certificates();
        let Some(first) = certificates.and_then(|all| all.first()) else {
            // Only where tokens are believed does it come so far.
            let full = |_| io::Error::other("too many without a certificate");
            let bearer = Arc::clone(&self.bearers).try_acquire_owned();
            let bearer = bearer.map_err(full)?;
            let who = format!("{} at {}", Identity::Bearer, address.ip());
            let chair = Chair::take(&self.inside, who, self.limits.of_one)?;
            let places = (room, chair, Some(bearer));
            return Ok(self.guest(stream, (Identity::Bearer, address), BEARER, places));
        };
        let named = identity::of_certificate(first).map_err(io::Error::other)?;
        if named.trust != self.trust {
            return Err(io::Error::other(format!(
                "found trust domain `{}`, expected `{}`",
                named.trust, self.trust
            )));
        }
        let chair = Chair::take(&self.inside, named.identity.to_string(), self.limits.of_one)?;
        let now_s = i64::try_from(crate::clock::now_ms() / 1000).unwrap_or(i64::MAX);
        let lasts = u64::try_from(named.until_s.saturating_sub(now_s)).unwrap_or(0);
        // Longer than a timer can be set is as good as for ever.
        let lasts = Duration::from_secs(lasts.min(366 * 24 * 3600));
        Ok(self.guest(
            stream,
            (named.identity, address),
            lasts,
            (room, chair, None),
        ))
    }

    fn guest(
        &self,
        stream: TlsStream<TcpStream>,
        (identity, address): (Identity, SocketAddr),
        lasts: Duration,
        places: Places,
    ) -> Guest {
        Guest {
            stream,
            peer: Peer {
                identity: Arc::new(identity),
                address,
                until: None,
                calls: Arc::new(Mutex::new(Bucket::new(self.limits.calls))),
                reports: Arc::default(),
            },
            ends: Box::pin(tokio::time::sleep(lasts)),
            _places: places,
        }
    }
}

/// One of the connections that one identity may have.
struct Chair {
    who: String,
    inside: Arc<Mutex<HashMap<String, usize>>>,
}

impl Chair {
    fn take(
        inside: &Arc<Mutex<HashMap<String, usize>>>,
        who: String,
        most: usize,
    ) -> io::Result<Self> {
        let mut count = inside.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = count.entry(who.clone()).or_default();
        if *taken >= most {
            return Err(io::Error::other(format!("{who} has {taken} connections")));
        }
        *taken += 1;
        Ok(Self {
            who,
            inside: Arc::clone(inside),
        })
    }
}

impl Drop for Chair {
    fn drop(&mut self) {
        let mut count = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = count.get_mut(&self.who) {
            *taken -= 1;
            if *taken == 0 {
                count.remove(&self.who);
            }
        }
    }
}

/// What it takes up.
type Places = (OwnedSemaphorePermit, Chair, Option<OwnedSemaphorePermit>);

/// A connection of somebody who is known. It ends when the certificate does.
pub struct Guest {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    ends: Pin<Box<Sleep>>,
    _places: Places,
}

impl Connected for Guest {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Guest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ends.as_mut().poll(context).is_ready() {
            let over = io::Error::new(io::ErrorKind::TimedOut, "the certificate has expired");
            return Poll::Ready(Err(over));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Guest {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
