//! What each action allows, and forged steps that none of them does.

mod leading;
mod reads;
mod sends;

use std::sync::Arc;

use raft_core::{
    AppendEntriesRequest, AppendEntriesResponse, AppendEntriesResult, Config, Configuration, Entry,
    HardState, Index, LogId, Payload, ReadId, Recovered, Round, Save, SaveNumber, Server, ServerId,
    Term, TimeoutNow, Timestamp, VoteRequest, VoteResponse,
};

use super::actions::Reply;
use super::broken::{Action, Broken};
use super::disk::Image;
use super::state::{Configurations, Role, Settings, State};

const S1: ServerId = ServerId(1);
const S2: ServerId = ServerId(2);
const S3: ServerId = ServerId(3);
const NOW: Timestamp = Timestamp::ZERO;

/// One of the servers 1 to 5, and the configurations that it knows.
struct Fixture {
    state: State,
    configurations: Configurations,
}

/// A server whose log, already durable, has these terms.
fn server(terms: &[u64]) -> Fixture {
    let mut configurations = Configurations::default();
    let voters = Configuration::new((1..=5).map(ServerId), []);
    let mut state = State {
        id: S1,
        settings: Settings::from(&Config::new(S1, [S1])),
        members: vec![(Index::ZERO, configurations.id(&Arc::new(voters)))],
        ..State::of(5)
    };
    terms.iter().for_each(|&term| state.log.push(Term(term)));
    state.term = Term(terms.last().copied().unwrap_or(0));
    persist(&mut state);
    Fixture { state, configurations }
}

/// Everything that the server remembers is on its disk.
fn persist(state: &mut State) {
    let hard_state = HardState { current_term: state.term, voted_for: state.voted_for };
    let image = Image { hard_state, snapshot: LogId::ZERO, log: state.log.clone() };
    (state.disk.durable, state.disk.issued) = (image.clone(), image);
}

/// The same, as the leader of the next term, elected by servers 2 and 3, with an entry of its own.
fn leader(terms: &[u64]) -> Fixture {
    let mut fixture = server(terms);
    let Fixture { state, configurations } = &mut fixture;
    state.time_out(false);
    persist(state);
    state.count_own_vote();
    for voter in [S2, S3] {
        state.handle_vote_response(voter, &vote(state.term, true));
    }
    state
        .become_leader(NOW, state.configuration(configurations))
        .expect("three of five are a majority");
    state.log.push(state.term);
    persist(state);
    fixture
}

fn vote(term: Term, vote_granted: bool) -> VoteResponse {
    VoteResponse { term, vote_granted }
}

fn ask(term: u64, candidate_id: ServerId, last: (u64, u64)) -> VoteRequest {
    VoteRequest {
        term: Term(term),
        candidate_id,
        last_log_index: Index(last.0),
        last_log_term: Term(last.1),
        is_transfer: false,
    }
}

/// A request of server 2: entries of these terms after `prev`.
fn append(term: u64, prev: (u64, u64), terms: &[u64], leader_commit: u64) -> AppendEntriesRequest {
    let entry =
        |(&term, index)| Entry { term: Term(term), index: Index(index), payload: Payload::Noop };
    AppendEntriesRequest {
        term: Term(term),
        leader_id: S2,
        prev_log_index: Index(prev.0),
        prev_log_term: Term(prev.1),
        entries: terms.iter().zip(prev.0 + 1..).map(entry).collect(),
        leader_commit: Index(leader_commit),
        round: Round::default(),
    }
}

fn success(term: Term, match_index: u64) -> AppendEntriesResponse {
    let result = AppendEntriesResult::Success { match_index: Index(match_index) };
    AppendEntriesResponse { term, round: Round(1), result }
}

/// Which action refuses, and why.
#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Broken>) -> (Action, String) {
    let broken = result.expect_err("a forged step is refused");
    (broken.action(), broken.to_string())
}

