//! Reads: what they wait for, and when they are given up.

use super::super::reads::GiveUp;
use super::*;

#[test]
fn a_read_is_served_only_after_a_majority_has_answered_a_later_round() {
    let Fixture { mut state, configurations } = leader(&[1]);
    let (term, configuration) = (state.term, state.configuration(&configurations));
    let answer = |state: &mut State, follower, round| {
        let response = AppendEntriesResponse { round: Round(round), ..success(term, 2) };
        state.handle_append_entries_response(follower, &response, NOW);
        state.confirm_reads(configuration);
    };
    let read = ReadId(7);
    state.reads.sent(Round(1), NOW);
    state.ask_read(read, S3, false, NOW, configuration);
    answer(&mut state, S2, 1);
    answer(&mut state, S3, 1);
    state.advance_commit_index(Index(2), configuration).expect("three of five hold it");
    state.confirm_reads(configuration);
    let (action, _) = refused(state.answer_read(read, S3, Index(2)));
    assert_eq!(action, Action::ReadIndex, "the round began before the read");
    state.reads.sent(Round(2), NOW);
    answer(&mut state, S2, 2);
    answer(&mut state, S2, 2);
    assert!(state.answer_read(read, S3, Index(2)).is_err(), "one follower is no majority");
    answer(&mut state, ServerId(4), 2);
    assert_eq!(state.answer_read(read, S3, Index(2)), Ok(()));
    assert!(state.answer_read(read, S3, Index(1)).is_err(), "it would miss the leader's own entry");
    assert!(state.answer_read(read, S3, Index(3)).is_err(), "that is not committed");
    assert!(state.answer_read(read, S2, Index(2)).is_err(), "another server has asked");
    assert!(state.answer_read(ReadId(8), S3, Index(2)).is_err(), "nobody has asked");
}

#[test]
fn a_lease_ends_with_its_time_and_with_a_transfer() {
    for (has_handed_over, lease_reads, ends, expected) in [
        (false, true, false, true),
        (false, true, true, false),
        (true, true, false, false),
        (false, false, false, false),
    ] {
        let Fixture { mut state, configurations } = leader(&[1]);
        let (term, configuration) = (state.term, state.configuration(&configurations));
        state.settings.lease_reads = lease_reads;
        state.reads.sent(Round(1), NOW);
        for follower in [S2, S3] {
            state.handle_append_entries_response(follower, &success(term, 2), NOW);
        }
        state.confirm_reads(configuration);
        state.advance_commit_index(Index(2), configuration).expect("three of five hold it");
        state.has_handed_over = has_handed_over;
        let now = if ends { NOW + state.settings.lease } else { NOW };
        state.ask_read(ReadId(1), S1, true, now, configuration);
        let served = state.serve_read(ReadId(1), Index(2)).is_ok();
        assert_eq!(served, expected, "{has_handed_over} {lease_reads} {ends}");
    }
}

/// Why a read that was asked at `NOW` must have been given up after so many election timeouts.
fn overdue(state: &State, timeouts: u32) -> Option<String> {
    let checked = state.check_patience(NOW + state.settings.election_timeout_max * timeouts);
    checked.err().map(|broken| broken.to_string())
}

#[test]
fn a_read_that_no_majority_confirms_is_given_up_after_an_election_timeout() {
    let Fixture { mut state, configurations } = leader(&[1]);
    let (term, read) = (state.term, ReadId(7));
    let configuration = state.configuration(&configurations);
    state.ask_read(read, S1, false, NOW, configuration);
    state.reads.want(read, NOW);
    assert_eq!(overdue(&state, 9), None, "no heartbeat is due");
    state.reads.give_up(GiveUp::Unconfirmed);
    assert_eq!(overdue(&state, 0), None);
    let why = overdue(&state, 1).expect("it has waited for an election timeout");
    assert!(why.starts_with("keeps read 7 waiting since 0"), "{why}");
    assert!(why.ends_with("no majority has confirmed for so long that it leads"), "{why}");
    state.reads.sent(Round(1), NOW);
    for follower in [S2, S3] {
        state.handle_append_entries_response(follower, &success(term, 2), NOW);
    }
    state.advance_commit_index(Index(2), configuration).expect("three of five hold it");
    state.confirm_reads(configuration);
    assert_eq!(overdue(&state, 9), None, "it only waits for the state machine");
}

#[test]
fn a_read_that_its_leader_does_not_answer_is_given_up_after_an_election_timeout() {
    let (mut state, read) = (server(&[1]).state, ReadId(7));
    state.reads.want(read, NOW);
    state.reads.give_up(GiveUp::Forwarded);
    assert_eq!(overdue(&state, 0), None);
    assert!(overdue(&state, 1).is_some_and(|why| why.contains("its leader has not answered")));
    state.reads.grant(read, Index(1));
    assert_eq!(overdue(&state, 9), None, "it waits for entry 1");
    state.reads.give_up(GiveUp::AheadOfCommit);
    let why = overdue(&state, 0).expect("nobody will send entry 1");
    assert!(why.ends_with("it hears nobody who could tell what the read must see"), "{why}");
    state.commit = Index(1);
    assert_eq!(overdue(&state, 9), None, "it has entry 1");
    state.reads.want(ReadId(8), NOW);
    assert!(overdue(&state, 0).is_some_and(|why| why.starts_with("keeps read 8")));
    state.reads.done(ReadId(8));
    assert_eq!(overdue(&state, 9), None);
}
