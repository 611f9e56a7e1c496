//! `interlock policy schema`: for editors, and for the API server of Kubernetes.

use super::answer::{Answer, Outcome};
use super::fault::Fault;
use serde_json::json;

pub(super) fn run(as_resources: bool) -> Result<Answer, Fault> {
    let schema = if as_resources {
        json!({"apiVersion": "v1", "kind": "List", "items": agent_policy::crds()})
    } else {
        agent_policy::schema()
    };
    Answer::json(&schema, Outcome::Fine)
}
