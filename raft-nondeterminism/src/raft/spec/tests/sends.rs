//! What a server may send, apply and answer, and forged effects that it may not have.

use bytes::Bytes;
use raft_core::{
    Address, AppendEntriesResult, Apply, ClientId, ClientResponse, ClientResult, Effect, Envelope,
    Index, LogId, Message, SequenceNumber, ServerId, Term,
};

use super::{
    Fixture, NOW, S1, S2, S3, append, ask, leader, persist, refined, server, success, vote,
};
use crate::raft::spec::broken::{Action, Broken};
use crate::raft::spec::explain::Observed;
use crate::raft::spec::sends::Outcome;
use crate::raft::spec::sessions::Sessions;
use crate::raft::spec::snapshots::Snapshots;

/// Judges an effect of a server whose log has these terms.
fn judge(fixture: &mut Fixture, terms: &[u64], effect: &Effect) -> Result<(), Broken> {
    let (_, server) = refined(terms);
    let Fixture { state, configurations } = fixture;
    let snapshots = Snapshots::default();
    let outcome = Outcome {
        now: NOW,
        observed: Observed::of(&server),
        configuration: state.configuration(configurations),
        snapshots: &snapshots,
        replies: &[],
    };
    state.check_effect(&outcome, effect, &Sessions::default())
}

fn send(to: impl Into<Address>, message: Message) -> Effect {
    let cluster_id = raft_core::ClusterId::default();
    Effect::Send(Envelope { cluster_id, from: S1.into(), to: to.into(), message })
}

#[test]
fn a_vote_leaves_when_it_is_durable_and_to_its_candidate_only() {
    let mut fixture = server(&[1]);
    fixture.state.update_term(Term(2));
    fixture.state.handle_vote_request(&ask(2, S2, (1, 1)));
    fixture.state.handle_vote_request(&ask(2, S3, (1, 1)));
    let judge = |fixture: &mut Fixture, to: ServerId, term: u64, granted: bool| {
        let response = Message::VoteResponse(vote(Term(term), granted));
        judge(fixture, &[1], &send(to, response)).map_err(|broken| broken.to_string())
    };
    let early = judge(&mut fixture, S2, 2, true).expect_err("a crash would take it back");
    assert!(early.ends_with("its vote is not durable"), "{early}");
    persist(&mut fixture.state);
    assert_eq!(judge(&mut fixture, S2, 2, true), Ok(()));
    assert_eq!(judge(&mut fixture, S3, 2, false), Ok(()));
    assert!(judge(&mut fixture, S3, 2, true).is_err(), "its vote is for another server");
    assert!(judge(&mut fixture, S2, 2, false).is_err(), "it has voted for that one");
    assert!(judge(&mut fixture, S2, 1, true).is_err(), "that term is over");
}

#[test]
fn a_candidate_asks_with_the_log_it_had_once_its_term_is_durable() {
    let mut fixture = server(&[1]);
    fixture.state.time_out(false);
    let request = ask(2, S1, (1, 1));
    let effect = |request| send(Address::AllServers, Message::VoteRequest(request));
    let early = judge(&mut fixture, &[1], &effect(request)).map_err(|broken| broken.action());
    assert_eq!(early, Err(Action::RequestVote));
    persist(&mut fixture.state);
    assert_eq!(judge(&mut fixture, &[1], &effect(request)), Ok(()));
    let is_transfer = true;
    for forged in [
        ask(2, S1, (2, 2)),
        ask(2, S1, (0, 0)),
        ask(1, S1, (1, 1)),
        ask(2, S2, (1, 1)),
        raft_core::VoteRequest { is_transfer, ..request },
    ] {
        assert!(judge(&mut fixture, &[1], &effect(forged)).is_err(), "{forged:?}");
    }
}

#[test]
fn a_leader_sends_what_its_log_holds_and_no_commit_index_but_its_own() {
    let terms = [1, 1, 2];
    let request = |term, prev, entries: &[u64], commit| {
        let request = append(term, prev, entries, commit);
        send(
            S2,
            Message::AppendEntriesRequest(raft_core::AppendEntriesRequest {
                leader_id: S1,
                ..request
            }),
        )
    };
    let mut fixture = leader(&[1, 1]);
    fixture.state.commit = Index(1);
    for effect in
        [request(2, (0, 0), &[1, 1, 2], 1), request(2, (2, 1), &[2], 0), request(2, (3, 2), &[], 1)]
    {
        assert_eq!(judge(&mut fixture, &terms, &effect), Ok(()));
    }
    for (forged, why) in [
        (request(2, (1, 1), &[2], 1), "entry 2 is of term 1"),
        (request(2, (3, 2), &[2], 1), "it has no entry 4"),
        (request(2, (2, 2), &[2], 1), "entry 2 is of term 1"),
        (request(2, (3, 2), &[], 2), "only entry 1 is committed"),
        (request(1, (3, 2), &[], 1), "it leads term 2"),
    ] {
        assert!(judge(&mut fixture, &terms, &forged).is_err(), "{why}");
    }
    fixture.state.update_term(Term(3));
    assert!(judge(&mut fixture, &terms, &request(2, (3, 2), &[], 1)).is_err(), "it leads no more");
}

