//! Who waits for what of a running server, and when each of them is told.
//!
//! Guarantees: a proposal is answered by the entry that it became and by no other, which its index and
//!             its term tell; whoever cannot be told is told so, and nobody waits for ever.
//! Relies on:  being told of everything that is applied here, in log order.

use std::collections::{BTreeMap, VecDeque};

use crate::error::StepError;
use crate::input::Input;
use crate::log::Entry;
use crate::read::ReadMode;
use crate::server::Server;
use crate::state_machine::{StateMachine, UnreadableCommand};
use crate::types::{Index, LogId, ReadId, ServerId};

use super::handle::{
    Asker, ChangeError, Changer, ProposeError, Proposer, QueryError, TransferError, Transferrer,
};

/// Who asked for one input of a round.
pub(super) enum Asked<M: StateMachine> {
    /// Nobody is told.
    Nobody,
    Proposal(Proposer<M>),
    Read(ReadId),
    Change(Changer),
    Transfer(Transferrer),
}

/// The inputs of one round, and who asked for each.
pub(super) struct Round<M: StateMachine> {
    pub(super) inputs: Vec<Input>,
    asked: Vec<Asked<M>>,
}

/// What is asked of the state machine, and who waits for the answer.
type Question<M> = (<M as StateMachine>::Query, Asker<M>);

/// Everybody who waits.
pub(super) struct Waiting<M: StateMachine> {
    /// Proposals in the log, in its order; all of one term.
    proposals: VecDeque<(LogId, Proposer<M>)>,
    /// Queries by the read that they share.
    queries: BTreeMap<ReadId, Vec<Question<M>>>,
    /// Queries of this round, which begin one read for each mode.
    begun: [Option<ReadId>; 2],
    last_read: ReadId,
    /// Changes, and the first entry of each: the last one is under way, those before it are made.
    changes: VecDeque<(LogId, Changer)>,
    transfer: Option<Transferrer>,
}

impl<M: StateMachine> Round<M> {
    pub(super) fn new() -> Self {
        Self { inputs: Vec::new(), asked: Vec::new() }
    }

    pub(super) fn push(&mut self, input: Input) {
        self.push_asked(input, Asked::Nobody);
    }

    pub(super) fn push_asked(&mut self, input: Input, asked: Asked<M>) {
        self.inputs.push(input);
        self.asked.push(asked);
    }
}

impl<M: StateMachine> Waiting<M> {
    /// Nobody waits. Reads are numbered from `first_read` on.
    pub(super) fn new(first_read: ReadId) -> Self {
        Self {
            proposals: VecDeque::new(),
            queries: BTreeMap::new(),
            begun: [None; 2],
            last_read: first_read,
            changes: VecDeque::new(),
            transfer: None,
        }
    }

    /// A query comes in. All that come in one round share a read.
    pub(super) fn query(
        &mut self,
        round: &mut Round<M>,
        query: M::Query,
        mode: ReadMode,
        asker: Asker<M>,
    ) {
        let place = match mode {
            ReadMode::ReadIndex => 0,
            ReadMode::Lease => 1,
        };
        let id = match self.begun[place] {
            Some(id) => id,
            None => {
                self.last_read = ReadId(self.last_read.0.wrapping_add(1));
                self.begun[place] = Some(self.last_read);
                round.push_asked(
                    Input::Read { id: self.last_read, mode },
                    Asked::Read(self.last_read),
                );
                self.last_read
            }
        };
        self.queries.entry(id).or_default().push((query, asker));
    }

