//! Precedence of rules (red team T8): policies drawn at random, in the kernel, against the page that
//! says what they mean. The decision function itself is compared with its reference model in
//! agent-policy, a million times; here it is the whole way, from the file to the kernel's tables.

use super::files::{HERE, set_up};
use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::kernel::unless_with_bpf_lsm;
use crate::harness::policy::{EVERY_USE, Policy};
use crate::harness::product::Daemon;
use crate::harness::session::Place;
use anyhow::{Result, ensure};

/// Policies that are drawn.
const POLICIES: u64 = 6;
/// Rules of each.
const RULES: usize = 14;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "red.t8.precedence",
            "policies drawn at random are held as the page on the language says",
            precedence,
        )
        .unless(unless_with_bpf_lsm)
        .patience(120),
    ]
}

const FOLDERS: [&str; 4] = ["", "a/", "a/b/", "c/"];
const NAMES: [&str; 4] = ["one.txt", "two.txt", "one.pem", "plain"];

/// What a rule names.
#[derive(Clone, Debug)]
enum Named {
    Exact(String),
    Under(String),
    Name(&'static str),
    Extension(&'static str),
}

#[derive(Clone, Debug)]
struct Rule {
    allow: bool,
    named: Named,
}

/// Numbers that look random and are the same each time.
struct Draw(u64);

impl Draw {
    fn of<T: Clone>(&mut self, from: &[T]) -> T {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let at = (self.0 >> 33) as usize % from.len();
        from[at].clone()
    }

    fn rule(&mut self) -> Rule {
        let folder = format!("{HERE}/{}", self.of(&FOLDERS));
        let named = match self.of(&[0, 0, 1, 1, 2, 3]) {
            0 => Named::Exact(format!("{folder}{}", self.of(&NAMES))),
            1 => Named::Under(folder.trim_end_matches('/').to_owned()),
            2 => Named::Name(self.of(&NAMES)),
            _ => Named::Extension(self.of(&["txt", "pem"])),
        };
        Rule {
            allow: self.of(&[true, false]),
            named,
        }
    }
}

impl Rule {
    fn text(&self) -> String {
        match &self.named {
            Named::Exact(path) => path.clone(),
            Named::Under(folder) => format!("{folder}/**"),
            Named::Name(name) => (*name).to_owned(),
            Named::Extension(extension) => format!("*.{extension}"),
        }
    }

    /// How specific it is about a path, the most specific first, as docs/policy.md has it: the exact
    /// path; a base name, then an extension, that denies; the deepest directory; a base name or an
    /// extension that allows.
    fn level(&self, path: &str) -> Option<(u32, usize)> {
        let (_, name) = path.rsplit_once('/')?;
        let speaks = match &self.named {
            Named::Exact(own) => own == path,
            Named::Under(folder) => path.starts_with(&format!("{folder}/")),
            Named::Name(own) => *own == name,
            Named::Extension(own) => name.ends_with(&format!(".{own}")),
        };
        let level = match (&self.named, self.allow) {
            (Named::Exact(_), _) => (0, 0),
            (Named::Name(_), false) => (1, 0),
            (Named::Extension(_), false) => (2, 0),
            (Named::Under(folder), _) => (3, usize::MAX - folder.len()),
            (Named::Name(_), true) => (4, 0),
            (Named::Extension(_), true) => (5, 0),
        };
        speaks.then_some(level)
    }
}

/// The most specific rule decides, and of several a rule that denies; what none names is denied.
fn is_allowed(rules: &[Rule], path: &str) -> bool {
    let speaking = rules
        .iter()
        .filter_map(|rule| Some((rule.level(path)?, rule.allow)));
    speaking.min().is_some_and(|(_, allow)| allow)
}

fn precedence() -> Result<()> {
    Daemon::shared()?;
    let files: Vec<String> = FOLDERS
        .iter()
        .flat_map(|folder| NAMES.iter().map(move |name| format!("{folder}{name}")))
        .collect();
    set_up(&files.iter().map(String::as_str).collect::<Vec<_>>())?;
    let mut allowed = 0;
    let mut denied = 0;
    for seed in 1..=POLICIES {
        let mut draw = Draw(seed);
        let rules: Vec<Rule> = (0..RULES).map(|_| draw.rule()).collect();
        let agent = format!("red-t8-{seed}");
        // Everything else is open, by rules that are less specific than any that is drawn.
        let open = [
            "/usr/**",
            "/lib/**",
            "/lib64/**",
            "/proc/**",
            "/etc/**",
            "/dev/**",
            "/sys/**",
        ];
        let policy = rules.iter().fold(
            Policy::named(&agent)
                .without_files()
                .files("allow", EVERY_USE, &open),
            |policy, rule| {
                let effect = if rule.allow { "allow" } else { "deny" };
                policy.files(effect, "read", &[&rule.text()])
            },
        );
        let events = Events::from_now()?;
        let mut inside = Place::Inside(&policy).obey()?;
        let mut here = 0;
        for file in &files {
            let path = format!("{HERE}/{file}");
            let answer = inside.order(&format!("file read {path}"))?;
            let expected = if is_allowed(&rules, &path) {
                "ok"
            } else {
                "EPERM"
            };
            ensure!(
                answer == expected,
                "seed {seed}, {path}: {answer}, expected {expected} by {rules:#?}"
            );
            if expected == "ok" {
                allowed += 1;
            } else {
                here += 1;
            }
        }
        inside.end()?;
        let told = events.wait(&agent, here)?.len();
        ensure!(
            told == here,
            "{told} denials of {agent} were told, expected {here}"
        );
        denied += here;
    }
    ensure!(
        allowed > 10 && denied > 10,
        "{allowed} allowed, {denied} denied"
    );
    Ok(())
}
