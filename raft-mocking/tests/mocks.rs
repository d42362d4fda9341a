//! Calls at the doors of the core, and their order (mockall).
#![cfg(feature = "mocks")]

use std::sync::{Arc, Mutex};

use raft_core::driver::{Driver, DriverError};
use raft_core::{
    Address, AppendEntriesRequest, AppendEntriesResponse, AppendEntriesResult, ClientId,
    ClientRequest, ClientResponse, ClientResult, ClusterId, ClusterManager, CommandList, Config,
    Entries, Envelope, Index, LogId, MemoryStorage, Message, ReadId, ReadIndexRequest,
    ReadIndexResponse, Recovered, RegisterClient, Round, SequenceNumber, ServerId, StorageError,
    Term, TimeoutNow, VoteRequest, VoteResponse, codec,
};
use raft_mocking::mocks::mockall::{Sequence, predicate};
use raft_mocking::mocks::{
    MockClusterManagerDoor, MockServerManagerDoor, MockStateMachineDoor, MockStorageDoor,
};
use tokio::sync::oneshot;

const ME: ServerId = ServerId(1);
const CLIENT: ClientId = ClientId(9);

fn alone() -> Config {
    Config::new(ME, [ME])
}

fn of_three() -> Config {
    Config::new(ME, [1, 2, 3].map(ServerId))
}

fn envelope(from: impl Into<Address>, to: impl Into<Address>, message: Message) -> Envelope {
    Envelope { cluster_id: ClusterId::default(), from: from.into(), to: to.into(), message }
}

fn client_request(text: &str) -> Message {
    Message::ClientRequest(ClientRequest::new(
        CLIENT,
        SequenceNumber(1),
        codec::encode_value(&text).into(),
    ))
}

