//! Lints: what a policy says and its author perhaps does not mean.

use std::collections::BTreeSet;

use agent_common::path::Access;

use crate::compile::{AnyRule, Authored, Compiled, Need, Place};
use crate::demand::not_enforced;
use crate::policy::{
    Destination, Direction, Effect, Network, Pattern, Policy, PortRange, Protocol,
};
use crate::text::{Diagnostic, Diagnostics, Severity, Span};

/// Bits of an IPv4 and an IPv6 network below which a rule that allows is a wildcard.
const NARROW: (u8, u8) = (96 + 8, 16);

/// Checks a policy. Where the kernel side can enforce only some needs, `enforceable` names them, and
/// a policy that needs more is an error.
pub fn check(policy: &Policy, enforceable: Option<&[Need]>) -> Diagnostics {
    let compiled = match policy.compile() {
        Ok(compiled) => compiled,
        Err(found) => return found,
    };
    let mut lints = Lints {
        policy,
        authored: policy.authored(),
        found: Vec::new(),
    };
    lints.silent_rules(&compiled);
    lints.contradictions();
    lints.wildcards();
    lints.metadata();
    lints.host_names();
    lints.gateway();
    lints.writable_programs();
    lints.approvals();
    lints.facts();
    lints.privileges();
    let mut found = lints.found;
    if let Some(enforced) = enforceable {
        found.extend(not_enforced(policy, &compiled, enforced).iter().cloned());
    }
    Diagnostics::new(found)
}

struct Lints<'p> {
    policy: &'p Policy,
    authored: Vec<Authored<'p>>,
    found: Vec<Diagnostic>,
}

