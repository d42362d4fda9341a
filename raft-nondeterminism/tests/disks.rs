//! The storage of real servers on simulated disks: whatever is lost, torn, full or broken, and whenever.

use bytes::Bytes;
use raft_core::{
    ClusterId, Config, Effect, Effects, Entry, FileStorage, HardState, Index, Input, LogId,
    Payload, Recovered, Save, SaveNumber, Server, ServerId, Snapshot, Storage, StorageError, Term,
    Timestamp,
};
use raft_nondeterminism::{
    DiskFault, DiskFaultCounts, DurableMajority, Explorer, Fault, FaultPlan, Goal, Kind, Rng,
    Scenario, SimulatedDisk,
};

/// Segments so short that a few saves fill one.
const SEGMENT_BYTES: u64 = 4096;

fn open(disk: &SimulatedDisk) -> Result<(FileStorage<SimulatedDisk>, Recovered), StorageError> {
    let (cluster, server) = (ClusterId(1), ServerId(1));
    let storage = FileStorage::open_in(disk.clone(), "/data", cluster, server, &[server])?;
    let mut storage = storage.with_segment_bytes_max(SEGMENT_BYTES);
    storage.load().map(|recovered| (storage, recovered))
}

/// Snapshots of several sizes, as a server makes them.
fn snapshots() -> Vec<Snapshot> {
    let mut server = Server::new(Config::new(ServerId(1), [ServerId(1)]), Recovered::default())
        .expect("a cluster of one");
    let mut inputs = vec![Input::NotifyJoinedService, Input::TimerElapsed];
    let mut effects = Effects::new();
    let mut snapshots = Vec::new();
    let mut now = Timestamp::ZERO;
    for round in 0..100 {
        inputs.push(Input::Propose(Bytes::from(vec![1; 10])));
        inputs.push(if round % 3 == 0 { Input::TakeSnapshot } else { Input::TimerElapsed });
        now = now.max(server.next_timeout().unwrap_or(now));
        while !inputs.is_empty() {
            let _ = server.step_all(now, inputs.drain(..), &mut effects);
            for effect in effects.drain() {
                match effect {
                    Effect::Save(save) => {
                        inputs.push(Input::Saved(save.number));
                        snapshots.extend(save.snapshot);
                    }
                    Effect::Apply(apply) => inputs
                        .push(Input::Applied { through: apply.through, responses: Vec::new() }),
                    Effect::TakeSnapshot { through } => {
                        let data = vec![round as u8; 40 * (round + 1)].into();
                        inputs.push(Input::SnapshotTaken { through, data });
                    }
                    _ => {}
                }
            }
        }
    }
    assert!(snapshots.len() > 8, "{}", snapshots.len());
    snapshots
}

/// They are too long to be printed.
#[track_caller]
fn assert_same(found: &Recovered, expected: &Recovered, what: &str) {
    let brief = |it: &Recovered| (it.hard_state, it.start, it.last_index());
    assert!(found == expected, "{what}: {:?}, not {:?}", brief(found), brief(expected));
}

/// What a server saves, call by call, and what it must find after so many of them.
struct Work {
    calls: Vec<Vec<Save>>,
    states: Vec<Recovered>,
}

impl Work {
    /// Appends, votes, replaced tails, snapshots and compactions, chosen by the seed.
    fn new(seed: u64, calls: usize, snapshots: &[Snapshot]) -> Self {
        let mut rng = Rng::new(seed);
        let mut state = Recovered::default();
        let mut work = Self { calls: Vec::new(), states: vec![state.clone()] };
        while work.calls.len() < calls {
            let mut saves = Vec::new();
            for _ in 0..1 + rng.below(2) {
                let save = random_save(&mut rng, &state, snapshots);
                state.replay(save.clone()).expect("it makes sense");
                saves.push(save);
            }
            work.calls.push(saves);
            work.states.push(state.clone());
        }
        work
    }

    /// What it must find in the end.
    fn last(&self) -> &Recovered {
        self.states.last().expect("that before the first call")
    }

    /// Which of the two states it is: of the calls that were confirmed, or of one more that was under
    /// way.
    #[track_caller]
    fn position(&self, found: &Recovered, confirmed: usize, what: &str) -> usize {
        let later = self.states.get(confirmed + 1);
        if later.is_some_and(|later| later == found) {
            return confirmed + 1;
        }
        assert_same(found, &self.states[confirmed], &format!("{what}: after {confirmed} calls"));
        confirmed
    }

