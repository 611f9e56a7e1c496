//! Questions of all nodes that wait for a person, and who has said yes so far.
//!
//! Kept in memory: a node tells all of its questions again when it connects. What is final is a directive,
//! which is stored; a first yes of two is not, and is asked for again after a restart.

use agent_proto::wire::{NodeQuestion, Question};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;

/// Questions of one node that are kept. A node holds no more.
const MOST: usize = 8192;

/// The longest body of a question.
const MAX_BODY: usize = 64 * 1024;

/// What is said to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Whether it is yes.
    pub yes: bool,
    /// Who says it.
    pub who: String,
}

/// Why somebody's word is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// Nobody asks this.
    #[error("no question {0} is open: `interlock ctl approvals` lists them")]
    NoQuestion(String),
    /// Several nodes do.
    #[error("question {0} is open on nodes {1}: name one with --node")]
    Several(String, String),
    /// It has its answer.
    #[error("question {0} is answered already, by directive {1}")]
    Answered(String, u64),
    /// One person is one person.
    #[error("{1} has said yes to question {0} already: somebody else must, too")]
    Again(String, String),
}

/// What follows from a word.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// The node that asks.
    pub node: String,
    /// The question.
    pub question: Question,
    /// Who agrees, the last one included.
    pub people: Vec<String>,
    /// How many more must.
    pub missing: u32,
}

#[derive(Debug, Clone)]
struct Open {
    question: Question,
    yes: Vec<String>,
    /// Somebody's last word is about to be a directive, or is it.
    closed: Option<u64>,
}

/// All questions, by node and number.
pub struct Approvals {
    open: Mutex<BTreeMap<(String, String), Open>>,
    changed: watch::Sender<u64>,
}

impl Default for Approvals {
    fn default() -> Self {
        Self {
            open: Mutex::default(),
            changed: watch::channel(0).0,
        }
    }
}

