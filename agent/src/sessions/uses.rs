//! What sessions were allowed by each rule and to each place, as the kernel counts it.

use super::{Session, Sessions};
use crate::events::{explain, line};
use crate::kernel::maps::MapsError;
use crate::names::Names;
use agent_common::uses::UseKey;
use std::collections::HashMap;

/// What is counted of a session.
pub(super) type Uses = HashMap<UseKey, u64>;

impl Sessions {
    /// What is counted, by session. What sessions that are gone have left is taken away.
    pub(super) fn uses(&mut self) -> Result<HashMap<u64, Uses>, MapsError> {
        let mut all: HashMap<u64, Uses> = HashMap::new();
        for (key, count) in self.maps.uses() {
            all.entry(key.session).or_default().insert(key, count);
        }
        let over = all.keys().filter(|id| !self.by_id.contains_key(id));
        for id in over.copied().collect::<Vec<_>>() {
            for key in all.remove(&id).unwrap_or_default().into_keys() {
                self.maps.forget_use(key)?;
            }
        }
        Ok(all)
    }
}

impl Session {
    /// What it was allowed by each rule and to each place since that was asked last.
    pub(super) fn used(&mut self, uses: Uses, names: &Names) -> Vec<line::Used> {
        let mut used = Vec::new();
        let mut uses: Vec<_> = uses.into_iter().collect();
        uses.sort_unstable_by_key(|(key, _)| (key.kind, key.policy, key.rule, key.object));
        for (key, total) in uses {
            let told = self.uses.insert(key, total).unwrap_or(0);
            let count = total.saturating_sub(told);
            if count > 0 {
                used.extend(explain::used(&key, (count, total), self, names));
            }
        }
        used
    }
}
