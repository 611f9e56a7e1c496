//! The JSON Schema of policies, for editors. The parser is the authority: what the schema cannot
//! say (addresses, durations, names that must exist) it leaves to `check`.

use agent_common::privilege::Privilege;
use serde_json::{Map, Value, json};

use crate::policy::{API_VERSION, KIND, RecordKind, words};

/// The JSON Schema of a policy document.
pub fn schema() -> Value {
    let mut spec = Map::new();
    for key in words::SPEC {
        spec.insert((*key).to_owned(), spec_field(key));
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": KIND,
        "type": "object",
        "additionalProperties": false,
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"const": KIND},
            "metadata": {
                "type": "object",
                "additionalProperties": false,
                "required": ["name"],
                "properties": {"name": name(), "labels": texts()}
            },
            "spec": {
                "type": "object",
                "additionalProperties": false,
                "required": ["owner"],
                "properties": spec
            }
        },
        "$defs": {
            "owner": object(&["name", "contact"], json!({"name": text(), "contact": text()})),
            "duration": {"type": "string", "pattern": "^[1-9][0-9]*[smhd]$"},
            "words": {"oneOf": [text(), {"type": "array", "minItems": 1, "items": text()}]},
            "approval": object(&["by"], json!({
                "by": reference("words"), "expires": reference("duration"),
                "once": {"type": "boolean"}, "show": reference("words"),
                "wait": reference("duration"),
                "people": {"type": "integer", "minimum": 1, "maximum": 5},
                "controllerLost": {"enum": ["deny", "wait"]},
                "answer": {"type": "string", "minLength": 1}
            })),
            "limit": object(&[], json!({
                "rate": {"type": "string", "pattern": "^[1-9][0-9]*/(s|min|h|d)$"},
                "burst": {"type": "integer", "minimum": 1},
                "perSession": {"type": "integer", "minimum": 1},
                "perStep": {"type": "integer", "minimum": 1},
                "bytesPerSession": bytes(), "bytesPerStep": bytes()
            })),
            "hours": object(&["from", "to", "zone"], json!({
                "from": time(), "to": time(), "zone": text(),
                "days": {"type": "array", "minItems": 1, "items": {"enum": words::DAYS}},
                "otherwise": {"enum": ["approval", "deny"]}
            })),
            "egress": egress(),
            "listen": rule("on"),
            "exec": exec(),
            "files": files()
        }
    })
}

fn spec_field(key: &str) -> Value {
    match key {
        "owner" => reference("owner"),
        "purpose" => text(),
        "identity" => object(
            &[],
            json!({"spiffe": text(), "version": text(), "models": reference("words")}),
        ),
        "session" => json!({"type": "array", "minItems": 1, "items": {"oneOf": [
            {"const": "run"},
            object(&["executable"], json!({"executable": text()})),
            object(&["systemdUnit"], json!({"systemdUnit": text()})),
            object(&["cgroup"], json!({"cgroup": text()})),
            object(&["kubernetes"], json!({"kubernetes": object(&["namespace"], json!({
                "namespace": text(), "podLabels": texts(), "podAnnotations": texts(),
                "serviceAccount": text(), "container": text(), "image": text(),
                "entered": {"type": "boolean"}, "whenAway": {"enum": ["deny", "release"]}
            }))})),
            object(&["container"], json!({"container": container()}))
        ]}}),
        "extends" => reference("words"),
        "variables" => texts(),
        "facts" => list(object(
            &["fact"],
            json!({"fact": name(), "meaning": text(), "expires": reference("duration")}),
        )),
        "egress" => {
            let mut egress = lists(key);
            if let Some(Value::Object(fields)) = egress.get_mut("properties") {
                fields.insert("via".to_owned(), gateway());
                fields.insert("lookups".to_owned(), lookups());
            }
            egress
        }
        "listen" | "exec" | "files" => lists(key),
        "chain" => object(
            &["steps"],
            json!({
                "steps": {"type": "array", "minItems": 1, "items": {"oneOf": [step(), object(&["anyOf"], json!({"anyOf": list(step())}))]}},
                "completedBy": text(),
                "failedBy": {"type": "array", "items": {"enum": ["exit", "timeout", "deviation"]}}
            }),
        ),
        "tools" => list(object(
            &["tool", "owner", "start"],
            json!({
                "tool": name(), "owner": reference("owner"), "start": reference("exec"),
                "egress": lists("egress"), "listen": lists("listen"), "exec": lists("exec"), "files": lists("files"),
                "privileges": privileges()
            }),
        )),
        "end" => object(
            &[],
            json!({
                "ttl": reference("duration"),
                "revokeOn": {"type": "array", "minItems": 1, "items": {"oneOf": [
                    {"enum": ["completion", "failure", "timeout", "deviation", "budget"]},
                    object(&["controllerLost"], json!({"controllerLost": reference("duration")}))
                ]}},
                "onDeviation": {"enum": ["deny", "kill", "revoke"]}
            }),
        ),
        "privileges" => privileges(),
        "mode" => json!({"enum": ["enforce", "audit"]}),
        "grant" => json!({"enum": ["required", "optional"]}),
        "onChange" => json!({"enum": ["keep", "move"]}),
        "minEnforcement" => json!({"enum": ["block", "kill", "observe"]}),
        _ => json!({}),
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "json! makes values to be given away"
)]
fn object(required: &[&str], properties: Value) -> Value {
    json!({"type": "object", "additionalProperties": false, "required": required, "properties": properties})
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "json! makes values to be given away"
)]
fn list(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

fn lists(kind: &str) -> Value {
    let rules = list(reference(kind));
    object(&[], json!({"allow": rules, "deny": rules, "kill": rules}))
}

fn privileges() -> Value {
    let words = Privilege::ALL
        .iter()
        .map(|privilege| json!({"const": privilege.word(), "description": privilege.meaning()}));
    list(json!({"oneOf": words.collect::<Vec<_>>()}))
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{name}")})
}

/// What selects containers of Docker and podman: something of them.
fn container() -> Value {
    let mut container = object(
        &[],
        json!({"name": text(), "image": text(), "labels": texts(), "entered": {"type": "boolean"}}),
    );
    if let Some(fields) = container.as_object_mut() {
        fields.insert("minProperties".to_owned(), json!(1));
    }
    container
}

fn text() -> Value {
    json!({"type": "string", "minLength": 1})
}

fn because() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": words::MAX_BECAUSE})
}

