//! A client of the cluster as a function: finds the leader, retries, and never asks for one thing
//! twice under two numbers (Raft §8; dissertation §6.3).
//!
//! Guarantees: a request keeps its sequence number through every retry and redirect, so it is
//!             applied at most once, and exactly once if it is answered.
//! Relies on:  the host delivering messages best effort and calling back at [`Client::next_timeout`].

use std::time::Duration;

use bytes::Bytes;

use crate::message::{Address, ClientRequest, ClientResponse, ClientResult, Envelope, Message};
use crate::types::{ClientId, ClusterId, LogId, SequenceNumber, ServerId, Timestamp};

/// The settings of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// How long to wait before asking again when nobody leads.
    pub retry_interval: Duration,
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
    /// The request was refused for good, and no retry will change that. `TooLarge` was never taken;
    /// `Superseded` may have been applied, once, but its answer is no longer kept.
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
    /// One request at a time: the one before is not answered yet.
    #[error("request {pending} is not answered yet")]
    Busy {
        /// The request under way.
        pending: SequenceNumber,
    },
    /// There is nobody to ask.
    #[error("the client knows no server")]
    NoServers,
}

/// A client with one request under way at most.
///
/// ```
/// use raft_core::{Client, ClientConfig, ClientId, ServerId, Timestamp};
///
/// let mut client = Client::new(ClientConfig::new(ClientId(1), [1, 2, 3].map(ServerId)));
/// let envelope = client.request(Timestamp::ZERO, "x = 1".into())?;
/// assert_eq!(envelope.to_string(), "c1 → s1 ClientRequest c1#1 (5 bytes)");
/// # Ok::<(), raft_core::ClientError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    config: ClientConfig,
    /// The number of the last request.
    last: SequenceNumber,
    pending: Option<Pending>,
    /// Whom to ask next: the leader if it is known, else one after the other.
    target: usize,
}

#[derive(Clone, Debug)]
struct Pending {
    command: Bytes,
    deadline: Timestamp,
    /// Set while waiting before asking again: the server asked has already said no.
    has_answer: bool,
    /// Redirects followed since the last wait.
    redirects: u32,
    attempts: u32,
}

impl Client {
    /// A client that has asked for nothing yet.
    #[must_use]
    pub fn new(config: ClientConfig) -> Self {
        let last = SequenceNumber(config.first_sequence_number.0.saturating_sub(1));
        Self { config, last, pending: None, target: 0 }
    }

    /// This client.
    #[must_use]
    pub fn id(&self) -> ClientId {
        self.config.client_id
    }

    /// The request under way.
    #[must_use]
    pub fn pending(&self) -> Option<SequenceNumber> {
        self.pending.as_ref().map(|_| self.last)
    }

    /// How often the request under way was sent.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.pending.as_ref().map_or(0, |pending| pending.attempts)
    }

    /// Starts a request: send the envelope, and come back at [`Client::next_timeout`].
    ///
    /// # Errors
    ///
    /// If the last request is not answered yet, or there is nobody to ask.
    pub fn request(&mut self, now: Timestamp, command: Bytes) -> Result<Envelope, ClientError> {
        if self.config.servers.is_empty() {
            return Err(ClientError::NoServers);
        }
        if let Some(pending) = self.pending() {
            return Err(ClientError::Busy { pending });
        }
        self.last = self.last.next();
        let pending =
            Pending { command, deadline: now, has_answer: false, redirects: 0, attempts: 0 };
        Ok(self.send(now, pending))
    }

    /// Gives the request under way up. It may still be applied, once; the next request has another
    /// number.
    pub fn abandon(&mut self) {
        self.pending = None;
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
            && client_id == self.config.client_id
            && sequence_number == self.last;
        if !is_mine {
            return ClientEvent::Ignored;
        }
        let Some(mut pending) = self.pending.take() else { return ClientEvent::Ignored };
        match result {
            ClientResult::Applied { log_id, response } => {
                // Whoever answers has led, and most likely still does.
                self.aim_at(from);
                ClientEvent::Applied { sequence_number, by: from, log_id, response }
            }
            ClientResult::Superseded
            | ClientResult::SessionExpired
            | ClientResult::TooLarge { .. } => ClientEvent::Refused { sequence_number, result },
            ClientResult::Registered { .. } => {
                self.pending = Some(pending);
                ClientEvent::Ignored
            }
            // A no from a server that was given up already says nothing about the one asked now; and
            // between two questions nobody is asked, so late answers cannot put the next one off.
            ClientResult::NotLeader { .. } | ClientResult::Busy
                if pending.has_answer || self.config.servers[self.target] != from =>
            {
                self.pending = Some(pending);
                ClientEvent::Ignored
            }
            ClientResult::Busy => {
                // The leader it is; only not now.
                pending.has_answer = true;
                pending.deadline = now + self.config.retry_interval;
                self.pending = Some(pending);
                ClientEvent::Ignored
            }
            ClientResult::NotLeader { leader } => {
                let is_redirect =
                    leader.is_some_and(|leader| leader != from && self.aim_at(leader));
                // Two servers that take each other for the leader could keep us running in circles.
                if is_redirect && pending.redirects < 2 {
                    pending.redirects += 1;
                    return ClientEvent::Send(self.send(now, pending));
                }
                if !is_redirect {
                    self.aim_at_next();
                }
                pending.has_answer = true;
                pending.deadline = now + self.config.retry_interval;
                self.pending = Some(pending);
                ClientEvent::Ignored
            }
        }
    }

    /// When to call [`Client::timer_elapsed`]; `None` while nothing is under way.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        self.pending.as_ref().map(|pending| pending.deadline)
    }

    /// Asks again if it is time. The envelope is to be sent.
    pub fn timer_elapsed(&mut self, now: Timestamp) -> Option<Envelope> {
        let mut pending = self.pending.take_if(|pending| now >= pending.deadline)?;
        if !pending.has_answer {
            // Silence: the server may be gone, or the network between us.
            self.aim_at_next();
        }
        pending.redirects = 0;
        Some(self.send(now, pending))
    }

    fn send(&mut self, now: Timestamp, mut pending: Pending) -> Envelope {
        pending.deadline = now + self.config.answer_timeout;
        pending.has_answer = false;
        pending.attempts += 1;
        let client_id = self.config.client_id;
        let request = ClientRequest::new(client_id, self.last, pending.command.clone());
        self.pending = Some(pending);
        Envelope {
            cluster_id: self.config.cluster_id,
            from: client_id.into(),
            to: self.config.servers[self.target].into(),
            message: Message::ClientRequest(request),
        }
    }

    fn aim_at(&mut self, server: ServerId) -> bool {
        let place = self.config.servers.iter().position(|&known| known == server);
        self.target = place.unwrap_or(self.target);
        place.is_some()
    }

    fn aim_at_next(&mut self) {
        self.target = (self.target + 1) % self.config.servers.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Index, Term};

    fn client() -> Client {
        Client::new(ClientConfig::new(ClientId(1), [1, 2, 3].map(ServerId)))
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
        let mut client = Client::new(ClientConfig { first_sequence_number, ..config });
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
