//! What a score looks like: a table for people, or one JSON object per mutant.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::suite::{Judged, Suite, Verdict};
use super::table::{Mutant, Table};

/// The name of the suite that explores.
const EXPLORER: &str = Suite::Explorer.name();

/// What became of one mutant.
#[derive(Debug)]
pub(super) struct Row<'a> {
    mutant: &'a Mutant,
    runs: Vec<(&'static str, Verdict, Duration)>,
    /// What each strategy of the explorer had to say.
    strategies: Vec<Value>,
}

/// What a row comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Caught,
    Timeout,
    Survived,
    /// It survived the explorer, which cannot notice it, and nobody else was asked.
    Beyond,
    Equivalent,
    Error,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Caught => "caught",
            Self::Timeout => "timeout",
            Self::Survived => "survived",
            Self::Beyond => "beyond the explorer",
            Self::Equivalent => "equivalent",
            Self::Error => "error",
        }
    }
}

impl<'a> Row<'a> {
    pub(super) fn new(mutant: &'a Mutant) -> Self {
        Self { mutant, runs: Vec::new(), strategies: Vec::new() }
    }

    pub(super) fn add(&mut self, suite: &'static str, judged: Judged, elapsed: Duration) {
        self.runs.push((suite, judged.verdict, elapsed));
        self.strategies.extend(judged.strategies);
    }

    /// How fast each strategy found it, how often it shows, and how short its run became.
    fn strategy_lines(&self) -> Vec<String> {
        let line = |it: &Value| {
            let name = it["strategy"].as_str().unwrap_or_default();
            let seconds = it["seconds"].as_f64().unwrap_or_default();
            match (it["found"].as_str(), it["scenario"].as_str()) {
                (Some(property), Some(scenario)) => format!(
                    "      {name:<20} {seconds:>5.1} s  {property} in {scenario}, {} of {} schedules, {} events",
                    it["buggy_schedules"], it["of_schedules"], it["shrunk_events"],
                ),
                _ => format!(
                    "      {name:<20} {seconds:>5.1} s  nothing in {} schedules",
                    it["iterations"]
                ),
            }
        };
        self.strategies.iter().map(line).collect()
    }

    fn elapsed(&self) -> Duration {
        self.runs.iter().map(|(_, _, elapsed)| elapsed).sum()
    }

    /// The outcome, and who noticed or why not.
    fn outcome(&self) -> (Outcome, String) {
        let mut best = (Outcome::Survived, String::new());
        for (_, verdict, _) in &self.runs {
            best = match (verdict, best.0) {
                (Verdict::Error(reason), _) => return (Outcome::Error, reason.clone()),
                (Verdict::Caught(by), Outcome::Survived) => (Outcome::Caught, by.clone()),
                (Verdict::Timeout(by), Outcome::Survived) => (Outcome::Timeout, by.clone()),
                _ => best,
            };
        }
        let Mutant { equivalent, beyond_explorer, .. } = self.mutant;
        let is_of_explorer = |(suite, ..): &&(&str, Verdict, Duration)| *suite == EXPLORER;
        let by_explorer = self.runs.iter().filter(is_of_explorer);
        let is_seen = by_explorer.clone().any(|(_, verdict, _)| *verdict != Verdict::Survived);
        let is_alone = by_explorer.count() == self.runs.len();
        match (equivalent, beyond_explorer, best.0) {
            (Some(reason), _, Outcome::Survived) => (Outcome::Equivalent, reason.clone()),
            (Some(_), ..) => {
                (Outcome::Error, format!("called equivalent, but noticed by {}", best.1))
            }
            (None, Some(_), _) if is_seen => {
                (Outcome::Error, format!("called beyond the explorer, but noticed by {}", best.1))
            }
            (None, Some(reason), Outcome::Survived) if is_alone => {
                (Outcome::Beyond, reason.clone())
            }
            (None, ..) => best,
        }
    }

