//! Hosted servers and clients, taken apart: what arrives early, late, twice, or is not for them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use raft_core::{
    Address, ClientConfig, ClientId, ClientRequest, ClusterId, ClusterManager, Config, Envelope,
    Index, Message, RestoreError, SequenceNumber, ServerId, StateMachine, Status, Term,
    VoteRequest, codec, decode_outcome,
};
use raft_mocking::broker::{BusMessage, TopicOptions};
use raft_mocking::bus::Bus;
use raft_mocking::{
    HostError, MockClient, MockClusterManager, MockServerHost, SafetyMonitor, Seen, TOPIC,
    Violation,
};

const IDS: [ServerId; 3] = [ServerId(1), ServerId(2), ServerId(3)];
const CLIENT: ClientId = ClientId(9);

/// A client without a session, so that a test can count entries.
fn client_config() -> ClientConfig {
    ClientConfig { register: false, ..ClientConfig::new(CLIENT, IDS) }
}

/// Three servers that are hosted and not started yet, and a client.
struct Cluster {
    cluster_manager: MockClusterManager,
    monitor: SafetyMonitor,
    hosts: [MockServerHost; 3],
    client: MockClient,
}

impl Cluster {
    fn new() -> Self {
        Self::on(MockClusterManager::new(Bus::new(), TOPIC).unwrap())
    }

    fn on(cluster_manager: MockClusterManager) -> Self {
        Self::with(cluster_manager, |id| Config { seed: 11, ..Config::new(id, IDS) })
    }

    fn with(cluster_manager: MockClusterManager, config: fn(ServerId) -> Config) -> Self {
        let monitor = SafetyMonitor::new();
        let hosts = IDS.map(|id| {
            let config = config(id);
            MockServerHost::new(config, cluster_manager.clone(), monitor.clone())
        });
        let client = MockClient::new(client_config(), &cluster_manager).unwrap();
        Self { cluster_manager, monitor, hosts, client }
    }

    async fn start(&mut self) {
        for host in &mut self.hosts {
            host.start().await.unwrap();
        }
    }

    fn host(&mut self, id: ServerId) -> &mut MockServerHost {
        self.hosts.iter_mut().find(|host| host.server_id() == id).unwrap()
    }

    /// Waits until these servers have committed as much as anybody, and at least so much.
    async fn agreed(&self, servers: &[ServerId], least: u64) {
        let is_agreed = |seen: &Seen| {
            let last = seen.last_committed();
            last >= Index(least) && servers.iter().all(|&id| seen.life(id).committed == last)
        };
        patiently(self.monitor.until(is_agreed)).await;
    }

    async fn commands(&self, server: usize) -> Vec<String> {
        self.hosts[server].inspect(|_, machine| machine.query(())).await.unwrap()
    }

    fn publish(&self, to: Address, body: Vec<u8>) {
        let message = BusMessage::new(body).with_to(to.routing_name());
        self.cluster_manager.bus().publish(TOPIC, message).unwrap();
    }
}

/// Waits for what must happen within a minute of paused time.
async fn patiently(happens: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(60), happens).await.unwrap();
}

fn frame(envelope: &Envelope) -> Vec<u8> {
    let mut frame = Vec::new();
    codec::encode_frame(std::slice::from_ref(envelope), &mut frame).unwrap();
    frame
}

fn request(to: ServerId, text: &str) -> Envelope {
    let message = Message::ClientRequest(ClientRequest::new(
        CLIENT,
        SequenceNumber(1),
        codec::encode_value(&text).into(),
    ));
    Envelope { cluster_id: ClusterId::default(), from: CLIENT.into(), to: to.into(), message }
}

fn vote_request(cluster_id: ClusterId, from: ServerId, term: u64) -> Envelope {
    let message = Message::VoteRequest(VoteRequest {
        term: Term(term),
        candidate_id: from,
        last_log_index: Index(1000),
        last_log_term: Term(term - 1),
        is_transfer: false,
    });
    Envelope { cluster_id, from: from.into(), to: Address::AllServers, message }
}

