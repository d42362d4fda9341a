//! The broker model: claims by example, and a naive twin.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use raft_mocking::broker::{
    Broker, BrokerConfig, BrokerError, BusMessage, CorrelationFilter, EntityKind, Filter,
    OperationKind, QueueId, Quota, ReceiveMode, Rule, SqlFilter, SubscriptionOptions, TopicOptions,
};

const NOW: Duration = Duration::from_secs(1_000);

fn seconds(count: u64) -> Duration {
    NOW + Duration::from_secs(count)
}

fn broker_with(config: BrokerConfig) -> (Broker, QueueId) {
    let mut broker = Broker::new(config);
    broker.create_topic(NOW, "t", TopicOptions::default()).unwrap();
    let queue = broker.create_subscription(NOW, "t", "s", Default::default()).unwrap();
    (broker, queue)
}

fn broker() -> (Broker, QueueId) {
    broker_with(BrokerConfig::default())
}

fn receive(broker: &mut Broker, now: Duration, queue: QueueId) -> Option<String> {
    let received = broker.receive(now, queue, ReceiveMode::ReceiveAndDelete).unwrap();
    received.map(|received| String::from_utf8(received.message.body.to_vec()).unwrap())
}

#[test]
fn several_matching_rules_make_one_copy() {
    let (mut broker, queue) = broker();
    broker.add_rule("t", "s", Rule::new("me", CorrelationFilter::to("x"))).unwrap();
    broker.publish(NOW, "t", BusMessage::new("a").with_to("x")).unwrap();
    assert_eq!(receive(&mut broker, NOW, queue).as_deref(), Some("a"));
    assert_eq!(receive(&mut broker, NOW, queue), None);
}

#[test]
fn new_subscription_starts_with_the_rule_default() {
    let (mut broker, queue) = broker();
    assert_eq!(broker.rules("t", "s").unwrap(), [Rule::new("$Default", Filter::True)]);
    broker.remove_rule("t", "s", "$default").unwrap();
    broker.publish(NOW, "t", BusMessage::new("a")).unwrap();
    assert_eq!(receive(&mut broker, NOW, queue), None);
}

#[test]
fn subscription_gets_nothing_from_before_it_existed() {
    let (mut broker, _) = broker();
    broker.publish(NOW, "t", BusMessage::new("early")).unwrap();
    let late = broker.create_subscription(NOW, "t", "late", Default::default()).unwrap();
    assert_eq!(receive(&mut broker, NOW, late), None);
}

#[test]
fn shortest_time_to_live_counts() {
    let second = |count| Some(Duration::from_secs(count));
    let table = [
        (None, None, None, None),
        (second(5), None, None, Some(5)),
        (second(5), second(3), None, Some(3)),
        (second(5), second(3), second(2), Some(2)),
        (None, second(3), second(9), Some(3)),
        (second(0), None, None, Some(0)),
    ];
    for (message, topic, subscription, expected) in table {
        let mut broker = Broker::default();
        let options = TopicOptions { default_message_time_to_live: topic, ..Default::default() };
        broker.create_topic(NOW, "t", options).unwrap();
        let options = SubscriptionOptions {
            default_message_time_to_live: subscription,
            ..Default::default()
        };
        let queue = broker.create_subscription(NOW, "t", "s", options).unwrap();
        let sent = BusMessage { time_to_live: message, ..BusMessage::new("a") };
        broker.publish(NOW, "t", sent).unwrap();
        if let Some(expected) = expected {
            assert_eq!(receive(&mut broker.clone(), seconds(expected), queue), None);
        }
        let last_chance = seconds(expected.unwrap_or(1_000_000)) - Duration::from_nanos(1);
        let last_chance = last_chance.max(NOW);
        let is_alive = receive(&mut broker, last_chance, queue).is_some();
        assert_eq!(is_alive, expected != Some(0), "{message:?} {topic:?} {subscription:?}");
    }
}

