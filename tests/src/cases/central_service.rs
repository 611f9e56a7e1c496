//! A controller that only the cluster knows by its name.

use crate::harness::Test;
use crate::harness::controller::{Controller, daemon_of, is_connected, until};
use crate::harness::product;
use crate::sys::{host, process};
use anyhow::{Context, Result};
use std::fs;
use std::process::{Child, Command, Stdio};

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

/// Who knows the cluster's names; ends when this is dropped.
struct Server(Child);

impl Server {
    fn begin() -> Result<Self> {
        let mut server = Command::new("dnsmasq");
        server.args([
            "--keep-in-foreground",
            "--user=root",
            "--pid-file=",
            "--no-resolv",
            "--no-hosts",
        ]);
        server.args(["--bind-interfaces", "--local=/cluster.local/"]);
        server.arg(format!("--listen-address={SERVER}"));
        server.arg(format!("--address=/{NAME}.cluster.local/127.0.0.1"));
        let begun = server.stdin(Stdio::null()).spawn();
        Ok(Self(begun.context("starting dnsmasq")?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail when it has ended, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn by_service() -> Result<()> {
    product::stop()?;
    let _server = Server::begin()?;
    let _controller = Controller::start_named(6, NAME)?;
    // As in a container: other mounts than those of process 1, and in them another file of servers.
    process::unshare(libc::CLONE_NEWNS).context("leaving the mount namespace")?;
    host::mount(None, "/", libc::MS_REC | libc::MS_PRIVATE)
        .context("keeping mounts to ourselves")?;
    let told = "/tmp/resolv.conf.pod";
    fs::write(told, TOLD)?;
    host::mount(Some(told), "/etc/resolv.conf", libc::MS_BIND).context("a file of servers")?;
    daemon_of(&format!("{NAME}:7443"), &["--enter-host"])?;
    until(&["nodes"], is_connected).map(drop)
}
