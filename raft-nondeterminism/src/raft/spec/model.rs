//! The specification checked against itself: a breadth-first search through everything that its actions
//! allow in a small cluster.
//!
//! Guarantees: in all states that were reached, the properties of Raft's Figure 3 hold, so a step that
//!             the specification allows is one that Raft allows.
//! Relies on:  small bounds: what needs more servers, terms or entries is not reached.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use raft_core::{
    AppendEntriesRequest, AppendEntriesResponse, AppendEntriesResult, Config, Configuration, Entry,
    HardState, Index, LogId, Payload, Round, ServerId, Term, Timestamp, VoteRequest, VoteResponse,
};

use super::actions::Reply;
use super::disk::Image;
use super::state::{Configurations, Role, Settings, State};

/// How far the search goes.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    servers: u64,
    terms: u64,
    /// The longest log.
    entries: u64,
    /// How often a server may restart, in all.
    restarts: u8,
    /// Something that is wrong on purpose: whoever restarts has forgotten its vote.
    forgets_votes: bool,
}

/// What is said, from whom to whom. What was sent once may arrive at any time, and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sent {
    from: u8,
    to: u8,
    term: u8,
    said: Said,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Said {
    Ask { last: (u8, u8) },
    Vote,
    Append { prev: (u8, u8), entry: u8, commit: u8 },
    Held { index: u8 },
}

/// A cluster in which every change is durable at once.
#[derive(Clone)]
struct Cluster {
    servers: Vec<State>,
    /// In order, each once.
    sent: Vec<Sent>,
    restarts: u8,
    /// Each entry that was committed, as index and term, and the term in which it first was.
    committed: BTreeSet<(u8, u8, u8)>,
}

impl Cluster {
    fn new(bounds: Bounds, configurations: &mut Configurations) -> Self {
        let voters = Arc::new(Configuration::new((1..=bounds.servers).map(ServerId), []));
        let settings = Settings {
            check_quorum: false,
            ..Settings::from(&Config::new(ServerId(1), [ServerId(1)]))
        };
        let server = |id| State {
            id: ServerId(id),
            settings: settings.clone(),
            members: vec![(Index::ZERO, configurations.id(&voters))],
            ..State::of(bounds.servers as usize)
        };
        let servers = (1..=bounds.servers).map(server).collect();
        Self { servers, sent: Vec::new(), restarts: 0, committed: BTreeSet::new() }
    }

    /// Everything that the future depends on, as bytes.
    fn key(&self) -> Vec<u8> {
        let mut key = vec![self.restarts];
        for state in &self.servers {
            let name = |server: Option<ServerId>| server.map_or(0, |server| byte(server.0));
            let role = match state.role {
                Role::Follower => 0,
                Role::PreCandidate => 1,
                Role::Candidate => 2,
                Role::Leader => 3,
            };
            key.extend([byte(state.term.0), name(state.voted_for), name(state.leader), role]);
            key.extend([byte(state.commit.0), byte(state.log.last_index().0)]);
            let indices = (1..=state.log.last_index().0).map(Index);
            key.extend(indices.filter_map(|index| state.log.term_at(index)).map(|it| byte(it.0)));
            match state.role {
                Role::Candidate => {
                    let voters = (1..=self.servers.len() as u64).map(ServerId);
                    key.extend(voters.map(|voter| u8::from(state.votes.contains(voter))));
                }
                Role::Leader => key.extend(state.matched.iter().map(|index| byte(index.0))),
                Role::Follower | Role::PreCandidate => {}
            }
        }
        for sent in &self.sent {
            key.extend([sent.from, sent.to, sent.term]);
            match sent.said {
                Said::Ask { last } => key.extend([1, last.0, last.1]),
                Said::Vote => key.push(2),
                Said::Append { prev, entry, commit } => {
                    key.extend([3, prev.0, prev.1, entry, commit]);
                }
                Said::Held { index } => key.extend([4, index]),
            }
        }
        for &(index, term, since) in &self.committed {
            key.extend([255, index, term, since]);
        }
        key
    }

    /// All that can happen next.
    fn next(&self, bounds: Bounds, configurations: &mut Configurations) -> Vec<Self> {
        let mut all = Vec::new();
        for place in 0..self.servers.len() {
            self.own_actions(place, bounds, configurations, &mut all);
        }
        for &sent in &self.sent {
            let mut next = self.clone();
            next.receive(sent, configurations);
            all.push(next);
        }
        all
    }

