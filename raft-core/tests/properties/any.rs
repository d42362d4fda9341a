//! Any message at all: small numbers that meet the state of a small cluster, and now and then absurd
//! ones. Strategies are boxed, or their trees of values outgrow the stack of a test in debug builds.

use bytes::Bytes;
use proptest::prelude::*;
use raft_core::{
    Address, AppendEntriesRequest, AppendEntriesResponse, AppendEntriesResult, ClientId,
    ClientRequest, ClientResponse, ClientResult, ClusterId, Configuration, ConflictHint, Entry,
    Envelope, Index, InstallSnapshotRequest, InstallSnapshotResponse, LogId, MembershipChange,
    Message, Payload, ReadId, ReadIndexRequest, ReadIndexResponse, RegisterClient, Round,
    SequenceNumber, ServerId, SessionId, SnapshotId, Term, TimeoutNow, VoteRequest, VoteResponse,
};

/// Mostly small, sometimes at the edge of what is taken, or of what fits.
pub(crate) fn number() -> BoxedStrategy<u64> {
    prop_oneof![
        20 => 0..7_u64,
        1 => (1_u64 << 60) - 2..=(1 << 60) + 1,
        1 => u64::MAX - 1..=u64::MAX,
        1 => any::<u64>(),
    ]
    .boxed()
}

fn term() -> impl Strategy<Value = Term> {
    number().prop_map(Term)
}

fn index() -> impl Strategy<Value = Index> {
    number().prop_map(Index)
}

fn server() -> impl Strategy<Value = ServerId> {
    number().prop_map(ServerId)
}

fn text() -> BoxedStrategy<Bytes> {
    // Around the length from which a payload is a slice of its frame.
    prop_oneof![0..4_usize, 62..67_usize, 200..201_usize]
        .prop_flat_map(|length| prop::collection::vec(any::<u8>(), length))
        .prop_map(Bytes::from)
        .boxed()
}

fn client_request() -> BoxedStrategy<ClientRequest> {
    let session = prop_oneof![2 => Just(0_u64), 1 => number()];
    (number(), session, number(), number(), text())
        .prop_map(|(client, session, number, first_incomplete, command)| ClientRequest {
            session: SessionId(session),
            first_incomplete: SequenceNumber(first_incomplete),
            ..ClientRequest::new(ClientId(client), SequenceNumber(number), command)
        })
        .boxed()
}

fn configuration() -> BoxedStrategy<Configuration> {
    let servers = |range| prop::collection::vec((1..6_u64).prop_map(ServerId), range);
    (servers(1..4), servers(0..4), servers(0..3))
        .prop_map(|(voters, old, learners)| {
            if old.is_empty() {
                Configuration::new(voters, learners)
            } else {
                Configuration::joint(old, voters, learners)
            }
        })
        .boxed()
}

pub(crate) fn membership_change() -> BoxedStrategy<MembershipChange> {
    prop_oneof![
        (1..6_u64).prop_map(|id| MembershipChange::AddLearner(ServerId(id))),
        (1..6_u64).prop_map(|id| MembershipChange::AddVoter(ServerId(id))),
        (1..6_u64).prop_map(|id| MembershipChange::Demote(ServerId(id))),
        (1..6_u64).prop_map(|id| MembershipChange::Remove(ServerId(id))),
    ]
    .boxed()
}

fn round() -> impl Strategy<Value = Round> {
    number().prop_map(Round)
}

fn snapshot_id() -> BoxedStrategy<SnapshotId> {
    (term(), index(), 0..9_u64, 0..2_u32)
        .prop_map(|(term, index, size_bytes, checksum)| SnapshotId {
            last: LogId::new(term, index),
            size_bytes,
            checksum,
        })
        .boxed()
}

pub(crate) fn entry() -> BoxedStrategy<Entry> {
    let payload = prop_oneof![
        3 => Just(Payload::Noop),
        3 => client_request().prop_map(|request| Payload::Command(request.into())),
        1 => text().prop_map(Payload::Proposal),
        1 => (number(), number(), 0..3_u32).prop_map(|(client, registration, sessions_max)| {
            Payload::RegisterClient {
                client_id: ClientId(client),
                registration: SequenceNumber(registration),
                sessions_max,
            }
        }),
        1 => configuration().prop_map(|new| Payload::Configuration(new.into())),
    ];
    (term(), index(), payload)
        .prop_map(|(term, index, payload)| Entry { term, index, payload })
        .boxed()
}

/// Entries as a correct leader would send them, or any at all.
fn entries() -> BoxedStrategy<(LogId, Vec<Entry>)> {
    let correct =
        (0..5_u64, prop::collection::vec((0..3_u64, entry()), 0..4)).prop_map(|(prev, steps)| {
            let mut last = LogId::new(Term(prev.min(2)), Index(prev));
            let prev = last;
            let entry = |(step, entry): (u64, Entry)| {
                last = LogId::new(Term((last.term.0 + step).max(1)), last.index.next());
                Entry { term: last.term, index: last.index, ..entry }
            };
            (prev, steps.into_iter().map(entry).collect())
        });
    let any = (term(), index(), prop::collection::vec(entry(), 0..3))
        .prop_map(|(term, index, entries)| (LogId::new(term, index), entries));
    prop_oneof![5 => correct, 1 => any].boxed()
}

fn append_result() -> BoxedStrategy<AppendEntriesResult> {
    let hint = (prop::option::of(term()), index());
    prop_oneof![
        3 => index().prop_map(|match_index| AppendEntriesResult::Success { match_index }),
        2 => (index(), hint).prop_map(|(prev_log_index, (term, index))| {
            AppendEntriesResult::Conflict { prev_log_index, hint: ConflictHint { term, index } }
        }),
        1 => Just(AppendEntriesResult::StaleTerm),
    ]
    .boxed()
}