impl Lints<'_> {
    fn say(&mut self, severity: Severity, span: Span, message: String, help: &str) {
        let source = &self.policy.source;
        self.found
            .push(source.diagnostic(severity, span, message).with_help(help));
    }

    fn warn(&mut self, span: Span, message: String, help: &str) {
        self.say(Severity::Warning, span, message, help);
    }

    /// The policy's own rules, those of profiles left out: their authors check them.
    fn own(&self) -> Vec<(usize, Authored<'_>)> {
        let own = |rule: &Authored<'_>| {
            std::sync::Arc::ptr_eq(&rule.common().source, &self.policy.source)
        };
        self.authored
            .iter()
            .copied()
            .enumerate()
            .filter(|(_, rule)| own(rule))
            .collect()
    }

    fn silent_rules(&mut self, compiled: &Compiled) {
        let speaking: BTreeSet<u32> = compiled.rules.iter().map(|rule| rule.number).collect();
        let silent =
            |number: usize| u32::try_from(number).is_ok_and(|number| !speaking.contains(&number));
        let mut found = Vec::new();
        for (number, rule) in self.own() {
            if silent(number) {
                let message = format!("found a shadowed rule: \"{rule}\" never decides");
                found.push((rule.common().span, message));
            }
        }
        for (span, message) in found {
            self.warn(
                span,
                message,
                "another rule for the same objects always decides before it: remove one of them",
            );
        }
        let steps: Vec<(usize, Span, String)> = self
            .policy
            .chain
            .steps()
            .enumerate()
            .map(|(i, (_, step))| (i, step.span, step.name.clone()))
            .collect();
        for (i, span, name) in steps {
            let mut actions = self
                .authored
                .iter()
                .enumerate()
                .filter(|(_, rule)| rule.place == Place::Step(i));
            if actions.all(|(number, _)| silent(number)) {
                let message = format!("found an unreachable step: nothing performs \"{name}\"");
                self.warn(
                    span,
                    message,
                    "each of its actions is decided by another rule first",
                );
            }
        }
    }

    fn privileges(&mut self) {
        let risky = self.policy.privileges.iter();
        for (privilege, span) in risky.filter(|(privilege, _)| privilege.undoes_enforcement()) {
            let message = format!(
                "found privilege \"{privilege}\": a session that has it and runs as root can undo its own enforcement"
            );
            self.warn(
                *span,
                message,
                "take it away, or run the agent as a user who lacks the rights to use it",
            );
        }
    }

    fn contradictions(&mut self) {
        let mut found = Vec::new();
        for (_, rule) in self.own() {
            let common = rule.common();
            for (left, right, words) in [
                (&common.requires, &common.forbids, "required and forbidden"),
                (&common.sets, &common.clears, "set and cleared"),
            ] {
                for word in left
                    .iter()
                    .filter(|word| right.iter().any(|other| other.text == word.text))
                {
                    found.push((
                        word.span,
                        format!("found a contradiction: \"{}\" is both {words}", word.text),
                    ));
                }
            }
        }
        for (span, message) in found {
            self.warn(span, message, "keep one of the two");
        }
    }

    /// The networks that the policy's own rules allow.
    fn allowed_networks(&self) -> Vec<(Network, Span)> {
        let mut found = Vec::new();
        for (_, rule) in self.own() {
            let AnyRule::Egress(egress) = rule.rule else {
                continue;
            };
            if egress.common.effect != Effect::Allow {
                continue;
            }
            for (to, span) in &egress.to {
                if let Destination::Network(network) = to {
                    found.push((*network, *span));
                }
            }
        }
        found
    }

    fn wildcards(&mut self) {
        let mut found = Vec::new();
        for (network, span) in self.allowed_networks() {
            let least = if network.is_v4() { NARROW.0 } else { NARROW.1 };
            if network.prefix_len() < least {
                let message =
                    format!("found wildcard egress: {network} is a large part of the Internet");
                found.push((span, message));
            }
        }
        for (span, message) in found {
            self.warn(
                span,
                message,
                "name the networks that the agent needs; loopback, multicast and metadata addresses are not among these",
            );
        }
    }

    fn metadata(&mut self) {
        let mut found = Vec::new();
        for (network, span) in self.allowed_networks() {
            let least = if network.is_v4() { NARROW.0 } else { NARROW.1 };
            for service in [Network::METADATA_V4, Network::METADATA_V6] {
                let around = network.covers(&service) && network != service;
                if around && network.is_v4() == service.is_v4() && network.prefix_len() >= least {
                    let message = format!(
                        "found {network}, which does not include {service}: that is the host's metadata service"
                    );
                    found.push((span, message));
                }
            }
        }
        for (span, message) in found {
            self.warn(
                span,
                message,
                "name the address itself if the agent is to have the host's credentials",
            );
        }
    }

    fn host_names(&mut self) {
        let mut found = Vec::new();
        let mut servers = Vec::new();
        let mut names = false;
        for (_, rule) in self.own() {
            let AnyRule::Egress(egress) = rule.rule else {
                continue;
            };
            for (to, span) in &egress.to {
                match to {
                    Destination::Host(host) => {
                        names = true;
                        if egress.common.effect == Effect::Allow
                            && host.below
                            && is_shared(&host.name)
                        {
                            found.push((
                                *span,
                                format!("found {host}, below which anybody can have a name"),
                            ));
                        }
                    }
                    Destination::Network(_) if egress.direction == Direction::Egress => {
                        let is_one = |range: &PortRange| (range.first, range.last) == (53, 53);
                        if egress.ports.iter().any(is_one) {
                            servers.push((*span, format!("found port 53 of {to}, which no session reaches: the policy names hosts, so lookups go to Interlock's own resolver")));
                        }
                    }
                    _ => {}
                }
            }
        }
        for (span, message) in found {
            self.warn(
                span,
                message,
                "name the hosts themselves: who has such a name can be told anything",
            );
        }
        if names {
            for (span, message) in servers {
                self.warn(
                    span,
                    message,
                    "take it out: names need no rule for a server",
                );
            }
        }
    }

    /// Rules that a gateway leaves without effect.
    fn gateway(&mut self) {
        if self.policy.rules.via.is_none() {
            return;
        }
        let mut found = Vec::new();
        for (_, rule) in self.own() {
            let AnyRule::Egress(egress) = rule.rule else {
                continue;
            };
            let leaves = |to: &Destination| match to {
                Destination::Network(network) => {
                    let own = [Network::LOOPBACK_V4, Network::LOOPBACK_V6];
                    !own.iter().any(|own| own.covers(network))
                }
                Destination::Host(_) => true,
                Destination::Unix(_) | Destination::Agent(_) => false,
            };
            if egress.direction == Direction::Egress
                && egress.common.effect == Effect::Allow
                && egress.protocol == Some(Protocol::Udp)
                && let Some((to, span)) = egress.to.iter().find(|(to, _)| leaves(to))
            {
                let message = format!("found egress to {to} by udp, which no gateway carries");
                found.push((*span, message));
            }
        }
        for (span, message) in found {
            let help = "it is denied: what goes through the gateway is TCP alone";
            self.warn(span, message, help);
        }
    }

    fn writable_programs(&mut self) {
        let mut found = Vec::new();
        for (_, rule) in self.own() {
            let AnyRule::Exec(exec) = rule.rule else {
                continue;
            };
            if exec.common.effect != Effect::Allow || exec.not_writable {
                continue;
            }
            for (program, span) in &exec.programs {
                let writable = self.authored.iter().find_map(|other| match other.rule {
                    AnyRule::File(files)
                        if files.common.effect == Effect::Allow
                            && files.access.iter().any(|access| {
                                matches!(
                                    access,
                                    Access::Write | Access::Create | Access::Rename | Access::Link
                                )
                            }) =>
                    {
                        files.paths.iter().find(|(path, _)| meet(path, program))
                    }
                    _ => None,
                });
                if let Some((path, _)) = writable {
                    found.push((*span, format!("found exec of {program} where the agent may write {path}: it can run what it likes")));
                }
            }
        }
        for (span, message) in found {
            self.warn(span, message, "add \"notWritable: true\" to the exec rule");
        }
    }

    fn approvals(&mut self) {
        let own = [
            self.policy.name.clone(),
            format!("agent:{}", self.policy.name),
        ];
        let rules = self
            .authored
            .iter()
            .filter_map(|rule| rule.common().approval.as_ref());
        let steps = self
            .policy
            .chain
            .steps()
            .filter_map(|(_, step)| step.approval.as_ref());
        let found: Vec<Span> = rules
            .chain(steps)
            .filter(|approval| approval.by.iter().all(|by| own.contains(by)))
            .map(|approval| approval.span)
            .collect();
        for span in found {
            let message =
                "found an approval that nobody can give: an agent never approves itself".to_owned();
            self.warn(span, message, "name a person or a group in \"by\"");
        }
    }

    fn facts(&mut self) {
        let mut found = Vec::new();
        for fact in &self.policy.facts {
            let named =
                |words: &[crate::policy::Word]| words.iter().any(|word| word.text == fact.name);
            let commons = || self.policy.commons();
            if !commons().any(|common| named(&common.sets)) {
                found.push((
                    fact.span,
                    format!("found fact \"{}\" that no rule sets", fact.name),
                ));
            }
            if !commons().any(|common| named(&common.requires) || named(&common.forbids)) {
                found.push((
                    fact.span,
                    format!(
                        "found fact \"{}\" that no rule requires or forbids",
                        fact.name
                    ),
                ));
            }
        }
        for (span, message) in found {
            self.warn(span, message, "use it or remove it");
        }
    }
}