    fn to_json(&self) -> Value {
        let runs = self.runs.iter().map(|(suite, verdict, elapsed)| {
            let (outcome, detail) = match verdict {
                Verdict::Caught(by) => (Outcome::Caught, by.as_str()),
                Verdict::Timeout(by) => (Outcome::Timeout, by.as_str()),
                Verdict::Survived => (Outcome::Survived, ""),
                Verdict::Error(reason) => (Outcome::Error, reason.as_str()),
            };
            let elapsed_ms = millis(*elapsed);
            json!({"suite": suite, "outcome": outcome.name(), "detail": detail, "elapsed_ms": elapsed_ms})
        });
        let runs: Vec<_> = runs.collect();
        let (outcome, detail) = self.outcome();
        json!({
            "event": "mutant",
            "id": self.mutant.id,
            "name": self.mutant.name,
            "outcome": outcome.name(),
            "detail": detail,
            "runs": runs,
            "strategies": self.strategies,
            "elapsed_ms": millis(self.elapsed()),
        })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Shows rows as they come, and their sum at the end.
#[derive(Debug)]
pub(super) struct Report {
    suite: &'static str,
    is_json: bool,
    started: Instant,
    name_width: usize,
    outcomes: Vec<(String, Outcome)>,
}

impl Report {
    pub(super) fn new(suite: &'static str, is_json: bool, table: &Table) -> Self {
        let names = table.mutants.iter().map(|mutant| mutant.name.len());
        let name_width = names.max().unwrap_or(0);
        let started = Instant::now();
        Self { suite, is_json, started, name_width, outcomes: Vec::new() }
    }

    pub(super) fn add(&mut self, row: Row<'_>) {
        let (outcome, detail) = row.outcome();
        if self.is_json {
            println!("{}", row.to_json());
        } else {
            let (Mutant { id, name, .. }, width) = (row.mutant, self.name_width);
            let (word, seconds) = (outcome.name(), row.elapsed().as_secs_f64());
            println!("{id:<5} {name:<width$} {seconds:>6.1} s  {word:<10} {detail}");
            row.strategy_lines().iter().for_each(|line| println!("{line}"));
        }
        self.outcomes.push((row.mutant.id.clone(), outcome));
    }

    /// True if everything that can be noticed was.
    pub(super) fn is_good(&self) -> bool {
        self.ids(&[Outcome::Survived, Outcome::Error]).is_empty()
    }

    pub(super) fn finish(&self) {
        println!("{}", if self.is_json { self.summary().to_string() } else { self.last_words() });
    }

    fn ids(&self, outcomes: &[Outcome]) -> Vec<&str> {
        let rows = self.outcomes.iter().filter(|(_, outcome)| outcomes.contains(outcome));
        rows.map(|(id, _)| id.as_str()).collect()
    }

    fn summary(&self) -> Value {
        json!({
            "event": "summary",
            "suite": self.suite,
            "mutants": self.outcomes.len(),
            "caught": self.ids(&[Outcome::Caught, Outcome::Timeout]).len(),
            "survived": self.ids(&[Outcome::Survived]),
            "beyond_explorer": self.ids(&[Outcome::Beyond]),
            "equivalent": self.ids(&[Outcome::Equivalent]),
            "errors": self.ids(&[Outcome::Error]),
            "elapsed_ms": millis(self.started.elapsed()),
        })
    }

    fn last_words(&self) -> String {
        let count = self.outcomes.len();
        let caught = self.ids(&[Outcome::Caught, Outcome::Timeout]).len();
        let mut words = format!("\n{caught} of {count} mutants caught ({})", self.suite);
        let rest = [Outcome::Survived, Outcome::Beyond, Outcome::Equivalent, Outcome::Error];
        for outcome in rest {
            let ids = self.ids(&[outcome]);
            if !ids.is_empty() {
                words += &format!("; {}: {}", outcome.name(), ids.join(", "));
            }
        }
        words + &format!("; {:.0} s", self.started.elapsed().as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "
[[mutant]]
id = 'E1'
name = 'one'
breaks = 'it'
file = 'a.rs'
find = 'a'
replace = 'b'
[[mutant]]
id = 'E2'
name = 'two'
breaks = 'nothing'
equivalent = 'nobody can tell'
file = 'a.rs'
find = 'a'
replace = 'c'
[[mutant]]
id = 'E3'
name = 'three'
breaks = 'a file'
beyond_explorer = 'it never sees one'
file = 'a.rs'
find = 'a'
replace = 'd'
";

    fn outcome(mutant: &Mutant, verdicts: &[Verdict]) -> (Outcome, String) {
        let mut row = Row::new(mutant);
        for verdict in verdicts {
            row.add("tests", verdict.clone().into(), Duration::from_millis(7));
        }
        row.outcome()
    }

    #[test]
    fn one_suite_that_notices_is_enough_and_an_error_is_never_a_catch() {
        let table = Table::parse(TABLE).unwrap();
        let caught = Verdict::Caught("paper: x".to_owned());
        let timeout = Verdict::Timeout("paper: y".to_owned());
        let error = Verdict::Error("does not build".to_owned());
        let of_first = |verdicts: &[Verdict]| outcome(&table.mutants[0], verdicts).0;
        assert_eq!(of_first(&[Verdict::Survived, caught.clone()]), Outcome::Caught);
        assert_eq!(of_first(&[timeout, caught.clone()]), Outcome::Timeout);
        assert_eq!(of_first(&[Verdict::Survived]), Outcome::Survived);
        assert_eq!(of_first(&[caught.clone(), error]), Outcome::Error);
        let of_second = |verdicts: &[Verdict]| outcome(&table.mutants[1], verdicts);
        let reason = "nobody can tell".to_owned();
        assert_eq!(of_second(&[Verdict::Survived]), (Outcome::Equivalent, reason));
        let refuted = "called equivalent, but noticed by paper: x".to_owned();
        assert_eq!(of_second(&[caught]), (Outcome::Error, refuted));
    }

    #[test]
    fn what_is_beyond_the_explorer_is_for_the_tests_to_notice() {
        let table = Table::parse(TABLE).unwrap();
        let judge = |verdicts: &[(Suite, Verdict)]| {
            let mut row = Row::new(&table.mutants[2]);
            for (suite, verdict) in verdicts {
                row.add(suite.name(), verdict.clone().into(), Duration::ZERO);
            }
            row.outcome()
        };
        let caught = Verdict::Caught("x".to_owned());
        let survived = |suite| (suite, Verdict::Survived);
        let reason = "it never sees one".to_owned();
        assert_eq!(judge(&[survived(Suite::Explorer)]), (Outcome::Beyond, reason));
        assert_eq!(judge(&[survived(Suite::Tests)]).0, Outcome::Survived);
        let both = [survived(Suite::Tests), survived(Suite::Explorer)];
        assert_eq!(judge(&both).0, Outcome::Survived);
        let by_tests = [(Suite::Tests, caught.clone()), survived(Suite::Explorer)];
        assert_eq!(judge(&by_tests).0, Outcome::Caught);
        let refuted = "called beyond the explorer, but noticed by x".to_owned();
        assert_eq!(judge(&[(Suite::Explorer, caught)]), (Outcome::Error, refuted));
    }

    #[test]
    fn the_summary_counts_what_was_caught_and_names_the_rest() {
        let table = Table::parse(TABLE).unwrap();
        let mut report = Report::new("tests", true, &table);
        let mut row = Row::new(&table.mutants[0]);
        row.add("tests", Verdict::Caught("paper: x".to_owned()).into(), Duration::from_millis(7));
        let expected = json!({
            "event": "mutant", "id": "E1", "name": "one", "outcome": "caught",
            "detail": "paper: x", "elapsed_ms": 7,
            "runs": [
                {"suite": "tests", "outcome": "caught", "detail": "paper: x", "elapsed_ms": 7}
            ],
            "strategies": [],
        });
        assert_eq!(row.to_json(), expected);
        report.add(row);
        let mut row = Row::new(&table.mutants[1]);
        row.add("tests", Verdict::Survived.into(), Duration::ZERO);
        report.add(row);
        assert!(report.is_good(), "an equivalent mutant is no gap");
        let mut summary = report.summary();
        assert!(summary["elapsed_ms"].take().is_u64());
        let expected = json!({
            "event": "summary", "suite": "tests", "mutants": 2, "caught": 1, "survived": [],
            "beyond_explorer": [], "equivalent": ["E2"], "errors": [], "elapsed_ms": null,
        });
        assert_eq!(summary, expected);

        let mut row = Row::new(&table.mutants[0]);
        row.add("tests", Verdict::Survived.into(), Duration::ZERO);
        report.add(row);
        assert!(!report.is_good());
        assert_eq!(report.summary()["survived"], json!(["E1"]));
    }
}
