//! The agents as a bill of materials, in CycloneDX 1.6.

use super::{Asker, CtlError, print_json, time};
use agent_proto::wire::{Agent, ListAgentsRequest, NodeAgent};
use serde_json::{Value, json};

impl Asker {
    pub(super) async fn inventory(&mut self) -> Result<(), CtlError> {
        let agents = self
            .client
            .list_agents(ListAgentsRequest {})
            .await?
            .into_inner()
            .agents;
        print_json(&bill(&agents))
    }
}

fn property(name: &str, value: &str) -> Value {
    json!({"name": format!("interlock:{name}"), "value": value})
}

/// The bill. The same agents give the same bytes, so that two can be compared.
fn bill(agents: &[NodeAgent]) -> Value {
    let mut components = Vec::new();
    let mut dependencies = Vec::new();
    for known in agents {
        let Some(agent) = &known.agent else {
            continue;
        };
        let reference = format!("agent:{}", agent.name);
        let parts = parts(agent);
        let on = parts.iter().filter_map(|part| part["bom-ref"].as_str());
        dependencies.push(json!({"ref": reference, "dependsOn": on.collect::<Vec<_>>()}));
        components.push(component(agent, known, &reference));
        components.extend(parts);
    }
    components.sort_by(|a, b| a["bom-ref"].as_str().cmp(&b["bom-ref"].as_str()));
    components.dedup();
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "tools": {"components": [{
                "type": "application", "name": "interlock", "version": env!("CARGO_PKG_VERSION"),
            }]},
        },
        "components": components,
        "dependencies": dependencies,
    })
}

fn component(agent: &Agent, known: &NodeAgent, reference: &str) -> Value {
    let mut properties = vec![
        property("policy", &agent.policy),
        property("lastUse", &time(known.last_use_ms)),
    ];
    let lists = [("permission", &agent.permissions), ("node", &known.nodes)];
    for (name, list) in lists {
        properties.extend(list.iter().map(|value| property(name, value)));
    }
    if !agent.spiffe.is_empty() {
        properties.push(property("spiffe", &agent.spiffe));
    }
    json!({
        "type": "application",
        "bom-ref": reference,
        "name": agent.name,
        "version": agent.version,
        "description": agent.purpose,
        "supplier": {"name": agent.owner, "contact": [{"name": agent.contact}]},
        "properties": properties,
    })
}

/// What an agent is made of: its models and its tools.
fn parts(agent: &Agent) -> Vec<Value> {
    let models = agent.models.iter().map(|model| {
        json!({"type": "machine-learning-model", "bom-ref": format!("model:{model}"), "name": model})
    });
    let tools = agent.tools.iter().map(|tool| {
        let reference = format!("tool:{}:{tool}", agent.name);
        json!({"type": "application", "bom-ref": reference, "name": tool})
    });
    models.chain(tools).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_their_models_and_tools_are_components_once() {
        let agent = |name: &str| NodeAgent {
            agent: Some(Agent {
                name: name.into(),
                owner: "Ada".into(),
                models: vec!["m".into()],
                tools: vec!["git".into()],
                permissions: vec!["ptrace".into()],
                ..Agent::default()
            }),
            nodes: vec!["n1".into()],
            last_use_ms: 0,
        };
        let bill = bill(&[agent("b"), agent("a")]);
        let components = bill["components"].as_array().expect("a list");
        let names: Vec<_> = components
            .iter()
            .map(|one| one["bom-ref"].as_str())
            .collect();
        let expected = ["agent:a", "agent:b", "model:m", "tool:a:git", "tool:b:git"];
        assert_eq!(names, expected.map(Some));
        assert_eq!(
            bill["dependencies"][0]["dependsOn"],
            json!(["model:m", "tool:b:git"])
        );
        assert!(components[0].to_string().contains("interlock:permission"));
    }
}
