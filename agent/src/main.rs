//! The binary `interlock`: reads the command line and calls what it names.

use agent_proto::files::Files;
use clap::{CommandFactory, Parser};
use interlock_agent::cli::{Cli, Command, Evidence};
use interlock_agent::daemon::{self, canary};
use interlock_agent::run::{self, Ended, signals};
use interlock_agent::{
    central, containers, ctl, doctor, evidence, health,
    holds::{bell, deputy},
    kubernetes, library, names, otlp, policy_cli, report, show, uninstall,
};
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Daemon(options) => {
            // Standard output belongs to the events.
            agent_log::start(options.log);
            let options = *options;
            let settings = daemon::Settings {
                socket: options.socket,
                policies: match options.policies {
                    none if none.is_empty() => vec![library::FOLDER.into()],
                    policies => policies,
                },
                records: options.records,
                denials: options.denials,
                events: options.events,
                kubernetes: kubernetes_settings(options.kubernetes),
                central: central_settings(options.central),
                evidence: evidence::Keeping {
                    folder: options.evidence,
                    node: options.node,
                    limit: u64::from(options.evidence_limit) << 20,
                    age: options.evidence_age,
                },
                names: names::Settings {
                    servers: options.resolv_conf,
                    ..names::Settings::default()
                },
                containers: containers::Settings {
                    runtimes: options.containers.runtime,
                    when_away: options.containers.when_away,
                },
                bell: bell_settings(options.bell),
                otlp: otlp_settings(options.otlp),
                enter_host: options.enter_host,
                health: health::Settings {
                    address: options.metrics,
                    hook_times: options.hook_times,
                },
            };
            done(daemon::run(settings))
        }
        Command::Run(options) => start(options),
        Command::Status(options) => match report::status(&options.socket, options.json) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => fail(error, 1),
        },
        Command::Sessions(options) => done(report::sessions(&options.socket, options.json)),
        Command::Ps(options) => done(show::ps::run(&options)),
        Command::Conns(options) => done(show::conns::run(&options)),
        Command::Events(options) => done(show::events::run(&options)),
        Command::Why(options) => match show::why::run(&options) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => fail(error, 1),
        },
        Command::Holds(options) => done(show::holds::run(&options)),
        Command::Approve(options) => done(show::holds::approve(&options)),
        Command::Deny(options) => done(show::holds::deny(&options)),
        Command::Revoke(options) => match show::revoke::run(options) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => fail(error, 1),
        },
        Command::Doctor { json } => doctor::run(json),
        Command::Policy(verb) => match policy_cli::run(&verb) {
            Ok(code) => code,
            Err(error) => fail(error, 2),
        },
        Command::Ctl(options) => match ctl::run(&options) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => fail(error, 1),
        },
        Command::Evidence(verb) => read_evidence(&verb),
        Command::Uninstall(options) => done(uninstall::run(&options.socket)),
        Command::Completions { shell } => {
            let mut words = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "interlock", &mut words);
            done(std::io::stdout().write_all(&words))
        }
        Command::Manual { folder } => done(clap_mangen::generate_to(Cli::command(), folder)),
        Command::Canary => {
            canary::attempt();
            ExitCode::SUCCESS
        }
        Command::Deputy(options) => done(deputy::serve(&options.socket, &options.mark)),
    }
}

fn bell_settings(options: interlock_agent::cli::Bell) -> Option<bell::Settings> {
    Some(bell::Settings {
        url: options.bell?,
        key: options.bell_key?,
        authorities: options.bell_ca,
    })
}

fn kubernetes_settings(options: interlock_agent::cli::Kubernetes) -> Option<kubernetes::Settings> {
    Some(kubernetes::Settings {
        account: options.kubernetes?,
        server: options.kubernetes_server.unwrap_or_else(kubernetes::server),
        node: options.kubernetes_node.unwrap_or_else(kubernetes::node),
        folder: options.kubernetes_folder,
    })
}

fn otlp_settings(options: interlock_agent::cli::Otlp) -> Option<otlp::Settings> {
    Some(otlp::Settings {
        url: options.otlp?,
        finder: names::Finder::Host,
        authorities: options.otlp_ca,
        headers: options.otlp_headers,
        bounds: otlp::Bounds::default(),
    })
}

fn central_settings(options: interlock_agent::cli::Central) -> Option<central::Settings> {
    Some(central::Settings {
        address: options.controller?,
        finder: names::Finder::Host,
        files: Files::in_folder(&options.certs, "node"),
        folder: options.central,
        labels: options.label.into_iter().collect(),
        require_grant: options.require_grant,
        haste: 1,
    })
}

fn start(options: interlock_agent::cli::Run) -> ExitCode {
    let settings = run::Settings {
        socket: options.socket,
        policy: options.policy,
        profiles: options.profiles,
        agent: options.agent,
        user: options.user,
        task: options.task,
        grant: options.grant,
        command: options.command,
    };
    match run::run(&settings) {
        Ok(Ended::Code(code)) => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
        Ok(Ended::Signal(signal)) => {
            signals::end_by(signal);
            ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX))
        }
        Err(error) => {
            let code = error.exit_code();
            fail(error, code)
        }
    }
}

fn read_evidence(verb: &Evidence) -> ExitCode {
    let read = match verb {
        Evidence::Verify(options) => evidence::verify::run(options),
        Evidence::Export(options) => evidence::export::run(options).map(|()| true),
        Evidence::Show(options) => evidence::show::run(options),
    };
    match read {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => fail(error, 2),
    }
}

fn done<E>(outcome: Result<(), E>) -> ExitCode
where
    E: std::error::Error + Send + Sync + 'static,
{
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error, 1),
    }
}

/// Prints an error with all that caused it, once.
fn fail<E>(error: E, code: u8) -> ExitCode
where
    E: std::error::Error + Send + Sync + 'static,
{
    eprintln!("interlock: {:#}", anyhow::Error::from(error));
    ExitCode::from(code)
}
