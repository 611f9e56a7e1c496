//! All nodes: who is connected, what they are told, and what each still lacks.

use crate::approvals::Approvals;
use crate::clock;
use crate::room::Room;
use crate::store::{Desk, DeskError, Issued, StoreError};
use agent_proto::seal::{Key, Purpose};
use agent_proto::wire::directive::What;
use agent_proto::wire::revocation::Scope;
use agent_proto::wire::{Directive, NodeOutcome, Selector, SignedDirective, State};
use prost::Message as _;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// A directive, as it is sent and as it is read.
#[derive(Debug)]
pub struct Known {
    /// As it is stored and sent.
    pub issued: Issued,
    /// What it says.
    pub directive: Directive,
}

/// What is to be told, before it has an epoch.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Who tells it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// What.
    pub what: What,
    /// Features without which it must not be carried out.
    pub requires: Vec<String>,
}

/// All nodes.
pub struct Fleet {
    /// Which controller this is.
    pub controller: String,
    /// What everything is signed with.
    pub key: Key,
    /// The store.
    pub desk: Desk,
    /// How long a node that hears nothing lets its sessions run; zero for ever.
    pub lease: Duration,
    /// Where what they report is stored.
    pub room: Room,
    /// Questions that wait for people.
    pub approvals: Approvals,
    directives: RwLock<Vec<Arc<Known>>>,
    /// One at a time, so that they are known in the order of their epochs.
    issuing: tokio::sync::Mutex<()>,
    connected: Mutex<HashMap<String, Connected>>,
    /// The newest epoch.
    changed: watch::Sender<u64>,
    /// Counts what nodes tell of directives.
    answered: watch::Sender<u64>,
    /// Counts records.
    arrived: watch::Sender<u64>,
}

struct Connected {
    number: u64,
    /// Ends the connection when another takes its place.
    _displaced: oneshot::Sender<()>,
}

impl Fleet {
    /// Reads what nodes were told before.
    pub async fn begin(
        desk: Desk,
        key: Key,
        lease: Duration,
        room: Room,
    ) -> Result<Arc<Self>, DeskError> {
        let (controller, epoch, issued) = desk
            .write(|store| Ok((store.controller()?, store.epoch()?, store.directives()?)))
            .await?;
        let directives = issued.into_iter().map(known).collect::<Result<_, _>>();
        let directives = directives.map_err(|error| DeskError::Store(Arc::new(error)))?;
        Ok(Arc::new(Self {
            controller,
            key,
            desk,
            lease,
            room,
            approvals: Approvals::default(),
            directives: RwLock::new(directives),
            issuing: tokio::sync::Mutex::default(),
            connected: Mutex::default(),
            changed: watch::channel(epoch).0,
            answered: watch::channel(0).0,
            arrived: watch::channel(0).0,
        }))
    }

    /// Signs and stores a directive, then tells it.
    pub async fn issue(&self, draft: Draft, nodes: Selector) -> Result<Arc<Known>, DeskError> {
        let _turn = self.issuing.lock().await;
        let now_ms = clock::now_ms();
        let controller = self.controller.clone();
        let key = self.key.clone();
        let issued = self
            .desk
            .write(move |store| {
                store.issue(&nodes, &mut |epoch| {
                    let directive = Directive {
                        controller: controller.clone(),
                        epoch,
                        issued_ms: now_ms,
                        issued_by: draft.by.clone(),
                        reason: draft.reason.clone(),
                        requires: draft.requires.clone(),
                        what: Some(draft.what.clone()),
                    };
                    let body = directive.encode_to_vec();
                    let signature = key.sign(Purpose::Directive, &body);
                    SignedDirective { body, signature }
                })
            })
            .await?;
        let epoch = issued.epoch;
        let known = known(issued).map_err(|error| DeskError::Store(Arc::new(error)))?;
        let mut directives = self
            .directives
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        directives.push(Arc::clone(&known));
        drop(directives);
        self.changed.send_replace(epoch);
        Ok(known)
    }

    /// Goes on with higher epochs than a node has had: this database is older than that.
    pub async fn raise_epoch(&self, to: u64) -> Result<(), DeskError> {
        let _turn = self.issuing.lock().await;
        self.desk.write(move |store| store.raise_epoch(to)).await?;
        self.changed.send_modify(|epoch| *epoch = (*epoch).max(to));
        Ok(())
    }

    /// The highest epoch.
    pub fn epoch(&self) -> u64 {
        *self.changed.borrow()
    }

    /// Hears of new directives.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Hears of what nodes answer.
    pub fn answers(&self) -> watch::Receiver<u64> {
        self.answered.subscribe()
    }

    /// Says that a node has answered.
    pub fn note_answer(&self) {
        self.answered.send_modify(|count| *count += 1);
    }

