//! The chain of a policy as a picture: DOT for Graphviz, and plain text.

use serde::Serialize;

use crate::describe::duration;
use crate::policy::{Policy, Step};

/// A chain as a picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Graph {
    /// For Graphviz.
    pub dot: String,
    /// For a terminal.
    pub text: String,
}

/// Draws the chain of a policy.
pub fn graph(policy: &Policy) -> Graph {
    Graph {
        dot: dot(policy),
        text: text(policy),
    }
}

fn marks(step: &Step) -> String {
    let mut marks = Vec::new();
    if step.repeat {
        marks.push("repeat".to_owned());
    }
    if step.optional {
        marks.push("optional".to_owned());
    }
    marks.extend(
        step.within_s
            .map(|seconds| format!("within {}", duration(seconds))),
    );
    marks.extend(
        step.approval
            .as_ref()
            .map(|approval| format!("approval by {}", approval.by.join(" or "))),
    );
    let resets: Vec<&str> = step.resets.iter().map(|word| word.text.as_str()).collect();
    if !resets.is_empty() {
        marks.push(format!("resets {}", resets.join(", ")));
    }
    marks.join(", ")
}

fn text(policy: &Policy) -> String {
    let mut text = format!("{}\n", policy.name);
    if policy.chain.stages.is_empty() {
        return text + "  no chain: its rules hold at any time\n";
    }
    for (i, stage) in policy.chain.stages.iter().enumerate() {
        for (k, step) in stage.steps.iter().enumerate() {
            let number = if k == 0 {
                format!("{}.", i + 1)
            } else {
                "or".to_owned()
            };
            let marks = marks(step);
            let marks = if marks.is_empty() {
                marks
            } else {
                format!("  ({marks})")
            };
            text += &format!("  {number:<3} {}{marks}\n", step.name);
            for common in step.actions.commons() {
                let action = policy
                    .authored()
                    .iter()
                    .find(|rule| std::ptr::eq(rule.common(), common))
                    .map(ToString::to_string);
                text += &format!("        {}\n", action.unwrap_or_default());
            }
        }
    }
    text
}

fn dot(policy: &Policy) -> String {
    let quote = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut dot = format!(
        "digraph {} {{\n  rankdir=LR;\n  node [shape=box];\n  start [shape=point];\n",
        quote(&policy.name)
    );
    // Where the chain can come from: the last stage that must be passed, and optional ones since.
    let mut from: Vec<String> = vec!["start".to_owned()];
    for stage in &policy.chain.stages {
        let names: Vec<String> = stage.steps.iter().map(|step| quote(&step.name)).collect();
        for (name, step) in names.iter().zip(&stage.steps) {
            let marks = marks(step);
            let label = if marks.is_empty() {
                step.name.clone()
            } else {
                format!("{}\n{marks}", step.name)
            };
            let label = quote(&label).replace('\n', "\\n");
            dot += &format!("  {name} [label={label}];\n");
            for before in &from {
                dot += &format!("  {before} -> {name};\n");
            }
            for reset in &step.resets {
                dot += &format!(
                    "  {name} -> {} [style=dashed, label=resets];\n",
                    quote(&reset.text)
                );
            }
        }
        if stage.is_optional() {
            from.extend(names);
        } else {
            from = names;
        }
    }
    dot + "}\n"
}