    /// Goes on from a position to the end or the first failure; says how many calls were confirmed.
    fn run(&self, storage: &mut FileStorage<SimulatedDisk>, from: usize) -> usize {
        self.run_some(storage, from, usize::MAX)
    }

    /// The same, but so many calls at most.
    fn run_some(
        &self,
        storage: &mut FileStorage<SimulatedDisk>,
        from: usize,
        calls: usize,
    ) -> usize {
        let rest = self.calls[from..].iter().take(calls);
        from + rest.take_while(|saves| storage.save(saves).is_ok()).count()
    }
}

fn random_save(rng: &mut Rng, state: &Recovered, snapshots: &[Snapshot]) -> Save {
    let HardState { current_term, .. } = state.hard_state;
    let mut save = Save { number: SaveNumber(1), ..Save::default() };
    let last = state.last_index().0;
    match rng.below(10) {
        0 => {
            let current_term = Term(current_term.0 + 1);
            let voted_for = Some(ServerId(rng.below(3) as u64 + 1));
            save.hard_state = Some(HardState { current_term, voted_for });
        }
        1 => {
            // A snapshot of what is there, and the log behind it goes, or most of it.
            let through = last.saturating_sub(rng.below(3) as u64);
            save.snapshot = Some(snapshots[rng.below(snapshots.len())].clone());
            save.compacted = state.entry(Index(through)).map(Entry::log_id);
        }
        2 if rng.below(4) == 0 => {
            // One of what never came.
            save.snapshot = Some(snapshots[rng.below(snapshots.len())].clone());
            save.compacted = Some(LogId::new(current_term, Index(last + 3)));
        }
        _ => {
            let back = if rng.below(4) == 0 { rng.below(3) as u64 } else { 0 };
            let first = (last + 1).saturating_sub(back).max(state.start.index.0 + 1);
            let term = Term(current_term.0.max(1) + u64::from(back > 0));
            save.hard_state = Some(HardState { current_term: term, voted_for: None });
            let size = if rng.below(6) == 0 { 1 + rng.below(2500) } else { 1 + rng.below(60) };
            let entry = |index| {
                // Some payloads look as if nothing had been written.
                let fill = if index % 3 == 0 { 0 } else { index as u8 };
                let payload = Payload::Proposal(vec![fill; size].into());
                Entry { term, index: Index(index), payload }
            };
            save.entries = (first..first + 1 + rng.below(3) as u64).map(entry).collect();
        }
    }
    save
}

