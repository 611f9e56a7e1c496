//! Whether a directive is to be carried out. It is decided by what the node keeps, and by nothing else.

use super::state::{Kept, Newest};
pub(super) use agent_proto::accept::Verdict;
use agent_proto::accept::{self, Had, is_order};
use agent_proto::wire::{Directive, SignedDirective};

impl Kept {
    /// Judges a directive.
    pub(super) fn judge(&self, signed: &SignedDirective, directive: &Directive) -> Verdict {
        let had = Had {
            controller: &self.controller,
            keys: &self.keys,
            orders: self.orders,
            policies: self.policies,
            newest: self.newest.as_ref().map(|newest| &newest.body[..]),
            holds: &self.holds(),
        };
        accept::judge(&had, signed, directive)
    }

    /// Notes one that is carried out. True when it is the newest of all.
    pub(super) fn note(&mut self, signed: &SignedDirective, directive: &Directive) -> bool {
        let epoch = directive.epoch;
        match is_order(directive) {
            true => self.orders = epoch,
            false => self.policies = epoch,
        }
        let newest = epoch > self.newest_epoch();
        if newest {
            self.newest = Some(Newest {
                epoch,
                body: signed.body.clone(),
                signature: signed.signature.clone(),
                refused: None,
            });
        }
        newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::central::bar::{Bar, Whom};
    use agent_proto::seal::{Key, Purpose};
    use agent_proto::wire::directive::What;
    use agent_proto::wire::revocation::Scope;
    use agent_proto::wire::{Answer, Lift, Policy, Revocation};
    use prost::Message as _;

    fn key() -> Key {
        Key::from_pkcs8(&Key::draw().expect("a key")).expect("a key")
    }

    fn kept(key: &Key) -> Kept {
        Kept {
            controller: "c".into(),
            keys: vec![key.public()],
            ..Kept::default()
        }
    }

    fn revocation() -> What {
        let scope = Some(Scope::Agent("a".into()));
        What::Revocation(Revocation { scope })
    }

    fn policy() -> What {
        What::Policy(Policy {
            agent: "a".into(),
            ..Policy::default()
        })
    }

    fn directive(epoch: u64, what: What) -> Directive {
        Directive {
            controller: "c".into(),
            epoch,
            what: Some(what),
            ..Directive::default()
        }
    }

    fn seal(key: &Key, directive: &Directive) -> SignedDirective {
        let body = directive.encode_to_vec();
        SignedDirective {
            signature: key.sign(Purpose::Directive, &body),
            body,
        }
    }

    /// Brings one, and notes it when it is new, as the node does.
    fn bring(kept: &mut Kept, key: &Key, directive: &Directive) -> Verdict {
        let signed = seal(key, directive);
        let verdict = kept.judge(&signed, directive);
        if verdict == Verdict::Do {
            kept.note(&signed, directive);
        }
        verdict
    }

    fn refusal(verdict: Verdict) -> String {
        match verdict {
            Verdict::Refuse(why) => why,
            other => panic!("{other:?}, expected a refusal"),
        }
    }

    #[test]
    fn what_was_refused_is_refused_when_it_comes_again_and_says_why() {
        let key = key();
        let mut kept = kept(&key);
        bring(&mut kept, &key, &directive(4, policy()));
        assert_eq!(kept.refusal(4), None);
        kept.note_refusal(4, "no room");
        // Also by the next daemon, which reads what this one kept.
        let written = serde_json::to_vec(&kept).expect("it can be written");
        let mut kept: Kept = serde_json::from_slice(&written).expect("it can be read");
        assert_eq!(
            bring(&mut kept, &key, &directive(4, policy())),
            Verdict::Done
        );
        assert_eq!(kept.refusal(4).as_deref(), Some("no room"));
        // What is said of one is not said of the next.
        kept.note_refusal(3, "older");
        assert_eq!(kept.refusal(4).as_deref(), Some("no room"));
        bring(&mut kept, &key, &directive(5, policy()));
        assert_eq!(kept.refusal(5), None);
    }

    #[test]
    fn what_came_before_is_done_and_an_older_policy_is_refused() {
        let key = key();
        let mut kept = kept(&key);
        assert_eq!(bring(&mut kept, &key, &directive(4, policy())), Verdict::Do);
        // Replayed: the newest, and one that stands here.
        assert_eq!(
            bring(&mut kept, &key, &directive(4, policy())),
            Verdict::Done
        );
        assert_eq!(
            bring(&mut kept, &key, &directive(5, revocation())),
            Verdict::Do
        );
        assert_eq!(
            bring(&mut kept, &key, &directive(5, revocation())),
            Verdict::Done
        );
        // In another order: a policy that is not the last word.
        let why = refusal(bring(&mut kept, &key, &directive(3, policy())));
        assert!(why.contains("older than 4"), "{why}");
        // What ends sessions does not wait for policies, and the other way round.
        assert_eq!(bring(&mut kept, &key, &directive(7, policy())), Verdict::Do);
        assert_eq!(
            bring(&mut kept, &key, &directive(6, revocation())),
            Verdict::Do
        );
        assert_eq!(kept.newest_epoch(), 7);
    }

    #[test]
    fn a_replayed_revocation_bars_nobody_again_after_it_was_lifted() {
        let key = key();
        let mut kept = kept(&key);
        assert_eq!(
            bring(&mut kept, &key, &directive(1, revocation())),
            Verdict::Do
        );
        kept.bars.push(Bar {
            epoch: 1,
            whom: Whom::Agent("a".into()),
            by: String::new(),
            reason: String::new(),
        });
        assert_eq!(
            bring(
                &mut kept,
                &key,
                &directive(2, What::Lift(Lift { epoch: 1 }))
            ),
            Verdict::Do
        );
        kept.bars.clear();
        assert_eq!(
            bring(&mut kept, &key, &directive(1, revocation())),
            Verdict::Done
        );
        assert!(kept.bars.is_empty());
    }

    #[test]
    fn a_replayed_answer_is_refused() {
        let key = key();
        let mut kept = kept(&key);
        let answer = What::Answer(Answer {
            question: "00000000000000aa".into(),
            yes: true,
            ..Answer::default()
        });
        let answer = directive(3, answer);
        assert_eq!(bring(&mut kept, &key, &answer), Verdict::Do);
        // It came again before anything else: it is answered for again, and not carried out.
        assert_eq!(bring(&mut kept, &key, &answer), Verdict::Done);
        assert_eq!(bring(&mut kept, &key, &directive(4, policy())), Verdict::Do);
        let why = refusal(bring(&mut kept, &key, &answer));
        assert!(why.contains("older than 4"), "{why}");
    }

    #[test]
    fn forged_foreign_and_unknown_directives_are_refused() {
        let (key, other) = (key(), key());
        let mut kept = kept(&key);
        let order = directive(1, revocation());
        let forged = refusal(bring(&mut kept, &other, &order));
        assert!(forged.starts_with("forged"), "{forged}");
        // Every byte of it is signed.
        let signed = seal(&key, &order);
        for at in 0..signed.body.len() {
            let mut changed = signed.clone();
            changed.body[at] ^= 1;
            refusal(kept.judge(&changed, &order));
        }
        let foreign = Directive {
            controller: "d".into(),
            ..order.clone()
        };
        let why = refusal(bring(&mut kept, &key, &foreign));
        assert!(why.contains("another controller, d"), "{why}");
        let later = Directive {
            requires: vec!["teleport".into()],
            ..order.clone()
        };
        let why = refusal(bring(&mut kept, &key, &later));
        assert!(why.contains("`teleport`"), "{why}");
        assert_eq!(kept.orders, 0, "none of these counts");
        assert_eq!(bring(&mut kept, &key, &order), Verdict::Do, "the control");
    }
}
