//! Policies and pods as a real Kubernetes API server has them.

use super::containers::{ALLOWED, DENIED, STAYS, expect, of, probe, sessions, unless, words};
use crate::harness::api_server::{self, ACCOUNT, ApiServer, SERVER, wait};
use crate::harness::pods::{Node, Pod, Spec};
use crate::harness::product::{self, Daemon, call, said};
use crate::harness::{Test, network};
use anyhow::{Context as _, Result, ensure};
use std::fs;

/// What the node is called there.
const NODE: &str = "node-a";
/// Where the daemon keeps policies of the API.
const KEPT: &str = "/run/interlock-tests.kubernetes";
/// The namespace of the agents' pods.
const NAMESPACE: &str = "agents";
/// What another node says, which has no BPF LSM.
const OTHER: &str = r#"
apiVersion: interlock.dev/v1alpha1
kind: NodeReport
metadata: {name: node-b}
spec:
  heard: "TIME"
  enforcement: degraded
  policies: [{name: by-account, refused: 1, reason: no BPF LSM}]
"#;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "long.containers.kubernetes",
            "policies of the Kubernetes API are in force, their status counts the nodes, pods are selected by service account and by labels that change, and all of it outlives the API",
            policies,
        )
        .unless(|| unless().or_else(api_server::unless_there))
        .patience(1_800),
    ]
}

fn policies() -> Result<()> {
    network::set_up()?;
    product::stop()?;
    let _ = fs::remove_dir_all(KEPT);
    let api = ApiServer::start()?;
    api.apply(&format!(
        "apiVersion: v1\nkind: Node\nmetadata: {{name: {NODE}}}\n"
    ))?;
    api.call(&["create", "namespace", NAMESPACE], "")?;
    let daemon = start()?;
    let node = Node::get()?;
    status(&api)?;
    by_account(&api, &node)?;
    let known = made(&api, &node, "known", ("robot", ""))?;
    let agent = by_label(&api, &node)?;
    drop(api);
    // What was told holds on.
    let container = node.run(&known, "main", &words(&probe()?))?;
    expect(&node, &container, DENIED, "one that was told of")?;
    let unknown = node.pod(of(&[]))?;
    away(&node, &unknown)?;
    // The next daemon finds the policies where the last one left them.
    daemon.end(libc::SIGTERM)?;
    start()?;
    in_force("by-account", true)?;
    sessions("by-label", 1)?;
    away(&node, &unknown)?;
    for pod in [agent, known, unknown] {
        node.remove(pod)?;
    }
    Ok(())
}

fn start() -> Result<Daemon> {
    let options = [
        "--kubernetes",
        ACCOUNT,
        "--kubernetes-server",
        SERVER,
        "--kubernetes-node",
        NODE,
        "--kubernetes-folder",
        KEPT,
    ];
    Daemon::try_start_with(&options)?.map_err(anyhow::Error::msg)
}

/// A policy that selects containers of pods.
fn policy(name: &str, by: &str, more: &str) -> String {
    format!(
        "apiVersion: interlock.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {{name: {name}}}\nspec:\n  \
         owner: {{name: Ada, contact: ada@example.com}}\n  \
         session: [{{kubernetes: {{namespace: {NAMESPACE}, {by}}}}}]\n  \
         exec: {{allow: [{{programs: ['/**']}}]}}\n  \
         files: {{allow: [{{access: [read, map], paths: ['/**']}}]}}\n{more}"
    )
}

/// Whether the daemon has a policy.
fn in_force(name: &str, expected: bool) -> Result<()> {
    let waited = wait(&format!("{name} is in force: {expected}"), || {
        let status = call(&["status", "--json"])?;
        let status: serde_json::Value = serde_json::from_slice(&status.stdout)?;
        let policies = status["policies"].as_array().context("policies")?;
        Ok(policies.iter().any(|it| it["agent"] == name) == expected)
    });
    waited.with_context(|| said(&call(&["status"]).expect("a status")))
}

/// Waits until the status of a policy is this.
fn summary(
    api: &ApiServer,
    name: &str,
    is_right: impl Fn(&str) -> bool,
    expected: &str,
) -> Result<()> {
    let mut last = String::new();
    let get = [
        "get",
        "agentpolicy",
        name,
        "-o",
        "jsonpath={.status.summary}",
    ];
    let waited = wait(expected, || {
        last = api.call(&get, "")?;
        Ok(is_right(&last))
    });
    waited.with_context(|| {
        format!(
            "found {last:?}; {}",
            said(&call(&["status"]).expect("a status"))
        )
    })
}