    /// Timeout with RequestVote, BecomeLeader, ClientRequest, AppendEntries, AdvanceCommitIndex, Restart.
    fn own_actions(
        &self,
        place: usize,
        bounds: Bounds,
        configurations: &mut Configurations,
        all: &mut Vec<Self>,
    ) {
        let state = &self.servers[place];
        let configuration = state.configuration(configurations);
        let mut add = |change: &dyn Fn(&mut Self) -> bool| {
            let mut next = self.clone();
            if change(&mut next) {
                persist(&mut next.servers[place]);
                all.push(next);
            }
        };
        if state.role != Role::Leader && state.term.0 < bounds.terms {
            add(&|next| {
                next.servers[place].time_out(false);
                persist(&mut next.servers[place]);
                next.servers[place].count_own_vote();
                next.say_to_all(place, Said::Ask { last: pair(state.log.last()) });
                true
            });
        }
        if state.role == Role::Candidate {
            add(&|next| next.servers[place].become_leader(Timestamp::ZERO, configuration).is_ok());
        }
        if state.role == Role::Leader {
            if state.log.last_index().0 < bounds.entries {
                add(&|next| {
                    next.servers[place].log.push(state.term);
                    true
                });
            }
            for prev in 0..=state.log.last_index().0 {
                add(&|next| {
                    let term = |index| state.log.term_at(Index(index)).map_or(0, |it| byte(it.0));
                    let (entry, commit) = (term(prev + 1), byte(state.commit.0));
                    let prev = (byte(prev), term(prev));
                    next.say_to_all(place, Said::Append { prev, entry, commit });
                    true
                });
            }
            for index in state.commit.0 + 1..=state.log.last_index().0 {
                add(&|next| {
                    let leader = &mut next.servers[place];
                    let is_committed =
                        leader.advance_commit_index(Index(index), configuration).is_ok();
                    let term = |at| state.log.term_at(Index(at)).map_or(0, |it| byte(it.0));
                    let is_new = |&at: &u64| !self.committed.iter().any(|it| it.0 == byte(at));
                    let new = (1..=index).filter(is_new);
                    next.committed.extend(new.map(|at| (byte(at), term(at), byte(state.term.0))));
                    is_committed
                });
            }
        }
        if self.restarts < bounds.restarts {
            add(&|next| {
                next.restarts += 1;
                let server = &mut next.servers[place];
                server.restart(Timestamp::ZERO);
                if bounds.forgets_votes {
                    server.voted_for = None;
                }
                true
            });
        }
    }

    fn say_to_all(&mut self, place: usize, said: Said) {
        let (from, term) = (place + 1, byte(self.servers[place].term.0));
        for to in (1..=self.servers.len()).filter(|&to| to != from) {
            self.say(Sent { from: byte(from as u64), to: byte(to as u64), term, said });
        }
    }

    fn say(&mut self, sent: Sent) {
        if let Err(place) = self.sent.binary_search(&sent) {
            self.sent.insert(place, sent);
        }
    }

    /// UpdateTerm and a handler.
    fn receive(&mut self, sent: Sent, configurations: &mut Configurations) {
        let Sent { from, to, term, said } = sent;
        let state = &mut self.servers[usize::from(to) - 1];
        let (sender, term) = (ServerId(from.into()), Term(term.into()));
        if term > state.term {
            state.update_term(term);
        }
        let reply = match said {
            Said::Ask { last } => Some(state.handle_vote_request(&VoteRequest {
                term,
                candidate_id: sender,
                last_log_index: Index(last.0.into()),
                last_log_term: Term(last.1.into()),
                is_transfer: false,
            })),
            Said::Vote => {
                state.handle_vote_response(sender, &VoteResponse { term, vote_granted: true });
                None
            }
            Said::Append { prev, entry, commit } => {
                let index = Index(u64::from(prev.0) + 1);
                let entry = (entry > 0).then_some(Term(entry.into()));
                let entry = entry.map(|term| Entry { term, index, payload: Payload::Noop });
                let request = AppendEntriesRequest {
                    term,
                    leader_id: sender,
                    prev_log_index: Index(prev.0.into()),
                    prev_log_term: Term(prev.1.into()),
                    entries: entry.into_iter().collect(),
                    leader_commit: Index(commit.into()),
                    round: Round::default(),
                };
                let handled =
                    state.handle_append_entries_request(&request, Timestamp::ZERO, configurations);
                Some(handled.expect("no leader contradicts another one, nor what is committed"))
            }
            Said::Held { index } => {
                let result = AppendEntriesResult::Success { match_index: Index(index.into()) };
                let response = AppendEntriesResponse { term, round: Round::default(), result };
                state.handle_append_entries_response(sender, &response, Timestamp::ZERO);
                None
            }
        };
        persist(state);
        let said = reply.and_then(|reply| match reply {
            Reply::Vote(vote) => vote.vote_granted.then_some(Said::Vote),
            Reply::Append(_, AppendEntriesResult::Success { match_index }) => {
                Some(Said::Held { index: byte(match_index.0) })
            }
            // Refusals only tell the term, and whoever is behind hears of that from others too.
            Reply::Append(..) | Reply::PreVote(_) | Reply::Part(..) => None,
        });
        let term = byte(state.term.0);
        said.into_iter().for_each(|said| self.say(Sent { from: to, to: from, term, said }));
    }

