//! Whether a node carries out a directive. It is decided by what the node has had before, and by
//! nothing else.

use crate::seal::{self, Purpose};
use crate::version;
use crate::wire::directive::What;
use crate::wire::{Directive, SignedDirective};

/// What is to be done with a directive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is new.
    Do,
    /// It came before: what it asks for is so.
    Done,
    /// It is none for this node, and why.
    Refuse(String),
}

/// What a node has had.
#[derive(Debug, Clone, Copy)]
pub struct Had<'a> {
    /// The controller that it obeys.
    pub controller: &'a str,
    /// By whose keys.
    pub keys: &'a [Vec<u8>],
    /// The highest epoch of what ends sessions, or lets them begin again.
    pub orders: u64,
    /// The highest epoch of everything else.
    pub policies: u64,
    /// The newest directive, as it came.
    pub newest: Option<&'a [u8]>,
    /// Those that stand.
    pub holds: &'a [u64],
}

/// Judges a directive.
pub fn judge(had: &Had<'_>, signed: &SignedDirective, directive: &Directive) -> Verdict {
    let SignedDirective { body, signature } = signed;
    if !seal::is_signed(had.keys, Purpose::Directive, body, signature) {
        let why = "forged: it is not signed by this node's controller";
        return Verdict::Refuse(why.into());
    }
    if directive.controller != had.controller {
        let other = &directive.controller;
        return Verdict::Refuse(format!("it is from another controller, {other}"));
    }
    if let Err(error) = version::know(&directive.requires) {
        return Verdict::Refuse(error.to_string());
    }
    let last = match is_order(directive) {
        true => had.orders,
        false => had.policies,
    };
    let epoch = directive.epoch;
    if epoch > last {
        return Verdict::Do;
    }
    if had.newest == Some(body) || is_order(directive) || had.holds.contains(&epoch) {
        return Verdict::Done;
    }
    Verdict::Refuse(format!(
        "directive {epoch} is older than {last}, which this node has had"
    ))
}

/// What ends sessions, or lets them begin again, is counted apart: it does not wait for policies.
pub fn is_order(directive: &Directive) -> bool {
    matches!(directive.what, Some(What::Revocation(_) | What::Lift(_)))
}