#[test]
fn full_topic_refuses_sends_until_messages_leave_or_expire() {
    for (config, quota) in [
        (BrokerConfig { topic_messages_max: 2, ..Default::default() }, Quota::Messages(2)),
        (BrokerConfig { topic_bytes_max: 2, ..Default::default() }, Quota::Bytes(2)),
    ] {
        let (mut broker, queue) = broker_with(config);
        let mortal = || BusMessage::new("m").with_time_to_live(Duration::from_secs(9));
        broker.publish(NOW, "t", mortal()).unwrap();
        broker.publish(NOW, "t", mortal()).unwrap();
        let refused = broker.publish(NOW, "t", mortal()).unwrap_err();
        assert_eq!(refused, BrokerError::QuotaExceeded { topic: "t".to_owned(), quota });
        receive(&mut broker, NOW, queue).unwrap();
        broker.publish(seconds(1), "t", mortal()).unwrap();
        // Only the first two have expired by then.
        broker.publish(seconds(9), "t", mortal()).unwrap();
        broker.publish(seconds(9), "t", mortal()).unwrap_err();
        assert_eq!(broker.subscription("t", "s").unwrap().message_count, 2);
    }
}

#[test]
fn batch_is_published_whole_or_not_at_all() {
    let (mut broker, queue) = broker_with(BrokerConfig {
        message_bytes_max: 100,
        topic_messages_max: 3,
        ..Default::default()
    });
    let batch = |count: usize, size: usize| vec![BusMessage::new(vec![b'x'; size]); count];
    let before = broker.clone();
    assert!(matches!(
        broker.publish_batch(NOW, "t", batch(2, 60)),
        Err(BrokerError::MessageTooLarge { bytes: 120, bytes_max: 100 })
    ));
    assert!(matches!(
        broker.publish_batch(NOW, "t", batch(4, 1)),
        Err(BrokerError::QuotaExceeded { .. })
    ));
    assert_eq!(before.meter().operations(), broker.meter().operations());
    assert_eq!(receive(&mut broker, NOW, queue), None);
    assert_eq!(broker.publish_batch(NOW, "t", batch(3, 1)).unwrap().copies, 3);
}

#[test]
fn limits_of_the_service_hold() {
    let (mut broker, _) = broker();
    let large = BusMessage::new("").with_property("p", "x".repeat(32 * 1024 + 1));
    let many = (0..3).fold(BusMessage::new(""), |message, number| {
        message.with_property(format!("p{number}"), "x".repeat(30_000))
    });
    let long_id = BusMessage::new("").with_message_id("i".repeat(129));
    let refused = |message| broker.clone().publish(NOW, "t", message).unwrap_err();
    assert!(matches!(refused(large), BrokerError::PropertiesTooLarge { bytes_max: 32_768, .. }));
    assert!(matches!(refused(many), BrokerError::PropertiesTooLarge { bytes_max: 65_536, .. }));
    assert!(matches!(refused(long_id), BrokerError::MessageIdTooLong { length: 129, .. }));
    let size = 256 * 1024;
    assert!(matches!(
        refused(BusMessage::new(vec![0; size + 1])),
        BrokerError::MessageTooLarge { .. }
    ));
    broker.publish(NOW, "t", BusMessage::new(vec![0; size])).unwrap();

    let mut broker = Broker::new(BrokerConfig {
        topics_max: 1,
        subscriptions_max: 1,
        rules_max: 1,
        ..Default::default()
    });
    broker.create_topic(NOW, "t", Default::default()).unwrap();
    let too_many = |kind| BrokerError::TooManyEntities { kind, count_max: 1 };
    assert_eq!(broker.create_topic(NOW, "u", Default::default()), Err(too_many(EntityKind::Topic)));
    broker.create_subscription(NOW, "t", "s", Default::default()).unwrap();
    assert_eq!(
        broker.create_subscription(NOW, "t", "r", Default::default()),
        Err(too_many(EntityKind::Subscription))
    );
    let sql = |name| Rule::new(name, SqlFilter::new("term = 1").unwrap());
    broker.add_rule("t", "s", sql("one")).unwrap();
    assert_eq!(broker.add_rule("t", "s", sql("two")), Err(too_many(EntityKind::Rule)));
}

