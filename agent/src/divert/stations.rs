//! Where the daemon listens: in the host's network namespace always, in another as long as somebody of a session
//! is in it. A socket keeps its namespace from ending, and with it what connects that to the host; so none stays
//! that nobody needs.

use super::doors::Doors;
use super::site::Site;
use crate::chain::chain;
use crate::kernel::maps::MapsError;
use crate::kernel::plain::Plain;
use crate::netns::{self, Namespace};
use agent_common::divert::{HOST, Station};
use aya::maps::{HashMap as KernelMap, MapData};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tracing::{debug, warn};

/// How long the daemon listens at least before anybody of a session must have come. Where it cannot
/// listen, it tries again after that.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why the daemon does not listen in a network namespace.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Its process is gone, or it has no loopback address.
    #[error("cannot listen on the loopback address of a network namespace")]
    Socket(#[from] io::Error),
    /// The kernel has no number for it.
    #[error("the kernel does not tell which network namespace it is, as it does since Linux 5.14")]
    Nameless(#[source] io::Error),
    /// The kernel programs were not told.
    #[error("the kernel's tables do not take where the daemon listens")]
    Maps(#[from] MapsError),
}

/// Where doors go to be served.
pub(super) type Entrance = mpsc::UnboundedSender<(Site, Doors)>;

/// Where the daemon listens.
pub struct Stations {
    table: KernelMap<MapData, u64, Plain<Station>>,
    resolver: Entrance,
    relay: Entrance,
    /// The host's own, for good.
    host: Option<Opened>,
    /// By the number that a process's folder tells. What is tried in vain is here, too.
    others: BTreeMap<u64, Other>,
}

/// What closes when it is dropped.
#[derive(Debug)]
struct Opened {
    number: u64,
    _closes: watch::Sender<()>,
}

#[derive(Debug)]
struct Other {
    since: Instant,
    opened: Option<Opened>,
}

impl std::fmt::Debug for Stations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stations").finish_non_exhaustive()
    }
}

impl Stations {
    /// None yet. Doors go to the resolver and to the relay.
    pub(super) fn new(
        table: KernelMap<MapData, u64, Plain<Station>>,
        resolver: Entrance,
        relay: Entrance,
    ) -> Self {
        Self {
            table,
            resolver,
            relay,
            host: None,
            others: BTreeMap::new(),
        }
    }

    /// Listens in the host's namespace.
    pub(super) fn open_host(&mut self) -> Result<(), ListenError> {
        self.host = Some(self.open(Namespace::own()?, HOST)?);
        Ok(())
    }

    /// Listens in the namespace of a session's process, if it does not yet.
    pub fn listen(&mut self, pid: u32) {
        let Some(inode) = netns::inode_of(pid).filter(|it| !self.others.contains_key(it)) else {
            return;
        };
        let opened = match Namespace::of(pid) {
            Ok(namespace) if namespace.is_own() => return,
            Ok(namespace) => self.open_other(namespace),
            Err(error) => Err(error.into()),
        };
        let opened = opened.map_err(|error| {
            let error = chain(error);
            warn!(
                pid,
                error, "no names are looked up in its network namespace"
            );
        });
        let since = Instant::now();
        let opened = opened.ok();
        self.others.insert(inode, Other { since, opened });
    }

    /// Closes where nobody of a session is any more.
    pub fn leave(&mut self, pids: impl IntoIterator<Item = u32>) {
        let used: BTreeSet<_> = pids.into_iter().filter_map(netns::inode_of).collect();
        let is_needed = |inode: &u64, other: &Other| {
            other.since.elapsed() < PATIENCE || (other.opened.is_some() && used.contains(inode))
        };
        for (_, other) in self
            .others
            .extract_if(.., |inode, other| !is_needed(inode, other))
        {
            if let Some(opened) = other.opened {
                debug!(opened.number, "nobody of a session is there any more");
                close(&mut self.table, opened.number);
            }
        }
    }

    /// Whether the daemon listens, or has tried to, anywhere but on the host.
    pub fn has_others(&self) -> bool {
        !self.others.is_empty()
    }

    /// Forgets where the last daemon listened and this one does not.
    pub fn forget_earlier(&mut self) {
        let opened = self.others.values().flat_map(|other| &other.opened);
        let own: BTreeSet<_> = opened.chain(&self.host).map(|it| it.number).collect();
        let earlier: Vec<_> = self.table.keys().flatten().collect();
        for number in earlier.into_iter().filter(|number| !own.contains(number)) {
            close(&mut self.table, number);
        }
    }

    fn open_other(&mut self, namespace: Namespace) -> Result<Opened, ListenError> {
        let cookie = namespace.run(netns::cookie)?;
        self.open(namespace, cookie.map_err(ListenError::Nameless)?)
    }

    fn open(&mut self, namespace: Namespace, number: u64) -> Result<Opened, ListenError> {
        // Sockets that went to the last daemon find this one.
        let last = self.table.get(&number, 0).ok().map(|station| station.0);
        let last = |port: fn(Station) -> u32| u16::try_from(port(last?)).ok();
        let ports = [
            last(|station| station.resolver),
            last(|station| station.relay),
        ];
        let [lookups, relayed] = namespace.run(|| {
            let [lookups, relayed] = ports;
            io::Result::Ok([Doors::open(true, lookups)?, Doors::open(false, relayed)?])
        })??;
        let station = Station {
            resolver: lookups.port.into(),
            relay: relayed.port.into(),
            v6: (lookups.v6.is_some() && relayed.v6.is_some()).into(),
            reserved: 0,
        };
        let (site, closes) = Site::new(number, namespace);
        // A thread that has ended takes nothing, and the daemon's health says so.
        let _ = self.resolver.send((site.clone(), lookups));
        let _ = self.relay.send((site, relayed));
        let told = self.table.insert(number, Plain(station), 0);
        told.map_err(MapsError::from)?;
        debug!(number, ?station, "what is diverted there comes here");
        Ok(Opened {
            number,
            _closes: closes,
        })
    }
}

/// The kernel programs first: what is closed, somebody else may open.
fn close(table: &mut KernelMap<MapData, u64, Plain<Station>>, number: u64) {
    if let Err(error) = table.remove(&number) {
        warn!(%error, "lookups still go to where the daemon does not listen");
    }
}
