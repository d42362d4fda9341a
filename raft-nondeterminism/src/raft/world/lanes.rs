//! What a reader of a trace sees of everyone who takes part.
//!
//! Guarantees: asked for only if a trace is recorded; a server that is down shows what is on its disk.

use raft_core::{Entry, LogId, Server, ServerId};

use super::World;
use super::event::Event;
use super::host::Host;
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