    /// Election Safety, Log Matching and Leader Completeness (Raft, Fig. 3).
    fn check(&self) -> Result<(), String> {
        let leads = |state: &&State| state.role == Role::Leader;
        for leader in self.servers.iter().filter(leads) {
            let is_rival = |other: &&State| other.id != leader.id && other.term == leader.term;
            if let Some(other) = self.servers.iter().filter(leads).find(is_rival) {
                return Err(format!(
                    "{} and {} both lead term {}",
                    leader.id, other.id, leader.term
                ));
            }
            for &(index, term, since) in &self.committed {
                let found = leader.log.term_at(Index(index.into()));
                if leader.term.0 > since.into() && found != Some(Term(term.into())) {
                    return Err(format!("{} leads without {index}@{term}", leader.id));
                }
            }
        }
        for (one, two) in
            self.servers.iter().flat_map(|one| self.servers.iter().map(move |two| (one, two)))
        {
            let last = one.log.last_index().min(two.log.last_index()).0;
            let is_same = |at: &u64| one.log.term_at(Index(*at)) == two.log.term_at(Index(*at));
            let common = (1..=last).rev().find(is_same).unwrap_or(0);
            if let Some(place) = (1..common).find(|place| !is_same(place)) {
                return Err(format!("{} and {} have other entries {place}", one.id, two.id));
            }
        }
        Ok(())
    }
}

/// Within the bounds, every number is small.
fn byte(number: u64) -> u8 {
    u8::try_from(number).expect("the bounds are small")
}

fn pair(log_id: LogId) -> (u8, u8) {
    (byte(log_id.index.0), byte(log_id.term.0))
}

fn persist(state: &mut State) {
    let hard_state = HardState { current_term: state.term, voted_for: state.voted_for };
    let image = Image { hard_state, snapshot: LogId::ZERO, log: state.log.clone() };
    (state.disk.durable, state.disk.issued) = (image.clone(), image);
}

/// Visits every state within these bounds. How many there are, and in how many someone leads.
fn search(bounds: Bounds) -> Result<(usize, usize), String> {
    let mut configurations = Configurations::default();
    let first = Cluster::new(bounds, &mut configurations);
    let mut visited = BTreeSet::from([first.key()]);
    let mut queue = VecDeque::from([first]);
    let mut led = 0;
    while let Some(cluster) = queue.pop_front() {
        cluster.check()?;
        led += usize::from(cluster.servers.iter().any(|state| state.role == Role::Leader));
        for next in cluster.next(bounds, &mut configurations) {
            if visited.insert(next.key()) {
                queue.push_back(next);
            }
        }
    }
    Ok((visited.len(), led))
}

/// One server fewer than a majority can do without, and everything else once.
const TWO_SERVERS: Bounds =
    Bounds { servers: 2, terms: 2, entries: 1, restarts: 0, forgets_votes: false };

#[test]
fn the_specification_keeps_its_promises_in_every_state_of_small_clusters() {
    let three_servers = Bounds { servers: 3, terms: 1, ..TWO_SERVERS };
    // How many states there are, and in how many of them someone leads: other numbers mean that the
    // specification allows more or less than before.
    for (bounds, expected) in [
        (TWO_SERVERS, (2_381, 2_120)),
        (Bounds { restarts: 1, ..TWO_SERVERS }, (10_548, 7_608)),
        (three_servers, (10_979, 10_935)),
    ] {
        assert_eq!(search(bounds), Ok(expected), "{bounds:?}");
    }
}

#[test]
fn the_search_finds_two_leaders_if_a_restart_forgets_the_vote() {
    let bounds = Bounds { servers: 3, terms: 1, entries: 0, restarts: 1, forgets_votes: true };
    let broken = search(bounds).expect_err("a server votes twice");
    assert!(broken.contains("both lead term 1"), "{broken}");
    let bounds = Bounds { forgets_votes: false, ..bounds };
    assert!(search(bounds).is_ok(), "it is the vote that makes the difference");
}
