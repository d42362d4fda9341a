//! A client of the cluster as a function: finds the leader, opens a session, retries, and never asks
//! for one thing twice under two numbers (Raft §8; dissertation §6.3).
//!
//! Guarantees: a request keeps its session and its number through every retry and redirect, so it is
//!             applied at most once, and exactly once if it is answered. Numbers are never used again,
//!             not even in another session.
//! Relies on:  the host delivering messages best effort and calling back at [`Client::next_timeout`].

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::message::{
    Address, ClientRequest, ClientResponse, ClientResult, Envelope, Message, RegisterClient,
};
use crate::types::{ClientId, ClusterId, LogId, SequenceNumber, ServerId, SessionId, Timestamp};

/// The settings of one client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientConfig {
    /// The cluster to talk to.
    pub cluster_id: ClusterId,
    /// This client; never used before, not even by this program in an earlier life.
    pub client_id: ClientId,
    /// The number of its first request. A client that takes up an id again must start above every
    /// number it ever used: below, its requests are taken for repetitions.
    pub first_sequence_number: SequenceNumber,
    /// The servers it may ask.
    pub servers: Vec<ServerId>,
    /// How long to wait for an answer before asking another server.
    pub answer_timeout: Duration,
    /// How long to wait before asking again when nobody leads, or the leader is busy.
    pub retry_interval: Duration,
    /// Open a session before the first request, and when one has ended: then no copy of a request,
    /// however late, is applied a second time. Without, that is so only as long as the cluster remembers
    /// the client.
    pub register: bool,
    /// How many requests may be under way. Without a session it is one.
    pub in_flight_max: usize,
}

impl ClientConfig {
    /// Settings that suit servers some milliseconds apart.
    #[must_use]
    pub fn new(client_id: ClientId, servers: impl IntoIterator<Item = ServerId>) -> Self {
        Self {
            cluster_id: ClusterId::default(),
            client_id,
            first_sequence_number: SequenceNumber(1),
            servers: servers.into_iter().collect(),
            answer_timeout: Duration::from_millis(500),
            retry_interval: Duration::from_millis(100),
            register: true,
            in_flight_max: 1,
        }
    }
}

/// What a message meant to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// Nothing: a late or repeated answer, or one from a server that was given up.
    Ignored,
    /// Send this.
    Send(Envelope),
    /// The request is applied, exactly once.
    Applied {
        /// Which request.
        sequence_number: SequenceNumber,
        /// Who answered.
        by: ServerId,
        /// Where the command stands in the log.
        log_id: LogId,
        /// What the state machine answered.
        response: Bytes,
    },
    /// The request was refused for good, and no retry will change that.
    /// [`ClientResult::is_definite`] tells whether it never was and never will be applied:
    /// `TooLarge` was never taken; `Superseded` and `SessionExpired` may have been applied, once, but
    /// the answer is no longer kept. After `SessionExpired` the next request opens a new session.
    Refused {
        /// Which request.
        sequence_number: SequenceNumber,
        /// Why.
        result: ClientResult,
    },
}

/// Why a client did not take a request. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// As many requests are under way as may be; the oldest is not answered yet.
    #[error("request {pending} is not answered yet")]
    Busy {
        /// The oldest request under way.
        pending: SequenceNumber,
    },
    /// There is nobody to ask.
    #[error("the client knows no server")]
    NoServers,
}

