//! Cases beside policies: a trace of actions with times, and what is expected of each.

use std::collections::BTreeSet;
use std::sync::Arc;

use agent_common::decide::Verdict;
use serde::Serialize;

use crate::compile::{Compiled, FactKind};
use crate::policy::{API_VERSION, Policy, bytes_of, digest_of, duration_of, flag_of};
use crate::text::{self, Diagnostics, Fields, Node, Reader, Source, Span, quoted};
use crate::trial::{Action, Decision, Instant, Trial};

/// The `kind` of a file of cases.
pub const CASES_KIND: &str = "PolicyCases";

/// One event of a case.
#[derive(Clone, Debug)]
pub enum Event {
    /// So many seconds pass.
    Wait(u64),
    /// The approval of a rule or step is given.
    Approve(String),
    /// The session attempts something.
    Do {
        /// What.
        action: Action,
        /// Inside which tool.
        tool: Option<String>,
        /// Bytes that it moves.
        bytes: u64,
        /// What must become of it.
        expect: Verdict,
        /// Why, where the case says.
        reason: Option<String>,
        /// Which facts must hold afterwards, where the case says.
        facts: Option<Vec<String>>,
    },
}

/// A trace and what is expected of it.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub span: Span,
    /// When it starts.
    pub start: Instant,
    /// What happens, one after the other, each with its place.
    pub events: Vec<(Event, Span)>,
}

/// The cases of one policy.
#[derive(Clone, Debug)]
pub struct Cases {
    /// The agent whose policy they try.
    pub agent: String,
    /// The cases.
    pub cases: Vec<Case>,
    source: Arc<Source>,
}

const VERDICTS: [(&str, Verdict); 4] = [
    ("allow", Verdict::Allow),
    ("deny", Verdict::Deny),
    ("kill", Verdict::Kill),
    ("hold", Verdict::Hold),
];

/// Whether bytes are a file of cases rather than of policies.
pub fn is_cases(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| {
        text.lines()
            .any(|line| line.trim_end() == format!("kind: {CASES_KIND}"))
    })
}

/// Reads a file of cases.
pub fn parse_cases(name: &str, bytes: &[u8]) -> Result<Vec<Cases>, Diagnostics> {
    let (source, documents) = text::documents(name, bytes)?;
    let source = Arc::new(source);
    let mut reader = Reader::new(&source);
    let mut all = Vec::new();
    for node in documents.iter().filter(|node| !node.is_nothing()) {
        let known = ["apiVersion", "kind", "agent", "cases"];
        let Some(fields) = Fields::of(&mut reader, node, "a file of cases", &known) else {
            continue;
        };
        for (key, word) in [("apiVersion", API_VERSION), ("kind", CASES_KIND)] {
            let expected = format!("\"{key}: {word}\"");
            if let Some((text, span)) = fields.text(&mut reader, key, &expected)
                && text != word
            {
                reader.found(span, &quoted(text), &expected);
            }
        }
        let agent = fields.text(&mut reader, "agent", "the agent whose policy is tried");
        let mut cases = Vec::new();
        if let Some(list) = fields.require(&mut reader, "cases", "a list of cases") {
            for item in reader.items(list, "a list of cases") {
                cases.extend(case(&mut reader, item));
            }
        }
        if let Some((agent, _)) = agent {
            all.push(Cases {
                agent: agent.to_owned(),
                cases,
                source: source.clone(),
            });
        }
    }
    match reader.finish() {
        found if found.is_empty() => Ok(all),
        found => Err(Diagnostics::new(found)),
    }
}

fn case(reader: &mut Reader<'_>, node: &Node) -> Option<Case> {
    let fields = Fields::of(reader, node, "a case", &["case", "start", "trace"])?;
    let (name, span) = fields.text(reader, "case", "what the case shows")?;
    // A Monday morning, unless the case says otherwise.
    let mut wall_s = 1_772_445_600;
    if let Some((text, span)) = fields
        .get("start")
        .and_then(|node| Some((reader.text(node, "a time")?, node.span)))
    {
        match crate::zone::parse(text) {
            Some(at) => wall_s = at,
            None => reader.found(span, &quoted(text), "a time such as 2026-03-02T10:00:00Z"),
        }
    }
    let mut events = Vec::new();
    if let Some(list) = fields.require(reader, "trace", "a list of events") {
        for item in reader.items(list, "a list of events") {
            events.extend(event(reader, item).map(|event| (event, item.span)));
        }
    }
    Some(Case {
        name: name.to_owned(),
        span,
        start: Instant {
            now_ns: 1_000_000_000,
            wall_s,
        },
        events,
    })
}

