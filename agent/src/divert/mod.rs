//! What the kernel sends to the daemon instead of where a session wanted to go: lookups to the resolver
//! (`names/`), connections that rules want relayed to the relay (`relay/`).
//!
//! Each has a thread of its own with a runtime of its own: a flood there holds up nothing else, and nothing
//! else holds it up. Both listen on the host's loopback addresses. Whose something is that comes there they
//! ask the kernel ([`Origins`]), which noted it from the socket: no address is trusted.

mod doors;
mod origins;
mod places;
mod refusal;
mod silence;

pub use agent_common::divert::Origin;
pub use doors::{Door, Doors};
pub use origins::Origins;
pub use places::Places;
pub use refusal::{Refusal, Refusals, Refused};
pub use silence::Silence;

use crate::health::{Loop, Pulses};
use crate::kernel::maps::{MapsError, open, typed};
use crate::kernel::pins::Pins;
use crate::kernel::plain::Plain;
use crate::names::{self, Names};
use crate::relay;
use crate::serving;
use agent_common::divert::{HOST, Station};
use agent_common::egress::Endpoint;
use aya::maps::{HashMap as KernelMap, Map, MapData};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use tokio::sync::mpsc;
use tracing::debug;

/// Why the daemon takes nothing in place of others.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// No port of the loopback address can be had.
    #[error("cannot listen on the loopback address")]
    Listen(#[source] io::Error),
    /// A table failed.
    #[error("the kernel's tables do not take where the daemon listens")]
    Maps(#[from] MapsError),
    /// No thread, or no runtime in it.
    #[error("cannot start the thread of the {0}")]
    Thread(&'static str, #[source] io::Error),
}

/// Begins resolver and relay, and tells the kernel programs where they listen.
pub fn begin(
    settings: &names::Settings,
    names: &Arc<Names>,
    refusals: mpsc::Sender<Refusal>,
    pulses: &Pulses,
) -> Result<(), BeginError> {
    let pins = Pins::in_force();
    let stations = Map::HashMap(open(&pins, "STATIONS")?);
    let mut stations: KernelMap<MapData, u64, Plain<Station>> = typed("STATIONS", stations)?;
    // Sockets that went to the last daemon find this one.
    let last = stations.get(&HOST, 0).ok().map(|station| station.0);
    let last = |port: fn(Station) -> u32| u16::try_from(port(last?)).ok();
    let lookups =
        Doors::open(true, last(|station| station.resolver)).map_err(BeginError::Listen)?;
    let relayed = Doors::open(false, last(|station| station.relay)).map_err(BeginError::Listen)?;
    let station = Station {
        resolver: lookups.port.into(),
        relay: relayed.port.into(),
        v6: (lookups.v6.is_some() && relayed.v6.is_some()).into(),
        reserved: 0,
    };
    let refusals = Refusals::to(refusals);
    let resolver = names::Resolver::new(
        settings,
        Arc::clone(names),
        Origins::open(&pins)?,
        refusals.clone(),
        pulses.of(Loop::Resolver).clone(),
    );
    let relay = relay::Relay::new(
        Arc::clone(names),
        Origins::open(&pins)?,
        refusals,
        pulses.of(Loop::Relay).clone(),
    )?;
    serving::begin("resolver", || resolver.serve(lookups))
        .map_err(|error| BeginError::Thread("resolver", error))?;
    serving::begin("relay", || relay.serve(relayed))
        .map_err(|error| BeginError::Thread("relay", error))?;
    let told = stations.insert(HOST, Plain(station), 0);
    told.map_err(MapsError::from)?;
    debug!(?station, "what is diverted comes here");
    Ok(())
}

/// An endpoint as an address, IPv4 in its own form.
pub fn address(endpoint: &Endpoint) -> SocketAddr {
    let address = IpAddr::V6(Ipv6Addr::from(endpoint.address)).to_canonical();
    SocketAddr::new(address, endpoint.port)
}