/// A client.
///
/// [`Client::request`] is all that one request at a time needs. It opens a session first:
///
/// ```
/// use raft_core::{Client, ClientConfig, ClientId, ServerId, Timestamp};
///
/// let mut client = Client::new(ClientConfig::new(ClientId(1), [1, 2, 3].map(ServerId)));
/// let envelope = client.request(Timestamp::ZERO, "x = 1".into())?;
/// assert_eq!(envelope.to_string(), "c1 → s1 RegisterClient c1#1");
/// // The server's answer is handed to `client.handle`, which returns what to send next.
/// # Ok::<(), raft_core::ClientError>(())
/// ```
///
/// For several at a time, [`Client::submit`] them, and send what [`Client::timer_elapsed`] returns
/// until that is nothing:
///
/// ```
/// # use raft_core::{Client, ClientConfig, ClientId, ServerId, Timestamp};
/// let config = ClientConfig::new(ClientId(1), [1, 2, 3].map(ServerId));
/// let mut client = Client::new(ClientConfig { in_flight_max: 8, ..config });
/// client.submit(Timestamp::ZERO, "x = 1".into())?;
/// client.submit(Timestamp::ZERO, "y = 2".into())?;
/// let mut sent = Vec::new();
/// while let Some(envelope) = client.timer_elapsed(Timestamp::ZERO) {
///     sent.push(envelope.to_string());
/// }
/// assert_eq!(sent, ["c1 → s1 RegisterClient c1#1"]);
/// # Ok::<(), raft_core::ClientError>(())
/// ```
#[derive(Clone, Debug, Hash)]
pub struct Client {
    config: ClientConfig,
    /// The number of the last request.
    last: SequenceNumber,
    /// Requests without an answer.
    pending: BTreeMap<SequenceNumber, Pending>,
    /// The session of new requests: none before there is one, or since the last one ended.
    session: Option<SessionId>,
    registering: Option<Registering>,
    /// Whom to ask next: the leader if it is known, else one after the other.
    target: usize,
}

#[derive(Clone, Debug, Hash)]
struct Pending {
    command: Bytes,
    /// The session it was sent in, and is in for ever. `None` before.
    session: Option<SessionId>,
    question: Question,
}

/// A session on its way. It is named after the first request that waits for it, so that no answer to
/// the one is taken for one to another.
#[derive(Clone, Debug, Hash)]
struct Registering {
    registration: SequenceNumber,
    question: Question,
}

/// Something that is asked until it is answered.
#[derive(Clone, Debug, Hash)]
struct Question {
    /// When to ask, or to ask again.
    deadline: Timestamp,
    /// Who was asked last.
    asked: Option<ServerId>,
    /// Set while waiting before asking again: the server asked has already said no.
    has_answer: bool,
    /// Redirects followed since the last wait.
    redirects: u32,
    attempts: u32,
}

impl Question {
    fn due(now: Timestamp) -> Self {
        Self { deadline: now, asked: None, has_answer: false, redirects: 0, attempts: 0 }
    }

    fn ask(&mut self, server: ServerId, deadline: Timestamp) {
        (self.asked, self.deadline, self.has_answer) = (Some(server), deadline, false);
        self.attempts += 1;
    }

    /// The wait is over. Whoever was asked and kept silent may be gone, or the network between us.
    fn elapsed(&mut self) -> Option<ServerId> {
        self.redirects = 0;
        self.asked.filter(|_| !self.has_answer)
    }
}

impl Client {
    /// A client that has asked for nothing yet.
    #[must_use]
    pub fn new(config: ClientConfig) -> Self {
        let last = SequenceNumber(config.first_sequence_number.0.saturating_sub(1));
        let session = (!config.register).then_some(SessionId::NONE);
        Self { config, last, pending: BTreeMap::new(), session, registering: None, target: 0 }
    }

    /// This client.
    #[must_use]
    pub fn id(&self) -> ClientId {
        self.config.client_id
    }