fn client_result() -> BoxedStrategy<ClientResult> {
    prop_oneof![
        (term(), index(), text()).prop_map(|(term, index, response)| ClientResult::Applied {
            log_id: LogId::new(term, index),
            response,
        }),
        prop::option::of(server()).prop_map(|leader| ClientResult::NotLeader { leader }),
        number().prop_map(|session| ClientResult::Registered { session: SessionId(session) }),
        Just(ClientResult::Superseded),
        Just(ClientResult::SessionExpired),
        Just(ClientResult::Busy),
        (number(), number()).prop_map(|(command_bytes, command_bytes_max)| {
            ClientResult::TooLarge { command_bytes, command_bytes_max }
        }),
    ]
    .boxed()
}

/// A message that says it is of server `from`.
fn message(from: ServerId) -> BoxedStrategy<Message> {
    // Most messages name their sender truly.
    let sender = prop_oneof![12 => Just(from), 1 => server()];
    let flags = (any::<bool>(), any::<bool>());
    let vote_request = (term(), sender.clone(), index(), term(), flags).prop_map(
        |(term, candidate_id, last_log_index, last_log_term, (is_pre_vote, is_transfer))| {
            let request =
                VoteRequest { term, candidate_id, last_log_index, last_log_term, is_transfer };
            if is_pre_vote {
                Message::PreVoteRequest(request)
            } else {
                Message::VoteRequest(request)
            }
        },
    );
    let install = (term(), sender.clone(), round(), snapshot_id(), 0..9_u64, text()).prop_map(
        |(term, leader_id, round, id, offset, data)| {
            let room = usize::try_from(id.size_bytes.saturating_sub(offset)).unwrap_or(0);
            let data = data.slice(..data.len().min(room));
            let request = InstallSnapshotRequest { term, leader_id, round, id, offset, data };
            Message::InstallSnapshotRequest(Box::new(request))
        },
    );
    let timeout_now = (term(), sender.clone(), term(), index()).prop_map(
        |(term, leader_id, last_term, last_index)| {
            let last = LogId::new(last_term, last_index);
            Message::TimeoutNow(TimeoutNow { term, leader_id, last })
        },
    );
    let append = (term(), sender, entries(), index(), round()).prop_map(
        |(term, leader_id, (prev, entries), leader_commit, round)| {
            Message::AppendEntriesRequest(AppendEntriesRequest {
                term,
                leader_id,
                prev_log_index: prev.index,
                prev_log_term: prev.term,
                entries: entries.into(),
                leader_commit,
                round,
            })
        },
    );
    prop_oneof![
        vote_request,
        (term(), any::<bool>(), any::<bool>()).prop_map(|(term, vote_granted, is_pre_vote)| {
            let response = VoteResponse { term, vote_granted };
            if is_pre_vote {
                Message::PreVoteResponse(response)
            } else {
                Message::VoteResponse(response)
            }
        }),
        append,
        (term(), append_result(), round()).prop_map(|(term, result, round)| {
            Message::AppendEntriesResponse(AppendEntriesResponse { term, result, round })
        }),
        install,
        (term(), round(), snapshot_id(), 0..9_u64).prop_map(|(term, round, id, offset)| {
            let response = InstallSnapshotResponse { term, round, id, offset };
            Message::InstallSnapshotResponse(response)
        }),
        timeout_now,
        (number(), any::<bool>()).prop_map(|(id, is_lease_enough)| {
            Message::ReadIndexRequest(ReadIndexRequest { id: ReadId(id), is_lease_enough })
        }),
        (number(), prop::option::of(index())).prop_map(|(id, index)| {
            Message::ReadIndexResponse(ReadIndexResponse { id: ReadId(id), index })
        }),
        (number(), number()).prop_map(|(client, registration)| {
            Message::RegisterClient(RegisterClient {
                client_id: ClientId(client),
                registration: SequenceNumber(registration),
            })
        }),
        client_request().prop_map(Message::ClientRequest),
        (number(), number(), client_result()).prop_map(|(client, number, result)| {
            Message::ClientResponse(ClientResponse {
                client_id: ClientId(client),
                sequence_number: SequenceNumber(number),
                result,
            })
        }),
    ]
    .boxed()
}

fn address() -> BoxedStrategy<Address> {
    prop_oneof![
        server().prop_map(Address::Server),
        number().prop_map(|id| Address::Client(ClientId(id))),
        Just(Address::AllServers),
    ]
    .boxed()
}

/// Any envelope.
pub(crate) fn envelope() -> BoxedStrategy<Envelope> {
    (number(), address(), address(), server())
        .prop_flat_map(|(cluster, from, to, id)| {
            (Just((ClusterId(cluster), from, to)), message(id))
        })
        .prop_map(|((cluster_id, from, to), message)| Envelope { cluster_id, from, to, message })
        .boxed()
}

/// An envelope that server 1 of a small cluster has reason to read, most of the time.
pub(crate) fn envelope_for_server_1() -> BoxedStrategy<Envelope> {
    let fitting = (2..5_u64)
        .prop_flat_map(|from| (Just(ServerId(from)), message(ServerId(from))))
        .prop_map(|(from, message)| {
            let from = match &message {
                Message::ClientRequest(request) => Address::Client(request.client_id),
                Message::RegisterClient(request) => Address::Client(request.client_id),
                _ => Address::Server(from),
            };
            let (cluster_id, to) = (ClusterId::default(), ServerId(1).into());
            Envelope { cluster_id, from, to, message }
        });
    prop_oneof![15 => fitting, 1 => envelope()].boxed()
}
