//! The bus above a scripted connector, on paused time: no socket, no waiting.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::*;
use crate::publisher::PublishError;
use crate::transport::{
    BrokerError, BusMessage, Connection, LinkReceiver, LinkSender, ReceivedMessage,
};

/// What the broker answers to a message.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Answer {
    #[default]
    Accept,
    Busy,
    Never,
}

#[derive(Debug)]
struct World {
    connects: Vec<Instant>,
    refuse_connects: VecDeque<TransportError>,
    tokens: Vec<(Instant, String)>,
    token_lifetime: Duration,
    topic_exists: bool,
    answer: Answer,
    sent: Vec<BusMessage>,
    /// Setting it to true cuts the present connection.
    cut: watch::Sender<bool>,
    receivers: Vec<mpsc::UnboundedSender<Result<ReceivedMessage, TransportError>>>,
    said_goodbye: bool,
}

/// A broker whose every answer the test decides.
#[derive(Debug, Clone)]
struct Fake(Arc<Mutex<World>>);

impl Fake {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(World {
            connects: Vec::new(),
            refuse_connects: VecDeque::new(),
            tokens: Vec::new(),
            token_lifetime: Duration::from_secs(3600),
            topic_exists: true,
            answer: Answer::Accept,
            sent: Vec::new(),
            cut: watch::Sender::new(false),
            receivers: Vec::new(),
            said_goodbye: false,
        })))
    }

    fn with<T>(&self, f: impl FnOnce(&mut World) -> T) -> T {
        f(&mut self.0.lock().unwrap())
    }

    fn cut(&self) {
        self.with(|world| world.cut.send_replace(true));
    }

    fn deliver(&self, text: &'static str) {
        let message = BusMessage { body: Bytes::from_static(text.as_bytes()), ..message() };
        let received = ReceivedMessage { sequence_number: None, enqueued_time: None, message };
        self.with(|world| world.receivers.last().unwrap().send(Ok(received)).unwrap());
    }

    async fn bus(&self, options: BusOptions) -> Bus {
        Bus::start(self.clone(), options).await.unwrap()
    }
}

fn lost() -> TransportError {
    let source = BrokerError { condition: "cut".into(), description: String::new() };
    TransportError::ConnectionLost { source: Arc::new(source) }
}

fn unauthorized() -> TransportError {
    let source = BrokerError { condition: "status 401".into(), description: String::new() };
    TransportError::Unauthorized { entity: "t".into(), source }
}

fn message() -> BusMessage {
    BusMessage { to: Some("server-1".into()), ..BusMessage::default() }
}

fn numbered(number: u8) -> BusMessage {
    BusMessage { body: Bytes::from(vec![number]), ..message() }
}

async fn yield_until(condition: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if condition() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("the condition never came true");
}

impl Connector for Fake {
    type Connection = FakeConnection;

    async fn connect(&self) -> Result<FakeConnection, TransportError> {
        self.with(|world| {
            world.connects.push(Instant::now());
            if let Some(error) = world.refuse_connects.pop_front() {
                return Err(error);
            }
            world.cut = watch::Sender::new(false);
            Ok(FakeConnection { fake: self.clone(), cut: world.cut.subscribe() })
        })
    }
}

struct FakeConnection {
    fake: Fake,
    cut: watch::Receiver<bool>,
}

impl Connection for FakeConnection {
    type Sender = FakeSender;
    type Receiver = FakeReceiver;

    async fn authorize(&mut self, entity: &str) -> Result<Duration, TransportError> {
        Ok(self.fake.with(|world| {
            world.tokens.push((Instant::now(), entity.to_owned()));
            world.token_lifetime
        }))
    }

    async fn open_sender(&mut self, topic: &str) -> Result<FakeSender, TransportError> {
        if !self.fake.with(|world| world.topic_exists) {
            let source =
                BrokerError { condition: "amqp:not-found".into(), description: String::new() };
            return Err(TransportError::NotFound { entity: topic.to_owned(), source });
        }
        Ok(FakeSender { fake: self.fake.clone(), cut: self.cut.clone() })
    }

