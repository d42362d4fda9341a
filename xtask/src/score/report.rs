//! What a score looks like: a table for people, or one JSON object per mutant.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::suite::Verdict;
use super::table::{Mutant, Table};

/// What became of one mutant.
#[derive(Debug)]
pub(super) struct Row<'a> {
    mutant: &'a Mutant,
    runs: Vec<(&'static str, Verdict, Duration)>,
}

/// What a row comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Caught,
    Timeout,
    Survived,
    Equivalent,
    Error,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Caught => "caught",
            Self::Timeout => "timeout",
            Self::Survived => "survived",
            Self::Equivalent => "equivalent",
            Self::Error => "error",
        }
    }
}

impl<'a> Row<'a> {
    pub(super) fn new(mutant: &'a Mutant) -> Self {
        Self { mutant, runs: Vec::new() }
    }

    pub(super) fn add(&mut self, suite: &'static str, verdict: Verdict, elapsed: Duration) {
        self.runs.push((suite, verdict, elapsed));
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
        match (&self.mutant.equivalent, best.0) {
            (Some(reason), Outcome::Survived) => (Outcome::Equivalent, reason.clone()),
            (Some(_), _) => {
                (Outcome::Error, format!("called equivalent, but noticed by {}", best.1))
            }
            (None, _) => best,
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
            "equivalent": self.ids(&[Outcome::Equivalent]),
            "errors": self.ids(&[Outcome::Error]),
            "elapsed_ms": millis(self.started.elapsed()),
        })
    }

    fn last_words(&self) -> String {
        let count = self.outcomes.len();
        let caught = self.ids(&[Outcome::Caught, Outcome::Timeout]).len();
        let mut words = format!("\n{caught} of {count} mutants caught ({})", self.suite);
        let rest = [Outcome::Survived, Outcome::Equivalent, Outcome::Error];
        for outcome in rest {
            let ids = self.ids(&[outcome]);
            if !ids.is_empty() {
                words += &format!("; {}: {}", outcome.name(), ids.join(", "));
            }
        }
        words + &format!("; {:.0} s", self.started.elapsed().as_secs_f64())
    }
}
