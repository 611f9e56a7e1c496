//! Why a session's first command was not executed, in words for the person who started it. The
//! kernel has decided; here the same decision is made once more, to be explained.

use super::{RunError, Settings};
use crate::control::protocol::Start;
use crate::kernel::clock;
use crate::policy;
use agent_common::decide::{Reason, Verdict};
use agent_policy::{Action, Compiled, Instant, Trial};
use nix::errno::Errno;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The error for a command that the kernel denied.
pub(super) fn explained(error: &io::Error, settings: &Settings, start: &Start) -> Option<RunError> {
    if error.raw_os_error() != Some(Errno::EPERM as i32) {
        return None;
    }
    let compiled = policy::compile(start).ok()?;
    let command = settings.command.first()?;
    let program = found(command, &std::env::var_os("PATH").unwrap_or_default())?;
    Some(RunError::NotAllowed {
        agent: settings.agent.clone(),
        why: why(&program, &settings.command, &compiled),
        program,
    })
}

/// The file of a command, without symbolic links.
fn found(command: &OsStr, path: &OsStr) -> Option<PathBuf> {
    let is_program = |file: &Path| {
        file.metadata()
            .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    let named = if Path::new(command).components().count() > 1 {
        PathBuf::from(command)
    } else {
        std::env::split_paths(path)
            .map(|folder| folder.join(command))
            .find(|file| is_program(file))?
    };
    named.canonicalize().ok()
}

fn why(program: &Path, words: &[OsString], compiled: &Compiled) -> String {
    let now = Instant {
        now_ns: clock::boot_ns(),
        wall_s: clock::wall_s(),
    };
    let path = program.to_string_lossy().into_owned();
    let arguments = words.iter().map(|word| word.to_string_lossy().into_owned());
    let action = Action::Exec {
        path: path.clone(),
        digest: None,
        arguments: arguments.collect(),
        writable: false,
    };
    let decision = Trial::start(compiled, now)
        .judge(&action, None, now, 0)
        .decision;
    let rule = compiled.sources.get(decision.number as usize);
    let said = rule.map_or_else(String::new, |rule| {
        format!(" ({}:{}: {})", rule.file, rule.span.line, rule.text)
    });
    match (decision.verdict, decision.reason) {
        (Verdict::Allow, _) => "the policy allows the program itself, so it is its interpreter \
             that may not be executed, or the session can write the program; the daemon's line \
             of the denial says which"
            .to_owned(),
        (_, Reason::NoRule) => format!(
            "no rule of {} allows it, expected one such as\n  exec: {{allow: [{{programs: \
             [{path}]}}]}}",
            compiled.file
        ),
        (_, Reason::Rule) => format!("a rule denies it{said}"),
        (_, reason) => format!("{reason}{said}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why_of(rules: &str, words: &[&str]) -> String {
        let text = format!(
            "apiVersion: interlock.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {{name: a}}\n\
             spec:\n  owner: {{name: A, contact: a@example.com}}\n  exec:\n{rules}"
        );
        let start = Start {
            agent: "a".into(),
            file: "p.yaml".into(),
            policy: text,
            profiles: Vec::new(),
        };
        let compiled = policy::compile(&start).unwrap();
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        why(Path::new("/usr/bin/git"), &words, &compiled)
    }

    #[test]
    fn a_command_that_no_rule_names_is_told_which_rule_it_needs() {
        let why = why_of("    allow: [{programs: [/usr/bin/env]}]\n", &["git"]);
        assert_eq!(
            why,
            "no rule of p.yaml allows it, expected one such as\n  \
             exec: {allow: [{programs: [/usr/bin/git]}]}"
        );
    }

    #[test]
    fn a_rule_that_denies_is_named() {
        let why = why_of("    deny: [{programs: [/usr/bin/git]}]\n", &["git"]);
        assert_eq!(
            why,
            "a rule denies it (p.yaml:7: deny exec of /usr/bin/git)"
        );
    }

    #[test]
    fn a_program_that_is_allowed_leaves_its_interpreter() {
        let rules = "    allow: [{programs: [/usr/bin/git], args: [{at: 1, is: status}]}]\n";
        assert!(why_of(rules, &["git", "status"]).contains("interpreter"));
        assert!(why_of(rules, &["git", "push"]).starts_with("no rule of p.yaml"));
    }

    #[test]
    fn a_command_is_found_as_a_shell_finds_it() {
        let shell = Path::new("/bin/sh").canonicalize().unwrap();
        let path = OsStr::new("/nowhere:/bin");
        assert_eq!(found(OsStr::new("sh"), path), Some(shell.clone()));
        assert_eq!(found(OsStr::new("/bin/sh"), OsStr::new("")), Some(shell));
        assert_eq!(found(OsStr::new("no-such-command"), path), None);
    }
}
