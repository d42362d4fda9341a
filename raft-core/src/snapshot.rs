//! Log compaction: taking snapshots, sending them in chunks, installing them (Raft §7).
//!
//! Guarantees: what a snapshot stands for is applied everywhere it is installed, once; an install
//!             deletes nothing that is newer; chunks of two snapshots never mix.
//! Relies on:  the state machine giving its state as of the entry it was asked for.
//! Elsewhere:  who needs one is found in `replication.rs`; sessions travel along (`session.rs`).

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::codec::{self, DecodeError};
use crate::effect::{Effect, Step};
use crate::error::StepError;
use crate::log::Log;
use crate::membership::{Configuration, Members};
use crate::message::{InstallSnapshotRequest, InstallSnapshotResponse, Message};
use crate::progress::{Progress, ProgressState, Transfer};
use crate::request::PendingApply;
use crate::role::Role;
use crate::server::Server;
use crate::session::Sessions;
use crate::types::{Index, LogId, Round, SaveNumber, ServerId, Term};

/// What stands for the beginning of a log: the state machine, the sessions and the configuration as
/// of its last entry. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Snapshot {
    inner: Arc<Inner>,
}

#[derive(PartialEq, Eq, Hash)]
struct Inner {
    id: SnapshotId,
    configuration: Arc<Configuration>,
    sessions: Sessions,
    /// The encoded fields above, as they stand at the start of its bytes.
    header: Bytes,
    data: Bytes,
}

/// Tells a snapshot from every other: chunks of two are never put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId {
    /// The last entry that it stands for (the paper's `lastIncludedIndex` and `lastIncludedTerm`).
    pub last: LogId,
    /// Its size, in bytes.
    pub size_bytes: u64,
    /// The CRC-32 of its bytes.
    pub checksum: u32,
}

/// `snapshot 7@2 (120 bytes)`.
impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "snapshot {} ({} bytes)", self.last, self.size_bytes)
    }
}

/// Bytes that are no snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// They are damaged: their checksum is another one.
    #[error("the checksum of the snapshot is {found:08x}, not {expected:08x}")]
    Damaged {
        /// What it should be.
        expected: u32,
        /// What it is.
        found: u32,
    },
    /// They cannot be read.
    #[error("the snapshot cannot be read")]
    Unreadable(#[from] DecodeError),
}

impl Snapshot {
    /// The state `data` of the state machine after `last`, with what else a server must know there.
    #[must_use]
    pub(crate) fn new(
        last: LogId,
        configuration: Arc<Configuration>,
        sessions: Sessions,
        data: Bytes,
    ) -> Self {
        let header = codec::encode_snapshot_header(last, &configuration, &sessions);
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&header);
        checksum.update(&data);
        let size_bytes = (header.len() + data.len()) as u64;
        let id = SnapshotId { last, size_bytes, checksum: checksum.finalize() };
        Self { inner: Arc::new(Inner { id, configuration, sessions, header, data }) }
    }

    /// Reads a snapshot from its bytes, of which it keeps slices.
    ///
    /// # Errors
    ///
    /// If they are no snapshot with this checksum.
    pub fn from_bytes(bytes: &Bytes, checksum: u32) -> Result<Self, SnapshotError> {
        let found = crc32fast::hash(bytes);
        if found != checksum {
            return Err(SnapshotError::Damaged { expected: checksum, found });
        }
        let (last, configuration, sessions, header_bytes) = codec::decode_snapshot_header(bytes)?;
        let inner = Inner {
            id: SnapshotId { last, size_bytes: bytes.len() as u64, checksum },
            configuration: Arc::new(configuration),
            sessions,
            header: bytes.slice(..header_bytes),
            data: bytes.slice(header_bytes..),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Which snapshot it is.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        self.inner.id
    }

    /// The last entry it stands for.
    #[must_use]
    pub fn last(&self) -> LogId {
        self.inner.id.last
    }

    /// The servers of the cluster as of that entry.
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        &self.inner.configuration
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.inner.sessions
    }

    /// The state of the state machine, in its own encoding.
    #[must_use]
    pub fn data(&self) -> &Bytes {
        &self.inner.data
    }

    /// All its bytes, in two parts: what the server knows, then [`Snapshot::data`].
    #[must_use]
    pub fn parts(&self) -> [&Bytes; 2] {
        [&self.inner.header, &self.inner.data]
    }

    /// The bytes from `offset` on, at most this many.
    fn chunk(&self, offset: u64, bytes_max: usize) -> Bytes {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let [header, data] = self.parts();
        let in_data = offset.saturating_sub(header.len()).min(data.len());
        let head = header.get(offset..).unwrap_or_default();
        let head = &head[..head.len().min(bytes_max)];
        let tail =
            data.slice(in_data..data.len().min(in_data.saturating_add(bytes_max - head.len())));
        if head.is_empty() { tail } else { [head, &tail[..]].concat().into() }
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("id", &self.inner.id)
            .field("configuration", &self.inner.configuration)
            .finish_non_exhaustive()
    }
}

