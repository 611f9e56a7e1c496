//! What a change of a policy allows and denies, each with an action that shows it.
//!
//! One action of each region of objects is judged by both. Within the stated number of actions the
//! comparison leaves no region out.

use std::collections::BTreeSet;

use agent_common::decide::{Rule, Verdict};
use agent_common::privilege::Privilege;
use serde::Serialize;

use crate::compile::{Authored, Compiled, Place};
use crate::describe::settings;
use crate::policy::Policy;
use crate::regions::{MAX_ACTIONS, actions};
use crate::trial::{Action, Instant, Trial};

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// An action that shows it.
    pub example: String,
    /// What the old policy says of it.
    pub old: String,
    /// What the new one says.
    pub new: String,
}

/// The differences of two policies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// What could never be done, and now can, perhaps under conditions.
    pub becomes_allowed: Vec<Change>,
    /// What could be done, and now never can.
    pub becomes_denied: Vec<Change>,
    /// What can be done under other conditions, or is refused in another way.
    pub conditions_change: Vec<Change>,
    /// Sentences that only the old policy says besides what is allowed.
    pub no_longer: Vec<String>,
    /// Those that only the new one says.
    pub from_now_on: Vec<String>,
    /// Whether every region was compared.
    pub complete: bool,
}

impl Difference {
    /// Whether the two policies mean the same.
    pub fn is_none(&self) -> bool {
        let changes = [
            &self.becomes_allowed,
            &self.becomes_denied,
            &self.conditions_change,
        ];
        self.complete
            && changes.iter().all(|changes| changes.is_empty())
            && self.no_longer.is_empty()
            && self.from_now_on.is_empty()
    }
}

/// Compares two policies.
pub fn diff(old: (&Policy, &Compiled), new: (&Policy, &Compiled)) -> Difference {
    let rules: Vec<Authored<'_>> = old
        .0
        .authored()
        .into_iter()
        .chain(new.0.authored())
        .collect();
    let (mut actions, complete) = actions(&rules);
    actions.extend(Privilege::ALL.iter().copied().map(Action::Privilege));
    let (before, after) = (settings(old.0), settings(new.0));
    let only = |all: &[String], others: &[String]| -> Vec<String> {
        let all = all.iter().filter(|sentence| !others.contains(sentence));
        all.cloned().collect()
    };
    let mut difference = Difference {
        no_longer: only(&before, &after),
        from_now_on: only(&after, &before),
        complete,
        ..Difference::default()
    };
    let mut seen: BTreeSet<(String, String)> = BTreeSet::new();
    let tools: BTreeSet<&str> = old
        .0
        .tools
        .iter()
        .chain(&new.0.tools)
        .map(|tool| tool.name.as_str())
        .collect();
    let scopes = std::iter::once(None).chain(tools.into_iter().map(Some));
    let sides = [old, new].map(|(policy, compiled)| Side {
        policy,
        compiled,
        authored: policy.authored(),
        trial: Trial::start(compiled, Instant::default()),
    });
    for scope in scopes {
        for action in &actions {
            let [before, after] = [&sides[0], &sides[1]].map(|side| attitude(side, scope, action));
            if before.words == after.words {
                continue;
            }
            let kind = match (before.possible, after.possible) {
                (false, false) if !before.kills && !after.kills => continue,
                (false, true) => &mut difference.becomes_allowed,
                (true, false) => &mut difference.becomes_denied,
                _ => &mut difference.conditions_change,
            };
            // One example is enough for the same change.
            let key = (format!("{scope:?} {}", before.words), after.words.clone());
            if seen.insert(key) {
                let inside = scope.map_or(String::new(), |tool| format!(" (in tool {tool})"));
                kind.push(Change {
                    example: format!("{action}{inside}"),
                    old: before.words,
                    new: after.words,
                });
            }
        }
    }
    difference
}

/// What a policy says of an action: whether it can ever be allowed, and the conditions.
struct Attitude {
    possible: bool,
    /// Whether who tries it may be killed.
    kills: bool,
    words: String,
}

/// One of the policies that are compared.
struct Side<'p> {
    policy: &'p Policy,
    compiled: &'p Compiled,
    authored: Vec<Authored<'p>>,
    trial: Trial<'p>,
}

