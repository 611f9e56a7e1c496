//! Where the resolver listens, and the way of a question through it.

use super::cache::{Cache, Key, Known};
use super::known::{Leave, Names, Refusal};
use super::lookups::Outcome;
use super::message::{self, Fault, MAX_QUESTION, Question};
use super::{Settings, upstream};
use crate::health::Pulse;
use crate::kernel::maps::{MapsError, open, typed};
use crate::kernel::pins::Pins;
use crate::kernel::plain::Plain;
use agent_common::egress::{Endpoint, TCP, UDP};
use agent_common::names::{Asker, AskerKey, HOST, Resolver as Place};
use aya::maps::{HashMap as KernelMap, Map, MapData};
use hickory_proto::op::ResponseCode;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{mpsc, watch};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;
use tracing::{debug, warn};

/// Questions to servers that are under way at once, of all sessions and of one.
const UNDER_WAY: usize = 512;
const OF_SESSION: usize = 64;
/// Connections at once, and how long one may be silent.
const CONNECTIONS: usize = 256;
const SILENCE: Duration = Duration::from_secs(10);
/// Ports that are tried.
const TRIES: usize = 32;
/// How often it is looked whether the host's files have changed.
const HOUSE: Duration = Duration::from_secs(1);

/// Why there is no resolver.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// No port of the loopback address can be had.
    #[error("cannot listen on the loopback address")]
    Listen(#[source] io::Error),
    /// A table failed.
    #[error("the kernel's tables do not take the resolver")]
    Maps(#[from] MapsError),
    /// No thread, or no runtime in it.
    #[error("cannot start the resolver's thread")]
    Thread(#[source] io::Error),
}

type Askers = KernelMap<MapData, Plain<AskerKey>, Plain<Asker>>;
type Places = KernelMap<MapData, u64, Plain<Place>>;

/// The sockets of one loopback address.
struct Doors {
    udp: std::net::UdpSocket,
    tcp: std::net::TcpListener,
}

impl Doors {
    fn open(address: IpAddr, port: u16) -> io::Result<Self> {
        let udp = std::net::UdpSocket::bind((address, port))?;
        let tcp = std::net::TcpListener::bind(udp.local_addr()?)?;
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        Ok(Self { udp, tcp })
    }
}

/// Listens, tells the kernel programs where, and answers from a thread of its own, which beats `pulse`.
pub fn begin(
    settings: &Settings,
    names: Arc<Names>,
    refusals: mpsc::Sender<Refusal>,
    pulse: Pulse,
) -> Result<(), BeginError> {
    let pins = Pins::in_force();
    let places: Places = typed("RESOLVERS", Map::HashMap(open(&pins, "RESOLVERS")?))?;
    let askers: Askers = typed("ASKERS", Map::LruHashMap(open(&pins, "ASKERS")?))?;
    // Sockets that asked the last daemon find this one.
    let last = places.get(&HOST, 0).ok().map(|place| place.0.port);
    let last = last.and_then(|port| u16::try_from(port).ok());
    let mut ports = last.into_iter().chain(std::iter::repeat_n(0, TRIES));
    let mut failed = io::Error::other("no port was tried");
    let (v4, v6) = loop {
        let Some(port) = ports.next() else {
            return Err(BeginError::Listen(failed));
        };
        let v4 = match Doors::open(Ipv4Addr::LOCALHOST.into(), port) {
            Ok(doors) => doors,
            Err(error) => {
                failed = error;
                continue;
            }
        };
        let port = v4.udp.local_addr().map_err(BeginError::Listen)?.port();
        match Doors::open(Ipv6Addr::LOCALHOST.into(), port) {
            Ok(v6) => break (v4, Some(v6)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => failed = error,
            Err(error) => {
                debug!(%error, "names are looked up by IPv4 alone");
                break (v4, None);
            }
        }
    };
    let port = v4.udp.local_addr().map_err(BeginError::Listen)?.port();
    let resolver = Resolver {
        settings: settings.clone(),
        names,
        askers,
        refusals,
        pulse,
        cache: RefCell::default(),
        servers: RefCell::default(),
        under_way: RefCell::default(),
        of_sessions: RefCell::default(),
        connections: Cell::new(0),
    };
    // What the host knows itself must be known before the first session begins.
    let seen = resolver.look_at_files((None, None));
    let is_on_v6 = v6.is_some();
    let (ready, began) = std::sync::mpsc::channel();
    let thread = std::thread::Builder::new().name("resolver".into());
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        match runtime {
            Ok(runtime) => {
                let _ = ready.send(Ok(()));
                LocalSet::new().block_on(&runtime, resolver.serve(v4, v6, seen));
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        }
    };
    thread.spawn(run).map_err(BeginError::Thread)?;
    let began = began.recv().map_err(io::Error::other);
    began.and_then(|began| began).map_err(BeginError::Thread)?;
    let place = Place {
        port: port.into(),
        v6: is_on_v6.into(),
    };
    let mut places = places;
    let told = places.insert(HOST, Plain(place), 0);
    told.map_err(MapsError::from)?;
    debug!(port, "names of sessions are looked up here");
    Ok(())
}

/// When the host's files were last written.
type Seen = (Option<SystemTime>, Option<SystemTime>);

type Heard = watch::Receiver<Option<Option<Known>>>;

struct Resolver {
    settings: Settings,
    names: Arc<Names>,
    askers: Askers,
    refusals: mpsc::Sender<Refusal>,
    pulse: Pulse,
    cache: RefCell<Cache>,
    servers: RefCell<Vec<SocketAddr>>,
    /// Questions to servers that nobody has answered yet.
    under_way: RefCell<HashMap<Key, Heard>>,
    of_sessions: RefCell<HashMap<u64, usize>>,
    connections: Cell<usize>,
}

impl Resolver {
    /// Until the process ends.
    async fn serve(self, v4: Doors, v6: Option<Doors>, mut seen: Seen) {
        let resolver = Rc::new(self);
        for doors in [Some(v4), v6].into_iter().flatten() {
            match (
                UdpSocket::from_std(doors.udp),
                TcpListener::from_std(doors.tcp),
            ) {
                (Ok(udp), Ok(tcp)) => {
                    spawn_local(Rc::clone(&resolver).by_datagram(Rc::new(udp)));
                    spawn_local(Rc::clone(&resolver).by_stream(tcp));
                }
                (Err(error), _) | (_, Err(error)) => {
                    warn!(%error, "names cannot be looked up by one of the loopback addresses");
                }
            }
        }
        let mut house = tokio::time::interval(HOUSE);
        loop {
            house.tick().await;
            resolver.pulse.beat();
            seen = resolver.look_at_files(seen);
        }
    }

    /// Reads the host's files where they have changed.
    fn look_at_files(&self, (servers, hosts): Seen) -> Seen {
        let changed = |path: &Path| path.metadata().and_then(|file| file.modified()).ok();
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        let settings = &self.settings;
        let now = (changed(&settings.servers), changed(&settings.hosts));
        if now.0 != servers || now.0.is_none() {
            let found = upstream::servers(&read(&settings.servers));
            self.servers.replace(found);
        }
        if now.1 != hosts {
            self.names.set_hosts(&read(&settings.hosts));
        }
        now
    }

    async fn by_datagram(self: Rc<Self>, socket: Rc<UdpSocket>) {
        let mut room = [0; MAX_QUESTION + 1];
        loop {
            let (length, peer) = match socket.recv_from(&mut room).await {
                Ok(came) => came,
                // What an earlier answer brought: its asker is gone.
                Err(_) => continue,
            };
            let Some(bytes) = room.get(..length) else {
                continue;
            };
            match self.at_once(bytes, peer, UDP) {
                Turn::Nothing => {}
                Turn::Say(answer) => {
                    // Who is gone hears nothing.
                    let _ = socket.try_send_to(&answer, peer);
                }
                Turn::Ask(asking) => {
                    let (resolver, socket) = (Rc::clone(&self), Rc::clone(&socket));
                    spawn_local(async move {
                        let room = asking.question.room();
                        let answer = resolver.ask(asking, room).await;
                        let _ = socket.send_to(&answer, peer).await;
                    });
                }
            }
        }
    }

    async fn by_stream(self: Rc<Self>, listener: TcpListener) {
        loop {
            let Ok((stream, peer)) = listener.accept().await else {
                // Out of descriptors: others end.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            if self.connections.get() >= CONNECTIONS {
                continue;
            }
            self.connections.set(self.connections.get() + 1);
            let resolver = Rc::clone(&self);
            spawn_local(async move {
                if let Err(error) = resolver.talk(stream, peer).await {
                    debug!(%error, "a connection to the resolver");
                }
                resolver.connections.set(resolver.connections.get() - 1);
            });
        }
    }

    async fn talk(&self, mut stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
        let mut room = [0; MAX_QUESTION];
        loop {
            let Ok(length) = timeout(SILENCE, stream.read_u16()).await else {
                return Ok(());
            };
            let length = match length {
                Ok(length) => usize::from(length),
                Err(_) => return Ok(()),
            };
            let Some(bytes) = room.get_mut(..length) else {
                return Ok(());
            };
            timeout(SILENCE, stream.read_exact(bytes)).await??;
            let answer = match self.at_once(bytes, peer, TCP) {
                Turn::Nothing => return Ok(()),
                Turn::Say(answer) => answer,
                Turn::Ask(asking) => self.ask(asking, usize::from(u16::MAX)).await,
            };
            let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
            let whole = [&length.to_be_bytes(), answer.as_slice()].concat();
            timeout(SILENCE, stream.write_all(&whole)).await??;
        }
    }

    /// Answers what needs no server.
    fn at_once(&self, bytes: &[u8], peer: SocketAddr, protocol: u8) -> Turn {
        let Some(asker) = self.asker(peer, protocol) else {
            // No session has asked from there: nothing is said to others.
            return Turn::Nothing;
        };
        let question = match Question::read(bytes) {
            Ok(question) => question,
            Err(Fault::Silence) => return Turn::Nothing,
            Err(Fault::Error(answer, name)) => {
                self.names.lookups().note(Outcome::Refused);
                if let Some(name) = name {
                    self.tell(&asker, name, "-".to_owned(), "not a name of a host");
                }
                return Turn::Say(answer);
            }
        };
        let (name, kind) = (&question.name, question.kind());
        match self.names.may_ask(&asker, name, kind) {
            Leave::Given => {}
            Leave::Searched => return self.refuse(&question, ResponseCode::NXDomain),
            Leave::Nobodys => return self.refuse(&question, ResponseCode::Refused),
            Leave::Refused(reason) => {
                self.tell(&asker, name.clone(), kind.to_string(), reason);
                if !self.names.is_audited(asker.session) {
                    return self.refuse(&question, ResponseCode::Refused);
                }
            }
        }
        let room = match protocol {
            UDP => question.room(),
            _ => usize::from(u16::MAX),
        };
        if let Some(addresses) = self.names.own(name) {
            let known = message::own(&question, &addresses);
            return Turn::Say(self.entered(&asker, &question, &known, room));
        }
        let key = (name.clone(), kind);
        let known = self.cache.borrow().get(&key, Instant::now());
        match known {
            Some(known) => Turn::Say(self.entered(&asker, &question, &known, room)),
            None => Turn::Ask(Asking {
                asker,
                question,
                key,
            }),
        }
    }

    fn refuse(&self, question: &Question, code: ResponseCode) -> Turn {
        self.names.lookups().note(Outcome::Refused);
        Turn::Say(question.refuse(code))
    }

    /// Asks the host's servers, once for all who want to know the same at once.
    async fn ask(&self, asking: Asking, room: usize) -> Vec<u8> {
        let Asking {
            asker,
            question,
            key,
        } = asking;
        let failed = |question: &Question| {
            self.names.lookups().note(Outcome::Failed);
            question.refuse(ResponseCode::ServFail)
        };
        let Some(_place) = self.take_place(asker.session) else {
            return failed(&question);
        };
        let other = self.under_way.borrow().get(&key).cloned();
        let known = match other {
            Some(mut heard) => {
                // Who asked is gone without an answer: so is the answer.
                let _ = heard.wait_for(Option::is_some).await;
                let known = heard.borrow().clone();
                known.flatten()
            }
            None => {
                let (said, heard) = watch::channel(None);
                self.under_way.borrow_mut().insert(key.clone(), heard);
                let servers = self.servers.borrow().clone();
                let known = upstream::ask(&servers, &key.0, key.1).await;
                if let Some(known) = &known {
                    let mut cache = self.cache.borrow_mut();
                    cache.put(key.clone(), known.clone(), Instant::now());
                }
                self.under_way.borrow_mut().remove(&key);
                let _ = said.send(Some(known.clone()));
                known
            }
        };
        match known {
            Some(known) => self.entered(&asker, &question, &known, room),
            None => failed(&question),
        }
    }

    /// The answer, after its addresses were entered for who asked.
    fn entered(&self, asker: &Asker, question: &Question, known: &Known, room: usize) -> Vec<u8> {
        let addresses = message::addresses(known);
        let entered = self
            .names
            .enter(asker.session, &question.name, addresses, known.ttl_s);
        match entered {
            Ok(()) => {
                self.names.lookups().note(Outcome::Answered);
                question.answer(known, room)
            }
            Err(error) => {
                self.names.lookups().note(Outcome::Failed);
                debug!(%error, name = question.name, "an answer is withheld");
                let kind = question.kind().to_string();
                self.tell(
                    asker,
                    question.name.clone(),
                    kind,
                    "no room for its addresses",
                );
                question.refuse(ResponseCode::ServFail)
            }
        }
    }

    /// Who asks from an address and port, if a session does.
    fn asker(&self, peer: SocketAddr, protocol: u8) -> Option<Asker> {
        let from = match peer.ip() {
            IpAddr::V4(address) => Endpoint::own_v4(address.octets(), peer.port(), protocol),
            IpAddr::V6(address) => Endpoint::own_v6(address.octets(), peer.port(), protocol),
        };
        let key = AskerKey {
            namespace: HOST,
            address: from.address,
            port: from.port,
            protocol,
            reserved: [0; 5],
        };
        Some(self.askers.get(&Plain(key), 0).ok()?.0)
    }

    fn tell(&self, asker: &Asker, name: String, kind: String, reason: &'static str) {
        let Some(untold) = self.names.tells(asker.session) else {
            return;
        };
        let refusal = Refusal {
            session: asker.session,
            tool: u8::try_from(asker.tool).unwrap_or(0),
            process: asker.process,
            name,
            kind,
            reason,
            audited: self.names.is_audited(asker.session),
            untold,
        };
        if self.refusals.try_send(refusal).is_err() {
            warn!("the daemon does not take what was refused as fast as it is");
        }
    }

    /// A place among the questions under way, given back when it is dropped.
    fn take_place(&self, session: u64) -> Option<UnderWay<'_>> {
        let mut of_sessions = self.of_sessions.borrow_mut();
        let all: usize = of_sessions.values().sum();
        let own = of_sessions.entry(session).or_default();
        if all >= UNDER_WAY || *own >= OF_SESSION {
            return None;
        }
        *own += 1;
        Some(UnderWay {
            of_sessions: &self.of_sessions,
            session,
        })
    }
}

/// What becomes of a question.
enum Turn {
    /// Nothing is said.
    Nothing,
    /// This is said.
    Say(Vec<u8>),
    /// The host's servers must be asked.
    Ask(Asking),
}

struct Asking {
    asker: Asker,
    question: Question,
    key: Key,
}

struct UnderWay<'a> {
    of_sessions: &'a RefCell<HashMap<u64, usize>>,
    session: u64,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut of_sessions = self.of_sessions.borrow_mut();
        if let Some(own) = of_sessions.get_mut(&self.session) {
            *own -= 1;
            if *own == 0 {
                of_sessions.remove(&self.session);
            }
        }
    }
}
