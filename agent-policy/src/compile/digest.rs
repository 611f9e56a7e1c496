//! The name of a compiled policy: SHA-256 over one canonical encoding. Lengths stand before what
//! they count and integers are little-endian, so no two policies share an encoding.

use sha2::{Digest, Sha256};

use crate::policy::{
    Argument, End, Grant, Image, Lookups, MinEnforcement, Mode, OnChange, OnDeviation, Owner,
    Pattern, Policy, Recognised, RevokeOn,
};

use super::plan::{ApprovalInfo, FactKind};
use super::{Compiled, NetworkEntry, Objects, PathKind, RuleSource};

/// Grows whenever the encoding changes.
const VERSION: u32 = 2;

struct Encoder(Sha256);

impl Encoder {
    fn number(&mut self, value: u64) {
        self.0.update(value.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn list<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Self, &T)) {
        self.number(items.len() as u64);
        for item in items {
            each(self, item);
        }
    }

    fn texts(&mut self, texts: &[String]) {
        self.list(texts, |encoder, text| encoder.text(text));
    }

    fn pairs(&mut self, pairs: &[(String, String)]) {
        // Labels mean the same in any order.
        let mut pairs = pairs.to_vec();
        pairs.sort();
        self.list(&pairs, |encoder, (key, value)| {
            encoder.text(key);
            encoder.text(value);
        });
    }

    fn image(&mut self, image: &Image) {
        self.text(&image.repository);
        self.maybe_text(image.tag.as_deref());
        self.maybe_text(image.digest.as_deref());
    }

    /// Nothing and an empty text are different.
    fn maybe<T>(&mut self, value: Option<T>, each: impl FnOnce(&mut Self, T)) {
        self.number(value.is_some().into());
        if let Some(value) = value {
            each(self, value);
        }
    }

    fn maybe_text(&mut self, text: Option<&str>) {
        self.maybe(text, Self::text);
    }

    fn maybe_number(&mut self, number: Option<u64>) {
        self.maybe(number, Self::number);
    }
}

pub(super) fn of(policy: &Policy, compiled: &Compiled) -> [u8; 32] {
    let mut encoder = Encoder(Sha256::new());
    encoder.text("interlock policy");
    encoder.number(VERSION.into());
    people(&mut encoder, policy);
    encoder.list(&policy.recognised, recognised);
    ends(&mut encoder, policy);
    networks(&mut encoder, &compiled.networks);
    encoder.list(&compiled.ports, |encoder, port| {
        encoder.number(port.set.into());
        encoder.number(port.protocol.into());
        encoder.number(port.port.into());
        encoder.number(port.prefix_len.into());
        encoder.number(port.rule.into());
    });
    objects(&mut encoder, &compiled.objects);
    encoder.list(&compiled.tools, |encoder, tool| {
        encoder.text(&tool.name);
        networks(encoder, &tool.networks);
        objects(encoder, &tool.objects);
    });
    rules(&mut encoder, compiled);
    terms(&mut encoder, compiled);
    // Last, and only where it says something: policies that do not have kept their names.
    if policy.on_change == OnChange::Move {
        encoder.text("on change: move");
    }
    if policy.grant == Grant::Required {
        encoder.text("grant: required");
    }
    if let Some(gateway) = &compiled.gateway {
        encoder.text("via");
        encoder.text(&gateway.to_string());
    }
    if compiled.lookups != Lookups::default() {
        encoder.text("lookups");
        lookups(&mut encoder, &compiled.lookups);
    }
    let said = |source: &RuleSource| source.because.is_some();
    if compiled.sources.iter().any(said) {
        encoder.text("because");
        encoder.list(&compiled.sources, |encoder, source| {
            encoder.maybe_text(source.because.as_deref());
        });
    }
    encoder.0.finalize().into()
}

/// What the tables do not hold: names, owners, meanings.
fn people(encoder: &mut Encoder, policy: &Policy) {
    let owner = |encoder: &mut Encoder, owner: &Owner| {
        encoder.text(&owner.name);
        encoder.text(&owner.contact);
    };
    encoder.text(&policy.name);
    encoder.pairs(&policy.labels);
    owner(encoder, &policy.owner);
    encoder.maybe_text(policy.purpose.as_deref());
    encoder.maybe_text(policy.identity.spiffe.as_deref());
    encoder.maybe_text(policy.identity.version.as_deref());
    encoder.texts(&policy.identity.models);
    encoder.list(&policy.facts, |encoder, fact| {
        encoder.text(&fact.name);
        encoder.maybe_text(fact.meaning.as_deref());
    });
    encoder.list(&policy.tools, |encoder, tool| owner(encoder, &tool.owner));
}

