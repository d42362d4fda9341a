//! The whole lower half against the emulator: what is published arrives where the rules say,
//! whatever happens to the connection meanwhile.

use std::time::Duration;

use bytes::Bytes;
use raft_azure::{
    AmqpBus, AmqpOptions, BusMessage, BusOptions, ConnectionState, PropertyValue, PublishError,
    Subscriber, TransportError,
};
use raft_mocking::broker::{CorrelationFilter, Rule};
use raft_mocking::emulator::Emulator;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const TOPIC: &str = "rafttopic";

fn options() -> AmqpOptions {
    AmqpOptions { entity: Some(TOPIC.to_owned()), ..AmqpOptions::default() }
}

/// A topic with a subscription per server, as provisioning leaves it.
async fn emulator(servers: &[&str]) -> Emulator {
    let emulator = Emulator::start().await.expect("a free port");
    let bus = emulator.bus();
    bus.create_topic(TOPIC, Default::default()).expect("a new topic");
    for server in servers {
        bus.create_subscription(TOPIC, server, Default::default()).expect("a new subscription");
        let rules = [("to-me", *server), ("to-all", "all-servers")];
        for (name, to) in rules {
            bus.add_rule(TOPIC, server, Rule::new(name, CorrelationFilter::to(to)))
                .expect("a rule");
        }
        bus.remove_rule(TOPIC, server, Rule::DEFAULT_NAME).expect("the default rule");
    }
    emulator
}

async fn connect(emulator: &Emulator, options: AmqpOptions) -> AmqpBus {
    let connection_string = emulator.connection_string().parse().expect("a connection string");
    AmqpBus::connect(connection_string, options).await.expect("a connection")
}

fn message(to: &str, body: &'static str) -> BusMessage {
    BusMessage {
        to: Some(to.to_owned()),
        time_to_live: Some(Duration::from_secs(60)),
        body: Bytes::from_static(body.as_bytes()),
        ..BusMessage::default()
    }
}

async fn receive(subscriber: &mut Subscriber) -> raft_azure::ReceivedMessage {
    tokio::time::timeout(Duration::from_secs(20), subscriber.receive())
        .await
        .expect("a message in time")
        .expect("a message")
}

#[tokio::test]
async fn a_message_reaches_its_receiver_with_everything_in_it() {
    let emulator = emulator(&["server-1"]).await;
    let bus = connect(&emulator, options()).await;
    let mut subscriber = bus.subscriber(TOPIC, "server-1");
    subscriber.ready().await.unwrap();
    let sent = BusMessage {
        to: Some("server-1".into()),
        reply_to: Some("server-2".into()),
        subject: Some("raft".into()),
        message_id: Some("m-1".into()),
        correlation_id: Some("c-1".into()),
        time_to_live: Some(Duration::from_secs(60)),
        content_type: Some("application/x-raft".into()),
        body: Bytes::from_static(b"\0\xff binary"),
        application_properties: [
            ("boot".to_owned(), PropertyValue::Integer(-7)),
            ("cluster".to_owned(), PropertyValue::Text("a".into())),
            ("last".to_owned(), PropertyValue::Boolean(true)),
        ]
        .into(),
    };
    bus.publisher(TOPIC).publish(sent.clone()).unwrap();
    let received = receive(&mut subscriber).await;
    assert_eq!(received.message, sent);
    assert!(received.sequence_number.is_some());
    let age = received.enqueued_time.expect("a time").elapsed().unwrap_or_default();
    assert!(age < Duration::from_secs(60), "the broker's clock is ours here: {age:?}");
    bus.close().await;
}

#[tokio::test]
async fn rules_pass_what_is_to_me_and_to_all_and_nothing_else() {
    let emulator = emulator(&["server-1", "server-2"]).await;
    let bus = connect(&emulator, options()).await;
    let mut one = bus.subscriber(TOPIC, "server-1");
    let mut two = bus.subscriber(TOPIC, "server-2");
    let publisher = bus.publisher(TOPIC);
    for (to, body) in [
        ("server-2", "for two"),
        ("all-servers", "for all"),
        ("server-3", "lost"),
        ("server-1", "end"),
    ] {
        publisher.publish(message(to, body)).unwrap();
    }
    publisher.publish(message("server-2", "end")).unwrap();
    publisher.flush().await.unwrap();
    for (subscriber, expected) in
        [(&mut one, &["for all", "end"][..]), (&mut two, &["for two", "for all", "end"])]
    {
        for body in expected {
            assert_eq!(receive(subscriber).await.body(), body);
        }
    }
    assert_eq!(bus.counters().sent, 5);
    assert_eq!(bus.counters().received, 5);
    assert_eq!(bus.counters().billable_operations, 10);
}