#[test]
fn a_vote_that_comes_twice_elects_nobody() {
    let Fixture { mut state, configurations } = server(&[]);
    state.time_out(false);
    persist(&mut state);
    state.count_own_vote();
    state.handle_vote_response(S2, &vote(Term(1), true));
    state.handle_vote_response(S2, &vote(Term(1), true));
    let (action, why) = refused(state.become_leader(NOW, state.configuration(&configurations)));
    assert_eq!(action, Action::BecomeLeader);
    assert_eq!(
        why,
        "was elected in term 1, which BecomeLeader (Raft §5.2) does not allow: only s1 s2 voted for \
         it, of voters s1 s2 s3 s4 s5"
    );
    state.handle_vote_response(S3, &vote(Term(1), true));
    assert_eq!(state.become_leader(NOW, state.configuration(&configurations)), Ok(()));
}

#[test]
fn refusals_late_votes_and_a_vote_that_is_not_durable_elect_nobody() {
    let Fixture { mut state, configurations } = server(&[]);
    state.time_out(false);
    state.time_out(false);
    state.count_own_vote();
    state.handle_vote_response(S2, &vote(Term(1), true));
    state.handle_vote_response(S3, &vote(Term(2), false));
    state.handle_vote_response(ServerId(4), &vote(Term(2), true));
    state.handle_vote_response(ServerId(5), &vote(Term(2), true));
    let (_, why) = refused(state.become_leader(NOW, state.configuration(&configurations)));
    assert!(why.contains("only s4 s5 voted for it"), "{why}");
    persist(&mut state);
    state.count_own_vote();
    assert_eq!(state.become_leader(NOW, state.configuration(&configurations)), Ok(()));
}

#[test]
fn a_vote_goes_to_the_first_candidate_whose_log_is_up_to_date() {
    let granted = |state: &mut State, request: VoteRequest| {
        state.handle_vote_request(&request) == Reply::Vote(vote(state.term, true))
    };
    // The voter's log ends with 2@2. The later term wins even with the shorter log.
    let cases = [((2, 1), false), ((9, 1), false), ((1, 2), false), ((2, 2), true), ((1, 3), true)];
    for (last, expected) in cases {
        let mut state = server(&[1, 2]).state;
        state.update_term(Term(4));
        assert_eq!(granted(&mut state, ask(4, S2, last)), expected, "{last:?}");
    }
    let mut state = server(&[]).state;
    state.update_term(Term(1));
    assert!(granted(&mut state, ask(1, S2, (0, 0))));
    assert!(granted(&mut state, ask(1, S2, (0, 0))), "the same candidate asks again");
    assert!(!granted(&mut state, ask(1, S3, (0, 0))), "another one comes too late");
    assert_eq!(state.voted_for, Some(S2));
    state.update_term(Term(2));
    assert!(granted(&mut state, ask(2, S3, (0, 0))), "each term has a vote of its own");
}

#[test]
fn what_is_remembered_must_be_on_its_way_to_the_disk() {
    let mut state = server(&[1]).state;
    assert_eq!(state.check_persistence(), Ok(()));
    state.update_term(Term(4));
    let (action, why) = refused(state.check_persistence());
    assert_eq!(action, Action::Persist);
    assert!(why.contains("it must not forget this term"), "{why}");
    persist(&mut state);
    state.handle_vote_request(&ask(4, S2, (1, 1)));
    assert_eq!(refused(state.check_persistence()).0, Action::Persist);
    persist(&mut state);
    state.log.push(Term(4));
    assert_eq!(refused(state.check_persistence()).0, Action::Persist);
}

#[test]
fn nobody_restarts_with_another_vote_than_its_disk_holds() {
    let voted = HardState { current_term: Term(1), voted_for: Some(S2) };
    let save = Save { number: SaveNumber(1), hard_state: Some(voted), ..Save::default() };
    for (is_confirmed, found, expected) in [
        (true, voted, true),
        (true, HardState { voted_for: None, ..voted }, false),
        (true, HardState::default(), false),
        (false, HardState::default(), true),
        (false, voted, true),
    ] {
        let mut state = server(&[]).state;
        state.disk.issue(NOW, &save);
        if is_confirmed {
            state.disk.confirm(SaveNumber(1));
        }
        let explained = state.disk.recover(|image| image.hard_state == found);
        assert_eq!(explained, expected, "{is_confirmed} {found}");
    }
}

