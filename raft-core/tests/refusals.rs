//! What comes from outside is data: it may be refused, with its reason counted, and changes nothing
//! else. One row for everything that no correct server or client says.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail as it does")]

#[path = "support/bench.rs"]
mod bench;

use bench::{
    Bench, append, append_all, client_envelope, conflict, entries, envelope, request, stale,
    success, vote, vote_request,
};
use raft_core::{
    Address, ClientId, ClientResponse, ClientResult, ClusterId, Envelope, Index, Input,
    InstallSnapshotRequest, InstallSnapshotResponse, LogId, Message, NewServerError, ReadId,
    ReadIndexRequest, ReadIndexResponse, Recovered, RegisterClient, Round, SequenceNumber, Server,
    ServerId, SnapshotId, StepError, Term, TimeoutNow, VoteRequest, VoteResponse,
};

/// No number of a message reaches this.
const ABSURD: u64 = 1 << 60;

/// A follower, a candidate and a leader of term 3 with the log 1, 2 and, for the leader, its own entry.
fn everyone() -> [Bench; 3] {
    let leader = Bench::leader(3, 2, &[1, 2]);
    [Bench::follower(3, 3, &[1, 2]), Bench::candidate(3, 2, &[1, 2]), leader]
}

#[test]
fn malformed_messages_are_refused_by_reason() {
    let huge = u64::MAX;
    let response = |to: &str| format!("malformed AppendEntriesResponse: {to}");
    let append_reason = |to: &str| format!("malformed AppendEntriesRequest: {to}");
    let table = [
        (vote_request(0, 2, (0, 0)), "malformed VoteRequest: no such term".to_owned()),
        (vote_request(ABSURD, 2, (0, 0)), "malformed VoteRequest: no such term".to_owned()),
        (vote_request(huge, 2, (0, 0)), "malformed VoteRequest: no such term".to_owned()),
        (
            vote_request(4, 3, (0, 0)),
            "malformed VoteRequest: the candidate is not the sender".to_owned(),
        ),
        (vote_request(4, 2, (ABSURD, 1)), "malformed VoteRequest: no such entry".to_owned()),
        (vote_request(4, 2, (1, ABSURD)), "malformed VoteRequest: no such entry".to_owned()),
        (
            vote_request(4, 2, (1, 0)),
            "malformed VoteRequest: only the place before the first entry has term 0".to_owned(),
        ),
        (
            vote_request(4, 2, (0, 1)),
            "malformed VoteRequest: only the place before the first entry has term 0".to_owned(),
        ),
        (
            vote_request(4, 2, (9, 4)),
            "malformed VoteRequest: a candidate's term is above its log's".to_owned(),
        ),
        (
            vote_request(4, 2, (9, 5)),
            "malformed VoteRequest: a candidate's term is above its log's".to_owned(),
        ),
        (vote(0, true), "malformed VoteResponse: no such term".to_owned()),
        (vote(ABSURD, true), "malformed VoteResponse: no such term".to_owned()),
        (append(0, 2, (0, 0), &[], 0), append_reason("no such term")),
        (append(ABSURD, 2, (0, 0), &[], 0), append_reason("no such term")),
        (append(4, 3, (0, 0), &[], 0), append_reason("the leader is not the sender")),
        (append(4, 2, (0, 0), &[], ABSURD), append_reason("no such index")),
        (append(4, 2, (huge, 1), &[], 0), append_reason("no such entry")),
        (append(4, 2, (huge, 1), &[2], 0), append_reason("no such entry")),
        (append(4, 2, (ABSURD - 1, 1), &[2], 0), append_reason("no such entry")),
        (
            append(4, 2, (0, 1), &[], 0),
            append_reason("only the place before the first entry has term 0"),
        ),
        (
            append(4, 2, (0, 0), &[0], 0),
            append_reason("only the place before the first entry has term 0"),
        ),
        (append(4, 2, (1, 2), &[1], 0), append_reason("the terms of its entries decrease")),
        (append(4, 2, (0, 0), &[2, 1], 0), append_reason("the terms of its entries decrease")),
        (
            append(4, 2, (1, 5), &[], 0),
            append_reason("its entries are of a later term than itself"),
        ),
        (
            append(4, 2, (1, 1), &[5], 0),
            append_reason("its entries are of a later term than itself"),
        ),
        (
            append_all(4, 2, (1, 1), entries(3, &[1]), 0),
            append_reason("its entries are not contiguous"),
        ),
        (
            append_all(4, 2, (1, 1), entries(1, &[1]), 0),
            append_reason("its entries are not contiguous"),
        ),
        (
            append_all(4, 2, (1, 1), [entries(2, &[1]), entries(4, &[1])].concat(), 0),
            append_reason("its entries are not contiguous"),
        ),
        (success(0, 0), response("no such term")),
        (success(ABSURD, 0), response("no such term")),
        (success(4, ABSURD), response("no such index")),
        (conflict(4, ABSURD, 1, None), response("no such index")),
        (conflict(4, 1, 0, None), response("no such index in its hint")),
        (conflict(4, 1, ABSURD, None), response("no such index in its hint")),
        (conflict(4, 1, 1, Some(0)), response("no such term in its hint")),
        (conflict(4, 1, 1, Some(ABSURD)), response("no such term in its hint")),
        (stale(0), response("no such term")),
    ];
    for (message, reason) in table {
        for mut bench in everyone() {
            let error = bench.refuse(2, message.clone());
            assert_eq!(error.to_string(), reason, "{message}");
            assert!(!error.is_fatal());
            assert_eq!(bench.server.refusals()["malformed"], 1);
        }
    }
}

