//! The way between a node and its controller, which can be slow, or lead into a hole.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Nothing comes through, and nobody says so.
pub(crate) const HOLE: u32 = 0;
/// As fast as it goes.
pub(crate) const OPEN: u32 = u32::MAX;

/// A way.
pub(crate) struct Way {
    /// Where it begins.
    pub(crate) address: SocketAddr,
    speed: Arc<AtomicU32>,
}

impl Way {
    /// One to an address.
    pub(crate) async fn to(address: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let way = Self {
            address: listener.local_addr().unwrap(),
            speed: Arc::new(AtomicU32::new(OPEN)),
        };
        let speed = Arc::clone(&way.speed);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let speed = Arc::clone(&speed);
                tokio::spawn(async move {
                    wait(&speed).await;
                    if let Ok(far) = TcpStream::connect(address).await {
                        let (near_in, near_out) = near.into_split();
                        let (far_in, far_out) = far.into_split();
                        tokio::join!(
                            carry(near_in, far_out, Arc::clone(&speed)),
                            carry(far_in, near_out, speed)
                        );
                    }
                });
            }
        });
        way
    }

    /// Bytes a second in each direction.
    pub(crate) fn set(&self, speed: u32) {
        self.speed.store(speed, Ordering::Relaxed);
    }
}

async fn wait(speed: &AtomicU32) {
    while speed.load(Ordering::Relaxed) == HOLE {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    speed: Arc<AtomicU32>,
) {
    let mut bytes = vec![0; 4096];
    loop {
        wait(&speed).await;
        let Ok(count @ 1..) = from.read(&mut bytes).await else {
            let _ = to.shutdown().await;
            return;
        };
        // What was read in front of a hole falls into it when it is there.
        wait(&speed).await;
        let speed = speed.load(Ordering::Relaxed);
        if speed != OPEN {
            let share = count as f64 / f64::from(speed.max(1));
            tokio::time::sleep(Duration::from_secs_f64(share)).await;
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
