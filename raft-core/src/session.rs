//! Which requests of each client were applied (dissertation §6.3).
//!
//! A client that hears nothing asks again, perhaps another leader, and the log may then hold its
//! request twice. Every server skips the second copy, and finds the answer of the first here.
//!
//! Guarantees: of the requests with one session and sequence number, one is applied; and since this
//!             follows from the log alone, it is the same one on every server. A session ends at the
//!             same entry on every server, and what belongs to an ended one is applied nowhere.
//! Relies on:  a client using each sequence number for one request.
//!
//! A client that did not register has a session as well, of its client id: it sends one request at a
//! time, numbered upwards, and is safe as long as its session is kept.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::message::{ClientRequest, ClientResult};
use crate::server::Server;
use crate::types::{ClientId, Index, LogId, SequenceNumber, SessionId};

/// How many sessions are kept when a client comes that did not register. All servers must agree on
/// it, so it is a part of the protocol and not a setting.
pub(crate) const UNREGISTERED_SESSIONS_MAX: usize = 1 << 16;

/// How many requests of one session may be under way: what a server keeps for it is bounded.
pub(crate) const PIPELINE_MAX: u64 = 1024;

/// The sessions of all clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Sessions {
    clients: BTreeMap<ClientId, Session>,
}

/// One client's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    /// Which registration of the client opened it.
    pub(crate) registration: SequenceNumber,
    /// The client has the answers to all requests below this one.
    pub(crate) floor: SequenceNumber,
    /// The last entry that was applied for it.
    pub(crate) used_at: Index,
    /// Requests from `floor` on that were handed to the state machine, with the answer if it is
    /// there.
    pub(crate) requests: BTreeMap<SequenceNumber, (LogId, Option<Bytes>)>,
}

/// What the sessions know of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Known {
    /// Never applied, as far as this server knows.
    New,
    /// Handed to the state machine, which has not answered yet.
    Started,
    /// Done: this is the answer.
    Finished(ClientResult),
}

impl Sessions {
    /// What is known of this request.
    pub(crate) fn look_up(&self, request: &ClientRequest) -> Known {
        let number = request.sequence_number;
        let is_registered = request.session != SessionId::NONE;
        match self.clients.get(&request.client_id) {
            None if is_registered => Known::Finished(ClientResult::SessionExpired),
            None => Known::New,
            Some(session) if session.id != request.session => {
                Known::Finished(ClientResult::SessionExpired)
            }
            Some(session) => match session.requests.get(&number) {
                Some((log_id, Some(response))) => {
                    let (log_id, response) = (*log_id, response.clone());
                    Known::Finished(ClientResult::Applied { log_id, response })
                }
                Some((_, None)) => Known::Started,
                None if number < session.floor => Known::Finished(ClientResult::Superseded),
                None => Known::New,
            },
        }
    }

    /// The session of this registration, if it is open.
    pub(crate) fn registered(
        &self,
        client_id: ClientId,
        registration: SequenceNumber,
    ) -> Option<SessionId> {
        let session = self.clients.get(&client_id)?;
        (session.id != SessionId::NONE && session.registration == registration)
            .then_some(session.id)
    }

    /// True if so many requests of the session are under way that no more are taken.
    pub(crate) fn is_pipeline_full(&self, request: &ClientRequest) -> bool {
        let floor = self.clients.get(&request.client_id).map(|session| session.floor);
        let floor = floor.unwrap_or_default().max(request.floor());
        request.sequence_number.0.saturating_sub(floor.0) >= PIPELINE_MAX
    }

    /// A request in the log is about to be handed to the state machine. Unless it is new it must be
    /// skipped, and what is known says how to answer it.
    pub(crate) fn start(&mut self, request: &ClientRequest, log_id: LogId) -> Known {
        let known = self.look_up(request);
        if known != Known::New {
            return known;
        }
        if !self.clients.contains_key(&request.client_id) {
            self.make_room(UNREGISTERED_SESSIONS_MAX);
            let session = Session {
                id: SessionId::NONE,
                registration: SequenceNumber(0),
                floor: SequenceNumber(0),
                used_at: log_id.index,
                requests: BTreeMap::new(),
            };
            self.clients.insert(request.client_id, session);
        }
        let session = self.clients.get_mut(&request.client_id).expect("it was just there");
        session.used_at = log_id.index;
        session.requests.insert(request.sequence_number, (log_id, None));
        // What the client has the answer to, it never asks for again.
        session.floor = session.floor.max(request.floor());
        while session.requests.first_key_value().is_some_and(|(&first, _)| first < session.floor) {
            session.requests.pop_first();
        }
        Known::New
    }

