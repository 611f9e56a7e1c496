//! How long records are kept: by age, and by the size of the database.
//!
//! Of a chain only its oldest records go, and none that a countersigned checkpoint does not cover
//! yet. Where it was cut stays known, with the hash of the last record that went: what is left
//! follows from that, up to what both sides have signed, so there is never a hole that nobody can
//! check. Each cut is audited.

use crate::clock;
use crate::fleet::Fleet;
use crate::store::{Cut, Deed, DeskError};
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// What is kept. Nothing is removed where nothing is said.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    /// Records that arrived before so long may go.
    pub age: Option<Duration>,
    /// Bytes of the database beyond which the oldest go.
    pub bytes: Option<u64>,
    /// How often it is looked.
    pub every: Duration,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            age: None,
            bytes: None,
            every: Duration::from_secs(60),
        }
    }
}

/// Removes what may go, for ever.
pub(crate) async fn keep_house(fleet: Arc<Fleet>, keep: Keep) {
    if keep.age.is_none() && keep.bytes.is_none() {
        return;
    }
    let mut turns = tokio::time::interval(keep.every);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        if let Err(error) = cut(&fleet, keep).await {
            warn!(error = %format!("{:#}", anyhow::Error::from(error)), "no records are removed");
        }
    }
}

async fn cut(fleet: &Fleet, keep: Keep) -> Result<(), DeskError> {
    if let Some(age) = keep.age {
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let before_ms = clock::now_ms().saturating_sub(age_ms);
        let why = format!("older than {} h", age.as_secs() / 3600);
        while remove(fleet, before_ms, &why).await? {}
    }
    if let Some(most) = keep.bytes {
        loop {
            let looked = fleet.desk.write(move |store| {
                let used = store.used()?;
                Ok((used, store.oldest()?))
            });
            let (used, oldest) = looked.await?;
            let why = format!("the database takes more than {} MiB", most >> 20);
            let Some(before_ms) = oldest.filter(|_| used > most) else {
                break;
            };
            if !remove(fleet, before_ms, &why).await? {
                break;
            }
        }
    }
    Ok(())
}

/// Removes some of what arrived before a time. Whether there was any.
async fn remove(fleet: &Fleet, before_ms: u64, why: &str) -> Result<bool, DeskError> {
    let why = why.to_owned();
    let cuts = fleet.desk.write(move |store| {
        let cuts = store.cut(before_ms)?;
        for cut in &cuts {
            store.audit(&deed(cut, &why), clock::now_ms())?;
        }
        Ok(cuts)
    });
    let cuts = cuts.await?;
    for cut in &cuts {
        info!(
            node = cut.node,
            upto = cut.last.sequence,
            "records were removed"
        );
    }
    Ok(!cuts.is_empty())
}

fn deed(cut: &Cut, why: &str) -> Deed {
    let hash = hex::encode(&cut.last.hash);
    Deed {
        who: "controller".into(),
        action: "remove records".into(),
        object: format!("node/{}", cut.node),
        outcome: format!(
            "{} records up to {}, whose hash is {hash}: {why}",
            cut.records, cut.last.sequence
        ),
    }
}