#[test]
fn rule_that_is_gone_or_of_another_kind_makes_room() {
    let config = BrokerConfig { rules_max: 1, correlation_rules_max: 1, ..Default::default() };
    let mut broker = Broker::new(config);
    broker.create_topic(NOW, "t", Default::default()).unwrap();
    broker.create_subscription(NOW, "t", "s", Default::default()).unwrap();
    broker.create_subscription(NOW, "t", "r", Default::default()).unwrap();
    let sql = |name| Rule::new(name, SqlFilter::new("term = 1").unwrap());
    let correlation = |name| Rule::new(name, CorrelationFilter::to("me"));
    let too_many = Err(BrokerError::TooManyEntities { kind: EntityKind::Rule, count_max: 1 });
    broker.add_rule("t", "s", sql("one")).unwrap();
    assert_eq!(broker.add_rule("t", "r", sql("two")), too_many, "the limit is the topic's");
    broker.update_rule("t", "s", sql("one")).unwrap();
    broker.update_rule("t", "s", correlation("one")).unwrap();
    broker.add_rule("t", "r", sql("two")).unwrap();
    assert_eq!(broker.update_rule("t", "s", sql("one")), too_many);
    broker.remove_rule("t", "r", "two").unwrap();
    broker.update_rule("t", "s", sql("one")).unwrap();
    broker.delete_subscription("t", "s").unwrap();
    broker.add_rule("t", "r", sql("two")).unwrap();
    broker.add_rule("t", "r", correlation("three")).unwrap();
    assert_eq!(broker.add_rule("t", "r", correlation("four")), too_many);
}

#[test]
fn names_of_one_entity_may_differ_in_case() {
    let (mut broker, queue) = broker();
    let exists = broker.create_topic(NOW, "T", Default::default()).unwrap_err();
    assert!(matches!(exists, BrokerError::AlreadyExists { .. }));
    broker.publish(NOW, "T", BusMessage::new("a")).unwrap();
    assert_eq!(broker.subscription("T", "S").unwrap().queue, queue);
    assert_eq!(broker.subscription("T", "S").unwrap().name, "s");
}

#[test]
fn deleted_queue_is_told_apart_from_an_empty_one() {
    let (mut broker, queue) = broker();
    broker.delete_subscription("t", "s").unwrap();
    let received = broker.receive(NOW, queue, ReceiveMode::ReceiveAndDelete);
    assert_eq!(received, Err(BrokerError::Deleted));
    let again = broker.create_subscription(NOW, "t", "s", Default::default()).unwrap();
    assert_ne!(again, queue);
    broker.delete_topic("t").unwrap();
    assert_eq!(broker.receive(NOW, again, ReceiveMode::PeekLock), Err(BrokerError::Deleted));
}

#[test]
fn locked_message_is_one_receivers_until_it_settles_or_the_lock_ends() {
    let (mut broker, queue) = broker();
    broker.publish(NOW, "t", BusMessage::new("a")).unwrap();
    broker.publish(NOW, "t", BusMessage::new("b")).unwrap();
    let mut lock = |now| broker.receive(now, queue, ReceiveMode::PeekLock).unwrap();
    let first = lock(NOW).unwrap();
    let second = lock(NOW).unwrap();
    assert_eq!((&first.message.body[..], &second.message.body[..]), (&b"a"[..], &b"b"[..]));
    assert_eq!(lock(NOW), None);
    let (first, second) = (first.lock.unwrap(), second.lock.unwrap());

    broker.complete(NOW, queue, second.token).unwrap();
    assert_eq!(broker.complete(NOW, queue, second.token), Err(BrokerError::LockLost));
    assert_eq!(broker.renew_lock(seconds(50), queue, first.token), Ok(seconds(110)));
    assert_eq!(broker.next_lock_expiry(), Some(seconds(110)));
    assert_eq!(broker.expire(seconds(109)), []);
    assert_eq!(broker.expire(seconds(110)), [queue]);
    assert_eq!(broker.abandon(seconds(110), queue, first.token), Err(BrokerError::LockLost));
    let again = broker.receive(seconds(110), queue, ReceiveMode::PeekLock).unwrap().unwrap();
    assert_eq!((again.sequence_number, again.delivery_count), (1, 1));
}

#[test]
fn abandoned_message_returns_to_its_place() {
    let (mut broker, queue) = broker();
    for body in ["a", "b", "c"] {
        broker.publish(NOW, "t", BusMessage::new(body)).unwrap();
    }
    let mut lock =
        || broker.receive(NOW, queue, ReceiveMode::PeekLock).unwrap().unwrap().lock.unwrap();
    let (a, b) = (lock(), lock());
    broker.abandon(NOW, queue, b.token).unwrap();
    broker.release(NOW, queue, a.token).unwrap();
    let rest: Vec<_> = std::iter::from_fn(|| receive(&mut broker, NOW, queue)).collect();
    assert_eq!(rest, ["a", "b", "c"]);
}

