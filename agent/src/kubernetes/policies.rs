//! AgentPolicies and AgentProfiles, kept as files.

use super::files::{self, Files};
use super::{Shown, resources};
use agent_policy::{API_VERSION, KIND, PROFILE_KIND};
use futures::StreamExt as _;
use kube::Client;
use kube::api::DynamicObject;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;

/// What is kept of each kind: its files' names end so.
const KINDS: [(&str, &str); 2] = [(KIND, ".policy.yaml"), (PROFILE_KIND, ".profile.yaml")];

/// Follows both, for good.
pub(super) async fn follow(client: &Client, files: &Files, shown: &Shown) {
    let [policies, profiles] = KINDS.map(|kind| follow_kind(client, kind, files, shown));
    tokio::join!(policies, profiles);
}

async fn follow_kind(client: &Client, (kind, suffix): (&str, &str), files: &Files, shown: &Shown) {
    let api = resources::all(client, kind);
    let mut events = pin!(watcher(api, watcher::Config::default()).default_backoff());
    let mut there = BTreeMap::new();
    // As it lies in the folder. Each status that is written tells of a policy that has not changed.
    let mut kept = None;
    // What is being listed takes the place of all once it is complete.
    let mut listed = None;
    while let Some(event) = events.next().await {
        let Some(event) = shown.heard(kind, event) else {
            continue;
        };
        match event {
            Event::Init => listed = Some(BTreeMap::new()),
            Event::InitApply(object) => {
                listed.get_or_insert_default().extend(file(kind, &object));
                continue;
            }
            Event::InitDone => there = listed.take().unwrap_or_default(),
            Event::Apply(object) => there.extend(file(kind, &object)),
            Event::Delete(object) => {
                there.remove(object.metadata.name.as_deref().unwrap_or_default());
            }
        }
        if listed.is_none() {
            if kept.as_ref() != Some(&there) {
                let keeping = shown.heard("the folder of policies", files.keep(suffix, &there));
                kept = keeping.map(|()| there.clone());
            }
            if kind == KIND {
                shown.heard_policies();
            }
        }
    }
}

/// The file of a resource: what of it is the policy's, by its name.
fn file(kind: &str, object: &DynamicObject) -> Option<(String, String)> {
    let metadata = &object.metadata;
    let name = metadata.name.clone()?;
    let mut named = json!({"name": name});
    if let Some(labels) = &metadata.labels {
        named["labels"] = json!(labels);
    }
    let resource = json!({
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": named,
        "spec": spelled(object.data.get("spec").unwrap_or(&Value::Null)),
    });
    let text = files::text(metadata.generation.unwrap_or_default(), &resource);
    Some((name, text))
}

/// The same with the field `on` of rules for `listen` as it was meant: kubectl reads YAML as it was before 1.2,
/// where a plain `on` is a truth, and sends `true` for it.
fn spelled(spec: &Value) -> Value {
    let mut spec = spec.clone();
    let mut scopes = vec![&mut spec];
    while let Some(scope) = scopes.pop() {
        match scope {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match name.as_str() {
                        "listen" => rules(value).for_each(spell_on),
                        "tools" => scopes.push(value),
                        _ => {}
                    }
                }
            }
            Value::Array(each) => scopes.extend(each),
            _ => {}
        }
    }
    spec
}

/// The rules of all effects.
fn rules(effects: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    let effects = effects.as_object_mut().into_iter().flatten();
    let lists = effects.filter_map(|(_, rules)| rules.as_array_mut());
    lists.flatten().filter_map(Value::as_object_mut)
}

fn spell_on(rule: &mut Map<String, Value>) {
    if let Some(places) = rule.remove("true") {
        rule.insert("on".to_owned(), places);
    }
}

/// The policy whose file in the folder of them this is.
pub(super) fn name_of<'a>(folder: &Path, file: &'a Path) -> Option<&'a str> {
    let name = file.strip_prefix(folder).ok()?.to_str()?;
    let [(_, suffix), _] = KINDS;
    name.strip_suffix(suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_kubectl_has_misread_is_read_as_it_was_meant() {
        let rules = |key: &str| json!({"allow": [{key: ["127.0.0.1"], "ports": [80]}]});
        let spec = |key: &str| {
            json!({
                "listen": rules(key),
                "tools": [{"tool": "t", "listen": rules(key)}, {"tool": "u"}],
                "variables": {"true": "stays"}
            })
        };
        assert_eq!(spelled(&spec("true")), spec("on"));
        assert_eq!(spelled(&spec("on")), spec("on"));
        assert_eq!(spelled(&Value::Null), Value::Null);
    }
}