fn recognised(encoder: &mut Encoder, way: &Recognised) {
    match way {
        Recognised::Run => encoder.number(1),
        Recognised::Executable(pattern) => {
            encoder.number(2);
            encoder.text(match pattern {
                Pattern::Exact(path)
                | Pattern::Under(path)
                | Pattern::Name(path)
                | Pattern::Extension(path)
                | Pattern::Abstract(path) => path,
            });
        }
        Recognised::SystemdUnit(unit) => {
            encoder.number(3);
            encoder.text(unit);
        }
        Recognised::Cgroup(path) => {
            encoder.number(4);
            encoder.text(path);
        }
        Recognised::Kubernetes(pod) => {
            encoder.number(5);
            encoder.text(&pod.namespace);
            encoder.pairs(&pod.labels);
            encoder.maybe_text(pod.service_account.as_deref());
            // Only where they say something: policies without them have kept their names.
            if !pod.annotations.is_empty() {
                encoder.text("annotations");
                encoder.pairs(&pod.annotations);
            }
            if let Some(container) = &pod.container {
                encoder.text("container");
                encoder.text(container);
            }
            if let Some(image) = &pod.image {
                encoder.text("image");
                encoder.image(image);
            }
            entered(encoder, pod.entered);
            if let Some(away) = pod.when_away {
                encoder.text("whenAway");
                encoder.text(away.word());
            }
        }
        Recognised::Container(engine) => {
            encoder.number(6);
            encoder.maybe_text(engine.name.as_deref());
            encoder.maybe(engine.image.as_ref(), Encoder::image);
            encoder.pairs(&engine.labels);
            entered(encoder, engine.entered);
        }
    }
}

fn entered(encoder: &mut Encoder, entered: bool) {
    if entered {
        encoder.text("entered");
    }
}

/// How sessions end, and how firmly the policy is held.
fn ends(encoder: &mut Encoder, policy: &Policy) {
    let End {
        ttl_s,
        revoke_on,
        on_deviation,
    } = &policy.end;
    encoder.maybe_number(*ttl_s);
    encoder.list(revoke_on, |encoder, event| match event {
        RevokeOn::Completion => encoder.number(1),
        RevokeOn::Failure => encoder.number(2),
        RevokeOn::Timeout => encoder.number(3),
        RevokeOn::Deviation => encoder.number(4),
        RevokeOn::Budget => encoder.number(6),
        RevokeOn::ControllerLost(seconds) => {
            encoder.number(5);
            encoder.number(*seconds);
        }
    });
    encoder.number(match on_deviation {
        OnDeviation::Deny => 1,
        OnDeviation::Kill => 2,
        OnDeviation::Revoke => 3,
    });
    encoder.number(match policy.mode {
        Mode::Enforce => 1,
        Mode::Audit => 2,
    });
    encoder.number(match policy.min_enforcement {
        MinEnforcement::Observe => 1,
        MinEnforcement::Kill => 2,
        MinEnforcement::Block => 3,
    });
    encoder.list(&policy.chain.failed_by, |encoder, word| {
        encoder.text(&word.text);
    });
}

fn lookups(encoder: &mut Encoder, lookups: &Lookups) {
    let Lookups {
        records,
        pace,
        new_names,
        label,
        below,
        labels,
    } = lookups;
    encoder.list(records, |encoder, kind| encoder.text(kind.word()));
    for pace in [pace, new_names] {
        for number in [pace.count, pace.period_s, pace.burst] {
            encoder.number(number);
        }
    }
    for number in [label, below, labels] {
        encoder.number(*number as u64);
    }
}

fn networks(encoder: &mut Encoder, networks: &[NetworkEntry]) {
    encoder.list(networks, |encoder, network| {
        encoder.number(network.prefix_len.into());
        encoder.bytes(&network.address);
        encoder.number(network.set.into());
    });
}