/// What the nodes make of a policy is counted, whatever they make of it.
fn status(api: &ApiServer) -> Result<()> {
    let name = "by-account";
    let by = "serviceAccount: robot";
    let is = |expected: &'static str| move |found: &str| found == expected;
    api.apply(&policy(name, by, ""))?;
    in_force(name, true)?;
    let here = "in force on 1 of 1";
    summary(api, name, is(here), here)?;
    let now = jiff::Timestamp::now().to_string();
    api.apply(&OTHER.replace("TIME", &now))?;
    let both = "in force on 1 of 2, refused on 1: no BPF LSM";
    summary(api, name, is(both), both)?;
    // A word that is misspelled reaches the parser, and the version before stays in force.
    api.apply(&policy(name, by, "  fles: {deny: []}\n"))?;
    let refused = |found: &str| {
        found.starts_with("in force on 0 of 2, refused on 1:") && found.contains("fles")
    };
    summary(api, name, refused, "the misspelled word is refused")?;
    in_force(name, true)?;
    api.apply(&policy(name, by, ""))?;
    summary(api, name, is(here_of_two()), here_of_two())?;
    let shown = api.call(&["get", "agentpolicies"], "")?;
    ensure!(
        shown.contains("IN FORCE") && shown.contains(here_of_two()),
        "{shown}"
    );
    println!("{shown}");
    // One that goes is gone here, too.
    api.apply(&policy("goes", "podLabels: {app: goes}", ""))?;
    in_force("goes", true)?;
    api.call(&["delete", "agentpolicy", "goes"], "")?;
    in_force("goes", false)
}

fn here_of_two() -> &'static str {
    "in force on 1 of 2"
}

/// A pod of the API, and what the kubelet would make of it.
fn made(api: &ApiServer, node: &Node, name: &str, (account, labels): (&str, &str)) -> Result<Pod> {
    api.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {NAMESPACE}, labels: {{{labels}}}}}\n\
         spec: {{nodeName: {NODE}, serviceAccountName: {account}, containers: [{{name: main, image: demo}}]}}\n"
    ))?;
    let get = [
        "get",
        "pod",
        name,
        "-n",
        NAMESPACE,
        "-o",
        "jsonpath={.metadata.uid}",
    ];
    let uid = api.call(&get, "")?;
    node.pod(Spec {
        identity: Some((name, &uid)),
        ..of(&[])
    })
}

/// No runtime tells the service account of a pod: the API does, while the container's first program waits.
fn by_account(api: &ApiServer, node: &Node) -> Result<()> {
    for (name, account, expected) in [("one", "robot", DENIED), ("two", "person", ALLOWED)] {
        let pod = made(api, node, name, (account, ""))?;
        let container = node.run(&pod, "main", &words(&probe()?))?;
        expect(node, &container, expected, account)?;
        node.remove(pod)?;
    }
    Ok(())
}

/// Whose labels come to be selected is adopted, and does not leave its session when they change again.
fn by_label(api: &ApiServer, node: &Node) -> Result<Pod> {
    let name = "by-label";
    api.apply(&policy(name, "podLabels: {role: agent}", ""))?;
    in_force(name, true)?;
    let pod = made(api, node, "three", ("person", "role: none"))?;
    let container = node.run(&pod, "main", &STAYS)?;
    let entered = |expected: i32| {
        let ended = node.exec(&container, &words(&probe()?))?;
        ensure!(
            ended.exit_code == expected,
            "{}, expected {expected}",
            ended.exit_code
        );
        Ok(())
    };
    entered(ALLOWED)?;
    let label = |value: &str| {
        let label = format!("role={value}");
        api.call(
            &[
                "label",
                "--overwrite",
                "pod",
                "three",
                "-n",
                NAMESPACE,
                &label,
            ],
            "",
        )
    };
    label("agent")?;
    sessions(name, 1)?;
    entered(DENIED)?;
    label("none")?;
    // Long enough for the daemon to have heard of it.
    std::thread::sleep(std::time::Duration::from_secs(10));
    sessions(name, 1)?;
    entered(DENIED)?;
    Ok(pod)
}

/// While the API does not tell, a container that hangs on what it tells does not begin; another one does.
fn away(node: &Node, unknown: &Pod) -> Result<()> {
    let begun = node.run(unknown, "main", &words(&probe()?));
    if let Ok(container) = begun {
        let code = node.ended(&container)?.exit_code;
        ensure!(![ALLOWED, DENIED].contains(&code), "it has run: {code}");
        node.forget(container)?;
    }
    let elsewhere = node.pod(Spec {
        namespace: "others",
        ..Spec::default()
    })?;
    let container = node.run(&elsewhere, "main", &words(&probe()?))?;
    expect(node, &container, ALLOWED, "one of another namespace")?;
    node.remove(elsewhere)
}
