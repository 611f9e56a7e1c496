//! Policies at the controller.

use super::order::How;
use super::{Asker, CtlError, print_json, table, time};
use agent_proto::wire::{
    ListPoliciesRequest, PolicyVersion, Profile, RollOutRequest, Selector, UploadPolicyRequest,
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::PathBuf;

/// What to do with policies.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Check a policy as the nodes would, and keep it as the agent's next version
    Upload(Upload),
    /// List the versions, and where they are in force
    List {
        /// Only this agent's
        #[arg(default_value = "")]
        agent: String,
    },
    /// Put a version in force on nodes
    ///
    /// Exit code 0: in force on all of them; 1: not so, or not known.
    RollOut(RollOut),
    /// Put the version in force again that was rolled out before
    RollBack(RollBack),
}

/// Options of `ctl policy upload`.
#[derive(Debug, Args)]
pub struct Upload {
    /// The policy
    pub file: PathBuf,
    /// The agent
    #[arg(long, value_name = "NAME")]
    pub agent: String,
    /// Where profiles lie that it extends; may be repeated
    #[arg(long, value_name = "FILE|DIR")]
    pub profiles: Vec<PathBuf>,
}

/// Where to roll out.
#[derive(Debug, Args)]
pub struct Where {
    /// A node; may be repeated [default: all, those to come included]
    #[arg(long, value_name = "NAME")]
    pub node: Vec<String>,
    /// A label that nodes must have; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = crate::cli::pair)]
    pub label: Vec<(String, String)>,
}

/// Options of `ctl policy roll-out`.
#[derive(Debug, Args)]
pub struct RollOut {
    /// The agent
    pub agent: String,
    /// The version
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub version: u32,
    /// Where.
    #[command(flatten)]
    pub nodes: Where,
    /// How.
    #[command(flatten)]
    pub how: How,
}

/// Options of `ctl policy roll-back`.
#[derive(Debug, Args)]
pub struct RollBack {
    /// The agent
    pub agent: String,
    /// Where.
    #[command(flatten)]
    pub nodes: Where,
    /// How.
    #[command(flatten)]
    pub how: How,
}

impl Asker {
    pub(super) async fn policy(&mut self, verb: &Policy) -> Result<bool, CtlError> {
        match verb {
            Policy::Upload(upload) => self.upload(upload).await.map(|()| true),
            Policy::List { agent } => self.list(agent).await.map(|()| true),
            Policy::RollOut(out) => {
                self.roll_out(&out.agent, out.version, &out.nodes, &out.how)
                    .await
            }
            Policy::RollBack(back) => self.roll_out(&back.agent, 0, &back.nodes, &back.how).await,
        }
    }

    async fn upload(&mut self, upload: &Upload) -> Result<(), CtlError> {
        let start = crate::policy_cli::start(&upload.file, &upload.profiles, &upload.agent)?;
        let profiles = start.profiles.into_iter().map(|profile| Profile {
            file: profile.file,
            text: profile.text,
        });
        let asked = UploadPolicyRequest {
            file: start.file,
            text: start.policy,
            profiles: profiles.collect(),
        };
        let answer = self.client.upload_policy(asked).await?.into_inner();
        if self.json {
            let list: Vec<Value> = answer.versions.iter().map(json_of).collect();
            return print_json(&json!({"versions": list, "warnings": answer.warnings}));
        }
        for version in &answer.versions {
            println!(
                "{} version {} {}",
                version.agent,
                version.version,
                hex::encode(&version.digest)
            );
        }
        if !answer.warnings.is_empty() {
            eprintln!("{}", answer.warnings);
        }
        Ok(())
    }

    async fn list(&mut self, agent: &str) -> Result<(), CtlError> {
        let asked = ListPoliciesRequest {
            agent: agent.to_owned(),
        };
        let versions = self
            .client
            .list_policies(asked)
            .await?
            .into_inner()
            .versions;
        if self.json {
            return print_json(&versions.iter().map(json_of).collect());
        }
        let rows = versions.iter().map(|version| {
            let rolled_out = version.epoch > 0;
            let mut digest = hex::encode(&version.digest);
            digest.truncate(12);
            [
                version.agent.clone(),
                version.version.to_string(),
                digest,
                if rolled_out {
                    version.epoch.to_string()
                } else {
                    String::new()
                },
                if rolled_out {
                    format!("{} of {}", version.in_force, version.nodes)
                } else {
                    String::new()
                },
                version.refused.to_string(),
                version.by.clone(),
                time(version.time_ms),
            ]
        });
        let rows: Vec<_> = rows.collect();
        table::print(
            [
                "AGENT",
                "VERSION",
                "DIGEST",
                "DIRECTIVE",
                "IN FORCE",
                "REFUSED",
                "BY",
                "UPLOADED",
            ],
            &rows,
        );
        Ok(())
    }

    async fn roll_out(
        &mut self,
        agent: &str,
        version: u32,
        nodes: &Where,
        how: &How,
    ) -> Result<bool, CtlError> {
        let asked = RollOutRequest {
            agent: agent.to_owned(),
            version,
            nodes: Some(Selector {
                names: nodes.node.clone(),
                labels: nodes.label.iter().cloned().collect(),
            }),
            reason: how.reason.clone(),
        };
        let order = self.client.roll_out(asked).await?.into_inner();
        self.follow(&order, how).await
    }
}

fn json_of(version: &PolicyVersion) -> Value {
    json!({
        "agent": version.agent, "version": version.version, "digest": hex::encode(&version.digest),
        "file": version.file, "by": version.by, "uploaded": time(version.time_ms),
        "directive": version.epoch, "nodes": version.nodes, "inForce": version.in_force,
        "refused": version.refused,
    })
}
