//! What became of the tests of one place: this machine, or one kernel.

use std::fmt::Write as _;

/// The tests of one place.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Where they ran.
    pub(super) place: String,
    /// How many passed.
    pub(super) passed: usize,
    /// The names of those that failed.
    pub(super) failed: Vec<String>,
    /// The names of those that were skipped, and why.
    pub(super) skipped: Vec<(String, String)>,
    /// The names of those among the passed that failed first, and passed with no machine beside.
    pub(super) unsteady: Vec<String>,
    /// For tests of the red team that passed: how the attack was held.
    pub(super) held: Vec<(String, String)>,
}

/// What a line of `interlock-tests` says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// A test passed.
    Passed(&'a str),
    /// A test failed.
    Failed(&'a str),
    /// A test was skipped, and why.
    Skipped(&'a str, &'a str),
    /// How a test of the red team saw the attack held.
    Held(&'a str, &'a str),
    /// Something else, for a person.
    Text(&'a str),
}

impl<'a> Line<'a> {
    /// Reads `TEST name ok`, `TEST name FAILED`, `TEST name skipped: reason` and `HELD name how`.
    pub(super) fn parse(line: &'a str) -> Self {
        let held = line
            .strip_prefix("HELD ")
            .and_then(|held| held.split_once(' '));
        if let Some((name, how)) = held {
            return Self::Held(name, how);
        }
        let test = line
            .strip_prefix("TEST ")
            .and_then(|test| test.split_once(' '));
        match test {
            Some((name, "ok")) => Self::Passed(name),
            Some((name, "FAILED")) => Self::Failed(name),
            Some((name, outcome)) => match outcome.strip_prefix("skipped: ") {
                Some(reason) => Self::Skipped(name, reason),
                None => Self::Text(line),
            },
            None => Self::Text(line),
        }
    }
}

impl Tally {
    /// No tests yet.
    pub(super) fn new(place: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            ..Self::default()
        }
    }

    /// Counts a line.
    pub(super) fn count(&mut self, line: &Line<'_>) {
        match *line {
            Line::Passed(_) => self.passed += 1,
            Line::Failed(name) => self.failed.push(name.to_owned()),
            Line::Skipped(name, reason) => self.skipped.push((name.to_owned(), reason.to_owned())),
            Line::Held(name, how) => self.held.push((name.to_owned(), how.to_owned())),
            Line::Text(_) => {}
        }
    }

    /// Takes out the tests that were skipped because they need a boot with other security
    /// modules: the list, and the tests that name it in their reason.
    pub(super) fn take_other_boots(&mut self) -> Vec<(String, Vec<String>)> {
        let mut boots: Vec<(String, Vec<String>)> = Vec::new();
        self.skipped.retain(|(name, reason)| {
            let Some((_, lsm)) = reason.split_once("boot with --lsm ") else {
                return true;
            };
            match boots.iter_mut().find(|(list, _)| list == lsm) {
                Some((_, names)) => names.push(name.clone()),
                None => boots.push((lsm.to_owned(), vec![name.clone()])),
            }
            false
        });
        boots
    }

    /// Adds what became of tests in another boot of the same place.
    pub(super) fn merge(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed.extend(other.failed);
        self.skipped.extend(other.skipped);
        self.unsteady.extend(other.unsteady);
        self.held.extend(other.held);
    }

    /// The tests that failed, if nothing else did: a machine that went down is no test.
    pub(super) fn failed_tests(&self) -> Vec<String> {
        let is_test = |name: &String| !name.contains(' ');
        let all = self.failed.iter().all(is_test);
        if all { self.failed.clone() } else { Vec::new() }
    }

    /// Notes that these failed first and passed alone.
    pub(super) fn note_unsteady(&mut self, names: &[String]) {
        self.failed.retain(|failed| !names.contains(failed));
        self.passed += names.len();
        self.unsteady.extend_from_slice(names);
    }

    /// Whether no test ran or was skipped.
    pub(super) fn is_empty(&self) -> bool {
        self.passed == 0 && self.failed.is_empty() && self.skipped.is_empty()
    }
}

/// The last words: a paragraph for each place, and one line for all.
pub(super) fn summary(tallies: &[Tally]) -> String {
    let mut text = String::from("\n");
    for tally in tallies {
        let counts = counts(tally.passed, tally.failed.len(), tally.skipped.len());
        line(&mut text, format_args!("{}: {counts}", tally.place));
        for name in &tally.failed {
            line(&mut text, format_args!("    FAILED  {name}"));
        }
        for name in &tally.unsteady {
            line(
                &mut text,
                format_args!("    unsteady {name}: failed first, passed alone"),
            );
        }
        for (name, reason) in &tally.skipped {
            line(&mut text, format_args!("    skipped {name}: {reason}"));
        }
    }
    let total = |count: fn(&Tally) -> usize| tallies.iter().map(count).sum();
    let counts = counts(
        total(|tally| tally.passed),
        total(|tally| tally.failed.len()),
        total(|tally| tally.skipped.len()),
    );
    line(&mut text, format_args!("{counts}"));
    text
}

fn counts(passed: usize, failed: usize, skipped: usize) -> String {
    format!("{passed} passed, {failed} failed, {skipped} skipped")
}

fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    writeln!(text, "{what}").expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        for (text, line) in [
            ("TEST a.b ok", Line::Passed("a.b")),
            ("TEST a.b FAILED", Line::Failed("a.b")),
            (
                "TEST a.b skipped: no LSM: 5.10",
                Line::Skipped("a.b", "no LSM: 5.10"),
            ),
            ("TEST a.b okay", Line::Text("TEST a.b okay")),
            ("TEST a.b", Line::Text("TEST a.b")),
            (" TEST a.b ok", Line::Text(" TEST a.b ok")),
            ("", Line::Text("")),
        ] {
            assert_eq!(Line::parse(text), line);
        }
    }

    #[test]
    fn other_boots_are_grouped_by_their_modules() {
        let mut tally = Tally::new("kernel 6.1");
        for text in [
            "TEST a skipped: no BPF here; boot with --lsm yama,bpf",
            "TEST b skipped: no io_uring",
            "TEST c skipped: boot with --lsm yama",
            "TEST d skipped: boot with --lsm yama,bpf",
        ] {
            tally.count(&Line::parse(text));
        }
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            tally.take_other_boots(),
            [
                ("yama,bpf".to_owned(), names(&["a", "d"])),
                ("yama".to_owned(), names(&["c"])),
            ]
        );
        assert_eq!(tally.skipped, [("b".to_owned(), "no io_uring".to_owned())]);
        assert_eq!(tally.take_other_boots(), []);
    }

    #[test]
    fn what_passes_alone_is_told_apart() {
        let mut tally = Tally::new("kernel 6.1");
        for text in ["TEST a ok", "TEST b FAILED"] {
            tally.count(&Line::parse(text));
        }
        let names = tally.failed_tests();
        assert_eq!(names, ["b"]);
        tally.note_unsteady(&names);
        assert_eq!(
            summary(&[tally]),
            "\nkernel 6.1: 2 passed, 0 failed, 0 skipped\n    \
             unsteady b: failed first, passed alone\n2 passed, 0 failed, 0 skipped\n"
        );
    }

    #[test]
    fn nothing_is_tried_again_when_a_machine_went_down() {
        let mut tally = Tally::new("kernel 6.1");
        tally.count(&Line::parse("TEST b FAILED"));
        tally.failed.push("the machine: went down".to_owned());
        assert_eq!(tally.failed_tests(), Vec::<String>::new());
    }

    #[test]
    fn the_last_line_is_plain() {
        let mut one = Tally::new("unit");
        let mut two = Tally::new("kernel 6.1");
        assert!(one.is_empty());
        for text in ["TEST a ok", "TEST b ok", "noise"] {
            one.count(&Line::parse(text));
        }
        for text in ["TEST a ok", "TEST b FAILED", "TEST c skipped: no io_uring"] {
            two.count(&Line::parse(text));
        }
        assert!(!one.is_empty());
        assert_eq!(
            summary(&[one, two]),
            "\nunit: 2 passed, 0 failed, 0 skipped\n\
             kernel 6.1: 1 passed, 1 failed, 1 skipped\n    FAILED  b\n    skipped c: no io_uring\n\
             3 passed, 1 failed, 1 skipped\n"
        );
    }
}
