//! The resources of the API that are ours. What they look like stands in `agent_policy::crds`.

use agent_policy::{API_VERSION, REPORT_KIND};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};

/// All of a kind. They belong to the cluster, and to no namespace.
pub(super) fn all(client: &Client, kind: &str) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &resource(kind))
}

/// The reports of all nodes.
pub(super) fn reports(client: &Client) -> Api<DynamicObject> {
    all(client, REPORT_KIND)
}

/// A kind of ours.
pub(super) fn resource(kind: &str) -> ApiResource {
    let (group, version) = API_VERSION.split_once('/').unwrap_or((API_VERSION, ""));
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}
