//! Containers of pods, on a real containerd: whose one is, its runtime tells, and until it has the first
//! program waits.

use super::names::Network;
use super::recognise::{daemon, wait_until};
use crate::harness::Test;
use crate::harness::cri::EXITED;
use crate::harness::events::{Events, Line};
use crate::harness::image::IMAGE;
use crate::harness::kernel::unless_it_waits;
use crate::harness::network::{DENIED4, PORT, at};
use crate::harness::pods::{Container, Node, Spec, unless_there};
use crate::harness::policy::Policy;
use crate::harness::product::{self, Daemon, begun, call, said};
use anyhow::{Result, ensure};
use std::thread;
use std::time::Duration;

/// The namespace of the pods.
const NAMESPACE: &str = "agents";
/// What a program's one probe ends with in a session, and outside.
pub(super) const DENIED: i32 = 41;
pub(super) const ALLOWED: i32 = 40;

pub(super) fn tests() -> Vec<Test> {
    let all = vec![
        Test::new(
            "long.containers.pod",
            "a container of a pod that a policy selects is held from its first instruction, and nobody else's is",
            pod,
        ),
        Test::new(
            "long.containers.kinds",
            "init containers, sidecars, privileged pods, several sessions of an agent, and who is executed into one",
            kinds,
        ),
        Test::new(
            "long.containers.paths",
            "rules for paths speak of what the container sees, and of nothing that the host sees there",
            paths,
        ),
        Test::new(
            "long.containers.before",
            "what ran before the daemon is adopted, and a daemon that comes back changes nothing",
            before,
        ),
        Test::new(
            "long.containers.network",
            "of two agents in one pod with a network of its own, each reaches the names of its policy and no others",
            network,
        ),
        Test::new(
            "long.containers.away",
            "while no daemon is there a new container is denied, or released and adopted later, as it was set",
            away,
        ),
        Test::new(
            "long.containers.gated",
            "a pod whose first container waits for its node, as docs/install.md has it, comes after the daemon",
            gated,
        ),
    ];
    all.into_iter()
        .map(|test| test.unless(unless).patience(900))
        .collect()
}

pub(super) fn unless() -> Option<String> {
    unless_there().or_else(unless_it_waits)
}

/// A policy that selects pods, and lets them do nothing on a network.
pub(super) fn selecting(name: &str, by: &str) -> Policy {
    let way = format!("kubernetes: {{namespace: {NAMESPACE}, {by}}}");
    Policy::named(name).with(&format!("  session: [{{{way}}}]\n"))
}

/// A pod that such a policy selects by its labels.
pub(super) fn of<'a>(labels: &'a [(&'a str, &'a str)]) -> Spec<'a> {
    Spec {
        namespace: NAMESPACE,
        labels,
        ..Spec::default()
    }
}

/// The words that probe the network once.
pub(super) fn probe() -> Result<Vec<String>> {
    let to = at(DENIED4, PORT)?.to_string();
    Ok(["/usr/local/bin/interlock-tests", "act", "probe-code", &to]
        .map(str::to_owned)
        .to_vec())
}

