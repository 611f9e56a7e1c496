//! A real Kubernetes API server, with what the chart gives the daemon there and nothing more.

use anyhow::{Context as _, Result, bail, ensure};
use std::fs;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Where its programs lie: `cargo xtask test` gives them to machines that test against one.
const PROGRAMS: &str = "/with/kubernetes/usr/bin";
/// Where it keeps everything.
const FOLDER: &str = "/run/interlock-tests.api";
/// Where it is.
pub(crate) const SERVER: &str = "https://127.0.0.1:6443";
/// The daemon's account there, as the kubelet would lay it.
pub(crate) const ACCOUNT: &str = "/run/interlock-tests.account";
/// The namespace that the daemon runs in.
const NAMESPACE: &str = "interlock";
/// How long it may take, on an emulated machine.
const PATIENCE: Duration = Duration::from_secs(150);

const CRDS: [&str; 3] = [
    include_str!("../../../deploy/helm/interlock/crds/agentpolicies.json"),
    include_str!("../../../deploy/helm/interlock/crds/agentprofiles.json"),
    include_str!("../../../deploy/helm/interlock/crds/nodereports.json"),
];
const EVERYWHERE: &str =
    include_str!("../../../deploy/helm/interlock/files/daemon-cluster-rules.yaml");
const THERE: &str = include_str!("../../../deploy/helm/interlock/files/daemon-rules.yaml");

/// Whether the machine was given one.
pub(crate) fn unless_there() -> Option<String> {
    let there = Path::new(PROGRAMS).exists();
    (!there).then(|| "this machine was given no Kubernetes API server".to_owned())
}

/// The server, which ends with this.
pub(crate) struct ApiServer {
    storage: Child,
    server: Child,
}

impl ApiServer {
    /// Starts it, and gives the daemon its account.
    pub(crate) fn start() -> Result<Self> {
        let _ = fs::remove_dir_all(FOLDER);
        fs::create_dir_all(FOLDER)?;
        fs::write(
            format!("{FOLDER}/tokens"),
            "test,test,test,system:masters\n",
        )?;
        let key = format!("{FOLDER}/accounts.key");
        let made = run("openssl", &["genrsa", "-out", &key, "2048"], "")?;
        ensure!(Path::new(&key).exists(), "no key: {made}");
        let data = format!("{FOLDER}/data");
        let storage = begin("etcd", &["--data-dir", &data, "--unsafe-no-fsync"])?;
        let server = begin(
            "kube-apiserver",
            &[
                "--etcd-servers=http://127.0.0.1:2379",
                "--secure-port=6443",
                "--bind-address=127.0.0.1",
                // This machine has no address that others could reach.
                "--advertise-address=127.0.0.1",
                "--endpoint-reconciler-type=none",
                &format!("--cert-dir={FOLDER}/certs"),
                "--service-cluster-ip-range=10.96.0.0/16",
                "--authorization-mode=RBAC",
                &format!("--token-auth-file={FOLDER}/tokens"),
                &format!("--service-account-key-file={key}"),
                &format!("--service-account-signing-key-file={key}"),
                "--service-account-issuer=https://kubernetes.test",
                // What makes accounts' tokens is not here.
                "--disable-admission-plugins=ServiceAccount",
            ],
        )?;
        let api = Self { storage, server };
        wait("it answers", || {
            Ok(api.call(&["get", "--raw", "/readyz"], "").is_ok())
        })?;
        api.install()?;
        Ok(api)
    }

    /// What the chart installs, as far as the API is concerned.
    fn install(&self) -> Result<()> {
        for crd in CRDS {
            self.apply(crd)?;
        }
        self.call(&["create", "namespace", NAMESPACE], "")?;
        self.call(&["create", "serviceaccount", "daemon", "-n", NAMESPACE], "")?;
        for (kind, rules) in [("ClusterRole", EVERYWHERE), ("Role", THERE)] {
            self.apply(&format!(
                "apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata: {{name: daemon, namespace: {NAMESPACE}}}\nrules:\n{rules}"
            ))?;
            self.apply(&format!(
                "apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}Binding\nmetadata: {{name: daemon, namespace: {NAMESPACE}}}\n\
                 roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: {kind}, name: daemon}}\n\
                 subjects: [{{kind: ServiceAccount, name: daemon, namespace: {NAMESPACE}}}]\n"
            ))?;
        }
        let request = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"expirationSeconds":7200}}"#;
        let path = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/daemon/token");
        let made = self.call(&["create", "--raw", &path, "-f", "-"], request)?;
        let made: serde_json::Value = serde_json::from_str(&made).context("a TokenRequest")?;
        let token = made["status"]["token"].as_str().context("a token")?;
        fs::create_dir_all(ACCOUNT)?;
        fs::write(format!("{ACCOUNT}/token"), token)?;
        fs::write(format!("{ACCOUNT}/namespace"), NAMESPACE)?;
        fs::copy(
            format!("{FOLDER}/certs/apiserver.crt"),
            format!("{ACCOUNT}/ca.crt"),
        )?;
        Ok(())
    }

    /// `kubectl`, as whoever may do anything.
    pub(crate) fn call(&self, words: &[&str], input: &str) -> Result<String> {
        let server = [
            "--server",
            SERVER,
            "--insecure-skip-tls-verify",
            "--token",
            "test",
        ];
        let cache = format!("--cache-dir={FOLDER}/cache");
        let words: Vec<&str> = server
            .into_iter()
            .chain([cache.as_str()])
            .chain(words.iter().copied())
            .collect();
        run("kubectl", &words, input)
    }

    /// `kubectl apply`.
    pub(crate) fn apply(&self, text: &str) -> Result<()> {
        self.call(&["apply", "--validate=false", "-f", "-"], text)?;
        Ok(())
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        for child in [&mut self.server, &mut self.storage] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits until something is so, or the server has said why not.
pub(crate) fn wait(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so()? {
        if Instant::now() > deadline {
            let log = fs::read_to_string(format!("{FOLDER}/kube-apiserver.log"));
            let log = log.unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(20).collect();
            bail!("not within {PATIENCE:?}: {what}\n{}", last.join("\n"));
        }
        thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

fn begin(name: &str, words: &[&str]) -> Result<Child> {
    let log = fs::File::create(format!("{FOLDER}/{name}.log"))?;
    let mut command = Command::new(format!("{PROGRAMS}/{name}"));
    command.args(words).stdin(Stdio::null());
    command
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0);
    command.spawn().with_context(|| name.to_owned())
}

fn run(program: &str, words: &[&str], input: &str) -> Result<String> {
    let mut child = Command::new(format!("{PROGRAMS}/{program}"))
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| program.to_owned())?;
    child
        .stdin
        .take()
        .context("its input")?
        .write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "{program} {words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}
