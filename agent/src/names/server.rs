//! The way of a question through the resolver.

use super::cache::{Cache, Found, Key};
use super::echo::{Echo, numbered};
use super::known::{Leave, Names};
use super::message::{self, Fault, MAX_QUESTION, Question};
use super::outcomes::Outcome;
use super::post::{self, Post};
use super::round::{Asker, Round};
use super::{Settings, upstream};
use crate::divert::{Doors, Origin, Origins, Places, Refusals, Refused, Site};
use crate::health::Pulse;
use crate::kernel::clock;
use agent_common::egress::{TCP, UDP};
use hickory_proto::op::ResponseCode;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::timeout;
use tracing::{debug, warn};

/// Questions to servers that are under way at once, of all sessions and of one.
const UNDER_WAY: usize = 512;
const OF_SESSION: usize = 64;
/// How long a question waits for others to come back; who asked asks anew after that.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections at once, and how long one may be silent.
const CONNECTIONS: usize = 256;
const SILENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether the host's files have changed.
const HOUSE: Duration = Duration::from_secs(1);

/// When the host's files were last written.
type Seen = (Option<SystemTime>, Option<SystemTime>);

type Heard = watch::Receiver<Option<Option<Found>>>;

/// The resolver.
pub struct Resolver {
    settings: Settings,
    names: Arc<Names>,
    origins: Origins,
    refusals: Refusals,
    pulse: Pulse,
    cache: RefCell<Cache>,
    echo: RefCell<Echo>,
    servers: RefCell<Vec<SocketAddr>>,
    seen: Cell<Seen>,
    /// Questions to servers that nobody has answered yet.
    under_way: RefCell<HashMap<Key, Heard>>,
    places: Places,
    connections: Cell<usize>,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl Resolver {
    /// One that has answered nothing yet, and knows what the host itself knows.
    pub fn new(
        settings: &Settings,
        names: Arc<Names>,
        origins: Origins,
        refusals: Refusals,
        pulse: Pulse,
    ) -> Self {
        let resolver = Self {
            settings: settings.clone(),
            names,
            origins,
            refusals,
            pulse,
            cache: RefCell::default(),
            echo: RefCell::default(),
            servers: RefCell::default(),
            seen: Cell::default(),
            under_way: RefCell::default(),
            places: Places::new(UNDER_WAY, OF_SESSION),
            connections: Cell::new(0),
        };
        // Before the first session begins.
        resolver.look_at_files();
        resolver
    }

    /// Until the process ends, by all doors that come.
    pub async fn serve(self, mut doors: UnboundedReceiver<(Site, Doors)>) {
        let resolver = Rc::new(self);
        let mut house = tokio::time::interval(HOUSE);
        loop {
            tokio::select! {
                Some((site, doors)) = doors.recv() => resolver.open(&site, doors),
                _ = house.tick() => {
                    resolver.pulse.beat();
                    resolver.look_at_files();
                }
            }
        }
    }

    fn open(self: &Rc<Self>, site: &Site, doors: Doors) {
        for door in doors.all() {
            let udp = door.udp.map(UdpSocket::from_std).transpose();
            match (udp, TcpListener::from_std(door.tcp)) {
                (Ok(udp), Ok(tcp)) => {
                    if let Some(udp) = udp.map(Rc::new) {
                        let (resolver, site) = (Rc::clone(self), site.clone());
                        spawn_local(async move {
                            site.while_open(resolver.by_datagram(&site, udp)).await;
                        });
                    }
                    let (resolver, site) = (Rc::clone(self), site.clone());
                    spawn_local(async move {
                        site.while_open(resolver.by_stream(&site, tcp)).await;
                    });
                }
                (Err(error), _) | (_, Err(error)) => {
                    warn!(%error, "names cannot be looked up by one of the loopback addresses");
                }
            }
        }
    }

    /// Reads the host's files where they have changed.
    fn look_at_files(&self) {
        let changed = |path: &Path| path.metadata().and_then(|file| file.modified()).ok();
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        let settings = &self.settings;
        let now = (changed(&settings.servers), changed(&settings.hosts));
        let (servers, hosts) = self.seen.replace(now);
        if now.0 != servers || now.0.is_none() {
            let found = upstream::servers(&read(&settings.servers));
            self.servers.replace(found);
        }
        if now.1 != hosts {
            self.names.set_hosts(&read(&settings.hosts));
        }
    }

    async fn by_datagram(self: &Rc<Self>, site: &Site, socket: Rc<UdpSocket>) {
        let mut post = Post::new();
        loop {
            post.wait(&socket).await;
            let mut round = Round::begin();
            let mut answers = Vec::new();
            for (asked, peer) in post.came() {
                match self.at_once(&mut round, asked, (site, peer), UDP) {
                    Turn::Nothing => {}
                    Turn::Say(answer) => answers.push((numbered(answer, asked), peer)),
                    Turn::Ask(asking) => {
                        let (resolver, socket) = (Rc::clone(self), Rc::clone(&socket));
                        let asked = asked.to_vec();
                        spawn_local(async move {
                            let room = asking.question.room();
                            let answer = numbered(resolver.ask(asking, room).await, &asked);
                            post::send(&socket, &[(answer, peer)]);
                        });
                    }
                }
            }
            post::send(&socket, &answers);
        }
    }

    async fn by_stream(self: &Rc<Self>, site: &Site, listener: TcpListener) {
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
            let (resolver, site) = (Rc::clone(self), site.clone());
            spawn_local(async move {
                if let Err(error) = resolver.talk(&site, stream, peer).await {
                    debug!(%error, "a connection to the resolver");
                }
                resolver.connections.set(resolver.connections.get() - 1);
            });
        }
    }