#[test]
fn an_entry_of_an_older_term_is_not_committed_by_counting() {
    let Fixture { mut state, configurations } = leader(&[1, 1]);
    let term = state.term;
    for follower in [S2, S3] {
        state.handle_append_entries_response(follower, &success(term, 2), NOW);
    }
    let configuration = state.configuration(&configurations);
    let (action, why) = refused(state.advance_commit_index(Index(2), configuration));
    assert_eq!(action, Action::AdvanceCommitIndex);
    assert!(why.ends_with("entry 2 is of term 1"), "{why}");
    for follower in [S2, S3] {
        state.handle_append_entries_response(follower, &success(term, 3), NOW);
    }
    assert_eq!(state.advance_commit_index(Index(3), configuration), Ok(()));
}

#[test]
fn only_what_a_majority_holds_durably_in_this_term_is_committed() {
    let Fixture { mut state, configurations } = leader(&[1]);
    let (term, configuration) = (state.term, state.configuration(&configurations));
    state.handle_append_entries_response(S2, &success(term, 2), NOW);
    state.handle_append_entries_response(S2, &success(term, 2), NOW);
    state.handle_append_entries_response(S3, &success(Term(1), 2), NOW);
    let (_, why) = refused(state.advance_commit_index(Index(2), configuration));
    assert!(why.ends_with("of voters s1 s2 s3 s4 s5, s1 s2 is known to hold it durably"), "{why}");
    // Its own copy counts like any other: once it is durable.
    state.handle_append_entries_response(S3, &success(term, 2), NOW);
    state.disk.durable.log.truncate(Index(1));
    state.disk.issue(NOW, &Save { number: SaveNumber(1), ..Save::default() });
    assert!(state.advance_commit_index(Index(2), configuration).is_err());
    persist(&mut state);
    assert!(state.advance_commit_index(Index(3), configuration).is_err(), "its log ends before");
    assert_eq!(state.advance_commit_index(Index(2), configuration), Ok(()));
    assert_eq!(state.commit, Index(2));
}

#[test]
fn a_follower_takes_what_fits_and_cuts_only_what_contradicts() {
    // Its log, a request, and what becomes of both.
    type Case<'a> =
        (&'a [u64], AppendEntriesRequest, &'a [u64], Result<u64, (u64, Option<u64>, u64)>);
    let cases: [Case<'_>; 7] = [
        (&[], append(3, (0, 0), &[1, 2], 0), &[1, 2], Ok(2)),
        (&[1, 1, 1], append(3, (1, 1), &[1], 0), &[1, 1, 1], Ok(2)),
        (&[1, 1, 1], append(3, (1, 1), &[3], 0), &[1, 3], Ok(2)),
        (&[1, 1, 1], append(3, (1, 1), &[], 0), &[1, 1, 1], Ok(1)),
        (&[1], append(3, (3, 2), &[3], 0), &[1], Err((3, None, 2))),
        (&[1, 2, 2], append(3, (3, 3), &[3], 0), &[1, 2, 2], Err((3, Some(2), 2))),
        (&[1, 2], append(3, (1, 1), &[2, 3], 9), &[1, 2, 3], Ok(3)),
    ];
    for (terms, request, expected, reply) in cases {
        let Fixture { mut state, mut configurations } = server(terms);
        state.update_term(Term(3));
        let found = state.handle_append_entries_request(&request, NOW, &mut configurations);
        let result = match reply {
            Ok(match_index) => AppendEntriesResult::Success { match_index: Index(match_index) },
            Err((prev, term, index)) => AppendEntriesResult::Conflict {
                prev_log_index: Index(prev),
                hint: raft_core::ConflictHint { term: term.map(Term), index: Index(index) },
            },
        };
        assert_eq!(found, Ok(Reply::Append(Term(3), result)), "{terms:?} {request:?}");
        assert_eq!(state.log, server(expected).state.log, "{terms:?} {request:?}");
        let last = reply.map_or(0, |match_index| match_index);
        assert_eq!(state.commit, request.leader_commit.min(Index(last)));
        assert_eq!((state.role, state.leader), (Role::Follower, Some(S2)));
    }
}

#[test]
fn what_is_committed_is_never_cut() {
    for request in [append(3, (1, 1), &[3], 0), append(3, (2, 2), &[3], 0)] {
        let Fixture { mut state, mut configurations } = server(&[1, 1, 1]);
        state.update_term(Term(3));
        state.commit = Index(2);
        let result = state.handle_append_entries_request(&request, NOW, &mut configurations);
        let (action, why) = refused(result);
        assert_eq!(action, Action::HandleAppendEntriesRequest);
        assert!(why.contains("was told that its entry 2 is another one"), "{why}");
    }
}