#[test]
fn a_follower_acknowledges_what_its_leader_vouched_for_once_it_is_durable() {
    let mut fixture = server(&[1, 1, 1]);
    let Fixture { state, configurations } = &mut fixture;
    state.update_term(Term(2));
    let request = append(2, (1, 1), &[2], 0);
    state.handle_append_entries_request(&request, NOW, configurations).expect("it fits");
    let terms = [1, 2];
    let effect = |index| send(S2, Message::AppendEntriesResponse(success(Term(2), index)));
    let save = raft_core::Save { number: raft_core::SaveNumber(1), ..Default::default() };
    state.disk.issue(NOW, &save);
    let early = judge(&mut fixture, &terms, &effect(2)).expect_err("a crash would take it back");
    assert!(early.to_string().ends_with("its term is not durable"), "{early}");
    fixture.state.disk.durable.hard_state.current_term = Term(2);
    let early = judge(&mut fixture, &terms, &effect(2)).expect_err("a crash would take it back");
    assert!(early.to_string().ends_with("only what is up to 1 is durable"), "{early}");
    assert_eq!(judge(&mut fixture, &terms, &effect(1)), Ok(()));
    persist(&mut fixture.state);
    assert_eq!(judge(&mut fixture, &terms, &effect(2)), Ok(()));
    fixture.state.log.push(Term(2));
    persist(&mut fixture.state);
    let beyond = judge(&mut fixture, &terms, &effect(3)).expect_err("nobody has sent entry 3");
    assert!(beyond.to_string().ends_with("its log is known to match up to 2 only"), "{beyond}");
    let unasked = AppendEntriesResult::StaleTerm;
    let response = raft_core::AppendEntriesResponse { result: unasked, ..success(Term(2), 0) };
    let effect = send(S3, Message::AppendEntriesResponse(response));
    assert!(judge(&mut fixture, &terms, &effect).is_err(), "nobody has asked");
}

#[test]
fn what_is_applied_is_committed_durable_and_the_next() {
    let apply = |first: u64, through: u64| {
        let terms = vec![1; usize::try_from(through + 1 - first).expect("it is small")];
        let request = append(1, (first - 1, u64::from(first > 1)), &terms, 0);
        let (entries, skipped) = (request.entries, Vec::new());
        Effect::Apply(Apply { entries, skipped, through: Index(through) })
    };
    let terms = [1, 1, 1];
    let fixture = || {
        let mut fixture = server(&terms);
        (fixture.state.commit, fixture.state.applied) = (Index(2), Index(1));
        fixture
    };
    assert_eq!(judge(&mut fixture(), &terms, &apply(2, 2)), Ok(()));
    assert!(judge(&mut fixture(), &terms, &apply(2, 3)).is_err(), "entry 3 is not committed");
    assert!(judge(&mut fixture(), &terms, &apply(1, 2)).is_err(), "entry 1 was applied before");
    assert!(judge(&mut fixture(), &terms, &apply(3, 3)).is_err(), "entry 2 is left out");
    let mut fixture = fixture();
    fixture.state.disk.durable.log.truncate(Index(1));
    fixture.state.disk.issue(NOW, &raft_core::Save::default());
    assert!(judge(&mut fixture, &terms, &apply(2, 2)).is_err(), "entry 2 is not durable");
}

#[test]
fn no_client_is_told_of_what_is_not_applied() {
    let log_id = LogId::new(Term(1), Index(1));
    let result = ClientResult::Applied { log_id, response: Bytes::new() };
    let (client_id, sequence_number) = (ClientId(1), SequenceNumber(1));
    let response = ClientResponse { client_id, sequence_number, result };
    let effect = send(client_id, Message::ClientResponse(response));
    let broken = judge(&mut leader(&[]), &[1], &effect).expect_err("nothing is applied");
    assert_eq!(broken.action(), Action::AnswerClient);
}
