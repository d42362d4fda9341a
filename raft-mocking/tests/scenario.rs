//! The sample's scenario on paused time: real servers and a client on the in-memory bus.

use std::time::Duration;

use raft_core::{LogId, ServerId, Term, decode_outcome};
use raft_mocking::{Outcome, Scenario};

const MS: Duration = Duration::from_millis(1);

/// What must hold however a run went: safety, and in the end all the same everywhere.
fn assert_good(outcome: &Outcome, requests: usize) {
    let context = outcome.transcript.join("\n");
    assert_eq!(outcome.verdict, Ok(()), "{context}");
    assert!(outcome.failures.is_empty(), "{:?}\n{context}", outcome.failures);
    assert_eq!(outcome.answered(), requests, "{:?}\n{context}", outcome.answers);
    assert!(outcome.is_identical_everywhere(), "{:?}\n{context}", outcome.logs);
    let expected: Vec<_> = (1..=requests).map(|number| format!("request-{number}")).collect();
    for (server, state) in &outcome.states {
        assert_eq!(*state, expected, "{server}\n{context}");
    }
}

#[tokio::test(start_paused = true)]
async fn five_servers_elect_exactly_one_leader_and_answer_two_requests() {
    let outcome = Scenario::new().servers(5).requests(2).seed(7).run().await.unwrap();
    assert_good(&outcome, 2);
    assert_eq!(outcome.elections.len(), 1);
    assert_eq!(outcome.leader, outcome.elections.values().next().copied());
    assert_eq!(outcome.logs.len(), 5);
    for (place, answer) in outcome.answers.iter().enumerate() {
        let answer = answer.as_ref().unwrap();
        assert_eq!(Some(answer.by), outcome.leader);
        assert_eq!(decode_outcome(&answer.response).unwrap(), Ok(place as u64 + 1));
    }
    let traffic = &outcome.traffic;
    assert_eq!((traffic.unheard, traffic.too_large, traffic.refused), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn clusters_of_1_2_3_and_7_servers_answer() {
    for servers in [1, 2, 3, 7] {
        let outcome = Scenario::new().servers(servers).requests(3).seed(servers).run().await;
        let outcome = outcome.unwrap();
        assert_good(&outcome, 3);
        assert_eq!(outcome.logs.len() as u64, servers);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cluster_without_servers_answers_nothing_and_breaks_nothing() {
    let outcome = Scenario::new().servers(0).requests(1).run().await.unwrap();
    assert_eq!((outcome.answered(), outcome.verdict), (0, Ok(())));
}

#[tokio::test(start_paused = true)]
async fn a_leader_killed_between_requests_is_replaced() {
    let outcome = Scenario::new().kill_leader_after(1).requests(3).seed(3).run().await.unwrap();
    assert_good(&outcome, 3);
    assert_eq!(outcome.logs.len(), 4, "the killed one stays away");
    let by: Vec<_> = outcome.answers.iter().map(|answer| answer.as_ref().unwrap().by).collect();
    assert!(by[0] != by[1] && by[1] == by[2], "{by:?}");
    assert_eq!(outcome.elections.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_leader_killed_before_the_first_request_is_replaced() {
    let outcome = Scenario::new().kill_leader_after(0).requests(1).run().await.unwrap();
    assert_good(&outcome, 1);
}

#[tokio::test(start_paused = true)]
async fn a_killed_leader_catches_up_when_it_is_restarted() {
    let scenario = Scenario::new().servers(3).requests(4).seed(5);
    let outcome = scenario.kill_leader_after(1).restart_killed_after(3).run().await.unwrap();
    assert_good(&outcome, 4);
    assert_eq!(outcome.logs.len(), 3, "all three hold all four requests");
}

#[tokio::test(start_paused = true)]
async fn a_leader_killed_again_and_again_loses_nothing() {
    let mut scenario = Scenario::new().servers(5).requests(8).seed(11);
    for request in 1..8 {
        scenario = scenario.kill_leader_after(request).restart_killed_after(request);
    }
    let outcome = scenario.run().await.unwrap();
    assert_good(&outcome, 8);
    assert_eq!(outcome.elections.len(), 8, "each request found another leader");
}

#[tokio::test(start_paused = true)]
async fn repeated_vote_requests_elect_at_most_one_leader_per_term() {
    let mut repeated = 0;
    for seed in 0..20 {
        let scenario = Scenario::new().vote_requests_twice().latency(MS..400 * MS).seed(seed);
        let outcome = scenario.kill_leader_after(1).requests(2).run().await.unwrap();
        assert_eq!(outcome.verdict, Ok(()), "seed {seed}\n{}", outcome.transcript.join("\n"));
        repeated += outcome.vote_requests_repeated;
    }
    assert!(repeated > 40, "the fault fired {repeated} times in 20 runs");
}

#[tokio::test(start_paused = true)]
async fn messages_that_overtake_each_other_change_no_answer() {
    for seed in 0..20 {
        let scenario = Scenario::new().latency(MS..40 * MS).requests(5).seed(seed);
        let outcome = scenario.kill_leader_after(2).restart_killed_after(3).run().await.unwrap();
        assert_good(&outcome, 5);
    }
}

#[tokio::test(start_paused = true)]
async fn one_seed_gives_one_outcome_down_to_the_last_line() {
    let run = async |seed| {
        let scenario = Scenario::new().latency(MS..30 * MS).vote_requests_twice().seed(seed);
        scenario.kill_leader_after(1).restart_killed_after(2).requests(3).run().await.unwrap()
    };
    for seed in 0..5 {
        assert_eq!(run(seed).await, run(seed).await, "seed {seed}");
    }
    assert_ne!(run(1).await.transcript, run(2).await.transcript, "and another seed another");
}

#[test]
fn one_seed_gives_one_outcome_in_another_runtime_too() {
    let run = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().unwrap();
        let scenario = Scenario::new().kill_leader_after(1).restart_killed_after(2).requests(3);
        runtime.block_on(scenario.run()).unwrap()
    };
    assert_eq!(run(), run());
}

#[tokio::test(start_paused = true)]
async fn the_transcript_is_in_the_one_notation() {
    let outcome = Scenario::new().servers(1).requests(1).run().await.unwrap();
    let untimed: Vec<_> =
        outcome.transcript.iter().map(|line| line.split_once(' ').unwrap().1).collect();
    let answered = outcome.answers[0].as_ref().unwrap();
    assert_eq!(answered.log_id, LogId::new(Term(1), raft_core::Index(2)));
    assert_eq!(outcome.leader, Some(ServerId(1)));
    let elected = ["s1@0 follower ⇨ s1@1 candidate", "s1@1 candidate ⇨ s1@1 leader"];
    assert!(elected.iter().all(|line| untimed.contains(line)), "{untimed:#?}");
    let committed = ["s1 commit 1@1 noop", "s1 commit 2@1 c1#1 (17 bytes)"];
    assert!(committed.iter().all(|line| untimed.contains(line)), "{untimed:#?}");
    let attempts = answered.attempts;
    let last = format!("c1#1 answered by s1 at 2@1, attempt {attempts}");
    assert_eq!(untimed.last(), Some(&&last[..]), "{untimed:#?}");
}