#[test]
fn bill_counts_sends_useful_copies_and_blocks() {
    let (mut broker, queue) = broker();
    broker.create_subscription(NOW, "t", "other", Default::default()).unwrap();
    broker.remove_rule("t", "other", "$Default").unwrap();
    let management = broker.meter().operations_of(OperationKind::Management);
    assert_eq!(management, 4);
    broker.publish(NOW, "t", BusMessage::new(vec![0; 70_000])).unwrap();
    receive(&mut broker, NOW, queue);
    assert_eq!(broker.receive(NOW, queue, ReceiveMode::ReceiveAndDelete), Ok(None));
    let rows: Vec<_> =
        broker.meter().rows().map(|(path, kind, t)| (path, kind, t.operations)).collect();
    assert_eq!(
        rows,
        [
            ("t", OperationKind::Send, 2),
            ("t", OperationKind::Management, 1),
            ("t/Subscriptions/other", OperationKind::Management, 2),
            ("t/Subscriptions/s", OperationKind::Receive, 2),
            ("t/Subscriptions/s", OperationKind::Management, 1),
        ]
    );
    assert_eq!(broker.meter().credits(), 1 + 1 + 1 + 40);
}

/// One call in the life of a topic with the subscriptions `all` and `me`.
#[derive(Debug, Clone)]
enum Step {
    Publish { is_for_me: bool, time_to_live: Option<u64>, size: usize },
    Receive { is_me: bool },
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (any::<bool>(), proptest::option::of(0..20_u64), 0..40_usize).prop_map(
            |(is_for_me, time_to_live, size)| Step::Publish { is_for_me, time_to_live, size }
        ),
        2 => any::<bool>().prop_map(|is_me| Step::Receive { is_me }),
        1 => (0..8_u64).prop_map(Step::Wait),
    ]
}

/// What a queue holds, in the most naive form: number, end, size.
type Held = Vec<(usize, Option<u64>, usize)>;

proptest! {
    #[test]
    fn broker_agrees_with_its_naive_twin(steps in vec(step(), 1..80)) {
        const BYTES_MAX: usize = 200;
        let config = BrokerConfig { topic_bytes_max: BYTES_MAX as u64, ..Default::default() };
        let mut broker = Broker::new(config);
        broker.create_topic(NOW, "t", Default::default()).unwrap();
        let all = broker.create_subscription(NOW, "t", "all", Default::default()).unwrap();
        let rule = Rule::new("me", CorrelationFilter::to("m"));
        let me = broker.create_subscription_with_rule(NOW, "t", "me", Default::default(), rule).unwrap();

        let mut time = 0;
        let (mut held_by_all, mut held_by_me) = (Held::new(), Held::new());
        let drop_expired = |held: &mut Held, time| held.retain(|(_, end, _)| end.is_none_or(|end| end > time));
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Wait(seconds) => time += seconds,
                Step::Receive { is_me } => {
                    let (queue, held) =
                        if is_me { (me, &mut held_by_me) } else { (all, &mut held_by_all) };
                    drop_expired(held, time);
                    let expected = (!held.is_empty()).then(|| held.remove(0).0);
                    let received =
                        broker.receive(seconds(time), queue, ReceiveMode::ReceiveAndDelete).unwrap();
                    let found = received.map(|r| r.message.message_id.clone().unwrap());
                    prop_assert_eq!(found, expected.map(|number| number.to_string()));
                }
                Step::Publish { is_for_me, time_to_live, size } => {
                    let id = number.to_string();
                    let to = if is_for_me { "m" } else { "a" };
                    let body = vec![0; size];
                    let message = BusMessage::new(body).with_message_id(id).with_to(to);
                    let message = BusMessage { time_to_live: time_to_live.map(Duration::from_secs), ..message };
                    let size = message.size_bytes() as usize;
                    let result = broker.publish(seconds(time), "t", message);
                    drop_expired(&mut held_by_all, time);
                    drop_expired(&mut held_by_me, time);
                    let copies = 1 + usize::from(is_for_me);
                    let sizes = held_by_all.iter().chain(&held_by_me).map(|held| held.2);
                    if sizes.sum::<usize>() + copies * size > BYTES_MAX {
                        let is_refused = matches!(result, Err(BrokerError::QuotaExceeded { .. }));
                        prop_assert!(is_refused, "{:?}", result);
                        continue;
                    }
                    prop_assert_eq!(result.unwrap().copies, copies);
                    let held = (number, time_to_live.map(|ttl| time + ttl), size);
                    held_by_all.push(held);
                    if is_for_me {
                        held_by_me.push(held);
                    }
                }
            }
        }
    }
}
