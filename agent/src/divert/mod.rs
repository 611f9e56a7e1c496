//! What the kernel sends to the daemon instead of where a session wanted to go: lookups to the resolver
//! (`names/`), connections that rules want relayed to the relay (`relay/`).
//!
//! Each has a thread of its own with a runtime of its own: a flood there holds up nothing else, and nothing
//! else holds it up. Both listen on the loopback addresses of the host, and of each other network namespace in which
//! somebody of a session is ([`Stations`]). Whose something is that comes there they ask the kernel ([`Origins`]), which
//! noted it from the socket: no address is trusted.

mod doors;
mod origins;
mod places;
mod refusal;
mod silence;
mod site;
mod stations;

pub use agent_common::divert::Origin;
pub use doors::{Door, Doors};
pub use origins::Origins;
pub use places::Places;
pub use refusal::{Refusal, Refusals, Refused};
pub use silence::Silence;
pub use site::Site;
pub use stations::Stations;

use crate::health::{Loop, Pulses};
use crate::kernel::maps::{MapsError, open, typed};
use crate::kernel::pins::Pins;
use crate::names::{self, Names};
use crate::relay;
use crate::serving;
use agent_common::egress::Endpoint;
use aya::maps::Map;
use stations::ListenError;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Why the daemon takes nothing in place of others.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// No port of the host's loopback address can be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A table does not open.
    #[error(transparent)]
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
) -> Result<Stations, BeginError> {
    let pins = Pins::in_force();
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
    let (to_resolver, lookups) = mpsc::unbounded_channel();
    let (to_relay, relayed) = mpsc::unbounded_channel();
    let table = Map::HashMap(open(&pins, "STATIONS")?);
    let mut stations = Stations::new(typed("STATIONS", table)?, to_resolver, to_relay);
    stations.open_host()?;
    serving::begin("resolver", || resolver.serve(lookups))
        .map_err(|error| BeginError::Thread("resolver", error))?;
    serving::begin("relay", || relay.serve(relayed))
        .map_err(|error| BeginError::Thread("relay", error))?;
    Ok(stations)
}

/// An endpoint as an address, IPv4 in its own form.
pub fn address(endpoint: &Endpoint) -> SocketAddr {
    let address = IpAddr::V6(Ipv6Addr::from(endpoint.address)).to_canonical();
    SocketAddr::new(address, endpoint.port)
}
