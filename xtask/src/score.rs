//! `cargo xtask score`: does the suite notice when the core is wrong?
//!
//! A table of mutants (`xtask/mutants/*.toml`) says where one line of the protocol goes wrong. Each is
//! applied to a copy of the core, one at a time, and a suite has to notice.
//!
//! Guarantees: the working tree is never touched; the same tree gives the same score; a row that does
//!             not fit the code, or does not compile, is an error and never a catch.
//! Elsewhere:  the rows in [`table`], the copy in [`scratch`], what is run in [`suite`], time and
//!             memory in [`process`], the words in [`report`].

mod process;
mod report;
mod scratch;
mod suite;
mod table;
#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use self::report::{Report, Row};
use self::scratch::{Exploring, Scratch, Subject};
use self::suite::{Bench, Verdict};
use self::table::Table;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask score
  cargo xtask score --only E01,R04 --suite all
  cargo xtask score --only E01 --suite explorer --strategies all
  cargo xtask score --json | tail -1")]
pub(crate) struct ScoreArgs {
    /// Who has to notice.
    #[arg(long, value_enum, default_value_t = SuiteChoice::Tests)]
    suite: SuiteChoice,
    /// Only these mutants, by id.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    only: Vec<String>,
    /// Print one JSON object per mutant; the last line is the summary.
    #[arg(long)]
    json: bool,
    /// Only check that every row fits the code, and run nothing.
    #[arg(long, conflicts_with_all = ["json", "list"])]
    check: bool,
    /// Only name the mutants.
    #[arg(long, conflicts_with = "json")]
    list: bool,
    /// How long each strategy of the explorer may explore, in seconds of the processor.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Which strategies of the explorer judge, or `all`: see `raft-explore list`.
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = "portfolio")]
    strategies: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SuiteChoice {
    /// The core's own tests.
    Tests,
    /// The explorer's short run.
    Explorer,
    /// Both; one of them has to notice.
    All,
}

impl SuiteChoice {
    fn name(self) -> &'static str {
        match self {
            Self::Tests => "tests",
            Self::Explorer => "explorer",
            Self::All => "all",
        }
    }

    fn has_tests(self) -> bool {
        self != Self::Explorer
    }

    fn has_explorer(self) -> bool {
        self != Self::Tests
    }
}

impl ScoreArgs {
    fn exploring(&self) -> Exploring {
        let is_all = self.strategies.iter().any(|name| name == "all");
        let all = || raft_nondeterminism::strategies().iter().map(|it| it.name().to_owned());
        let strategies = if is_all { all().collect() } else { self.strategies.clone() };
        Exploring { strategies, seconds: self.seconds }
    }
}

/// Succeeds when every mutant that is not equivalent is caught.
pub(crate) fn run(args: &ScoreArgs) -> Result<ExitCode> {
    let subject = Subject::core(crate::root(), args.exploring());
    let table = Table::read(&subject.root.join("xtask/mutants"))?.only(&args.only)?;
    if args.list {
        table.mutants.iter().for_each(|mutant| println!("{mutant}"));
        return Ok(ExitCode::SUCCESS);
    }
    table.check(&subject.source())?;
    if args.check {
        println!("all {} mutants fit the code", table.mutants.len());
        return Ok(ExitCode::SUCCESS);
    }
    let report = score(&subject, &table, args.suite, args.json)?;
    report.finish();
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What `cargo xtask ci` asks: does every row still fit the code?
pub(crate) fn check() -> Result<()> {
    let subject = Subject::core(crate::root(), Exploring::default());
    Table::read(&subject.root.join("xtask/mutants"))?.check(&subject.source())
}

fn score(subject: &Subject, table: &Table, choice: SuiteChoice, is_json: bool) -> Result<Report> {
    let mut report = Report::new(choice.name(), is_json, table);
    let scratch = Scratch::create(subject)?;
    let mut bench = Bench::new(subject, &scratch).with_rows(&table.mutants);
    eprintln!("the copy without a mutant, in {} ...", scratch.folder().display());
    for suite in bench.suites(choice.has_tests(), choice.has_explorer()) {
        match bench.run_unmutated(suite)? {
            Verdict::Survived => {}
            Verdict::Error(reason) => bail!("the copy without a mutant does not build: {reason}"),
            Verdict::Caught(by) | Verdict::Timeout(by) => {
                bail!("the suite must be green before it can judge; without a mutant fails {by}")
            }
        }
    }
    for (number, mutant) in (1..).zip(&table.mutants) {
        eprintln!("[{number}/{}] {} {} ...", table.mutants.len(), mutant.id, mutant.name);
        scratch.apply(mutant)?;
        let mut row = Row::new(mutant);
        for suite in bench.suites(choice.has_tests(), choice.has_explorer()) {
            let started = Instant::now();
            let judged = bench.run(suite, &mutant.tests)?;
            row.add(suite.name(), judged, started.elapsed());
        }
        scratch.restore(mutant)?;
        report.add(row);
    }
    Ok(report)
}