/// The largest numbers that are not absurd are taken, and overflow nothing.
#[test]
fn the_largest_numbers_are_taken() {
    let large = ABSURD - 1;
    let near = large - 5;
    let everyone = [
        Bench::follower(3, near, &[1]),
        Bench::candidate(3, near, &[1]),
        Bench::leader(3, near, &[1]),
    ];
    for mut bench in everyone {
        bench.receive(2, vote_request(large - 1, 2, (large, large - 2)));
        bench.receive(2, append(large, 2, (large, large), &[], large));
        bench.receive(2, append(large, 2, (large - 1, 1), &[large], large));
        bench.receive(2, success(large, large));
        bench.receive(2, conflict(large, large, large, Some(large)));
        bench.elapse();
        assert_eq!(bench.term(), ABSURD);
    }
}

/// One message of a last possible term, if it were believed, would end all elections.
#[test]
fn a_term_further_ahead_than_elections_can_bring_it_is_refused() {
    for mut bench in everyone() {
        let limit = bench.term() + (1 << 32);
        let messages = |term| {
            let request = VoteRequest {
                term: Term(term),
                candidate_id: ServerId(2),
                last_log_index: Index(9),
                last_log_term: Term(9),
                is_transfer: false,
            };
            [
                Message::PreVoteRequest(request),
                Message::PreVoteResponse(VoteResponse { term: Term(term), vote_granted: true }),
                vote(term, false),
                append(term, 2, (0, 0), &[], 0),
                stale(term),
                vote_request(term, 2, (9, 9)),
            ]
        };
        for message in messages(limit + 1) {
            let error = bench.refuse(2, message);
            assert!(error.to_string().contains("further ahead"), "{error}");
        }
        for message in messages(limit) {
            bench.step(Input::Message(envelope(2, message))).unwrap();
        }
        assert_eq!(bench.term(), limit);
    }
}

#[test]
fn messages_of_strangers_are_refused() {
    let unknown = |from: Address, message: Message| Envelope { from, ..envelope(2, message) };
    let answer = Message::ClientResponse(ClientResponse {
        client_id: ClientId(1),
        sequence_number: SequenceNumber(1),
        result: ClientResult::Superseded,
    });
    let table = [
        (unknown(ServerId(1).into(), vote(3, true)), "s1 may not send a VoteResponse"),
        (
            unknown(ServerId(1).into(), append(9, 1, (0, 0), &[], 0)),
            "s1 may not send a AppendEntriesRequest",
        ),
        (unknown(ClientId(2).into(), vote(3, true)), "c2 may not send a VoteResponse"),
        (unknown(ClientId(2).into(), vote_request(9, 2, (0, 0))), "c2 may not send a VoteRequest"),
        (
            unknown(Address::AllServers, append(9, 2, (0, 0), &[], 0)),
            "all may not send a AppendEntriesRequest",
        ),
        (unknown(Address::AllServers, success(3, 1)), "all may not send a AppendEntriesResponse"),
        (
            unknown(ServerId(1).into(), Message::ClientRequest(request(2, 1, "x"))),
            "s1 may not send a ClientRequest",
        ),
        (unknown(ServerId(4).into(), success(3, 1)), "s4 may not send a AppendEntriesResponse"),
        (
            unknown(ClientId(3).into(), Message::ClientRequest(request(2, 1, "x"))),
            "c3 may not send a ClientRequest",
        ),
        (unknown(ServerId(2).into(), answer.clone()), "s2 may not send a ClientResponse"),
        (unknown(ClientId(1).into(), answer), "c1 may not send a ClientResponse"),
    ];
    for (envelope, reason) in table {
        for mut bench in everyone() {
            let error = bench.refuse_envelope(envelope.clone());
            assert_eq!(error.to_string(), reason);
            assert!(!error.is_fatal());
            assert_eq!(bench.server.refusals()["unknown-sender"], 1);
        }
    }
}