fn objects(encoder: &mut Encoder, objects: &Objects) {
    networks(encoder, &objects.listen);
    encoder.list(&objects.paths, |encoder, path| {
        encoder.number(match path.kind {
            PathKind::Exact => 1,
            PathKind::Under => 2,
            PathKind::Name => 3,
            PathKind::Extension => 4,
            PathKind::Abstract => 5,
        });
        encoder.text(&path.text);
        for list in path.lists.iter().chain(&path.fallback) {
            encoder.number(u64::from(*list));
        }
    });
    encoder.list(&objects.digests, |encoder, entry| {
        encoder.bytes(&entry.digest);
        encoder.number(entry.list.into());
    });
    encoder.list(&objects.hosts, |encoder, entry| {
        encoder.text(&entry.name);
        encoder.number(entry.set.into());
    });
    encoder.list(&objects.agents, |encoder, entry| {
        encoder.text(&entry.name);
        encoder.number(entry.list.into());
    });
    encoder.number(objects.privileges);
}

fn rules(encoder: &mut Encoder, compiled: &Compiled) {
    encoder.list(&compiled.rules, |encoder, rule| {
        for mask in [rule.require, rule.forbid, rule.set, rule.clear] {
            encoder.number(mask);
        }
        for number in [rule.number, rule.traits, rule.refuse, rule.renew.into()] {
            encoder.number(number.into());
        }
        encoder.bytes(&[
            rule.verdict,
            rule.approval,
            rule.window,
            rule.tool,
            rule.flags,
            rule.step,
        ]);
        encoder.bytes(&rule.limits);
    });
    encoder.list(&compiled.sources, |encoder, source| {
        encoder.text(&source.text);
        encoder.maybe_text(source.id.as_deref());
    });
}

fn terms(encoder: &mut Encoder, compiled: &Compiled) {
    encoder.list(&compiled.terms.timers, |encoder, timer| {
        encoder.number(timer.lifetime_ns);
        encoder.number(timer.fact);
    });
    encoder.list(&compiled.terms.limits, |encoder, limit| {
        encoder.number(limit.kind.into());
        encoder.number(limit.amount);
        encoder.number(limit.burst_ns);
    });
    encoder.list(&compiled.terms.windows, |encoder, window| {
        // Its offset follows from the zone and the season.
        encoder.number(window.opens.into());
        encoder.number(window.closes.into());
        encoder.number(window.days.into());
    });
    // The flags follow from the end and the mode.
    encoder.texts(&compiled.zones);
    encoder.list(&compiled.facts, fact);
    encoder.number(compiled.initial_facts);
    encoder.number(compiled.terms.completion);
    encoder.list(&compiled.approvals, |encoder, approval| {
        let ApprovalInfo {
            fact,
            by,
            expires_s,
            once,
            show,
            wait_s,
            people,
            answer,
            waits_alone,
        } = approval;
        encoder.number((*fact).into());
        encoder.texts(by);
        encoder.maybe_number(*expires_s);
        // Where none of these is said, this is what it was before they could be.
        let more = u64::from(people.saturating_sub(1));
        let answers = u64::from(answer.is_some());
        let alone = u64::from(*waits_alone);
        encoder.number(u64::from(*once) | more << 8 | answers << 16 | alone << 17);
        if let Some(answer) = answer {
            encoder.text(answer);
        }
        encoder.texts(show);
        encoder.maybe_number(*wait_s);
    });
    encoder.list(&compiled.arguments, |encoder, argument| {
        let Argument { at, text, prefix } = argument;
        encoder.maybe_number(at.map(u64::from));
        encoder.text(text);
        encoder.number((*prefix).into());
    });
}

fn fact(encoder: &mut Encoder, kind: &FactKind) {
    match kind {
        FactKind::Own(name) => {
            encoder.number(1);
            encoder.text(name);
        }
        FactKind::Step(name) => {
            encoder.number(2);
            encoder.text(name);
        }
        FactKind::Group(number) => {
            encoder.number(3);
            encoder.number(*number as u64);
        }
        FactKind::InTime(name) => {
            encoder.number(4);
            encoder.text(name);
        }
        FactKind::Approved(rule) => {
            encoder.number(5);
            encoder.number((*rule).into());
        }
        FactKind::StepApproved(name) => {
            encoder.number(6);
            encoder.text(name);
        }
        FactKind::Other(name) => {
            encoder.number(7);
            encoder.text(name);
        }
    }
}
