//! What one client runs on: the client of [`raft_core`], which asks for one thing at a time, or one that
//! asks for several at once.
//!
//! Guarantees: no two requests of a client have one number, not even in two sessions; a request is sent
//!             again, to other servers, until it is answered or its session has ended.

use std::collections::BTreeMap;

use bytes::Bytes;
use raft_core::{
    Address, Client, ClientConfig, ClientEvent, ClientId, ClientRequest, ClientResult, ClusterId,
    Envelope, LogId, Message, RegisterClient, SequenceNumber, ServerId, SessionId, Timestamp,
};

/// How many requests of one session may be under way.
const PIPELINE: usize = 6;
/// More bytes than a sector of a disk has.
const LARGE: usize = 700;

/// What one client runs on.
#[derive(Clone, Debug, Hash)]
pub(super) struct ClientHost {
    kind: Kind,
    clock: Timestamp,
    requests: u32,
    requests_left: u32,
}

#[derive(Clone, Debug, Hash)]
enum Kind {
    /// That of [`raft_core`] with its defaults: it opens a session, and has one request at a time.
    Plain(Client),
    Registered(SessionClient),
}

/// What a message meant to a client.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Ignored,
    Send(Envelope),
    Applied { sequence_number: SequenceNumber, log_id: LogId, response: Bytes },
    Refused { sequence_number: SequenceNumber, result: ClientResult },
}

impl ClientHost {
    /// A client with so many requests; one that asks for several at once, if it `registers`.
    pub(super) fn new(
        id: ClientId,
        servers: impl Iterator<Item = ServerId>,
        requests: u32,
        registers: bool,
    ) -> Self {
        let kind = if registers {
            Kind::Registered(SessionClient::new(id, servers.collect()))
        } else {
            Kind::Plain(Client::new(ClientConfig::new(id, servers)))
        };
        Self { kind, clock: Timestamp::ZERO, requests, requests_left: requests }
    }

    pub(super) fn id(&self) -> ClientId {
        match &self.kind {
            Kind::Plain(client) => client.id(),
            Kind::Registered(client) => client.id,
        }
    }

    /// It has something new to ask.
    pub(super) fn can_request(&self) -> bool {
        let is_ready = match &self.kind {
            Kind::Plain(client) => client.pending().is_none(),
            Kind::Registered(client) => client.session.is_some() && client.pending.len() < PIPELINE,
        };
        is_ready && self.requests_left > 0
    }

    /// It has something to ask again, or a session to ask for.
    pub(super) fn can_retry(&self) -> bool {
        match &self.kind {
            Kind::Plain(client) => client.pending().is_some(),
            Kind::Registered(client) if client.session.is_none() => self.requests_left > 0,
            Kind::Registered(client) => !client.pending.is_empty(),
        }
    }

    /// It has something to ask, or waits for an answer.
    pub(super) fn has_work(&self) -> bool {
        self.can_request() || self.can_retry()
    }

    /// Asks for something new.
    pub(super) fn request(&mut self, is_large: bool) -> Envelope {
        let number = self.requests - self.requests_left + 1;
        let width = if is_large { LARGE } else { 0 };
        let command = Bytes::from(format!("{:width$}", format!("{}-{number}", self.id())));
        self.requests_left -= 1;
        match &mut self.kind {
            Kind::Plain(client) => {
                let envelope = client.request(self.clock, command);
                envelope.expect("the client has nothing under way")
            }
            Kind::Registered(client) => {
                client.last = client.last.next();
                client.pending.insert(client.last, command);
                client.send(client.last)
            }
        }
    }

    /// Has waited long enough, and asks again: for one thing, or for everything under way.
    pub(super) fn retry(&mut self, is_everything: bool) -> Vec<Envelope> {
        match &mut self.kind {
            Kind::Plain(client) => {
                let deadline = client.next_timeout().expect("the client has something under way");
                self.clock = self.clock.max(deadline);
                vec![client.timer_elapsed(self.clock).expect("it is time")]
            }
            Kind::Registered(client) if is_everything && client.session.is_some() => {
                client.retry_all()
            }
            Kind::Registered(client) => vec![client.retry()],
        }
    }

    /// What it does, in a few words.
    pub(super) fn summary(&self) -> String {
        let (asked, waiting) = (
            self.requests - self.requests_left,
            match &self.kind {
                Kind::Plain(client) => usize::from(client.pending().is_some()),
                Kind::Registered(client) => client.pending.len(),
            },
        );
        format!("asked {asked} of {} | waiting for {waiting}", self.requests)
    }

