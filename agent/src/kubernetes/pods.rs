//! The pods of this node, as the API has them: labels and annotations as they are now, and service accounts,
//! of which no container runtime tells.

use super::Shown;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt as _};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How long a container waits for the API at a time.
const PATIENCE: Duration = Duration::from_secs(2);

/// By what the API knows a pod that the kubelet made of a file, whose own number is another one.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// What the API tells of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodFacts {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its service account.
    pub service_account: String,
}

/// Which pod: its number, as the container runtime has it.
pub(super) struct Question {
    uid: String,
    namespace: String,
    name: String,
    answer: oneshot::Sender<Option<PodFacts>>,
}

/// What the API tells of this node's pods, by their numbers.
#[derive(Debug, Clone)]
pub struct Pods {
    known: Arc<Mutex<BTreeMap<String, PodFacts>>>,
    changed: Arc<AtomicBool>,
    ask: mpsc::Sender<Question>,
}

impl Pods {
    pub(super) fn new(ask: mpsc::Sender<Question>) -> Self {
        Self {
            known: Arc::default(),
            changed: Arc::default(),
            ask,
        }
    }

    /// Whether something of a pod has changed since the last time somebody asked.
    pub fn have_changed(&self) -> bool {
        self.changed.swap(false, Ordering::AcqRel)
    }

    /// What is told of a pod. One that is not known yet is asked for; nothing where the API does not tell.
    pub async fn find(&self, uid: &str, namespace: &str, name: &str) -> Option<PodFacts> {
        if let Some(known) = self.lock().get(uid) {
            return Some(known.clone());
        }
        let (answer, answered) = oneshot::channel();
        let question = Question {
            uid: uid.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            answer,
        };
        // Where too many wait, this one is not told either.
        self.ask.try_send(question).ok()?;
        answered.await.ok()?
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, PodFacts>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, pod: &Pod) {
        for (uid, facts) in facts(pod) {
            let before = self.lock().insert(uid, facts.clone());
            if before.is_some_and(|before| before != facts) {
                self.changed.store(true, Ordering::Release);
            }
        }
    }

    fn remove(&self, pod: &Pod) {
        for (uid, _) in facts(pod) {
            self.lock().remove(&uid);
        }
    }
}

/// What is told of a pod, by each number that it has.
fn facts(pod: &Pod) -> impl Iterator<Item = (String, PodFacts)> {
    let spec = pod.spec.as_ref();
    let account = spec.and_then(|spec| spec.service_account_name.clone());
    let facts = PodFacts {
        labels: pod.labels().clone(),
        annotations: pod.annotations().clone(),
        service_account: account.unwrap_or_default(),
    };
    let numbers = [pod.uid(), pod.annotations().get(MIRROR).cloned()];
    let numbers: Vec<_> = numbers.into_iter().flatten().collect();
    numbers.into_iter().map(move |uid| (uid, facts.clone()))
}

/// Follows the pods of a node, for good.
pub(super) async fn follow(client: &Client, node: &str, pods: &Pods, shown: &Shown) {
    let api: Api<Pod> = Api::all(client.clone());
    let here = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
    let mut events = pin!(watcher(api, here).default_backoff());
    let mut listed = Vec::new();
    while let Some(event) = events.next().await {
        let Some(event) = shown.heard("Pods", event) else {
            continue;
        };
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(pod) => {
                listed.extend(facts(&pod).map(|(uid, _)| uid));
                pods.put(&pod);
            }
            Event::InitDone => pods.lock().retain(|uid, _| listed.contains(uid)),
            Event::Apply(pod) => pods.put(&pod),
            Event::Delete(pod) => pods.remove(&pod),
        }
    }
}

/// Answers for pods that the watch has not told of yet, for good.
pub(super) async fn answer(client: &Client, mut asked: mpsc::Receiver<Question>) {
    while let Some(question) = asked.recv().await {
        let client = client.clone();
        tokio::spawn(async move {
            let api: Api<Pod> = Api::namespaced(client, &question.namespace);
            let got = tokio::time::timeout(PATIENCE, api.get(&question.name)).await;
            // Another pod may have its name by now.
            let found = got.ok().and_then(Result::ok).and_then(|pod| {
                let mut each = facts(&pod);
                each.find_map(|(uid, facts)| (uid == question.uid).then_some(facts))
            });
            // A container that is gone hears no more.
            let _ = question.answer.send(found);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(annotations: &serde_json::Value) -> Pod {
        let pod = json!({
            "metadata": {"name": "p", "uid": "1", "labels": {"app": "a"}, "annotations": annotations},
            "spec": {"serviceAccountName": "robot", "containers": []}
        });
        serde_json::from_value(pod).unwrap()
    }

    #[tokio::test]
    async fn a_pod_of_a_file_is_known_by_the_number_that_the_runtime_has() {
        let (ask, asked) = mpsc::channel(1);
        drop(asked);
        let pods = Pods::new(ask);
        pods.put(&pod(&json!({MIRROR: "2"})));
        for uid in ["1", "2"] {
            let found = pods.find(uid, "n", "p").await.unwrap();
            assert_eq!(found.service_account, "robot");
        }
        assert_eq!(pods.find("3", "n", "p").await, None);
    }

    #[tokio::test]
    async fn what_changes_is_said_once() {
        let (ask, _asked) = mpsc::channel(1);
        let pods = Pods::new(ask);
        pods.put(&pod(&json!({})));
        pods.put(&pod(&json!({})));
        assert!(!pods.have_changed(), "a new pod has no container yet");
        pods.put(&pod(&json!({"team": "finance"})));
        assert!(pods.have_changed());
        assert!(!pods.have_changed());
    }
}
