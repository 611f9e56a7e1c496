//! Policies as they are uploaded: read and compiled by the same code as on the nodes.

use agent_policy::{Profiles, check, parse_with};
use agent_proto::wire::{Policy, UploadPolicyRequest};

/// The policies of a file, and what perhaps is not meant.
pub(crate) fn read(asked: &UploadPolicyRequest) -> Result<(Vec<Policy>, String), String> {
    let mut profiles = Profiles::none();
    for profile in &asked.profiles {
        let added = profiles.add(&profile.file, profile.text.as_bytes());
        added.map_err(|wrong| wrong.to_string())?;
    }
    let read = parse_with(&asked.file, asked.text.as_bytes(), &profiles);
    let mut policies = Vec::new();
    let mut warnings = String::new();
    for policy in read.map_err(|wrong| wrong.to_string())? {
        let compiled = policy.compile().map_err(|wrong| wrong.to_string())?;
        let found = check(&policy, None);
        if !found.is_empty() {
            warnings += &found.to_string();
        }
        policies.push(Policy {
            agent: policy.name.clone(),
            version: 0,
            file: asked.file.clone(),
            text: asked.text.clone(),
            profiles: asked.profiles.clone(),
            digest: compiled.digest.to_vec(),
        });
    }
    if policies.len() != 1 {
        // What is rolled out is one agent's.
        let count = policies.len();
        return Err(format!(
            "{}: found {count} policies, expected one",
            asked.file
        ));
    }
    Ok((policies, warnings))
}