    async fn talk(&self, site: &Site, mut stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
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
            let turn = self.at_once(&mut Round::begin(), bytes, (site, peer), TCP);
            let answer = match turn {
                Turn::Nothing => return Ok(()),
                Turn::Say(answer) => answer,
                Turn::Ask(asking) => self.ask(asking, usize::from(u16::MAX)).await,
            };
            let answer = numbered(answer, bytes);
            let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
            let whole = [&length.to_be_bytes(), answer.as_slice()].concat();
            timeout(SILENCE, stream.write_all(&whole)).await??;
        }
    }

    /// Who has asked from there, as the kernel has noted.
    fn asker(&self, (site, peer): (&Site, SocketAddr), protocol: u8) -> Option<Asker> {
        let origin = self.origins.of(site, peer, protocol)?;
        let leave = self.names.standing(&origin);
        Some(Asker { origin, leave })
    }

    /// Answers what needs no server.
    fn at_once(
        &self,
        round: &mut Round,
        asked: &[u8],
        from: (&Site, SocketAddr),
        protocol: u8,
    ) -> Turn {
        let asker = round.asker(from.1, || self.asker(from, protocol));
        let Some(Asker { origin, leave }) = asker else {
            // No session has asked from there: nothing is said to others.
            return Turn::Nothing;
        };
        let before = self.echo.borrow().question(asked);
        let question = match before.map_or_else(|| Question::read(asked).map(Arc::new), Ok) {
            Ok(question) => question,
            Err(Fault::Silence) => return Turn::Nothing,
            Err(Fault::Error(answer, name)) => {
                self.names.outcomes().note(Outcome::Refused);
                if let Some(name) = name {
                    self.tell(&origin, &name, "-".to_owned(), "not a name of a host");
                }
                return Turn::Say(answer);
            }
        };
        let leave = match leave {
            Leave::Given => self.names.may_ask(&origin, &question.key, round.now),
            other => other,
        };
        match leave {
            Leave::Given => {}
            Leave::Searched => return self.refuse(&question, ResponseCode::NXDomain),
            Leave::Nobodys => return self.refuse(&question, ResponseCode::Refused),
            Leave::Refused(reason) => {
                let kind = question.kind().to_string();
                if !self.tell(&origin, question.name(), kind, reason) {
                    return self.refuse(&question, ResponseCode::Refused);
                }
            }
        }
        let room = match protocol {
            UDP => question.room(),
            _ => usize::from(u16::MAX),
        };
        if let Some(addresses) = self.names.own(question.name()) {
            let known = message::own(&question, &addresses);
            let found = Found::fresh(Arc::new(known));
            let say = || question.answer(found.origin(), room);
            return Turn::Say(self.entered((&origin, round.boot_ns), &question, &found, say));
        }
        let found = self.cache.borrow().get(&question.key, round.now);
        match found {
            Some(found) => {
                let say = || {
                    let mut echo = self.echo.borrow_mut();
                    echo.answer(asked, &question, &found, room)
                };
                Turn::Say(self.entered((&origin, round.boot_ns), &question, &found, say))
            }
            None => Turn::Ask(Box::new(Asking { origin, question })),
        }
    }

    fn refuse(&self, question: &Question, code: ResponseCode) -> Turn {
        self.names.outcomes().note(Outcome::Refused);
        Turn::Say(question.refuse(code))
    }

    /// Answers what the host's servers have to be asked for.
    async fn ask(&self, asking: Box<Asking>, room: usize) -> Vec<u8> {
        let Asking { origin, question } = *asking;
        match self.find(origin.session, &question.key).await {
            Some(found) => {
                let say = || question.answer(&found.known(), room);
                self.entered((&origin, clock::boot_ns()), &question, &found, say)
            }
            None => {
                self.names.outcomes().note(Outcome::Failed);
                question.refuse(ResponseCode::ServFail)
            }
        }
    }

    /// What the host's servers say, once for all who want to know the same at once. Who has a question under way has
    /// a place: nobody waits for a place of another session's.
    async fn find(&self, session: u64, key: &Key) -> Option<Found> {
        let under_way = || self.under_way.borrow().get(key).cloned();
        if let Some(heard) = under_way() {
            return hear(heard).await;
        }
        let place = timeout(PATIENCE, self.places.wait(session)).await;
        let _place = place.ok()?;
        // Somebody else may have asked meanwhile.
        if let Some(heard) = under_way() {
            return hear(heard).await;
        }
        if let Some(found) = self.cache.borrow().get(key, Instant::now()) {
            return Some(found);
        }
        let (said, heard) = watch::channel(None);
        self.under_way.borrow_mut().insert(key.clone(), heard);
        let servers = self.servers.borrow().clone();
        let known = upstream::ask(&servers, &key.0, key.1).await.map(Arc::new);
        if let Some(known) = &known {
            let mut cache = self.cache.borrow_mut();
            cache.put(key.clone(), Arc::clone(known), Instant::now());
        }
        self.under_way.borrow_mut().remove(key);
        let found = known.map(Found::fresh);
        let _ = said.send(Some(found.clone()));
        found
    }

    /// The answer, after its addresses were entered for who asked.
    fn entered(
        &self,
        (origin, boot_ns): (&Origin, u64),
        question: &Question,
        found: &Found,
        say: impl FnOnce() -> Vec<u8>,
    ) -> Vec<u8> {
        let addresses = message::addresses(found.origin());
        let times = (boot_ns, found.ttl_s());
        let entered = self
            .names
            .enter(origin.session, question.name(), addresses, times);
        match entered {
            Ok(()) => {
                self.names.outcomes().note(Outcome::Answered);
                say()
            }
            Err(error) => {
                self.names.outcomes().note(Outcome::Failed);
                debug!(%error, name = question.name(), "an answer is withheld");
                let kind = question.kind().to_string();
                self.tell(origin, question.name(), kind, "no room for its addresses");
                question.refuse(ResponseCode::ServFail)
            }
        }
    }

    /// Tells of a lookup that is refused; true where the policy is only watched.
    fn tell(&self, origin: &Origin, name: &str, records: String, reason: &'static str) -> bool {
        let name = name.to_owned();
        let what = Refused::Lookup { name, records };
        self.refusals.tell(&self.names, origin, what, reason)
    }
}

/// What another hears. Who asked is gone without an answer: so is the answer.
async fn hear(mut heard: Heard) -> Option<Found> {
    let _ = heard.wait_for(Option::is_some).await;
    let found = heard.borrow().clone();
    found.flatten()
}

/// What becomes of a question.
enum Turn {
    /// Nothing is said.
    Nothing,
    /// This is said.
    Say(Vec<u8>),
    /// The host's servers must be asked.
    Ask(Box<Asking>),
}

struct Asking {
    origin: Origin,
    question: Arc<Question>,
}
