//! Linearizable reads (dissertation §6.4), which the specification leaves out: who may serve what, when.
//!
//! Guarantees: an index is given to a reader only by a leader that has committed an entry of its term,
//!             and that a majority has acknowledged since the read was asked for; or that holds a lease.
//!             Whoever asked is told in time that nobody can say what it must see.
//! Elsewhere:  what a voter must not do while a lease holds is `must_ignore` in `actions.rs`.

use raft_core::{Configuration, Index, ReadId, ReadIndexRequest, Round, ServerId, Timestamp};

use super::broken::{Action, Broken};
use super::servers::{ByServer, is_majority};
use super::state::{Role, State};

/// A read that a leader was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    id: ReadId,
    /// Who asked; the leader itself for a read of its own.
    by: ServerId,
    /// The last round of heartbeats sent before.
    after: Round,
    /// What the read must see, as far as the leader knew then.
    commit: Index,
    /// A majority has answered a later round, or a lease held when it was asked.
    is_confirmed: bool,
}

/// Which reads a server gives up now, if they have waited for so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GiveUp {
    /// A leader, with a heartbeat: those that no majority has confirmed.
    Unconfirmed,
    /// A follower that hears its leader: those that this one has not answered.
    Forwarded,
    /// Whoever has heard no leader for an election timeout: all but those that it can serve alone.
    AheadOfCommit,
}

/// What is known of the reads of one server.
#[derive(Clone, Debug, Default)]
pub(super) struct Reads {
    asked: Vec<Asked>,
    /// The reads that this server was asked for and has neither served nor given up, since when.
    wanted: Vec<(ReadId, Timestamp)>,
    /// What it must give up with this input.
    give_up: Option<GiveUp>,
    /// What a leader answered to a read of this server: the index that it must see.
    granted: Vec<(ReadId, Index)>,
    /// The last round that this leader sent, and when each of the latest was.
    round: Round,
    sent_at: Vec<(Round, Timestamp)>,
    /// When the last round was sent that a majority has answered, of the configuration then in force.
    confirmed_at: Option<Timestamp>,
    /// The last round that each server answered to this leader.
    answered: ByServer<Round>,
}

impl Reads {
    pub(super) fn of(servers: usize) -> Self {
        Self { answered: ByServer::of(servers), ..Self::default() }
    }

    pub(super) fn clear(&mut self) {
        self.lead();
        self.asked.clear();
        self.granted.clear();
        self.wanted.clear();
        self.give_up = None;
    }

    /// An input is about to be explained.
    pub(super) fn begin(&mut self) {
        self.give_up = None;
    }

    /// This input has the server give up reads.
    pub(super) fn give_up(&mut self, which: GiveUp) {
        self.give_up = Some(which);
    }

    /// The server was asked for a read, and took it.
    pub(super) fn want(&mut self, id: ReadId, now: Timestamp) {
        self.wanted.push((id, now));
    }

    /// The server has served a read, or given it up.
    pub(super) fn done(&mut self, id: ReadId) {
        self.wanted.retain(|&(wanted, _)| wanted != id);
    }

    /// A new leader counts its rounds anew. What was asked of an earlier one it may not answer.
    pub(super) fn lead(&mut self) {
        self.asked.retain(|asked| asked.is_confirmed);
        self.round = Round::default();
        self.sent_at.clear();
        self.confirmed_at = None;
        self.answered.fill(Round::default());
    }

    pub(super) fn answered(&mut self, follower: ServerId, round: Round) {
        self.answered.raise(follower, round);
    }

    /// The leader sent a message of this round.
    pub(super) fn sent(&mut self, round: Round, now: Timestamp) {
        /// Rounds that were sent earlier are not worth remembering: their leases are over.
        const REMEMBERED: usize = 16;
        if round > self.round {
            self.round = round;
            if self.sent_at.len() == REMEMBERED {
                self.sent_at.remove(0);
            }
            self.sent_at.push((round, now));
        }
    }

    fn has_answered(&self, voter: ServerId, round: Round) -> bool {
        self.answered.get(voter) >= round
    }

    /// True if reads wait to be confirmed.
    fn is_waiting(&self) -> bool {
        self.asked.iter().any(|asked| !asked.is_confirmed)
    }

    /// A leader answered this server.
    pub(super) fn grant(&mut self, id: ReadId, index: Index) {
        self.granted.push((id, index));
    }
}

impl State {
    /// ReadIndex, step 1: a leader is asked for a read, of its own (`by` is itself) or of another server.
    pub(super) fn ask_read(
        &mut self,
        id: ReadId,
        by: ServerId,
        is_lease_enough: bool,
        now: Timestamp,
        configuration: &Configuration,
    ) {
        if self.role == Role::Leader {
            let is_confirmed = is_lease_enough && self.has_lease(now, configuration);
            let (after, commit) = (self.reads.round, self.commit);
            self.reads.asked.push(Asked { id, by, after, commit, is_confirmed });
        }
    }

    pub(super) fn ask_read_for(
        &mut self,
        by: ServerId,
        request: &ReadIndexRequest,
        now: Timestamp,
        configuration: &Configuration,
    ) {
        self.ask_read(request.id, by, request.is_lease_enough, now, configuration);
    }

