//! What clients and the application ask of a server: commands, sessions, and their answers
//! (Raft §8; dissertation §6.3).
//!
//! Guarantees: a request gets no second copy in the log from a leader that knows of the first; nobody
//!             is told that a command was applied before the state machine has answered.
//! Relies on:  every later leader holding what was committed, and so every session (`session.rs`).
//! Elsewhere:  which copy of a request is applied is decided in `replication.rs` when it is handed out.

use bytes::Bytes;

use crate::effect::{Apply, Step};
use crate::error::StepError;
use crate::log::Payload;
use crate::message::{
    Address, ClientRequest, ClientResponse, ClientResult, Message, RegisterClient,
};
use crate::role::Role;
use crate::server::Server;
use crate::session::Known;
use crate::types::{ClientId, Index, SequenceNumber, ServerId};

/// What was handed to the state machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PendingApply {
    Commands(Apply),
    Restore { through: Index },
}

impl PendingApply {
    fn through(&self) -> Index {
        match self {
            Self::Commands(apply) => apply.through,
            Self::Restore { through } => *through,
        }
    }

    /// How many responses are to come.
    fn requests(&self) -> usize {
        match self {
            Self::Commands(apply) => apply.requests().count(),
            Self::Restore { .. } => 0,
        }
    }
}

impl Server {
    /// Makes sure that this server may append a command of so many bytes now.
    pub(crate) fn admit_proposal(&self, command_bytes: usize) -> Result<(), StepError> {
        let command_bytes_max = self.config.command_bytes_max;
        let Role::Leader(leader) = &self.role else {
            return Err(StepError::NotLeader { leader: self.leader_hint() });
        };
        if command_bytes > command_bytes_max {
            return Err(StepError::TooLarge { command_bytes, command_bytes_max });
        }
        // What an entry takes besides its command counts too: empty commands fill a memory as well.
        let bytes = leader.uncommitted_bytes;
        let with_this = bytes + Payload::Noop.entry_bytes() + command_bytes;
        let is_full = bytes > 0 && with_this > self.config.uncommitted_bytes_max;
        if is_full || leader.transfer.is_some() {
            return Err(StepError::Busy);
        }
        Ok(())
    }

    /// Answers a client.
    pub(crate) fn answer(
        step: &mut Step<'_>,
        client_id: ClientId,
        sequence_number: SequenceNumber,
        result: ClientResult,
    ) {
        let response = ClientResponse { client_id, sequence_number, result };
        step.send(client_id, Message::ClientResponse(response));
    }

    /// What to tell a client whose command may not be appended now.
    fn refusal(error: StepError) -> ClientResult {
        match error {
            StepError::NotLeader { leader } => ClientResult::NotLeader { leader },
            StepError::TooLarge { command_bytes, command_bytes_max } => ClientResult::TooLarge {
                command_bytes: command_bytes as u64,
                command_bytes_max: command_bytes_max as u64,
            },
            _ => ClientResult::Busy,
        }
    }

    /// The leader to pass a client's message on to, if that is wanted; never one that was passed on.
    fn forward_to(&self, from: Address) -> Option<ServerId> {
        let is_clients = matches!(from, Address::Client(_));
        let is_wanted = self.config.forward_requests && is_clients && !self.role.is_leader();
        self.leader_hint().filter(|_| is_wanted)
    }

    /// Opens a session for a client.
    ///
    /// Source: dissertation §6.3, RegisterClient RPC.
    pub(crate) fn handle_register_client(
        &mut self,
        step: &mut Step<'_>,
        from: Address,
        request: RegisterClient,
    ) {
        if let Some(leader) = self.forward_to(from) {
            return step.send(leader, Message::RegisterClient(request));
        }
        let RegisterClient { client_id, registration } = request;
        if let Some(session) = self.sessions.registered(client_id, registration)
            && self.role.is_leader()
        {
            let result = ClientResult::Registered { session };
            return Self::answer(step, client_id, registration, result);
        }
        match self.admit_proposal(0) {
            Err(error) => Self::answer(step, client_id, registration, Self::refusal(error)),
            Ok(()) => {
                let sessions_max = self.config.sessions_max;
                let payload = Payload::RegisterClient { client_id, registration, sessions_max };
                self.append(step, payload);
            }
        }
    }

