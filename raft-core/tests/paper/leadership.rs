//! Leadership transfer (dissertation §3.10), and our own rules for who leads: priorities, disks that hang,
//! servers that lost their log.

use std::time::Duration;

use raft_core::{
    AppendEntriesResponse, AppendEntriesResult, ConflictHint, Index, Input, LogId, Message, ReadId,
    ReadMode, Round, ServerId, Term, TimeoutNow,
};

use crate::bench::{
    Bench, NOTHING, append, append_all, conflict, entries, success, vote, vote_request,
};

fn timeout_now(term: u64, leader: u64, last: (u64, u64)) -> Message {
    let (term, leader_id) = (Term(term), ServerId(leader));
    Message::TimeoutNow(TimeoutNow {
        term,
        leader_id,
        last: LogId::new(Term(last.1), Index(last.0)),
    })
}

/// An answer to a request of this round.
fn answer(term: u64, round: u64, result: AppendEntriesResult) -> Message {
    let (term, round) = (Term(term), Round(round));
    Message::AppendEntriesResponse(AppendEntriesResponse { term, round, result })
}

fn lacks(prev: u64, index: u64) -> AppendEntriesResult {
    let hint = ConflictHint { term: None, index: Index(index) };
    AppendEntriesResult::Conflict { prev_log_index: Index(prev), hint }
}

/// A follower of server 2 in term 1, with two entries.
fn follower() -> Bench {
    let mut bench = Bench::with(3, 1, None, entries(1, &[1, 1]), |config| {
        config.pre_vote = true;
        config.disk_stall_timeout = Some(Duration::from_millis(100));
    });
    bench.receive(2, append(1, 2, (2, 1), &[], 0));
    bench
}

/// §3.10: the target starts an election at once, without waiting for its timeout, and without asking
/// first whether it would be elected.
#[test]
fn the_target_calls_an_election_at_once() {
    let mut bench = follower();
    assert_eq!(
        bench.receive(2, timeout_now(1, 2, (2, 1))),
        ["save term=2 voted_for=s1", "→ all VoteRequest last=2@1 for the leader"]
    );
}

/// A word that comes late is for another time: another term, another leader, another log.
#[test]
fn a_word_for_another_time_is_not_heeded() {
    for message in [
        timeout_now(2, 2, (2, 1)),
        timeout_now(3, 2, (1, 1)),
        timeout_now(3, 2, (3, 1)),
        timeout_now(3, 2, (2, 2)),
    ] {
        let mut bench = follower();
        bench.receive(2, append(3, 2, (2, 1), &[], 0));
        assert_eq!(bench.receive(2, message.clone()), NOTHING, "{message:?}");
        assert_eq!(bench.role(), "follower");
    }
    // Of this term's leader it knows nothing yet, so it may have been deposed since.
    let mut bench = follower();
    bench.receive(2, timeout_now(2, 2, (2, 1)));
    assert_eq!((bench.role(), bench.term()), ("follower", 2));
    // It asks for itself meanwhile.
    let mut bench = follower();
    bench.elapse();
    assert_eq!(bench.receive(2, timeout_now(1, 2, (2, 1))), NOTHING);
}

/// Whoever has no vote, or a disk that hangs, could not lead.
#[test]
fn a_learner_or_a_server_whose_disk_hangs_does_not_take_over() {
    let mut learner = Bench::with(3, 1, None, entries(1, &[1]), |config| {
        config.voters = vec![ServerId(2), ServerId(3)];
        config.learners = vec![ServerId(1)];
    });
    learner.receive(2, append(1, 2, (1, 1), &[], 0));
    assert_eq!(learner.receive(2, timeout_now(1, 2, (1, 1))), NOTHING);

    let mut bench = follower();
    bench.holds_saves = true;
    bench.receive(2, append(1, 2, (2, 1), &[1], 0));
    bench.now = bench.now + Duration::from_millis(100);
    assert!(bench.server.is_disk_stalled(bench.now));
    assert_eq!(bench.receive(2, timeout_now(1, 2, (3, 1))), NOTHING);
    bench.saved();
    assert!(!bench.server.is_disk_stalled(bench.now));
    bench.receive(2, timeout_now(1, 2, (3, 1)));
    assert_eq!(bench.role(), "candidate");
}

/// A server whose disk hangs calls no election until that is over.
#[test]
fn no_election_while_the_disk_hangs() {
    let mut bench = follower();
    bench.holds_saves = true;
    bench.receive(2, append(1, 2, (2, 1), &[1], 0));
    for _ in 0..5 {
        bench.elapse();
        assert_eq!(bench.role(), "follower");
    }
    assert_eq!(bench.server.leader_hint(), None, "a silent leader is none to send clients to");
    bench.saved();
    bench.elapse();
    assert_eq!(bench.role(), "pre-candidate");
}

