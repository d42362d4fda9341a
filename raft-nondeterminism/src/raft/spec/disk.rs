//! What of a server survives a crash: in the specification, `currentTerm`, `votedFor` and `log` are
//! persistent as soon as they change (Raft, Fig. 2), while a real save takes its time.
//!
//! Guarantees: what is durable is what was confirmed to the server, and nothing it only asked for.
//! Elsewhere:  that every change is on its way to the disk is checked at the end of each step.

use std::collections::VecDeque;

use raft_core::{HardState, Index, LogId, Save, SaveNumber, Timestamp};

use super::terms::Terms;

/// What a disk holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) hard_state: HardState,
    /// The last entry that the saved snapshot stands for.
    pub(super) snapshot: LogId,
    pub(super) log: Terms,
}

impl Image {
    /// Carries out a save.
    pub(super) fn write(&mut self, save: &Save) {
        if let Some(hard_state) = save.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(snapshot) = &save.snapshot {
            self.snapshot = snapshot.last();
        }
        match save.compacted {
            Some(to) if self.log.matches(to) => self.log.compact(to.index),
            // An installed snapshot takes the place of a log that goes on otherwise.
            Some(to) => self.log.restart_at(to),
            None => {}
        }
        if let Some(first) = save.entries.first() {
            self.log.truncate(first.index.previous());
            save.entries.iter().for_each(|entry| self.log.push(entry.term));
        }
    }

    /// What a server finds if it crashed when the snapshot of a save was durable, and its log was not
    /// touched: a log that the snapshot does not fit into counts no more. `None` if there is no snapshot.
    fn half_written(&self, save: &Save) -> Option<Self> {
        let last = save.snapshot.as_ref()?.last();
        let mut half = Self { snapshot: last, ..self.clone() };
        half.hard_state = save.hard_state.unwrap_or(self.hard_state);
        if !half.log.matches(last) {
            half.log.restart_at(last);
        }
        Some(half)
    }
}

/// A disk, and the saves on their way to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    pub(super) durable: Image,
    /// What it will hold when all saves are done.
    pub(super) issued: Image,
    /// The saves under way, oldest first.
    pending: VecDeque<Pending>,
}

/// A save under way.
#[derive(Clone, Debug)]
struct Pending {
    issued_at: Timestamp,
    /// Up to where it leaves the log as the saves before it make it.
    keeps: Index,
    save: Save,
}

impl Disk {
    /// A save was asked for.
    pub(super) fn issue(&mut self, now: Timestamp, save: &Save) {
        let before = self.issued.log.clone();
        self.issued.write(save);
        let keeps = self.issued.log.last_common(&before);
        self.pending.push_back(Pending { issued_at: now, keeps, save: save.clone() });
    }

    /// Everything up to this save is done.
    pub(super) fn confirm(&mut self, number: SaveNumber) {
        while let Some(done) =
            self.pending.front().filter(|under_way| under_way.save.number <= number)
        {
            self.durable.write(&done.save);
            self.pending.pop_front();
        }
    }

    /// All saves are done.
    pub(super) fn confirm_all(&mut self) {
        while let Some(done) = self.pending.pop_front() {
            self.durable.write(&done.save);
        }
    }

    /// Since when the oldest save is under way.
    pub(super) fn pending_since(&self) -> Option<Timestamp> {
        self.pending.front().map(|oldest| oldest.issued_at)
    }

    /// How much of a log, which is the server's, survives a crash whenever it comes.
    ///
    /// An entry may be on the disk while two saves are under way, one that puts another entry in its
    /// place and one that puts it back: a crash between them would lose it.
    pub(super) fn durable_index(&self, log: &Terms) -> Index {
        let held = if self.durable.log.last() == log.last() {
            // By Log Matching, all before it is the same too.
            log.last_index()
        } else {
            log.last_common(&self.durable.log)
        };
        self.pending.iter().fold(held, |held, under_way| held.min(under_way.keeps))
    }