    /// Hears of new records.
    pub fn arrivals(&self) -> watch::Receiver<u64> {
        self.arrived.subscribe()
    }

    /// Says that records have come.
    pub fn note_arrival(&self) {
        self.arrived.send_modify(|count| *count += 1);
    }

    /// A directive.
    pub fn get(&self, epoch: u64) -> Option<Arc<Known>> {
        let directives = self
            .directives
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        directives
            .iter()
            .find(|known| known.issued.epoch == epoch)
            .cloned()
    }

    /// Every directive, oldest first.
    pub fn all(&self) -> Vec<Arc<Known>> {
        self.directives
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The directives after an epoch, and the newest of these.
    pub fn after(&self, epoch: u64) -> Vec<Arc<Known>> {
        let directives = self
            .directives
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let from = directives.partition_point(|known| known.issued.epoch <= epoch);
        directives[from..].to_vec()
    }

    /// Notes that a node is connected, and ends the connection that it had before.
    pub fn connect(self: &Arc<Self>, node: &str) -> Connection {
        let (displaced, when_displaced) = oneshot::channel();
        let mut connected = self
            .connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let number = connected.get(node).map_or(0, |earlier| earlier.number + 1);
        let here = Connected {
            number,
            _displaced: displaced,
        };
        connected.insert(node.to_owned(), here);
        drop(connected);
        self.note_answer();
        Connection {
            fleet: Arc::clone(self),
            node: node.to_owned(),
            number,
            displaced: when_displaced,
        }
    }

    /// Whether a node is connected.
    pub fn is_connected(&self, node: &str) -> bool {
        let connected = self
            .connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        connected.contains_key(node)
    }

    /// How many nodes are connected.
    pub fn connected(&self) -> usize {
        self.connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }
}

/// A node's connection, which is over when this is dropped.
pub struct Connection {
    fleet: Arc<Fleet>,
    node: String,
    number: u64,
    /// Resolves when the node has connected anew.
    pub displaced: oneshot::Receiver<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut connected = self
            .fleet
            .connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if connected
            .get(&self.node)
            .is_some_and(|here| here.number == self.number)
        {
            connected.remove(&self.node);
        }
        drop(connected);
        self.fleet.note_answer();
    }
}

fn known(issued: Issued) -> Result<Arc<Known>, StoreError> {
    let directive =
        Directive::decode(&issued.signed.body[..]).map_err(|error| StoreError::Garbled {
            path: "directives".into(),
            what: format!("directive {}: {error}", issued.epoch),
        })?;
    Ok(Arc::new(Known { issued, directive }))
}

/// Whether a node is meant.
pub fn selects(selector: &Selector, node: &str, labels: &BTreeMap<String, String>) -> bool {
    let named = selector.names.is_empty() || selector.names.iter().any(|name| name == node);
    named
        && selector
            .labels
            .iter()
            .all(|(name, value)| labels.get(name) == Some(value))
}

/// Whether a directive holds on at a node once it is in force there, so that a node that has lost it
/// must get it again.
fn stands(known: &Known, lifted: &[u64]) -> bool {
    match &known.directive.what {
        Some(What::Policy(_)) => true,
        Some(What::Revocation(revocation)) => {
            !matches!(revocation.scope, Some(Scope::Session(_)) | None)
                && !lifted.contains(&known.issued.epoch)
        }
        _ => false,
    }
}

/// Whether nothing more is to be heard of a directive.
pub fn is_final(known: &Known, outcome: &NodeOutcome) -> bool {
    let needs = match known.directive.what {
        Some(What::Revocation(_)) => State::TreeEmpty,
        _ => State::InForce,
    };
    outcome.state() == needs || outcome.state() == State::Refused
}

/// What a node still lacks, in the order in which it must have it: what ends sessions comes first.
/// `holds` are the standing directives that the node says it has.
pub fn lacking(
    all: &[Arc<Known>],
    (node, labels): (&str, &BTreeMap<String, String>),
    holds: &[u64],
    outcomes: &BTreeMap<u64, NodeOutcome>,
) -> Vec<Arc<Known>> {
    let mine = all
        .iter()
        .filter(|known| selects(&known.issued.nodes, node, labels));
    let mine: Vec<&Arc<Known>> = mine.collect();
    let lifted: Vec<u64> = mine
        .iter()
        .filter_map(|known| match &known.directive.what {
            Some(What::Lift(lift)) => Some(lift.epoch),
            _ => None,
        })
        .collect();
    let mut newest: HashMap<&str, u64> = HashMap::new();
    for known in &mine {
        if let Some(agent) = agent_of(known) {
            newest.insert(agent, known.issued.epoch);
        }
    }
    let lacks = |known: &&Arc<Known>| {
        let epoch = known.issued.epoch;
        if agent_of(known).is_some_and(|agent| newest.get(agent) != Some(&epoch)) {
            return false;
        }
        match outcomes.get(&epoch) {
            Some(outcome) if outcome.state() == State::Refused => false,
            Some(outcome) if is_final(known, outcome) => {
                stands(known, &lifted) && !holds.contains(&epoch)
            }
            _ => true,
        }
    };
    let mut lacking: Vec<Arc<Known>> = mine.into_iter().filter(lacks).cloned().collect();
    lacking.sort_by_key(|known| (!is_urgent(known), known.issued.epoch));
    lacking
}

