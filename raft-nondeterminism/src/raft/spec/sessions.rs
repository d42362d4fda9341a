//! Client sessions (dissertation §6.3), which the specification leaves out: which copy of a request is
//! applied, and what its client may be told.
//!
//! Guarantees: of the requests with one session and number one is applied, by everyone the same; a session
//!             ends when another one is opened and too many are open, the one used least lately first; what
//!             belongs to an ended one, or was given up by its client, is applied nowhere.
//! Relies on:  someone applying each entry before a snapshot stands for it; and clients using no number
//!             twice.

use std::collections::{BTreeMap, BTreeSet};

use raft_core::{
    Apply, ClientId, ClientRequest, ClientResult, Effect, Entry, Index, Log, LogId, Payload,
    SequenceNumber, Server, SessionId,
};

use super::broken::{Action, Broken};
use super::state::State;

/// A session that is open.
#[derive(Clone, Debug)]
struct Session {
    id: SessionId,
    registration: SequenceNumber,
    /// The client asks for nothing below this again.
    floor: SequenceNumber,
    used_at: Index,
    applied: BTreeSet<SequenceNumber>,
}

/// What follows from the log about sessions, as far as anyone has applied it.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions {
    open: BTreeMap<ClientId, Session>,
    /// Of each entry, from 1 on, whether it is a request that must not be run.
    is_skipped: Vec<bool>,
    /// Where each request was run.
    run: BTreeMap<(ClientId, SequenceNumber), LogId>,
    /// Which sessions each registration has opened: another one if it comes again when that has ended.
    opened: BTreeSet<(ClientId, SequenceNumber, SessionId)>,
    /// Of which session each request is that has arrived anywhere.
    asked: BTreeMap<(ClientId, SequenceNumber), SessionId>,
}

impl Sessions {
    /// A request has arrived at a server.
    pub(super) fn hear(&mut self, request: &ClientRequest) {
        self.asked.insert((request.client_id, request.sequence_number), request.session);
    }