#[test]
fn a_term_has_one_leader_and_an_old_one_is_told_so() {
    let Fixture { mut state, mut configurations } = leader(&[1]);
    let request = append(2, (0, 0), &[], 0);
    let result = state.handle_append_entries_request(&request, NOW, &mut configurations);
    assert!(refused(result).1.contains("s1 leads it (Election Safety)"));
    let request = append(1, (0, 0), &[], 0);
    let reply = state.handle_append_entries_request(&request, NOW, &mut configurations);
    assert_eq!(reply, Ok(Reply::Append(Term(2), AppendEntriesResult::StaleTerm)));
    assert_eq!(state.role, Role::Leader);
}

#[test]
fn a_voter_that_hears_a_leader_ignores_all_but_whom_the_leader_wants() {
    let Fixture { mut state, .. } = server(&[1]);
    assert!(!state.must_ignore(&ask(2, S3, (1, 1)), NOW));
    state.follow(S2, Term(1), NOW).expect("nobody else leads");
    let later = NOW + state.settings.protection;
    assert!(state.must_ignore(&ask(2, S3, (1, 1)), NOW));
    assert!(!state.must_ignore(&ask(2, S3, (1, 1)), later), "it has been silent for long");
    assert!(!state.must_ignore(&VoteRequest { is_transfer: true, ..ask(2, S3, (1, 1)) }, NOW));
    state.settings.check_quorum = false;
    assert!(!state.must_ignore(&ask(2, S3, (1, 1)), NOW), "nobody else would end its reign");
}

#[test]
fn a_pre_vote_binds_nobody_and_a_majority_of_them_begins_an_election() {
    let Fixture { mut state, configurations } = server(&[1]);
    let reply = state.handle_pre_vote_request(&ask(2, S2, (1, 1)), NOW);
    assert_eq!(reply, Reply::PreVote(vote(Term(2), true)));
    let reply = state.handle_pre_vote_request(&ask(2, S2, (0, 0)), NOW);
    assert_eq!(reply, Reply::PreVote(vote(Term(1), false)), "its log is behind");
    let reply = state.handle_pre_vote_request(&ask(1, S2, (1, 1)), NOW);
    assert_eq!(reply, Reply::PreVote(vote(Term(1), false)), "the term is not past its own");
    assert_eq!((state.term, state.voted_for), (Term(1), None));
    state.become_pre_candidate();
    let configuration = state.configuration(&configurations);
    for (voter, response) in [(S2, vote(Term(2), true)), (S2, vote(Term(2), true))] {
        state.handle_pre_vote_response(voter, &response, configuration);
    }
    for response in [vote(Term(1), true), vote(Term(2), false)] {
        state.handle_pre_vote_response(S3, &response, configuration);
    }
    assert_eq!(state.role, Role::PreCandidate);
    state.handle_pre_vote_response(S3, &vote(Term(2), true), configuration);
    assert_eq!((state.role, state.term, state.voted_for), (Role::Candidate, Term(2), Some(S1)));
}

#[test]
fn the_cluster_changes_one_step_at_a_time() {
    let ids = |ids: &[u64]| ids.iter().copied().map(ServerId).collect::<Vec<_>>();
    let simple = |voters: &[u64], learners: &[u64]| Configuration::new(ids(voters), ids(learners));
    let joint = |old: &[u64], new: &[u64], learners: &[u64]| {
        Configuration::joint(ids(old), ids(new), ids(learners))
    };
    let (abc, ab) = (&[1, 2, 3][..], &[1, 2][..]);
    // What is in force, whether it is committed, whether the leader has committed in its term, what it
    // appends, and whether it may.
    let cases = [
        (simple(abc, &[]), true, true, simple(abc, &[4]), true),
        (simple(abc, &[]), true, true, joint(abc, ab, &[3]), true),
        (simple(abc, &[4]), true, true, joint(abc, &[1, 2, 4], &[]), true),
        (simple(abc, &[]), true, true, joint(abc, &[1, 2, 4], &[]), false),
        (simple(abc, &[]), true, true, simple(ab, &[]), false),
        (simple(abc, &[]), true, false, simple(abc, &[4]), false),
        (simple(abc, &[]), false, true, simple(abc, &[4]), false),
        (joint(abc, ab, &[]), true, true, simple(ab, &[]), true),
        (joint(abc, ab, &[]), false, true, simple(ab, &[]), false),
        (joint(abc, ab, &[]), true, true, simple(abc, &[]), false),
        (joint(abc, ab, &[]), true, true, joint(ab, &[1], &[]), false),
    ];
    for (old, is_committed, has_committed, new, expected) in cases {
        let Fixture { mut state, mut configurations } = leader(&[1]);
        state.members = vec![(Index(2), configurations.id(&Arc::new(old.clone())))];
        state.commit = Index(if is_committed { 2 } else { 1 });
        state.has_committed = has_committed;
        let found = state.check_change(Index(3), &new, NOW, &configurations);
        assert_eq!(found.is_ok(), expected, "{new} after {old}: {found:?}");
    }
}