    async fn open_receiver(&mut self, _: &str) -> Result<FakeReceiver, TransportError> {
        let (sender, messages) = mpsc::unbounded_channel();
        self.fake.with(|world| world.receivers.push(sender));
        Ok(FakeReceiver { messages, cut: self.cut.clone() })
    }

    async fn closed(&mut self) -> TransportError {
        let _ = self.cut.wait_for(|cut| *cut).await;
        lost()
    }

    async fn close(self) {
        self.fake.with(|world| world.said_goodbye = true);
    }
}

struct FakeSender {
    fake: Fake,
    cut: watch::Receiver<bool>,
}

impl LinkSender for FakeSender {
    type Outcome = Outcome;

    fn max_message_size(&self) -> Option<u64> {
        Some(1000)
    }

    async fn send(&mut self, message: BusMessage) -> Result<Outcome, TransportError> {
        let (answer, outcome) = oneshot::channel();
        self.fake.with(|world| {
            world.sent.push(message);
            let source = BrokerError { condition: "busy".into(), description: String::new() };
            let answered = match world.answer {
                Answer::Accept => answer.send(Ok(())),
                Answer::Busy => {
                    answer.send(Err(TransportError::Throttled { entity: "t".into(), source }))
                }
                Answer::Never => {
                    // Keeps the answer pending for ever.
                    std::mem::forget(answer);
                    Ok(())
                }
            };
            assert!(answered.is_ok(), "somebody waits for the answer");
        });
        Ok(Outcome(outcome))
    }

    async fn closed(&mut self) -> TransportError {
        let _ = self.cut.wait_for(|cut| *cut).await;
        lost()
    }

    async fn close(self) {}
}

struct Outcome(oneshot::Receiver<Result<(), TransportError>>);

impl Future for Outcome {
    type Output = Result<(), TransportError>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap())
    }
}

struct FakeReceiver {
    messages: mpsc::UnboundedReceiver<Result<ReceivedMessage, TransportError>>,
    cut: watch::Receiver<bool>,
}

impl LinkReceiver for FakeReceiver {
    async fn receive(&mut self) -> Result<ReceivedMessage, TransportError> {
        tokio::select! {
            message = self.messages.recv() => message.unwrap(),
            _ = self.cut.wait_for(|cut| *cut) => Err(lost()),
        }
    }

    async fn close(self) {}
}

