//! A disk in memory with every fault that a disk can have, under the storage code itself.
//!
//! A file has the bytes that its process sees, and those that survive a loss of power. What was written
//! since the last sync survives by sectors of 512 bytes, in any selection: each shows what it was after
//! any number of the writes to it. Names of files are changed in order, and a loss of power keeps any
//! number of the changes since the folder was last synced.
//!
//! Guarantees: what happens follows from the seed and from what is asked; a fault is counted when it
//!             happens, not when it is planned.
//! Relies on:  nothing; `std::sync` is there because storage may be on another thread.
//! Elsewhere:  what storage asks of a disk is in [`raft_core::FileSystem`].

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raft_core::{FileSystem, StoredFile};

use crate::plan::{Counts, Kind};
use crate::rng::Rng;

/// What a disk writes in one piece.
const SECTOR_BYTES: usize = 512;

/// One kind of fault that a disk can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DiskFault {
    /// A loss of power took writes with it that were not synced.
    LostWrite,
    /// A loss of power left some sectors of a write, and took others.
    TornWrite,
    /// A loss of power took something, and left what was written after it.
    Reordered,
    /// A loss of power took back a new name, a changed one, or the end of one.
    LostName,
    /// A write took fewer bytes than it was given.
    ShortWrite,
    /// A read or a write failed (EIO).
    Error,
    /// There was no room (ENOSPC).
    Full,
    /// A sync failed. What was to be synced stays visible, and nobody ever writes it any more.
    FailedSync,
    /// A bit on the disk changed.
    BitFlip,
    /// Nothing came back for a while; everything else went on.
    Stall,
}

/// How often each fault of a disk happened.
pub type DiskFaultCounts = Counts<DiskFault>;

impl Kind for DiskFault {
    const ALL: &'static [Self] = &[
        Self::LostWrite,
        Self::TornWrite,
        Self::Reordered,
        Self::LostName,
        Self::ShortWrite,
        Self::Error,
        Self::Full,
        Self::FailedSync,
        Self::BitFlip,
        Self::Stall,
    ];
    const TOGETHER: &'static str = "the faults of disks";

    fn name(self) -> &'static str {
        match self {
            Self::LostWrite => "lost-write",
            Self::TornWrite => "torn-write",
            Self::Reordered => "reordered",
            Self::LostName => "lost-name",
            Self::ShortWrite => "short-write",
            Self::Error => "io-error",
            Self::Full => "full",
            Self::FailedSync => "failed-sync",
            Self::BitFlip => "bit-flip",
            Self::Stall => "stall",
        }
    }

    fn place(self) -> usize {
        self as usize
    }
}

impl fmt::Display for DiskFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A disk of one machine. Clones are the same disk.
///
/// ```
/// use raft_core::{ClusterId, FileStorage, Save, ServerId, Storage};
/// use raft_nondeterminism::SimulatedDisk;
///
/// let disk = SimulatedDisk::new(7);
/// let open = || FileStorage::open_in(disk.clone(), "/data", ClusterId(1), ServerId(1), &[ServerId(1)]);
/// let mut storage = open()?;
/// storage.load()?;
/// // The power fails in the middle of the next save, and comes back.
/// disk.stop_before(disk.operations() + 1);
/// assert!(storage.save(&[Save { hard_state: Some(Default::default()), ..Save::default() }]).is_err());
/// disk.lose_power();
/// open()?.load()?;
/// # Ok::<(), raft_core::StorageError>(())
/// ```
#[derive(Clone, Debug)]
pub struct SimulatedDisk {
    shared: Arc<Mutex<Disk>>,
}

/// An open file of a [`SimulatedDisk`].
#[derive(Debug)]
pub struct SimulatedFile {
    disk: SimulatedDisk,
    inode: usize,
    /// The life of the machine in which it was opened.
    life: u64,
    /// It locked the file.
    is_locker: AtomicBool,
}

#[derive(Clone, Debug)]
struct Disk {
    rng: Rng,
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// Changes of names since the last sync, in order.
    changes: Vec<NameChange>,
    /// What was asked that changes something.
    operations: u64,
    /// Nothing works any more from this operation on.
    stop_before: Option<u64>,
    /// The next operation that can have this fault has it, from that operation on.
    planned: Option<(DiskFault, u64)>,
    life: u64,
    counts: DiskFaultCounts,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    /// As the process sees it.
    bytes: Vec<u8>,
    /// As it is after a loss of power, but for what was written since.
    durable: Vec<u8>,
    /// Since the last sync, in order.
    writes: Vec<Write>,
    /// It is locked, if the machine has not stopped since that life.
    locked_in: Option<u64>,
}