#[test]
fn whoever_knows_that_c_old_new_is_committed_leaves_it_at_once() {
    let joint = Configuration::joint([S1, S2, S3], [S1, S2], []);
    for (committed, has_committed, leads, expected) in [
        (2, true, true, false),
        (1, true, true, true),
        (2, false, true, true),
        (2, true, false, true),
    ] {
        let Fixture { mut state, mut configurations } = leader(&[1]);
        state.members = vec![(Index(2), configurations.id(&Arc::new(joint.clone())))];
        (state.commit, state.has_committed) = (Index(committed), has_committed);
        state.role = if leads { Role::Leader } else { Role::Follower };
        let found = state.check_left(&configurations);
        assert_eq!(found.is_ok(), expected, "{committed} {has_committed} {leads}: {found:?}");
    }
}

#[test]
fn the_cluster_changes_as_was_asked_and_not_otherwise() {
    use raft_core::MembershipChange::{AddLearner, AddVoter, Demote, Remove};

    let ids = |ids: &[u64]| ids.iter().copied().map(ServerId).collect::<Vec<_>>();
    let old = || Configuration::new(ids(&[1, 2, 3]), ids(&[4]));
    let joint = |new: &[u64], learners: &[u64]| {
        Configuration::joint(ids(&[1, 2, 3]), ids(new), ids(learners))
    };
    let cases = [
        (vec![Remove(S3)], joint(&[1, 2], &[4]), true),
        (vec![Remove(S3)], joint(&[1, 2], &[]), false),
        (vec![Demote(S3)], joint(&[1, 2], &[3, 4]), true),
        (vec![Demote(S3)], joint(&[1, 2], &[4]), false),
        (vec![Demote(S3)], joint(&[1, 2, 3], &[3, 4]), false),
        (vec![AddVoter(ServerId(4)), Remove(S2)], joint(&[1, 3, 4], &[]), true),
        (vec![AddVoter(ServerId(4)), Remove(S2)], joint(&[1, 2, 3, 4], &[]), false),
        (vec![AddLearner(ServerId(5))], Configuration::new(ids(&[1, 2, 3]), ids(&[4, 5])), true),
        (vec![AddLearner(ServerId(5))], old(), false),
    ];
    for (changes, new, expected) in cases {
        let Fixture { mut state, mut configurations } = leader(&[1]);
        let before = configurations.id(&Arc::new(old()));
        state.members = vec![(Index(1), before), (Index(3), configurations.id(&Arc::new(new)))];
        let found = state.check_changed(before, &changes, &configurations);
        assert_eq!(found.is_ok(), expected, "{changes:?}: {found:?}");
    }
}

#[test]
fn a_leader_that_no_majority_answers_gives_up_and_no_other_does() {
    let Fixture { mut state, configurations } = leader(&[1]);
    let patience = state.settings.election_timeout_max;
    let (soon, late) = (NOW + patience / 2, NOW + patience);
    for (answered, leads_on, expected) in [
        (&[S2, S3][..], true, true),
        (&[S2, S3], false, false),
        (&[S2], true, false),
        (&[S2], false, true),
    ] {
        state.answers.lead(NOW);
        answered.iter().for_each(|&server| state.answers.heard(server, soon));
        let configuration = state.configuration(&configurations);
        let found = state.check_leading(late, leads_on, configuration);
        assert_eq!(found.is_ok(), expected, "{answered:?} {leads_on} {found:?}");
    }
    state.settings.check_quorum = false;
    state.answers.lead(NOW);
    let configuration = state.configuration(&configurations);
    assert!(state.check_leading(late, true, configuration).is_ok(), "nobody asks it to");
    assert!(state.check_leading(late, false, configuration).is_err());
}

