//! What a reader of a trace sees of everyone who takes part.
//!
//! Guarantees: asked for only if a trace is recorded; a server that is down shows what is on its disk.

use raft_core::{Address, ClientId, Entry, Envelope, LogId, Server, ServerId};

use super::World;
use super::client::Outcome;
use super::event::Event;
use super::host::Host;
use crate::coverage::Meeting;
use crate::raft::coverage;
use crate::raft::watch::Watch;
use crate::trace::{Detail, Lane, LaneLog, LaneState};

impl World {
    pub(super) fn all_lanes(&self) -> Vec<Lane> {
        let servers = self.hosts.iter().enumerate().map(|(place, host)| Lane {
            name: host.id.to_string(),
            kind: "server".to_owned(),
            start: self.server_state(place, host),
        });
        let clients = self.clients.iter().map(|client| Lane {
            name: client.id().to_string(),
            kind: "client".to_owned(),
            start: LaneState { is_up: true, summary: client.summary(), ..LaneState::default() },
        });
        servers.chain(clients).collect()
    }

    fn server_state(&self, place: usize, host: &Host) -> LaneState {
        let mut state = match &host.server {
            Some(server) => running(server, host),
            None => stopped(host),
        };
        let on = |is_on: bool, key: &str, value: &str| is_on.then(|| detail(key, value));
        if let Some(cut) = self.cut {
            let unheard = self.places().filter(|&other| other != place && !cut.hears(place, other));
            let unheard: Vec<_> = unheard.map(|other| self.hosts[other].id.to_string()).collect();
            state.details.extend(on(!unheard.is_empty(), "deaf to", &unheard.join(" ")));
        }
        state.details.extend(on(host.is_paused, "paused", "yes"));
        state.details.extend(on(host.is_stalled(), "disk", "stalled"));
        let count = |key: &str, count: usize| (count > 0).then(|| detail(key, count));
        state.details.extend(count("saving", host.saves_under_way()));
        state.details.extend(count("applying", host.tasks_under_way()));
        state.details.extend(count("arrived", host.arrivals.len()));
        state
    }

    /// Whom an event is about, where clients have the places after all servers.
    pub(super) fn place_among_all(&self, event: Event) -> usize {
        match event {
            Event::Request(client) | Event::Retry(client) => self.hosts.len() + client,
            event => event.place(),
        }
    }

    /// The place of whoever has this address.
    fn place_of(&self, address: &Address) -> Option<usize> {
        // Server `n` is at place `n - 1`, and so are clients after them.
        match address {
            Address::AllServers => None,
            Address::Server(ServerId(id)) => usize::try_from(*id).ok()?.checked_sub(1),
            Address::Client(ClientId(id)) => {
                (self.hosts.len() + usize::try_from(*id).ok()?).checked_sub(1)
            }
        }
    }

    /// Whether a client waits for anything, as a state.
    pub(super) fn client_state(&self, place: usize) -> usize {
        usize::from(self.clients[place].can_retry())
    }

    /// A client has taken what has arrived.
    pub(super) fn cover_answer(
        &self,
        place: usize,
        before: usize,
        event: usize,
        outcome: &Outcome,
        watch: &mut Watch<'_>,
    ) {
        let after = self.client_state(place);
        let Some(coverage) = watch.coverage() else { return };
        let is_ignored = matches!(outcome, Outcome::Ignored) && before == after;
        let meeting = if is_ignored { Meeting::Ignored } else { Meeting::Handled };
        coverage.meet(coverage::CLIENT, before, event, meeting);
        if before != after {
            coverage.moves(coverage::CLIENT, before, after);
        }
    }

    /// Puts a message in flight to the receiver at this place.
    pub(super) fn put_in_flight(
        &mut self,
        place: usize,
        envelope: Envelope,
        watch: &mut Watch<'_>,
    ) {
        if watch.is_tracing()
            && let Some(from) = self.place_of(&envelope.from)
        {
            let number = self.network.next_number();
            watch.sent(
                number,
                (from, place),
                &envelope.message,
                envelope.message.term().map(|it| it.0),
            );
        }
        if let (Some(coverage), Address::Client(ClientId(id))) = (watch.coverage(), &envelope.from)
        {
            let event = coverage::event_of_message(&envelope.message);
            let client = usize::try_from(*id - 1).expect("it is one of ours");
            coverage.meet(coverage::CLIENT, self.client_state(client), event, Meeting::Sent);
        }
        self.network.send(place, envelope);
    }
}

fn running(server: &Server, host: &Host) -> LaneState {
    let status = server.status();
    let is_learner = status.configuration.is_learner(server.id());
    let role = if is_learner && status.role == "follower" { "learner" } else { status.role };
    let log = log(server.log().start(), server.log().iter(), status.commit_index.0);
    let mut details = vec![
        detail("voted_for", or_none(status.voted_for)),
        detail("leader", or_none(status.leader)),
        detail("commit", status.commit_index),
        detail("durable", status.durable_index),
        detail("applied", host.machine.applied),
    ];
    if status.snapshot != LogId::ZERO {
        details.push(detail("snapshot", status.snapshot));
    }
    if status.configuration_index.0 > 0 {
        let (index, configuration) = (status.configuration_index, &status.configuration);
        details.push(detail("configuration", format!("{index}: {configuration}")));
    }
    LaneState {
        role: role.to_owned(),
        term: Some(status.current_term.0),
        is_up: true,
        summary: summary(&log),
        log: Some(log),
        details,
    }
}

fn stopped(host: &Host) -> LaneState {
    let disk = host.disk();
    let log = log(disk.start, disk.entries.iter(), 0);
    LaneState {
        role: "down".to_owned(),
        term: Some(disk.hard_state.current_term.0),
        is_up: false,
        summary: summary(&log),
        log: Some(log),
        details: vec![detail("voted_for", or_none(disk.hard_state.voted_for))],
    }
}

fn log<'a>(start: LogId, entries: impl Iterator<Item = &'a Entry>, committed: u64) -> LaneLog {
    let entries = entries.map(|entry| entry.log_id().to_string()).collect();
    LaneLog { start: start.index.0 + 1, entries, committed }
}

/// `log 1@1 2@1 | commit 1`.
fn summary(log: &LaneLog) -> String {
    let mut summary = "log".to_owned();
    for entry in &log.entries {
        summary.push(' ');
        summary.push_str(entry);
    }
    format!("{summary} | commit {}", log.committed)
}

fn detail(key: &str, value: impl ToString) -> Detail {
    Detail { key: key.to_owned(), value: value.to_string() }
}

fn or_none(server: Option<ServerId>) -> String {
    server.map_or("none".to_owned(), |server| server.to_string())
}
