//! What a case needs in the machine: files, programs, addresses with servers behind them, and an
//! hour. All of it is put back when the stage is dropped.

use crate::harness::network::{Server, ip};
use crate::harness::session::own_program;
use crate::sys::system;
use agent_common::egress::{Endpoint, UDP, is_v4};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Where what had a name before is kept meanwhile.
const KEPT: &str = "interlock-kept";

/// What was changed.
#[derive(Default)]
pub(super) struct Stage {
    /// Files and programs that were made, here or by a session.
    made: Vec<PathBuf>,
    /// Those that are programs.
    programs: Vec<PathBuf>,
    /// Folders that were made, outer ones first.
    folders: Vec<PathBuf>,
    /// What a program was put in the place of.
    kept: Vec<PathBuf>,
    /// A copy of this program, of which every other one is a second name.
    actor: Option<PathBuf>,
    servers: BTreeMap<(SocketAddr, u8), Server>,
    listeners: Vec<UnixListener>,
    addresses: Vec<IpAddr>,
    /// The time before the clock was set, and when that was.
    clock: Option<(SystemTime, Instant)>,
}

impl Stage {
    /// A program that obeys orders, in the place of whatever is there.
    pub(super) fn program(&mut self, path: &str) -> Result<()> {
        let path = Path::new(path);
        if self.programs.iter().any(|made| made == path) {
            return Ok(());
        }
        self.folder_of(path)?;
        if self.made.iter().any(|made| made == path) {
            fs::remove_file(path).with_context(|| path.display().to_string())?;
        } else if path.symlink_metadata().is_ok() {
            fs::rename(path, kept(path)).with_context(|| format!("keeping {}", path.display()))?;
            self.kept.push(path.to_owned());
        }
        self.made.push(path.to_owned());
        self.programs.push(path.to_owned());
        let link = |actor: &PathBuf| fs::hard_link(actor, path);
        if self.actor.as_ref().is_none_or(|actor| link(actor).is_err()) {
            fs::copy(own_program()?, path)
                .with_context(|| format!("copying this program to {}", path.display()))?;
            self.actor = Some(path.to_owned());
        }
        Ok(())
    }

    /// A file with something in it, unless there is one.
    pub(super) fn file(&mut self, path: &str) -> Result<()> {
        let path = Path::new(path);
        if path.exists() {
            return Ok(());
        }
        self.folder_of(path)?;
        self.made.push(path.to_owned());
        fs::write(path, "contents\n").with_context(|| path.display().to_string())
    }

    /// A Unix socket that somebody listens at: whoever connects to it is judged by what it reaches.
    pub(super) fn listener(&mut self, path: &str) -> Result<()> {
        let path = Path::new(path);
        if path.exists() {
            return Ok(());
        }
        self.folder_of(path)?;
        let listener = UnixListener::bind(path).with_context(|| path.display().to_string())?;
        self.made.push(path.to_owned());
        self.listeners.push(listener);
        Ok(())
    }

    /// A folder for a file that is not there yet.
    pub(super) fn room(&mut self, path: &str) -> Result<()> {
        let path = Path::new(path);
        self.folder_of(path)?;
        if self.made.iter().any(|made| made == path) {
            let _ = fs::remove_file(path);
        }
        self.made.push(path.to_owned());
        Ok(())
    }

    /// An address with a server behind it.
    pub(super) fn server(&mut self, endpoint: &Endpoint) -> Result<SocketAddr> {
        let at = address(endpoint);
        let key = (at, endpoint.protocol);
        if self.servers.contains_key(&key) {
            return Ok(at);
        }
        let listen = || match endpoint.protocol {
            UDP => Server::udp(at),
            _ => Server::tcp(at),
        };
        let server = match listen() {
            Ok(server) => server,
            // The machine does not have the address yet.
            Err(_) => {
                ip(&["address", "add", &network_of(at.ip()), "dev", "lo"])?;
                self.addresses.push(at.ip());
                listen()?
            }
        };
        self.servers.insert(key, server);
        Ok(at)
    }

    /// Sets the machine's clock, as an administrator would.
    pub(super) fn hour(&mut self, wall_s: u64) -> Result<()> {
        if self.clock.is_none() {
            self.clock = Some((SystemTime::now(), Instant::now()));
        }
        system::set_clock_to(wall_s.try_into()?).context("setting the clock")
    }

    fn folder_of(&mut self, path: &Path) -> Result<()> {
        let folder = path.parent().context("a path without a folder")?;
        let missing: Vec<&Path> = folder.ancestors().take_while(|f| !f.exists()).collect();
        for folder in missing.into_iter().rev() {
            fs::create_dir(folder).with_context(|| folder.display().to_string())?;
            self.folders.push(folder.to_owned());
        }
        Ok(())
    }
}

impl Drop for Stage {
    // What cannot be put back is missed by whoever needs it; here it would hide why a test failed.
    fn drop(&mut self) {
        for path in &self.made {
            let _ = fs::remove_file(path);
        }
        for path in &self.kept {
            let _ = fs::rename(kept(path), path);
        }
        for folder in self.folders.iter().rev() {
            let _ = fs::remove_dir(folder);
        }
        for address in &self.addresses {
            let _ = ip(&["address", "del", &network_of(*address), "dev", "lo"]);
        }
        if let Some((then, at)) = self.clock {
            let now = (then + at.elapsed()).duration_since(UNIX_EPOCH);
            let _ = system::set_clock_to(now.map_or(0, |now| now.as_secs().cast_signed()));
        }
    }
}

fn kept(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}.{KEPT}", path.display()))
}

fn network_of(address: IpAddr) -> String {
    let bits = if address.is_ipv4() { 32 } else { 128 };
    format!("{address}/{bits}")
}

/// An endpoint as an address with a port.
pub(super) fn address(endpoint: &Endpoint) -> SocketAddr {
    let ip = if is_v4(&endpoint.address) {
        let [.., a, b, c, d] = endpoint.address;
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    } else {
        IpAddr::V6(Ipv6Addr::from(endpoint.address))
    };
    SocketAddr::new(ip, endpoint.port)
}