    /// Takes what has arrived.
    pub(super) fn handle(&mut self, envelope: Envelope) -> Outcome {
        match &mut self.kind {
            Kind::Plain(client) => match client.handle(self.clock, envelope) {
                ClientEvent::Ignored => Outcome::Ignored,
                ClientEvent::Send(envelope) => Outcome::Send(envelope),
                ClientEvent::Applied { sequence_number, log_id, by: _, response } => {
                    Outcome::Applied { sequence_number, log_id, response }
                }
                ClientEvent::Refused { sequence_number, result } => {
                    Outcome::Refused { sequence_number, result }
                }
            },
            Kind::Registered(client) => client.handle(envelope),
        }
    }
}

/// A client with a session (dissertation §6.3).
#[derive(Clone, Debug, Hash)]
struct SessionClient {
    id: ClientId,
    servers: Vec<ServerId>,
    /// Whom to ask next.
    target: usize,
    /// It was told to ask there, and has not yet.
    is_told: bool,
    /// Which registration its session is of, or will be.
    registration: SequenceNumber,
    session: Option<SessionId>,
    /// The number of its last request.
    last: SequenceNumber,
    pending: BTreeMap<SequenceNumber, Bytes>,
    /// Which of them to ask again next.
    again: usize,
}

impl SessionClient {
    fn new(id: ClientId, servers: Vec<ServerId>) -> Self {
        Self {
            id,
            servers,
            target: 0,
            is_told: false,
            registration: SequenceNumber(1),
            session: None,
            last: SequenceNumber(0),
            pending: BTreeMap::new(),
            again: 0,
        }
    }

    /// Turns to where it was told to ask, or else to another server.
    fn turn(&mut self) {
        if !std::mem::take(&mut self.is_told) {
            self.target = (self.target + 1) % self.servers.len();
        }
    }

    /// Asks for a session, or again for one request after the other.
    fn retry(&mut self) -> Envelope {
        self.turn();
        if self.session.is_none() {
            let (client_id, registration) = (self.id, self.registration);
            return self
                .envelope(Message::RegisterClient(RegisterClient { client_id, registration }));
        }
        self.again += 1;
        let place = self.again % self.pending.len();
        self.send(*self.pending.keys().nth(place).expect("there are more"))
    }

    /// Asks again for everything, at one server.
    fn retry_all(&mut self) -> Vec<Envelope> {
        self.turn();
        self.pending.keys().map(|&number| self.send(number)).collect()
    }

    fn send(&self, sequence_number: SequenceNumber) -> Envelope {
        let first_incomplete = *self.pending.keys().next().expect("this one is under way");
        self.envelope(Message::ClientRequest(ClientRequest {
            client_id: self.id,
            session: self.session.unwrap_or(SessionId::NONE),
            sequence_number,
            first_incomplete,
            command: self.pending[&sequence_number].clone(),
        }))
    }

    fn envelope(&self, message: Message) -> Envelope {
        let to = self.servers[self.target].into();
        Envelope { cluster_id: ClusterId::default(), from: self.id.into(), to, message }
    }

    fn handle(&mut self, envelope: Envelope) -> Outcome {
        let (Address::Server(_), Message::ClientResponse(response)) =
            (envelope.from, envelope.message)
        else {
            return Outcome::Ignored;
        };
        let (sequence_number, result) = (response.sequence_number, response.result);
        match result {
            ClientResult::Registered { session } => {
                if sequence_number == self.registration && self.session.is_none() {
                    self.session = Some(session);
                }
                Outcome::Ignored
            }
            ClientResult::NotLeader { leader } => {
                let is_leader = |server: &ServerId| Some(*server) == leader;
                let told = self.servers.iter().position(is_leader);
                (self.target, self.is_told) = (told.unwrap_or(self.target), told.is_some());
                Outcome::Ignored
            }
            ClientResult::Applied { log_id, response } => {
                match self.pending.remove(&sequence_number) {
                    Some(_) => Outcome::Applied { sequence_number, log_id, response },
                    None => Outcome::Ignored,
                }
            }
            ClientResult::Busy => Outcome::Ignored,
            ClientResult::SessionExpired
            | ClientResult::Superseded
            | ClientResult::TooLarge { .. } => {
                if !self.pending.contains_key(&sequence_number) {
                    return Outcome::Ignored;
                }
                if result == ClientResult::SessionExpired {
                    // Whether its requests were applied, it will never know.
                    self.pending.clear();
                    self.session = None;
                    self.registration = self.registration.next();
                }
                Outcome::Refused { sequence_number, result }
            }
        }
    }
}