#[derive(Clone, Debug)]
struct Write {
    offset: usize,
    bytes: Vec<u8>,
    /// The operation that it was.
    operation: u64,
}

#[derive(Clone, Debug)]
enum NameChange {
    Made(PathBuf, usize),
    Renamed(PathBuf, PathBuf),
    Removed(PathBuf),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Made(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            Self::Renamed(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Self::Removed(path) => {
                names.remove(path);
            }
        }
    }
}

impl SimulatedDisk {
    /// An empty disk. The seed chooses what is lost.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let disk = Disk {
            rng: Rng::new(seed),
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            operations: 0,
            stop_before: None,
            planned: None,
            life: 0,
            counts: DiskFaultCounts::default(),
        };
        Self { shared: Arc::new(Mutex::new(disk)) }
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often something was asked so far that changes the disk: writes, syncs, changes of names.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// How often each fault has happened.
    #[must_use]
    pub fn faults(&self) -> DiskFaultCounts {
        self.lock().counts
    }

    /// Nothing works any more from this operation on, counted as [`SimulatedDisk::operations`] does.
    pub fn stop_before(&self, operation: u64) {
        self.lock().stop_before = Some(operation);
    }

    /// Has the first operation that can have it, from this one on, have a fault. One that lets a write
    /// or a read fail leaves part of it done.
    pub fn plan(&self, fault: DiskFault, operation: u64) {
        self.lock().planned = Some((fault, operation));
    }

    /// Forgets a fault that was planned and did not happen.
    pub fn plan_nothing(&self) {
        self.lock().planned = None;
    }

    /// Counts a stall, which is a matter of time: whoever runs the disk keeps its answer back.
    pub fn stalled(&self) {
        self.lock().counts.happened(DiskFault::Stall);
    }

    /// Chooses anew from here on.
    pub fn reseed(&self, seed: u64) {
        self.lock().rng = Rng::new(seed);
    }

    /// The process dies, and the machine goes on: files are closed and unlocked, and whatever was
    /// written is visible to the next process.
    pub fn kill(&self) {
        let mut disk = self.lock();
        disk.life += 1;
        (disk.stop_before, disk.planned) = (None, None);
    }

    /// The power fails, and comes back: what was not synced survives, or does not, in any selection.
    pub fn lose_power(&self) {
        self.kill();
        self.lock().lose_power();
    }

    /// Another disk with the same on it, and the same to come.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self { shared: Arc::new(Mutex::new(self.lock().clone())) }
    }

    /// Changes a bit of a file on the disk, chosen among all there are. False if there is none.
    pub fn flip_bit(&self) -> bool {
        let mut disk = self.lock();
        let inodes: Vec<_> = disk.names.values().copied().collect();
        let sizes = inodes.iter().map(|&inode| disk.inodes[inode].durable.len());
        let total: usize = sizes.sum();
        if total == 0 {
            return false;
        }
        let mut at = disk.rng.below(total);
        let bit = 1 << disk.rng.below(8);
        for inode in inodes {
            let inode = &mut disk.inodes[inode];
            if let Some(byte) = inode.durable.get_mut(at) {
                *byte ^= bit;
                if let Some(byte) = inode.bytes.get_mut(at) {
                    *byte ^= bit;
                }
                break;
            }
            at -= inode.durable.len();
        }
        disk.counts.happened(DiskFault::BitFlip);
        true
    }

    /// The files there are, with their sizes.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, usize)> {
        let disk = self.lock();
        let size = |&inode: &usize| disk.inodes[inode].bytes.len();
        disk.names.iter().map(|(path, inode)| (path.clone(), size(inode))).collect()
    }
}

impl Disk {
    /// Counts an operation, and says if nothing works any more.
    fn begin(&mut self) -> io::Result<u64> {
        let operation = self.operations;
        if self.stop_before.is_some_and(|stop| operation >= stop) {
            return Err(io::Error::other("the machine has stopped"));
        }
        self.operations += 1;
        Ok(operation)
    }