    /// Its session, once it has one.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        self.session.filter(|&session| session != SessionId::NONE)
    }

    /// The oldest request under way.
    #[must_use]
    pub fn pending(&self) -> Option<SequenceNumber> {
        self.pending.first_key_value().map(|(&number, _)| number)
    }

    /// How often the oldest request under way was sent; while it waits for a session, how often that
    /// was asked for.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        let registering = self.registering.as_ref().map_or(0, |asking| asking.question.attempts);
        let oldest = self.pending.first_key_value();
        oldest.map_or(0, |(_, pending)| match pending.session {
            None => registering,
            Some(_) => pending.question.attempts,
        })
    }

    /// True if the oldest request under way was ever sent. One that was not is certainly not applied.
    #[must_use]
    pub fn was_sent(&self) -> bool {
        self.pending.first_key_value().is_some_and(|(_, pending)| pending.session.is_some())
    }

    /// Starts a request: send the envelope, and come back at [`Client::next_timeout`]. The envelope
    /// asks for a session as long as there is none.
    ///
    /// # Errors
    ///
    /// If as many requests are under way as may be, or there is nobody to ask.
    pub fn request(&mut self, now: Timestamp, command: Bytes) -> Result<Envelope, ClientError> {
        let number = self.submit(now, command)?;
        Ok(match self.session {
            None => self.send_registration(now),
            Some(session) => self.send_request(now, number, session),
        })
    }

    /// Takes a request without sending it: [`Client::timer_elapsed`] does, which is due at once.
    ///
    /// # Errors
    ///
    /// If as many requests are under way as may be, or there is nobody to ask.
    pub fn submit(
        &mut self,
        now: Timestamp,
        command: Bytes,
    ) -> Result<SequenceNumber, ClientError> {
        if self.config.servers.is_empty() {
            return Err(ClientError::NoServers);
        }
        let in_flight_max = if self.config.register { self.config.in_flight_max.max(1) } else { 1 };
        if let Some(pending) = self.pending().filter(|_| self.pending.len() >= in_flight_max) {
            return Err(ClientError::Busy { pending });
        }
        self.last = self.last.next();
        let pending = Pending { command, session: None, question: Question::due(now) };
        self.pending.insert(self.last, pending);
        self.register_if_needed(now);
        Ok(self.last)
    }

    /// Gives up all requests under way. They may still be applied, once; the next ones have other
    /// numbers.
    pub fn abandon(&mut self) {
        self.pending.clear();
    }

    /// Takes a message that arrived for this client.
    pub fn handle(&mut self, now: Timestamp, envelope: Envelope) -> ClientEvent {
        let Envelope { cluster_id, from, to, message } = envelope;
        let (Address::Server(from), Message::ClientResponse(response)) = (from, message) else {
            return ClientEvent::Ignored;
        };
        let ClientResponse { client_id, sequence_number, result } = response;
        let is_mine = cluster_id == self.config.cluster_id
            && to == Address::Client(self.config.client_id)
            && client_id == self.config.client_id;
        if !is_mine {
            return ClientEvent::Ignored;
        }
        if let Some(asking) = self.registering.take_if(|it| it.registration == sequence_number) {
            return self.handle_registration(now, from, asking, result);
        }
        // What was never sent has no answer: that one is to another client's request.
        let Some(session) = self.pending.get(&sequence_number).and_then(|it| it.session) else {
            return ClientEvent::Ignored;
        };
        match result {
            ClientResult::Applied { log_id, response } => {
                self.pending.remove(&sequence_number);
                // Whoever answers has led, and most likely still does.
                self.aim_at(from);
                ClientEvent::Applied { sequence_number, by: from, log_id, response }
            }
            ClientResult::Superseded
            | ClientResult::SessionExpired
            | ClientResult::TooLarge { .. } => {
                self.pending.remove(&sequence_number);
                if result == ClientResult::SessionExpired
                    && self.config.register
                    && self.session == Some(session)
                {
                    self.session = None;
                    self.register_if_needed(now);
                }
                ClientEvent::Refused { sequence_number, result }
            }
            ClientResult::NotLeader { .. } | ClientResult::Busy => {
                let pending = self.pending.get_mut(&sequence_number).expect("it was just there");
                let mut question = pending.question.clone();
                let is_asked_now = self.refused(now, from, &result, &mut question);
                let pending = self.pending.get_mut(&sequence_number).expect("it was just there");
                pending.question = question;
                match is_asked_now {
                    true => ClientEvent::Send(self.send_request(now, sequence_number, session)),
                    false => ClientEvent::Ignored,
                }
            }
            ClientResult::Registered { .. } => ClientEvent::Ignored,
        }
    }

    /// An answer to the question for a session.
    fn handle_registration(
        &mut self,
        now: Timestamp,
        from: ServerId,
        mut asking: Registering,
        result: ClientResult,
    ) -> ClientEvent {
        match result {
            ClientResult::Registered { session } => {
                self.session = Some(session);
                self.aim_at(from);
                // Whatever has waited is due; the first of it leaves at once.
                let mut unsent = self.pending.iter_mut().filter(|(_, it)| it.session.is_none());
                let Some((&first, _)) = unsent.next() else { return ClientEvent::Ignored };
                unsent.for_each(|(_, pending)| pending.question = Question::due(now));
                ClientEvent::Send(self.send_request(now, first, session))
            }
            ClientResult::NotLeader { .. } | ClientResult::Busy => {
                let is_asked_now = self.refused(now, from, &result, &mut asking.question);
                self.registering = Some(asking);
                match is_asked_now {
                    true => ClientEvent::Send(self.send_registration(now)),
                    false => ClientEvent::Ignored,
                }
            }
            ClientResult::Applied { .. }
            | ClientResult::Superseded
            | ClientResult::SessionExpired
            | ClientResult::TooLarge { .. } => {
                self.registering = Some(asking);
                ClientEvent::Ignored
            }
        }
    }

    /// A server did not take it. True if another one is to be asked at once, else later.
    fn refused(
        &mut self,
        now: Timestamp,
        from: ServerId,
        result: &ClientResult,
        question: &mut Question,
    ) -> bool {
        // Between two questions nobody is asked, so late answers cannot put the next one off.
        if question.has_answer {
            return false;
        }
        if let ClientResult::NotLeader { leader } = *result {
            // A no from a server that was given up already says nothing about the one asked now.
            if question.asked != Some(from) {
                return false;
            }
            let is_redirect = leader.is_some_and(|leader| leader != from && self.aim_at(leader));
            // Two servers that take each other for the leader could keep us running in circles.
            if is_redirect && question.redirects < 2 {
                question.redirects += 1;
                return true;
            }
            if !is_redirect {
                self.aim_past(from);
            }
        }
        // Or the leader is busy, which it says itself, whoever passed the request on to it: ask the
        // same server, only not now.
        question.has_answer = true;
        question.deadline = now + self.config.retry_interval;
        false
    }

    /// When to call [`Client::timer_elapsed`]; `None` while nothing is under way.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        let has_session = self.session.is_some();
        let can_be_sent = |pending: &&Pending| has_session || pending.session.is_some();
        let requests = self.pending.values().filter(can_be_sent);
        let registering = self.registering.iter().filter(|_| !self.pending.is_empty());
        let registering = registering.map(|asking| asking.question.deadline);
        requests.map(|pending| pending.question.deadline).chain(registering).min()
    }

    /// Asks, or asks again, if it is time. The envelope is to be sent; then call again, as there may be
    /// more.
    pub fn timer_elapsed(&mut self, now: Timestamp) -> Option<Envelope> {
        if self.pending.is_empty() {
            return None;
        }
        if let Some(asking) = self.registering.as_mut().filter(|it| now >= it.question.deadline) {
            if let Some(silent) = asking.question.elapsed() {
                self.aim_past(silent);
            }
            return Some(self.send_registration(now));
        }
        let is_due = |(_, pending): &(&SequenceNumber, &mut Pending)| {
            now >= pending.question.deadline && pending.session.or(self.session).is_some()
        };
        let (&number, pending) = self.pending.iter_mut().find(is_due)?;
        let session = pending.session.or(self.session)?;
        if let Some(silent) = pending.question.elapsed() {
            self.aim_past(silent);
        }
        Some(self.send_request(now, number, session))
    }

    /// Begins to open a session if a request waits for one.
    fn register_if_needed(&mut self, now: Timestamp) {
        let unsent = self.pending.iter().find(|(_, pending)| pending.session.is_none());
        if let Some((&registration, _)) = unsent
            && self.session.is_none()
            && self.registering.is_none()
        {
            self.registering = Some(Registering { registration, question: Question::due(now) });
        }
    }

    fn send_registration(&mut self, now: Timestamp) -> Envelope {
        let (server, deadline) = self.next_question(now);
        let asking = self.registering.as_mut().expect("a request waits for a session");
        asking.question.ask(server, deadline);
        let (client_id, registration) = (self.config.client_id, asking.registration);
        let message = Message::RegisterClient(RegisterClient { client_id, registration });
        self.envelope(server, message)
    }

    fn send_request(
        &mut self,
        now: Timestamp,
        sequence_number: SequenceNumber,
        session: SessionId,
    ) -> Envelope {
        let (server, deadline) = self.next_question(now);
        let first_incomplete = self.pending().unwrap_or(sequence_number);
        let pending = self.pending.get_mut(&sequence_number).expect("it is under way");
        pending.session = Some(session);
        pending.question.ask(server, deadline);
        let (client_id, command) = (self.config.client_id, pending.command.clone());
        let request =
            ClientRequest { client_id, session, sequence_number, first_incomplete, command };
        self.envelope(server, Message::ClientRequest(request))
    }

    /// Whom to ask now, and until when.
    fn next_question(&self, now: Timestamp) -> (ServerId, Timestamp) {
        (self.config.servers[self.target], now + self.config.answer_timeout)
    }

    fn envelope(&self, to: ServerId, message: Message) -> Envelope {
        let (cluster_id, from) = (self.config.cluster_id, self.config.client_id.into());
        Envelope { cluster_id, from, to: to.into(), message }
    }

    fn aim_at(&mut self, server: ServerId) -> bool {
        let place = self.config.servers.iter().position(|&known| known == server);
        self.target = place.unwrap_or(self.target);
        place.is_some()
    }

    /// Asks another server from now on, unless this one was given up already.
    fn aim_past(&mut self, server: ServerId) {
        if self.config.servers[self.target] == server {
            self.target = (self.target + 1) % self.config.servers.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Index, Term};

    /// One that does not register.
    fn client() -> Client {
        let config = ClientConfig::new(ClientId(1), [1, 2, 3].map(ServerId));
        Client::new(ClientConfig { register: false, ..config })
    }

    fn answer(from: u64, number: u64, result: ClientResult) -> Envelope {
        let client_id = ClientId(1);
        let sequence_number = SequenceNumber(number);
        let response = ClientResponse { client_id, sequence_number, result };
        Envelope {
            cluster_id: ClusterId::default(),
            from: ServerId(from).into(),
            to: client_id.into(),
            message: Message::ClientResponse(response),
        }
    }

    fn not_leader(leader: Option<u64>) -> ClientResult {
        ClientResult::NotLeader { leader: leader.map(ServerId) }
    }

    fn applied() -> ClientResult {
        let log_id = LogId::new(Term(1), Index(2));
        ClientResult::Applied { log_id, response: Bytes::from_static(b"ok") }
    }

    fn sent_to(event: ClientEvent) -> u64 {
        match event {
            ClientEvent::Send(Envelope { to: Address::Server(server), .. }) => server.0,
            other => panic!("{other:?} is no request to a server"),
        }
    }

    #[test]
    fn a_redirect_is_followed_at_once_with_the_same_number() {
        let mut client = client();
        client.request(Timestamp::ZERO, "x".into()).unwrap();
        let event = client.handle(Timestamp::ZERO, answer(1, 1, not_leader(Some(3))));
        assert_eq!(sent_to(event), 3);
        assert_eq!(client.pending(), Some(SequenceNumber(1)));
        let event = client.handle(Timestamp::ZERO, answer(3, 1, applied()));
        assert!(matches!(event, ClientEvent::Applied { by: ServerId(3), .. }));
        let next = client.request(Timestamp::ZERO, "y".into()).unwrap();
        assert_eq!(next.to, Address::Server(ServerId(3)), "the leader is remembered");
    }

    #[test]
    fn servers_that_point_at_each_other_are_asked_again_only_after_a_while() {
        let mut client = client();
        client.request(Timestamp::ZERO, "x".into()).unwrap();
        let event = client.handle(Timestamp::ZERO, answer(1, 1, not_leader(Some(2))));
        assert_eq!(sent_to(event), 2);
        let event = client.handle(Timestamp::ZERO, answer(2, 1, not_leader(Some(1))));
        assert_eq!(sent_to(event), 1);
        let event = client.handle(Timestamp::ZERO, answer(1, 1, not_leader(Some(2))));
        assert_eq!(event, ClientEvent::Ignored);
        let wake_at = client.next_timeout().unwrap();
        assert_eq!(wake_at, Timestamp::from_millis(100));
        assert_eq!(client.timer_elapsed(wake_at).unwrap().to, Address::Server(ServerId(2)));
    }

    #[test]
    fn when_nobody_leads_the_next_server_is_asked_after_a_while() {
        let mut client = client();
        client.request(Timestamp::ZERO, "x".into()).unwrap();
        let event = client.handle(Timestamp::ZERO, answer(1, 1, not_leader(None)));
        assert_eq!(event, ClientEvent::Ignored);
        assert_eq!(client.timer_elapsed(Timestamp::from_millis(99)), None);
        let again = client.timer_elapsed(Timestamp::from_millis(100)).unwrap();
        assert_eq!(again.to, Address::Server(ServerId(2)));
        assert_eq!(client.attempts(), 2);
    }

    #[test]
    fn silence_moves_on_to_the_next_server() {
        let mut client = client();
        client.request(Timestamp::ZERO, "x".into()).unwrap();
        let again = client.timer_elapsed(Timestamp::from_millis(500)).unwrap();
        assert_eq!(again.to, Address::Server(ServerId(2)));
        let late = client.handle(Timestamp::from_millis(501), answer(1, 1, not_leader(Some(3))));
        assert_eq!(late, ClientEvent::Ignored, "server 1 was given up");
    }

    #[test]
    fn while_waiting_to_ask_again_a_late_no_changes_nothing() {
        let mut client = client();
        client.request(Timestamp::ZERO, "x".into()).unwrap();
        client.handle(Timestamp::ZERO, answer(1, 1, not_leader(None)));
        let wake_at = client.next_timeout();
        // Server 2 is next, and has not been asked yet: it answers an earlier question.
        for leader in [None, Some(3)] {
            let late = client.handle(Timestamp::from_millis(50), answer(2, 1, not_leader(leader)));
            assert_eq!((late, client.next_timeout()), (ClientEvent::Ignored, wake_at));
        }
        let again = client.timer_elapsed(Timestamp::from_millis(100)).unwrap();
        assert_eq!(again.to, Address::Server(ServerId(2)));
    }

    #[test]
    fn a_second_copy_of_a_refusal_does_not_put_the_question_off() {
        let mut client = client();
        client.request(Timestamp::ZERO, "x".into()).unwrap();
        client.handle(Timestamp::ZERO, answer(1, 1, ClientResult::Busy));
        assert_eq!(client.next_timeout(), Some(Timestamp::from_millis(100)));
        client.handle(Timestamp::from_millis(50), answer(1, 1, ClientResult::Busy));
        assert_eq!(client.next_timeout(), Some(Timestamp::from_millis(100)));
    }

    #[test]
    fn an_answer_to_another_request_is_ignored() {
        let mut client = client();
        client.request(Timestamp::ZERO, "x".into()).unwrap();
        assert_eq!(client.handle(Timestamp::ZERO, answer(1, 2, applied())), ClientEvent::Ignored);
        let event = client.handle(Timestamp::ZERO, answer(1, 1, applied()));
        assert!(matches!(event, ClientEvent::Applied { .. }));
        assert_eq!(client.handle(Timestamp::ZERO, answer(1, 1, applied())), ClientEvent::Ignored);
        client.request(Timestamp::ZERO, "y".into()).unwrap();
        let repeated = client.handle(Timestamp::ZERO, answer(1, 1, applied()));
        assert_eq!(repeated, ClientEvent::Ignored, "the answer to the request before");
    }

    #[test]
    fn the_first_number_is_as_configured() {
        let first_sequence_number = SequenceNumber(41);
        let config = ClientConfig::new(ClientId(1), [ServerId(1)]);
        let mut client =
            Client::new(ClientConfig { first_sequence_number, register: false, ..config });
        client.request(Timestamp::ZERO, "x".into()).unwrap();
        assert_eq!(client.pending(), Some(first_sequence_number));
    }

    #[test]
    fn one_request_at_a_time() {
        let mut client = client();
        client.request(Timestamp::ZERO, "x".into()).unwrap();
        let busy = client.request(Timestamp::ZERO, "y".into());
        assert_eq!(busy, Err(ClientError::Busy { pending: SequenceNumber(1) }));
        client.abandon();
        let next = client.request(Timestamp::ZERO, "y".into()).unwrap();
        assert_eq!(next.to_string(), "c1 → s1 ClientRequest c1#2 (1 bytes)");
    }
}