    /// True while a majority of voters protects this leader, whatever their clocks say (dissertation
    /// §6.4.1): a round that a majority has answered was sent less than a lease ago.
    fn has_lease(&self, now: Timestamp, configuration: &Configuration) -> bool {
        if !self.settings.lease_reads || self.has_handed_over || !self.has_committed {
            return false;
        }
        let is_alive = |sent: Timestamp| now < sent + self.settings.lease;
        // Who was the only voter before a change that is under way is still needed by every other leader.
        let was_alone = configuration.old_voters().is_some_and(|old| old == [self.id]);
        was_alone || self.is_alone(configuration) || self.reads.confirmed_at.is_some_and(is_alive)
    }

    /// Notes which rounds a majority has answered. What the voters then in force have promised holds in
    /// the next configuration too: before that one decides, a majority of it has heard this leader.
    fn confirm_rounds(&mut self, configuration: &Configuration) {
        let confirmed = |&&(round, _): &&(Round, _)| self.is_confirmed_in(round, configuration);
        if let Some(&(last, at)) = self.reads.sent_at.iter().rev().find(confirmed) {
            self.reads.confirmed_at = self.reads.confirmed_at.max(Some(at));
            self.reads.sent_at.retain(|&(round, _)| round > last);
        }
    }

    /// True if a majority has answered this round or a later one.
    fn is_confirmed_in(&self, round: Round, configuration: &Configuration) -> bool {
        let agrees = |voter| voter == self.id || self.reads.has_answered(voter, round);
        is_majority(configuration, agrees)
    }

    /// ReadIndex, step 2: notes which reads a majority has confirmed by answering a round that began
    /// after them.
    pub(super) fn confirm_reads(&mut self, configuration: &Configuration) {
        if self.role != Role::Leader {
            return;
        }
        if self.settings.lease_reads {
            self.confirm_rounds(configuration);
        }
        if !self.has_committed || !self.reads.is_waiting() {
            return;
        }
        let mut asked = std::mem::take(&mut self.reads.asked);
        for read in asked.iter_mut().filter(|read| !read.is_confirmed) {
            read.is_confirmed = self.is_confirmed_in(read.after.next(), configuration);
            if read.is_confirmed {
                // It sees what earlier leaders committed only behind the first entry of this one.
                read.commit = read.commit.max(self.first_index);
            }
        }
        self.reads.asked = asked;
    }

    /// ReadIndex, step 3: the leader tells a server up to where it must have applied.
    pub(super) fn answer_read(&self, id: ReadId, to: ServerId, index: Index) -> Result<(), Broken> {
        self.check_read(Action::ReadIndex, id, to, index)?;
        if index <= self.commit {
            return Ok(());
        }
        let did = format!("answered {id} of {to} with index {index}");
        Err(Broken::new(Action::ReadIndex, did, format!("only {} is committed", self.commit)))
    }

    fn check_read(
        &self,
        action: Action,
        id: ReadId,
        by: ServerId,
        index: Index,
    ) -> Result<(), Broken> {
        let broken = |but: &str| {
            Err(Broken::new(action, format!("answered {id} of {by} with index {index}"), but))
        };
        let mut reads = self.reads.asked.iter().filter(|asked| (asked.id, asked.by) == (id, by));
        let Some(best) = reads.clone().min_by_key(|asked| (!asked.is_confirmed, asked.commit))
        else {
            return broken("nobody has asked this leader");
        };
        if !best.is_confirmed {
            return broken(
                "no majority has confirmed since then that it leads, and it has no lease",
            );
        }
        if !reads.any(|asked| asked.is_confirmed && asked.commit <= index) {
            return broken(&format!("up to {} was committed when it was asked", best.commit));
        }
        Ok(())
    }

    /// ServeRead: the state machine has applied what the read must see.
    pub(super) fn serve_read(&self, id: ReadId, index: Index) -> Result<(), Broken> {
        let mut granted = self.reads.granted.iter().filter(|(granted, _)| *granted == id);
        if granted.any(|&(_, needed)| needed <= index) {
            return Ok(());
        }
        self.check_read(Action::ServeRead, id, self.id, index)
    }

    /// GiveUpRead: what can be confirmed, or served, by nobody who is heard does not wait for ever.
    pub(super) fn check_patience(&self, now: Timestamp) -> Result<(), Broken> {
        let Reads { asked, wanted, granted, give_up, .. } = &self.reads;
        let Some(which) = *give_up else { return Ok(()) };
        let patience = self.settings.election_timeout_max;
        let is_mine = |read: &&Asked| read.by == self.id && read.is_confirmed;
        // Up to where the state machine must be for this read, as far as anyone has said.
        let needed = |id| {
            let own = asked.iter().filter(is_mine).filter(|read| read.id == id);
            let answered = granted.iter().filter(|read| read.0 == id).map(|read| read.1);
            own.map(|read| read.commit).chain(answered).min()
        };
        let is_hanging = |&&(id, at): &&(ReadId, Timestamp)| match which {
            GiveUp::Unconfirmed | GiveUp::Forwarded => now >= at + patience && needed(id).is_none(),
            GiveUp::AheadOfCommit => needed(id).is_none_or(|index| index > self.commit),
        };
        let Some((id, at)) = wanted.iter().find(is_hanging) else { return Ok(()) };
        let but = match which {
            GiveUp::Unconfirmed => "no majority has confirmed for so long that it leads",
            GiveUp::Forwarded => "its leader has not answered for so long",
            GiveUp::AheadOfCommit => "it hears nobody who could tell what the read must see",
        };
        let did = format!("keeps {id} waiting since {at}");
        Err(Broken::new(Action::GiveUpRead, did, but))
    }
}