/// What a server knows of its snapshots.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Snapshots {
    /// The last one taken or installed; it may not be durable yet.
    pub(crate) latest: Option<Snapshot>,
    /// Someone asked for one.
    is_wanted: bool,
    /// The state machine is giving its state.
    taking: Option<Taking>,
    /// What may be compacted once a save is durable.
    compactions: VecDeque<(SaveNumber, Index)>,
    /// What has arrived of one that a leader sends, and goes on where it stopped if the next leader
    /// sends the same.
    arriving: Option<(SnapshotId, BytesMut)>,
    /// One that arrived whole and cannot be read here: it is not worth sending again.
    unreadable: Option<SnapshotId>,
    /// The storage holds the latest, and still the log that it replaced.
    is_half_installed: bool,
}

/// All but the state machine's own state, as of the entry it was asked for.
#[derive(Clone, Debug, Hash)]
struct Taking {
    last: LogId,
    configuration: Arc<Configuration>,
    sessions: Sessions,
}

impl Snapshots {
    pub(crate) fn recovered(latest: Option<Snapshot>, is_half_installed: bool) -> Self {
        Self { latest, is_half_installed, ..Self::default() }
    }

    /// True if entries wait for a save before they are forgotten.
    pub(crate) fn has_compactions(&self) -> bool {
        !self.compactions.is_empty()
    }

    /// The last entry that the latest snapshot stands for.
    pub(crate) fn last(&self) -> LogId {
        self.latest.as_ref().map_or(LogId::ZERO, Snapshot::last)
    }

    /// The last entry of the latest snapshot, or of the one being taken.
    pub(crate) fn last_asked(&self) -> Index {
        self.taking.as_ref().map_or(self.last().index, |taking| taking.last.index)
    }

    /// Everything up to here is committed, so a snapshot of less would come too late.
    pub(crate) fn committed(&mut self, index: Index) {
        if self.arriving.as_ref().is_some_and(|(id, _)| id.last.index <= index) {
            self.arriving = None;
        }
    }

    /// Begins to send the latest snapshot to a follower that needs entries which are gone.
    pub(crate) fn begin_transfer(&self, progress: &mut Progress) {
        let snapshot = self.latest.clone();
        let snapshot = snapshot.expect("entries are compacted only behind a snapshot");
        progress.state = ProgressState::Snapshot(Transfer::new(snapshot));
    }
}

impl Transfer {
    /// The next chunk for the follower, unless it has one to answer.
    pub(crate) fn next_chunk(
        &mut self,
        term: Term,
        leader_id: ServerId,
        round: Round,
        bytes_max: usize,
    ) -> Option<InstallSnapshotRequest> {
        if self.is_waiting {
            return None;
        }
        self.is_waiting = true;
        self.sent_in = round;
        let (id, offset) = (self.snapshot.id(), self.offset);
        let data = self.snapshot.chunk(offset, bytes_max);
        Some(InstallSnapshotRequest { term, leader_id, round, id, offset, data })
    }
}

