//! The words of `interlock daemon`.

use crate::containers::Runtime;
use crate::control::SOCKET;
use crate::sessions::records::FOLDER;
use agent_common::recognise::WhenAway;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args};
use std::net::SocketAddr;
use std::path::PathBuf;

/// The authorities that a host knows, where it is Debian's or like it.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Options of `daemon`.
#[derive(Debug, Args)]
// What shows figures: one of them, or both.
#[command(group = ArgGroup::new("figures").args(["metrics", "otlp"]).multiple(true))]
pub struct Daemon {
    /// The socket to listen on
    #[arg(long, default_value = SOCKET)]
    pub socket: PathBuf,
    /// Policies to load, and to follow when they change; may be repeated. Of a folder, the files that
    /// end in .yaml [default: /etc/interlock/policies]
    #[arg(long, value_name = "FILE|DIR")]
    pub policies: Vec<PathBuf>,
    /// Where to keep what the next daemon needs to know; must not outlive the boot
    #[arg(long, value_name = "DIR", default_value = FOLDER)]
    pub records: PathBuf,
    /// Where sessions can read their own denials; must not outlive the boot
    #[arg(long, value_name = "DIR", default_value = crate::sessions::denials::FOLDER)]
    pub denials: PathBuf,
    /// Where to keep the newest events, at most 16 MiB
    #[arg(long, value_name = "DIR", default_value = crate::events::journal::FOLDER)]
    pub events: PathBuf,
    /// How to reach the controller.
    #[command(flatten)]
    pub central: Central,
    /// Where to keep the tamper-evident record; its key and how far it went lie beside the folder
    #[arg(long, value_name = "DIR", default_value = crate::evidence::FOLDER)]
    pub evidence: PathBuf,
    /// MiB of it that are kept; the oldest go
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(8..))]
    pub evidence_limit: u32,
    /// How long it is kept, such as 90d [default: as long as there is room]
    #[arg(long, value_name = "TIME", value_parser = crate::show::events::parse_span)]
    pub evidence_age: Option<std::time::Duration>,
    /// What this node is called in the record [default: as its certificate for the controller, or the host]
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// The file that names the servers by which names are looked up for sessions, followed when it changes. With
    /// --enter-host it is the container's, if that has one
    #[arg(long, value_name = "FILE", default_value = "/etc/resolv.conf")]
    pub resolv_conf: PathBuf,
    /// How the Kubernetes API is asked.
    #[command(flatten)]
    pub kubernetes: Kubernetes,
    /// How containers are recognised.
    #[command(flatten)]
    pub containers: Containers,
    /// Who is told of questions.
    #[command(flatten)]
    pub bell: Bell,
    /// Which collector hears of events and metrics.
    #[command(flatten)]
    pub otlp: Otlp,
    /// Enter the mounts and cgroups of process 1 first: for a container that shares the host's processes,
    /// whose paths policies are about. All folders named here are then the host's
    #[arg(long)]
    pub enter_host: bool,
    /// Where to serve /metrics, /livez and /readyz over HTTP, such as 127.0.0.1:9464 [default: nowhere]
    #[arg(long, value_name = "ADDRESS:PORT", env = "INTERLOCK_METRICS")]
    pub metrics: Option<SocketAddr>,
    /// How it logs.
    #[command(flatten)]
    pub log: agent_log::Options,
    /// Have the kernel measure how long its programs run, for the metrics; it then measures every BPF program
    /// of the host, which costs each run two looks at the clock
    #[arg(long, requires = "figures")]
    pub hook_times: bool,
}

/// How a node asks the Kubernetes API.
#[derive(Debug, Args)]
pub struct Kubernetes {
    /// Follow AgentPolicies of the Kubernetes API, and what it tells of this node's pods, as the service account
    /// whose token, ca.crt and namespace lie there [default: it is asked nothing]
    #[arg(long, value_name = "DIR")]
    pub kubernetes: Option<PathBuf>,
    /// Where that API is [default: as $KUBERNETES_SERVICE_HOST and $KUBERNETES_SERVICE_PORT say]
    #[arg(long, value_name = "URL", requires = "kubernetes")]
    pub kubernetes_server: Option<String>,
    /// What this node is called there [default: as the host]
    #[arg(long, value_name = "NAME", env = "NODE_NAME")]
    pub kubernetes_node: Option<String>,
    /// Where to keep the policies of it; must outlive the boot
    #[arg(long, value_name = "DIR", default_value = crate::kubernetes::FOLDER)]
    pub kubernetes_folder: PathBuf,
}

