//! Who of all nodes counts: whoever holds a Lease of the API. One that is not renewed in time is anybody's.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, Error};
use std::time::{Duration, Instant};

/// Its name.
const NAME: &str = "interlock-leader";

/// How long it is held without being renewed.
const HOLDS: Duration = Duration::from_secs(45);

/// What is known of the lease.
pub(super) struct Candidate {
    api: Api<Lease>,
    name: String,
    /// The lease as it was last seen to change, and when: others' clocks may be wrong.
    seen: Option<(LeaseSpec, Instant)>,
}

impl Candidate {
    /// A node that would hold the lease of a namespace.
    pub(super) fn new(client: &Client, namespace: &str, name: &str) -> Self {
        Self {
            api: Api::namespaced(client.clone(), namespace),
            name: name.to_owned(),
            seen: None,
        }
    }

    /// Takes the lease where it is free, renews it where it is held; whether it is.
    pub(super) async fn try_to_lead(&mut self) -> kube::Result<bool> {
        let Some(lease) = self.api.get_opt(NAME).await? else {
            let fresh = self.held(Lease {
                metadata: ObjectMeta {
                    name: Some(NAME.to_owned()),
                    ..ObjectMeta::default()
                },
                spec: None,
            });
            return won(self.api.create(&PostParams::default(), &fresh).await);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        if !self.is_mine(&spec) && !self.is_free(&spec) {
            return Ok(false);
        }
        // With the version that was read: of two that try, one wins.
        let renewed = self.held(lease);
        let how = PostParams::default();
        won(self.api.replace(NAME, &how, &renewed).await)
    }

    fn is_mine(&self, spec: &LeaseSpec) -> bool {
        spec.holder_identity.as_deref() == Some(&self.name)
    }

    fn is_free(&mut self, spec: &LeaseSpec) -> bool {
        match &self.seen {
            Some((seen, since)) if seen == spec => since.elapsed() > HOLDS,
            _ => {
                self.seen = Some((spec.clone(), Instant::now()));
                false
            }
        }
    }

    fn held(&self, mut lease: Lease) -> Lease {
        let spec = lease.spec.get_or_insert_default();
        let now = MicroTime(jiff::Timestamp::now());
        if !self.is_mine(spec) {
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or_default() + 1);
        }
        spec.holder_identity = Some(self.name.clone());
        spec.lease_duration_seconds = i32::try_from(HOLDS.as_secs()).ok();
        spec.renew_time = Some(now);
        lease
    }
}

/// Whether a write was the one that counts.
fn won<T>(written: kube::Result<T>) -> kube::Result<bool> {
    match written {
        Ok(_) => Ok(true),
        Err(Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}
