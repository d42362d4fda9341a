//! Figure 2: what is persistent, and when; and the rules for all servers.

use raft_core::{Effect, Effects, Index, Input, SaveNumber, StepError, Timestamp};

use crate::bench::{
    Bench, NOTHING, append, append_all, command, envelope, success, vote, vote_request,
};

/// "Persistent state on all servers: updated on stable storage before responding to RPCs."
#[test]
fn a_granted_vote_waits_for_its_save() {
    let mut bench = Bench::follower(3, 1, &[]);
    bench.holds_saves = true;
    assert_eq!(bench.receive(2, vote_request(2, 2, (0, 0))), ["save term=2 voted_for=s2"]);
    // Asked again, and by another one: every answer waits in its turn.
    assert_eq!(bench.receive(2, vote_request(2, 2, (0, 0))), NOTHING);
    assert_eq!(bench.receive(3, vote_request(2, 3, (0, 0))), NOTHING);
    assert_eq!(
        bench.saved(),
        ["→ s2 VoteResponse granted", "→ s2 VoteResponse granted", "→ s3 VoteResponse refused"]
    );
}

/// The candidate's own vote and term are no exception.
#[test]
fn a_candidate_asks_when_its_own_vote_is_saved() {
    let mut bench = Bench::follower(3, 1, &[]);
    bench.holds_saves = true;
    assert_eq!(bench.elapse(), ["save term=2 voted_for=s1"]);
    assert_eq!(bench.saved(), ["→ all VoteRequest last=0@0"]);
}

/// A vote that arrives before the candidate's own is durable (it cannot, but who knows) does not stand
/// in for it.
#[test]
fn the_own_vote_counts_only_when_it_is_saved() {
    let mut bench = Bench::follower(3, 1, &[]);
    bench.holds_saves = true;
    bench.elapse();
    bench.receive(2, vote(2, true));
    assert_eq!(bench.role(), "candidate");
    bench.saved();
    assert_eq!(bench.role(), "leader");
}

/// The save of an earlier step does not make a later vote durable.
#[test]
fn an_earlier_save_does_not_count_for_the_own_vote() {
    let mut bench = Bench::follower(1, 1, &[]);
    bench.holds_saves = true;
    bench.elapse();
    bench.elapse();
    assert_eq!((bench.saved_one(), bench.role()), (vec![], "candidate"));
    bench.saved_one();
    assert_eq!((bench.role(), bench.term()), ("leader", 3));
}

/// The election restriction speaks of the log that is durable: a request waits for its entries too.
#[test]
fn a_candidate_asks_when_its_log_is_saved() {
    let mut bench = Bench::follower(3, 1, &[]);
    bench.holds_saves = true;
    bench.receive(2, append(1, 2, (0, 0), &[1], 0));
    bench.elapse();
    assert_eq!(bench.saved_one(), NOTHING);
    assert_eq!(bench.saved_one(), ["→ all VoteRequest last=1@1"]);
}

/// An acknowledged entry is durable.
#[test]
fn an_acknowledgement_waits_for_its_entries() {
    let mut bench = Bench::follower(3, 1, &[]);
    bench.holds_saves = true;
    assert_eq!(bench.receive(2, append(1, 2, (0, 0), &[1, 1], 0)), ["save entries=1@1..2@1"]);
    // Neither a heartbeat nor a copy of the request overtakes the save.
    assert_eq!(bench.receive(2, append(1, 2, (2, 1), &[], 0)), NOTHING);
    assert_eq!(bench.receive(2, append(1, 2, (0, 0), &[1], 0)), NOTHING);
    assert_eq!(bench.saved().len(), 3);
}

/// Neither does an acknowledgement leave before the term it is given in is durable: after a crash the
/// server would be back in the old term, and could replace what it acknowledged in the new one.
#[test]
fn an_acknowledgement_waits_for_its_term() {
    let mut bench = Bench::follower(3, 1, &[1]);
    bench.holds_saves = true;
    // The request itself brings the term.
    assert_eq!(bench.receive(2, append(2, 2, (1, 1), &[], 0)), ["save term=2 voted_for=none"]);
    // The term is on its way already.
    assert_eq!(bench.receive(2, append(2, 2, (1, 1), &[], 0)), NOTHING);
    assert_eq!(
        bench.saved(),
        ["→ s2 AppendEntriesResponse match=1", "→ s2 AppendEntriesResponse match=1"]
    );
    assert_eq!(
        bench.receive(2, append(2, 2, (1, 1), &[], 0)),
        ["→ s2 AppendEntriesResponse match=1"]
    );
}

/// What is durable is acknowledged at once, whatever else is on its way to the disk.
#[test]
fn durable_entries_are_acknowledged_without_waiting_for_later_ones() {
    let mut bench = Bench::follower(3, 1, &[1]);
    bench.holds_saves = true;
    bench.receive(2, append(1, 2, (1, 1), &[1, 1], 0));
    assert_eq!(
        bench.receive(2, append(1, 2, (0, 0), &[1], 0)),
        ["→ s2 AppendEntriesResponse match=1"]
    );
}