    /// True if this operation is to have this fault.
    fn has(&mut self, fault: DiskFault, operation: u64) -> bool {
        let is_planned =
            self.planned.is_some_and(|(planned, from)| planned == fault && operation >= from);
        if is_planned {
            self.planned = None;
            self.counts.happened(fault);
        }
        is_planned
    }

    fn lose_power(&mut self) {
        // Nothing, everything, and anything between are equally worth a look.
        let mode = self.rng.below(4);
        let mut lost = Vec::new();
        let mut kept = Vec::new();
        for place in 0..self.inodes.len() {
            if self.inodes[place].writes.is_empty() {
                // What a failed sync had left in memory alone is gone, too.
                let inode = &mut self.inodes[place];
                inode.bytes.clone_from(&inode.durable);
                continue;
            }
            let outcome = self.settle(place, mode);
            lost.extend(outcome.0);
            kept.extend(outcome.1);
        }
        if !lost.is_empty() {
            self.counts.happened(DiskFault::LostWrite);
        }
        if lost.iter().any(|(lost, _)| kept.iter().any(|(kept, _)| kept == lost)) {
            self.counts.happened(DiskFault::TornWrite);
        }
        let first_lost = lost.iter().min();
        if first_lost.is_some_and(|first| kept.iter().any(|kept| kept > first)) {
            self.counts.happened(DiskFault::Reordered);
        }
        let changes = std::mem::take(&mut self.changes);
        let survive = match mode {
            0 => 0,
            1 => changes.len(),
            _ => self.rng.below(changes.len() + 1),
        };
        if survive < changes.len() {
            self.counts.happened(DiskFault::LostName);
        }
        changes[..survive].iter().for_each(|change| change.apply(&mut self.durable_names));
        self.names = self.durable_names.clone();
    }

    /// Decides what of the unsynced writes to a file reaches the disk, and what the disk holds then; tells
    /// what was lost, and what was kept: of which operation, and which sector.
    fn settle(&mut self, place: usize, mode: usize) -> (Vec<Part>, Vec<Part>) {
        let inode = &mut self.inodes[place];
        let writes = std::mem::take(&mut inode.writes);
        let (mut lost, mut kept) = (Vec::new(), Vec::new());
        let mut sectors: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (number, write) in writes.iter().enumerate() {
            for sector in sectors_of(write.offset..write.offset + write.bytes.len()) {
                sectors.entry(sector).or_default().push(number);
            }
        }
        for (sector, touching) in sectors {
            let survive = match mode {
                0 => 0,
                1 => touching.len(),
                _ => self.rng.below(touching.len() + 1),
            };
            let range = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
            for (order, &number) in touching.iter().enumerate() {
                let write = &writes[number];
                if order < survive {
                    kept.push((write.operation, sector));
                    copy_part(&mut inode.durable, write, range.clone());
                } else {
                    lost.push((write.operation, sector));
                }
            }
        }
        // The length of a file may be there before its bytes are.
        if inode.durable.len() < inode.bytes.len() && mode != 0 && self.rng.below(2) == 0 {
            inode.durable.resize(inode.bytes.len(), 0);
        }
        inode.bytes.clone_from(&inode.durable);
        (lost, kept)
    }

    fn inode_at(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.changes.push(change);
    }
}

/// A sector of a write: of which operation, and where in the file.
type Part = (u64, usize);

/// The sectors that a range of bytes is in.
fn sectors_of(bytes: Range<usize>) -> Range<usize> {
    bytes.start / SECTOR_BYTES..bytes.end.div_ceil(SECTOR_BYTES)
}

/// Copies the part of a write that is in a range of the file.
fn copy_part(file: &mut Vec<u8>, write: &Write, range: Range<usize>) {
    let start = range.start.max(write.offset);
    let end = range.end.min(write.offset + write.bytes.len());
    if file.len() < end {
        file.resize(end, 0);
    }
    file[start..end].copy_from_slice(&write.bytes[start - write.offset..end - write.offset]);
}

fn failed() -> io::Error {
    io::Error::other("input/output error")
}

impl FileSystem for SimulatedDisk {
    type File = SimulatedFile;

    fn create_folder(&self, _: &Path) -> io::Result<()> {
        self.lock().begin().map(drop)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let disk = self.lock();
        let paths = disk.names.keys().filter(|path| path.parent() == Some(folder));
        let names = paths.filter_map(|path| path.file_name()?.to_str().map(str::to_owned));
        Ok(names.collect())
    }

