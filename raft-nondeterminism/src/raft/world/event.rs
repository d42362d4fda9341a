//! What can happen in a cluster, one by one.
//!
//! Elsewhere: which of it is possible, and what comes of it, is in `world.rs`; its names are in `names.rs`.

use crate::event::EventClass;
use crate::links::Cut;
use crate::network::Slot;

/// One thing that can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Deliver(Slot),
    Drop(Slot),
    Duplicate(Slot),
    Timeout(usize),
    Request(usize),
    Retry(usize),
    /// A server takes what has arrived.
    Take(usize),
    Saved(usize),
    /// A state machine does the next thing it was asked.
    Applied(usize),
    /// A state machine gives the snapshot it was asked for.
    Taken(usize),
    Crash(usize),
    Restart(usize),
    Snapshot(usize),
    /// Which of [`super::World::changes`].
    Change(usize, usize),
    /// Which of [`super::World::successors`].
    Transfer(usize, usize),
    Read(usize),
    Propose(usize),
    Cut(Cut),
    Heal,
    Pause(usize),
    Resume(usize),
    FailDisk(usize),
    Stall(usize),
    Unstall(usize),
}

impl Event {
    /// Whom it is about.
    pub(super) fn place(self) -> usize {
        match self {
            Self::Deliver(slot) | Self::Drop(slot) | Self::Duplicate(slot) => slot.place,
            Self::Timeout(place)
            | Self::Request(place)
            | Self::Retry(place)
            | Self::Take(place)
            | Self::Saved(place)
            | Self::Applied(place)
            | Self::Taken(place)
            | Self::Crash(place)
            | Self::Restart(place)
            | Self::Snapshot(place)
            | Self::Change(place, _)
            | Self::Transfer(place, _)
            | Self::Read(place)
            | Self::Propose(place)
            | Self::FailDisk(place)
            | Self::Stall(place)
            | Self::Unstall(place)
            | Self::Pause(place)
            | Self::Resume(place) => place,
            Self::Cut(cut) => usize::MAX - usize::try_from(cut.number()).unwrap_or_default() - 1,
            Self::Heal => usize::MAX,
        }
    }

    /// Its class.
    pub(super) fn class(self) -> EventClass {
        match self {
            Self::Deliver(_) | Self::Take(_) => EventClass::Deliver,
            Self::Drop(_) => EventClass::Drop,
            Self::Duplicate(_) => EventClass::Duplicate,
            Self::Timeout(_) => EventClass::Timeout,
            Self::Request(_) | Self::Retry(_) => EventClass::Client,
            Self::Saved(_) | Self::Applied(_) | Self::Taken(_) => EventClass::Save,
            Self::Crash(_) | Self::Pause(_) => EventClass::Crash,
            Self::Restart(_) | Self::Resume(_) => EventClass::Restart,
            Self::Snapshot(_) => EventClass::Snapshot,
            Self::Change(..) => EventClass::Change,
            Self::Transfer(..) => EventClass::Transfer,
            Self::Read(_) => EventClass::Read,
            Self::Propose(_) => EventClass::Propose,
            Self::Cut(_) | Self::Heal => EventClass::Partition,
            Self::FailDisk(_) | Self::Stall(_) | Self::Unstall(_) => EventClass::Disk,
        }
    }

    /// A small number for each kind.
    pub(super) fn kind(self) -> u64 {
        match self {
            Self::Deliver(_) => 0,
            Self::Drop(_) => 1,
            Self::Duplicate(_) => 2,
            Self::Timeout(_) => 3,
            Self::Request(_) => 4,
            Self::Retry(_) => 5,
            Self::Take(_) => 6,
            Self::Saved(_) => 7,
            Self::Applied(_) => 8,
            Self::Taken(_) => 9,
            Self::Crash(_) => 10,
            Self::Restart(_) => 11,
            Self::Snapshot(_) => 12,
            Self::Change(..) => 13,
            Self::Transfer(..) => 14,
            Self::Read(_) => 15,
            Self::Propose(_) => 16,
            Self::Cut(_) => 17,
            Self::Heal => 18,
            Self::FailDisk(_) => 19,
            Self::Stall(_) => 20,
            Self::Unstall(_) => 21,
            Self::Pause(_) => 22,
            Self::Resume(_) => 23,
        }
    }

    /// The message it is about.
    pub(super) fn slot(self) -> Option<Slot> {
        match self {
            Self::Deliver(slot) | Self::Drop(slot) | Self::Duplicate(slot) => Some(slot),
            Self::Timeout(_)
            | Self::Request(_)
            | Self::Retry(_)
            | Self::Take(_)
            | Self::Saved(_)
            | Self::Applied(_)
            | Self::Taken(_)
            | Self::Crash(_)
            | Self::Restart(_)
            | Self::Snapshot(_)
            | Self::Change(..)
            | Self::Transfer(..)
            | Self::Read(_)
            | Self::Propose(_)
            | Self::FailDisk(_)
            | Self::Stall(_)
            | Self::Unstall(_)
            | Self::Cut(_)
            | Self::Heal
            | Self::Pause(_)
            | Self::Resume(_) => None,
        }
    }
}
