//! The planted bugs of the feature `defects`: each is there when it is asked for, and only then.
#![cfg(feature = "defects")]
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail as it does")]

use raft_core::{
    Config, Defect, Effects, Envelope, Input, Message, Recovered, SaveNumber, Server, ServerId,
    StepError, Term, Timestamp, VoteResponse,
};

/// A candidate of five servers in term 1, whose own vote is durable.
fn candidate(defect: Option<Defect>) -> Server {
    let mut config = Config::new(ServerId(1), (1..=5).map(ServerId));
    config.defect = defect;
    config.pre_vote = false;
    let mut server = Server::new(config, Recovered::default()).unwrap();
    let mut step = |now, input| server.step(now, input, &mut Effects::new()).unwrap();
    step(Timestamp::ZERO, Input::NotifyJoinedService);
    step(Timestamp::from_millis(600), Input::TimerElapsed);
    step(Timestamp::from_millis(600), Input::Saved(SaveNumber(1)));
    server
}

fn vote(server: &mut Server, voter: u64) -> Result<(), StepError> {
    let message = Message::VoteResponse(VoteResponse { term: Term(1), vote_granted: true });
    let (cluster_id, from) = (server.config().cluster_id, ServerId(voter).into());
    let envelope = Envelope { cluster_id, from, to: ServerId(1).into(), message };
    server.step(Timestamp::from_millis(600), Input::Message(envelope), &mut Effects::new())
}

#[test]
fn no_defect_is_planted_unless_it_is_asked_for() {
    assert_eq!(Config::new(ServerId(1), [ServerId(1)]).defect, None);
    let mut server = candidate(None);
    for _ in 0..5 {
        vote(&mut server, 2).unwrap();
    }
    assert!(!server.role().is_leader(), "one voter is one voter");
    vote(&mut server, 3).unwrap();
    assert!(server.role().is_leader());
}

#[test]
fn a_vote_counted_twice_elects_with_too_few_voters() {
    let mut server = candidate(Some(Defect::VoteCountedTwice));
    vote(&mut server, 2).unwrap();
    assert!(!server.role().is_leader(), "two votes of five are no majority");
    vote(&mut server, 2).unwrap();
    assert!(server.role().is_leader(), "the third vote is a copy of the second");
}

#[test]
fn with_the_defect_honest_votes_count_as_ever() {
    let mut server = candidate(Some(Defect::VoteCountedTwice));
    vote(&mut server, 2).unwrap();
    vote(&mut server, 3).unwrap();
    assert!(server.role().is_leader());
}

#[test]
fn defects_have_names() {
    for defect in Defect::ALL {
        assert_eq!(defect.name().parse(), Ok(defect));
        assert_eq!(defect.to_string(), defect.name());
    }
    let error = "no-such".parse::<Defect>().unwrap_err();
    let expected = "no planted defect is called \"no-such\"; there is: vote-counted-twice, \
                    vote-not-saved, acknowledged-before-durable, last-writer-wins-on-restart";
    assert_eq!(error.to_string(), expected);
}
