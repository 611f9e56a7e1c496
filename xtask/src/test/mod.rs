//! `cargo xtask test`: the unit tests here, and the end-to-end tests in a machine per kernel.

mod long;
mod red;
mod report;
mod unit;
mod vm;

use anyhow::{Result, bail};

use crate::series::Series;
use report::Tally;
use vm::Extent;

/// What `cargo xtask test` takes.
#[derive(Debug, clap::Args)]
#[command(override_usage = "cargo xtask test [unit|vm|long|all] [--kernel K]... [FILTER]")]
pub(crate) struct Options {
    /// `unit`: here, without root; `vm`: in machines; `all`: both, which is what runs when nothing
    /// is said; `long`: a million policies against their meaning, minutes of damaged ones, ten
    /// thousand races for one permission, a thousand swaps under load, a million denials
    #[arg(value_name = "unit|vm|long|all")]
    tier: Option<String>,
    /// Only tests whose name contains this
    filter: Option<String>,
    /// Only on this kernel; `all` for the whole matrix. Default: 6.12, and a quarter of the red
    /// team's tests on each of 6.1 and the newest
    #[arg(long = "kernel", value_name = "K")]
    kernels: Vec<String>,
    /// Writes what the tests of the red team show to docs/redteam.md; `red --report` runs only those
    #[arg(long)]
    report: bool,
    /// The same as JSON, to target/redteam.json
    #[arg(long, requires = "report")]
    json: bool,
    /// Machines at a time
    #[arg(long, value_name = "N", default_value_t = vm::JOBS, value_parser = clap::value_parser!(u32).range(1..=16))]
    jobs: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tier {
    Unit,
    Vm,
    Long,
    All,
}

/// Runs the tests, prints what became of them, and says whether none failed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let kernels = kernels(&options.kernels)?;
    let (tier, filter) = tier_and_filter(options)?;
    let mut tallies = Vec::new();
    if tier == Tier::Long {
        tallies.extend(long::run(&kernels, filter)?);
    }
    if matches!(tier, Tier::Unit | Tier::All) {
        tallies.push(unit::run(filter)?);
    }
    if matches!(tier, Tier::Vm | Tier::All) {
        let usual = options.kernels.is_empty() && filter.is_none() && !options.report;
        let extent = if usual { Extent::Usual } else { Extent::Whole };
        let ran = vm::run(&kernels, filter, extent, options.jobs)?;
        if options.report {
            red::write(&ran, options.json)?;
        }
        tallies.extend(ran);
    }
    if let Some(filter) = filter
        && tallies.iter().all(Tally::is_empty)
    {
        bail!("no test is called {filter:?}");
    }
    print!("{}", report::summary(&tallies));
    Ok(tallies.iter().all(|tally| tally.failed.is_empty()))
}

/// A first word that names no tier is the filter.
fn tier_and_filter(options: &Options) -> Result<(Tier, Option<&str>)> {
    if options.report {
        return match (options.tier.as_deref(), &options.filter) {
            (Some("red"), None) => Ok((Tier::Vm, Some(red::FILTER))),
            (None | Some("all"), None) => Ok((Tier::All, None)),
            (Some("vm"), None) => Ok((Tier::Vm, None)),
            _ => bail!(
                "a report is made of all tests of the red team: `cargo xtask test red --report`, or \
                 with all others `cargo xtask test --report`"
            ),
        };
    }
    let tier = match options.tier.as_deref() {
        None | Some("all") => Tier::All,
        Some("unit") => Tier::Unit,
        Some("vm") => Tier::Vm,
        Some("long") => Tier::Long,
        Some(word) => {
            if let Some(second) = &options.filter {
                bail!(
                    "`{word}` is no kind of test; expected unit, vm, long or all before `{second}`"
                );
            }
            return Ok((Tier::All, Some(word)));
        }
    };
    Ok((tier, options.filter.as_deref()))
}

fn kernels(names: &[String]) -> Result<Vec<Series>> {
    if names.is_empty() {
        return Ok(Series::DEFAULT.to_vec());
    }
    let mut kernels = Vec::new();
    for name in names {
        let named = match name.as_str() {
            "all" => Series::MATRIX.to_vec(),
            name => vec![name.parse().map_err(anyhow::Error::msg)?],
        };
        for series in named {
            if !kernels.contains(&series) {
                kernels.push(series);
            }
        }
    }
    Ok(kernels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(tier: Option<&str>, filter: Option<&str>) -> Options {
        Options {
            tier: tier.map(str::to_owned),
            filter: filter.map(str::to_owned),
            kernels: Vec::new(),
            report: false,
            json: false,
            jobs: 1,
        }
    }

    #[test]
    fn words() {
        let read = |tier, filter| {
            let options = options(tier, filter);
            tier_and_filter(&options)
                .map(|(tier, filter)| (tier, filter.map(str::to_owned)))
                .ok()
        };
        assert_eq!(read(None, None), Some((Tier::All, None)));
        assert_eq!(
            read(Some("fork"), None),
            Some((Tier::All, Some("fork".to_owned())))
        );
        assert_eq!(
            read(Some("vm"), Some("fork")),
            Some((Tier::Vm, Some("fork".to_owned())))
        );
        assert_eq!(read(Some("long"), None), Some((Tier::Long, None)));
        assert_eq!(read(Some("vms"), Some("fork")), None);
    }

    #[test]
    fn named_kernels_come_once() {
        let read = |names: &[&str]| {
            let names = names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>();
            kernels(&names).ok().map(|kernels| {
                kernels
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(" ")
            })
        };
        assert_eq!(read(&[]).as_deref(), Some("6.1 6.12 7.x"));
        assert_eq!(
            read(&["6.18", "all"]).as_deref(),
            Some("6.18 5.10 6.1 6.12 7.x")
        );
        assert_eq!(read(&["six"]), None);
    }
}
