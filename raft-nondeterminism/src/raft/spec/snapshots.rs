//! Compaction and InstallSnapshot (Raft §7; Fig. 13), which the specification leaves out.
//!
//! Guarantees: a snapshot stands for committed and applied entries and names the configuration there;
//!             entries go only when it is durable; what arrives is installed only when it is whole.
//! Relies on:  the checksum telling bytes that belong together.

use std::collections::BTreeMap;
use std::sync::Arc;

use raft_core::{
    AppendEntriesResult, Index, InstallSnapshotRequest, LogId, Snapshot, SnapshotId, Timestamp,
};

use super::actions::Reply;
use super::broken::{Action, Broken};
use super::state::{ConfigurationId, Configurations, State};

/// How much of a snapshot is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arriving {
    id: SnapshotId,
    bytes: u64,
}

/// Every snapshot that some server took, with the configuration it names.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshots(BTreeMap<SnapshotId, ConfigurationId>);

impl Snapshots {
    pub(super) fn configuration(&self, id: SnapshotId) -> Option<ConfigurationId> {
        self.0.get(&id).copied()
    }
}

impl State {
    /// TakeSnapshot: a server saves the state of its state machine, with the configuration in force
    /// there.
    pub(super) fn take_snapshot(
        &self,
        snapshot: &Snapshot,
        configurations: &mut Configurations,
        snapshots: &mut Snapshots,
    ) -> Result<(), Broken> {
        let last = snapshot.last();
        let broken = |but: String| {
            Err(Broken::new(Action::TakeSnapshot, format!("saved {}", snapshot.id()), but))
        };
        if last.index > self.applied || !self.log.matches(last) {
            return broken(format!("it has applied everything up to {} only", self.applied));
        }
        let in_force = self.members.iter().rev().find(|(from, _)| *from <= last.index);
        let configuration = configurations.id(&Arc::new(snapshot.configuration().clone()));
        match in_force {
            Some(&(_, known)) if known != configuration => {
                let known = configurations.get(known);
                broken(format!(
                    "it names {}, and {known} is in force there",
                    snapshot.configuration()
                ))
            }
            Some(_) | None => {
                snapshots.0.insert(snapshot.id(), configuration);
                Ok(())
            }
        }
    }

    /// Compact: entries go when a snapshot that stands for them is durable.
    pub(super) fn compact(&mut self, through: LogId) -> Result<(), Broken> {
        let snapshot = self.disk.durable.snapshot.index;
        if through.index > snapshot.min(self.applied) || !self.log.matches(through) {
            let did = format!("forgot its entries up to {through}");
            let but = format!(
                "its durable snapshot is of entry {snapshot}, and {} is applied",
                self.applied
            );
            return Err(Broken::new(Action::Compact, did, but));
        }
        self.log.compact(through.index);
        Ok(())
    }

    /// InstallSnapshot: chunks are put together in order; the whole takes the place of the log, unless
    /// that has everything already.
    pub(super) fn handle_install_snapshot_request(
        &mut self,
        request: &InstallSnapshotRequest,
        now: Timestamp,
        snapshots: &Snapshots,
    ) -> Result<Reply, Broken> {
        if !self.follow(request.leader_id, request.term, now)? {
            return Ok(Reply::Append(self.term, AppendEntriesResult::StaleTerm));
        }
        let InstallSnapshotRequest { id, offset, .. } = *request;
        let done = AppendEntriesResult::Success { match_index: id.last.index };
        if self.log.matches(id.last) {
            self.vouched = self.vouched.max(id.last.index);
            self.commit = self.commit.max(id.last.index);
            return Ok(Reply::Append(self.term, done));
        }
        let mut arriving = match self.arriving {
            // What is committed here needs no older snapshot any more.
            Some(arriving) if arriving.id == id => arriving,
            Some(_) | None => Arriving { id, bytes: 0 },
        };
        let length = request.data.len() as u64;
        if offset == arriving.bytes && length <= id.size_bytes - arriving.bytes {
            arriving.bytes += length;
        }
        if arriving.bytes < id.size_bytes {
            self.arriving = Some(arriving);
            return Ok(Reply::Part(self.term, arriving.bytes));
        }
        self.arriving = None;
        self.install(id, snapshots)?;
        Ok(Reply::Append(self.term, done))
    }

    /// A whole snapshot takes the place of the log.
    fn install(&mut self, id: SnapshotId, snapshots: &Snapshots) -> Result<(), Broken> {
        let broken =
            |but: String| Err(Broken::new(Action::InstallSnapshot, format!("was sent {id}"), but));
        if id.last.index <= self.commit {
            let commit = self.commit;
            return broken(format!("it has other entries, committed up to {commit}"));
        }
        let Some(configuration) = snapshots.configuration(id) else {
            return broken("no server has taken it".to_owned());
        };
        self.log.restart_at(id.last);
        self.members.clear();
        self.members.push((id.last.index, configuration));
        self.vouched = self.vouched.max(id.last.index);
        self.commit = id.last.index;
        Ok(())
    }

    /// Everything up to here is committed, so a snapshot of less would come too late.
    pub(super) fn forget_late_arrivals(&mut self, commit: Index) {
        if self.arriving.is_some_and(|arriving| arriving.id.last.index <= commit) {
            self.arriving = None;
        }
    }
}