/// Who is being handed to, and since when the disk is busy, is there for an operator to see.
#[test]
fn a_status_tells_of_a_transfer_and_of_a_busy_disk() {
    let mut bench = Bench::leader(3, 0, &[]);
    bench.receive(2, success(1, 1));
    assert_eq!(bench.server.status().save_pending_since, None);
    bench.holds_saves = true;
    bench.request(1, 1, "x");
    assert_eq!(bench.server.status().save_pending_since, Some(bench.now));
    bench.step(Input::TransferLeadership { to: Some(ServerId(2)) }).unwrap();
    let transfer = bench.server.status().transfer.unwrap();
    assert_eq!((transfer.target, transfer.is_sent), (ServerId(2), false));
    bench.receive(2, success(1, 2));
    assert!(bench.server.status().transfer.unwrap().is_sent);
}

/// Whoever has a leader in this term votes for nobody in it, though its vote may be free: it may have
/// given one that its disk has lost since.
#[test]
fn a_term_that_has_a_leader_needs_no_vote() {
    let mut bench = Bench::follower(3, 2, &[1]);
    bench.receive(2, append(2, 2, (1, 1), &[], 0));
    assert_eq!(bench.voted_for(), None);
    assert_eq!(bench.receive(3, vote_request(2, 3, (9, 1))), ["→ s3 VoteResponse refused"]);
    assert_eq!(bench.receive(3, vote_request(3, 3, (9, 1))).len(), 2, "the next term is open");
}

/// The leader of three, whose followers have both confirmed its first entry, in its first round.
fn settled() -> Bench {
    let mut bench = Bench::leader(3, 0, &[]);
    for follower in [2, 3] {
        bench.receive(
            follower,
            answer(1, 1, AppendEntriesResult::Success { match_index: Index(1) }),
        );
    }
    bench
}

/// An answer proves that a follower lost what it confirmed if the question was asked after that, and
/// only then: until it is asked again, every answer may be a late one.
#[test]
fn only_an_answer_to_a_later_question_proves_a_loss() {
    let mut bench = settled();
    bench.receive(2, answer(1, 1, lacks(1, 1)));
    bench.receive(2, answer(1, 0, lacks(0, 1)));
    assert!(!bench.progress(2).has_lost_log);
    bench.elapse();
    bench.receive(2, answer(1, 1, lacks(1, 1)));
    assert!(!bench.progress(2).has_lost_log, "the same answer once more");
    bench.receive(2, answer(1, 2, lacks(2, 1)));
    assert!(!bench.progress(2).has_lost_log, "it lacks what it never confirmed");
    bench.receive(2, answer(1, 2, lacks(1, 1)));
    assert!(bench.progress(2).has_lost_log);
    assert!(bench.server.status().progress[&ServerId(2)].has_lost_log);
}

/// A follower that lost its log confirms nothing: no entry, and no read.
#[test]
fn a_follower_that_lost_its_log_is_not_counted() {
    let mut bench = settled();
    bench.elapse();
    bench.receive(2, answer(1, 2, lacks(1, 1)));
    bench.request(1, 1, "x");
    bench.receive(2, answer(1, 2, AppendEntriesResult::Success { match_index: Index(2) }));
    assert_eq!(bench.commit_index(), 1);
    bench.step(Input::Read { id: ReadId(7), mode: ReadMode::ReadIndex }).unwrap();
    assert_eq!(bench.receive(2, answer(1, 3, lacks(1, 1))), NOTHING);
    let lines = bench.receive(3, answer(1, 3, lacks(1, 2)));
    assert!(lines.contains(&"read 7 ready at 1".to_owned()), "{lines:?}");
}

/// It is kept from calling elections, and the leader goes on as long as it is heard.
#[test]
fn a_follower_that_lost_its_log_gets_heartbeats_only() {
    let mut bench = settled();
    bench.elapse();
    bench.receive(2, answer(1, 2, lacks(1, 1)));
    let lines = bench.request(1, 1, "x");
    assert!(!lines.iter().any(|line| line.starts_with("→ s2")), "{lines:?}");
    let lines = bench.elapse();
    assert!(lines.contains(&"→ s2 AppendEntriesRequest prev=1@1 commit=1".to_owned()), "{lines:?}");
}

/// Rounds are counted anew in each term, so an answer to a request of an earlier reign says nothing
/// about the rounds of this one: it would confirm reads long before they are asked for.
#[test]
fn an_answer_to_an_earlier_reign_confirms_no_round() {
    let mut bench = settled();
    bench.receive(3, append(2, 3, (1, 1), &[2], 1));
    bench.elapse();
    bench.win();
    bench.receive(2, success(3, 3));
    // What server 2 says to round 50 of the first reign.
    bench.receive(2, answer(3, 50, AppendEntriesResult::StaleTerm));
    let lines = bench.step(Input::Read { id: ReadId(7), mode: ReadMode::ReadIndex }).unwrap();
    assert!(!lines.iter().any(|line| line.contains("ready")), "{lines:?}");
    assert_eq!(bench.receive(3, conflict(3, 9, 9, None)), NOTHING);
    let lines = bench.receive(3, answer(3, 2, lacks(9, 9)));
    assert!(lines.contains(&"read 7 ready at 3".to_owned()), "{lines:?}");
}

