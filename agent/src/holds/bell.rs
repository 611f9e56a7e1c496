//! A bell for people: each question, and what became of it, as a signed message to a web address.
//!
//! The daemon only puts messages into a bounded queue. A thread of its own sends them, with timeouts and
//! few attempts; what does not fit or does not arrive is counted and said, and changes no answer.

use ring::hmac;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use tracing::{debug, warn};
use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// Messages that may wait.
const WAITING: usize = 256;

/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pauses before the second and third attempt.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(3)];

/// Where the bell is.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `http://` or `https://`.
    pub url: String,
    /// The file with the key that messages are signed with.
    pub key: PathBuf,
    /// The authorities that a server's certificate may be of.
    pub authorities: PathBuf,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum BellError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A short key can be guessed.
    #[error("{}: found a key of {found} bytes, expected 16 at least", path.display())]
    Short {
        /// The file.
        path: PathBuf,
        /// Its length.
        found: usize,
    },
    /// It is no address.
    #[error("found `{0}`, expected http:// or https://")]
    Url(String),
    /// The thread cannot be started.
    #[error("cannot start the thread that rings the bell")]
    Thread(#[source] std::io::Error),
}

/// Rings.
#[derive(Debug, Clone)]
pub struct Bell {
    messages: SyncSender<Value>,
    node: String,
}

impl Bell {
    /// Begins, on a thread of its own.
    pub fn begin(settings: &Settings, node: String) -> Result<Self, BellError> {
        let is_secret = settings.url.starts_with("https://");
        if !is_secret && !settings.url.starts_with("http://") {
            return Err(BellError::Url(settings.url.clone()));
        }
        let key = read(&settings.key)?;
        let key = key.trim_ascii();
        if key.len() < 16 {
            return Err(BellError::Short {
                path: settings.key.clone(),
                found: key.len(),
            });
        }
        let roots = if is_secret {
            let pem = read(&settings.authorities)?;
            let certificates = parse_pem(&pem).filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            });
            certificates.collect()
        } else {
            Vec::new()
        };
        let ringer = Ringer {
            agent: agent(roots),
            url: settings.url.clone(),
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
        };
        let (messages, waiting) = sync_channel(WAITING);
        std::thread::Builder::new()
            .name("bell".into())
            .spawn(move || ringer.ring_all(&waiting))
            .map_err(BellError::Thread)?;
        Ok(Self { messages, node })
    }

    /// Says something, unless too much waits already.
    pub fn ring(&self, event: &str, what: &impl serde::Serialize) {
        let message = json!({"event": event, "node": self.node, event: what});
        if self.messages.try_send(message).is_err() {
            warn!(event, "the bell is not rung: too much waits");
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, BellError> {
    std::fs::read(path).map_err(|source| BellError::File {
        path: path.to_owned(),
        source,
    })
}

fn agent(roots: Vec<Certificate<'static>>) -> Agent {
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(provider)
        .build();
    let config = Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .max_redirects(0)
        .tls_config(tls);
    config.build().into()
}

struct Ringer {
    agent: Agent,
    url: String,
    key: hmac::Key,
}

impl Ringer {
    fn ring_all(&self, waiting: &Receiver<Value>) {
        while let Ok(message) = waiting.recv() {
            let body = message.to_string();
            let pauses = PAUSES.iter().copied().map(Some).chain([None]);
            for pause in pauses {
                match (self.send(&body), pause) {
                    (Ok(()), _) => break,
                    (Err(error), Some(pause)) => {
                        debug!(%error, "the bell is rung again");
                        std::thread::sleep(pause);
                    }
                    (Err(error), None) => warn!(url = self.url, %error, "nobody heard the bell"),
                }
            }
        }
    }

    fn send(&self, body: &str) -> Result<(), ureq::Error> {
        let time = jiff::Timestamp::now().as_second().to_string();
        let signed = hmac::sign(&self.key, format!("{time}.{body}").as_bytes());
        let signature = hex::encode(signed.as_ref());
        self.agent
            .post(&self.url)
            .header("content-type", "application/json")
            .header("x-interlock-time", &time)
            .header("x-interlock-signature", &format!("sha256={signature}"))
            .send(body)
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::TcpListener;

    /// Takes one request and says its head and body.
    fn take(listener: &TcpListener, status: &str) -> (Vec<String>, String) {
        let (stream, _) = listener.accept().expect("somebody rings");
        let mut reader = BufReader::new(stream);
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).expect("a line");
            if line.trim().is_empty() {
                break;
            }
            head.push(line.trim().to_lowercase());
        }
        let length = head
            .iter()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.expect("a length").parse().expect("a number")];
        reader.read_exact(&mut body).expect("the body");
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        reader.get_mut().write_all(answer.as_bytes()).expect("told");
        (head, String::from_utf8(body).expect("text"))
    }

    #[test]
    fn a_message_is_signed_and_sent_again_where_nobody_took_it() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a server");
        let key = std::env::temp_dir().join(format!("interlock-bell-{}", std::process::id()));
        std::fs::write(&key, "0123456789abcdef0123\n").expect("a key");
        let settings = Settings {
            url: format!("http://{}/bell", listener.local_addr().expect("an address")),
            key: key.clone(),
            authorities: PathBuf::new(),
        };
        let bell = Bell::begin(&settings, "n1".into()).expect("a bell");
        bell.ring("asked", &json!({"hold": "1"}));
        let (_, first) = take(&listener, "500 No");
        let (head, body) = take(&listener, "204 Yes");
        assert_eq!(first, body);
        let message: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(message["asked"]["hold"], "1");
        assert_eq!(
            (&message["event"], &message["node"]),
            (&json!("asked"), &json!("n1"))
        );
        let of = |name: &str| {
            let line = head.iter().find_map(|line| line.strip_prefix(name));
            line.expect(name).trim().to_owned()
        };
        let signed = format!("{}.{body}", of("x-interlock-time:"));
        let key_bytes = hmac::Key::new(hmac::HMAC_SHA256, b"0123456789abcdef0123");
        let expected = hmac::sign(&key_bytes, signed.as_bytes());
        let expected = hex::encode(expected.as_ref());
        assert_eq!(of("x-interlock-signature:"), format!("sha256={expected}"));
        std::fs::write(&key, "short").expect("a key");
        assert!(Bell::begin(&settings, "n1".into()).is_err(), "a short key");
        std::fs::remove_file(&key).expect("removed");
    }
}