    /// A server asks for these effects: what is told to clients meanwhile follows from what is applied.
    pub(super) fn take<'a>(
        &mut self,
        server: &Server,
        effects: impl Iterator<Item = &'a Effect>,
    ) -> Result<(), Broken> {
        let (mut through, mut has_requests) = (Index::ZERO, false);
        for effect in effects {
            if let Effect::Apply(apply) = effect {
                self.apply(apply)?;
                through = apply.through;
                has_requests |= apply.entries.iter().any(|entry| entry.payload.is_command());
            }
        }
        // Who applies what others have applied before has sessions as of an earlier entry.
        let is_foremost = through.0 == self.is_skipped.len() as u64;
        if has_requests && is_foremost { self.compare(server) } else { Ok(()) }
    }

    /// RunRequest, the effect: what a server remembers of each session is what follows from the log. Of a
    /// request that it might run twice nothing need be in the log yet.
    fn compare(&self, server: &Server) -> Result<(), Broken> {
        for (&client, session) in &self.open {
            let expected = (session.id, session.floor);
            let found = server.session(client);
            if found != Some(expected) {
                let name = |(id, floor)| format!("{id} from request {floor} on");
                let found = found.map_or_else(|| "no session".to_owned(), name);
                let did = format!("remembers {found} of {client}");
                let but = format!("by the log it is {}", name(expected));
                return Err(Broken::new(Action::RunRequest, did, but));
            }
        }
        Ok(())
    }

    /// RunRequest: a server hands these entries to its state machine, and says which not to run.
    fn apply(&mut self, apply: &Apply) -> Result<(), Broken> {
        for entry in &apply.entries {
            if entry.index.0 == self.is_skipped.len() as u64 + 1 {
                let is_skipped = self.is_repetition(entry);
                self.is_skipped.push(is_skipped);
            }
            let place = entry.index.previous().0 as usize;
            let Some(&expected) = self.is_skipped.get(place) else { continue };
            if apply.skipped.binary_search(&entry.index).is_ok() != expected {
                let (did, but) = match expected {
                    true => (format!("ran {entry}"), "its session has ended, or it was run before"),
                    false => (format!("skipped {entry}"), "it is new, and its session is open"),
                };
                return Err(Broken::new(Action::RunRequest, did, but));
            }
        }
        Ok(())
    }

    /// True if the next entry must not be run; notes what it does to the sessions.
    fn is_repetition(&mut self, entry: &Entry) -> bool {
        match &entry.payload {
            Payload::Command(request) => !self.run(request, entry.log_id()),
            &Payload::RegisterClient { client_id, registration, sessions_max } => {
                self.register(client_id, registration, sessions_max, entry.index);
                false
            }
            Payload::Noop | Payload::Proposal(_) | Payload::Configuration(_) => false,
        }
    }

    /// Runs a request, unless it must not be.
    fn run(&mut self, request: &ClientRequest, log_id: LogId) -> bool {
        let (client, number) = (request.client_id, request.sequence_number);
        let is_registered = request.session != SessionId::NONE;
        let session = match self.open.get_mut(&client) {
            None if is_registered => return false,
            None => self.open.entry(client).or_insert_with(|| Session::new(SessionId::NONE)),
            Some(session) => session,
        };
        let is_old = number < session.floor || session.applied.contains(&number);
        if session.id != request.session || is_old {
            return false;
        }
        // Who is not registered asks for one thing at a time.
        let floor = if is_registered { request.first_incomplete.min(number) } else { number };
        session.floor = session.floor.max(floor);
        session.used_at = log_id.index;
        session.applied.insert(number);
        self.run.insert((client, number), log_id);
        true
    }

    fn register(
        &mut self,
        client: ClientId,
        registration: SequenceNumber,
        sessions_max: u32,
        index: Index,
    ) {
        let open = self.open.get(&client);
        if open.is_some_and(|it| it.id != SessionId::NONE && it.registration >= registration) {
            return;
        }
        self.open.remove(&client);
        while self.open.len() >= sessions_max.max(1) as usize {
            let eldest = self.open.iter().min_by_key(|(_, session)| session.used_at);
            let eldest = *eldest.expect("there is one").0;
            self.open.remove(&eldest);
        }
        let id = SessionId(index.0);
        self.open.insert(client, Session { registration, used_at: index, ..Session::new(id) });
        self.opened.insert((client, registration, id));
    }

    /// True if a client may be told this of its request, or of its registration, of that number.
    pub(super) fn is_true(
        &self,
        client: ClientId,
        number: SequenceNumber,
        result: &ClientResult,
    ) -> bool {
        match result {
            ClientResult::Applied { log_id, .. } => self.run.get(&(client, number)) == Some(log_id),
            &ClientResult::Registered { session } => {
                self.opened.contains(&(client, number, session))
            }
            // What some server has not read yet is still to come there: whatever has ended, or was given
            // up, by an earlier entry is so by a later one.
            ClientResult::SessionExpired => self.session_of(client, number).is_none(),
            ClientResult::Superseded => {
                self.session_of(client, number).is_none_or(|session| number < session.floor)
            }
            ClientResult::NotLeader { .. } | ClientResult::TooLarge { .. } | ClientResult::Busy => {
                true
            }
        }
    }

    /// The session of a request, if it is open.
    fn session_of(&self, client: ClientId, number: SequenceNumber) -> Option<&Session> {
        let asked = self.asked.get(&(client, number))?;
        self.open.get(&client).filter(|session| session.id == *asked)
    }
}

impl Session {
    fn new(id: SessionId) -> Self {
        Self {
            id,
            registration: SequenceNumber(0),
            floor: SequenceNumber(0),
            used_at: Index::ZERO,
            applied: BTreeSet::new(),
        }
    }
}