fn event(reader: &mut Reader<'_>, node: &Node) -> Option<Event> {
    let known = [
        "do", "expect", "reason", "facts", "in", "bytes", "writable", "digest", "wait", "approve",
    ];
    let fields = Fields::of(reader, node, "an event", &known)?;
    if let Some(wait) = fields.get("wait") {
        Fields::of(reader, node, "a wait", &["wait"])?;
        return duration_of(reader, wait).map(Event::Wait);
    }
    if let Some(approve) = fields.get("approve") {
        Fields::of(reader, node, "an approval", &["approve"])?;
        return reader
            .text(approve, "the id of a rule, or step:NAME")
            .map(|text| Event::Approve(text.to_owned()));
    }
    let (text, span) = fields.text(reader, "do", "an action, wait or approve")?;
    let mut action: Action = match text.parse() {
        Ok(action) => action,
        Err(crate::notation::ActionError { found, expected }) => {
            reader.found(span, &quoted(&found), expected);
            return None;
        }
    };
    if let Action::Exec {
        digest, writable, ..
    } = &mut action
    {
        *writable = flag_of(reader, &fields, "writable");
        *digest = fields
            .get("digest")
            .and_then(|node| digest_of(reader, node));
    } else {
        for key in ["writable", "digest"] {
            if let Some(node) = fields.get(key) {
                reader.found(
                    node.span,
                    &format!("{key} of `{text}`"),
                    "it beside an exec",
                );
            }
        }
    }
    let expect = fields
        .require(reader, "expect", "allow, deny, kill or hold")
        .and_then(|node| reader.word(node, &VERDICTS))?;
    let words = |reader: &mut Reader<'_>, node: &Node| -> Vec<String> {
        let items = reader.list(node, "a list of facts");
        items
            .iter()
            .filter_map(|item| reader.text(item, "a fact").map(str::to_owned))
            .collect()
    };
    Some(Event::Do {
        action,
        tool: fields
            .get("in")
            .and_then(|node| reader.text(node, "a tool"))
            .map(str::to_owned),
        bytes: fields
            .get("bytes")
            .and_then(|node| size_of(reader, node))
            .unwrap_or(0),
        expect,
        reason: fields
            .get("reason")
            .and_then(|node| reader.text(node, "a reason"))
            .map(str::to_owned),
        facts: fields.get("facts").map(|node| words(reader, node)),
    })
}

/// A number of bytes, alone or as policies write it.
fn size_of(reader: &mut Reader<'_>, node: &Node) -> Option<u64> {
    const EXPECTED: &str = "a number of bytes, such as 2000 or 20MB";
    let text = reader.text(node, EXPECTED)?;
    let size = text.parse().ok().or_else(|| bytes_of(text));
    if size.is_none() {
        let found = quoted(text);
        reader.found(node.span, &found, EXPECTED);
    }
    size
}

/// How one case went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CaseResult {
    /// The file.
    pub file: String,
    /// The agent.
    pub agent: String,
    /// The case.
    pub name: String,
    /// What was not as expected, each with its line.
    pub failures: Vec<String>,
}

/// How all cases of a policy went, and which rules they reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CasesResult {
    /// The cases.
    pub results: Vec<CaseResult>,
    /// Rules that decided at least once.
    pub reached: usize,
    /// Rules of the policy, those of its profiles left out.
    pub rules: usize,
    /// Rules that no case reached, with their places.
    pub not_reached: Vec<String>,
}

impl CasesResult {
    /// Whether every case went as expected.
    pub fn passed(&self) -> bool {
        self.results.iter().all(|result| result.failures.is_empty())
    }
}

/// Tries the cases of a policy.
pub fn run_cases(policy: &Policy, compiled: &Compiled, cases: &[&Cases]) -> CasesResult {
    let mut reached: BTreeSet<u32> = BTreeSet::new();
    let mut results = Vec::new();
    for file in cases {
        for case in &file.cases {
            results.push(CaseResult {
                file: file.source.name().to_string(),
                agent: file.agent.clone(),
                name: case.name.clone(),
                failures: run(policy, compiled, case, &mut reached),
            });
        }
    }
    let own: Vec<u32> = (0u32..)
        .zip(&compiled.sources)
        .filter(|(_, source)| source.file == compiled.file)
        .map(|(number, _)| number)
        .collect();
    let not_reached = own
        .iter()
        .filter(|number| !reached.contains(number))
        .filter_map(|number| {
            let source = compiled.sources.get(*number as usize)?;
            Some(format!(
                "{}:{}: {}",
                source.file, source.span.line, source.text
            ))
        });
    CasesResult {
        not_reached: not_reached.collect(),
        reached: own.iter().filter(|number| reached.contains(number)).count(),
        rules: own.len(),
        results,
    }
}

