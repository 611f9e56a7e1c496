//! What there is on this node, as the controller is told.

use super::obey::Parts;
use crate::library::Loaded;
use agent_policy::{Profiles, parse_with};
use agent_proto::wire::{Agent, InventoryRequest, Session};
use std::collections::BTreeMap;

/// What the policies say of their agents, by digest: to read them anew each time costs.
#[derive(Debug, Default)]
pub(super) struct Known(BTreeMap<(String, [u8; 32]), Agent>);

impl Known {
    /// Looks.
    pub(super) fn look(&mut self, parts: &Parts) -> InventoryRequest {
        // First: it changes what is borrowed below.
        let status = (parts.status)();
        let sessions = parts.sessions.borrow();
        let listed = sessions.list().unwrap_or_else(|error| {
            tracing::warn!(%error, "sessions cannot be listed");
            Vec::new()
        });
        let told = listed.into_iter().map(|info| {
            let found = sessions.get(info.session.0);
            let word = |word: Option<&str>| word.unwrap_or_default().to_owned();
            Session {
                session: info.session.to_string(),
                task: word(found.and_then(|session| session.task())),
                grant: word(found.and_then(|session| session.grant())),
                agent: info.agent,
                policy: info.policy,
                tasks: info.tasks,
                facts: info.facts,
                recognised: info.recognised.unwrap_or_default(),
                entered: info.entered.map(|it| it.to_string()).unwrap_or_default(),
            }
        });
        let told: Vec<Session> = told.collect();
        let library = parts.library.borrow();
        let agents = library.iter().map(|loaded| Agent {
            sessions: told
                .iter()
                .filter(|session| session.agent == loaded.start.agent)
                .count() as u64,
            generation: loaded.generation,
            ..self.agent(loaded)
        });
        InventoryRequest {
            agents: agents.collect(),
            status,
            sessions: told,
            questions: Vec::new(),
        }
    }

    fn agent(&mut self, loaded: &Loaded) -> Agent {
        let key = (loaded.start.agent.clone(), loaded.compiled.digest);
        let read = || read(loaded).unwrap_or_default();
        self.0.entry(key).or_insert_with(read).clone()
    }
}

/// What a policy says of its agent. It was read before, so it can be.
fn read(loaded: &Loaded) -> Option<Agent> {
    let start = &loaded.start;
    let mut profiles = Profiles::none();
    for profile in &start.profiles {
        profiles.add(&profile.file, profile.text.as_bytes()).ok()?;
    }
    let policies = parse_with(&start.file, start.policy.as_bytes(), &profiles).ok()?;
    let policy = policies
        .into_iter()
        .find(|policy| policy.name == start.agent)?;
    let privileges = policy.privileges.iter();
    Some(Agent {
        name: policy.name,
        owner: policy.owner.name,
        contact: policy.owner.contact,
        purpose: policy.purpose.unwrap_or_default(),
        version: policy.identity.version.unwrap_or_default(),
        spiffe: policy.identity.spiffe.unwrap_or_default(),
        models: policy.identity.models,
        tools: policy.tools.iter().map(|tool| tool.name.clone()).collect(),
        permissions: privileges
            .map(|(privilege, _)| privilege.word().to_owned())
            .collect(),
        policy: loaded.compiled.digest_hex(),
        generation: 0,
        sessions: 0,
    })
}
