//! Programs that take steps as their arguments, and print a line for each.

use super::product;
use super::session::Place;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout};

/// What all of them can do.
const COMMON: &str = include_str!("steps.py");

/// Such a program, in Python.
pub(crate) struct Steps {
    file: &'static str,
}

impl Steps {
    /// Writes it to a file.
    pub(crate) fn of(file: &'static str, text: &str) -> Result<Self> {
        fs::write(file, format!("{COMMON}{text}"))?;
        Ok(Self { file })
    }

    /// The program, for who does not see the file.
    pub(crate) fn text(&self) -> Result<String> {
        Ok(fs::read_to_string(self.file)?)
    }

    /// Its command line.
    pub(crate) fn words<'a>(&'a self, steps: &[&'a str]) -> Vec<&'a str> {
        let mut words = vec!["python3", self.file];
        words.extend(steps);
        words
    }

    /// Takes steps, and gives a line for each.
    pub(crate) fn take(&self, place: Place<'_>, steps: &[&str]) -> Result<Vec<String>> {
        let output = place.run(&self.words(steps))?;
        ensure!(output.status.success(), "{}", product::said(&output));
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Takes steps, and compares what each says.
    pub(crate) fn expect(&self, place: Place<'_>, expected: &[(&str, &str)]) -> Result<()> {
        let words: Vec<&str> = expected.iter().map(|(step, _)| *step).collect();
        let said = self.take(place, &words)?;
        for (i, (step, wanted)) in expected.iter().enumerate() {
            let found = said.get(i).map_or("nothing", String::as_str);
            ensure!(
                found == *wanted,
                "{step:?} {place:?}: said {found:?}, expected {wanted:?}"
            );
        }
        Ok(())
    }
}

/// What such a program says while it goes on.
pub(crate) struct Talk(Lines<BufReader<ChildStdout>>);

impl Talk {
    /// Of a program that was started with a pipe for it.
    pub(crate) fn of(child: &mut Child) -> Result<Self> {
        let said = child.stdout.take().context("its output")?;
        Ok(Self(BufReader::new(said).lines()))
    }

    /// The next line.
    pub(crate) fn next(&mut self) -> Result<String> {
        Ok(self.0.next().context("the client is silent")??)
    }

    /// The next line is this.
    pub(crate) fn expect(&mut self, wanted: &str) -> Result<()> {
        let found = self.next()?;
        ensure!(
            found == wanted,
            "the client said {found:?}, expected {wanted:?}"
        );
        Ok(())
    }
}