/// Conflicts, stale terms and heartbeats promise nothing and do not wait.
#[test]
fn what_promises_nothing_leaves_at_once() {
    let mut bench = Bench::follower(3, 1, &[1]);
    bench.holds_saves = true;
    bench.receive(2, append(2, 2, (1, 1), &[2], 0));
    assert_eq!(
        bench.receive(2, append(2, 2, (9, 2), &[], 0)),
        ["→ s2 AppendEntriesResponse conflict prev=9 hint=3"]
    );
    assert_eq!(
        bench.receive(3, append(1, 3, (1, 1), &[], 0)),
        ["→ s3 AppendEntriesResponse stale term"]
    );
    let mut bench = Bench::leader(3, 1, &[1]);
    bench.holds_saves = true;
    assert_eq!(bench.request(1, 1, "x").len(), 1, "a probe is under way");
    assert_eq!(bench.elapse().len(), 2);
}

/// A promise of a term that is over is not kept: the server may have promised otherwise since.
#[test]
fn promises_of_an_earlier_term_are_dropped() {
    let mut bench = Bench::follower(3, 1, &[1]);
    bench.holds_saves = true;
    bench.receive(2, vote_request(2, 2, (1, 1)));
    bench.receive(2, append(2, 2, (1, 1), &[2], 0));
    bench.receive(3, vote_request(3, 3, (9, 2)));
    assert_eq!(bench.saved(), ["→ s3 VoteResponse granted"]);
}

/// "A majority of matchIndex[i] ≥ N": the leader's own copy is one of them once it is durable.
#[test]
fn the_leaders_own_copy_counts_when_it_is_saved() {
    let mut bench = Bench::leader(3, 1, &[1]);
    bench.holds_saves = true;
    bench.request(1, 1, "x");
    bench.receive(2, success(2, 3));
    assert_eq!(bench.commit_index(), 2);
    bench.saved();
    assert_eq!(bench.commit_index(), 3);
}

/// "If commitIndex > lastApplied: increment lastApplied, apply log[lastApplied] to state machine": all
/// of them, and only what is durable here.
#[test]
fn committed_entries_are_applied_when_they_are_durable() {
    let mut bench = Bench::follower(3, 1, &[]);
    bench.holds_saves = true;
    let log = vec![command((1, 1), 1, "a"), command((2, 1), 2, "b")];
    bench.receive(2, append_all(1, 2, (0, 0), log, 2));
    assert_eq!((bench.commit_index(), bench.applied.len()), (2, 0));
    bench.saved();
    assert_eq!(bench.applied, ["1@1 c1#1 a", "2@1 c1#2 b"]);
    assert_eq!(bench.server.last_applied(), Index(2));
}

/// What replaces a durable entry is not durable yet, in the very step that replaces it.
#[test]
fn a_replaced_entry_is_not_applied_before_its_own_save() {
    let mut bench = Bench::follower(3, 3, &[1, 1]);
    bench.holds_saves = true;
    let replacement = vec![command((2, 2), 1, "new")];
    assert_eq!(
        bench.receive(2, append_all(3, 2, (1, 1), replacement, 2)),
        ["save entry=2@2", "commit 2", "apply through 1"]
    );
    assert_eq!(
        bench.saved(),
        ["apply 2@2 c1#1 new, through 2", "→ s2 AppendEntriesResponse match=2"]
    );
}

/// A step asks for one save at most, before everything else it asks for.
#[test]
fn a_step_saves_once_and_first() {
    let mut bench = Bench::follower(3, 1, &[1]);
    let mut effects = Effects::new();
    let input = Input::Message(envelope(2, append(2, 2, (1, 1), &[2], 1)));
    bench.server.step(Timestamp::ZERO, input, &mut effects).unwrap();
    let saves = effects.as_slice().iter().filter(|effect| matches!(effect, Effect::Save(_)));
    assert_eq!(saves.count(), 1);
    let Effect::Save(save) = &effects.as_slice()[0] else { panic!("{effects:?}") };
    assert_eq!(save.to_string(), "save term=2 voted_for=none entry=2@2");
    assert_eq!(save.number, SaveNumber(1));
}

/// Only what was asked for can be confirmed.
#[test]
fn a_save_or_apply_that_was_never_asked_for_is_refused() {
    let mut bench = Bench::follower(3, 1, &[1]);
    let error = bench.refuse_input(Input::Saved(SaveNumber(1)));
    assert!(matches!(error, StepError::UnknownSave { .. }));
    let nothing_asked = Input::Applied { through: Index(1), responses: Vec::new() };
    assert!(matches!(bench.refuse_input(nothing_asked), StepError::UnknownApply { .. }));

    let mut effects = Effects::new();
    let input = Input::Message(envelope(2, append(1, 2, (1, 1), &[], 1)));
    bench.server.step(Timestamp::ZERO, input, &mut effects).unwrap();
    for (through, responses) in [(0, 0), (2, 0), (1, 1)] {
        let responses = vec![bytes::Bytes::new(); responses];
        let error = bench.refuse_input(Input::Applied { through: Index(through), responses });
        assert!(matches!(error, StepError::UnknownApply { .. }));
    }
    assert_eq!(bench.server.status().refusals["unknown-apply"], 4);
    bench.step(Input::Applied { through: Index(1), responses: Vec::new() }).unwrap();
    assert_eq!(bench.server.last_applied(), Index(1));
    let again = Input::Applied { through: Index(1), responses: Vec::new() };
    assert!(matches!(bench.refuse_input(again), StepError::UnknownApply { .. }));
}