#[tokio::test]
async fn a_wrong_key_is_unauthorized_at_once() {
    let emulator = emulator(&[]).await;
    let text = emulator.connection_string().replace("SAS_KEY_VALUE", "WRONG_KEY_VALUE");
    let error = AmqpBus::connect(text.parse().unwrap(), options()).await.unwrap_err();
    assert!(matches!(error, TransportError::Unauthorized { .. }), "{}", error.one_line());
    assert!(!error.one_line().contains("WRONG_KEY_VALUE"));
    assert!(!format!("{error:?}").contains("WRONG_KEY_VALUE"));
}

#[tokio::test]
async fn a_topic_or_subscription_that_does_not_exist_is_named() {
    let emulator = emulator(&["server-1"]).await;
    let bus = connect(&emulator, options()).await;
    // The library loses the reason of some refusals, so ask often.
    for attempt in 0..20 {
        let mut subscriber = bus.subscriber(TOPIC, &format!("nobody-{attempt}"));
        let error = subscriber.receive().await.unwrap_err();
        assert!(matches!(error, TransportError::NotFound { .. }), "{}", error.one_line());
        assert!(error.to_string().contains("nobody"), "{error}");
        let error = bus.publisher(&format!("no-topic-{attempt}")).ready().await.unwrap_err();
        assert!(matches!(error, TransportError::NotFound { .. }), "{}", error.one_line());
    }
    // The connection is none the worse.
    bus.publisher(TOPIC).ready().await.unwrap();
    assert_eq!(bus.counters().reconnects, 0);
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_and_the_next_one_goes() {
    let emulator = emulator(&["server-1"]).await;
    let bus = connect(&emulator, options()).await;
    let publisher = bus.publisher(TOPIC);
    publisher.ready().await.unwrap();
    let with_body = |size| BusMessage { body: vec![1; size].into(), ..message("server-1", "") };
    let refused = publisher.publish(with_body(256 * 1024)).unwrap_err();
    assert!(matches!(refused, PublishError::TooLarge { .. }), "{refused}");
    // Larger than a frame, so it travels in pieces.
    publisher.publish(with_body(250 * 1024)).unwrap();
    let mut subscriber = bus.subscriber(TOPIC, "server-1");
    assert_eq!(receive(&mut subscriber).await.body().len(), 250 * 1024);
    publisher.flush().await.unwrap();
    assert_eq!(bus.counters().sent, 1);
    assert_eq!(bus.counters().billable_operations, 8, "4 for each way: 64 KiB each");
}

#[tokio::test]
async fn everything_comes_back_after_the_broker_cuts_its_connections() {
    let emulator = emulator(&["server-1"]).await;
    let bus = connect(&emulator, options()).await;
    let mut subscriber = bus.subscriber(TOPIC, "server-1");
    let publisher = bus.publisher(TOPIC);
    let mut state = bus.state();
    for round in 1..=5 {
        publisher.publish(message("server-1", "before")).unwrap();
        assert_eq!(receive(&mut subscriber).await.body(), "before");
        // Or the answer to it could be lost with the connection.
        publisher.flush().await.unwrap();
        emulator.drop_connections();
        state.wait_for(|state| *state == ConnectionState::Reconnecting).await.unwrap();
        // Published into the gap: it waits in the outbox.
        publisher.publish(message("server-1", "after")).unwrap();
        assert_eq!(receive(&mut subscriber).await.body(), "after");
        publisher.flush().await.unwrap();
        assert_eq!(bus.counters().reconnects, round);
    }
    assert_eq!(bus.counters().sent, 10);
    bus.close().await;
}

#[tokio::test]
async fn under_fire_every_message_is_accounted_for_and_none_comes_twice() {
    const MESSAGES: u32 = 5_000;
    let emulator = emulator(&["server-1"]).await;
    let mut options = options();
    options.bus.backoff_first = Duration::from_millis(5);
    options.bus.outbox_messages = 500;
    let bus = connect(&emulator, options).await;
    let mut subscriber = bus.subscriber(TOPIC, "server-1");
    subscriber.ready().await.unwrap();
    let publisher = bus.publisher(TOPIC);
    publisher.ready().await.unwrap();

    let receiving = tokio::spawn(async move {
        let mut numbers = Vec::new();
        loop {
            let received = receive(&mut subscriber).await;
            let Ok(number) = <[u8; 4]>::try_from(&received.body()[..]) else { return numbers };
            numbers.push(u32::from_be_bytes(number));
        }
    });
    let start = std::time::Instant::now();
    for number in 0..MESSAGES {
        let body = Bytes::copy_from_slice(&number.to_be_bytes());
        publisher.publish(BusMessage { body, ..message("server-1", "") }).unwrap();
        if number % 500 == 250 {
            emulator.drop_connections();
        }
        if number % 10 == 0 {
            tokio::task::yield_now().await;
        }
    }
    publisher.flush().await.unwrap();
    let counters = bus.counters();
    let accounted = counters.sent + counters.send_failures + counters.dropped_full;
    assert_eq!(accounted, u64::from(MESSAGES), "{counters:?}");
    assert!(counters.reconnects > 0, "{counters:?}");
    // An attach that waited for an answer from a dead connection would have taken 10 s.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());

    // The end may be lost like any other message, so it is sent until it arrives.
    let end = async {
        loop {
            publisher.publish(message("server-1", "the end")).unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let numbers = tokio::select! {
        numbers = receiving => numbers.unwrap(),
        () = end => unreachable!("it never ends"),
    };
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "in order, each at most once");
    assert!(!numbers.is_empty());
}

#[tokio::test]
async fn tokens_are_renewed_while_messages_flow() {
    let emulator = emulator(&["server-1"]).await;
    let options = AmqpOptions { token_lifetime: Duration::from_secs(2), ..options() };
    let bus = connect(&emulator, options).await;
    let mut subscriber = bus.subscriber(TOPIC, "server-1");
    let publisher = bus.publisher(TOPIC);
    let start = std::time::Instant::now();
    // Twice the life of a token, and some.
    let mut sent = 0;
    while start.elapsed() < Duration::from_secs(5) {
        publisher.publish(message("server-1", "tick")).unwrap();
        receive(&mut subscriber).await;
        sent += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    publisher.flush().await.unwrap();
    let counters = bus.counters();
    assert!(counters.tokens >= 6, "two entities, put at first and renewed twice: {counters:?}");
    assert_eq!(counters.reconnects, 0, "{counters:?}");
    assert_eq!(counters.attaches, 2, "no token ever expired: {counters:?}");
    assert_eq!(counters.received, sent);
}

#[tokio::test]
async fn many_messages_in_flight_arrive_once_and_in_order() {
    const MESSAGES: u32 = 20_000;
    let emulator = emulator(&["server-1"]).await;
    let bus_options = BusOptions { outbox_messages: MESSAGES as usize, ..BusOptions::default() };
    let bus = connect(&emulator, AmqpOptions { bus: bus_options, ..options() }).await;
    let mut subscriber = bus.subscriber(TOPIC, "server-1");
    subscriber.ready().await.unwrap();
    let publisher = bus.publisher(TOPIC);
    publisher.ready().await.unwrap();
    let start = std::time::Instant::now();
    for number in 0..MESSAGES {
        let body = Bytes::from(number.to_be_bytes().repeat(50));
        publisher.publish(BusMessage { body, ..message("server-1", "") }).unwrap();
    }
    for number in 0..MESSAGES {
        let received = receive(&mut subscriber).await;
        assert_eq!(received.body()[..4], number.to_be_bytes());
    }
    let elapsed = start.elapsed();
    println!("{:.0} messages of 200 bytes per second", f64::from(MESSAGES) / elapsed.as_secs_f64());
    publisher.flush().await.unwrap();
    assert_eq!(bus.counters().sent, u64::from(MESSAGES));
    assert_eq!(bus.counters().dropped_full, 0);
}

#[tokio::test]
async fn a_round_trip_is_short() {
    let emulator = emulator(&["server-1"]).await;
    let bus = connect(&emulator, options()).await;
    let mut subscriber = bus.subscriber(TOPIC, "server-1");
    subscriber.ready().await.unwrap();
    let publisher = bus.publisher(TOPIC);
    let mut times = Vec::new();
    for _ in 0..500 {
        let start = std::time::Instant::now();
        publisher.publish(message("server-1", "ping")).unwrap();
        receive(&mut subscriber).await;
        times.push(start.elapsed());
    }
    times.sort();
    println!("publish to receive: p50 {:?}, p99 {:?}", times[250], times[495]);
    // Nagle's algorithm alone would cost 40 ms.
    assert!(times[250] < Duration::from_millis(20), "{:?}", times[250]);
}

#[tokio::test]
async fn closing_leaves_no_connection_behind() {
    let emulator = emulator(&["server-1"]).await;
    let bus = connect(&emulator, options()).await;
    let publisher = bus.publisher(TOPIC);
    let subscriber = bus.subscriber(TOPIC, "server-1");
    subscriber.ready().await.unwrap();
    publisher.ready().await.unwrap();
    let start = std::time::Instant::now();
    bus.close().await;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert!(matches!(publisher.publish(message("x", "y")), Err(PublishError::Closed)));
}

#[tokio::test]
async fn a_deleted_subscription_ends_its_subscriber() {
    let emulator = emulator(&["server-1"]).await;
    let bus = connect(&emulator, options()).await;
    let mut subscriber = bus.subscriber(TOPIC, "server-1");
    subscriber.ready().await.unwrap();
    emulator.bus().delete_subscription(TOPIC, "server-1").unwrap();
    let error = tokio::time::timeout(Duration::from_secs(10), subscriber.receive()).await;
    let error = error.expect("the broker detaches the link").unwrap_err();
    assert!(matches!(error, TransportError::NotFound { .. }), "{}", error.one_line());
}

#[tokio::test]
async fn a_topic_that_is_created_again_is_found_again() {
    let emulator = emulator(&[]).await;
    let bus = connect(&emulator, options()).await;
    let publisher = bus.publisher(TOPIC);
    publisher.ready().await.unwrap();
    emulator.bus().delete_topic(TOPIC).unwrap();
    let refused = async {
        loop {
            match publisher.publish(message("server-1", "x")) {
                Err(error) => return error,
                Ok(()) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let refused = tokio::time::timeout(Duration::from_secs(10), refused).await.unwrap();
    assert!(matches!(refused, PublishError::Unavailable { .. }), "{refused}");
    emulator.bus().create_topic(TOPIC, Default::default()).unwrap();
    let accepted = async {
        while publisher.publish(message("server-1", "y")).is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        publisher.flush().await
    };
    tokio::time::timeout(Duration::from_secs(10), accepted).await.unwrap().unwrap();
    assert!(bus.counters().sent >= 1);
}

/// Stands between us and the broker and can fall silent towards us. The broker sees a closed
/// connection: a link it still believed in would take our messages until it times out.
struct Proxy {
    port: u16,
    frozen: watch::Sender<u64>,
}

impl Proxy {
    async fn before(emulator: &Emulator) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("a bound port").port();
        let broker = emulator.amqp_address();
        let frozen = watch::Sender::new(0);
        let freeze = frozen.clone();
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.expect("a listening socket");
                let mut server = TcpStream::connect(broker).await.expect("the emulator listens");
                let mut frozen = freeze.subscribe();
                tokio::spawn(async move {
                    tokio::select! {
                        // Either side may end at any time.
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
                        _ = frozen.changed() => {}
                    }
                    drop(server);
                    // Keeps the client's socket open and reads no more.
                    std::future::pending::<()>().await;
                });
            }
        });
        Self { port, frozen }
    }

    /// Present connections fall silent; new ones work.
    fn freeze(&self) {
        self.frozen.send_modify(|count| *count += 1);
    }

    async fn connect(&self, options: AmqpOptions) -> AmqpBus {
        let text = format!(
            "Endpoint=sb://127.0.0.1:{};SharedAccessKeyName=RootManageSharedAccessKey;\
             SharedAccessKey=SAS_KEY_VALUE;UseDevelopmentEmulator=true",
            self.port
        );
        AmqpBus::connect(text.parse().expect("a connection string"), options)
            .await
            .expect("a connection")
    }
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_replaced_when_a_send_gets_no_answer() {
    let emulator = emulator(&["server-1"]).await;
    let proxy = Proxy::before(&emulator).await;
    let bus_options =
        BusOptions { send_timeout: Duration::from_millis(300), ..BusOptions::default() };
    let bus = proxy.connect(AmqpOptions { bus: bus_options, ..options() }).await;
    let mut subscriber = bus.subscriber(TOPIC, "server-1");
    let publisher = bus.publisher(TOPIC);
    publisher.publish(message("server-1", "before")).unwrap();
    assert_eq!(receive(&mut subscriber).await.body(), "before");
    publisher.flush().await.unwrap();

    let mut state = bus.state();
    proxy.freeze();
    publisher.publish(message("server-1", "lost")).unwrap();
    state.wait_for(|state| *state == ConnectionState::Reconnecting).await.unwrap();
    publisher.publish(message("server-1", "after")).unwrap();
    assert_eq!(receive(&mut subscriber).await.body(), "after");
    let counters = bus.counters();
    assert_eq!((counters.send_failures, counters.reconnects), (1, 1), "{counters:?}");
    bus.close().await;
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_replaced_even_if_nobody_sends() {
    let emulator = emulator(&["server-1"]).await;
    let proxy = Proxy::before(&emulator).await;
    let options = AmqpOptions { idle_timeout: Duration::from_millis(600), ..options() };
    let bus = proxy.connect(options).await;
    let mut subscriber = bus.subscriber(TOPIC, "server-1");
    subscriber.ready().await.unwrap();
    // The broker's heartbeats keep a quiet connection alive.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(bus.counters().reconnects, 0);

    let mut state = bus.state();
    proxy.freeze();
    let silence = state.wait_for(|state| *state == ConnectionState::Reconnecting);
    tokio::time::timeout(Duration::from_secs(5), silence).await.unwrap().unwrap();
    bus.publisher(TOPIC).publish(message("server-1", "after")).unwrap();
    assert_eq!(receive(&mut subscriber).await.body(), "after");
    bus.close().await;
}
