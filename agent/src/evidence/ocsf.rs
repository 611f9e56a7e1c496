//! Records in the shape of the Open Cybersecurity Schema Framework, 1.4, where it has a class for
//! them. What it has no place for stands under `unmapped`, whole.

use agent_evidence::read::Entry;
use agent_evidence::record::{Decision, Object, Process, Record, What};
use serde_json::{Value, json};

/// The schema's version.
const VERSION: &str = "1.4.0";

/// A class: its number, its name, its category and the category's name.
type Class = (u32, &'static str, u32, &'static str);

const FILE: Class = (1001, "File System Activity", 1, "System Activity");
const PROCESS: Class = (1007, "Process Activity", 1, "System Activity");
const NETWORK: Class = (4001, "Network Activity", 4, "Network Activity");
const FINDING: Class = (2004, "Detection Finding", 2, "Findings");
const LIFECYCLE: Class = (6002, "Application Lifecycle", 6, "Application Activity");
const OTHER: Class = (0, "Base Event", 0, "Uncategorized");

/// A record as an event.
pub(super) fn event(record: &Record, entry: &Entry) -> Value {
    let (class, activity, severity) = classify(&record.what);
    let time = record.time.parse::<jiff::Timestamp>();
    let mut event = json!({
        "class_uid": class.0,
        "class_name": class.1,
        "category_uid": class.2,
        "category_name": class.3,
        "activity_id": activity,
        "type_uid": class.0 * 100 + activity,
        "severity_id": severity,
        "time": time.map_or(0, jiff::Timestamp::as_millisecond),
        "metadata": {
            "version": VERSION,
            "product": {"name": "Interlock", "vendor_name": "Interlock", "version": env!("CARGO_PKG_VERSION")},
            "sequence": record.sequence,
            "uid": entry.mark.hash.to_string(),
        },
        "device": {"hostname": record.node, "type_id": 0},
        "unmapped": record,
    });
    match &record.what {
        What::Decision(decision) => decided(&mut event, decision),
        What::Lifecycle(life) => event["message"] = json!(format!("session {}", life.step)),
        other => event["message"] = json!(other.word()),
    }
    event
}

fn classify(what: &What) -> (Class, u32, u32) {
    match what {
        What::Decision(decision) => {
            let (class, activity) = action(decision);
            // Medium: somebody tried what was not approved, and did not get it.
            (class, activity, 3)
        }
        What::Lifecycle(life) => match life.step.as_str() {
            "started" => (LIFECYCLE, 3, 1),
            "revoked" => (LIFECYCLE, 4, 4),
            "ended" => (LIFECYCLE, 4, 1),
            _ => (LIFECYCLE, 99, 4),
        },
        What::Daemon(daemon) if daemon.step == "started" => (LIFECYCLE, 3, 1),
        What::Daemon(_) => (LIFECYCLE, 4, 1),
        What::Loss(_) | What::Gap(_) => (FINDING, 1, 4),
        _ => (OTHER, 99, 1),
    }
}

fn action(decision: &Decision) -> (Class, u32) {
    match (&decision.object, decision.action.as_str()) {
        (
            Object::Endpoint { .. }
            | Object::Host { .. }
            | Object::Unix { .. }
            | Object::Session { .. }
            | Object::Family { .. },
            action,
        ) => (NETWORK, if action == "connect" { 1 } else { 6 }),
        (Object::File { .. }, "exec") => (PROCESS, 1),
        (Object::File { .. }, "create") => (FILE, 1),
        (Object::File { .. }, "read") => (FILE, 2),
        (Object::File { .. }, "write") => (FILE, 3),
        (Object::File { .. }, "delete") => (FILE, 4),
        (Object::File { .. }, "rename") => (FILE, 5),
        (Object::File { .. }, _) => (FILE, 99),
        _ => (FINDING, 1),
    }
}

fn decided(event: &mut Value, decision: &Decision) {
    // 2 is Denied and Blocked, 1 Allowed; of an audit the action went on.
    let (action, disposition) = match decision.verdict.as_str() {
        "audit" => (1, 17),
        _ => (2, 2),
    };
    event["action_id"] = json!(action);
    event["disposition_id"] = json!(disposition);
    event["status_detail"] = json!(decision.reason);
    event["actor"] = json!({"process": process(&decision.process, &decision.ancestry)});
    event["actor"]["process"]["user"] = json!({"uid": decision.uid.to_string()});
    if let Some(rule) = &decision.rule {
        event["firewall_rule"] = json!({
            "uid": rule.id, "name": rule.text, "desc": format!("{}:{}", rule.file, rule.line),
        });
    }
    match &decision.object {
        Object::Endpoint {
            address,
            port,
            protocol,
            host,
        } => {
            event["dst_endpoint"] = json!({"ip": address, "port": port});
            if let Some(host) = host {
                event["dst_endpoint"]["hostname"] = json!(host);
            }
            event["connection_info"] = json!({"protocol_name": protocol, "direction_id": 2});
        }
        Object::File { path, arguments } if decision.action == "exec" => {
            event["process"] = json!({"file": file(path), "cmd_line": arguments.join(" ")});
        }
        Object::File { path, .. } => event["file"] = file(path),
        Object::Privilege { privilege, .. } => {
            event["finding_info"] = json!({
                "title": format!("privilege {privilege} refused"),
                "uid": event["metadata"]["uid"],
            });
        }
        Object::Host { name, records } => {
            event["query"] = json!({"hostname": name, "type": records});
        }
        Object::Unix { name } => event["dst_endpoint"] = json!({"name": name}),
        Object::Session { session, agent } => {
            event["dst_endpoint"] = json!({"uid": session, "name": agent});
        }
        Object::Family { .. } | Object::Unknown => {}
    }
}

fn process(process: &Process, ancestry: &[Process]) -> Value {
    let mut told = json!({
        "pid": process.pid,
        "name": process.comm,
        "file": process.exe.as_deref().map(file),
        "cmd_line": process.args.join(" "),
    });
    if let Some((parent, above)) = ancestry.split_first() {
        told["parent_process"] = self::process(parent, above);
    }
    told
}

fn file(path: &str) -> Value {
    let name = path.rsplit('/').next().unwrap_or(path);
    json!({"path": path, "name": name, "type_id": 1})
}