pub(super) fn words(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// How a container's one probe ended.
pub(super) fn expect(node: &Node, container: &Container, expected: i32, what: &str) -> Result<()> {
    let ended = node.ended(container)?;
    ensure!(
        ended.exit_code == expected,
        "{what}: ended with {}, expected {expected}: {}",
        ended.exit_code,
        ended.message
    );
    Ok(())
}

fn pod() -> Result<()> {
    let name = "by-pod";
    daemon(&[&selecting(name, "podLabels: {app: demo}")])?;
    let node = Node::get()?;
    let events = Events::from_now()?;
    let probe = probe()?;
    let agents = node.pod(of(&[("app", "demo"), ("tier", "one")]))?;
    let container = node.run(&agents, "main", &words(&probe))?;
    expect(&node, &container, DENIED, "an agent's container")?;
    let others = node.pod(of(&[("app", "other")]))?;
    let other = node.run(&others, "main", &words(&probe))?;
    expect(&node, &other, ALLOWED, "another's")?;
    events.ended(name)?;
    let session = events.denials(name)?.remove(0).session;
    let story = said(&call(&["evidence", "show", &session])?);
    ensure!(
        story.contains("container main") && story.contains("of pod agents/pod-"),
        "the record does not name the container: {story}"
    );
    node.remove(agents)?;
    node.remove(others)
}

fn gated() -> Result<()> {
    const SERVED: &str = "127.0.0.1:9464";
    // A node that has just booted: the policy is there, and nothing is loaded.
    daemon(&[&selecting(
        "gated",
        "podLabels: {app: gated}, container: agent",
    )])?;
    product::stop()?;
    product::uninstall()?;
    let node = Node::get()?;
    let pod = node.pod(of(&[("app", "gated")]))?;
    let wait = format!(
        "until /bin/busybox wget -qO- http://{SERVED}/readyz; do /bin/busybox sleep 1; done"
    );
    let gate = node.run(&pod, "interlock", &["/bin/busybox", "sh", "-c", &wait])?;
    thread::sleep(Duration::from_secs(5));
    let status = node.status(&gate)?;
    ensure!(status.state != EXITED, "it did not wait: {status:?}");
    let daemon = Daemon::try_start_with(&["--metrics", SERVED])?;
    ensure!(daemon.is_ok(), "the daemon: {:?}", daemon.err());
    expect(&node, &gate, 0, "who waits for the node")?;
    let agent = node.run(&pod, "agent", &words(&probe()?))?;
    expect(&node, &agent, DENIED, "who came after it")?;
    node.remove(pod)
}

/// A program that stays, and is there to be executed into.
pub(super) const STAYS: [&str; 2] = ["/usr/bin/sleep", "1000"];

/// Waits until so many sessions of an agent are there.
pub(super) fn sessions(name: &str, count: usize) -> Result<()> {
    wait_until(&format!("{count} sessions of {name}"), || {
        let listed = call(&["sessions", "--json"])?;
        let listed: serde_json::Value = serde_json::from_slice(&listed.stdout)?;
        let listed = listed.as_array().map_or(&[][..], Vec::as_slice);
        let own = listed.iter().filter(|session| session["agent"] == name);
        Ok(own
            .filter(|session| session["container"].is_object())
            .count()
            == count)
    })
}

fn entered(node: &Node, container: &Container, expected: i32, what: &str) -> Result<()> {
    let ended = node.exec(container, &words(&probe()?))?;
    ensure!(
        ended.exit_code == expected,
        "executed into {what}: {}, expected {expected}: {}",
        ended.exit_code,
        String::from_utf8_lossy(&ended.stderr)
    );
    Ok(())
}

fn kinds() -> Result<()> {
    let name = "by-kind";
    let by = format!(
        "podLabels: {{app: kinds}}, podAnnotations: {{team: finance}}, container: main, image: \"{IMAGE}\""
    );
    daemon(&[&selecting(name, &by)])?;
    let node = Node::get()?;
    let probe = probe()?;
    let labels = [("app", "kinds")];
    let spec = |annotations, privileged| Spec {
        annotations,
        privileged,
        ..of(&labels)
    };
    let team = [("team", "finance")];
    let pod = node.pod(spec(&team, false))?;
    // As the kubelet does: the init container ends before the others begin.
    let init = node.run(&pod, "init", &words(&probe))?;
    expect(
        &node,
        &init,
        ALLOWED,
        "an init container that is not selected",
    )?;
    let side = node.run(&pod, "side", &STAYS)?;
    let main = node.run(&pod, "main", &STAYS)?;
    sessions(name, 1)?;
    let (agents, events) = (begun(name)?, Events::from_now()?);
    entered(&node, &main, DENIED, "an agent's container")?;
    events.left(&agents)?;
    entered(&node, &side, ALLOWED, "a sidecar")?;
    let privileged = node.pod(spec(&team, true))?;
    let again = node.run(&privileged, "main", &STAYS)?;
    sessions(name, 2)?;
    entered(&node, &again, DENIED, "an agent's privileged container")?;
    let other = node.pod(spec(&[], false))?;
    let unselected = node.run(&other, "main", &words(&probe))?;
    expect(&node, &unselected, ALLOWED, "one without the annotation")?;
    node.stop(&main)?;
    sessions(name, 1)?;
    node.stop(&again)?;
    sessions(name, 0)?;
    for pod in [pod, privileged, other] {
        node.remove(pod)?;
    }
    Ok(())
}

fn network() -> Result<()> {
    let names = Network::set_up()?;
    let agents = [
        ("first", "api.example.test"),
        ("second", "own.data.example.test"),
    ];
    let policies = agents.map(|(agent, allowed)| {
        let by = format!("podLabels: {{app: network}}, container: {agent}");
        selecting(agent, &by).allow(allowed, "8090", "tcp")
    });
    daemon(&[&policies[0], &policies[1]])?;
    let node = Node::get()?;
    let pod = node.pod(Spec {
        network: true,
        ..of(&[("app", "network")])
    })?;
    for ((agent, allowed), address) in agents.into_iter().zip(["198.51.100.1", "198.51.100.9"]) {
        let container = node.run(&pod, agent, &STAYS)?;
        sessions(agent, 1)?;
        let other = agents
            .map(|(_, name)| name)
            .into_iter()
            .find(|it| *it != allowed);
        let lookup = |name: &str| format!("query 8.8.8.8 udp {name} A");
        let connect = format!("connect {address} 8090");
        let steps = [
            connect.clone(),
            lookup(allowed),
            connect,
            lookup(other.unwrap_or_default()),
        ];
        let text = names.client.text()?;
        let client = [&["/usr/bin/python3", "-c", &text], &words(&steps)[..]].concat();
        let ended = node.exec(&container, &client)?;
        let said = String::from_utf8_lossy(&ended.stdout).into_owned();
        let from = "from 8.8.8.8:53 peer 8.8.8.8:53";
        let expected = format!("EPERM\nNOERROR {address} {from}\nok\nREFUSED - {from}\n");
        ensure!(
            said == expected,
            "{agent}: {said}{}, expected {expected}",
            String::from_utf8_lossy(&ended.stderr)
        );
    }
    node.remove(pod)
}

fn paths() -> Result<()> {
    let name = "by-path";
    let policy = selecting(name, "podLabels: {app: paths}")
        .without_files()
        .without_exec()
        .files(
            "allow",
            "read, map",
            &["/usr/**", "/lib/**", "/lib64/**", "/dev/**", "/proc/**"],
        )
        // The host sees the container's root somewhere below this.
        .files(
            "allow",
            "read, write, create",
            &["/run/**", "/var/**", "/tmp/**"],
        )
        .exec("allow", "{programs: [/bin/busybox]}");
    daemon(&[&policy])?;
    let node = Node::get()?;
    let labels = [("app", "paths")];
    let pod = node.pod(of(&labels))?;
    let sh = |script| ["/bin/busybox", "sh", "-c", script];
    for (script, expected) in [
        ("echo a > /tmp/a", 0),
        ("echo a > /etc/a", 1),
        ("/bin/busybox true", 0),
        ("/usr/bin/true", 126),
    ] {
        let container = node.run(&pod, "main", &sh(script))?;
        expect(&node, &container, expected, script)?;
        node.forget(container)?;
    }
    node.remove(pod)
}

fn before() -> Result<()> {
    let name = "by-before";
    let policy = selecting(name, "podLabels: {app: before}");
    // A daemon that looks for no containers.
    daemon(&[])?;
    let node = Node::get()?;
    let labels = [("app", "before")];
    let pod = node.pod(of(&labels))?;
    let first = node.run(&pod, "main", &STAYS)?;
    entered(
        &node,
        &first,
        ALLOWED,
        "a container that no policy selects yet",
    )?;
    let found = daemon(&[&policy])?;
    sessions(name, 1)?;
    let facts = said(&call(&["sessions", "--json"])?);
    ensure!(facts.contains("unknown_history"), "{facts}");
    entered(&node, &first, DENIED, "what ran before")?;
    found.end(libc::SIGKILL)?;
    // The kernel holds it without a daemon.
    entered(
        &node,
        &first,
        DENIED,
        "a container of a daemon that was killed",
    )?;
    Daemon::start()?;
    sessions(name, 1)?;
    let second = node.run(&pod, "other", &words(&probe()?))?;
    expect(&node, &second, DENIED, "the next, of the next daemon")?;
    entered(&node, &first, DENIED, "the first, of the next daemon")?;
    node.remove(pod)
}

/// After how long a daemon counts as away.
pub(super) const AWAY: Duration = Duration::from_secs(12);

fn away() -> Result<()> {
    let name = "by-away";
    let policy = selecting(name, "podLabels: {app: away}");
    let labels = [("app", "away")];
    let found = daemon(&[&policy])?;
    let node = Node::get()?;
    let nobodys = node.pod(Spec {
        namespace: "others",
        ..of(&labels)
    })?;
    let probe = probe()?;
    let first = node.run(&nobodys, "first", &words(&probe))?;
    expect(&node, &first, ALLOWED, "in a pod of nobody's")?;
    found.end(libc::SIGKILL)?;
    thread::sleep(AWAY);
    let next = node.run(&nobodys, "next", &words(&probe))?;
    expect(&node, &next, ALLOWED, "the next there")?;
    node.remove(nobodys)?;
    // It is made, and nothing of it runs.
    let denied = node
        .pod(of(&labels))
        .and_then(|pod| node.run(&pod, "main", &words(&probe)));
    if let Ok(container) = &denied {
        let code = node.ended(container)?.exit_code;
        ensure!(
            code != ALLOWED && code != DENIED,
            "it has run while nobody was there: {code}"
        );
    }
    let options = ["--when-away", "release"];
    let released = Daemon::try_start_with(&options)?.map_err(anyhow::Error::msg)?;
    released.end(libc::SIGKILL)?;
    thread::sleep(AWAY);
    let pod = node.pod(of(&labels))?;
    let container = node.run(&pod, "main", &STAYS)?;
    entered(&node, &container, ALLOWED, "one that was released")?;
    let events = Events::from_now()?;
    Daemon::try_start_with(&options)?.map_err(anyhow::Error::msg)?;
    events.first("that it was released", |line| match line {
        Line::Released => Some(()),
        _ => None,
    })?;
    sessions(name, 1)?;
    entered(&node, &container, DENIED, "one that was adopted")?;
    node.remove(pod)
}