#[tokio::test(start_paused = true)]
async fn subscriptions_let_through_what_is_meant_for_them_and_nothing_else() {
    let cluster = Cluster::new();
    for id in IDS {
        cluster.cluster_manager.register_server(ClusterId::default(), id).unwrap();
    }
    cluster.cluster_manager.bus().with_broker(|broker, _| {
        let rules = |name: &str| {
            let rules = broker.rules(TOPIC, name).unwrap();
            rules.into_iter().map(|rule| rule.name).collect::<Vec<_>>()
        };
        for id in IDS {
            assert_eq!(
                rules(&Address::from(id).routing_name()),
                ["to-all", "to-me"],
                "and no $Default"
            );
        }
        assert_eq!(rules("client-9"), ["to-me"], "what is for all servers is not for clients");
    });
    let copies = |to: &str| {
        let message = BusMessage::new("x").with_to(to);
        cluster.cluster_manager.bus().publish(TOPIC, message).unwrap().copies
    };
    assert_eq!(
        ["server-2", "client-9", "all-servers", "server-4", "nobody"].map(copies),
        [1, 1, 3, 0, 0]
    );
}

#[tokio::test(start_paused = true)]
async fn garbage_and_foreign_frames_on_the_topic_are_counted_and_change_nothing() {
    let mut cluster = Cluster::new();
    cluster.start().await;
    cluster.client.request("before").await.unwrap();
    cluster.agreed(&IDS, 2).await;
    let mut before: Vec<Status> = Vec::new();
    for host in &cluster.hosts {
        before.push(host.status().await.unwrap());
    }

    let all = Address::AllServers;
    for garbage in [&b""[..], b"RAFT", b"hello", &[0xff; 1000]] {
        cluster.publish(all, garbage.to_vec());
    }
    let mut cut_off = frame(&request(IDS[0], "x"));
    cut_off.pop();
    cluster.publish(all, cut_off);
    // A stranger's candidate with an irresistible log, one of another cluster, one of this. The second
    // might be a server that was added meanwhile, but whoever hears a leader does not listen to it.
    cluster.publish(all, frame(&vote_request(ClusterId(77), IDS[1], 100)));
    cluster.publish(all, frame(&vote_request(ClusterId::default(), ServerId(66), 100)));
    // Addressed to all on the outside, and to one within.
    cluster.publish(all, frame(&request(ServerId(5), "x")));

    cluster.client.request("after").await.unwrap();
    cluster.agreed(&IDS, 3).await;
    for (place, host) in cluster.hosts.iter().enumerate() {
        let arrivals = host.arrivals();
        assert_eq!((arrivals.undecodable, arrivals.foreign), (5, 1), "{arrivals:?}");
        let status = host.status().await.unwrap();
        let refused = [("not-for-me", 1)];
        assert!(status.refusals.iter().map(|(&reason, &count)| (reason, count)).eq(refused));
        assert_eq!(status.current_term, before[place].current_term);
        assert_eq!(status.leader, before[place].leader);
        assert_eq!(cluster.commands(place).await, ["before", "after"]);
    }
    assert_eq!(cluster.monitor.check(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_is_not_handled_by_its_own_sender() {
    let mut cluster = Cluster::new();
    cluster.start().await;
    cluster.client.request("x").await.unwrap();
    let own: u64 = cluster.hosts.iter().map(|host| host.arrivals().own).sum();
    let leaders = cluster.monitor.seen().leaders.len() as u64;
    assert!(own >= leaders, "each candidate heard itself, {own} times, and none minded");
    for host in &cluster.hosts {
        assert!(host.status().await.unwrap().refusals.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn messages_that_arrive_before_joining_are_deferred_and_not_lost() {
    let mut cluster = Cluster::new();
    let [first, second, third] = &mut cluster.hosts;
    first.start().await.unwrap();
    second.start().await.unwrap();
    // Registered and running, but not joined: it must neither vote nor forget.
    third.launch().unwrap();
    cluster.client.request("early").await.unwrap();
    let deferred = cluster.hosts[2].inspect(|server, _| server.deferred()).await.unwrap();
    assert!(deferred > 0);
    let status = cluster.hosts[2].status().await.unwrap();
    assert_eq!((status.current_term, status.last.index), (Term(0), Index::ZERO));

    cluster.hosts[2].notify_joined_service().await.unwrap();
    let status = cluster.hosts[2].status().await.unwrap();
    assert!(status.last.index > Index::ZERO, "what was deferred comes before any new message");
    cluster.agreed(&IDS, 2).await;
    assert_eq!(cluster.commands(2).await, ["early"]);
    assert_eq!(cluster.monitor.check(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn messages_that_arrive_before_the_server_runs_wait_in_its_subscription() {
    let mut cluster = Cluster::new();
    cluster.cluster_manager.register_server(ClusterId::default(), IDS[2]).unwrap();
    let [first, second, _] = &mut cluster.hosts;
    first.start().await.unwrap();
    second.start().await.unwrap();
    cluster.client.request("early").await.unwrap();
    cluster.hosts[2].start().await.unwrap();
    cluster.agreed(&IDS, 2).await;
    assert_eq!(cluster.commands(2).await, ["early"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_registered_late_catches_up() {
    let mut cluster = Cluster::new();
    let [first, second, _] = &mut cluster.hosts;
    first.start().await.unwrap();
    second.start().await.unwrap();
    cluster.client.request("early").await.unwrap();
    let unheard = cluster.cluster_manager.traffic().unheard;
    assert!(unheard > 0, "the leader spoke to a server that nobody had registered");
    cluster.hosts[2].start().await.unwrap();
    cluster.agreed(&IDS, 2).await;
    assert_eq!(cluster.commands(2).await, ["early"]);
    assert_eq!(cluster.cluster_manager.traffic().unheard, unheard, "and now it hears");
}

/// Loses answers to clients as long as it is told to.
struct LosesAnswers {
    usual: MockClusterManager,
    is_losing: Arc<AtomicBool>,
    lost: Arc<AtomicU64>,
}

impl ClusterManager for LosesAnswers {
    fn send(&mut self, envelope: Envelope) {
        self.usual.send(envelope);
    }

    fn broadcast(&mut self, envelope: Envelope) {
        self.usual.broadcast(envelope);
    }

    fn answer(&mut self, envelope: Envelope) {
        self.usual.answer(envelope);
    }

    fn send_client_response(&mut self, envelope: Envelope) {
        if self.is_losing.load(Ordering::Relaxed) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        } else {
            self.usual.answer(envelope);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_retried_over_a_leader_change_is_applied_once() {
    let mut cluster = Cluster::new();
    let (is_losing, lost) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    cluster.hosts = cluster.hosts.map(|host| {
        let (is_losing, lost) = (Arc::clone(&is_losing), Arc::clone(&lost));
        host.with_outbound(Arc::new(move |_, usual| {
            let (is_losing, lost) = (Arc::clone(&is_losing), Arc::clone(&lost));
            Box::new(LosesAnswers { usual, is_losing, lost })
        }))
    });
    cluster.start().await;
    let before = cluster.client.request("a").await.unwrap();

    is_losing.store(true, Ordering::Relaxed);
    let Cluster { client, monitor, hosts, .. } = &mut cluster;
    let leader = before.by;
    let change_leader = async {
        // Applied by the leader and committed by all, but the answer is lost.
        let is_known = |seen: &Seen| IDS.iter().all(|&id| seen.life(id).committed == Index(3));
        patiently(monitor.until(is_known)).await;
        hosts.iter_mut().find(|host| host.server_id() == leader).unwrap().kill().await;
        is_losing.store(false, Ordering::Relaxed);
    };
    let (after, ()) = tokio::join!(client.request("b"), change_leader);
    let after = after.unwrap();
    assert!(lost.load(Ordering::Relaxed) > 0, "the fault fired");
    assert!(after.by != leader && after.attempts > 1, "{after:?}");
    assert_eq!(after.log_id.index, Index(3), "the answer of the one time it was applied");

    let followers: Vec<_> = IDS.into_iter().filter(|&id| id != leader).collect();
    cluster.agreed(&followers, 4).await;
    for &id in &followers {
        let commands = cluster.host(id).inspect(|_, machine| machine.query(())).await.unwrap();
        assert_eq!(commands, ["a", "b"], "{id}");
    }
    assert_eq!(cluster.monitor.check(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn the_backlog_of_a_stopped_server_expires_and_the_topic_never_fills() {
    let ttl = Duration::from_secs(2);
    // Room for some hundred heartbeats; in ten minutes a leader sends twelve thousand.
    let (bounded, refused) = ten_minutes_without_one_server(ttl).await;
    assert_eq!(refused, 0);
    assert!(bounded <= 2 * 2 * 20, "{bounded} messages for two seconds of heartbeats");
    let (full, refused) = ten_minutes_without_one_server(Duration::from_secs(24 * 3600)).await;
    assert!(full > 100 && refused > 0, "without a time to live in {full}, refused {refused}");
}

/// What is left for the stopped server, and how many messages the topic refused.
async fn ten_minutes_without_one_server(time_to_live: Duration) -> (u64, u64) {
    let bus = Bus::new();
    let small = TopicOptions { bytes_max: Some(20_000), ..TopicOptions::default() };
    bus.create_topic(TOPIC, small).unwrap();
    let cluster_manager = MockClusterManager::new(bus, TOPIC).unwrap();
    let mut cluster = Cluster::on(cluster_manager.with_time_to_live(time_to_live));
    cluster.start().await;
    let leader = cluster.client.request("x").await.unwrap().by;
    let stopped = IDS.into_iter().find(|&id| id != leader).unwrap();
    cluster.host(stopped).stop().await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let left = cluster.cluster_manager.bus().with_broker(|broker, now| {
        broker.expire(now);
        broker.subscription(TOPIC, &Address::from(stopped).routing_name()).unwrap().message_count
    });
    (left, cluster.cluster_manager.traffic().refused)
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_into_a_message_is_counted_and_dropped() {
    let mut cluster = Cluster::new();
    let huge = Message::ClientRequest(ClientRequest::new(
        CLIENT,
        SequenceNumber(1),
        vec![0; codec::FRAME_BYTES_MAX].into(),
    ));
    cluster.cluster_manager.dispatch(Envelope { message: huge, ..request(IDS[0], "") });
    // It fits into a frame, but with its address not into a message of the bus.
    let mut length = codec::FRAME_BYTES_MAX;
    let barely = loop {
        length -= 1;
        let message = Message::ClientRequest(ClientRequest::new(
            CLIENT,
            SequenceNumber(1),
            vec![0; length].into(),
        ));
        let envelope = Envelope { message, ..request(IDS[0], "") };
        if codec::encode_frame(std::slice::from_ref(&envelope), &mut Vec::new()).is_ok() {
            break envelope;
        }
    };
    cluster.cluster_manager.dispatch(barely);
    let traffic = cluster.cluster_manager.traffic();
    assert_eq!((traffic.published, traffic.too_large, traffic.refused), (0, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_closed_bus_and_a_deleted_topic_are_counted_and_nobody_panics() {
    for close in [
        (|bus: &Bus| bus.close()) as fn(&Bus),
        |bus| bus.delete_topic(TOPIC).unwrap(),
        |bus| bus.delete_subscription(TOPIC, "client-9").unwrap(),
    ] {
        let mut cluster = Cluster::new();
        cluster.start().await;
        cluster.client.request("x").await.unwrap();
        close(cluster.cluster_manager.bus());
        let error = cluster.client.request("y").await.unwrap_err();
        assert!(matches!(error, raft_core::driver::RequestError::Closed), "{error:?}");
        for host in &mut cluster.hosts {
            assert!(host.is_running());
            host.stop().await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_refuses_what_makes_no_sense() {
    let mut cluster = Cluster::new();
    let host = &mut cluster.hosts[0];
    let not_running = |error| matches!(error, HostError::NotRunning { server_id: ServerId(1) });
    assert!(not_running(host.status().await.unwrap_err()));
    assert!(not_running(host.stop().await.unwrap_err()));
    host.kill().await;
    host.start().await.unwrap();
    assert!(matches!(host.launch(), Err(HostError::Running { .. })));
    cluster.cluster_manager.bus().close();
    cluster.hosts[0].kill().await;
    assert!(matches!(cluster.hosts[0].restart().await, Err(HostError::Bus(_))));
}

#[tokio::test(start_paused = true)]
async fn a_killed_server_keeps_what_it_saved_and_nothing_else() {
    let mut cluster = Cluster::new();
    cluster.start().await;
    cluster.client.request("x").await.unwrap();
    cluster.agreed(&IDS, 2).await;
    let term = cluster.hosts[0].status().await.unwrap().current_term;
    cluster.hosts[0].kill().await;
    assert!(!cluster.hosts[0].is_running());
    let recovered = cluster.hosts[0].storage().recovered().unwrap();
    assert_eq!((recovered.entries.len(), recovered.hard_state.current_term), (2, term));
    cluster.hosts[0].launch().unwrap();
    let status = cluster.hosts[0].status().await.unwrap();
    assert_eq!((status.commit_index, status.last.index), (Index::ZERO, Index(2)));
    assert_eq!(cluster.monitor.seen().life(IDS[0]).restarts, 1);
}

#[tokio::test(start_paused = true)]
async fn who_missed_what_was_compacted_goes_on_from_a_snapshot_and_so_does_who_restarts() {
    let cluster_manager = MockClusterManager::new(Bus::new(), TOPIC).unwrap();
    let mut cluster = Cluster::with(cluster_manager, |id| Config {
        snapshot_entries: Some(3),
        snapshot_keep_entries: 0,
        append_bytes_max: 32,
        ..Config::new(id, IDS)
    });
    cluster.start().await;
    cluster.client.request("a").await.unwrap();
    cluster.agreed(&IDS, 2).await;
    let leader = cluster.monitor.seen().last_elected.unwrap().0;
    let behind = IDS.into_iter().find(|&id| id != leader).unwrap();
    cluster.host(behind).kill().await;
    for text in ["b", "c", "d", "e", "f"] {
        cluster.client.request(text).await.unwrap();
    }
    // What waits for it meanwhile is too old to be delivered when it comes back.
    tokio::time::sleep(Duration::from_secs(20)).await;
    cluster.host(behind).start().await.unwrap();
    cluster.agreed(&IDS, 7).await;
    let status = cluster.host(behind).status().await.unwrap();
    assert_eq!(status.snapshot.index, Index(6), "{status:?}");
    for id in IDS {
        cluster.host(id).restart().await.unwrap();
    }
    cluster.client.request("g").await.unwrap();
    cluster.agreed(&IDS, 8).await;
    for server in 0..IDS.len() {
        assert_eq!(cluster.commands(server).await, ["a", "b", "c", "d", "e", "f", "g"]);
    }
    assert_eq!(cluster.monitor.check(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn servers_that_forget_what_they_saved_are_caught() {
    let mut cluster = Cluster::new();
    cluster.start().await;
    cluster.client.request("a").await.unwrap();
    cluster.agreed(&IDS, 2).await;
    assert_eq!(cluster.monitor.check(), Ok(()));
    for host in &mut cluster.hosts {
        host.kill().await;
    }
    for host in &mut cluster.hosts {
        host.storage().forget();
        host.start().await.unwrap();
    }
    cluster.client.request("b").await.unwrap();
    let violation = cluster.monitor.check().unwrap_err();
    assert!(matches!(violation, Violation::DifferentEntries { .. }), "{violation}");
}

/// Adds numbers up, as an application of one's own would.
#[derive(Default)]
struct Sum(i64);

impl StateMachine for Sum {
    type Command = i64;
    type Response = i64;
    type Query = ();
    type Answer = i64;

    fn apply(&mut self, _index: Index, command: i64) -> i64 {
        self.0 += command;
        self.0
    }

    fn query(&self, (): ()) -> i64 {
        self.0
    }

    fn snapshot(&self) -> Vec<u8> {
        codec::encode_value(&self.0)
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.0 = codec::decode_value(snapshot).map_err(RestoreError::new)?;
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_state_machine_of_ones_own_is_hosted_and_a_command_it_cannot_read_harms_nobody() {
    let cluster_manager = MockClusterManager::new(Bus::new(), TOPIC).unwrap();
    let monitor = SafetyMonitor::new();
    let mut hosts = IDS.map(|id| {
        let config = Config::new(id, IDS);
        let (cluster_manager, monitor) = (cluster_manager.clone(), monitor.clone());
        MockServerHost::with_state_machine(config, cluster_manager, monitor, Sum::default)
    });
    for host in &mut hosts {
        host.start().await.unwrap();
    }
    let mut client = MockClient::new(client_config(), &cluster_manager).unwrap();
    let mut sums = Vec::new();
    for command in [codec::encode_value(&40_i64), vec![1, 2, 3], codec::encode_value(&2_i64)] {
        let answer = client.request_encoded(command.into()).await.unwrap();
        sums.push(decode_outcome::<i64>(&answer.response).unwrap().ok());
    }
    assert_eq!(sums, [Some(40), None, Some(42)]);
    let is_applied = |seen: &Seen| IDS.iter().all(|&id| seen.life(id).applied == Index(4));
    patiently(monitor.until(is_applied)).await;
    for host in &hosts {
        assert_eq!(host.inspect(|_, sum| sum.query(())).await.unwrap(), 42);
    }
    assert_eq!(monitor.check(), Ok(()));
}