/// The agent whose policy a directive brings or takes.
pub fn agent_of(known: &Known) -> Option<&str> {
    match &known.directive.what {
        Some(What::Policy(policy)) => Some(&policy.agent),
        Some(What::Withdrawal(withdrawal)) => Some(&withdrawal.agent),
        _ => None,
    }
}

fn is_urgent(known: &Known) -> bool {
    matches!(
        known.directive.what,
        Some(What::Revocation(_) | What::Lift(_))
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_proto::wire::{Lift, Policy, Revocation};

    fn at(epoch: u64, names: &[&str], what: What) -> Arc<Known> {
        Arc::new(Known {
            issued: Issued {
                epoch,
                signed: SignedDirective::default(),
                nodes: Selector {
                    names: names.iter().map(|name| (*name).to_owned()).collect(),
                    ..Selector::default()
                },
            },
            directive: Directive {
                epoch,
                what: Some(what),
                ..Directive::default()
            },
        })
    }

    fn policy(agent: &str) -> What {
        What::Policy(Policy {
            agent: agent.into(),
            ..Policy::default()
        })
    }

    fn revocation(scope: Scope) -> What {
        What::Revocation(Revocation { scope: Some(scope) })
    }

    fn outcome(state: State) -> NodeOutcome {
        NodeOutcome {
            state: state.into(),
            ..NodeOutcome::default()
        }
    }

    fn epochs(all: &[Arc<Known>], holds: &[u64], outcomes: &[(u64, State)]) -> Vec<u64> {
        let outcomes = outcomes
            .iter()
            .map(|(epoch, state)| (*epoch, outcome(*state)))
            .collect();
        let lacking = lacking(all, ("n", &BTreeMap::new()), holds, &outcomes);
        lacking.iter().map(|known| known.issued.epoch).collect()
    }

    #[test]
    fn what_ends_sessions_comes_first_and_only_the_newest_policy_at_all() {
        let all = [
            at(1, &[], policy("a")),
            at(2, &[], policy("b")),
            at(3, &["n"], policy("a")),
            at(4, &["other"], policy("a")),
            at(5, &[], revocation(Scope::Agent("a".into()))),
        ];
        assert_eq!(epochs(&all, &[], &[]), [5, 2, 3]);
    }

    #[test]
    fn what_was_answered_is_not_told_again_unless_it_stands_and_was_lost() {
        let all = [
            at(1, &[], revocation(Scope::Agent("a".into()))),
            at(2, &[], revocation(Scope::Session("s".into()))),
            at(3, &[], policy("a")),
        ];
        let done = [
            (1, State::TreeEmpty),
            (2, State::TreeEmpty),
            (3, State::InForce),
        ];
        assert_eq!(epochs(&all, &[1, 3], &done), [0; 0]);
        assert_eq!(epochs(&all, &[], &done), [1, 3]);
        assert_eq!(
            epochs(&all, &[1, 3], &[(1, State::InForce), (2, State::Received)]),
            [1, 2, 3]
        );
        assert_eq!(
            epochs(&all, &[], &[(1, State::Refused), (3, State::Refused)]),
            [2]
        );
    }

    #[test]
    fn a_lifted_revocation_stands_no_more() {
        let all = [
            at(1, &[], revocation(Scope::Everything(true))),
            at(2, &[], What::Lift(Lift { epoch: 1 })),
        ];
        assert_eq!(epochs(&all, &[], &[]), [1, 2]);
        assert_eq!(
            epochs(&all, &[], &[(1, State::TreeEmpty), (2, State::InForce)]),
            [0; 0]
        );
    }

    #[test]
    fn nodes_are_selected_by_name_and_labels() {
        let labels: BTreeMap<String, String> = [("zone".into(), "a".into())].into();
        let by = |names: &[&str], zone: &str| Selector {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            labels: [("zone".to_owned(), zone.to_owned())].into(),
        };
        assert!(selects(&Selector::default(), "n", &labels));
        assert!(selects(&by(&[], "a"), "n", &labels));
        assert!(selects(&by(&["n"], "a"), "n", &labels));
        assert!(!selects(&by(&["n"], "b"), "n", &labels));
        assert!(!selects(&by(&["m"], "a"), "n", &labels));
    }
}