/// How a node recognises containers, where policies select them.
#[derive(Debug, Args)]
pub struct Containers {
    /// The socket of a container runtime: as it is, or after `cri:`, of one that runs pods; after `docker:` of
    /// Docker or podman; may be repeated [default: for pods those of containerd, CRI-O and k3s that are there,
    /// for Docker and podman /run/docker.sock and /run/podman/podman.sock]
    #[arg(long, value_name = "[cri:|docker:]SOCKET")]
    pub runtime: Vec<Runtime>,
    /// What becomes of a new container, of such as policies select, while no daemon is there to ask whose it is and
    /// the kernel knows nothing of its pod. Of one that begins in a pod that a daemon has seen, the policies for the
    /// pod's namespace say it (`whenAway`); where there are none it is released
    #[arg(long, value_name = "WHAT", value_parser = when_away(), default_value = WhenAway::Deny.word())]
    pub when_away: WhenAway,
}

fn when_away() -> impl TypedValueParser<Value = WhenAway> {
    let words = [
        PossibleValue::new(WhenAway::Deny.word()).help("Its programs are not executed"),
        PossibleValue::new(WhenAway::Release.word())
            .help("They are, in no session; a daemon that comes later adopts them"),
    ];
    PossibleValuesParser::new(words).try_map(|text| {
        let found = WhenAway::WORDS.into_iter().find(|(word, _)| *word == text);
        found
            .map(|(_, what)| what)
            .ok_or("expected deny or release")
    })
}

/// Whom a node tells of questions to people.
#[derive(Debug, Args)]
pub struct Bell {
    /// Where to post each question to people and each answer, as JSON [default: nowhere]
    #[arg(long, value_name = "URL", requires = "bell_key")]
    pub bell: Option<String>,
    /// The file with the key that they are signed with: HMAC-SHA256 over the time, a dot and the body
    #[arg(long, value_name = "FILE", requires = "bell")]
    pub bell_key: Option<PathBuf>,
    /// The authorities that the certificate there may be of
    #[arg(long, value_name = "FILE", default_value = AUTHORITIES)]
    pub bell_ca: PathBuf,
}

/// Which collector hears of events and metrics.
#[derive(Debug, Args)]
pub struct Otlp {
    /// Where to send events and metrics by OTLP over gRPC, such as http://127.0.0.1:4317 for a collector on this
    /// node, or https://otel.example.com:4317 [default: nowhere]
    #[arg(long, value_name = "URL", env = "INTERLOCK_OTLP")]
    pub otlp: Option<String>,
    /// The authorities that the certificate there may be of
    #[arg(long, value_name = "FILE", default_value = AUTHORITIES)]
    pub otlp_ca: PathBuf,
    /// A file of headers for it, one `NAME: VALUE` a line, such as a token: with https:// alone. It may be replaced at
    /// any time
    #[arg(long, value_name = "FILE", requires = "otlp")]
    pub otlp_headers: Option<PathBuf>,
}

/// How a node reaches the controller.
#[derive(Debug, Args)]
pub struct Central {
    /// The controller that sees and steers this node [default: none]
    #[arg(long, value_name = "HOST:PORT", env = "INTERLOCK_CONTROLLER")]
    pub controller: Option<String>,
    /// Where ca.pem, node.pem and node.key lie; they may be replaced at any time
    #[arg(long, value_name = "DIR", default_value = crate::central::CERTS)]
    pub certs: PathBuf,
    /// Where to keep what the controller said; must outlive the boot
    #[arg(long, value_name = "DIR", default_value = crate::central::FOLDER)]
    pub central: PathBuf,
    /// What operators select this node by; may be repeated
    #[arg(long, value_name = "NAME=VALUE", requires = "controller", value_parser = pair)]
    pub label: Vec<(String, String)>,
    /// Start no session without a grant of the controller
    #[arg(long, requires = "controller")]
    pub require_grant: bool,
}

pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let pair = pair.ok_or_else(|| "expected NAME=VALUE".to_owned())?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}

#[cfg(test)]
mod tests {
    use crate::cli::Cli;
    use clap::Parser as _;

    #[test]
    fn run_times_are_measured_for_whoever_shows_them() {
        for (shown, is_taken) in [
            (&[][..], false),
            (&["--metrics", "127.0.0.1:9464"], true),
            (&["--otlp", "http://127.0.0.1:4317"], true),
            (
                &[
                    "--metrics",
                    "127.0.0.1:9464",
                    "--otlp",
                    "http://127.0.0.1:4317",
                ],
                true,
            ),
        ] {
            let words = ["interlock", "daemon", "--hook-times"].iter().chain(shown);
            assert_eq!(Cli::try_parse_from(words).is_ok(), is_taken, "{shown:?}");
        }
    }
}