#[test]
fn a_learner_that_is_far_behind_does_not_become_a_voter() {
    let abc = [1, 2, 3];
    for (held, lag_max, expected) in [(2, 0, true), (1, 0, false), (1, 1, true), (0, 1, false)] {
        let Fixture { mut state, mut configurations } = leader(&[1]);
        let old = Configuration::new(abc.map(ServerId), [ServerId(4)]);
        state.members = vec![(Index(1), configurations.id(&Arc::new(old.clone())))];
        (state.commit, state.has_committed) = (Index(2), true);
        state.settings.catch_up_entries_max = lag_max;
        state.matched.raise(ServerId(4), Index(held));
        let new = Configuration::joint(abc.map(ServerId), [1, 2, 3, 4].map(ServerId), []);
        let found = state.check_change(Index(3), &new, NOW, &configurations);
        assert_eq!(found.is_ok(), expected, "{held} of 2 with {lag_max}: {found:?}");
    }
}

#[test]
fn entries_are_saved_with_their_term_or_after_it() {
    let mut state = server(&[1]).state;
    let entry = Entry { term: Term(2), index: Index(2), payload: Payload::Noop };
    let save = Save { number: SaveNumber(1), entries: vec![entry].into(), ..Save::default() };
    let hard_state = HardState { current_term: Term(2), voted_for: None };
    for (hard_state, is_right) in [(None, false), (Some(hard_state), true)] {
        state.disk.issue(NOW, &Save { hard_state, ..save.clone() });
        let checked = state.check_saved_term().map_err(|broken| broken.to_string());
        assert_eq!(checked.is_ok(), is_right, "{checked:?}");
    }
}

#[test]
fn only_a_voter_that_has_everything_is_told_to_take_over_and_does_so_in_time() {
    let Fixture { mut state, configurations } = leader(&[1]);
    let (term, configuration) = (state.term, state.configuration(&configurations));
    let last = LogId::new(Term(2), Index(2));
    let request = TimeoutNow { term, leader_id: S1, last };
    let (action, why) = refused(state.check_timeout_now(S2, &request, configuration));
    assert_eq!(action, Action::TransferLeadership);
    assert!(why.ends_with("it does not know that server to have everything"), "{why}");
    state.handle_append_entries_response(S2, &success(term, 2), NOW);
    assert_eq!(state.check_timeout_now(S2, &request, configuration), Ok(()));
    assert!(state.has_handed_over);

    let hears = |leader, last| TimeoutNow { term: Term(1), leader_id: leader, last };
    let end = LogId::new(Term(1), Index(1));
    for (request, expected) in [
        (hears(S2, end), Role::Candidate),
        (hears(S3, end), Role::Follower),
        (hears(S2, LogId::new(Term(1), Index(2))), Role::Follower),
    ] {
        let Fixture { mut state, configurations } = server(&[1]);
        state.follow(S2, Term(1), NOW).expect("nobody else leads");
        let configuration = state.configuration(&configurations);
        state.handle_timeout_now(&request, NOW, configuration);
        assert_eq!(state.role, expected, "{request:?}");
    }
}

#[test]
fn entries_go_only_behind_a_durable_snapshot_that_was_applied() {
    let mut state = server(&[1, 1, 1]).state;
    (state.commit, state.applied) = (Index(2), Index(2));
    let through = LogId::new(Term(1), Index(2));
    assert_eq!(refused(state.compact(through)).0, Action::Compact);
    state.disk.durable.snapshot = through;
    assert!(state.compact(LogId::new(Term(1), Index(3))).is_err());
    assert!(state.compact(LogId::new(Term(2), Index(2))).is_err(), "its entry is another one");
    assert_eq!(state.compact(through), Ok(()));
    assert_eq!(state.log.start(), through);
}