#[tokio::test(start_paused = true)]
async fn a_host_is_initialized_then_started_then_told_of_roles_then_of_its_election_and_commits() {
    let order = &mut Sequence::new();
    let (told, heard) = oneshot::channel();
    let (elected, is_elected) = oneshot::channel();
    let mut host = MockServerManagerDoor::new();
    host.expect_initialize().times(1).in_sequence(order).return_const(());
    host.expect_start().times(1).in_sequence(order).return_const(());
    for role in ["candidate", "leader"] {
        let is_it = move |change: &raft_core::RoleChange| change.to == (Term(1), role);
        host.expect_notify_role_change().withf(is_it).times(1).in_sequence(order).return_const(());
    }
    host.expect_notify_elected_leader()
        .with(predicate::eq(Term(1)))
        .times(1)
        .in_sequence(order)
        .return_once(|_| elected.send(()).unwrap());
    host.expect_notify_commit()
        .withf(|entry| entry.index == Index(1))
        .times(1)
        .in_sequence(order)
        .return_const(());
    host.expect_notify_commit()
        .withf(|entry| entry.index == Index(2))
        .times(1)
        .in_sequence(order)
        .return_once(|_| told.send(()).unwrap());
    let mut network = MockClusterManagerDoor::new();
    network.expect_send_client_response().times(1).return_const(());

    let (driver, handle) =
        Driver::new(alone(), CommandList::new(), MemoryStorage::new(), network, host).unwrap();
    let running = tokio::spawn(driver.run());
    handle.notify_joined_service().await.unwrap();
    is_elected.await.unwrap();
    handle.deliver(envelope(CLIENT, ME, client_request("x"))).await.unwrap();
    heard.await.unwrap();
    handle.stop().await.unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_has_not_joined_tells_and_sends_nothing() {
    let mut host = MockServerManagerDoor::new();
    host.expect_initialize().times(1).return_const(());
    let network = MockClusterManagerDoor::new();
    let storage = MemoryStorage::new();
    let (driver, handle) =
        Driver::new(of_three(), CommandList::new(), storage, network, host).unwrap();
    let running = tokio::spawn(driver.run());
    for sender in [2, 3].map(ServerId) {
        let request = VoteRequest {
            term: Term(1),
            candidate_id: sender,
            last_log_index: Index::ZERO,
            last_log_term: Term(0),
            is_transfer: false,
        };
        let message = Message::VoteRequest(request);
        handle.deliver(envelope(sender, Address::AllServers, message)).await.unwrap();
    }
    // An hour of silence elects nobody either.
    tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
    assert_eq!(handle.inspect(|server, _| server.deferred()).await.unwrap(), 2);
    handle.stop().await.unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_vote_is_saved_before_it_is_sent() {
    let order = &mut Sequence::new();
    let (told, heard) = oneshot::channel();
    let mut storage = MockStorageDoor::new();
    storage.expect_is_instant().return_const(true);
    storage.expect_load().times(1).return_once(|| Ok(Recovered::default()));
    storage
        .expect_save()
        .withf(|saves| {
            let [save] = saves else { return false };
            save.hard_state.is_some_and(|state| state.voted_for == Some(ServerId(2)))
        })
        .times(1)
        .in_sequence(order)
        .returning(|_| Ok(()));
    let mut network = MockClusterManagerDoor::new();
    network
        .expect_send_vote_response()
        .withf(|envelope, vote| envelope.to == ServerId(2).into() && vote.vote_granted)
        .times(1)
        .in_sequence(order)
        .return_once(|_, _| told.send(()).unwrap());
    let mut host = MockServerManagerDoor::new();
    host.expect_initialize().return_const(());
    host.expect_start().return_const(());
    host.expect_notify_role_change().return_const(());

    let (driver, handle) =
        Driver::new(of_three(), CommandList::new(), storage, network, host).unwrap();
    let running = tokio::spawn(driver.run());
    handle.notify_joined_service().await.unwrap();
    let request = VoteRequest {
        term: Term(1),
        candidate_id: ServerId(2),
        last_log_index: Index::ZERO,
        last_log_term: Term(0),
        is_transfer: false,
    };
    let message = Message::VoteRequest(request);
    handle.deliver(envelope(ServerId(2), Address::AllServers, message)).await.unwrap();
    heard.await.unwrap();
    handle.stop().await.unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_vote_that_cannot_be_saved_is_never_sent() {
    let mut storage = MockStorageDoor::new();
    storage.expect_is_instant().return_const(true);
    storage.expect_load().times(1).return_once(|| Ok(Recovered::default()));
    storage.expect_save().times(1).returning(|_| {
        let source = std::io::Error::other("the disk is gone");
        Err(StorageError::Io { action: "write", path: "log".to_owned(), source })
    });
    let network = MockClusterManagerDoor::new();
    let mut host = MockServerManagerDoor::new();
    host.expect_initialize().return_const(());
    host.expect_start().return_const(());
    host.expect_notify_role_change().return_const(());
    let (driver, handle) = Driver::new(
        Config { pre_vote: false, ..of_three() },
        CommandList::new(),
        storage,
        network,
        host,
    )
    .unwrap();
    let running = tokio::spawn(driver.run());
    handle.notify_joined_service().await.unwrap();
    let error = running.await.unwrap().unwrap_err();
    assert!(matches!(error, DriverError::Storage(StorageError::Io { .. })), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_command_is_applied_once_and_at_its_place() {
    let (told, heard) = oneshot::channel();
    let mut machine = MockStateMachineDoor::new();
    machine
        .expect_apply()
        .withf(|&index, command| index == Index(2) && command == "x")
        .times(1)
        .return_const(1_u64);
    let mut network = MockClusterManagerDoor::new();
    let told = Mutex::new(Some(told));
    // The request and its repetition are both answered; only the first was applied.
    network.expect_send_client_response().returning(move |envelope| {
        let Message::ClientResponse(response) = envelope.message else { panic!("{envelope}") };
        if matches!(response.result, ClientResult::Applied { .. })
            && let Some(told) = told.lock().unwrap().take()
        {
            told.send(()).unwrap();
        }
    });
    let mut host = MockServerManagerDoor::new();
    host.expect_initialize().return_const(());
    host.expect_start().return_const(());
    host.expect_notify_role_change().return_const(());
    host.expect_notify_commit().return_const(());
    let (elected, is_elected) = oneshot::channel();
    host.expect_notify_elected_leader().return_once(|_| elected.send(()).unwrap());
    let (driver, handle) =
        Driver::new(alone(), machine, MemoryStorage::new(), network, host).unwrap();
    let running = tokio::spawn(driver.run());
    handle.notify_joined_service().await.unwrap();
    is_elected.await.unwrap();
    for _ in 0..2 {
        handle.deliver(envelope(CLIENT, ME, client_request("x"))).await.unwrap();
    }
    heard.await.unwrap();
    handle.stop().await.unwrap();
    running.await.unwrap().unwrap();
}

#[test]
fn dispatch_calls_exactly_one_method_per_message() {
    let (two, all) = (ServerId(2), Address::AllServers);
    let vote_request = VoteRequest {
        term: Term(1),
        candidate_id: ME,
        last_log_index: Index::ZERO,
        last_log_term: Term(0),
        is_transfer: false,
    };
    let vote_response = VoteResponse { term: Term(1), vote_granted: true };
    let append_request = AppendEntriesRequest {
        term: Term(1),
        leader_id: ME,
        prev_log_index: Index::ZERO,
        prev_log_term: Term(0),
        entries: Entries::new(),
        leader_commit: Index::ZERO,
        round: Round(0),
    };
    let append_response = AppendEntriesResponse {
        term: Term(1),
        result: AppendEntriesResult::StaleTerm,
        round: Round(0),
    };
    let client_response = ClientResponse {
        client_id: CLIENT,
        sequence_number: SequenceNumber(1),
        result: ClientResult::Superseded,
    };
    let timeout_now = TimeoutNow { term: Term(1), leader_id: ME, last: LogId::ZERO };
    let read_request = ReadIndexRequest { id: ReadId(1), is_lease_enough: false };
    let read_response = ReadIndexResponse { id: ReadId(1), index: None };
    let register = RegisterClient { client_id: CLIENT, registration: SequenceNumber(1) };
    /// Expects one call of one method; any other panics, and so does a second.
    type Expect = fn(&mut MockClusterManagerDoor);
    let table: [(Envelope, Expect); 10] = [
        (envelope(ME, all, Message::VoteRequest(vote_request)), |mock| {
            mock.expect_broadcast_vote_request().times(1).return_const(());
        }),
        (envelope(ME, two, Message::VoteResponse(vote_response)), |mock| {
            mock.expect_send_vote_response().times(1).return_const(());
        }),
        (envelope(ME, two, Message::AppendEntriesRequest(append_request)), |mock| {
            mock.expect_send_append_entries_request().times(1).return_const(());
        }),
        (envelope(ME, two, Message::AppendEntriesResponse(append_response)), |mock| {
            mock.expect_send_append_entries_response().times(1).return_const(());
        }),
        (envelope(ME, two, Message::TimeoutNow(timeout_now)), |mock| {
            mock.expect_send_timeout_now().times(1).return_const(());
        }),
        (envelope(ME, two, Message::ReadIndexRequest(read_request)), |mock| {
            mock.expect_send_read_index_request().times(1).return_const(());
        }),
        (envelope(ME, two, Message::ReadIndexResponse(read_response)), |mock| {
            mock.expect_send_read_index_response().times(1).return_const(());
        }),
        (envelope(CLIENT, two, Message::RegisterClient(register)), |mock| {
            mock.expect_send_register_client().times(1).return_const(());
        }),
        (envelope(CLIENT, two, client_request("x")), |mock| {
            mock.expect_send_client_request().times(1).return_const(());
        }),
        (envelope(ME, CLIENT, Message::ClientResponse(client_response)), |mock| {
            mock.expect_send_client_response().times(1).return_const(());
        }),
    ];
    for (envelope, expect) in table {
        let mut mock = MockClusterManagerDoor::new();
        expect(&mut mock);
        mock.dispatch(envelope.clone());
        // In a box, as a host that chooses its network at run time keeps it.
        let mut mock = MockClusterManagerDoor::new();
        expect(&mut mock);
        let mut boxed: Box<dyn ClusterManager> = Box::new(mock);
        boxed.dispatch(envelope);
    }
}

#[test]
fn route_calls_exactly_one_method_per_kind_of_receiver() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let mut mock = MockClusterManagerDoor::new();
    let note = |what: &'static str| {
        let heard = Arc::clone(&heard);
        move |_: Envelope| heard.lock().unwrap().push(what)
    };
    mock.expect_send().returning(note("send"));
    mock.expect_broadcast().returning(note("broadcast"));
    mock.expect_answer().returning(note("answer"));
    for to in [ServerId(2).into(), Address::AllServers, CLIENT.into()] {
        mock.route(envelope(ME, to, client_request("x")));
    }
    assert_eq!(*heard.lock().unwrap(), ["send", "broadcast", "answer"]);
}
