//! A network namespace in which the daemon listens.

use crate::netns::Namespace;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;

/// Where doors are, and for how long.
#[derive(Debug, Clone)]
pub struct Site {
    /// The number by which the kernel programs know it.
    pub(super) number: u64,
    namespace: Arc<Namespace>,
    open: watch::Receiver<()>,
}

impl Site {
    /// One that is open until the other half is dropped.
    pub(super) fn new(number: u64, namespace: Namespace) -> (Self, watch::Sender<()>) {
        let (closes, open) = watch::channel(());
        let site = Self {
            number,
            namespace: Arc::new(namespace),
            open,
        };
        (site, closes)
    }

    /// Does something until the daemon listens there no more.
    pub async fn while_open(&self, action: impl Future<Output = ()>) {
        let mut open = self.open.clone();
        let closed = async { while open.changed().await.is_ok() {} };
        tokio::select! {
            () = action => {}
            () = closed => {}
        }
    }

    /// Connects from there: by its routes, and from its addresses.
    pub async fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = self.namespace.run(|| match to {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        })??;
        socket.connect(to).await
    }
}
