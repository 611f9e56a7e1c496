//! Whom the daemon itself wants to reach. A pod's daemon has entered its node's mounts, where the host's own way of
//! looking names up does not know those of the cluster: then the servers are asked that the pod was told of.

use super::upstream;
use hickory_proto::rr::{RData, RecordType};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use tokio::net::TcpStream;

/// Dots from which on a name is first asked for as it is, unless `options ndots:` says otherwise.
const DOTS: usize = 1;

/// How addresses are found.
#[derive(Debug, Clone, Default)]
pub enum Finder {
    /// As every program of the host does.
    #[default]
    Host,
    /// By the servers of a `resolv.conf`.
    Servers(PathBuf),
}

impl Finder {
    /// The addresses of `HOST:PORT`.
    pub async fn find(&self, address: &str) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::Host => Ok(tokio::net::lookup_host(address).await?.collect()),
            Self::Servers(file) => ask(file, address).await,
        }
    }

    /// A connection to `HOST:PORT`, at the first of its addresses where somebody listens.
    pub async fn connect(&self, address: &str) -> io::Result<TcpStream> {
        let found = self.find(address).await?;
        TcpStream::connect(found.as_slice()).await
    }
}

async fn ask(file: &Path, address: &str) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = address.parse() {
        return Ok(vec![address]);
    }
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    let port = port.parse().map_err(io::Error::other)?;
    let text = std::fs::read_to_string(file)?;
    let servers = upstream::servers(&text);
    for name in names(&text, host) {
        let of = |kind| addresses(&servers, &name, kind);
        let (v4, v6) = tokio::join!(of(RecordType::A), of(RecordType::AAAA));
        let found: Vec<_> = v4.into_iter().chain(v6).collect();
        if !found.is_empty() {
            return Ok(found
                .into_iter()
                .map(|it| SocketAddr::new(it, port))
                .collect());
        }
    }
    let servers: Vec<_> = servers.iter().map(ToString::to_string).collect();
    let servers = servers.join(", ");
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        format!("no address of {host} from the servers {servers}"),
    ))
}

async fn addresses(servers: &[SocketAddr], name: &str, kind: RecordType) -> Vec<IpAddr> {
    let known = upstream::ask(servers, name, kind).await;
    let records = known.into_iter().flat_map(|known| known.answers);
    let address = |data: &RData| match data {
        RData::A(address) => Some(address.0.into()),
        RData::AAAA(address) => Some(address.0.into()),
        _ => None,
    };
    records.filter_map(|record| address(&record.data)).collect()
}

/// The whole names that a host's may stand for, in the order in which every resolver asks for them.
fn names(text: &str, host: &str) -> Vec<String> {
    if let Some(whole) = host.strip_suffix('.') {
        return vec![whole.to_owned()];
    }
    let words = |wanted: &'static [&str]| {
        let lines = text.lines().map(str::split_whitespace);
        lines.filter_map(move |mut words| wanted.contains(&words.next()?).then_some(words))
    };
    let below = words(&["search", "domain"]).next_back();
    let below = below.into_iter().flatten();
    let below = below.map(|domain| format!("{host}.{}", domain.trim_end_matches('.')));
    let mut told = words(&["options"])
        .flatten()
        .filter_map(|word| word.strip_prefix("ndots:")?.parse().ok());
    let dots = told.next_back().unwrap_or(DOTS);
    let as_it_is = [host.to_owned()];
    if host.matches('.').count() >= dots {
        as_it_is.into_iter().chain(below).collect()
    } else {
        below.chain(as_it_is).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::names;

    const POD: &str = "search interlock.svc.cluster.local svc.cluster.local cluster.local\n\
                       nameserver 10.96.0.10\noptions ndots:5\n";

    #[test]
    fn names_are_asked_for_in_the_order_of_every_resolver() {
        for (text, host, expected) in [
            (
                POD,
                "controller.interlock.svc",
                "controller.interlock.svc.interlock.svc.cluster.local \
                 controller.interlock.svc.svc.cluster.local controller.interlock.svc.cluster.local \
                 controller.interlock.svc",
            ),
            (POD, "controller.example.", "controller.example"),
            (
                "search corp.example\n",
                "controller",
                "controller.corp.example controller",
            ),
            (
                "search corp.example\n",
                "a.example",
                "a.example a.example.corp.example",
            ),
            ("search one\ndomain two.\n", "host", "host.two host"),
            ("", "host", "host"),
        ] {
            assert_eq!(names(text, host).join(" "), expected, "{host}");
        }
    }

    #[tokio::test]
    async fn an_address_is_asked_of_nobody() {
        let finder = super::Finder::Servers("/nowhere".into());
        for address in ["192.0.2.7:7443", "[::1]:7443"] {
            let found = finder.find(address).await.expect("an address");
            assert_eq!(found, [address.parse().expect("an address")]);
        }
        let error = finder.find("controller:7443").await;
        assert!(error.is_err(), "{error:?}");
    }
}
