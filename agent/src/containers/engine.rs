//! Docker's interface over HTTP, as far as it tells whose a container is. Podman serves it as well.
//!
//! It is asked over a Unix socket of which root is the owner at the other end, in the newest version that the
//! engine itself names: no one version is known to all that are in use.

use super::{Known, Told};
use agent_evidence::record::Container;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{HOST, HeaderMap};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long it may take to tell of one container.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long an answer may be.
const LONGEST: usize = 4 << 20;

/// Why an engine does not tell.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Nobody listens.
    #[error("it cannot be reached")]
    Unreachable(#[source] io::Error),
    /// Anybody can say anything of containers.
    #[error("user {0} listens there, expected root")]
    NotRoots(u32),
    /// The connection fails.
    #[error("it does not speak HTTP")]
    Http(#[from] hyper::Error),
    /// No answer, or half of one.
    #[error("it has not answered within {} s", PATIENCE.as_secs())]
    Late,
    /// It tells no version.
    #[error("found no Api-Version in its answer to /_ping, expected Docker's interface")]
    NoEngine,
    /// It answers with an error.
    #[error("it answers {0}: {1}")]
    Refused(StatusCode, String),
    /// It does not end.
    #[error("found an answer of more than {LONGEST} bytes, or half of one, expected a whole one")]
    Body,
    /// It means nothing.
    #[error("found an answer that is no container or image, expected one")]
    Unreadable(#[source] serde_json::Error),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    id: String,
    name: String,
    /// The number of its image.
    image: String,
    config: Config,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    /// Its image, as whoever made it named it.
    image: String,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    repo_tags: Option<Vec<String>>,
    repo_digests: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Complaint {
    message: String,
}

/// Asks the engine behind a socket whose a container is.
pub(super) async fn tell(socket: &Path, id: &str) -> Result<Told, EngineError> {
    let asked = timeout(PATIENCE, async { Engine::at(socket).await?.tell(id).await });
    asked.await.map_err(|_| EngineError::Late)?
}

/// A connection to an engine.
struct Engine {
    sender: SendRequest<Empty<Bytes>>,
    /// What moves its bytes, for as long as somebody asks.
    _moves: JoinSet<()>,
}

impl Engine {
    async fn at(socket: &Path) -> Result<Self, EngineError> {
        let stream = UnixStream::connect(socket)
            .await
            .map_err(EngineError::Unreachable)?;
        let peer = stream.peer_cred().map_err(EngineError::Unreachable)?;
        if peer.uid() != 0 {
            return Err(EngineError::NotRoots(peer.uid()));
        }
        Self::over(stream).await
    }

    async fn over(stream: UnixStream) -> Result<Self, EngineError> {
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        let mut moves = JoinSet::new();
        moves.spawn_local(async move {
            // Who asks hears of an error as well.
            let _ = connection.await;
        });
        Ok(Self {
            sender,
            _moves: moves,
        })
    }

    async fn tell(mut self, id: &str) -> Result<Told, EngineError> {
        let version = self.version().await?;
        let path = format!("/{version}/containers/{id}/json");
        let Some(container) = self.get::<Inspected>(&path).await? else {
            return Ok(Told::Unknown);
        };
        // An engine takes a name where it knows no such number.
        if container.id != id {
            return Ok(Told::Unknown);
        }
        let path = format!("/{version}/images/{}/json", container.image);
        let image = self.get::<Image>(&path).await?.unwrap_or_default();
        Ok(Told::Container(Box::new(known(container, image))))
    }

    /// The newest version of the interface that the engine speaks, as paths begin with it.
    async fn version(&mut self) -> Result<String, EngineError> {
        let (_, headers, _) = self.ask("/_ping").await?;
        let version = headers
            .get("api-version")
            .and_then(|it| it.to_str().ok())
            .filter(|it| it.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'));
        Ok(format!("v{}", version.ok_or(EngineError::NoEngine)?))
    }

    /// What lies at a path; nothing where there is nothing.
    async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<Option<T>, EngineError> {
        let (status, _, body) = self.ask(path).await?;
        match status {
            StatusCode::OK => serde_json::from_slice(&body)
                .map(Some)
                .map_err(EngineError::Unreadable),
            StatusCode::NOT_FOUND => Ok(None),
            status => {
                let said = serde_json::from_slice::<Complaint>(&body);
                let said = said.map_or_else(|_| "no reason".to_owned(), |said| said.message);
                Err(EngineError::Refused(status, said))
            }
        }
    }

    async fn ask(&mut self, path: &str) -> Result<(StatusCode, HeaderMap, Bytes), EngineError> {
        let request = Request::get(path)
            .header(HOST, "localhost")
            .body(Empty::new())
            .map_err(|_| EngineError::NoEngine)?;
        self.sender.ready().await?;
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, LONGEST).collect().await;
        let body = body.map_err(|_| EngineError::Body)?.to_bytes();
        Ok((head.status, head.headers, body))
    }
}

fn known(container: Inspected, image: Image) -> Known {
    let name = container.name.trim_start_matches('/').to_owned();
    let config = container.config;
    let is_number = config.image == container.image
        || container
            .image
            .strip_prefix("sha256:")
            .is_some_and(|hex| hex.starts_with(&config.image));
    // Who names an image by its number means what it is called.
    let called = image.repo_tags.unwrap_or_default().into_iter().next();
    let reference = called.filter(|_| is_number).unwrap_or(config.image);
    let by_repository = image.repo_digests.unwrap_or_default();
    let by_repository = by_repository.iter().filter_map(|it| it.split_once('@'));
    let mut digests: Vec<String> = by_repository
        .map(|(_, digest)| digest.to_owned())
        .chain([container.image])
        .collect();
    digests.sort();
    digests.dedup();
    Known {
        selected: agent_policy::Container {
            labels: config.labels.unwrap_or_default(),
            name: name.clone(),
            image: reference.clone(),
            digests: digests.clone(),
            ..agent_policy::Container::default()
        },
        container: Container {
            id: container.id,
            name,
            image: reference,
            digests,
            ..Container::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::chain;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::runtime::Builder;
    use tokio::task::LocalSet;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const PING: &str = "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 2\r\n\r\nOK";
    const NOTHING: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}";

    fn reply(status: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}")
    }

    /// What is told where an engine gives these answers, and what it was asked for.
    fn told(answers: &[&str]) -> (Result<Told, EngineError>, Vec<String>) {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (own, mut engine) = {
            let _within = runtime.enter();
            UnixStream::pair().expect("a pair of sockets")
        };
        let answer = async {
            let mut paths = Vec::new();
            for answer in answers {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(engine.read_u8().await.expect("a request"));
                }
                let request = String::from_utf8(request).expect("a request is text");
                paths.extend(request.split(' ').nth(1).map(str::to_owned));
                // Who asks may have heard enough.
                let _ = engine.write_all(answer.as_bytes()).await;
            }
            drop(engine);
            paths
        };
        let ask = async { Engine::over(own).await?.tell(ID).await };
        LocalSet::new().block_on(&runtime, async { tokio::join!(ask, answer) })
    }

    #[test]
    fn whose_a_container_is_is_read_from_two_answers() {
        let container = format!(
            r#"{{"Id":"{ID}","Name":"/expenses","Image":"sha256:{ID}","Config":{{"Image":"0123456789ab","Labels":null,"Env":[]}}}}"#
        );
        let image = r#"{"RepoTags":["demo:1","demo:2"],"RepoDigests":["demo@sha256:ff"]}"#;
        let (found, paths) = told(&[PING, &reply("200 OK", &container), &reply("200 OK", image)]);
        let Ok(Told::Container(known)) = found else {
            panic!("{found:?}");
        };
        assert_eq!(known.selected.namespace, None);
        assert_eq!(known.selected.name, "expenses");
        assert_eq!(known.selected.image, "demo:1");
        assert_eq!(
            known.selected.digests,
            [format!("sha256:{ID}"), "sha256:ff".to_owned()]
        );
        assert_eq!(paths[1], format!("/v1.41/containers/{ID}/json"));
        assert_eq!(paths[2], format!("/v1.41/images/sha256:{ID}/json"));
        // It was removed while its container runs.
        let (found, _) = told(&[PING, &reply("200 OK", &container), NOTHING]);
        assert!(matches!(found, Ok(Told::Container(_))), "{found:?}");
    }

    #[test]
    fn a_container_that_has_the_number_for_a_name_is_not_meant() {
        let other = format!(
            r#"{{"Id":"{}","Name":"/{ID}","Image":"","Config":{{"Image":"demo"}}}}"#,
            ID.replace('0', "f")
        );
        for answer in [NOTHING, &reply("200 OK", &other)] {
            let (found, _) = told(&[PING, answer]);
            assert!(matches!(found, Ok(Told::Unknown)), "{found:?}");
        }
    }

    #[test]
    fn what_an_engine_does_not_tell_is_said() {
        let long = "x".repeat(LONGEST + 1);
        let broken = reply("500 Internal Server Error", r#"{"message":"out of order"}"#);
        for (answers, expected) in [
            (vec!["hello\r\n\r\n"], "it does not speak HTTP"),
            (vec![NOTHING], "found no Api-Version"),
            (
                vec!["HTTP/1.1 200 OK\r\nApi-Version: 1/../2\r\nContent-Length: 0\r\n\r\n"],
                "found no Api-Version",
            ),
            (
                vec![PING, &broken],
                "it answers 500 Internal Server Error: out of order",
            ),
            (vec![PING, &reply("200 OK", "{}")], "no container or image"),
            (
                vec![PING, &reply("200 OK", &long)],
                "more than 4194304 bytes",
            ),
            (
                vec![PING, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"],
                "or half of one",
            ),
        ] {
            let (found, _) = told(&answers);
            let error = chain(found.expect_err(expected));
            assert!(error.contains(expected), "{error}");
        }
    }
}
