//! The files of one server: the storage code itself, on a simulated disk.
//!
//! Guarantees: what the storage reads back is what the model of the disk says; where a crash leaves it
//!             open whether the last write is there, the model follows the files. A storage that has
//!             failed once takes nothing more, and one with a bit changed gives back all or nothing.

use std::fmt;

use raft_core::{ClusterId, Config, FileStorage, Recovered, Save, ServerId, Storage, StorageError};

use crate::oracle::Oracle;
use crate::raft::disk::{DiskFault, SimulatedDisk};
use crate::strategy::NotReproducible;

/// Segments so short that a run has several: those of each server have another length.
const SEGMENT_BYTES: [u64; 3] = [512, 1024, 2048];
/// More than a write with everything around it takes; few enough to hit each of them.
const OPERATIONS_MAX: usize = 12;
/// A write and a sync, and before or behind them.
const OPERATIONS_FEW: usize = 3;
const SEEDS: usize = 64;
/// Of so many crashes one is followed by a look at files of which a bit has changed.
const FLIPS: usize = 4;

/// The files of one server.
pub(super) struct Files {
    disk: SimulatedDisk,
    owner: (ClusterId, ServerId, Vec<ServerId>),
    /// `None` while the server is down.
    storage: Option<FileStorage<SimulatedDisk>>,
    /// What was being written when the server stopped, all in one: it is there, or it is not.
    under_way: Vec<Save>,
    /// What was read since, and must be there from then on.
    found: Option<Recovered>,
}

/// How the very first start of a server on its files ends, which writes the first of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum FirstStart {
    /// Well.
    #[default]
    Whole,
    /// At this operation it is stopped, or the disk has a fault; and perhaps its machine loses power.
    Stopped { at: u64, fault: Option<DiskFault>, has_power: bool },
}

impl FirstStart {
    /// Mostly well.
    pub(super) fn choose(oracle: &mut Oracle<'_>) -> Result<Self, NotReproducible> {
        const FAULTS: [Option<DiskFault>; 3] =
            [None, Some(DiskFault::FailedSync), Some(DiskFault::Error)];
        let kind = oracle.choose(4 * FAULTS.len(), "first_start")?;
        if kind == 0 || kind > 2 * FAULTS.len() {
            return Ok(Self::Whole);
        }
        let (fault, has_power) = (FAULTS[(kind - 1) / 2], kind % 2 == 0);
        let at = oracle.choose(2 * OPERATIONS_MAX, "disk_operations")? as u64;
        Ok(Self::Stopped { at, fault, has_power })
    }
}

impl Files {
    pub(super) fn new(config: &Config, first_start: FirstStart) -> Self {
        let owner = (config.cluster_id, config.server_id, config.voters.clone());
        let disk = SimulatedDisk::new(config.server_id.0);
        let this = Self { disk, owner, storage: None, under_way: Vec::new(), found: None };
        let FirstStart::Stopped { at, fault, has_power } = first_start else { return this };
        match fault {
            None => this.disk.stop_before(at),
            Some(fault) => this.disk.plan(fault, at),
        }
        // Nobody hears of it, however it ends.
        drop(this.read(this.disk.clone()));
        match has_power {
            true => this.disk.kill(),
            false => this.disk.lose_power(),
        }
        this
    }

    pub(super) fn save(&mut self, saves: &[Save]) -> Result<(), StorageError> {
        self.storage.as_mut().expect("only running servers save").save(saves)
    }

    /// Reads a copy of the files: what was saved is in them, and nothing else.
    pub(super) fn check(&self, model: &Recovered) {
        let (copy, server_id) = (self.disk.copy(), self.owner.1);
        copy.kill();
        let (_, found) = self
            .read(copy)
            .unwrap_or_else(|error| panic!("{server_id} could not read its files: {error}"));
        assert!(found == *model, "{server_id}'s files hold something else than it has saved");
    }

    /// Counts a stall of the disk.
    pub(super) fn stalled(&self) {
        self.disk.stalled();
    }

    pub(super) fn was_torn(&self) -> bool {
        let report = self.storage.as_ref().map(FileStorage::recovery_report);
        report.is_some_and(|report| report.torn.is_some())
    }

    /// Opens and reads the files on a disk.
    fn read(&self, disk: SimulatedDisk) -> Result<Found, StorageError> {
        let (cluster_id, server_id, voters) = &self.owner;
        let storage = FileStorage::open_in(disk, "/data", *cluster_id, *server_id, voters)?;
        let length = SEGMENT_BYTES[server_id.0 as usize % SEGMENT_BYTES.len()];
        let mut storage = storage.with_segment_bytes_max(length);
        let found = storage.load()?;
        Ok((storage, found))
    }