    /// The state machine answered a request that was started. Its client may have said since that it
    /// needs no answer any more.
    pub(crate) fn finish(&mut self, request: &ClientRequest, response: Bytes) {
        let session = self.clients.get_mut(&request.client_id);
        let session = session.filter(|session| session.id == request.session);
        let kept = session.and_then(|session| session.requests.get_mut(&request.sequence_number));
        if let Some((_, kept)) = kept {
            *kept = Some(response);
        }
    }

    /// Opens a session with the id of the entry at `index`, and ends those used least lately if there
    /// are more than `sessions_max` then. A late copy of a registration opens none: the session that
    /// the client has is returned.
    pub(crate) fn register(
        &mut self,
        client_id: ClientId,
        registration: SequenceNumber,
        sessions_max: u32,
        index: Index,
    ) -> Option<SessionId> {
        let known = self.clients.get(&client_id).filter(|session| session.id != SessionId::NONE);
        if let Some(session) = known.filter(|session| session.registration >= registration) {
            return (session.registration == registration).then_some(session.id);
        }
        self.clients.remove(&client_id);
        self.make_room(usize::try_from(sessions_max).unwrap_or(usize::MAX));
        let id = SessionId(index.0);
        let session = Session {
            id,
            registration,
            floor: SequenceNumber(0),
            used_at: index,
            requests: BTreeMap::new(),
        };
        self.clients.insert(client_id, session);
        Some(id)
    }

