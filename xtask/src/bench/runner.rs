//! Builds the programs that measure, and runs them.
//!
//! Guarantees: engines take turns within each measure, each run in a process of its own, so that a
//!             neighbour's busy minute or an earlier engine's heap meets all of them or none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Command, Output as Finished, Stdio};

use anyhow::{Context, Result, bail};

use super::measures::{FLOOR, INSTRUCTIONS, Measure, OURS, Run, Tool};
use super::report::{Output, Row};

/// So that the allocator keeps what is freed: how glibc returns large pieces to the kernel, and takes
/// them back page by page, would be most of what is measured at 4 KiB.
pub(super) const ALLOCATOR_SETTINGS: [(&str, &str); 3] = [
    ("MALLOC_TRIM_THRESHOLD_", "8589934592"),
    ("MALLOC_TOP_PAD_", "67108864"),
    ("MALLOC_MMAP_THRESHOLD_", "8589934592"),
];

/// The figures of one run of one engine; nothing if it could not be measured.
type Figures = BTreeMap<String, f64>;

/// Runs what the measures ask for.
#[derive(Debug)]
pub(super) struct Runner {
    folder: PathBuf,
    has_peers: bool,
    has_callgrind: bool,
    rounds: usize,
    output: Output,
}

impl Runner {
    /// Builds the programs; cargo tells its progress.
    pub(super) fn new(has_peers: bool, rounds: usize, output: Output) -> Result<Self> {
        let mut build = super::package_cargo("build")?;
        build.args(["--release", "--bins", "--features"]);
        build.arg(if has_peers { "count,peers" } else { "count" }).stdout(Stdio::null());
        if !build.status().context("cannot run cargo")?.success() {
            bail!("{} does not build", super::PACKAGE);
        }
        let valgrind = Command::new("valgrind").arg("--version").output();
        let has_callgrind = valgrind.is_ok_and(|finished| finished.status.success());
        if !has_callgrind {
            output.note("valgrind is not installed, so no instructions are counted (null)");
        }
        let folder = super::package_target()?.join("release");
        Ok(Self { folder, has_peers, has_callgrind, rounds, output })
    }

    /// Measures everything.
    ///
    /// # Errors
    ///
    /// If a figure of ours cannot be had. One of a peer that cannot is left out, and told.
    pub(super) fn rows(&self, measures: Vec<Measure>) -> Result<Vec<Row>> {
        let mut figures: BTreeMap<Run, BTreeMap<&str, Figures>> = BTreeMap::new();
        let runs: BTreeSet<_> = measures.iter().map(|measure| &measure.run).collect();
        let total = runs.len();
        let mut rows = Vec::new();
        for measure in measures {
            let Measure { name, goal, run, figure } = measure;
            if !figures.contains_key(&run) {
                self.output.progress(figures.len() + 1, total, &run.arguments.join(" "));
                figures.insert(run.clone(), self.figures(&run)?);
            }
            let of = |engine: &str| figures[&run].get(engine)?.get(figure).copied();
            let peers = run.peers.iter().filter(|engine| self.takes_part(engine));
            let peers = peers.map(|&engine| (engine, of(engine))).collect();
            let row = Row { name, goal, value: of(OURS), peers };
            self.output.row(&row);
            rows.push(row);
        }
        Ok(rows)
    }

    fn takes_part(&self, engine: &str) -> bool {
        self.has_peers || engine == FLOOR
    }

    /// All figures of one run, of every engine that takes part.
    fn figures(&self, run: &Run) -> Result<BTreeMap<&'static str, Figures>> {
        let peers = run.peers.iter().copied().filter(|engine| self.takes_part(engine));
        let engines: Vec<_> = std::iter::once(OURS).chain(peers).collect();
        let rounds = if run.tool == Tool::Clock { self.rounds } else { 1 };
        let mut samples: BTreeMap<&str, BTreeMap<String, Vec<f64>>> = BTreeMap::new();
        for _ in 0..rounds {
            for &engine in &engines {
                let figures = match self.once(run, engine) {
                    Ok(figures) => figures,
                    Err(error) if engine != OURS => {
                        self.output.note(&format!("{engine} has no figure: {error:#}"));
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let samples = samples.entry(engine).or_default();
                for (figure, value) in figures {
                    samples.entry(figure).or_default().push(value);
                }
            }
        }
        let medians = |samples: BTreeMap<String, Vec<f64>>| {
            samples.into_iter().map(|(figure, values)| (figure, median(values))).collect()
        };
        Ok(samples.into_iter().map(|(engine, samples)| (engine, medians(samples))).collect())
    }

    fn once(&self, run: &Run, engine: &str) -> Result<Figures> {
        match run.tool {
            Tool::Clock => self.printed("bench-core", run, engine),
            Tool::Allocator => self.printed("bench-core-count", run, engine),
            Tool::Callgrind { .. } if !self.has_callgrind => Ok(Figures::new()),
            Tool::Callgrind { counts: [short, long] } => {
                let difference = self.instructions(run, engine, long)?
                    - self.instructions(run, engine, short)?;
                let per_piece = difference / (long - short) as f64;
                Ok(Figures::from([(INSTRUCTIONS.to_owned(), per_piece)]))
            }
        }
    }

    /// What the program prints: one JSON object.
    fn printed(&self, program: &str, run: &Run, engine: &str) -> Result<Figures> {
        let mut command = Command::new(self.folder.join(program));
        command.args(["--engine", engine]).args(&run.arguments);
        let finished = execute(&mut command)?;
        serde_json::from_slice(&finished.stdout)
            .with_context(|| format!("{command:?} printed no figures"))
    }

    /// How many instructions the program takes for so much work, its start included.
    fn instructions(&self, run: &Run, engine: &str, count: u64) -> Result<f64> {
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
        command.arg(self.folder.join("bench-core")).args(["--engine", engine]);
        command.args(&run.arguments).arg("--count").arg(count.to_string());
        let finished = execute(&mut command)?;
        let told = String::from_utf8_lossy(&finished.stderr);
        collected(&told).with_context(|| format!("{command:?} counted nothing"))
    }
}

fn execute(command: &mut Command) -> Result<Finished> {
    command.envs(ALLOCATOR_SETTINGS);
    let finished = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !finished.status.success() {
        let told = String::from_utf8_lossy(&finished.stderr);
        bail!("{command:?} failed:\n{}", told.trim());
    }
    Ok(finished)
}

/// The number in the line `==7== Collected : 123`.
fn collected(told: &str) -> Option<f64> {
    let (_, number) = told.lines().find_map(|line| line.split_once("Collected :"))?;
    number.trim().parse().ok()
}

/// The middle one; the upper of two middle ones.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_callgrind_counted_is_found_in_what_it_says() {
        let told = "==7== Events    : Ir\n==7== Collected : 46128\n==7==\n";
        assert_eq!(collected(told), Some(46128.0));
        assert_eq!(collected("==7== Events    : Ir\n"), None);
    }
}