    /// Opens and reads the files, and brings the model up to what was under way.
    pub(super) fn read_into(&mut self, model: &mut Recovered) {
        let server_id = self.owner.1;
        let (storage, found) = self
            .read(self.disk.clone())
            .unwrap_or_else(|error| panic!("{server_id} cannot read its files: {error}"));
        if let Some(earlier) = self.found.take() {
            assert!(found == earlier, "{server_id} finds something else in its files than before");
        }
        if found != *model {
            for save in self.under_way.drain(..) {
                model.replay(save).expect("a server saves entries without a gap");
            }
        }
        self.under_way.clear();
        let brief = |it: &Recovered| (it.hard_state, it.start, it.last_index());
        assert!(
            found == *model,
            "{server_id} finds {:?} in its files, and saved {:?}",
            brief(&found),
            brief(model)
        );
        self.storage = Some(storage);
    }

    /// The server stops, perhaps in the middle of writing these saves; and perhaps with its machine.
    pub(super) fn crash(
        &mut self,
        saves: &[Save],
        oracle: &mut Oracle<'_>,
    ) -> Result<(), NotReproducible> {
        if !saves.is_empty() && oracle.choose(3, "is_writing")? > 0 {
            // Most saves need but two operations.
            let most = [OPERATIONS_MAX, OPERATIONS_FEW][oracle.choose(2, "disk_write")?];
            let done = oracle.choose(most, "disk_operations")?;
            self.disk.stop_before(self.disk.operations() + done as u64);
            // Nobody hears of it, however it ends.
            let _ = self.save(saves);
            self.under_way = saves.to_vec();
        }
        self.stop(oracle)
    }

    /// Writes these saves on a disk that has a fault. True if they are durable all the same; the server
    /// stops otherwise.
    pub(super) fn fail(
        &mut self,
        saves: &[Save],
        oracle: &mut Oracle<'_>,
    ) -> Result<bool, NotReproducible> {
        let faults =
            [DiskFault::FailedSync, DiskFault::Full, DiskFault::Error, DiskFault::ShortWrite];
        let fault = faults[oracle.choose(faults.len(), "disk_fault")?];
        let after = oracle.choose(3, "disk_operations")? as u64;
        self.disk.plan(fault, self.disk.operations() + after);
        if self.save(saves).is_ok() {
            self.disk.plan_nothing();
            return Ok(true);
        }
        // What the operating system has dropped after a failed sync, another sync does not bring back.
        let again = self.save(saves);
        assert!(again.is_err(), "{}'s storage goes on after it has failed", self.owner.1);
        self.under_way = saves.to_vec();
        self.stop(oracle)?;
        Ok(false)
    }

    fn stop(&mut self, oracle: &mut Oracle<'_>) -> Result<(), NotReproducible> {
        if oracle.choose(4, "power_stays")? == 0 {
            self.disk.kill();
        } else {
            self.disk.reseed(oracle.choose(SEEDS, "disk_loss")? as u64);
            self.disk.lose_power();
        }
        self.storage = None;
        if oracle.choose(FLIPS, "stops_again")? == 1 {
            // It is started again, and stopped while it reads its files, or soon after: what it has found
            // it may have acted upon.
            let done = oracle.choose(OPERATIONS_MAX, "disk_operations")?;
            self.disk.stop_before(self.disk.operations() + done as u64);
            if let Ok((_, found)) = self.read(self.disk.clone()) {
                self.found = Some(found);
            }
            match oracle.choose(2, "power_stays")? {
                0 => self.disk.kill(),
                _ => self.disk.lose_power(),
            }
        }
        if oracle.choose(FLIPS, "bit_flips")? == 1 {
            self.look_at_damage(oracle.choose(SEEDS, "bit_flipped")? as u64);
        }
        Ok(())
    }

    /// Reads a copy of the files of which a bit has changed: it is noticed, or it matters to nothing.
    fn look_at_damage(&self, seed: u64) {
        let damaged = self.disk.copy();
        damaged.reseed(seed);
        if !damaged.flip_bit() {
            return;
        }
        if let (Ok((_, found)), Ok((_, expected))) =
            (self.read(damaged), self.read(self.disk.copy()))
        {
            let server_id = self.owner.1;
            assert!(
                found == expected,
                "{server_id} takes files for whole of which a bit has changed"
            );
        }
    }
}

/// A storage, and what it has read.
type Found = (FileStorage<SimulatedDisk>, Recovered);

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("files", &self.disk.files()).finish_non_exhaustive()
    }
}
