//! Plays the cases of a policy with real processes, and holds what the kernel did to what `policy
//! test` says: verdict for verdict, and fact for fact.

use super::policy::Policy;
use super::product;
use super::session::{Obedient, Place};
use agent_common::decide::Verdict;
use agent_common::egress::{Endpoint, UDP, is_v4};
use agent_policy::{Action, Compiled, Event, Instant, Trial};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Plays every case.
pub(crate) fn replay(policy: &Policy, cases: &str) -> Result<()> {
    let compiled = compiled(policy)?;
    let files = agent_policy::parse_cases("cases.yaml", cases.as_bytes())
        .map_err(|found| anyhow::anyhow!("{found}"))?;
    let mut wrong = Vec::new();
    for case in files.iter().flat_map(|file| &file.cases) {
        for found in play(policy, &compiled, &case.events)
            .with_context(|| format!("case {:?}", case.name))?
        {
            wrong.push(format!("{}: {found}", case.name));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn compiled(policy: &Policy) -> Result<Compiled> {
    let text = policy.text();
    let policies = agent_policy::parse("policy.yaml", text.as_bytes())
        .map_err(|found| anyhow::anyhow!("{found}"))?;
    let first = policies.first().context("a file without a policy")?;
    first.compile().map_err(|found| anyhow::anyhow!("{found}"))
}

/// What came out otherwise than it should.
fn play(
    policy: &Policy,
    compiled: &Compiled,
    events: &[(Event, agent_policy::Span)],
) -> Result<Vec<String>> {
    let mut actor = Place::Inside(policy).obey()?;
    let mut trial = Trial::start(compiled, now()?);
    let mut wrong = Vec::new();
    for (event, span) in events {
        let Event::Do {
            action,
            expect,
            bytes,
            ..
        } = event
        else {
            wait(event)?;
            continue;
        };
        let at = now()?;
        let decision = trial.attempt(action, None, at, *bytes).decision;
        ensure!(
            decision.verdict == *expect,
            "line {}: {action}: `policy test` says {}, and the case expects {expect}",
            span.line,
            decision.verdict,
        );
        let said = order(&mut actor, action)?;
        let allowed = said != "EPERM";
        if allowed != (decision.verdict == Verdict::Allow) {
            wrong.push(format!(
                "line {}: {action}: the kernel answered {said}, `policy test` says {} ({})",
                span.line, decision.verdict, decision.reason
            ));
        }
        if decision.verdict == Verdict::Kill {
            return Ok(wrong);
        }
        let expected = agent_policy::told_facts(compiled, trial.facts(at));
        let found = product::facts(policy.agent())?;
        if found != expected {
            wrong.push(format!(
                "line {}: after {action} the kernel has the facts {found:?}, `policy test` {expected:?}",
                span.line
            ));
        }
    }
    actor.end()?;
    Ok(wrong)
}

fn wait(event: &Event) -> Result<()> {
    match event {
        Event::Wait(seconds) => {
            thread::sleep(Duration::from_secs(*seconds));
            Ok(())
        }
        other => bail!("{other:?} cannot be played"),
    }
}

fn order(actor: &mut Obedient, action: &Action) -> Result<String> {
    match action {
        Action::Connect(endpoint) if endpoint.protocol == UDP => {
            actor.order(&format!("way udp {}", address(endpoint)))
        }
        Action::Connect(endpoint) => actor.order(&format!("way tcp {}", address(endpoint))),
        other => bail!("{other} cannot be played"),
    }
}

fn address(endpoint: &Endpoint) -> SocketAddr {
    let ip = if is_v4(&endpoint.address) {
        let [.., a, b, c, d] = endpoint.address;
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    } else {
        IpAddr::V6(Ipv6Addr::from(endpoint.address))
    };
    SocketAddr::new(ip, endpoint.port)
}

fn now() -> Result<Instant> {
    let uptime = fs::read_to_string("/proc/uptime").context("/proc/uptime")?;
    let seconds = uptime.split_whitespace().next().unwrap_or_default();
    let since_boot = Duration::from_secs_f64(seconds.parse().context("/proc/uptime")?);
    let wall = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(Instant {
        now_ns: u64::try_from(since_boot.as_nanos())?,
        wall_s: wall.as_secs(),
    })
}
