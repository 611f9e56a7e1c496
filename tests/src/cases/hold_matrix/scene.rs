//! What is played: the folder, the addresses, and who would notice that something has happened.

use crate::act::deeds::{Deed, Manner};
use crate::act::local::GREETING;
use crate::cases::hold::ROOT;
use crate::harness::network::ALLOWED4;
use crate::harness::policy::Policy;
use anyhow::{Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;

/// The port of the first of all deeds, alone. Each manner has a hundred.
const FIRST: u16 = 9100;

/// Deeds in a manner, and all that they reach.
pub(super) struct Scene {
    pub(super) manner: Manner,
    root: String,
    first: u16,
    streams: BTreeMap<&'static str, TcpListener>,
    datagrams: BTreeMap<&'static str, UdpSocket>,
    unix: UnixListener,
    unix_datagrams: UnixDatagram,
    /// What came.
    came: BTreeSet<&'static str>,
}

impl Scene {
    /// Lays everything out anew.
    pub(super) fn new(word: &str, manner: Manner) -> Result<Self> {
        let root = format!("{ROOT}/{word}");
        lay_out(&root)?;
        let which = Manner::ALL.iter().position(|(_, its)| *its == manner);
        let first = FIRST + 100 * u16::try_from(which.unwrap_or(0))?;
        let (mut streams, mut datagrams) = (BTreeMap::new(), BTreeMap::new());
        for (place, name, deed) in manner.deeds() {
            let at = (ALLOWED4, first + u16::try_from(place)?);
            match deed {
                Deed::Connect(_) | Deed::Ring | Deed::Fastopen => {
                    let listener = TcpListener::bind(at)?;
                    listener.set_nonblocking(true)?;
                    streams.insert(name, listener);
                }
                Deed::Send(_) => {
                    let socket = UdpSocket::bind(at)?;
                    socket.set_nonblocking(true)?;
                    datagrams.insert(name, socket);
                }
                _ => {}
            }
        }
        let unix = UnixListener::bind(format!("{root}/stream"))?;
        unix.set_nonblocking(true)?;
        let unix_datagrams = UnixDatagram::bind(format!("{root}/datagram"))?;
        unix_datagrams.set_nonblocking(true)?;
        Ok(Self {
            manner,
            root,
            first,
            streams,
            datagrams,
            unix,
            unix_datagrams,
            came: BTreeSet::new(),
        })
    }

    /// A policy by which everything here needs a yes.
    pub(super) fn policy(&self, agent: &str, wait: &str) -> Policy {
        let Self { root, first, .. } = self;
        let approval = format!("approval: {{by: [tester], once: true, wait: {wait}}}");
        let last = first + 99;
        Policy::named(agent).with(&format!(
            "  files:
    allow:
      - {{access: [read, write, create, delete, rename, link, map], paths: [\"/**\"]}}
      - {{id: file, access: [read, write, create, delete, rename, link], paths: [{root}/**], {approval}}}
  exec:
    allow:
      - {{programs: [/**]}}
      - {{id: program, programs: [{root}/program], {approval}}}
  egress:
    allow:
      - {{id: tcp, to: [{ALLOWED4}], ports: [{first}-{last}], protocol: tcp, {approval}}}
      - {{id: udp, to: [{ALLOWED4}], ports: [{first}-{last}], protocol: udp, {approval}}}
      - {{id: unix, to: [\"unix:{root}/stream\", \"unix:{root}/datagram\"], {approval}}}
  listen:
    allow:
      - {{id: listen, on: [{ALLOWED4}], ports: [{first}-{last}], {approval}}}
"
        ))
    }

    /// What an actor is told to do everything.
    pub(super) fn order(&self, word: &str) -> String {
        format!("deeds {} {ALLOWED4}:{} {word}", self.root, self.first)
    }

    /// How many deeds there are.
    pub(super) fn count(&self) -> usize {
        self.manner.deeds().count()
    }

    /// Notes who has come, and greets.
    pub(super) fn look(&mut self) -> Result<()> {
        for (name, listener) in &self.streams {
            match listener.accept() {
                Ok(_) => drop(self.came.insert(name)),
                Err(error) => ensure!(error.kind() == ErrorKind::WouldBlock, "{name}: {error}"),
            }
        }
        let mut room = [0; 64];
        for (name, socket) in &self.datagrams {
            if socket.recv_from(&mut room).is_ok() {
                self.came.insert(name);
            }
        }
        if let Ok((mut stream, _)) = self.unix.accept() {
            stream.write_all(GREETING.as_bytes())?;
            self.came.insert("unix");
        }
        if self.unix_datagrams.recv(&mut room).is_ok() {
            self.came.insert("unix-send");
        }
        Ok(())
    }

    /// Everything that has happened, by name.
    pub(super) fn happened(&mut self) -> Result<BTreeSet<&'static str>> {
        self.look()?;
        let mut all = self.came.clone();
        let root = &self.root;
        let is = |name: &str| {
            Path::new(&format!("{root}/{name}"))
                .symlink_metadata()
                .is_ok()
        };
        let holds = |name: &str| fs::read_to_string(format!("{root}/{name}")).unwrap_or_default();
        for (_, name, deed) in self.manner.deeds() {
            let has = match (name, deed) {
                ("write", _) => holds("write") != "write",
                ("create", _) => is("new-file"),
                ("create-to-read", _) => is("new-empty"),
                ("mkdir", _) => is("new-folder"),
                ("mkfifo", _) => is("new-pipe"),
                ("symlink", _) => is("new-symlink"),
                ("link", _) => is("new-link"),
                ("unlink", _) => !is("old-unlink"),
                ("rmdir", _) => !is("old-folder"),
                ("rename", _) => !is("old-name") || is("new-name"),
                ("rename-over", _) => !is("old-over") || holds("over") != "over",
                ("truncate", _) => holds("truncate") != "truncate",
                ("timeout" | "job" | "traced", _) => is(&format!("new-{name}")),
                (_, Deed::Execute(_)) => Path::new(&format!("{root}-ran/{name}")).exists(),
                _ => false,
            };
            if has {
                all.insert(name);
            }
        }
        Ok(all)
    }
}

fn lay_out(root: &str) -> Result<()> {
    for folder in [root.to_owned(), format!("{root}-ran")] {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder)?;
    }
    for name in [
        "read",
        "write",
        "both",
        "old-link",
        "old-unlink",
        "old-name",
        "old-over",
        "over",
        "truncate",
        "uring",
    ] {
        fs::write(format!("{root}/{name}"), name)?;
    }
    fs::create_dir(format!("{root}/old-folder"))?;
    fs::copy("/usr/bin/touch", format!("{root}/program"))?;
    Ok(())
}