fn texts() -> Value {
    json!({"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}})
}

fn name() -> Value {
    json!({"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"})
}

fn bytes() -> Value {
    json!({"type": "string", "pattern": "^[1-9][0-9]*(B|KB|MB|GB)$"})
}

fn time() -> Value {
    json!({"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$"})
}

/// The fields that every rule can have, and its own.
fn with_common(required: &[&str], own: Value) -> Value {
    let mut properties = Map::new();
    for key in words::COMMON {
        let value = match *key {
            "id" => text(),
            "because" => because(),
            "approval" | "limit" | "hours" => reference(key),
            _ => reference("words"),
        };
        properties.insert((*key).to_owned(), value);
    }
    if let Value::Object(own) = own {
        properties.extend(own);
    }
    object(required, Value::Object(properties))
}

fn rule(destination: &str) -> Value {
    let port = json!({"oneOf": [
        {"type": "integer", "minimum": 1, "maximum": 65535},
        {"type": "string", "pattern": "^[0-9]+(-[0-9]+)?$"}
    ]});
    with_common(
        &[destination],
        json!({
            destination: {"type": "array", "minItems": 1, "items": text()},
            "ports": {"type": "array", "minItems": 1, "items": port},
            "protocol": {"enum": ["tcp", "udp"]}
        }),
    )
}

/// A rule for what leaves the session.
fn egress() -> Value {
    let mut egress = rule("to");
    if let Some(Value::Object(fields)) = egress.get_mut("properties") {
        fields.insert("sni".to_owned(), json!({"enum": ["required"]}));
    }
    egress
}

fn lookups() -> Value {
    let pace = || {
        object(
            &["rate"],
            json!({
                "rate": {"type": "string", "pattern": "^[1-9][0-9]*/(s|min|h|d)$"},
                "burst": {"type": "integer", "minimum": 1}
            }),
        )
    };
    let most = |most: u32| json!({"type": "integer", "minimum": 1, "maximum": most});
    let kinds = RecordKind::ALL.map(RecordKind::word);
    object(
        &[],
        json!({
            "records": {"type": "array", "minItems": 1, "items": {"enum": kinds}},
            "pace": pace(), "newNames": pace(),
            "label": most(63), "below": most(253), "labels": most(127)
        }),
    )
}

fn gateway() -> Value {
    object(
        &["address", "port"],
        json!({"address": text(), "port": {"type": "integer", "minimum": 1, "maximum": 65535}}),
    )
}

fn exec() -> Value {
    let argument = object(
        &[],
        json!({
            "at": {"type": "integer", "minimum": 1, "maximum": 31}, "is": text(), "startsWith": text()
        }),
    );
    with_common(
        &[],
        json!({
            "programs": {"type": "array", "minItems": 1, "items": text()},
            "digests": {"type": "array", "minItems": 1, "items": {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}},
            "args": {"type": "array", "minItems": 1, "items": argument},
            "notWritable": {"type": "boolean"}
        }),
    )
}

fn files() -> Value {
    with_common(
        &["access", "paths"],
        json!({
            "access": {"type": "array", "minItems": 1, "items": {"enum": words::ACCESSES.map(|(word, _)| word)}},
            "paths": {"type": "array", "minItems": 1, "items": text()}
        }),
    )
}

fn step() -> Value {
    object(
        &["step"],
        json!({
            "step": text(), "repeat": {"type": "boolean"}, "optional": {"type": "boolean"},
            "resets": reference("words"), "within": reference("duration"), "approval": reference("approval"),
            "because": because(),
            "egress": list(reference("egress")), "exec": list(reference("exec")), "files": list(reference("files"))
        }),
    )
}
