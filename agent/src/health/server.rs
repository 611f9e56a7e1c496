//! The thread that answers over HTTP.
//!
//! | path | 200 | 503 |
//! |---|---|---|
//! | `/livez` | the daemon's loops turn | one does not: which |
//! | `/readyz` | the canary was denied a moment ago | it was not: why |
//! | `/metrics` | all figures | the daemon does not answer |

use super::{Health, Reading, Wanted};
use crate::serving;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};
use tokio::task::spawn_local;
use tokio::time::timeout;
use tracing::debug;

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 16;
/// How long a request may take to come, and a connection may last.
const HEADERS: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(30);
/// How long the daemon may take over its figures.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long figures that were read are shown to whoever asks next.
const FRESH: Duration = Duration::from_secs(1);

const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Why nobody is answered.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// The address cannot be had.
    #[error("cannot serve metrics on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    /// No thread, or no runtime in it.
    #[error("cannot start the thread that serves metrics")]
    Thread(#[source] io::Error),
}

/// Listens, and answers from a thread of its own until the process ends.
pub fn begin(
    address: SocketAddr,
    health: Health,
    daemon: mpsc::Sender<Wanted>,
) -> Result<SocketAddr, BeginError> {
    let failed = |source| BeginError::Listen(address, source);
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let answer = move || {
        let answering = Answering {
            health,
            daemon,
            last: Mutex::default(),
        };
        serve(listener, Rc::new(answering))
    };
    serving::begin("health", answer).map_err(BeginError::Thread)?;
    Ok(bound)
}

async fn serve(listener: TcpListener, answering: Rc<Answering>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return debug!(%error, "nobody is told how the daemon is"),
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let Ok((stream, peer)) = listener.accept().await else {
            // Out of descriptors: others end.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let answering = Rc::clone(&answering);
        spawn_local(async move {
            let _kept = place;
            match timeout(LONGEST, answering.talk(stream)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%peer, %error, "who asked for metrics went away"),
                Err(_) => debug!(%peer, "who asked for metrics took too long"),
            }
        });
    }
}

struct Answering {
    health: Health,
    daemon: mpsc::Sender<Wanted>,
    /// What was read last, and when.
    last: Mutex<Option<(Instant, String)>>,
}

impl Answering {
    async fn talk(self: Rc<Self>, stream: TcpStream) -> hyper::Result<()> {
        let service = service_fn(move |request| {
            let answering = Rc::clone(&self);
            async move { Ok::<_, Infallible>(answering.answer(&request).await) }
        });
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .serve_connection(TokioIo::new(stream), service)
            .await
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let said = "expected GET\n".to_owned();
            return say(StatusCode::METHOD_NOT_ALLOWED, PLAIN, said);
        }
        match request.uri().path() {
            "/livez" => said(self.health.pulses.check().map(|()| "the loops turn".into())),
            "/readyz" => {
                let alive = self.health.pulses.check();
                said(alive.and_then(|()| self.health.condition.readiness()))
            }
            "/metrics" => match self.text().await {
                Ok(text) => say(StatusCode::OK, OPEN_METRICS, text),
                Err(why) => said(Err(why)),
            },
            other => {
                let said = format!("found {other:?}, expected /livez, /readyz or /metrics\n");
                say(StatusCode::NOT_FOUND, PLAIN, said)
            }
        }
    }

    /// The figures, read anew unless that was a moment ago.
    async fn text(&self) -> Result<String, String> {
        // Who asks meanwhile waits, and finds what was read.
        let mut last = self.last.lock().await;
        if let Some((at, text)) = &*last
            && at.elapsed() < FRESH
        {
            return Ok(text.clone());
        }
        let text = timeout(PATIENCE, self.read())
            .await
            .map_err(|_| format!("the daemon has not answered for {PATIENCE:?}"))?
            .ok_or("the daemon has not begun, or ends")?
            .text();
        *last = Some((Instant::now(), text.clone()));
        Ok(text)
    }

    async fn read(&self) -> Option<Reading> {
        let (answer, reading) = oneshot::channel();
        self.daemon.send(answer).await.ok()?;
        reading.await.ok()
    }
}

fn said(outcome: Result<String, String>) -> Response<Full<Bytes>> {
    match outcome {
        Ok(words) => say(StatusCode::OK, PLAIN, format!("{words}\n")),
        Err(words) => say(StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("{words}\n")),
    }
}

fn say(status: StatusCode, kind: HeaderValue, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::super::metrics::DEGRADED;
    use super::super::{Loop, wishes};
    use super::*;
    use std::io::{Read, Write};

    fn get(address: SocketAddr, path: &str) -> (u16, String) {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: it\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    #[test]
    fn health_is_served() {
        let health = Health::default();
        let (wish, mut wishes) = wishes();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let address = begin(any, health.clone(), wish).unwrap();
        health.pulses.of(Loop::Events).beat();
        assert_eq!(get(address, "/livez"), (200, "the loops turn\n".into()));
        let (status, why) = get(address, "/readyz");
        assert_eq!(status, 503);
        assert!(why.contains("not been denied yet"), "{why}");
        health.condition.note(None);
        assert_eq!(get(address, "/readyz").0, 200);
        assert_eq!(get(address, "/secret").0, 404);
        let daemon = std::thread::spawn(move || {
            let wanted: Wanted = wishes.blocking_recv().unwrap();
            let mut reading = Reading::default();
            reading.add(&DEGRADED, &[], true);
            wanted.send(reading).unwrap();
            // It ends: nobody answers any more.
        });
        let (status, text) = get(address, "/metrics");
        assert_eq!(status, 200);
        assert!(text.contains("interlock_degraded 1\n"), "{text}");
        daemon.join().unwrap();
        std::thread::sleep(FRESH);
        let (status, text) = get(address, "/metrics");
        assert_eq!(status, 503);
        assert!(text.contains("has not begun, or ends"), "{text}");
    }
}