impl Approvals {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, String), Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears of changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn note_change(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Takes what a node says is open there. What it does not name is over.
    pub fn take(&self, node: &str, told: Vec<Question>) {
        let mut open = self.lock();
        let before: Vec<_> = open.keys().filter(|(of, _)| of == node).cloned().collect();
        let mut changed = false;
        let mut now = BTreeMap::new();
        for question in told.into_iter().take(MOST) {
            if question.body.len() <= MAX_BODY {
                now.insert((node.to_owned(), question.question.clone()), question);
            }
        }
        for key in before {
            // Another question under the same number is another question.
            let is_same = now.get(&key) == open.get(&key).map(|open| &open.question);
            if !is_same {
                open.remove(&key);
                changed = true;
            }
        }
        for (key, question) in now {
            open.entry(key).or_insert_with(|| {
                changed = true;
                Open {
                    question,
                    yes: Vec::new(),
                    closed: None,
                }
            });
        }
        drop(open);
        if changed {
            self.note_change();
        }
    }

    /// All that is open, the oldest first on each node.
    pub fn list(&self) -> Vec<NodeQuestion> {
        let open = self.lock();
        let each = open.iter().map(|((node, _), open)| NodeQuestion {
            node: node.clone(),
            question: Some(open.question.clone()),
            connected: false,
            yes: open.yes.clone(),
            epoch: open.closed.unwrap_or(0),
        });
        each.collect()
    }

    /// Takes somebody's word. Where nothing is missing any more, the question is closed to others until
    /// [`close`](Self::close).
    pub fn say(&self, node: &str, number: &str, said: Said) -> Result<Taken, NotTaken> {
        let mut open = self.lock();
        let matches = |(of, question): &&(String, String)| {
            question == number && (node.is_empty() || of == node)
        };
        let keys: Vec<_> = open.keys().filter(matches).cloned().collect();
        let key = match keys.as_slice() {
            [] => return Err(NotTaken::NoQuestion(number.to_owned())),
            [key] => key.clone(),
            several => {
                let nodes: Vec<_> = several.iter().map(|(node, _)| node.as_str()).collect();
                return Err(NotTaken::Several(number.to_owned(), nodes.join(", ")));
            }
        };
        let Some(asked) = open.get_mut(&key) else {
            return Err(NotTaken::NoQuestion(number.to_owned()));
        };
        if let Some(epoch) = asked.closed {
            return Err(NotTaken::Answered(number.to_owned(), epoch));
        }
        let needed = if said.yes {
            asked.question.people.max(1)
        } else {
            1
        };
        let people = if said.yes {
            if asked.yes.contains(&said.who) {
                return Err(NotTaken::Again(number.to_owned(), said.who));
            }
            asked.yes.push(said.who);
            asked.yes.clone()
        } else {
            vec![said.who]
        };
        let missing = needed.saturating_sub(u32::try_from(people.len()).unwrap_or(u32::MAX));
        if missing == 0 {
            asked.closed = Some(0);
        }
        let taken = Taken {
            node: key.0,
            question: asked.question.clone(),
            people,
            missing,
        };
        drop(open);
        self.note_change();
        Ok(taken)
    }

    /// Notes the directive that answers a question; without one, nobody has answered after all.
    pub fn close(&self, taken: &Taken, epoch: Option<u64>) {
        let mut open = self.lock();
        let key = (taken.node.clone(), taken.question.question.clone());
        if let Some(open) = open.get_mut(&key) {
            open.closed = epoch;
            if epoch.is_none() {
                open.yes.clear();
            }
        }
        drop(open);
        self.note_change();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(number: &str, people: u32) -> Question {
        Question {
            question: number.into(),
            people,
            body: b"{}".to_vec(),
            ..Question::default()
        }
    }

    fn said(yes: bool, who: &str) -> Said {
        let who = who.to_owned();
        Said { yes, who }
    }

    #[test]
    fn one_yes_answers_and_another_comes_too_late() {
        let approvals = Approvals::default();
        approvals.take("n", vec![question("1", 0)]);
        let taken = approvals.say("", "1", said(true, "ada")).expect("taken");
        assert_eq!((taken.missing, taken.people.len()), (0, 1));
        approvals.close(&taken, Some(7));
        let late = approvals.say("", "1", said(false, "bob"));
        assert_eq!(late, Err(NotTaken::Answered("1".into(), 7)));
        approvals.take("n", Vec::new());
        assert!(approvals.list().is_empty());
    }

    #[test]
    fn two_people_are_two() {
        let approvals = Approvals::default();
        approvals.take("n", vec![question("1", 2)]);
        let first = approvals.say("n", "1", said(true, "ada")).expect("taken");
        assert_eq!(first.missing, 1);
        let again = approvals.say("n", "1", said(true, "ada"));
        assert_eq!(again, Err(NotTaken::Again("1".into(), "ada".into())));
        // That the node tells it again forgets nobody's word.
        approvals.take("n", vec![question("1", 2)]);
        let second = approvals.say("n", "1", said(true, "bob")).expect("taken");
        assert_eq!((second.missing, second.people.len()), (0, 2));
        // One no is enough.
        approvals.take("n", vec![question("1", 2), question("2", 2)]);
        let no = approvals.say("n", "2", said(false, "ada")).expect("taken");
        assert_eq!(no.missing, 0);
    }

    #[test]
    fn a_yes_is_not_carried_to_another_question_of_the_same_number() {
        let approvals = Approvals::default();
        approvals.take("n", vec![question("1", 2)]);
        approvals.say("n", "1", said(true, "ada")).expect("taken");
        let mut other = question("1", 2);
        other.body = b"{\"other\":1}".to_vec();
        approvals.take("n", vec![other]);
        let taken = approvals.say("n", "1", said(true, "bob")).expect("taken");
        assert_eq!((taken.missing, taken.people), (1, vec!["bob".to_owned()]));
    }

    #[test]
    fn one_number_on_two_nodes_needs_the_node() {
        let approvals = Approvals::default();
        approvals.take("n", vec![question("1", 0)]);
        approvals.take("m", vec![question("1", 0)]);
        let which = approvals.say("", "1", said(true, "ada"));
        assert_eq!(which, Err(NotTaken::Several("1".into(), "m, n".into())));
        assert_eq!(
            approvals.say("m", "1", said(true, "ada")).expect("m").node,
            "m"
        );
        let none = approvals.say("n", "2", said(true, "ada"));
        assert_eq!(none, Err(NotTaken::NoQuestion("2".into())));
    }
}