impl State {
    /// ClientRequest, of what clients and the application ask: a leader appends no second copy of a request
    /// that stands in its log, nothing while it hands over, and no more than it may before some of it is
    /// committed.
    pub(super) fn check_request(&self, log: &Log, entry: &Entry) -> Result<(), Broken> {
        let broken =
            |but: &str| Err(Broken::new(Action::ClientRequest, format!("appended {entry}"), but));
        match &entry.payload {
            Payload::Noop | Payload::Configuration(_) => return Ok(()),
            Payload::Command(request) => {
                let mut before = log.iter().take_while(|other| other.index < entry.index);
                if before.any(|other| is_copy(other, request)) {
                    return broken("its log holds that request already");
                }
            }
            Payload::Proposal(_) | Payload::RegisterClient { .. } => {}
        }
        if self.handing_over_since.is_some() {
            return broken(
                "it is handing over, and whoever takes over must reach the end of its log",
            );
        }
        let limit = self.settings.uncommitted_bytes_max;
        // More than any run appends.
        if limit >= 1 << 20 {
            return Ok(());
        }
        let uncommitted = log.from(self.commit.next()).take_while(|it| it.index < entry.index);
        let bytes: usize = uncommitted.map(Entry::size_bytes).sum();
        if bytes > 0 && bytes + entry.size_bytes() > limit {
            return broken("too much is not committed yet");
        }
        Ok(())
    }
}

