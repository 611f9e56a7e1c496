//! What libFuzzer says while it runs.

/// What a target has done so far.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Inputs that were tried.
    pub(super) inputs: u64,
    /// The most memory, in MiB.
    pub(super) memory_mib: u64,
    /// The longest time that one input took, in whole seconds.
    pub(super) slowest_s: u64,
    /// The file with the input that failed.
    pub(super) failure: Option<String>,
}

/// What a line is for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// How far it is.
    Progress,
    /// Nothing that a person needs.
    Routine,
    /// Something that a person wants to see.
    News,
}

impl Totals {
    /// Takes a line in.
    pub(super) fn take(&mut self, line: &str) -> Said {
        if let Some(rest) = line.strip_prefix('#') {
            let number = rest.split_ascii_whitespace().next().map(str::parse);
            if let Some(Ok(inputs)) = number {
                self.inputs = inputs;
                self.memory_mib = self.memory_mib.max(memory(rest).unwrap_or(0));
                return Said::Progress;
            }
        }
        if let Some(stat) = line.strip_prefix("stat::") {
            self.statistic(stat);
            return Said::Routine;
        }
        if let Some((_, path)) = line.split_once("Test unit written to ") {
            self.failure = Some(path.trim().to_owned());
            return Said::News;
        }
        if line.contains("panicked at")
            || line.contains("ERROR")
            || line.starts_with("  left")
            || line.starts_with(" right")
            || line.starts_with("SUMMARY")
        {
            return Said::News;
        }
        Said::Routine
    }

    fn statistic(&mut self, stat: &str) {
        let Some((name, value)) = stat.split_once(':') else {
            return;
        };
        let Ok(value) = value.trim().parse() else {
            return;
        };
        match name {
            "number_of_executed_units" => self.inputs = value,
            "slowest_unit_time_sec" => self.slowest_s = value,
            "peak_rss_mb" => self.memory_mib = self.memory_mib.max(value),
            _ => {}
        }
    }
}

/// The figure of `rss: 37Mb`.
fn memory(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once("rss: ")?;
    rest.split_once("Mb")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_finds_something() {
        let mut totals = Totals::default();
        let lines = [
            ("INFO: Seed: 1", Said::Routine),
            (
                "#2\tINITED cov: 1 ft: 1 corp: 1/1b exec/s: 0 rss: 30Mb",
                Said::Progress,
            ),
            (
                "#524288\tpulse  cov: 9 ft: 9 corp: 9/9Kb lim: 9 exec/s: 9 rss: 37Mb",
                Said::Progress,
            ),
            (
                "thread '<unnamed>' panicked at targets/parse.rs:1:2:",
                Said::News,
            ),
            ("==9== ERROR: libFuzzer: deadly signal", Said::News),
            (
                "artifact_prefix='x/'; Test unit written to x/parse-crash-1",
                Said::News,
            ),
            ("stat::number_of_executed_units: 600000", Said::Routine),
            ("stat::slowest_unit_time_sec:    2", Said::Routine),
            ("stat::peak_rss_mb:              36", Said::Routine),
        ];
        for (line, said) in lines {
            assert_eq!(totals.take(line), said, "{line}");
        }
        let expected = Totals {
            inputs: 600_000,
            memory_mib: 37,
            slowest_s: 2,
            failure: Some("x/parse-crash-1".to_owned()),
        };
        assert_eq!(totals, expected);
    }
}
