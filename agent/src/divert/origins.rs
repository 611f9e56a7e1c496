//! Whose it is that came to the daemon.

use super::Site;
use crate::kernel::maps::{MapsError, open, typed};
use crate::kernel::pins::Pins;
use crate::kernel::plain::Plain;
use agent_common::divert::{Origin, OriginKey};
use agent_common::egress::Endpoint;
use aya::maps::{HashMap as KernelMap, Map, MapData};
use std::net::{IpAddr, SocketAddr};

/// What the kernel noted of packets that it diverted.
pub struct Origins(KernelMap<MapData, Plain<OriginKey>, Plain<Origin>>);

impl std::fmt::Debug for Origins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Origins").finish_non_exhaustive()
    }
}

impl Origins {
    /// Opens the table.
    pub fn open(pins: &Pins) -> Result<Self, MapsError> {
        let table = Map::LruHashMap(open(pins, "ORIGINS")?);
        Ok(Self(typed("ORIGINS", table)?))
    }

    /// Whose it is that came from an address and port, if a session's.
    pub fn of(&self, site: &Site, peer: SocketAddr, protocol: u8) -> Option<Origin> {
        Some(self.0.get(&Plain(key(site, peer, protocol)), 0).ok()?.0)
    }

    /// The same, once: whoever comes from there next must be noted anew.
    pub fn take(&mut self, site: &Site, peer: SocketAddr, protocol: u8) -> Option<Origin> {
        let origin = self.of(site, peer, protocol)?;
        // What is not there any more was wanted so.
        let _ = self.0.remove(&Plain(key(site, peer, protocol)));
        Some(origin)
    }
}

fn key(site: &Site, peer: SocketAddr, protocol: u8) -> OriginKey {
    let from = match peer.ip() {
        IpAddr::V4(address) => Endpoint::own_v4(address.octets(), peer.port(), protocol),
        IpAddr::V6(address) => Endpoint::own_v6(address.octets(), peer.port(), protocol),
    };
    OriginKey {
        namespace: site.number,
        address: from.address,
        port: from.port,
        protocol,
        reserved: [0; 5],
    }
}
