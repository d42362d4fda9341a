//! `cargo xtask fuzz`: the fuzz targets of `raft-core` and of the emulator on stable, for a bounded time.
//!
//! Inputs that reach something new (a role, an input, an outcome that were not seen together before) are
//! kept and changed further. A failure is shrunk, saved to a file, and printed with the command that
//! replays it. `cargo fuzz` runs those of `raft-core` with the coverage of a nightly compiler.

mod mutate;
mod subject;
#[path = "../../raft-core/fuzz/targets/mod.rs"]
mod targets;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use self::mutate::{Dice, mutate, shrink};
use self::subject::Subject;
use self::targets::seen::Sight;
use self::targets::{Seen, Target};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask fuzz --seconds 60
  cargo xtask fuzz --target step --seed 7 --json
  cargo xtask fuzz --target step --input FILE")]
pub(crate) struct FuzzArgs {
    /// How long each target runs.
    #[arg(long, value_name = "N", default_value_t = 10)]
    seconds: u64,
    /// Run only this target: step, frame, entry, snapshot, client, amqp-frame or amqp-connection.
    #[arg(long, value_name = "NAME", value_parser = subject_of)]
    target: Option<Subject>,
    /// Chooses the inputs; the same seed makes the same ones in the same order.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Stop after so many inputs of a target, and twenty times as many of one that only reads bytes.
    #[arg(long, value_name = "N")]
    executions: Option<u64>,
    /// Print one JSON object per target.
    #[arg(long)]
    json: bool,
    /// Run this one input, and print every step of it. Wants --target.
    #[arg(long, value_name = "FILE", requires = "target")]
    input: Option<PathBuf>,
    /// Add what reached something new to the corpus.
    #[arg(long)]
    keep: bool,
}

fn subject_of(name: &str) -> Result<Subject, String> {
    let found = Subject::all().find(|target| target.name() == name);
    found.ok_or_else(|| format!("there is no target {name}"))
}

/// Inputs longer than this are not kept for good: a corpus is read by people, too.
const KEPT_BYTES_MAX: usize = 600;

pub(crate) fn run(args: &FuzzArgs) -> Result<()> {
    if let (Some(target), Some(path)) = (args.target, &args.input) {
        return replay(target, path);
    }
    for target in Subject::all().filter(|&t| args.target.is_none_or(|only| only == t)) {
        let mut fuzzer = Fuzzer::new(target, args.seed)?;
        let outcome = quietly(|| fuzzer.run(args));
        if args.keep {
            fuzzer.keep()?;
        }
        if args.json {
            println!("{}", fuzzer.to_json());
        } else {
            fuzzer.print();
        }
        outcome?;
    }
    Ok(())
}

/// A few seconds of every target, the same inputs each time.
pub(crate) fn run_briefly() -> Result<()> {
    run(&FuzzArgs {
        seconds: 20,
        target: None,
        seed: 1,
        executions: Some(3_000),
        json: false,
        input: None,
        keep: false,
    })
}

/// Runs one input with its steps in words.
fn replay(target: Subject, path: &Path) -> Result<()> {
    let data = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut seen = Seen::with_trace();
    let result = catch_unwind(AssertUnwindSafe(|| target.run(&data, &mut seen)));
    seen.lines().iter().for_each(|line| println!("{line}"));
    match result {
        Ok(()) => Ok(()),
        Err(_) => bail!("target {} fails", target.name()),
    }
}

/// Runs without the report of each panic: those are reported once, with their input.
fn quietly<T>(run: impl FnOnce() -> T) -> T {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = run();
    std::panic::set_hook(hook);
    result
}

/// Runs one input; what it panics with, if it does.
fn failure(target: Subject, data: &[u8], seen: &mut Seen) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(|| target.run(data, seen))).err()?;
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    Some(text.unwrap_or_else(|| "a panic without words".to_owned()))
}

struct Fuzzer {
    target: Subject,
    dice: Dice,
    /// Inputs that reached something new, those of the corpus first.
    pool: Vec<Vec<u8>>,
    from_corpus: usize,
    /// Everything seen, and how often in powers of two at the most in one run.
    seen: BTreeMap<Sight, (u64, u32)>,
    executions: u64,
    elapsed: Duration,
}

impl Fuzzer {
    fn new(target: Subject, seed: u64) -> Result<Self> {
        let folder = target.corpus();
        let mut paths = Vec::new();
        if folder.is_dir() {
            for file in std::fs::read_dir(&folder)? {
                paths.push(file?.path());
            }
        }
        // The order of a folder is anything.
        paths.sort();
        let mut pool = vec![Vec::new()];
        for path in paths {
            pool.push(std::fs::read(path)?);
        }
        let mut dice = Dice::new(seed);
        pool.extend(samples(target, &mut dice));
        Ok(Self {
            target,
            dice,
            from_corpus: pool.len(),
            pool,
            seen: BTreeMap::new(),
            executions: 0,
            elapsed: Duration::ZERO,
        })
    }

    fn run(&mut self, args: &FuzzArgs) -> Result<()> {
        let (started, limit) = (Instant::now(), Duration::from_secs(args.seconds));
        for place in 0..self.from_corpus {
            let data = self.pool[place].clone();
            self.execute(&data)?;
        }
        let factor = if self.target.is_quick() { 20 } else { 1 };
        let is_enough = |executions| args.executions.is_some_and(|max| executions / factor >= max);
        while started.elapsed() < limit && !is_enough(self.executions) {
            // What was found last leads further more often than not.
            let count = self.pool.len();
            let recent = if self.dice.below(2) == 0 { count.min(20) } else { count };
            let place = count - 1 - self.dice.below(recent);
            let other = self.dice.below(count);
            let mut data = self.pool[place].clone();
            mutate(&mut self.dice, &mut data, &self.pool[other]);
            if self.execute(&data)? {
                self.pool.push(data);
            }
            self.elapsed = started.elapsed();
        }
        self.elapsed = started.elapsed();
        Ok(())
    }

