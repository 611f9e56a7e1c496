//! Directives in any order, signed or not, whole or changed, again and again: a node never carries
//! out what is not signed by its controller, what is older than what it has had, or the same twice.

#![no_main]

use agent_proto::accept::{self, Had, Verdict};
use agent_proto::seal::{Key, Purpose};
use agent_proto::wire::directive::What;
use agent_proto::wire::revocation::Scope;
use agent_proto::wire::{Directive, Lift, Policy, Revocation, SignedDirective, Withdrawal};
use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use std::sync::LazyLock;

static OURS: LazyLock<Key> = LazyLock::new(draw);
static OTHER: LazyLock<Key> = LazyLock::new(draw);

fn draw() -> Key {
    Key::from_pkcs8(&Key::draw().expect("a key")).expect("a key")
}

#[derive(Debug, Arbitrary)]
enum Kind {
    Revoke,
    Lift,
    Policy,
    Withdrawal,
    Nothing,
}

#[derive(Debug, Arbitrary)]
enum Act {
    /// A directive of the controller's.
    Ours {
        epoch: u8,
        kind: Kind,
    },
    /// One that is not quite.
    Foreign {
        epoch: u8,
        kind: Kind,
    },
    Unknown {
        epoch: u8,
        kind: Kind,
    },
    Forged {
        epoch: u8,
        kind: Kind,
    },
    Changed {
        which: u8,
        at: u16,
        mask: u8,
    },
    Raw {
        length: u8,
    },
    /// One that came before.
    Again {
        which: u8,
    },
}

fn directive(epoch: u8, kind: &Kind) -> Directive {
    let scope = Some(Scope::Agent("a".into()));
    let what = match kind {
        Kind::Revoke => Some(What::Revocation(Revocation { scope })),
        Kind::Lift => Some(What::Lift(Lift { epoch: 1 })),
        Kind::Policy => Some(What::Policy(Policy {
            agent: "a".into(),
            ..Policy::default()
        })),
        Kind::Withdrawal => Some(What::Withdrawal(Withdrawal { agent: "a".into() })),
        Kind::Nothing => None,
    };
    Directive {
        controller: "c".into(),
        epoch: epoch.into(),
        what,
        ..Directive::default()
    }
}

fn seal(key: &Key, directive: &Directive) -> SignedDirective {
    let body = directive.encode_to_vec();
    let signature = key.sign(Purpose::Directive, &body);
    SignedDirective { body, signature }
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Unstructured::new(bytes);
    let keys = [OURS.public()];
    let (mut orders, mut policies, mut newest) = (0, 0, None::<Vec<u8>>);
    let mut came: Vec<SignedDirective> = Vec::new();
    let mut done: Vec<Vec<u8>> = Vec::new();
    while let Ok(act) = Act::arbitrary(&mut input) {
        if came.len() > 40 || input.is_empty() {
            break;
        }
        let signed = match act {
            Act::Ours { epoch, kind } => seal(&OURS, &directive(epoch, &kind)),
            Act::Foreign { epoch, kind } => seal(
                &OURS,
                &Directive {
                    controller: "d".into(),
                    ..directive(epoch, &kind)
                },
            ),
            Act::Unknown { epoch, kind } => seal(
                &OURS,
                &Directive {
                    requires: vec!["x".into()],
                    ..directive(epoch, &kind)
                },
            ),
            Act::Forged { epoch, kind } => seal(&OTHER, &directive(epoch, &kind)),
            Act::Changed { which, at, mask } if !came.is_empty() && mask != 0 => {
                let mut changed = came[usize::from(which) % came.len()].clone();
                let length = changed.body.len() + changed.signature.len();
                let at = usize::from(at) % length.max(1);
                match at.checked_sub(changed.body.len()) {
                    Some(at) if at < changed.signature.len() => changed.signature[at] ^= mask,
                    None => changed.body[at] ^= mask,
                    Some(_) => {}
                }
                changed
            }
            Act::Raw { length } => SignedDirective {
                body: input
                    .bytes(usize::from(length).min(input.len()))
                    .expect("there")
                    .to_vec(),
                signature: vec![1; 64],
            },
            Act::Again { which } if !came.is_empty() => {
                came[usize::from(which) % came.len()].clone()
            }
            Act::Changed { .. } | Act::Again { .. } => continue,
        };
        let Ok(read) = Directive::decode(&signed.body[..]) else {
            continue;
        };
        let had = Had {
            controller: "c",
            keys: &keys,
            orders,
            policies,
            newest: newest.as_deref(),
            holds: &[],
        };
        if accept::judge(&had, &signed, &read) == Verdict::Do {
            // Ed25519 signs the same bytes in the same way: whoever has another one has forged it.
            assert_eq!(
                signed.signature,
                OURS.sign(Purpose::Directive, &signed.body),
                "forged"
            );
            assert_eq!(read.controller, "c");
            assert!(read.requires.is_empty());
            assert!(!done.contains(&signed.body), "carried out twice");
            let last = if accept::is_order(&read) {
                &mut orders
            } else {
                &mut policies
            };
            assert!(read.epoch > *last, "older");
            *last = read.epoch;
            newest = Some(signed.body.clone());
            done.push(signed.body.clone());
        }
        came.push(signed);
    }
});