/// A voter of higher priority is elected first: the others wait longer, by as much as elections are
/// spread, for each that is preferred to them.
#[test]
fn less_preferred_voters_wait_longer() {
    let wait = |priorities: &[(u64, u32)]| {
        let bench = Bench::with(4, 0, None, Vec::new(), |config| {
            config.priorities = priorities.iter().map(|&(id, n)| (ServerId(id), n)).collect();
        });
        bench.server.next_timeout().unwrap()
    };
    let spread = Duration::from_millis(300);
    let alone = wait(&[]);
    assert_eq!(wait(&[(1, 1), (2, 1)]), alone, "nobody is preferred to it");
    assert_eq!(wait(&[(2, 1)]), alone + spread);
    assert_eq!(wait(&[(2, 7), (3, 1), (1, 1)]), alone + spread);
    assert_eq!(wait(&[(2, 7), (3, 1), (4, 2)]), alone + spread * 3);
    assert_eq!(wait(&[(9, 1)]), alone, "who is no voter is not waited for");
}

/// A leader defers to a preferred voter that holds everything committed and was heard of lately; then it
/// takes no commands until that leads, or has failed to.
#[test]
fn a_leader_defers_to_a_preferred_voter_that_has_caught_up() {
    let mut bench = Bench::with(3, 0, None, Vec::new(), |config| {
        config.priorities.insert(ServerId(2), 1);
    });
    bench.elapse();
    bench.win();
    bench.receive(3, success(1, 1));
    bench.receive(2, conflict(1, 0, 1, None));
    bench.elapse();
    assert!(bench.server.status().transfer.is_none(), "it lacks what is committed");
    bench.receive(2, success(1, 1));
    let lines = bench.elapse();
    assert!(lines.contains(&"→ s2 TimeoutNow last=1@1".to_owned()), "{lines:?}");
    // It fails. The leader leads on, and asks again much later.
    let begun = bench.now;
    let mut lines = Vec::new();
    while !lines.iter().any(|line: &String| line.contains("TimeoutNow")) {
        lines = bench.elapse();
        let last = bench.server.log().last_index().0;
        lines.extend(bench.receive(2, success(1, last)));
        assert_eq!(bench.role(), "leader");
    }
    let waited = bench.now.since(begun).as_millis();
    assert!((4800..5500).contains(&waited), "{waited}");
}

/// A leader does not defer to a voter that was not heard of lately, nor before it has committed an entry
/// of its term: an election right after the one before would help nobody.
#[test]
fn a_leader_does_not_defer_to_a_silent_voter_or_too_early() {
    let leader = || {
        let mut bench = Bench::with(3, 1, None, entries(1, &[1]), |config| {
            config.priorities = [(ServerId(2), 5), (ServerId(3), 1)].into();
        });
        bench.elapse();
        bench.win();
        bench
    };
    let defers = |bench: &Bench| match bench.server.status().transfer {
        Some(transfer) => {
            assert_eq!(transfer.target, ServerId(2), "the most preferred of those that can");
            true
        }
        None => false,
    };
    let mut early = leader();
    early.receive(2, success(2, 1));
    early.elapse();
    assert!(!defers(&early), "nothing of this term is committed");
    early.receive(3, success(2, 2));
    early.receive(2, success(2, 2));
    early.elapse();
    assert!(defers(&early));

    let mut silent = leader();
    silent.receive(2, success(2, 2));
    silent.elapse_after(silent.server.config().election_timeout_min);
    assert!(!defers(&silent));
    silent.receive(2, success(2, 2));
    silent.elapse();
    assert!(defers(&silent));
}

/// A restart forgets the leader, but not who has a vote.
#[test]
fn a_learner_calls_no_election_after_a_restart() {
    let log = {
        let mut log = entries(1, &[1]);
        let learners = raft_core::Configuration::new([2, 3].map(ServerId), [ServerId(1)]);
        let payload = raft_core::Payload::Configuration(learners.into());
        log.push(raft_core::Entry { index: Index(2), term: Term(1), payload });
        log
    };
    let mut bench = Bench::with(3, 1, None, Vec::new(), |config| {
        config.voters = vec![ServerId(2), ServerId(3)];
    });
    bench.receive(2, append_all(1, 2, (0, 0), log.clone(), 0));
    assert_eq!(bench.elapse(), NOTHING);
    let mut bench = Bench::with(3, 1, None, log, |config| {
        config.voters = vec![ServerId(2), ServerId(3)];
    });
    assert_eq!(bench.elapse(), NOTHING);
    assert_eq!(bench.receive(2, vote(1, true)), NOTHING);
    assert_eq!(bench.role(), "follower");
}