    /// The server crashed and found `is_found` on its disk again: as many saves, from the oldest on,
    /// as explain that, were done, and the others are lost. False if there is no such number.
    pub(super) fn recover(&mut self, is_found: impl Fn(&Image) -> bool) -> bool {
        let mut is_explained = is_found(&self.durable);
        while !is_explained && let Some(Pending { save, .. }) = self.pending.pop_front() {
            let half = self.durable.half_written(&save).filter(&is_found);
            is_explained = half.is_some();
            match half {
                Some(half) => self.durable = half,
                None => {
                    self.durable.write(&save);
                    is_explained = is_found(&self.durable);
                }
            }
        }
        self.pending.clear();
        self.issued.clone_from(&self.durable);
        is_explained
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft_core::{
        Config, Effect, Effects, Entry, Input, Payload, Recovered, Server, ServerId, Term,
    };

    fn save(number: u64, first: u64, terms: &[u64]) -> Save {
        let entry = |(&term, index)| Entry {
            term: Term(term),
            index: Index(index),
            payload: Payload::Noop,
        };
        let entries = terms.iter().zip(first..).map(entry).collect();
        Save { number: SaveNumber(number), entries, ..Save::default() }
    }

    #[test]
    fn nothing_is_durable_before_its_save_is_confirmed() {
        let mut disk = Disk::default();
        disk.issue(Timestamp::ZERO, &save(1, 1, &[1, 1]));
        disk.issue(Timestamp::ZERO, &save(2, 2, &[2]));
        let log = disk.issued.log.clone();
        assert_eq!(log.last(), LogId::new(Term(2), Index(2)));
        assert_eq!(disk.durable_index(&log), Index(0));
        disk.confirm(SaveNumber(1));
        assert_eq!(disk.durable_index(&log), Index(1), "entry 2 was replaced meanwhile");
        disk.confirm(SaveNumber(2));
        assert_eq!(disk.durable_index(&log), Index(2));
    }

    #[test]
    fn what_one_save_takes_away_and_the_next_puts_back_is_not_durable_between_them() {
        let mut disk = Disk::default();
        disk.issue(Timestamp::ZERO, &save(1, 1, &[1, 1, 1]));
        disk.confirm(SaveNumber(1));
        disk.issue(Timestamp::ZERO, &save(2, 3, &[2]));
        disk.issue(Timestamp::ZERO, &save(3, 3, &[1, 3]));
        let log = disk.issued.log.clone();
        for (confirmed, durable) in [(1, 2), (2, 2), (3, 4)] {
            disk.confirm(SaveNumber(confirmed));
            assert_eq!(disk.durable_index(&log), Index(durable), "after save {confirmed}");
        }
    }

    #[test]
    fn a_snapshot_of_an_entry_that_is_being_replaced_is_not_durable_before_its_save() {
        let mut disk = Disk::default();
        disk.issue(Timestamp::ZERO, &save(1, 1, &[1, 1]));
        disk.confirm(SaveNumber(1));
        disk.issue(Timestamp::ZERO, &save(2, 2, &[2]));
        let last = LogId::new(Term(1), Index(2));
        let install = Save { number: SaveNumber(3), compacted: Some(last), ..Save::default() };
        disk.issue(Timestamp::ZERO, &install);
        let log = disk.issued.log.clone();
        assert_eq!((log.start(), log.last()), (last, last));
        for (confirmed, durable) in [(1, 1), (2, 1), (3, 2)] {
            disk.confirm(SaveNumber(confirmed));
            assert_eq!(disk.durable_index(&log), Index(durable), "after save {confirmed}");
        }
    }

    #[test]
    fn what_an_installed_snapshot_stands_for_stays_durable_while_it_is_saved() {
        let mut disk = Disk::default();
        disk.issue(Timestamp::ZERO, &save(1, 1, &[1, 1]));
        let last = LogId::new(Term(1), Index(3));
        let install = Save { number: SaveNumber(2), compacted: Some(last), ..Save::default() };
        disk.issue(Timestamp::ZERO, &install);
        let log = disk.issued.log.clone();
        for (confirmed, durable) in [(0, 0), (1, 2), (2, 3)] {
            disk.confirm(SaveNumber(confirmed));
            assert_eq!(disk.durable_index(&log), Index(durable), "after save {confirmed}");
        }
    }

    /// The save with which the only server of a cluster keeps a snapshot of its first entry, 1@1.
    fn snapshot() -> Save {
        let mut server = Server::new(Config::new(ServerId(1), [ServerId(1)]), Recovered::default())
            .expect("it is new");
        let mut effects = Effects::new();
        let mut step = |now, input| {
            effects.clear();
            server.step(now, input, &mut effects).expect("it takes the input");
            (server.next_timeout().expect("it has joined"), effects.drain().collect::<Vec<_>>())
        };
        let (now, _) = step(Timestamp::ZERO, Input::NotifyJoinedService);
        let (through, responses) = (Index(1), Vec::new());
        step(now, Input::TimerElapsed);
        step(now, Input::Saved(SaveNumber(1)));
        step(now, Input::Saved(SaveNumber(2)));
        step(now, Input::Applied { through, responses });
        step(now, Input::TakeSnapshot);
        let (_, asked) = step(now, Input::SnapshotTaken { through, data: Default::default() });
        match asked.into_iter().next() {
            Some(Effect::Save(save)) => save,
            other => panic!("it asks for {other:?}"),
        }
    }

    #[test]
    fn a_crash_may_come_between_a_snapshot_and_the_log_that_it_replaces() {
        for (terms, expected) in [([1, 1], 2), ([2, 2], 1)] {
            let mut disk = Disk::default();
            disk.issue(Timestamp::ZERO, &save(1, 1, &terms));
            disk.confirm(SaveNumber(1));
            let last = LogId::new(Term(1), Index(1));
            let whole = Save { compacted: Some(last), ..snapshot() };
            disk.issue(Timestamp::ZERO, &Save { number: SaveNumber(2), ..whole });
            let is_half = |image: &Image| {
                let Image { snapshot, log, .. } = image;
                let is_kept = log.start() == LogId::ZERO || expected == 1;
                is_kept && (*snapshot, log.last_index()) == (last, Index(expected))
            };
            assert!(disk.recover(is_half), "{terms:?}");
            assert!(!disk.recover(|image| image.snapshot == LogId::ZERO), "it is durable");
        }
    }

    #[test]
    fn a_crash_loses_the_last_saves_and_no_others() {
        for kept in 0..=2 {
            let vote = HardState { current_term: Term(1), voted_for: Some(ServerId(2)) };
            let mut disk = Disk::default();
            disk.issue(Timestamp::ZERO, &Save { hard_state: Some(vote), ..save(1, 1, &[1]) });
            disk.issue(Timestamp::ZERO, &save(2, 2, &[1]));
            let is_found = |image: &Image| image.log.last_index() == Index(kept);
            assert!(disk.recover(is_found));
            assert_eq!(disk.durable.hard_state.voted_for.is_some(), kept > 0);
            assert_eq!(disk.issued, disk.durable);
            assert!(!disk.recover(|image| image.log.last_index() == Index(3)));
        }
    }
}
