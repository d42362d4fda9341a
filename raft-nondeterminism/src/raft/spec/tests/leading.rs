//! What a leader owes its followers and its clients, and forged steps of leaders that do less or more.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use raft_core::{
    Address, ClientId, ClientRequest, Config, Configuration, Effect, Effects, Entry, Envelope,
    Index, Input, Message, Payload, Recovered, Role, Save, SaveNumber, SequenceNumber, Server,
    ServerId, Term,
};

use super::{Fixture, NOW, S1, S2, S3, append, leader, refined, refused, success, vote};
use crate::raft::spec::broken::{Action, Broken};

/// A real server 1 of three that leads term 1, and what it said when it was elected.
fn elected() -> (Server, Vec<Effect>) {
    let config = Config { pre_vote: false, ..Config::new(S1, [S1, S2, S3]) };
    let mut server = Server::new(config, Recovered::default()).expect("it is new");
    let mut effects = Effects::new();
    let message = Message::VoteResponse(vote(Term(1), true));
    let vote = Envelope {
        cluster_id: server.config().cluster_id,
        from: S2.into(),
        to: S1.into(),
        message,
    };
    server.step(NOW, Input::NotifyJoinedService, &mut effects).expect("it joins once");
    let now = server.next_timeout().expect("it has joined");
    for input in [Input::TimerElapsed, Input::Saved(SaveNumber(1)), Input::Message(vote)] {
        effects.clear();
        server.step(now, input, &mut effects).expect("it takes the input");
    }
    (server, effects.drain().collect())
}

fn memory(server: &Server) -> &raft_core::Leader {
    match server.role() {
        Role::Leader(leader) => leader,
        role => panic!("it is {role}"),
    }
}

#[test]
fn a_new_leader_begins_behind_the_log_that_it_was_elected_with() {
    let (server, _) = elected();
    let Fixture { mut state, .. } = leader(&[]);
    assert_eq!(state.lead_from(memory(&server)), Ok(()));
    state.first_index = Index(2);
    assert_eq!(refused(state.lead_from(memory(&server))).0, Action::BecomeLeader);
}

#[test]
fn a_heartbeat_goes_to_everyone() {
    let (_, effects) = elected();
    let Fixture { state, .. } = leader(&[]);
    let three = Configuration::new([S1, S2, S3], []);
    assert_eq!(state.check_heartbeats(&three, &effects), Ok(()));
    let is_for = |effect: &Effect, to: ServerId| match effect {
        Effect::Send(envelope) => envelope.to == Address::Server(to),
        _ => false,
    };
    let fewer: Vec<_> = effects.iter().filter(|effect| !is_for(effect, S3)).cloned().collect();
    let (_, why) = refused(state.check_heartbeats(&three, &fewer));
    assert!(why.starts_with("sent nothing to s3 in term 1"), "{why}");
    let with_learner = Configuration::new([S1, S2, S3], [ServerId(4)]);
    assert!(state.check_heartbeats(&with_learner, &effects).is_err(), "learners follow too");
}

#[test]
fn a_leader_waits_for_a_heartbeat_interval_and_no_longer() {
    let Fixture { mut state, .. } = leader(&[]);
    let interval = state.settings.heartbeat_interval;
    for (is_beating, waits, expected) in [
        (true, interval, true),
        (true, interval * 2, false),
        (false, interval, false),
        (false, Duration::ZERO, true),
    ] {
        (state.is_beating, state.timer) = (is_beating, Default::default());
        state.timer.observe(Some(NOW));
        let role = crate::raft::spec::state::Role::Leader;
        let found = state.check_timer(NOW, Some(NOW + waits), role, is_beating);
        assert_eq!(found.is_ok(), expected, "{is_beating} {waits:?}: {found:?}");
    }
}

#[test]
fn an_election_before_the_timer_has_fired_is_found() {
    let (mut refinement, mut server) = refined(&[1]);
    let mut step = |input: Input, now, told| {
        let mut effects = Effects::new();
        refinement.hear(&input);
        let taken = |server: &Server, effects: &[_], outcome| {
            refinement.took(0, told, server, effects, outcome);
        };
        server.step_each(now, [input], &mut effects, taken).expect("it takes the input");
        let result = refinement.step(0, told, &server, effects.as_slice());
        (result, server.next_timeout().expect("it has joined"))
    };
    let (_, deadline) = step(Input::NotifyJoinedService, NOW, NOW);
    let early = deadline.since(NOW) - Duration::from_nanos(1);
    let (result, _) = step(Input::TimerElapsed, deadline, NOW + early);
    let message = result.expect_err("its clock shows less");
    assert!(message.ends_with("its election timer has not fired"), "{message}");
}

#[test]
fn nobody_is_sent_more_than_the_limits_allow() {
    let (server, _) = elected();
    let Fixture { mut state, .. } = leader(&[]);
    let request = append(1, (0, 0), &[1, 1], 0);
    assert_eq!(state.limit_exceeded(server.role(), S2, &request), None);
    state.settings.append_bytes_max = 1;
    assert!(
        state.limit_exceeded(server.role(), S2, &request).is_some(),
        "two entries, of two bytes"
    );
    let one = append(1, (0, 0), &[1], 0);
    assert_eq!(state.limit_exceeded(server.role(), S2, &one), None, "one entry always goes");
    state.settings.append_bytes_max = 1 << 10;
    state.settings.in_flight_entries_max = 1;
    let why = state.limit_exceeded(server.role(), S2, &request);
    assert_eq!(why.as_deref(), Some("2 entries would be under way, of at most 1"));
}

