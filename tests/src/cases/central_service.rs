//! A controller that only the cluster knows by its name.

use crate::harness::Test;
use crate::harness::controller::{Controller, daemon_of, is_connected, until};
use crate::harness::product;
use crate::harness::servers::Serving;
use crate::sys::host;
use anyhow::{Context, Result};
use std::fs;

/// What the chart has a node's daemon connect to.
const NAME: &str = "interlock-controller.interlock.svc";
/// Where the cluster's names are known.
const SERVER: &str = "127.0.0.77";
/// What a kubelet tells a pod of that.
const TOLD: &str = "search interlock.svc.cluster.local svc.cluster.local cluster.local\n\
                    nameserver 127.0.0.77\noptions ndots:5\n";

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new(
        "central.by_service",
        "a daemon that has entered its host still finds its controller by the cluster's names",
        by_service,
    )]
}

/// Who knows the cluster's names.
fn server() -> Result<Serving> {
    let server = format!("--listen-address={SERVER}");
    let known = format!("--address=/{NAME}.cluster.local/127.0.0.1");
    Serving::dnsmasq(&["--pid-file=", "--local=/cluster.local/", &server, &known])
}

fn by_service() -> Result<()> {
    product::stop()?;
    let _server = server()?;
    let _controller = Controller::start_named(6, NAME)?;
    // As in a container: other mounts than those of process 1, and in them another file of servers.
    host::keep_mounts_to_ourselves().context("keeping mounts to ourselves")?;
    let told = "/tmp/resolv.conf.pod";
    fs::write(told, TOLD)?;
    host::mount(Some(told), "/etc/resolv.conf", libc::MS_BIND).context("a file of servers")?;
    daemon_of(&format!("{NAME}:7443"), &["--enter-host"])?;
    until(&["nodes"], is_connected).map(drop)
}
