//! What the daemon serves over HTTP, asked as Prometheus and a kubelet ask.

use anyhow::{Context, Result, ensure};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Where daemons of tests serve it.
pub(crate) const ADDRESS: &str = "127.0.0.1:9464";

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

/// Asks for a path, and waits so long for the answer.
pub(crate) fn get(path: &str, patience: Duration) -> Result<Answer> {
    let address: SocketAddr = ADDRESS.parse()?;
    let mut stream = TcpStream::connect_timeout(&address, patience).context(ADDRESS)?;
    stream.set_read_timeout(Some(patience))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {ADDRESS}\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .with_context(|| path.to_owned())?;
    let (head, text) = answer.split_once("\r\n\r\n").context("no head")?;
    let status = head.split(' ').nth(1).context("no status")?;
    Ok(Answer {
        status: status.parse()?,
        text: text.to_owned(),
    })
}

/// The same with the patience of a test.
pub(crate) fn ask(path: &str) -> Result<Answer> {
    get(path, Duration::from_secs(20))
}

/// Waits until a path answers with a status: with what words it does.
pub(crate) fn wait(path: &str, status: u16) -> Result<String> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = ask(path)?;
        if answer.status == status {
            return Ok(answer.text);
        }
        ensure!(
            Instant::now() < deadline,
            "{path} does not answer {status}: {answer:?}"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// All figures.
pub(crate) struct Figures(String);

impl Figures {
    /// Those of now.
    pub(crate) fn now() -> Result<Self> {
        // What was read a second ago is shown again.
        std::thread::sleep(Duration::from_millis(1_100));
        let answer = ask("/metrics")?;
        ensure!(answer.status == 200, "/metrics: {answer:?}");
        Ok(Self(answer.text))
    }

    /// A figure, by its name and labels as they are written.
    pub(crate) fn get(&self, name: &str) -> Result<f64> {
        let line = self.0.lines().find_map(|line| {
            let (found, value) = line.rsplit_once(' ')?;
            (found == name).then_some(value)
        });
        let value = line.with_context(|| format!("no {name} in:\n{}", self.0))?;
        value.parse().with_context(|| format!("{name} {value}"))
    }

    /// The text.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}