#[test]
fn what_is_under_way_to_a_follower_counts_until_it_is_confirmed() {
    let (mut server, _) = elected();
    let Fixture { mut state, .. } = leader(&[]);
    let cluster_id = server.config().cluster_id;
    let message = Message::AppendEntriesResponse(success(Term(1), 1));
    let envelope = Envelope { cluster_id, from: S2.into(), to: S1.into(), message };
    let now = server.next_timeout().expect("it leads");
    server.step(now, Input::Message(envelope), &mut Effects::new()).expect("it is its follower");
    state.settings.in_flight_entries_max = 2;
    let third = append(1, (2, 1), &[1], 0);
    assert!(
        state.limit_exceeded(server.role(), S2, &third).is_some(),
        "the first two are not confirmed"
    );
    state.matched.raise(S2, Index(1));
    assert_eq!(state.limit_exceeded(server.role(), S2, &third), None);
}

#[test]
fn a_leader_watches_over_its_servers_and_not_for_ever_over_who_has_left() {
    let (server, _) = elected();
    let Fixture { mut state, .. } = leader(&[]);
    let of = |ids: &[u64]| Configuration::new(ids.iter().copied().map(ServerId), []);
    let late = NOW + state.settings.election_timeout_max;
    state.settled_at = Some(NOW);
    let check = |state: &crate::raft::spec::state::State, now, ids| {
        state.check_watched(now, memory(&server), &of(ids)).is_ok()
    };
    assert!(check(&state, late, &[1, 2, 3]));
    assert!(!check(&state, NOW, &[1, 2, 3, 4]), "it knows nothing of server 4");
    assert!(check(&state, NOW, &[1, 2]), "server 3 is to hear that it has left");
    assert!(!check(&state, late, &[1, 2]), "that was long enough");
    state.settled_at = None;
    assert!(check(&state, late, &[1, 2]), "it may have to come back");
}

#[test]
fn one_server_at_a_time_is_handed_leadership_and_in_time() {
    let Fixture { mut state, .. } = leader(&[]);
    let late = NOW + state.settings.election_timeout_max;
    assert_eq!(state.check_transfer(late, false), Ok(()), "nobody wants it to");
    assert_eq!(state.begin_transfer(NOW), Ok(()));
    assert_eq!(refused(state.begin_transfer(NOW)).0, Action::TransferLeadership);
    assert_eq!(state.check_transfer(NOW, false), Ok(()));
    assert!(state.check_transfer(late, false).is_err());
    assert_eq!(state.check_transfer(late, true), Ok(()));
}

/// What a leader may append after two copies of these entries, which are not committed.
#[test]
fn no_request_is_appended_twice_nor_during_a_transfer_nor_past_the_limit() {
    let request = |number| {
        let request = ClientRequest::new(ClientId(1), SequenceNumber(number), Bytes::new());
        Payload::Command(Arc::new(request))
    };
    let entry = |index, payload| Entry { term: Term(1), index: Index(index), payload };
    let entries = vec![entry(1, request(1)), entry(2, request(2)), entry(3, request(1))];
    let hard_state = raft_core::HardState { current_term: Term(1), voted_for: None };
    let recovered = Recovered { hard_state, entries: entries.clone(), ..Recovered::default() };
    let server = Server::new(Config::new(S1, [S1]), recovered).expect("the log is in order");
    let Fixture { mut state, .. } = leader(&[]);
    let check = |state: &crate::raft::spec::state::State, place: usize| {
        state.check_request(server.log(), &entries[place])
    };
    assert_eq!(check(&state, 1), Ok(()));
    let (action, why) = refused(check(&state, 2));
    assert_eq!(action, Action::ClientRequest);
    assert!(why.ends_with("its log holds that request already"), "{why}");
    state.settings.uncommitted_bytes_max = 1;
    assert_eq!(check(&state, 0), Ok(()), "one may always be");
    assert!(check(&state, 1).is_err(), "the first is not committed");
    state.commit = Index(1);
    assert_eq!(check(&state, 1), Ok(()));
    assert_eq!(state.begin_transfer(NOW), Ok(()));
    assert!(check(&state, 1).is_err());
}

#[test]
fn whoever_listens_to_itself_or_to_a_stranger_is_found() {
    let listen = |from: ServerId, message: Message| -> Result<(), Broken> {
        let (mut refinement, server) = refined(&[]);
        let cluster_id = server.config().cluster_id;
        let envelope = Envelope { cluster_id, from: from.into(), to: S1.into(), message };
        refinement.sent(&envelope);
        refinement.hear(&Input::Message(envelope));
        refinement.took(0, NOW, &server, &[], Ok(()));
        refinement.broken.map_or(Ok(()), Err)
    };
    let answer = || Message::AppendEntriesResponse(success(Term(0), 0));
    let question = || Message::VoteResponse(vote(Term(0), false));
    assert_eq!(listen(S2, answer()), Ok(()));
    assert_eq!(refused(listen(S1, question())).0, Action::Receive, "it said that itself");
    assert_eq!(
        refused(listen(ServerId(9), answer())).0,
        Action::Receive,
        "it follows someone else"
    );
    assert_eq!(listen(ServerId(9), question()), Ok(()), "who is a member, it may not know");
}

#[test]
fn a_save_is_asked_for_first() {
    let (mut refinement, server) = refined(&[]);
    let other = Effect::NotifyCommit { index: Index(0) };
    let save = Effect::Save(Save { number: SaveNumber(1), ..Save::default() });
    let mut end = |effects: &[Effect]| refinement.step(0, NOW, &server, effects);
    let message = end(&[other, save.clone()]).expect_err("what came before would not wait");
    assert!(message.contains("asks for a save last"), "{message}");
    assert_eq!(end(&[save]), Ok(()));
}