/// Whether a file can be meant by both patterns.
fn meet(left: &Pattern, right: &Pattern) -> bool {
    match (left, right) {
        (Pattern::Under(_) | Pattern::Exact(_), Pattern::Under(_) | Pattern::Exact(_)) => {
            left.covers(right) || right.covers(left)
        }
        (Pattern::Abstract(_), _) | (_, Pattern::Abstract(_)) => left == right,
        (Pattern::Exact(path), other) | (other, Pattern::Exact(path)) => other.matches(path),
        (Pattern::Name(a), Pattern::Name(b)) | (Pattern::Extension(a), Pattern::Extension(b)) => {
            a == b
        }
        (name @ Pattern::Name(_), extension) | (extension, name @ Pattern::Name(_)) => {
            extension.covers(name) || matches!(extension, Pattern::Under(_))
        }
        _ => true,
    }
}

/// Whether a domain is one of the well-known ones in which names are given to whoever asks. Not the whole
/// list of them: those that stand in policies by mistake.
fn is_shared(domain: &str) -> bool {
    const SHARED: &[&str] = &[
        "amazonaws.com",
        "appspot.com",
        "azureedge.net",
        "azurewebsites.net",
        "blogspot.com",
        "cloudapp.net",
        "cloudfront.net",
        "co.jp",
        "co.uk",
        "com.au",
        "com.br",
        "com.cn",
        "core.windows.net",
        "firebaseapp.com",
        "fly.dev",
        "github.io",
        "gitlab.io",
        "herokuapp.com",
        "netlify.app",
        "ngrok.io",
        "onrender.com",
        "org.uk",
        "pages.dev",
        "r2.dev",
        "run.app",
        "vercel.app",
        "web.app",
        "workers.dev",
    ];
    SHARED.contains(&domain)
}