fn attitude(side: &Side<'_>, scope: Option<&str>, action: &Action) -> Attitude {
    let Side {
        policy,
        compiled,
        authored,
        trial,
    } = side;
    let tool = scope.and_then(|name| policy.tools.iter().position(|tool| tool.name == name));
    if scope.is_some() && tool.is_none() {
        return Attitude {
            possible: false,
            kills: false,
            words: "no such tool".to_owned(),
        };
    }
    if let Action::Privilege(_) = action {
        let decision = trial.judge(action, tool, Instant::default(), 0).decision;
        return Attitude {
            possible: decision.verdict == Verdict::Allow,
            kills: decision.verdict == Verdict::Kill,
            // The action stands in the words so that each privilege is told.
            words: format!("{} ({action})", decision.verdict),
        };
    }
    let agent = rules(compiled, trial, action, None);
    let all: Vec<Vec<Rule>> = match tool {
        None => vec![agent],
        Some(_) => vec![agent, rules(compiled, trial, action, tool)],
    };
    let (mut possible, mut kills) = (true, false);
    let mut words = Vec::new();
    for rules in all {
        possible &= rules
            .iter()
            .any(|rule| rule.verdict == Verdict::Allow.wire());
        kills |= rules
            .iter()
            .any(|rule| rule.verdict == Verdict::Kill.wire());
        let mut told: Vec<String> = Vec::new();
        for rule in rules {
            let Some(author) = authored.get(rule.number as usize) else {
                continue;
            };
            let place = match author.place {
                Place::Step(i) => {
                    policy
                        .chain
                        .steps()
                        .nth(i)
                        .map_or(String::new(), |(stage, step)| {
                            let order = crate::describe::order(policy, stage, step);
                            format!(
                                " as step \"{}\" ({})",
                                step.name,
                                order.trim_end_matches('.')
                            )
                        })
                }
                Place::ToolStart(i) => {
                    let tool = policy.tools.get(i);
                    tool.map_or(String::new(), |tool| format!(" as tool \"{}\"", tool.name))
                }
                _ => String::new(),
            };
            let text = format!(
                "{}{place}{}{}",
                author.common().effect.word(),
                author.proviso(),
                crate::describe::conditions(author.common())
            );
            if !told.contains(&text) {
                told.push(text);
            }
        }
        words.push(match told.is_empty() {
            true => "deny (no rule)".to_owned(),
            false => told.join(", else "),
        });
    }
    Attitude {
        possible,
        kills,
        words: words.join("; and the tool: "),
    }
}

/// The rules that are asked about an action, those whose arguments differ left out.
fn rules(
    compiled: &Compiled,
    trial: &Trial<'_>,
    action: &Action,
    tool: Option<usize>,
) -> Vec<Rule> {
    let (lists, traits) = trial.lists(action, tool);
    let mut rules = Vec::new();
    for list in lists {
        let mut claimed = false;
        for rule in (0..).map_while(|i| compiled.rule_at(list, i)) {
            if traits & rule.traits == rule.traits {
                rules.push(rule);
                let allows = rule.verdict == Verdict::Allow.wire();
                claimed |= allows;
                // Nothing behind a denial without conditions is ever asked.
                if !allows && rule.require == 0 && rule.forbid == 0 && rule.window == 0 {
                    return rules;
                }
            }
            if rule.flags & Rule::MORE == 0 || (claimed && rule.flags & Rule::LEVEL_END != 0) {
                break;
            }
        }
        if claimed {
            break;
        }
    }
    rules
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [
            ("becomes allowed", &self.becomes_allowed),
            ("becomes denied", &self.becomes_denied),
            ("conditions change", &self.conditions_change),
        ];
        let mut any = false;
        for (what, changes) in parts {
            for change in changes {
                writeln!(
                    f,
                    "{what}: {}\n  old: {}\n  new: {}",
                    change.example, change.old, change.new
                )?;
                any = true;
            }
        }
        if !any {
            writeln!(f, "no difference in what is allowed")?;
        }
        if self.complete {
            f.write_str("every kind of action was compared")
        } else {
            write!(
                f,
                "only the first {MAX_ACTIONS} kinds of action were compared"
            )
        }?;
        let told = [
            ("no longer", &self.no_longer),
            ("from now on", &self.from_now_on),
        ];
        for (when, sentences) in told {
            for sentence in sentences {
                write!(f, "\n{when}: {sentence}")?;
            }
        }
        Ok(())
    }
}