    fn open(&self, path: &Path, is_made: bool) -> io::Result<SimulatedFile> {
        let mut disk = self.lock();
        let inode = match disk.inode_at(path) {
            Err(_) if is_made => {
                disk.begin()?;
                disk.inodes.push(Inode::default());
                let inode = disk.inodes.len() - 1;
                disk.change(NameChange::Made(path.to_owned(), inode));
                inode
            }
            found => found?,
        };
        let life = disk.life;
        Ok(SimulatedFile { disk: self.clone(), inode, life, is_locker: AtomicBool::new(false) })
    }

    fn open_for_reading(&self, path: &Path) -> io::Result<SimulatedFile> {
        self.open(path, false)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.lock();
        disk.inode_at(from)?;
        let operation = disk.begin()?;
        if disk.has(DiskFault::Error, operation) {
            return Err(failed());
        }
        disk.change(NameChange::Renamed(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.lock();
        disk.inode_at(path)?;
        disk.begin()?;
        disk.change(NameChange::Removed(path.to_owned()));
        Ok(())
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        let mut disk = self.lock();
        let operation = disk.begin()?;
        if disk.has(DiskFault::FailedSync, operation) {
            return Err(failed());
        }
        disk.durable_names = disk.names.clone();
        disk.changes.clear();
        Ok(())
    }

    fn readers(&self) -> usize {
        1
    }

    /// At once: nothing runs beside anything here.
    fn run_aside(&self, job: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        job();
        Ok(())
    }
}

impl SimulatedFile {
    /// The disk, if the machine has not stopped since the file was opened.
    fn disk(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let disk = self.disk.lock();
        if disk.life == self.life {
            return Ok(disk);
        }
        Err(io::Error::other("the process that opened the file is dead"))
    }
}

impl StoredFile for SimulatedFile {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.disk()?.inodes[self.inode].bytes.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.disk()?;
        let operations = disk.operations;
        if disk.has(DiskFault::Error, operations) {
            return Err(failed());
        }
        let bytes = &disk.inodes[self.inode].bytes;
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.disk()?;
        let operation = disk.begin()?;
        let part = if bytes.len() > 1 { 1 + disk.rng.below(bytes.len() - 1) } else { bytes.len() };
        let is_longer = offset as usize + bytes.len() > disk.inodes[self.inode].bytes.len();
        let (written, result) = if disk.has(DiskFault::Error, operation) {
            (part, Err(failed()))
        } else if is_longer && disk.has(DiskFault::Full, operation) {
            (part, Err(io::ErrorKind::StorageFull.into()))
        } else if bytes.len() > 1 && disk.has(DiskFault::ShortWrite, operation) {
            (part, Ok(part))
        } else {
            (bytes.len(), Ok(bytes.len()))
        };
        let write = Write { offset: offset as usize, bytes: bytes[..written].to_vec(), operation };
        let inode = &mut disk.inodes[self.inode];
        copy_part(&mut inode.bytes, &write, 0..usize::MAX);
        inode.writes.push(write);
        result
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.disk()?;
        let operation = disk.begin()?;
        if disk.has(DiskFault::FailedSync, operation) {
            let visible = disk.inodes[self.inode].bytes.clone();
            disk.settle(self.inode, 2);
            // What did not reach the disk is still shown to whoever reads, until the machine stops.
            disk.inodes[self.inode].bytes = visible;
            return Err(failed());
        }
        let inode = &mut disk.inodes[self.inode];
        for write in std::mem::take(&mut inode.writes) {
            copy_part(&mut inode.durable, &write, 0..usize::MAX);
        }
        if inode.durable.len() < inode.bytes.len() {
            inode.durable.resize(inode.bytes.len(), 0);
        }
        Ok(())
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut disk = self.disk()?;
        let life = disk.life;
        let inode = &mut disk.inodes[self.inode];
        let is_free = inode.locked_in != Some(life);
        if is_free {
            inode.locked_in = Some(life);
            self.is_locker.store(true, Ordering::Relaxed);
        }
        Ok(is_free)
    }
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        if self.is_locker.load(Ordering::Relaxed)
            && let Ok(mut disk) = self.disk()
        {
            disk.inodes[self.inode].locked_in = None;
        }
    }
}