    /// Appends a client's command if this server leads and has never seen it.
    ///
    /// Source: Raft §5.3, §8; dissertation §6.3.
    pub(crate) fn handle_client_request(
        &mut self,
        step: &mut Step<'_>,
        from: Address,
        request: ClientRequest,
    ) {
        if let Some(leader) = self.forward_to(from) {
            return step.send(leader, Message::ClientRequest(request));
        }
        #[cfg(feature = "defects")]
        if self.takes_repetition(&request) {
            return self.propose(step, request);
        }
        let ClientRequest { client_id, sequence_number, .. } = request;
        let applying = self.applying;
        let leader_hint = self.leader_hint();
        let Role::Leader(leader) = &mut self.role else {
            let result = ClientResult::NotLeader { leader: leader_hint };
            return Self::answer(step, client_id, sequence_number, result);
        };
        // A client learns of its session once that is committed, and every later leader's log reaches so
        // far: this one was deposed and does not know it yet, or there is no such session.
        if request.session.0 > self.log.last_index().0 {
            let result = ClientResult::NotLeader { leader: None };
            return Self::answer(step, client_id, sequence_number, result);
        }
        // A session that was opened further on in the log than this server has read may well exist.
        let is_known = request.session.0 <= applying.0;
        let known = if is_known { self.sessions.look_up(&request) } else { Known::New };
        let is_in_log = match known {
            Known::Finished(result) => {
                return Self::answer(step, client_id, sequence_number, result);
            }
            Known::Started => true,
            Known::New => leader.in_flight.contains(&request.key()),
        };
        if is_in_log {
            // The answer leaves when the state machine has given it; a second copy would only take
            // space.
            leader.asked_again.insert(request.key());
            return;
        }
        if leader.has_later_in_flight(&request) {
            // Its client has gone on, so nobody waits for an answer to this late copy.
            return;
        }
        let is_full = is_known && self.sessions.is_pipeline_full(&request);
        let refused = match self.admit_proposal(request.command.len()) {
            Ok(()) if is_full => Some(ClientResult::Busy),
            Ok(()) => None,
            Err(error) => Some(Self::refusal(error)),
        };
        match refused {
            Some(result) => Self::answer(step, client_id, sequence_number, result),
            None => self.propose(step, request),
        }
    }

    /// One half of a planted bug: a leader takes a request that it has in its log, or had.
    #[cfg(feature = "defects")]
    fn takes_repetition(&self, request: &ClientRequest) -> bool {
        use crate::defect::Defect;

        let is_known = request.session.0 <= self.applying.0
            && self.sessions.look_up(request) != Known::Finished(ClientResult::SessionExpired);
        self.config.has_defect(Defect::LastWriterWinsOnRestart)
            && is_known
            && self.admit_proposal(request.command.len()).is_ok()
    }

    /// Remembers the state machine's answers, and as a leader passes them on to the clients.
    pub(crate) fn handle_applied(
        &mut self,
        step: &mut Step<'_>,
        through: Index,
        responses: Vec<Bytes>,
    ) -> Result<(), StepError> {
        let is_asked = self.applies.front().is_some_and(|pending| {
            pending.through() == through && pending.requests() == responses.len()
        });
        if !is_asked {
            return Err(StepError::UnknownApply { through, responses: responses.len() });
        }
        let pending = self.applies.pop_front().expect("the front was just seen");
        self.last_applied = through;
        if let PendingApply::Commands(apply) = pending {
            for ((log_id, request), response) in apply.requests().zip(responses) {
                self.sessions.finish(request, response.clone());
                let Role::Leader(leader) = &mut self.role else { continue };
                let key = request.key();
                let is_asked_again = leader.asked_again.remove(&key);
                if log_id.index > self.recovered_index || is_asked_again {
                    let result = ClientResult::Applied { log_id, response };
                    Self::answer(step, key.0, key.2, result);
                }
            }
        }
        self.confirm_applies();
        // A snapshot may have waited for this.
        self.maybe_apply(step);
        Ok(())
    }

    /// A synchronous driver has done what needs no answer.
    pub(crate) fn confirm_applies(&mut self) {
        if !self.config.synchronous_driver {
            return;
        }
        while let Some(pending) = self.applies.pop_front() {
            if pending.requests() > 0 {
                self.applies.push_front(pending);
                return;
            }
            self.last_applied = pending.through();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::effect::Effects;
    use crate::input::Input;
    use crate::message::{Envelope, VoteResponse};
    use crate::storage::Recovered;
    use crate::types::{ClusterId, SaveNumber, Term, Timestamp};

    fn leader() -> Server {
        let config = Config::new(ServerId(1), [1, 2, 3].map(ServerId));
        let config = Config { pre_vote: false, ..config };
        let mut server = Server::new(config, Recovered::default()).unwrap();
        let mut effects = Effects::new();
        let mut step = |now, input| server.step(now, input, &mut effects).unwrap();
        step(Timestamp::ZERO, Input::NotifyJoinedService);
        let now = Timestamp::from_millis(600);
        step(now, Input::TimerElapsed);
        step(now, Input::Saved(SaveNumber(1)));
        let vote = VoteResponse { term: Term(1), vote_granted: true };
        step(now, message(ServerId(2).into(), Message::VoteResponse(vote)));
        assert!(server.role().is_leader());
        server
    }

    fn message(from: Address, message: Message) -> Input {
        let (cluster_id, to) = (ClusterId::default(), ServerId(1).into());
        Input::Message(Envelope { cluster_id, from, to, message })
    }

    /// A client may repeat what it gave up, as often as it likes: nothing is remembered of it.
    #[test]
    fn a_late_request_that_another_replaces_is_forgotten() {
        let mut server = leader();
        let client_id = ClientId(7);
        for number in [9, 1, 2, 3, 9] {
            let request = ClientRequest::new(client_id, SequenceNumber(number), Bytes::new());
            let input = message(client_id.into(), Message::ClientRequest(request));
            server.step(Timestamp::from_millis(600), input, &mut Effects::new()).unwrap();
        }
        let Role::Leader(leader) = server.role() else { panic!("it leads") };
        assert_eq!(leader.in_flight.len(), 1);
        assert_eq!(leader.asked_again.len(), 1, "only who asked for 9 again waits");
        assert_eq!(server.log().len(), 2);
    }
}