/// True if this entry is the same request.
fn is_copy(entry: &Entry, request: &ClientRequest) -> bool {
    let key = |it: &ClientRequest| (it.client_id, it.session, it.sequence_number);
    matches!(&entry.payload, Payload::Command(other) if key(other) == key(request))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use raft_core::{Config, Recovered, ServerId, Term};
    use std::sync::Arc;

    fn entry(index: u64, payload: Payload) -> Entry {
        Entry { term: Term(1), index: Index(index), payload }
    }

    fn register(index: u64, client: u64, registration: u64) -> Entry {
        let (client_id, registration) = (ClientId(client), SequenceNumber(registration));
        let payload = Payload::RegisterClient { client_id, registration, sessions_max: 2 };
        entry(index, payload)
    }

    fn request(index: u64, client: u64, session: u64, number: u64, first: u64) -> Entry {
        let request = ClientRequest {
            client_id: ClientId(client),
            session: SessionId(session),
            sequence_number: SequenceNumber(number),
            first_incomplete: SequenceNumber(first),
            command: Bytes::new(),
        };
        entry(index, Payload::Command(Arc::new(request)))
    }

    /// Which of these entries must be skipped, and why that is not what `skipped` says.
    fn applied(entries: &[Entry], skipped: &[u64]) -> Result<(), Broken> {
        let apply = Apply {
            entries: entries.to_vec().into(),
            skipped: skipped.iter().copied().map(Index).collect(),
            through: Index(entries.len() as u64),
        };
        Sessions::default().apply(&apply)
    }

    #[test]
    fn a_second_copy_and_what_was_given_up_are_skipped_and_nothing_else() {
        let log = [
            register(1, 1, 1),
            request(2, 1, 1, 3, 2),
            request(3, 1, 1, 3, 2),
            request(4, 1, 1, 2, 2),
            request(5, 1, 1, 1, 1),
        ];
        assert_eq!(applied(&log, &[3, 5]), Ok(()));
        let why = |skipped: &[u64]| applied(&log, skipped).unwrap_err().to_string();
        assert!(why(&[5]).starts_with("ran 3@1"), "{}", why(&[5]));
        assert!(why(&[3, 4, 5]).starts_with("skipped 4@1"), "{}", why(&[3, 4, 5]));
    }

    #[test]
    fn the_session_used_least_lately_ends_and_its_requests_are_skipped() {
        let log = [
            register(1, 1, 1),
            register(2, 2, 1),
            request(3, 1, 1, 1, 1),
            register(4, 3, 1),
            request(5, 2, 2, 1, 1),
            request(6, 1, 1, 2, 2),
        ];
        assert_eq!(applied(&log, &[5]), Ok(()));
        let why = applied(&log, &[]).unwrap_err().to_string();
        assert!(why.starts_with("ran 5@1"), "{why}");
        assert!(why.ends_with("its session has ended, or it was run before"), "{why}");
    }

    #[test]
    fn a_copy_of_a_registration_ends_no_session() {
        let log = [register(1, 1, 2), register(2, 1, 2), register(3, 1, 1), request(4, 1, 1, 3, 3)];
        assert_eq!(applied(&log, &[]), Ok(()));
        assert!(applied(&log, &[4]).is_err());
    }

    #[test]
    fn a_server_that_remembers_less_than_the_log_says_is_found() {
        let config = Config::new(ServerId(1), [ServerId(1)]);
        let server = Server::new(config, Recovered::default()).expect("it is new");
        let mut sessions = Sessions::default();
        let effect = |entry| {
            let (through, entries) = (Index(1), vec![entry].into());
            Effect::Apply(Apply { entries, skipped: Vec::new(), through })
        };
        let effects = [effect(request(1, 1, 0, 4, 4))];
        let why = sessions.take(&server, effects.iter()).unwrap_err().to_string();
        assert!(why.starts_with("remembers no session of c1"), "{why}");
        assert!(why.ends_with("by the log it is session 0 from request #4 on"), "{why}");
        let effects = [effect(register(1, 1, 1))];
        assert_eq!(Sessions::default().take(&server, effects.iter()), Ok(()), "nobody asked");
    }

    #[test]
    fn no_client_is_told_that_an_open_session_has_ended_or_that_it_gave_up_what_it_waits_for() {
        let mut sessions = Sessions::default();
        let entries = [
            register(1, 1, 1),
            register(2, 2, 1),
            request(3, 2, 2, 5, 4),
            register(4, 3, 1),
            register(5, 2, 2),
        ];
        for (client, session, number) in [(1, 1, 1), (2, 2, 3), (2, 2, 4), (2, 5, 9), (7, 0, 1)] {
            let Payload::Command(heard) = request(9, client, session, number, number).payload
            else {
                unreachable!("it is a request")
            };
            sessions.hear(&heard);
        }
        let mut apply = |range: std::ops::Range<usize>| {
            let through = Index(range.end as u64);
            let entries = entries[range].to_vec().into();
            assert_eq!(sessions.apply(&Apply { entries, skipped: Vec::new(), through }), Ok(()));
            let told = |client, number, result| {
                sessions.is_true(ClientId(client), SequenceNumber(number), &result)
            };
            [(1, 1), (2, 3), (2, 4), (2, 9), (7, 1)].map(|(client, number)| {
                let expired = told(client, number, ClientResult::SessionExpired);
                (expired, told(client, number, ClientResult::Superseded))
            })
        };
        let (open, given_up, ended) = ((false, false), (false, true), (true, true));
        assert_eq!(apply(0..3), [open, given_up, open, ended, ended], "two sessions are open");
        assert_eq!(apply(3..4), [ended, given_up, open, ended, ended], "one has ended");
        assert_eq!(apply(4..5), [ended, ended, ended, open, ended], "one is another");
    }

    #[test]
    fn a_client_is_told_where_its_own_request_was_run() {
        let mut sessions = Sessions::default();
        let entries = [register(1, 1, 1), request(2, 1, 1, 2, 2)];
        let apply =
            Apply { entries: entries.to_vec().into(), skipped: Vec::new(), through: Index(2) };
        assert_eq!(sessions.apply(&apply), Ok(()));
        let told = |number, index| {
            let log_id = LogId::new(Term(1), Index(index));
            let result = ClientResult::Applied { log_id, response: Bytes::new() };
            sessions.is_true(ClientId(1), SequenceNumber(number), &result)
        };
        assert!(told(2, 2));
        assert!(!told(2, 1) && !told(3, 2));
        let opened = |session| ClientResult::Registered { session: SessionId(session) };
        assert!(sessions.is_true(ClientId(1), SequenceNumber(1), &opened(1)));
        assert!(!sessions.is_true(ClientId(1), SequenceNumber(1), &opened(2)));
    }
}
