//! Recovery of a log whose writer was killed.
//!
//! One process writes and is killed; others open the log, read it into memory, and are killed as well, so
//! that each of them finds what a crash leaves. What the file system knows is not lost with a process, so
//! this says nothing about power cuts.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use bench_core::measure::Figures;
use rustix::process::{Signal, getpid, kill_process};

use crate::append::append;
use crate::place;
use crate::store::{ENTRY_BYTES, Outcome, Source, Store};

/// How many entries share a write.
const BATCH: u64 = 256;

/// Writes the log in one process and opens it in two more: the first without the page cache, the second
/// with it. `child` is this program, to be told what to do.
///
/// # Errors
///
/// If one of them has no result.
pub fn measure(
    folder: &Path,
    entries: u64,
    child: impl Fn(&str) -> Outcome<Command>,
) -> Outcome<Figures> {
    run(child("fill")?)?;
    let disk_bytes = place::allocated(folder)?;
    place::drop_page_cache(folder)?;
    let cold = opened(&run(child("open")?)?)?;
    let warm = opened(&run(child("open")?)?)?;

    let mut figures = vec![
        ("warm_milliseconds", warm.milliseconds),
        ("warm_open_milliseconds", warm.open_milliseconds),
        ("disk_bytes_per_entry", disk_bytes as f64 / entries as f64),
    ];
    // If the cache was not dropped after all, there is no such figure.
    if cold.device_bytes >= (entries * ENTRY_BYTES as u64 / 2) as f64 {
        figures.push(("cold_milliseconds", cold.milliseconds));
        figures.push(("cold_open_milliseconds", cold.open_milliseconds));
    }
    Ok(figures)
}

/// What a process that opened the log tells.
#[derive(Clone, Copy, Debug)]
struct Opened {
    milliseconds: f64,
    open_milliseconds: f64,
    device_bytes: f64,
}

/// Writes the log, and is killed.
///
/// # Errors
///
/// If the store says so.
pub fn fill<S: Store>(folder: &Path, entries: u64) -> Outcome<()> {
    let mut store = S::open(folder)?;
    store.read_all()?;
    append(&mut store, &mut Source::new(), BATCH, entries)?;
    die()
}

/// Opens the log and reads everything into memory, tells how long that took, and is killed.
///
/// # Errors
///
/// If the store says so.
pub fn open<S: Store>(folder: &Path, entries: u64, tell: impl Fn(String)) -> Outcome<()> {
    let started = Instant::now();
    let mut store = S::open(folder)?;
    let opened = started.elapsed().as_secs_f64() * 1000.0;
    let read = store.read_all()?;
    let all = started.elapsed().as_secs_f64() * 1000.0;
    let device_bytes = place::read_from_device()?;
    Source::new().check(entries, S::payloads(&read));
    tell(format!("{all} {opened} {device_bytes}"));
    die()
}

/// Ends this process without giving anybody a chance to tidy up.
fn die() -> Outcome<()> {
    kill_process(getpid(), Signal::KILL)?;
    Err("this process was killed and lives".into())
}

/// What a process prints before it is killed.
fn run(mut command: Command) -> Outcome<String> {
    let finished = command.stderr(Stdio::inherit()).output()?;
    // A process that failed has a code; one that was killed has none.
    if let Some(code) = finished.status.code() {
        return Err(format!("{command:?} ended with {code}").into());
    }
    Ok(String::from_utf8(finished.stdout)?)
}

fn opened(told: &str) -> Outcome<Opened> {
    let numbers: Result<Vec<f64>, _> = told.split_whitespace().map(str::parse).collect();
    let [milliseconds, open_milliseconds, device_bytes] = numbers?[..] else {
        return Err(format!("{told:?} are not three numbers").into());
    };
    Ok(Opened { milliseconds, open_milliseconds, device_bytes })
}
