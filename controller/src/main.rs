//! The binary `interlock-controller`.

use agent_proto::PORT;
use agent_proto::files::Files;
use clap::{Args, CommandFactory, Parser, Subcommand};
use interlock_controller::certs::{self, Wanted};
use interlock_controller::door::Limits;
use interlock_controller::retain::Keep;
use interlock_controller::room::RESERVED;
use interlock_controller::serve::{self, Controller, Settings};
use interlock_controller::store::Store as _;
use interlock_controller::store::sqlite::Sqlite;
use interlock_controller::token::Provider;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Sees and steers all nodes of Interlock.
#[derive(Debug, Parser)]
#[command(name = "interlock-controller", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve nodes and operators
    Serve(Serve),
    /// Write a copy of the database, while it is in use
    ///
    /// The key in `signing.key` is not in it: keep that elsewhere, once.
    Backup {
        /// Where the database lies
        #[arg(
            long,
            value_name = "DIR",
            default_value = "/var/lib/interlock-controller"
        )]
        data: PathBuf,
        /// The copy, which must not exist yet
        to: PathBuf,
    },
    /// Make certificates for a demonstration or a test
    Certs(Certs),
    /// Print what completes this command's words in a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages, for whoever packages this
    #[command(hide = true)]
    Manual {
        /// Where to
        folder: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Serve {
    /// Where to listen
    #[arg(long, default_value_t = SocketAddr::from(([0, 0, 0, 0], PORT)))]
    listen: SocketAddr,
    /// Where the database and the signing key lie
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/var/lib/interlock-controller"
    )]
    data: PathBuf,
    /// Where ca.pem, controller.pem and controller.key lie; they may be replaced at any time
    #[arg(
        long,
        value_name = "DIR",
        env = "INTERLOCK_CERTS",
        default_value = "/etc/interlock/certs"
    )]
    certs: PathBuf,
    /// Seconds after which a node that hears nothing ends its sessions; 0: it never does
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    lease: u64,
    /// An OpenID provider whose tokens are believed of operators: what it calls itself
    #[arg(long, value_name = "URL", requires_all = ["oidc_audience", "oidc_keys"])]
    oidc_issuer: Option<String>,
    /// For whom its tokens must be
    #[arg(long, value_name = "NAME", requires = "oidc_issuer")]
    oidc_audience: Option<String>,
    /// Its keys, a JWK set; the file may be replaced at any time
    #[arg(long, value_name = "FILE", requires = "oidc_issuer")]
    oidc_keys: Option<PathBuf>,
    /// The claim that names roles, or a path to it, such as realm_access.roles
    #[arg(long, value_name = "CLAIM", default_value = "roles")]
    oidc_roles: String,
    /// The claim that names the operator
    #[arg(long, value_name = "CLAIM", default_value = "sub")]
    oidc_name: String,
    /// Days after which records may be removed; never, unless said
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..))]
    records_age: Option<u32>,
    /// MiB of the database beyond which the oldest records are removed
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(16..))]
    records_limit: Option<u32>,
    /// MiB of the disk that records leave free, so that orders can still be given
    #[arg(long, value_name = "MIB", default_value_t = RESERVED >> 20)]
    reserve: u64,
    /// Connections together
    #[arg(long, default_value_t = Limits::default().connections)]
    connections: usize,
    /// Records a second that one connection may bring; who has more waits
    #[arg(long, default_value_t = Limits::default().records)]
    records: u32,
    /// How it logs.
    #[command(flatten)]
    log: agent_log::Options,
}

#[derive(Debug, Args)]
struct Certs {
    /// Where to write them
    folder: PathBuf,
    /// The trust domain
    #[arg(long, default_value = "interlock.test")]
    trust: String,
    /// A name or address of the controller; may be repeated
    #[arg(long, default_values_t = ["localhost".to_owned(), "127.0.0.1".to_owned()])]
    host: Vec<String>,
    /// A node; may be repeated
    #[arg(long, default_values_t = ["node-1".to_owned()])]
    node: Vec<String>,
    /// An operator, with all roles or those that are named; may be repeated
    #[arg(long, value_name = "NAME[=ROLE+ROLE]", default_values_t = ["admin".to_owned()])]
    operator: Vec<String>,
    /// How long they hold
    #[arg(long, default_value_t = 30)]
    days: u16,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(options) => run(options),
        Command::Backup { data, to } => back_up(&data, &to),
        Command::Certs(options) => make(options),
        Command::Completions { shell } => {
            let (mut words, name) = (Vec::new(), "interlock-controller");
            clap_complete::generate(shell, &mut Cli::command(), name, &mut words);
            std::io::stdout()
                .write_all(&words)
                .map_err(anyhow::Error::from)
        }
        Command::Manual { folder } => {
            clap_mangen::generate_to(Cli::command(), folder).map_err(anyhow::Error::from)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("interlock-controller: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Serve) -> anyhow::Result<()> {
    agent_log::start(options.log);
    let provider = options
        .oidc_issuer
        .zip(options.oidc_audience)
        .zip(options.oidc_keys)
        .map(|((issuer, audience), keys)| Provider {
            issuer,
            audience,
            keys,
            roles: options.oidc_roles,
            name: options.oidc_name,
        });
    let settings = Settings {
        listen: options.listen,
        data: options.data,
        files: Files::in_folder(&options.certs, "controller"),
        lease: Duration::from_secs(options.lease),
        limits: Limits {
            connections: options.connections,
            records: options.records,
            ..Limits::default()
        },
        tokens: provider,
        keep: Keep {
            age: options
                .records_age
                .map(|days| Duration::from_secs(u64::from(days) * 24 * 3600)),
            bytes: options.records_limit.map(|mib| u64::from(mib) << 20),
            ..Keep::default()
        },
        reserved: options.reserve.saturating_mul(1 << 20),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let controller = Controller::open(&settings).await?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tracing::info!(address = %controller.address()?, "listening");
        let end = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        // Streams of nodes last for ever: they are not waited for.
        let (ending, ended) = tokio::sync::oneshot::channel::<()>();
        let end = async move {
            end.await;
            let _ = ending.send(());
        };
        tokio::select! {
            served = controller.serve(end) => served?,
            () = async {
                let _ = ended.await;
                tokio::time::sleep(Duration::from_secs(2)).await;
            } => {}
        }
        Ok(())
    })
}

fn back_up(data: &std::path::Path, to: &std::path::Path) -> anyhow::Result<()> {
    let file = serve::database(data);
    anyhow::ensure!(file.exists(), "{}: found no database", file.display());
    anyhow::ensure!(!to.exists(), "{} exists", to.display());
    Sqlite::open(&file)?.back_up(to)?;
    println!("{}", to.display());
    Ok(())
}

fn make(options: Certs) -> anyhow::Result<()> {
    let wanted = Wanted {
        trust: options.trust,
        hosts: options.host,
        nodes: options.node,
        operators: options.operator,
        days: i64::from(options.days),
    };
    certs::make(&options.folder, &wanted)?;
    println!("{}", options.folder.display());
    Ok(())
}
