//! Policies, profiles and what nodes make of them as resources of Kubernetes: the same schema, as far as its
//! API server can say it.
//!
//! An API server wants one type at each place, and drops what a schema does not name. A field that is misspelled
//! must be refused by the parser, not vanish before it: so every object may have more than is named, and what
//! may be of several types may be anything. The parser is the authority here, too.

use serde_json::{Map, Value, json};

use crate::policy::{API_VERSION, KIND, PROFILE_KIND};
use crate::schema::schema;

/// Says to an API server that it must keep what it does not know.
const ANYTHING: &str = "x-kubernetes-preserve-unknown-fields";

/// The kind of what a node says of its policies.
pub const REPORT_KIND: &str = "NodeReport";

/// The resource definitions of policies, of the profiles that they extend, and of nodes' reports.
pub fn crds() -> [Value; 3] {
    let schema = schema();
    let spec = structural(&schema["properties"]["spec"], &schema["$defs"]);
    let columns = json!([
        {"name": "In force", "type": "string", "jsonPath": ".status.summary"},
        {"name": "Generation", "type": "integer", "jsonPath": ".metadata.generation", "priority": 1},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
    ]);
    let mut policies = crd(KIND, ("agentpolicies", "agentpolicy"), &spec, columns);
    let version = &mut policies["spec"]["versions"][0];
    version["schema"]["openAPIV3Schema"]["properties"]["status"] = status();
    version["subresources"] = json!({"status": {}});
    let anything = json!({"type": "object", ANYTHING: true});
    let age = json!([{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]);
    let profiles = ("agentprofiles", "agentprofile");
    let profiles = crd(PROFILE_KIND, profiles, &anything, age);
    let columns = json!([
        {"name": "Enforcement", "type": "string", "jsonPath": ".spec.enforcement"},
        {"name": "Version", "type": "string", "jsonPath": ".spec.version"},
        {"name": "Heard", "type": "date", "jsonPath": ".spec.heard"}
    ]);
    let reports = ("nodereports", "nodereport");
    let reports = crd(REPORT_KIND, reports, &report(), columns);
    [policies, profiles, reports]
}

fn text() -> Value {
    json!({"type": "string"})
}

fn count() -> Value {
    json!({"type": "integer"})
}

/// What one node makes of the policies.
fn report() -> Value {
    let policy = json!({"type": "object", "required": ["name"], "properties": {
        "name": text(), "inForce": count(), "refused": count(), "reason": text()
    }});
    let policies = json!({
        "type": "array", "items": policy,
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]
    });
    json!({"type": "object", "properties": {
        "version": text(), "enforcement": text(), "heard": {"type": "string", "format": "date-time"},
        "policies": policies
    }})
}

/// What the nodes make of a policy, counted by one of them.
fn status() -> Value {
    let refusal = json!({"type": "object", "properties": {
        "reason": text(), "nodes": count(), "among": {"type": "array", "items": text()}
    }});
    json!({"type": "object", "properties": {
        "observedGeneration": count(), "nodes": count(), "inForce": count(), "refused": count(),
        "silent": count(), "summary": text(), "refusals": {"type": "array", "items": refusal}
    }})
}

/// One kind, of the whole cluster: its policies select pods of every namespace, so who writes one must be
/// trusted with all of them.
#[expect(
    clippy::needless_pass_by_value,
    reason = "json! makes values to be given away"
)]
fn crd(kind: &str, (plural, singular): (&str, &str), spec: &Value, columns: Value) -> Value {
    let (group, version) = API_VERSION.split_once('/').unwrap_or((API_VERSION, ""));
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group,
            "scope": "Cluster",
            "names": {"kind": kind, "plural": plural, "singular": singular, "listKind": format!("{kind}List")},
            "versions": [{
                "name": version,
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "required": ["spec"],
                    "properties": {"spec": spec}
                }},
                "additionalPrinterColumns": columns
            }]
        }
    })
}

/// A schema with one type at each place, and without names for parts of it.
fn structural(schema: &Value, parts: &Value) -> Value {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap_or(name);
        return structural(&parts[name], parts);
    }
    if let Some(words) = words(schema) {
        return json!({"type": "string", "enum": words});
    }
    let mut whole = Map::new();
    match schema["type"].as_str() {
        Some("object") => {
            if let Some(properties) = schema["properties"].as_object() {
                let each = properties.iter();
                let each = each.map(|(name, value)| (name.clone(), structural(value, parts)));
                whole.insert("properties".to_owned(), Value::Object(each.collect()));
            }
            whole.insert(ANYTHING.to_owned(), Value::Bool(true));
        }
        Some("array") => {
            whole.insert("items".to_owned(), structural(&schema["items"], parts));
        }
        Some(_) => {}
        None => return json!({ANYTHING: true}),
    }
    for (key, value) in schema.as_object().into_iter().flatten() {
        let is_else = !matches!(
            key.as_str(),
            "properties" | "additionalProperties" | "items"
        );
        // To kubectl, an `on` without quotes is a truth: it comes as another word.
        let is_on = *value == json!(["on"]);
        if is_else && !is_on {
            whole.insert(key.clone(), value.clone());
        }
    }
    Value::Object(whole)
}

/// The words that a schema allows, where it allows words and nothing else.
fn words(schema: &Value) -> Option<Vec<Value>> {
    let one = |schema: &Value| match (&schema["const"], &schema["enum"]) {
        (Value::String(word), _) => Some(vec![Value::String(word.clone())]),
        (_, Value::Array(words)) => Some(words.clone()),
        _ => None,
    };
    let Some(choices) = schema["oneOf"].as_array() else {
        return one(schema);
    };
    let words: Option<Vec<_>> = choices.iter().map(one).collect();
    Some(words?.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls `look` with every schema in a schema, and its name.
    fn each<'a>(name: &'a str, schema: &'a Value, look: &mut impl FnMut(&str, &Value)) {
        look(name, schema);
        for (name, value) in schema["properties"].as_object().into_iter().flatten() {
            each(name, value, look);
        }
        if schema["items"].is_object() {
            each(name, &schema["items"], look);
        }
    }

    #[test]
    fn an_api_server_can_say_it() {
        for crd in crds() {
            let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
            let mut seen = 0;
            each("", schema, &mut |name, schema| {
                seen += 1;
                let is_typed = schema["type"].is_string() || schema[ANYTHING] == true;
                assert!(is_typed, "{name}: {schema}");
                for key in ["$ref", "oneOf", "const", "additionalProperties"] {
                    assert!(schema.get(key).is_none(), "{name} has {key}");
                }
            });
            assert!(seen >= 2, "{crd}");
        }
    }

    #[test]
    fn no_field_of_a_policy_vanishes_before_the_parser_sees_it() {
        let [policies, ..] = crds();
        let spec =
            &policies["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        each("spec", spec, &mut |name, schema| {
            if schema["type"] == "object" {
                assert_eq!(schema[ANYTHING], true, "{name}");
            }
        });
        assert_eq!(
            spec["properties"]["mode"]["enum"],
            json!(["enforce", "audit"])
        );
        assert_eq!(spec["required"], json!(["owner"]));
    }
}