/// A real server with a log of these terms, and the specification beside it.
fn refined(terms: &[u64]) -> (super::Refinement, Server) {
    let entries = append(9, (0, 0), terms, 0).entries.to_vec();
    let current_term = entries.last().map_or(Term(0), |entry| entry.term);
    let hard_state = HardState { current_term, voted_for: None };
    let recovered = Recovered { hard_state, entries, ..Recovered::default() };
    let config = Config { pre_vote: false, ..Config::new(S1, (1..=3).map(ServerId)) };
    let server = Server::new(config, recovered).expect("the log is in order");
    let mut refinement = super::Refinement::new(3);
    let state = &mut refinement.servers[0];
    state.log.clone_from(&self::server(terms).state.log);
    state.term = current_term;
    persist(state);
    refinement.start(0, NOW, &server).expect("it starts from its disk");
    (refinement, server)
}

#[test]
fn only_the_leader_and_a_vote_given_away_put_an_election_off() {
    let second = |count| NOW + std::time::Duration::from_secs(count);
    type Prepare<'a> = &'a dyn Fn(&mut State);
    let check = |prepare: Prepare<'_>, fires_at| {
        let mut state = server(&[1]).state;
        state.timer.observe(Some(second(5)));
        state.timer.begin();
        prepare(&mut state);
        let result = state.check_timer(second(1), Some(fires_at), Role::Follower, false);
        result.err().map(|broken| broken.action())
    };
    let grant = |state: &mut State| {
        let reply = state.handle_vote_request(&ask(1, S2, (1, 1)));
        assert_eq!(reply, Reply::Vote(vote(Term(1), true)));
    };
    let refuse = |state: &mut State| {
        let reply = state.handle_vote_request(&ask(1, S2, (0, 0)));
        assert_eq!(reply, Reply::Vote(vote(Term(1), false)));
    };
    let hear = |state: &mut State| {
        state.follow(S2, Term(1), second(1)).expect("nobody else leads");
    };
    let broken = Some(Action::ElectionTimer);
    let cases: [(Prepare<'_>, _, _); 8] = [
        (&grant, second(9), None),
        (&grant, second(1), broken),
        (&hear, second(9), None),
        (&hear, second(1), broken),
        (&refuse, second(5), None),
        (&refuse, second(9), broken),
        // A candidate of a later term is not the timer's business, nor is a new role.
        (&|state| state.update_term(Term(7)), second(9), broken),
        (&|state| state.time_out(false), second(9), None),
    ];
    for (number, (prepare, fires_at, expected)) in cases.into_iter().enumerate() {
        assert_eq!(check(prepare, fires_at), expected, "case {number}");
    }
}

#[test]
fn a_server_that_starts_with_more_or_less_than_its_disk_holds_is_found() {
    let (mut refinement, _) = refined(&[1, 1]);
    for terms in [&[1][..], &[1, 1, 1], &[1, 2]] {
        let (_, other) = refined(terms);
        let message = refinement.start(0, NOW, &other).expect_err("it is another log");
        assert!(message.contains("Restart (Raft Fig. 2, persistent state)"), "{message}");
    }
}

#[test]
fn a_message_that_nobody_sent_is_found() {
    use raft_core::{Effects, Envelope, Input, Message};

    let step = |refinement: &mut super::Refinement, server: &mut Server, input: Input| {
        let mut effects = Effects::new();
        refinement.hear(&input);
        let taken = |server: &Server, effects: &[_], outcome| {
            refinement.took(0, NOW, server, effects, outcome);
        };
        server.step_each(NOW, [input], &mut effects, taken).expect("it takes the input");
        refinement.step(0, NOW, server, effects.as_slice())
    };
    let (mut refinement, mut server) = refined(&[]);
    assert_eq!(step(&mut refinement, &mut server, Input::NotifyJoinedService), Ok(()));
    let envelope = Envelope {
        cluster_id: server.config().cluster_id,
        from: S2.into(),
        to: S1.into(),
        message: Message::VoteRequest(ask(1, S2, (0, 0))),
    };
    for is_sent in [true, false] {
        let (mut refinement, mut server) = (refinement.clone(), server.clone());
        if is_sent {
            refinement.sent(&envelope);
        }
        let result = step(&mut refinement, &mut server, Input::Message(envelope.clone()));
        let expected = "s1 received s2@1 → s1 VoteRequest last=0@0, which Receive (of a message that \
                        was sent) does not allow: nobody sent it";
        assert_eq!(result, if is_sent { Ok(()) } else { Err(expected.to_owned()) });
    }
}
