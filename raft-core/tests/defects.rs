//! The planted bugs of the feature `defects`: each is there when it is asked for, and only then.
#![cfg(feature = "defects")]
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail as it does")]

use raft_core::{
    ClientId, ClientRequest, Config, Defect, Effect, Effects, Envelope, Index, Input,
    MemoryStorage, Message, Recovered, SaveNumber, SequenceNumber, Server, ServerId, StepError,
    Storage, Term, Timestamp, VoteResponse,
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
        let same_row = Defect::ALL.into_iter().filter(|other| other.row() == defect.row());
        assert_eq!(same_row.count(), 1, "{}", defect.row());
        assert!(!defect.description().is_empty());
    }
    let error = "no-such".parse::<Defect>().unwrap_err();
    let expected = "no planted defect is called \"no-such\"; there is: vote-counted-twice, \
                    vote-not-saved, acknowledged-before-durable, last-writer-wins-on-restart";
    assert_eq!(error.to_string(), expected);
}

/// What a candidate saves of its vote for itself.
fn saved_vote(defect: Option<Defect>) -> Option<ServerId> {
    let mut config = Config::new(ServerId(1), (1..=5).map(ServerId));
    config.defect = defect;
    config.pre_vote = false;
    let mut server = Server::new(config, Recovered::default()).unwrap();
    let mut effects = Effects::new();
    server.step(Timestamp::ZERO, Input::NotifyJoinedService, &mut effects).unwrap();
    server.step(Timestamp::from_millis(600), Input::TimerElapsed, &mut effects).unwrap();
    let saves = effects.drain().filter_map(|effect| match effect {
        Effect::Save(save) => save.hard_state,
        _ => None,
    });
    let saved = saves.last().unwrap();
    assert_eq!(saved.current_term, Term(1), "the term is saved in any case");
    saved.voted_for
}

#[test]
fn a_vote_that_is_not_saved_is_forgotten() {
    assert_eq!(saved_vote(None), Some(ServerId(1)));
    assert_eq!(saved_vote(Some(Defect::VoteNotSaved)), None);
}

/// Which entries a cluster of one hands to its state machine, when a client's request came twice before
/// it was applied, and again after a restart.
fn applied(defect: Option<Defect>) -> (Vec<Index>, Vec<Index>) {
    let mut config = Config::new(ServerId(1), [ServerId(1)]);
    config.defect = defect;
    let mut storage = MemoryStorage::new();
    let mut lives = Vec::new();
    for life in 0..2 {
        let mut server = Server::new(config.clone(), storage.load().unwrap()).unwrap();
        let mut applied = Vec::new();
        let mut step = |now, input| {
            let mut inputs = vec![input];
            while let Some(input) = inputs.pop() {
                let mut effects = Effects::new();
                server.step(Timestamp::from_millis(now), input, &mut effects).unwrap();
                for effect in effects.drain() {
                    match effect {
                        Effect::Save(save) => {
                            storage.save(std::slice::from_ref(&save)).unwrap();
                            inputs.push(Input::Saved(save.number));
                        }
                        Effect::Apply(apply) => {
                            applied.extend(apply.commands().map(|entry| entry.index));
                            let responses = apply.requests().map(|_| "done".into()).collect();
                            let through = apply.through;
                            inputs.insert(0, Input::Applied { through, responses });
                        }
                        _ => {}
                    }
                }
            }
        };
        step(0, Input::NotifyJoinedService);
        step(2_000, Input::TimerElapsed);
        if life == 0 {
            let request = ClientRequest::new(ClientId(1), SequenceNumber(1), "x".into());
            let (from, to) = (ClientId(1).into(), ServerId(1).into());
            let cluster_id = config.cluster_id;
            let message = Message::ClientRequest(request);
            let envelope = Envelope { cluster_id, from, to, message };
            step(2_001, Input::Message(envelope.clone()));
            step(2_002, Input::Message(envelope));
        }
        lives.push(applied);
    }
    let [first, second]: [Vec<Index>; 2] = lives.try_into().unwrap();
    (first, second)
}

#[test]
fn a_server_that_comes_back_applies_repetitions_again() {
    let once = vec![Index(2)];
    assert_eq!(applied(None), (once.clone(), once.clone()));
    let defect = Some(Defect::LastWriterWinsOnRestart);
    assert_eq!(applied(defect), (once, vec![Index(2), Index(3)]), "and only when it comes back");
}