#[tokio::test(start_paused = true)]
async fn tokens_are_renewed_after_three_quarters_of_their_life() {
    let fake = Fake::new();
    fake.with(|world| world.token_lifetime = Duration::from_secs(400));
    let bus = fake.bus(BusOptions::default()).await;
    bus.publisher("t").ready().await.unwrap();
    let start = Instant::now();
    tokio::time::sleep(Duration::from_secs(1000)).await;
    let times: Vec<_> = fake.with(|world| {
        world.tokens.iter().map(|(at, _)| at.duration_since(start).as_secs()).collect()
    });
    assert_eq!(times, [0, 300, 600, 900]);
    assert_eq!(bus.counters().tokens, 4);
    assert_eq!(bus.counters().reconnects, 0, "the connection stays");
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_comes_back_with_its_links() {
    let fake = Fake::new();
    let bus = fake.bus(BusOptions::default()).await;
    let publisher = bus.publisher("t");
    let mut subscriber = bus.subscriber("t", "server-1");
    subscriber.ready().await.unwrap();
    let mut state = bus.state();
    fake.deliver("before");
    assert_eq!(subscriber.receive().await.unwrap().body(), "before");

    fake.cut();
    state.wait_for(|state| *state == ConnectionState::Reconnecting).await.unwrap();
    publisher.publish(message()).unwrap();
    state.wait_for(|state| *state == ConnectionState::Connected).await.unwrap();
    publisher.flush().await.unwrap();
    yield_until(|| fake.with(|world| world.receivers.len() == 2)).await;
    fake.deliver("after");
    assert_eq!(subscriber.receive().await.unwrap().body(), "after");
    assert_eq!(bus.counters().reconnects, 1);
    assert_eq!(bus.counters().sent, 1);
    let tokens = fake.with(|world| world.tokens.len());
    assert_eq!(tokens, 4, "each link got a token on each connection");
}

#[tokio::test(start_paused = true)]
async fn attempts_to_reconnect_back_off_and_are_bounded() {
    let fake = Fake::new();
    let bus = fake.bus(BusOptions::default()).await;
    fake.with(|world| world.refuse_connects = (0..12).map(|_| lost()).collect());
    let mut state = bus.state();
    fake.cut();
    state.wait_for(|state| *state == ConnectionState::Reconnecting).await.unwrap();
    state.wait_for(|state| *state == ConnectionState::Connected).await.unwrap();
    let waits: Vec<_> = fake
        .with(|world| world.connects.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>());
    assert_eq!(waits.len(), 13);
    let max = BusOptions::default().backoff_max;
    assert!(waits.iter().all(|wait| *wait <= max), "{waits:?}");
    assert!(waits[12] >= max / 2, "{waits:?}");
    assert!(waits[0] <= Duration::from_millis(51), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_is_told_when_the_key_no_longer_works() {
    let fake = Fake::new();
    let bus = fake.bus(BusOptions::default()).await;
    let mut subscriber = bus.subscriber("t", "server-1");
    subscriber.ready().await.unwrap();
    fake.with(|world| world.refuse_connects = (0..100).map(|_| unauthorized()).collect());
    fake.cut();
    let error = subscriber.receive().await.unwrap_err();
    assert!(matches!(error, TransportError::Unauthorized { .. }), "{error}");
    assert!(matches!(subscriber.receive().await, Err(TransportError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn a_full_outbox_drops_the_oldest() {
    let fake = Fake::new();
    let options = BusOptions { outbox_messages: 3, ..BusOptions::default() };
    let bus = fake.bus(options).await;
    let publisher = bus.publisher("t");
    for number in 0..5 {
        publisher.publish(numbered(number)).unwrap();
    }
    publisher.flush().await.unwrap();
    let bodies: Vec<u8> = fake.with(|world| world.sent.iter().map(|m| m.body[0]).collect());
    assert_eq!(bodies, [2, 3, 4], "in order, the newest");
    assert_eq!(bus.counters().dropped_full, 2);
    assert_eq!(bus.counters().sent, 3);
}

#[tokio::test(start_paused = true)]
async fn a_full_outbox_refuses_when_told_so() {
    let fake = Fake::new();
    let options =
        BusOptions { outbox_bytes: 250, when_full: WhenFull::Refuse, ..BusOptions::default() };
    let bus = fake.bus(options).await;
    let publisher = bus.publisher("t");
    publisher.publish(numbered(0)).unwrap();
    publisher.publish(numbered(1)).unwrap();
    let refused = publisher.publish(numbered(2)).unwrap_err();
    assert!(matches!(refused, PublishError::OutboxFull), "{refused}");
    assert_eq!(bus.counters().dropped_full, 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_above_the_brokers_limit_is_refused_at_once() {
    let fake = Fake::new();
    let bus = fake.bus(BusOptions::default()).await;
    let publisher = bus.publisher("t");
    publisher.ready().await.unwrap();
    let large = BusMessage { body: Bytes::from(vec![0; 1000]), ..message() };
    let refused = publisher.publish(large).unwrap_err();
    assert!(matches!(refused, PublishError::TooLarge { limit: 1000, .. }), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn messages_older_than_their_time_to_live_are_not_sent() {
    let fake = Fake::new();
    let bus = fake.bus(BusOptions::default()).await;
    let publisher = bus.publisher("t");
    publisher.ready().await.unwrap();
    let mut state = bus.state();
    fake.with(|world| world.refuse_connects = (0..10).map(|_| lost()).collect());
    fake.cut();
    state.wait_for(|state| *state == ConnectionState::Reconnecting).await.unwrap();
    let stale = BusMessage { time_to_live: Some(Duration::from_secs(1)), ..numbered(1) };
    publisher.publish(stale).unwrap();
    publisher.publish(numbered(2)).unwrap();
    publisher.flush().await.unwrap();
    let bodies: Vec<u8> = fake.with(|world| world.sent.iter().map(|m| m.body[0]).collect());
    assert_eq!(bodies, [2]);
    assert_eq!(bus.counters().expired, 1);
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_send_rebuilds_the_connection() {
    let fake = Fake::new();
    fake.with(|world| world.answer = Answer::Never);
    let bus = fake.bus(BusOptions::default()).await;
    let publisher = bus.publisher("t");
    publisher.publish(message()).unwrap();
    publisher.flush().await.unwrap();
    assert_eq!(bus.counters().send_failures, 1);
    let mut state = bus.state();
    state.wait_for(|state| *state == ConnectionState::Reconnecting).await.unwrap();
    fake.with(|world| world.answer = Answer::Accept);
    publisher.publish(message()).unwrap();
    publisher.flush().await.unwrap();
    assert_eq!(bus.counters().sent, 1);
    assert_eq!(bus.counters().reconnects, 1);
}

#[tokio::test(start_paused = true)]
async fn a_busy_broker_is_given_short_pauses() {
    let fake = Fake::new();
    fake.with(|world| world.answer = Answer::Busy);
    let options = BusOptions { max_in_flight: 1, ..BusOptions::default() };
    let bus = fake.bus(options).await;
    let publisher = bus.publisher("t");
    let start = Instant::now();
    for number in 0..10 {
        publisher.publish(numbered(number)).unwrap();
    }
    publisher.flush().await.unwrap();
    let waited = start.elapsed();
    assert_eq!(bus.counters().throttled, 10);
    assert_eq!(bus.counters().reconnects, 0, "being busy is no reason to reconnect");
    assert!(waited >= Duration::from_secs(4), "pauses grow: {waited:?}");
    assert!(waited <= Duration::from_secs(20), "and are bounded: {waited:?}");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_topic_is_told_and_asked_for_again() {
    let fake = Fake::new();
    fake.with(|world| world.topic_exists = false);
    let bus = fake.bus(BusOptions::default()).await;
    let publisher = bus.publisher("t");
    let error = publisher.ready().await.unwrap_err();
    assert!(matches!(error, TransportError::NotFound { .. }), "{error}");
    let refused = publisher.publish(message()).unwrap_err();
    assert!(matches!(refused, PublishError::Unavailable { .. }), "{refused}");
    fake.with(|world| world.topic_exists = true);
    tokio::time::sleep(Duration::from_secs(6)).await;
    publisher.ready().await.unwrap();
    publisher.publish(message()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn closing_ends_everything_politely() {
    let fake = Fake::new();
    let bus = fake.bus(BusOptions::default()).await;
    let publisher = bus.publisher("t");
    let mut subscriber = bus.subscriber("t", "server-1");
    subscriber.ready().await.unwrap();
    let state = bus.state();
    publisher.publish(message()).unwrap();
    publisher.flush().await.unwrap();
    bus.close().await;
    assert!(fake.with(|world| world.said_goodbye));
    assert_eq!(*state.borrow(), ConnectionState::Closed);
    assert!(matches!(publisher.publish(message()), Err(PublishError::Closed)));
    assert!(matches!(subscriber.receive().await, Err(TransportError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_bus_ends_everything() {
    let fake = Fake::new();
    let bus = fake.bus(BusOptions::default()).await;
    let publisher = bus.publisher("t");
    let mut subscriber = bus.subscriber("t", "server-1");
    let mut state = bus.state();
    drop(bus);
    assert!(matches!(subscriber.receive().await, Err(TransportError::Closed)));
    assert!(matches!(publisher.publish(message()), Err(PublishError::Closed)));
    state.wait_for(|state| *state == ConnectionState::Closed).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_first_connect_fails_at_once() {
    let fake = Fake::new();
    fake.with(|world| world.refuse_connects.push_back(unauthorized()));
    let error = Bus::start(fake.clone(), BusOptions::default()).await.unwrap_err();
    assert!(matches!(error, TransportError::Unauthorized { .. }), "{error}");
    assert_eq!(fake.with(|world| world.connects.len()), 1);
}