fn run(
    policy: &Policy,
    compiled: &Compiled,
    case: &Case,
    reached: &mut BTreeSet<u32>,
) -> Vec<String> {
    let mut trial = Trial::start(compiled, case.start);
    let mut at = case.start;
    let mut failures = Vec::new();
    for (event, span) in &case.events {
        let mut fail = |text: String| failures.push(format!("line {}: {text}", span.line));
        match event {
            Event::Wait(seconds) => {
                at.now_ns = at
                    .now_ns
                    .saturating_add(seconds.saturating_mul(1_000_000_000));
                at.wall_s = at.wall_s.saturating_add(*seconds);
            }
            Event::Approve(name) => match approval_facts(policy, compiled, name) {
                0 => fail(format!(
                    "found no approval \"{name}\", expected the id of a rule with one, or step:NAME"
                )),
                facts => trial.set_facts(facts, at),
            },
            Event::Do {
                action,
                tool,
                bytes,
                expect,
                reason,
                facts,
            } => {
                let number = tool
                    .as_ref()
                    .map(|name| policy.tools.iter().position(|tool| tool.name == *name));
                if number == Some(None) {
                    fail(format!(
                        "found no tool \"{}\"",
                        tool.as_deref().unwrap_or("")
                    ));
                    continue;
                }
                let outcome = trial.attempt(action, number.flatten(), at, *bytes);
                let decision = outcome.decision;
                reached.insert(decision.number);
                reached.extend(outcome.tool_rule);
                if decision.verdict != *expect {
                    let because = said(compiled, &decision);
                    fail(format!(
                        "{action}: found {} ({}), expected {expect}{because}",
                        decision.verdict, decision.reason
                    ));
                } else if let Some(reason) = reason
                    && decision.reason.word() != reason
                {
                    fail(format!(
                        "{action}: found reason \"{}\", expected \"{reason}\"",
                        decision.reason
                    ));
                }
                if let Some(expected) = facts {
                    let found = told_facts(compiled, trial.facts(at));
                    let mut expected = expected.clone();
                    expected.sort();
                    if found != expected {
                        fail(format!(
                            "{action}: found facts [{}], expected [{}]",
                            found.join(", "),
                            expected.join(", ")
                        ));
                    }
                }
            }
        }
    }
    failures
}

/// What the author says of a denial, as the end of a sentence.
fn said(compiled: &Compiled, decision: &Decision) -> String {
    let source = compiled.sources.get(decision.number as usize);
    source
        .filter(|_| decision.verdict != Verdict::Allow)
        .and_then(|source| source.because.as_ref())
        .map_or_else(String::new, |because| format!("; because: {because}"))
}

/// The author's facts by name and the steps as `step:NAME`, sorted.
pub fn told_facts(compiled: &Compiled, facts: u64) -> Vec<String> {
    let mut names: Vec<String> = compiled
        .held(facts)
        .filter_map(|kind| match kind {
            FactKind::Own(name) => Some(name.clone()),
            FactKind::Step(name) => Some(format!("step:{name}")),
            _ => None,
        })
        .collect();
    names.sort();
    names
}

/// The facts that an approval sets: that of the rule with an id, or of a step.
pub fn approval_facts(policy: &Policy, compiled: &Compiled, name: &str) -> u64 {
    let authored = policy.authored();
    let wanted: Vec<FactKind> = match name.strip_prefix("step:") {
        Some(step) => vec![FactKind::StepApproved(step.to_owned())],
        None => (0u32..)
            .zip(&authored)
            .filter(|(_, rule)| rule.common().id.as_deref() == Some(name))
            .map(|(number, _)| FactKind::Approved(number))
            .collect(),
    };
    let bits = compiled
        .facts
        .iter()
        .enumerate()
        .filter(|(_, kind)| wanted.contains(kind));
    bits.fold(0, |all, (bit, _)| all | 1 << bit)
}

impl CasesResult {
    /// The results as JUnit XML.
    pub fn junit(&self, suite: &str) -> String {
        let failed = self
            .results
            .iter()
            .filter(|result| !result.failures.is_empty())
            .count();
        let mut xml = format!(
            "<testsuite name=\"{}\" tests=\"{}\" failures=\"{failed}\">\n",
            escape(suite),
            self.results.len()
        );
        for result in &self.results {
            xml += &format!(
                "  <testcase classname=\"{}\" name=\"{}\" file=\"{}\"",
                escape(&result.agent),
                escape(&result.name),
                escape(&result.file)
            );
            if result.failures.is_empty() {
                xml += "/>\n";
            } else {
                let text = escape(&result.failures.join("\n"));
                xml += &format!(">\n    <failure>{text}</failure>\n  </testcase>\n");
            }
        }
        xml + "</testsuite>\n"
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

impl std::fmt::Display for CasesResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for result in &self.results {
            let word = if result.failures.is_empty() {
                "passed"
            } else {
                "FAILED"
            };
            writeln!(f, "{word}  {}: {}", result.agent, result.name)?;
            for failure in &result.failures {
                writeln!(f, "        {}: {failure}", result.file)?;
            }
        }
        write!(f, "{} of {} rules reached", self.reached, self.rules)?;
        self.not_reached
            .iter()
            .try_for_each(|rule| write!(f, "\n  not reached: {rule}"))
    }
}