/// One message of each kind, as server 2 or client 1 would send it to server 1.
fn one_of_each() -> Vec<Envelope> {
    let request_of_2 = |is_transfer| VoteRequest {
        term: Term(9),
        candidate_id: ServerId(2),
        last_log_index: Index(8),
        last_log_term: Term(8),
        is_transfer,
    };
    let id = SnapshotId { last: LogId::new(Term(2), Index(2)), size_bytes: 9, checksum: 0 };
    let (leader_id, round) = (ServerId(2), Round(1));
    let (client_id, registration) = (ClientId(1), SequenceNumber(1));
    let install = InstallSnapshotRequest {
        term: Term(9),
        leader_id,
        round,
        id,
        offset: 0,
        data: "data".into(),
    };
    let of_servers = [
        Message::PreVoteRequest(request_of_2(false)),
        Message::PreVoteResponse(VoteResponse { term: Term(4), vote_granted: true }),
        Message::VoteRequest(request_of_2(true)),
        vote(3, true),
        append(9, 2, (0, 0), &[], 0),
        success(9, 1),
        Message::InstallSnapshotRequest(Box::new(install)),
        Message::InstallSnapshotResponse(InstallSnapshotResponse {
            term: Term(9),
            round,
            id,
            offset: 0,
        }),
        Message::TimeoutNow(TimeoutNow { term: Term(9), leader_id, last: id.last }),
        Message::ReadIndexRequest(ReadIndexRequest { id: ReadId(1), is_lease_enough: true }),
        Message::ReadIndexResponse(ReadIndexResponse { id: ReadId(1), index: Some(Index(1)) }),
    ];
    let of_clients = [
        Message::RegisterClient(RegisterClient { client_id, registration }),
        Message::ClientRequest(request(1, 1, "x")),
        Message::ClientResponse(ClientResponse {
            client_id,
            sequence_number: registration,
            result: ClientResult::Superseded,
        }),
    ];
    let of_servers = of_servers.map(|message| envelope(2, message)).into_iter();
    let of_clients = of_clients
        .map(|message| Envelope { from: Address::Client(client_id), ..envelope(2, message) });
    of_servers.chain(of_clients).collect()
}

#[test]
fn nothing_that_another_cluster_says_is_taken() {
    let messages = one_of_each();
    let names: std::collections::BTreeSet<_> =
        messages.iter().map(|envelope| envelope.message.name()).collect();
    assert_eq!(names.len(), 14, "every kind of message");
    for envelope in messages {
        for mut bench in everyone() {
            for (cluster, to) in [(7, envelope.to), (u64::MAX, Address::AllServers)] {
                let cluster_id = ClusterId(cluster);
                let error = bench.refuse_envelope(Envelope { cluster_id, to, ..envelope.clone() });
                let expected = ClusterId::default();
                assert_eq!(error, StepError::ForeignCluster { found: cluster_id, expected });
                assert!(!error.is_fatal());
            }
            assert_eq!(bench.server.refusals()["foreign-cluster"], 2);
        }
    }
}

#[test]
fn messages_of_another_cluster_or_for_someone_else_are_refused() {
    for mut bench in everyone() {
        let foreign = Envelope { cluster_id: ClusterId(7), ..envelope(2, vote(9, true)) };
        let error = bench.refuse_envelope(foreign);
        assert!(matches!(error, StepError::ForeignCluster { found: ClusterId(7), .. }));
        let to_another = Envelope { to: ServerId(2).into(), ..envelope(2, vote(9, true)) };
        assert_eq!(bench.refuse_envelope(to_another).to_string(), "the message is for s2");
        let to_client = Envelope { to: ClientId(1).into(), ..client_envelope(1, 1, "x") };
        assert_eq!(bench.refuse_envelope(to_client).to_string(), "the message is for c1");
        let counts: Vec<_> = bench.server.refusals().iter().map(|(k, v)| (*k, *v)).collect();
        assert_eq!(counts, [("foreign-cluster", 1), ("not-for-me", 2)]);
    }
}

#[test]
fn what_is_said_to_all_servers_is_heard_by_each() {
    let mut bench = Bench::follower(3, 3, &[]);
    let to_all = Envelope { to: Address::AllServers, ..envelope(2, vote_request(4, 2, (0, 0))) };
    bench.step(Input::Message(to_all)).unwrap();
    assert_eq!(bench.voted_for(), Some(2));
    let from_client = Envelope { to: Address::AllServers, ..client_envelope(1, 1, "x") };
    let effects = bench.step(Input::Message(from_client)).unwrap();
    assert_eq!(effects, ["→ c1 ClientResponse c1#1 not leader"]);
}

