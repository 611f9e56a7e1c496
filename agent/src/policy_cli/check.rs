//! `interlock policy check`: what is wrong, what is perhaps not meant, and what nothing enforces yet.

use super::answer::{Answer, Outcome};
use super::fault::Fault;
use super::read::{self, PolicyFile};
use super::walk::{self, Content, Found, Holds};
use crate::cli::Check;
use crate::policy::ENFORCED;
use agent_policy::{Diagnostic, Diagnostics, Need, Profiles, Severity, not_enforced, parse_cases};
use serde::Serialize;
use std::fmt::Write as _;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checked {
    files: usize,
    policies: usize,
    errors: usize,
    warnings: usize,
    diagnostics: Vec<Diagnostic>,
    not_enforced: Vec<Gap>,
    skipped: Vec<String>,
}

/// What a policy says and this version does not enforce.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Gap {
    file: String,
    agent: String,
    demands: Vec<&'static str>,
}

pub(super) fn run(options: &Check) -> Result<Answer, Fault> {
    let found = walk::walk(&options.paths)?;
    if found.files.is_empty() {
        return Err(Fault::unexpected(
            super::named(&options.paths),
            "no policies",
            "YAML files that say \"apiVersion: interlock.dev/v1alpha1\"",
        ));
    }
    let checked = check(found, options)?;
    let outcome = if checked.errors > 0 {
        Outcome::Bad
    } else {
        Outcome::findings(checked.warnings > 0)
    };
    if options.reading.json {
        return Answer::json(&checked, outcome);
    }
    Ok(Answer::text(text(&checked), outcome))
}

fn check(found: Found, options: &Check) -> Result<Checked, Fault> {
    let mut checked = Checked {
        files: found.files.len(),
        policies: 0,
        errors: 0,
        warnings: 0,
        diagnostics: Vec::new(),
        not_enforced: Vec::new(),
        skipped: found.skipped,
    };
    for content in &found.files {
        match content.holds {
            Holds::Policies => checked.policies(content, options, &found.files)?,
            Holds::Cases => {
                if let Err(diagnostics) = parse_cases(&content.name, &content.bytes) {
                    checked.add(&diagnostics);
                }
            }
            // A profile is read on its own too: nobody may extend it yet.
            Holds::Profiles => {
                let mut profiles = Profiles::none();
                if let Err(diagnostics) = profiles.add(&content.name, &content.bytes) {
                    checked.add(&diagnostics);
                }
            }
        }
    }
    Ok(checked)
}

impl Checked {
    fn policies(
        &mut self,
        content: &Content,
        options: &Check,
        others: &[Content],
    ) -> Result<(), Fault> {
        let named = &options.reading.profiles;
        let file = read::profiles_among(&content.path, named, others)
            .and_then(|profiles| read::parse_file(content, &profiles));
        match file {
            Ok(file) => self.lint(&file, options.enforceable),
            Err(Fault::Wrong(diagnostics)) => self.add(&diagnostics),
            Err(other) => return Err(other),
        }
        Ok(())
    }

    fn lint(&mut self, file: &PolicyFile, enforceable: bool) {
        for policy in &file.policies {
            self.policies += 1;
            self.add(&agent_policy::check(policy, None));
            let Ok(compiled) = policy.compile() else {
                continue;
            };
            let needs = compiled.needs().into_iter();
            let demands: Vec<&str> = needs
                .filter(|need| !ENFORCED.contains(need))
                .map(Need::word)
                .collect();
            if enforceable {
                self.add(&not_enforced(policy, &compiled, ENFORCED));
            }
            if !demands.is_empty() {
                self.not_enforced.push(Gap {
                    file: file.name.clone(),
                    agent: policy.name.clone(),
                    demands,
                });
            }
        }
    }

    fn add(&mut self, diagnostics: &Diagnostics) {
        for diagnostic in diagnostics {
            // Of a profile that is wrong, those who extend it all complain; once is enough.
            if self.diagnostics.contains(diagnostic) {
                continue;
            }
            match diagnostic.severity {
                Severity::Error => self.errors += 1,
                Severity::Warning => self.warnings += 1,
            }
            self.diagnostics.push(diagnostic.clone());
        }
    }
}

fn text(checked: &Checked) -> String {
    let mut text = String::new();
    for diagnostic in &checked.diagnostics {
        let _ = writeln!(text, "{}\n", diagnostic.full());
    }
    for Gap {
        file,
        agent,
        demands,
    } in &checked.not_enforced
    {
        let _ = writeln!(
            text,
            "{file}: not enforced by this version, so `interlock run` refuses agent `{agent}`: {}",
            demands.join(", ")
        );
    }
    for name in &checked.skipped {
        let _ = writeln!(text, "{name}: not checked: it does not say interlock.dev/");
    }
    let _ = write!(
        text,
        "{}, {}: {}, {}",
        counted(checked.files, "file"),
        counted(checked.policies, "policy"),
        counted(checked.errors, "error"),
        counted(checked.warnings, "warning"),
    );
    text
}

fn counted(count: usize, noun: &str) -> String {
    match (count, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) => format!("{count} {noun}s"),
    }
}