    /// Ends sessions until there is room for one more among `sessions_max`.
    fn make_room(&mut self, sessions_max: usize) {
        let too_many = (self.clients.len() + 1).saturating_sub(sessions_max.max(1));
        if too_many == 0 {
            return;
        }
        // One pass, however many have to go: a server that took a minute for this would be deposed.
        let use_of = |(&client_id, session): (&ClientId, &Session)| (session.used_at, client_id);
        let mut eldest: Vec<_> = self.clients.iter().map(use_of).collect();
        eldest.select_nth_unstable(too_many - 1);
        for (_, client_id) in &eldest[..too_many] {
            self.clients.remove(client_id);
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (ClientId, &Session)> + '_ {
        self.clients.iter().map(|(&client_id, session)| (client_id, session))
    }
}

impl Server {
    /// The open session of a client, as of the last entry that was handed to the state machine: which it
    /// is, and the number below which the client has all answers. It is [`SessionId::NONE`] for a client
    /// that did not register.
    ///
    /// For testers that compare it with what follows from the log.
    #[must_use]
    pub fn session(&self, client_id: ClientId) -> Option<(SessionId, SequenceNumber)> {
        let session = self.sessions.clients.get(&client_id)?;
        Some((session.id, session.floor))
    }
}

impl FromIterator<(ClientId, Session)> for Sessions {
    fn from_iter<I: IntoIterator<Item = (ClientId, Session)>>(sessions: I) -> Self {
        Self { clients: sessions.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Term;

    fn request(client: u64, number: u64) -> ClientRequest {
        ClientRequest::new(ClientId(client), SequenceNumber(number), Bytes::from_static(b"x"))
    }

    fn pipelined(session: u64, number: u64, first_incomplete: u64) -> ClientRequest {
        ClientRequest {
            session: SessionId(session),
            first_incomplete: SequenceNumber(first_incomplete),
            ..request(1, number)
        }
    }

    fn at(index: u64) -> LogId {
        LogId::new(Term(2), Index(index))
    }

    #[test]
    fn a_request_is_new_then_started_then_finished_then_superseded() {
        let mut sessions = Sessions::default();
        assert_eq!(sessions.look_up(&request(1, 1)), Known::New);
        assert_eq!(sessions.start(&request(1, 1), at(7)), Known::New);
        assert_eq!(sessions.look_up(&request(1, 1)), Known::Started);
        sessions.finish(&request(1, 1), Bytes::from_static(b"done"));
        let response = Bytes::from_static(b"done");
        let applied = ClientResult::Applied { log_id: at(7), response };
        assert_eq!(sessions.look_up(&request(1, 1)), Known::Finished(applied));
        assert_eq!(sessions.start(&request(1, 2), at(8)), Known::New);
        assert_eq!(sessions.look_up(&request(1, 2)), Known::Started);
        // Whoever asks for the next one without a session has the answer to the last.
        assert_eq!(sessions.look_up(&request(1, 1)), Known::Finished(ClientResult::Superseded));
    }

    #[test]
    fn a_second_copy_is_skipped() {
        let mut sessions = Sessions::default();
        assert_eq!(sessions.start(&request(1, 1), at(1)), Known::New);
        assert_eq!(sessions.start(&request(1, 1), at(2)), Known::Started);
        assert_eq!(sessions.start(&request(1, 4), at(3)), Known::New, "numbers may be skipped");
        let late = sessions.start(&request(1, 3), at(4));
        assert_eq!(late, Known::Finished(ClientResult::Superseded), "but never go back");
    }

    #[test]
    fn two_clients_may_use_the_same_number() {
        let mut sessions = Sessions::default();
        assert_eq!(sessions.start(&request(1, 1), at(1)), Known::New);
        assert_eq!(sessions.start(&request(2, 1), at(2)), Known::New);
    }

    #[test]
    fn whoever_has_just_registered_is_not_the_next_to_be_forgotten() {
        let mut sessions = Sessions::default();
        for (client, index) in [(1, 5), (2, 7)] {
            let id = sessions.register(ClientId(client), SequenceNumber(1), 2, Index(index));
            assert_eq!(id, Some(SessionId(index)));
            if client == 1 {
                assert_eq!(sessions.start(&pipelined(5, 1, 1), at(6)), Known::New);
            }
        }
        assert_eq!(
            sessions.register(ClientId(3), SequenceNumber(1), 2, Index(8)),
            Some(SessionId(8))
        );
        let second = ClientRequest { session: SessionId(7), ..request(2, 1) };
        assert_eq!(sessions.look_up(&second), Known::New, "it was used last at 7, the first at 6");
        let expired = Known::Finished(ClientResult::SessionExpired);
        assert_eq!(sessions.look_up(&pipelined(5, 1, 1)), expired);
    }

    #[test]
    fn a_request_of_an_ended_session_is_not_answered_from_the_next_one() {
        let mut sessions = Sessions::default();
        sessions.register(ClientId(1), SequenceNumber(1), 10, Index(5));
        sessions.register(ClientId(1), SequenceNumber(2), 10, Index(9));
        assert_eq!(sessions.start(&pipelined(9, 3, 3), at(10)), Known::New);
        sessions.finish(&pipelined(9, 3, 3), Bytes::from_static(b"done"));
        let expired = Known::Finished(ClientResult::SessionExpired);
        assert_eq!(sessions.look_up(&pipelined(5, 3, 3)), expired);
    }

    #[test]
    fn a_registered_client_pipelines_and_the_order_is_the_logs() {
        let mut sessions = Sessions::default();
        let id = sessions.register(ClientId(1), SequenceNumber(1), 10, Index(5));
        assert_eq!(id, Some(SessionId(5)));
        assert_eq!(sessions.start(&pipelined(5, 3, 1), at(6)), Known::New);
        assert_eq!(sessions.start(&pipelined(5, 1, 1), at(7)), Known::New);
        assert_eq!(sessions.start(&pipelined(5, 3, 1), at(8)), Known::Started);
        assert_eq!(sessions.start(&pipelined(5, 4, 4), at(9)), Known::New);
        let late = sessions.look_up(&pipelined(5, 2, 1));
        assert_eq!(late, Known::Finished(ClientResult::Superseded), "the client gave it up");
    }

    #[test]
    fn what_belongs_to_an_ended_session_is_never_applied() {
        let mut sessions = Sessions::default();
        sessions.register(ClientId(1), SequenceNumber(1), 2, Index(1));
        sessions.register(ClientId(2), SequenceNumber(1), 2, Index(2));
        assert_eq!(sessions.start(&pipelined(1, 1, 1), at(3)), Known::New);
        sessions.register(ClientId(3), SequenceNumber(1), 2, Index(4));
        let expired = Known::Finished(ClientResult::SessionExpired);
        let of_second = ClientRequest { session: SessionId(2), ..request(2, 1) };
        assert_eq!(sessions.look_up(&of_second), expired, "the one used least lately ended");
        assert_eq!(sessions.look_up(&pipelined(1, 1, 1)), Known::Started);
        let of_another = pipelined(9, 2, 2);
        assert_eq!(sessions.start(&of_another, at(5)), expired);
    }

    #[test]
    fn a_late_copy_of_a_registration_opens_no_second_session() {
        let mut sessions = Sessions::default();
        let register = |sessions: &mut Sessions, registration, index| {
            sessions.register(ClientId(1), SequenceNumber(registration), 10, Index(index))
        };
        assert_eq!(register(&mut sessions, 2, 1), Some(SessionId(1)));
        assert_eq!(register(&mut sessions, 2, 2), Some(SessionId(1)));
        assert_eq!(register(&mut sessions, 1, 3), None, "an earlier one comes too late");
        assert_eq!(register(&mut sessions, 3, 4), Some(SessionId(4)), "a new life of the client");
        assert_eq!(sessions.len(), 1);
    }

    /// Many sessions that go at once go in the order of their last use.
    #[test]
    fn a_registration_ends_as_many_as_are_too_many() {
        let mut sessions = Sessions::default();
        for client in 1..=9 {
            assert_eq!(sessions.start(&request(client, 1), at(20 - client)), Known::New);
        }
        sessions.register(ClientId(10), SequenceNumber(1), 4, Index(30));
        let kept: Vec<_> = sessions.iter().map(|(client_id, _)| client_id.0).collect();
        assert_eq!(kept, [1, 2, 3, 10], "those used last");
    }
}