/// Only three refusals mean that the cluster as a whole is broken.
#[test]
fn every_refusal_has_a_reason_of_its_own() {
    let (one, two) = (ServerId(1), ServerId(2));
    let errors = [
        StepError::ForeignCluster { found: ClusterId(1), expected: ClusterId(2) },
        StepError::UnknownSender { from: one.into(), message: "VoteRequest" },
        StepError::NotForMe { to: two.into() },
        StepError::Malformed { message: "VoteRequest", reason: "no such term" },
        StepError::TwoLeaders { term: Term(1), known: one, other: two },
        StepError::CommittedConflict { leader: two, index: Index(1), commit_index: Index(2) },
        StepError::PayloadConflict { leader: two, log_id: LogId::new(Term(1), Index(1)) },
        StepError::UnknownSave {
            number: raft_core::SaveNumber(2),
            issued: raft_core::SaveNumber(1),
        },
        StepError::UnknownApply { through: Index(1), responses: 1 },
        StepError::JoinedTwice,
    ];
    let reasons: std::collections::BTreeSet<_> = errors.iter().map(StepError::reason).collect();
    assert_eq!(reasons.len(), errors.len());
    let fatal: Vec<_> = errors.iter().filter(|e| e.is_fatal()).map(StepError::reason).collect();
    assert_eq!(fatal, ["two-leaders", "committed-conflict", "payload-conflict"]);
}

#[test]
fn a_server_does_not_start_from_a_broken_disk() {
    let start = |term, entries| {
        let hard_state = raft_core::HardState { current_term: Term(term), voted_for: None };
        let config = raft_core::Config::new(ServerId(1), [ServerId(1)]);
        Server::new(config, Recovered { hard_state, entries, ..Recovered::default() })
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(start(2, entries(2, &[1])), "recovered entry 2@1 cannot follow 0@0");
    assert_eq!(start(2, entries(1, &[0])), "recovered entry 1@0 cannot follow 0@0");
    assert_eq!(start(2, entries(1, &[2, 1])), "recovered entry 2@1 cannot follow 1@2");
    let gap = [entries(1, &[1]), entries(3, &[1])].concat();
    assert_eq!(start(2, gap), "recovered entry 3@1 cannot follow 1@1");
    assert_eq!(start(2, entries(1, &[1, 3])), "recovered term 2 is older than the last entry 2@3");
    for term in [ABSURD, u64::MAX] {
        let error = format!("recovered term {term} is higher than any cluster lives to see");
        assert_eq!(start(term, Vec::new()), error);
        assert_eq!(start(term, entries(1, &[1, term])), error);
    }
    let behind = format!("recovered term 2 is older than the last entry 1@{}", u64::MAX);
    assert_eq!(start(2, entries(1, &[u64::MAX])), behind);
    let config = raft_core::Config::new(ServerId(4), []);
    let error = Server::new(config, Recovered::default()).unwrap_err();
    assert!(matches!(error, NewServerError::Config(_)));
}

/// Before it has joined, a server defers even nonsense, and refuses it in its turn.
#[test]
fn deferred_inputs_are_refused_in_their_turn() {
    let config = raft_core::Config::new(ServerId(1), [1, 2, 3].map(ServerId));
    let mut server = Server::new(config, Recovered::default()).unwrap();
    let mut effects = raft_core::Effects::new();
    let mut step =
        |server: &mut Server, input| server.step(raft_core::Timestamp::ZERO, input, &mut effects);
    assert_eq!(server.next_timeout(), None);
    let message = |from, message| Input::Message(envelope(from, message));
    step(&mut server, message(4, success(3, 1))).unwrap();
    step(&mut server, message(2, append(3, 2, (0, 0), &[], 0))).unwrap();
    step(&mut server, message(3, append(3, 3, (0, 0), &[], 0))).unwrap();
    step(&mut server, message(2, append(3, 2, (0, 0), &[3], 0))).unwrap();
    step(&mut server, Input::TimerElapsed).unwrap();
    assert_eq!((server.deferred(), server.current_term()), (5, Term(0)));
    assert!(!server.has_joined());
    // The worst of them is told, and after it nothing more is taken.
    let error = step(&mut server, Input::NotifyJoinedService).unwrap_err();
    assert!(matches!(error, StepError::TwoLeaders { .. }));
    assert_eq!((server.deferred(), server.log().last_index()), (0, Index(0)));
    assert!(server.has_joined());
    let counts: Vec<_> = server.refusals().iter().map(|(k, v)| (*k, *v)).collect();
    assert_eq!(counts, [("two-leaders", 1), ("unknown-sender", 1)]);
    assert!(!server.role().is_leader() && server.next_timeout().is_some());
    assert_eq!(step(&mut server, Input::NotifyJoinedService), Err(StepError::JoinedTwice));
}
