//! `cargo xtask deploy`: whether what lies in deploy/ is what systemd, Helm, Kubernetes and Prometheus take.

mod tools;
mod units;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;

use crate::{process, workspace};
use tools::Tools;

/// What is done with it.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum DeployVerb {
    /// Checks the units, lints and renders the chart, and holds what comes out against the schemas of Kubernetes
    Check,
}

/// The versions of Kubernetes whose schemas rendered manifests must fit: the oldest that the chart takes, one
/// between, the newest that the schemas are to be had of.
const VERSIONS: [&str; 3] = ["1.30", "1.34", "1.37"];

/// Values to render with, each a name and what is set.
const RENDERED: [(&str, &[&str]); 3] = [
    ("default", &[]),
    (
        "everything",
        &[
            "controller.enabled=true",
            "podMonitor.enabled=true",
            "prometheusRule.enabled=true",
            "dashboard.enabled=true",
            "daemon.policies.demo\\.yaml=apiVersion: interlock.dev/v1alpha1",
            "daemon.controller.requireGrant=true",
            "daemon.metrics.hookTimes=true",
            "daemon.otlp.endpoint=https://otel.example.com:4317",
            "daemon.otlp.caSecret=collector",
            "daemon.otlp.headersSecret=token",
            "daemon.seLinuxOptions.type=spc_t",
            "daemon.podLabels.team=a",
            "daemon.podAnnotations.note=b",
            "daemon.extraArguments[0]=--evidence-limit=1024",
            "image.digest=sha256:0000000000000000000000000000000000000000000000000000000000000000",
            "image.pullSecrets[0].name=registry",
            "networkPolicy.from[0].ipBlock.cidr=10.0.0.0/8",
            "controller.storage.className=fast",
        ],
    ),
    (
        "controller alone",
        &["daemon.enabled=false", "controller.enabled=true"],
    ),
];

/// Values that the schema must refuse, each with what the refusal must name.
const REFUSED: [(&str, &str); 6] = [
    ("controler.enabled=true", "controler"),
    ("daemon.metrics.port=70000", "port"),
    ("daemon.otlp.endpoint=http://host:4318/v1/logs", "endpoint"),
    ("log.format=xml", "format"),
    ("image.digest=latest", "digest"),
    ("daemon.policies.readme\\.txt=x", "readme.txt"),
];

/// Checks everything, and fails at the first that is wrong.
pub(crate) fn check() -> Result<()> {
    units::check()?;
    let tools = Tools::get()?;
    let chart = workspace::root().join("deploy/helm/interlock");
    process::run(tools.helm("lint").arg("--strict").arg(&chart))?;
    println!(
        "chart        helm lint --strict found nothing ({})",
        tools.helm_version()?
    );
    for (values, named) in REFUSED {
        let refused = render(&tools, &chart, &[values]).err();
        let said = refused.with_context(|| format!("the chart takes {values}"))?;
        ensure!(format!("{said:#}").contains(named), "{values}: {said:#}");
    }
    println!(
        "schema       refuses {} wrong values by name",
        REFUSED.len()
    );
    for (name, values) in RENDERED {
        let manifests = render(&tools, &chart, values)?;
        let file = workspace::cache().join("deploy/rendered.yaml");
        fs::write(&file, &manifests).with_context(|| format!("cannot write {}", file.display()))?;
        validate(&tools, &file, name)?;
    }
    rules(&tools, &chart)
}

fn render(tools: &Tools, chart: &Path, values: &[&str]) -> Result<String> {
    let mut helm = tools.helm("template");
    helm.arg("interlock").arg(chart);
    helm.args(["--namespace", "interlock", "--include-crds"]);
    for value in values {
        helm.args(["--set", value]);
    }
    process::text(&mut helm)
}

/// Kinds that are not Kubernetes' own have no schema there.
fn validate(tools: &Tools, file: &Path, name: &str) -> Result<()> {
    let script = workspace::root().join("xtask/src/deploy/validate.py");
    for version in VERSIONS {
        let mut python = tools.python();
        let said = process::text(python.arg(&script).arg(version).arg(file))?;
        println!("kubernetes   {version}, {name}: {}", said.trim());
    }
    Ok(())
}

/// Prometheus' own check of the alerts, as they stand in the file and as they come out of the chart.
fn rules(tools: &Tools, chart: &Path) -> Result<()> {
    let file = chart.join("files/alerts.yaml");
    let said = process::text(tools.promtool().args(["check", "rules"]).arg(&file))?;
    let found = said.lines().find(|line| line.contains("rules found"));
    println!("alerts       {}", found.unwrap_or(&said).trim());
    let tests = chart.join("files/alerts.test.yaml");
    let said = process::text(tools.promtool().args(["test", "rules"]).arg(&tests))?;
    if !said.contains("SUCCESS") {
        bail!("promtool test rules: {said}");
    }
    println!("alerts       fire and rest as files/alerts.test.yaml says");
    Ok(())
}

/// Where tools that were brought here lie.
fn folder() -> PathBuf {
    workspace::cache().join("deploy")
}

fn command(program: &Path) -> Command {
    Command::new(program)
}