    /// Runs one input. True if it reached something new.
    fn execute(&mut self, data: &[u8]) -> Result<bool> {
        let mut seen = Seen::default();
        self.executions += 1;
        if let Some(reason) = failure(self.target, data, &mut seen) {
            return Err(self.report(data, &reason));
        }
        let mut is_new = false;
        for (sight, count) in seen.counts {
            let (total, most) = self.seen.entry(sight).or_default();
            let magnitude = (u64::BITS - count.leading_zeros()).min(4);
            is_new |= magnitude > *most;
            *most = magnitude.max(*most);
            *total += count;
        }
        Ok(is_new)
    }

    /// Shrinks a failing input, saves it, and says how to run it again.
    fn report(&self, data: &[u8], reason: &str) -> anyhow::Error {
        let name = self.target.name();
        // Shrinking must not end at another failure; numbers in the words may change.
        let start: String = reason.chars().take_while(|c| !c.is_ascii_digit()).collect();
        let fails = |data: &[u8]| {
            failure(self.target, data, &mut Seen::default())
                .is_some_and(|reason| reason.starts_with(&start))
        };
        let small = shrink(data, fails);
        let folder = crate::root().join("target").join("fuzz");
        let path = folder.join(format!("{name}-{:016x}", fingerprint(&small)));
        let saved = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, &small));
        match saved {
            Ok(()) => anyhow::anyhow!(
                "target {name} fails: {reason}\nreplay with: cargo xtask fuzz --target {name} --input {}",
                path.display()
            ),
            Err(error) => anyhow::anyhow!(
                "target {name} fails: {reason}\nthe input cannot be saved ({error}): {small:?}"
            ),
        }
    }

    /// Saves the inputs that reached something new, as short as they can be without losing it.
    fn keep(&self) -> Result<()> {
        let folder = self.target.corpus();
        std::fs::create_dir_all(&folder)?;
        let mut known: std::collections::BTreeSet<Sight> = std::collections::BTreeSet::new();
        for (place, data) in self.pool.iter().enumerate() {
            let sights = |data: &[u8]| {
                let mut seen = Seen::default();
                self.target.run(data, &mut seen);
                seen.counts.into_keys().filter(|sight| !known.contains(sight)).collect()
            };
            let new: Vec<Sight> = sights(data);
            let is_kept = place < self.from_corpus;
            if new.is_empty() || is_kept {
                known.extend(new);
                continue;
            }
            let small = shrink(data, |data| {
                let found = sights(data);
                new.iter().all(|sight| found.contains(sight))
            });
            known.extend(new);
            if small.len() <= KEPT_BYTES_MAX {
                std::fs::write(folder.join(format!("{:016x}", fingerprint(&small))), &small)?;
            }
        }
        Ok(())
    }

    fn rate(&self) -> f64 {
        self.executions as f64 / self.elapsed.as_secs_f64().max(0.001)
    }

    fn print(&self) {
        println!(
            "{}: {} inputs in {:.1} s ({:.0} a second), {} kept, {} things seen",
            self.target.name(),
            self.executions,
            self.elapsed.as_secs_f64(),
            self.rate(),
            self.pool.len() - self.from_corpus,
            self.seen.len(),
        );
        let mut last = ("", "");
        for (&(who, what, outcome), (count, _)) in &self.seen {
            if (who, what) != last {
                print!("{}  {who} {what}:", if last == ("", "") { "" } else { "\n" });
                last = (who, what);
            }
            print!(" {outcome} {count}");
        }
        println!();
    }

    fn to_json(&self) -> serde_json::Value {
        let seen: Vec<_> = self
            .seen
            .iter()
            .map(|((who, what, outcome), (count, _))| {
                serde_json::json!({"who": who, "what": what, "outcome": outcome, "count": count})
            })
            .collect();
        serde_json::json!({
            "target": self.target.name(),
            "executions": self.executions,
            "elapsed_ms": self.elapsed.as_millis() as u64,
            "kept": self.pool.len() - self.from_corpus,
            "seen": seen,
        })
    }
}

/// What servers wrote while they were fuzzed themselves, for the targets that read it.
fn samples(target: Subject, dice: &mut Dice) -> Vec<Vec<u8>> {
    const COUNT: usize = 200;
    let target = match target {
        Subject::Core(target) => target,
        Subject::Emulator(target) => return target.samples(),
    };
    let mut samples: Vec<Vec<u8>> = Vec::new();
    let reads = matches!(target, Target::Frame | Target::Entry | Target::Snapshot);
    for _ in 0..if reads { 500 } else { 0 } {
        let mut data = Vec::new();
        (0..20).for_each(|_| mutate(dice, &mut data, &[]));
        let mut seen = Seen::with_samples();
        if failure(Subject::Core(Target::Step), &data, &mut seen).is_some() {
            // It is found again where it is looked for.
            continue;
        }
        let found = seen.into_samples();
        samples.extend(match target {
            Target::Frame => found.frames,
            Target::Entry => found.entries,
            Target::Snapshot => found.snapshots,
            Target::Step | Target::Client => Vec::new(),
        });
        if samples.len() >= COUNT {
            break;
        }
    }
    samples.truncate(COUNT);
    samples
}

/// FNV-1a: a name for an input.
fn fingerprint(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