    /// Takes note of what became of a round's inputs, in their order.
    pub(super) fn begin<'a>(
        &'a mut self,
        round: &'a mut Round<M>,
    ) -> impl FnMut(Result<LogId, StepError>) + 'a {
        self.begun = [None; 2];
        let mut asked = round.asked.drain(..);
        move |outcome| {
            // Whoever asked may have gone away since; that is no concern of the server's.
            match (asked.next().unwrap_or(Asked::Nobody), outcome) {
                (Asked::Nobody, _) | (Asked::Read(_), Ok(_)) => {}
                (Asked::Proposal(proposer), Ok(last)) => self.proposals.push_back((last, proposer)),
                (Asked::Proposal(proposer), Err(error)) => {
                    let _ = proposer.send(Err(ProposeError::refused(error)));
                }
                (Asked::Read(id), Err(_)) => self.read_failed(id, QueryError::NoLeader),
                (Asked::Change(changer), Ok(first)) => self.changes.push_back((first, changer)),
                (Asked::Change(changer), Err(error)) => {
                    let _ = changer.send(Err(match error {
                        StepError::NotLeader { leader } => ChangeError::NotLeader { leader },
                        StepError::Membership(reason) => ChangeError::Refused(reason),
                        _ => ChangeError::Busy,
                    }));
                }
                (Asked::Transfer(transferrer), Ok(_)) => self.transfer = Some(transferrer),
                (Asked::Transfer(transferrer), Err(error)) => {
                    let _ = transferrer.send(Err(match error {
                        StepError::NotLeader { leader } => TransferError::NotLeader { leader },
                        StepError::NoTransferTarget { target } => {
                            TransferError::NoTarget { target }
                        }
                        _ => TransferError::Busy,
                    }));
                }
            }
        }
    }

    /// The entry was applied here, with this outcome.
    pub(super) fn applied(
        &mut self,
        entry: &Entry,
        outcome: Result<M::Response, UnreadableCommand>,
    ) {
        self.applied_through(entry.index.previous());
        let is_proposal = |(log_id, _): &(LogId, Proposer<M>)| *log_id == entry.log_id();
        if self.proposals.front().is_some_and(is_proposal)
            && let Some((_, proposer)) = self.proposals.pop_front()
        {
            let _ = proposer.send(outcome.map_err(ProposeError::from));
        }
    }

    /// Everything up to `index` is applied here, so nothing else will be at those places: what was
    /// proposed there was replaced by another leader, or came with its snapshot.
    pub(super) fn applied_through(&mut self, index: Index) {
        while self.proposals.front().is_some_and(|(log_id, _)| log_id.index <= index)
            && let Some((_, proposer)) = self.proposals.pop_front()
        {
            let _ = proposer.send(Err(ProposeError::LeadershipLost));
        }
    }

    /// Answers the queries that share a read.
    pub(super) fn read_ready(&mut self, id: ReadId, machine: &M) {
        for (query, asker) in self.queries.remove(&id).unwrap_or_default() {
            let _ = asker.send(Ok(machine.query(query)));
        }
    }

    pub(super) fn read_failed(&mut self, id: ReadId, error: QueryError) {
        for (_, asker) in self.queries.remove(&id).unwrap_or_default() {
            let _ = asker.send(Err(error));
        }
    }

    pub(super) fn transfer_aborted(&mut self, target: ServerId) {
        if let Some(transferrer) = self.transfer.take() {
            let _ = transferrer.send(Err(TransferError::Aborted { target }));
        }
    }

    /// Tells those who need not wait any longer after a step.
    pub(super) fn look(&mut self, server: &Server) {
        let is_leader = server.role().is_leader();
        let in_term = |log_id: &LogId| is_leader && log_id.term == server.current_term();
        if self.proposals.back().is_some_and(|(log_id, _)| !in_term(log_id)) {
            // What is committed will be applied; of the rest, the next leader decides.
            let committed = server.commit_index();
            let kept = self.proposals.partition_point(|(log_id, _)| log_id.index <= committed);
            for (_, proposer) in self.proposals.drain(kept..) {
                let _ = proposer.send(Err(ProposeError::LeadershipLost));
            }
        }
        while self.changes.len() > 1
            && let Some((_, changer)) = self.changes.pop_front()
        {
            // One change is under way at a time: the next one was taken when this one was made.
            let until = self.changes.front().map(|(next, _)| next.index.previous());
            let made = server.members.at(until.unwrap_or_default());
            let _ = changer.send(Ok((**made).clone()));
        }
        if let Some((first, changer)) = self.changes.pop_front() {
            let (index, configuration) = (server.members.latest_index(), server.configuration());
            // A leader that has taken itself out leads no more, but the change is made.
            let is_made =
                index >= first.index && index <= server.commit_index() && !configuration.is_joint();
            if is_made {
                let _ = changer.send(Ok(configuration.clone()));
            } else if in_term(&first) {
                self.changes.push_front((first, changer));
            } else {
                let _ = changer.send(Err(ChangeError::LeadershipLost));
            }
        }
        if !is_leader && let Some(transferrer) = self.transfer.take() {
            let _ = transferrer.send(Ok(()));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;
    use tokio::sync::oneshot::Receiver;

    use super::*;
    use crate::log::Payload;
    use crate::state_machine::CommandList;
    use crate::types::Term;

    type Outcome = Result<u64, ProposeError>;

    fn proposed(at: &[(u64, u64)]) -> (Waiting<CommandList>, Vec<Receiver<Outcome>>) {
        let (mut waiting, mut outcomes) = (Waiting::new(ReadId(0)), Vec::new());
        let mut round = Round::new();
        for _ in at {
            let (proposer, outcome) = oneshot::channel();
            round.push_asked(Input::Propose("x".into()), Asked::Proposal(proposer));
            outcomes.push(outcome);
        }
        {
            let mut taken = waiting.begin(&mut round);
            at.iter().for_each(|&(index, term)| taken(Ok(LogId::new(Term(term), Index(index)))));
        }
        (waiting, outcomes)
    }

    fn entry(index: u64, term: u64) -> Entry {
        let payload = Payload::Proposal("x".into());
        Entry { index: Index(index), term: Term(term), payload }
    }

    #[test]
    fn each_proposal_is_answered_by_its_own_entry() {
        let (mut waiting, mut outcomes) = proposed(&[(3, 1), (5, 1)]);
        waiting.applied(&entry(2, 1), Ok(20));
        waiting.applied(&entry(3, 1), Ok(30));
        waiting.applied(&entry(4, 1), Ok(40));
        assert_eq!(outcomes[0].try_recv(), Ok(Ok(30)));
        assert!(outcomes[1].try_recv().is_err(), "it still waits");
        waiting.applied(&entry(5, 1), Ok(50));
        assert_eq!(outcomes[1].try_recv(), Ok(Ok(50)));
    }

    #[test]
    fn an_entry_of_another_term_in_its_place_does_not_answer_a_proposal() {
        let (mut waiting, mut outcomes) = proposed(&[(3, 1), (4, 1)]);
        waiting.applied(&entry(3, 2), Ok(30));
        // What the next entry is the state machine never sees: a no-op.
        waiting.applied_through(Index(4));
        for outcome in &mut outcomes {
            assert_eq!(outcome.try_recv(), Ok(Err(ProposeError::LeadershipLost)));
        }
    }
}