impl Server {
    /// The last snapshot taken or installed.
    #[must_use]
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshots.latest.as_ref()
    }

    /// Takes a snapshot as soon as everything handed out is applied.
    pub(crate) fn request_snapshot(&mut self, step: &mut Step<'_>) {
        self.snapshots.is_wanted = self.commit_index > self.snapshots.last_asked();
        self.maybe_apply(step);
    }

    /// True if a snapshot is due, asked for or by policy.
    pub(crate) fn is_snapshot_due(&self) -> bool {
        let Snapshots { is_wanted, taking, .. } = &self.snapshots;
        let since_last = self.applying - self.snapshots.last().index;
        let is_policy = self.config.snapshot_entries.is_some_and(|entries| since_last >= entries);
        (*is_wanted || is_policy) && taking.is_none() && since_last > 0
    }

    /// Asks the state machine for its state. Everything handed out is applied, and nothing more is
    /// handed out before, so the sessions are as of that entry too.
    pub(crate) fn take_snapshot(&mut self, step: &mut Step<'_>) {
        assert!(self.applies.is_empty(), "the sessions are as of the last entry applied");
        let term = self.log.term_at(self.applying).expect("what is applied is in the log");
        let last = LogId::new(term, self.applying);
        self.snapshots.is_wanted = false;
        self.snapshots.taking = Some(Taking {
            last,
            configuration: self.members.at(last.index).clone(),
            sessions: self.sessions.clone(),
        });
        step.push(Effect::TakeSnapshot { through: last.index });
    }

    /// The state machine gave its state: save it, and then forget the entries it stands for.
    pub(crate) fn handle_snapshot_taken(
        &mut self,
        step: &mut Step<'_>,
        through: Index,
        data: Bytes,
    ) -> Result<(), StepError> {
        let is_asked = |taking: &mut Taking| taking.last.index == through;
        let Some(Taking { last, configuration, sessions }) =
            self.snapshots.taking.take_if(is_asked)
        else {
            return Err(StepError::UnknownSnapshot { through });
        };
        // A leader's may have come meanwhile, and stands for more.
        if last.index > self.snapshots.last().index {
            let kept = Index(last.index.0.saturating_sub(self.config.snapshot_keep_entries));
            let through = kept.min(self.needed_by_transfers(step)).max(self.log.start().index);
            self.snapshots.latest = Some(Snapshot::new(last, configuration, sessions, data));
            let term = self.log.term_at(through).expect("what is applied is in the log");
            step.save_snapshot(LogId::new(term, through));
        }
        // Meanwhile the next one may have become due.
        self.maybe_apply(step);
        Ok(())
    }

    /// The last entry that may be compacted without a follower needing another snapshot right after
    /// the one it is receiving.
    fn needed_by_transfers(&self, step: &Step<'_>) -> Index {
        let Role::Leader(leader) = &self.role else { return Index(u64::MAX) };
        let receiving = leader.progress.values().filter_map(|progress| match &progress.state {
            ProgressState::Snapshot(transfer)
                if progress.is_heard(step.now, self.config.election_timeout_max) =>
            {
                Some(transfer.snapshot.last().index)
            }
            _ => None,
        });
        receiving.min().unwrap_or(Index(u64::MAX))
    }

    /// A save with a snapshot was asked for.
    pub(crate) fn remember_compaction(&mut self, number: SaveNumber, through: Index) {
        self.snapshots.compactions.push_back((number, through));
    }

    /// Forgets entries whose snapshot is durable.
    pub(crate) fn maybe_compact(&mut self) {
        let saved = self.durability.saved();
        let compactions = &mut self.snapshots.compactions;
        while let Some(&(_, through)) = compactions.front().filter(|(number, _)| *number <= saved) {
            compactions.pop_front();
            // An installed snapshot replaced the log at once.
            let through = through.min(self.applying).min(self.log.last_index());
            self.log.compact(through);
            self.members.compact(self.log.start().index);
        }
    }

    /// Takes a chunk, and installs the snapshot when it is whole.
    ///
    /// Source: Raft §7; Fig. 13, InstallSnapshot RPC.
    pub(crate) fn handle_install_snapshot_request(
        &mut self,
        step: &mut Step<'_>,
        request: InstallSnapshotRequest,
    ) {
        let InstallSnapshotRequest { term, leader_id, round, id, offset, data } = request;
        if !self.hear_leader(step, term, leader_id, round) {
            return;
        }
        if self.log.matches(id.last) {
            // Nothing is missing: what the snapshot stands for is here, so it is not needed, and
            // entries after it stay (Fig. 13, step 6).
            self.snapshots.committed(id.last.index);
            self.advance_commit_index(step, id.last.index);
            let match_index = id.last.index;
            return self.acknowledge(step, leader_id, round, match_index);
        }
        if self.snapshots.unreadable == Some(id) {
            // Without an answer, the leader asks again with each heartbeat only.
            return self.count_refusal(UNREADABLE_SNAPSHOT);
        }
        let is_other = self.snapshots.arriving.as_ref().is_none_or(|(known, _)| *known != id);
        if is_other {
            self.snapshots.arriving = Some((id, BytesMut::new()));
        }
        let (_, buffer) = self.snapshots.arriving.as_mut().expect("it was just put there");
        let room = usize::try_from(id.size_bytes).unwrap_or(usize::MAX) - buffer.len();
        if offset == buffer.len() as u64 && data.len() <= room {
            buffer.extend_from_slice(&data);
        }
        let offset = buffer.len() as u64;
        if offset < id.size_bytes {
            let term = self.current_term();
            let response = InstallSnapshotResponse { term, round, id, offset };
            return step.send(leader_id, Message::InstallSnapshotResponse(response));
        }
        let (_, buffer) = self.snapshots.arriving.take().expect("it was just there");
        match Snapshot::from_bytes(&buffer.freeze(), id.checksum) {
            Ok(snapshot) if snapshot.last() == id.last => {
                self.install(step, snapshot);
                self.acknowledge(step, leader_id, round, id.last.index);
            }
            Err(SnapshotError::Damaged { .. }) => {
                // On its way, so it may well arrive next time: begin again.
                self.count_refusal(DAMAGED_SNAPSHOT);
                let term = self.current_term();
                let response = InstallSnapshotResponse { term, round, id, offset: 0 };
                step.send(leader_id, Message::InstallSnapshotResponse(response));
            }
            Ok(_) | Err(SnapshotError::Unreadable(_)) => {
                // These are the bytes that the leader has: they would be the same next time.
                self.count_refusal(UNREADABLE_SNAPSHOT);
                self.snapshots.unreadable = Some(id);
            }
        }
    }

    /// Puts a snapshot in the place of the whole log, which lacks its last entry or has another one
    /// there (Fig. 13, step 7).
    fn install(&mut self, step: &mut Step<'_>, snapshot: Snapshot) {
        let last = snapshot.last();
        assert!(last.index > self.commit_index, "what is committed is never replaced");
        self.log = Log::starting_at(last);
        self.members = Members::new(last.index, snapshot.inner.configuration.clone());
        self.snapshots.latest = Some(snapshot);
        (self.snapshots.taking, self.snapshots.is_wanted) = (None, false);
        self.snapshots.compactions.clear();
        step.install_snapshot(last);
        self.follow_configuration(step);
        self.advance_commit_index(step, last.index);
    }

    /// Has the storage forget a log that a recovered snapshot replaced: no new entry would fit on it.
    pub(crate) fn finish_install(&mut self, step: &mut Step<'_>) {
        if std::mem::take(&mut self.snapshots.is_half_installed) {
            step.save_snapshot(self.log.start());
        }
    }

    /// Hands an installed or recovered snapshot to the state machine, once it is durable. False as long
    /// as one waits for that: nothing can be applied before it.
    pub(crate) fn maybe_restore(&mut self, step: &mut Step<'_>, durable: Index) -> bool {
        let Some(snapshot) = &self.snapshots.latest else { return true };
        let through = snapshot.last().index;
        if through <= self.applying {
            return true;
        }
        if through > durable {
            return false;
        }
        self.sessions = snapshot.sessions().clone();
        step.push(Effect::RestoreSnapshot(snapshot.clone()));
        self.applying = through;
        self.applies.push_back(PendingApply::Restore { through });
        self.confirm_applies();
        true
    }

    /// A follower says how much of a snapshot it has.
    pub(crate) fn handle_install_snapshot_response(
        &mut self,
        step: &mut Step<'_>,
        follower: ServerId,
        response: InstallSnapshotResponse,
    ) {
        let InstallSnapshotResponse { term, round, id, offset } = response;
        if term < self.current_term() {
            return;
        }
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.progress.get_mut(&follower) else { return };
        progress.heard(step.now, round);
        if let ProgressState::Snapshot(transfer) = &mut progress.state
            && transfer.snapshot.id() == id
        {
            transfer.answered(round, offset);
        }
        self.confirm_rounds(step);
        step.replicate();
    }
}

/// What a server's refusals call a snapshot that was damaged on its way.
const DAMAGED_SNAPSHOT: &str = "damaged-snapshot";
/// What they call one that arrived as it was sent, and is none.
const UNREADABLE_SNAPSHOT: &str = "unreadable-snapshot";