/// After a crash at every single operation of many runs, whatever was confirmed is there, whatever is
/// there stays, and the server goes on; also if it crashes again while it recovers.
#[test]
fn ten_thousand_crash_points_lose_nothing_that_was_confirmed() {
    let snapshots = snapshots();
    let (mut points, mut counts) = (0, DiskFaultCounts::default());
    for seed in 0.. {
        if points >= 10_000 {
            break;
        }
        let work = Work::new(seed, 12, &snapshots);
        let disk = SimulatedDisk::new(seed);
        let (mut storage, _) = open(&disk).expect("an empty disk");
        assert_eq!(work.run(&mut storage, 0), work.calls.len());
        let operations = disk.operations();
        for stop in 0..operations {
            points += 1;
            let what = format!("seed {seed}, stopped before operation {stop}");
            let disk = SimulatedDisk::new(seed << 20 | stop);
            disk.stop_before(stop);
            let mut confirmed = 0;
            if let Ok((mut storage, _)) = open(&disk) {
                confirmed = work.run(&mut storage, 0);
            }
            if (seed + stop) % 5 == 0 {
                disk.kill()
            } else {
                disk.lose_power()
            }
            // Some machines do not even come up in one go.
            for again in 0..(seed + stop) % 3 {
                disk.stop_before(disk.operations() + again * 2 + stop % 4);
                if let Ok((_, found)) = open(&disk) {
                    confirmed = work.position(&found, confirmed, &what);
                }
                disk.lose_power();
            }
            let (storage, found) = open(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
            let position = work.position(&found, confirmed, &what);
            // What was found once is promised, too.
            drop(storage);
            disk.lose_power();
            let (mut storage, found) = open(&disk).expect(&what);
            assert_same(&found, &work.states[position], &format!("{what}: found once, then lost"));
            assert_eq!(work.run(&mut storage, position), work.calls.len(), "{what}");
            drop(storage);
            disk.lose_power();
            assert_same(&open(&disk).expect(&what).1, work.last(), &what);
            counts.add(&disk.faults());
        }
    }
    for fault in
        [DiskFault::LostWrite, DiskFault::TornWrite, DiskFault::Reordered, DiskFault::LostName]
    {
        assert!(counts.count(fault) >= 100, "{points} crash points: {counts}");
    }
    println!("{points} crash points: {counts}");
}

/// A disk that fails, is full, or takes part of a write ends the storage, or does no harm; what was
/// confirmed is there for the next process, and for one after the next loss of power.
#[test]
fn failing_disks_end_the_storage_and_lose_nothing_that_was_confirmed() {
    let snapshots = snapshots();
    let mut counts = DiskFaultCounts::default();
    let kinds = [DiskFault::ShortWrite, DiskFault::Error, DiskFault::Full, DiskFault::FailedSync];
    for seed in 0..60 {
        let work = Work::new(seed, 8, &snapshots);
        let disk = SimulatedDisk::new(seed);
        let (mut storage, _) = open(&disk).expect("an empty disk");
        work.run(&mut storage, 0);
        let operations = disk.operations();
        for kind in kinds {
            for at in (0..operations).step_by(3) {
                let what = format!("seed {seed}, {kind} at operation {at}");
                let disk = SimulatedDisk::new(seed << 20 | at);
                disk.plan(kind, at);
                let mut confirmed = 0;
                if let Ok((mut storage, _)) = open(&disk) {
                    confirmed = work.run(&mut storage, 0);
                    if confirmed < work.calls.len() {
                        let refused = storage.save(&work.calls[confirmed]);
                        refused.expect_err("nothing is written after a failure");
                    }
                }
                disk.kill();
                let (storage, found) =
                    open(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
                let position = work.position(&found, confirmed, &what);
                drop(storage);
                // What the last process had not written in truth would be gone now.
                disk.lose_power();
                let (mut storage, found) = open(&disk).expect(&what);
                assert_same(&found, &work.states[position], &format!("{what}: found, then lost"));
                assert_eq!(work.run(&mut storage, position), work.calls.len(), "{what}");
                counts.add(&disk.faults());
            }
        }
    }
    for kind in kinds {
        assert!(counts.count(kind) >= 100, "{counts}");
    }
    println!("{counts}");
}

/// One fault after the other, from the very first start on: while a server recovers, and while it saves;
/// some lives end with the process alone, so that the next one finds what is in memory only.
#[test]
fn a_life_full_of_faults_loses_nothing_that_was_confirmed() {
    let snapshots = snapshots();
    let kinds = [DiskFault::ShortWrite, DiskFault::Error, DiskFault::Full, DiskFault::FailedSync];
    let mut counts = DiskFaultCounts::default();
    for seed in 0..3000 {
        let mut rng = Rng::new(seed);
        let work = Work::new(seed, 24, &snapshots);
        let disk = SimulatedDisk::new(seed);
        let mut confirmed = 0;
        for round in 0..8 {
            let what = format!("seed {seed}, round {round}");
            let operation = disk.operations() + rng.below(30) as u64;
            match rng.below(6) {
                0 => {}
                1 => disk.stop_before(operation),
                _ => disk.plan(kinds[rng.below(kinds.len())], operation),
            }
            match open(&disk) {
                Ok((mut storage, found)) => {
                    let position = work.position(&found, confirmed, &what);
                    confirmed = work.run_some(&mut storage, position, rng.below(5));
                }
                Err(StorageError::Corrupt { path, reason, .. }) => {
                    panic!("{what}: {path} counts as damaged: {reason}")
                }
                // The disk has failed, or the machine has stopped.
                Err(_) => {}
            }
            if rng.below(2) == 0 { disk.kill() } else { disk.lose_power() }
        }
        let what = format!("seed {seed}, at the end");
        let (storage, found) = open(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
        let position = work.position(&found, confirmed, &what);
        drop(storage);
        disk.lose_power();
        assert_same(&open(&disk).expect(&what).1, &work.states[position], &what);
        counts.add(&disk.faults());
    }
    assert!(kinds.iter().all(|&kind| counts.count(kind) >= 100), "{counts}");
}

/// Whoever tries again with each save takes the room that the saves themselves may need.
#[test]
fn a_spare_that_does_not_fit_is_not_tried_again_at_once() {
    let disk = SimulatedDisk::new(1);
    let (mut storage, _) = open(&disk).expect("an empty disk");
    let mut index = 0;
    let mut operations = |payload_bytes: usize| {
        index += 1;
        let payload = Payload::Proposal(vec![1; payload_bytes].into());
        let entry = Entry { term: Term(1), index: Index(index), payload };
        let hard_state = Some(HardState { current_term: Term(1), voted_for: None });
        let entries = [entry].into_iter().collect();
        let before = disk.operations();
        let save = Save { number: SaveNumber(1), hard_state, entries, ..Save::default() };
        storage.save(&[save]).expect("there is room for it");
        disk.operations() - before
    };
    disk.plan(DiskFault::Full, disk.operations());
    assert!(operations(SEGMENT_BYTES as usize / 3) > 2, "a spare is begun");
    assert_eq!(disk.faults().count(DiskFault::Full), 1);
    assert_eq!(operations(10), 2, "one write and one sync, and no spare");
}

/// The process is killed anywhere in its first start, and the power fails anywhere in the second: nothing
/// was promised, so nothing can be missing.
#[test]
fn a_first_start_that_is_interrupted_twice_can_still_be_made() {
    let whole = SimulatedDisk::new(0);
    open(&whole).expect("an empty disk");
    for killed in 0..whole.operations() {
        for lost in 0..whole.operations() {
            for seed in 0..40 {
                let disk = SimulatedDisk::new(seed);
                disk.stop_before(killed);
                assert!(open(&disk).is_err(), "it was stopped");
                disk.kill();
                disk.stop_before(disk.operations() + lost);
                let _ = open(&disk);
                disk.lose_power();
                let what = format!("killed before {killed}, then power lost before {lost}");
                let found = open(&disk).unwrap_or_else(|error| panic!("{what}: {error}")).1;
                assert_same(&found, &Recovered::default(), &what);
            }
        }
    }
}

/// A bit that changed is noticed wherever it matters: a server never finds anything but what it saved.
#[test]
fn a_flipped_bit_is_refused_or_does_not_matter() {
    let snapshots = snapshots();
    let (mut flips, mut refused) = (0, 0);
    for seed in 0..40 {
        let work = Work::new(seed, 12, &snapshots);
        for flip in 0..50 {
            let disk = SimulatedDisk::new(seed << 20 | flip);
            let (mut storage, _) = open(&disk).expect("an empty disk");
            work.run(&mut storage, 0);
            drop(storage);
            disk.kill();
            assert!(disk.flip_bit());
            flips += 1;
            match open(&disk) {
                Ok((_, found)) => assert_same(&found, work.last(), &format!("seed {seed}")),
                Err(StorageError::Corrupt { path, .. }) => {
                    assert!(path.starts_with("/data/"));
                    refused += 1;
                }
                Err(other) => panic!("seed {seed}, flip {flip}: {other}"),
            }
        }
    }
    assert!(flips >= 100 && refused > flips / 20, "{refused} of {flips}");
}

#[test]
fn a_disk_does_the_same_again_for_the_same_seed() {
    let snapshots = snapshots();
    let run = || {
        let work = Work::new(3, 12, &snapshots);
        let disk = SimulatedDisk::new(3);
        disk.stop_before(60);
        work.run(&mut open(&disk).expect("an empty disk").0, 0);
        disk.lose_power();
        (open(&disk).expect("it recovers").1, disk.files(), disk.faults())
    };
    assert_eq!(run(), run());
}

#[test]
fn each_fault_of_a_disk_has_a_place_of_its_own() {
    assert!(DiskFault::ALL.iter().map(|fault| fault.place()).eq(0..DiskFault::ALL.len()));
}

/// Clusters on real storage: crashes in the middle of writes, torn tails, failing and stalled disks.
#[test]
fn clusters_survive_their_disks() {
    let faults = FaultPlan::none()
        .allow(Fault::Crash, 4)
        .allow(Fault::LoseSaves, 4)
        .allow(Fault::DiskError, 8)
        .allow(Fault::DiskStall, 4);
    let explorer = || {
        Explorer::new(Scenario::disks().faults(faults))
            .iterations(250)
            .max_steps(600)
            .monitor(DurableMajority)
            .settle()
    };
    let report = explorer().run().expect("it runs");
    report.check().expect("no property is broken, and every fault really happened");
    assert!(report.goals().count(Goal::TornWriteRemoved) > 0, "{report}");
    assert!(report.goals().count(Goal::SnapshotInstalled) > 0, "{report}");
    let faults = report.faults();
    let happened = faults.count(Fault::DiskError).min(faults.count(Fault::DiskStall));
    assert!(happened >= 100, "{report}");
    // And all that is in the schedule: the same choices tear the same writes.
    for iteration in [0, 7] {
        let recording = explorer().record(iteration).expect("it runs");
        let again = Explorer::replay(recording.schedule()).expect("it is reproducible");
        assert_eq!(again.schedule().fingerprint(), recording.schedule().fingerprint());
    }
}
