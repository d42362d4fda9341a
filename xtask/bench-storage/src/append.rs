//! Appends by one writer that waits for each of them.

use std::path::Path;
use std::time::{Duration, Instant};

use bench_core::clock::median;
use bench_core::counting;
use bench_core::measure::Figures;

use crate::store::{Outcome, Source, Store};

/// How many batches are appended before any is measured.
const WARM_UP: u64 = 20;
/// What was written before the burst may settle for so long: what stores do ahead, on threads of
/// their own, belongs to no append.
const PAUSE: Duration = Duration::from_millis(200);
/// A disk that takes longer has used up what it may do at full speed, and shows only its quota.
const THROTTLED_MICROSECONDS: f64 = 2000.0;

/// A short burst of appends: how long most of them take. If the disk was throttled, only that is said.
///
/// # Errors
///
/// If the store says so.
pub fn burst<S: Store>(folder: &Path, batch: u64, length: Duration) -> Outcome<Figures> {
    let mut source = Source::new();
    let mut store = S::open(folder)?;
    store.read_all()?;
    append::<S>(&mut store, &mut source, batch, WARM_UP * batch)?;
    std::thread::sleep(PAUSE);

    let mut times = Vec::new();
    let started = Instant::now();
    while started.elapsed() < length {
        store.prepare()?;
        let entries = source.batch::<S>(batch);
        let before = Instant::now();
        store.append(entries)?;
        times.push(before.elapsed().as_nanos() as f64 / 1000.0);
    }
    drop(store);
    check::<S>(folder, &source)?;

    let p50 = median(&mut times);
    if p50 > THROTTLED_MICROSECONDS {
        return Ok(vec![("throttled", 1.0)]);
    }
    Ok(vec![("p10_microseconds", times[times.len() / 10]), ("p50_microseconds", p50)])
}

/// Appends so many entries. Allocations per entry, in the program that counts; the batches are made
/// before. Otherwise nothing: a tool that counts instructions looks on from outside.
///
/// # Errors
///
/// If the store says so.
pub fn count<S: Store>(folder: &Path, batch: u64, entries: u64) -> Outcome<Figures> {
    let mut source = Source::new();
    let mut store = S::open(folder)?;
    store.read_all()?;
    append::<S>(&mut store, &mut source, batch, WARM_UP * batch)?;
    let batches: Vec<_> = (0..entries / batch).map(|_| source.batch::<S>(batch)).collect();

    let before = counting::now().allocations;
    for batch in batches {
        store.append(batch)?;
    }
    let allocations = counting::now().allocations - before;

    drop(store);
    if !counting::is_counting() {
        // Reading is not what is looked at; that everything is there is asserted wherever time is taken.
        return Ok(Figures::new());
    }
    check::<S>(folder, &source)?;
    Ok(vec![("allocations", allocations as f64 / entries as f64)])
}

/// Appends so many entries, in batches.
///
/// # Errors
///
/// If the store says so.
pub fn append<S: Store>(
    store: &mut S,
    source: &mut Source,
    batch: u64,
    entries: u64,
) -> Outcome<()> {
    let last = source.next() + entries;
    while source.next() < last {
        store.prepare()?;
        store.append(source.batch::<S>(batch.min(last - source.next())))?;
    }
    Ok(())
}

/// Asserts that everything appended is there.
fn check<S: Store>(folder: &Path, source: &Source) -> Outcome<()> {
    let entries = S::open(folder)?.read_all()?;
    source.check(source.next() - 1, S::payloads(&entries));
    Ok(())
}
