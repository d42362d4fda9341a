//! Every feature of the model by example, on a clock of the test's own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use raft_mocking::broker::{
    Broker, BrokerConfig, BrokerError, BusMessage, EntityStatus, Filter, LockToken, MessageState,
    Properties, PropertyValue, QueueId, QueueOptions, Quota, ReceiveMode, ReceivedMessage, Rule,
    SqlAction, SqlFilter, SubscriptionOptions, TopicOptions,
};

const NOW: Duration = Duration::from_secs(1_000);

fn at(seconds: u64) -> Duration {
    NOW + Duration::from_secs(seconds)
}

fn delivery() -> SubscriptionOptions {
    SubscriptionOptions { lock_duration: Duration::from_secs(30), ..Default::default() }
}

fn queue_with(delivery: SubscriptionOptions) -> (Broker, QueueId) {
    let mut broker = Broker::default();
    let options = QueueOptions { delivery, ..Default::default() };
    let queue = broker.create_queue(NOW, "q", options).unwrap();
    (broker, queue)
}

fn send(broker: &mut Broker, now: Duration, body: &str) {
    broker.publish(now, "q", BusMessage::new(body.to_owned())).unwrap();
}

fn lock(
    broker: &mut Broker,
    now: Duration,
    queue: QueueId,
) -> Option<(ReceivedMessage, LockToken)> {
    let received = broker.receive(now, queue, ReceiveMode::PeekLock).unwrap()?;
    let token = received.lock.unwrap().token;
    Some((received, token))
}

fn take(broker: &mut Broker, now: Duration, queue: QueueId) -> Option<String> {
    let received = broker.receive(now, queue, ReceiveMode::ReceiveAndDelete).unwrap();
    received.map(|received| body(&received))
}

fn body(received: &ReceivedMessage) -> String {
    String::from_utf8(received.message.body.to_vec()).unwrap()
}

fn dead(broker: &mut Broker) -> Vec<(String, String)> {
    let queue = broker.queue_at("q/$DeadLetterQueue").unwrap();
    let found = broker.peek(at(1_000_000), queue, 0, 100, None).unwrap();
    let reason = |received: &ReceivedMessage| match received
        .message
        .application_properties
        .get("DeadLetterReason")
    {
        Some(PropertyValue::String(reason)) => reason.clone(),
        other => panic!("no reason but {other:?}"),
    };
    found.iter().map(|received| (body(received), reason(received))).collect()
}

#[test]
fn queue_hands_out_what_was_sent_to_it_in_order() {
    let (mut broker, queue) = queue_with(delivery());
    ["a", "b"].into_iter().for_each(|body| send(&mut broker, NOW, body));
    assert_eq!(take(&mut broker, NOW, queue).as_deref(), Some("a"));
    let (received, token) = lock(&mut broker, NOW, queue).unwrap();
    assert_eq!((body(&received).as_str(), received.sequence_number), ("b", 2));
    assert_eq!(lock(&mut broker, NOW, queue), None, "it is locked");
    broker.complete(at(1), queue, token).unwrap();
    assert_eq!(broker.complete(at(1), queue, token), Err(BrokerError::LockLost));
    assert_eq!(broker.queue("q").unwrap().bytes, 0);
}

#[test]
fn renewed_lock_holds_longer_and_an_ended_one_is_lost() {
    let (mut broker, queue) = queue_with(delivery());
    send(&mut broker, NOW, "a");
    let (_, token) = lock(&mut broker, NOW, queue).unwrap();
    assert_eq!(broker.renew_lock(at(20), queue, token), Ok(at(50)));
    assert_eq!(lock(&mut broker, at(49), queue), None);
    let (again, _) = lock(&mut broker, at(50), queue).unwrap();
    assert_eq!(again.delivery_count, 1);
    assert_eq!(broker.renew_lock(at(50), queue, token), Err(BrokerError::LockLost));
}

#[test]
fn abandoned_message_comes_again_with_the_properties_it_was_given() {
    let (mut broker, queue) = queue_with(delivery());
    broker.publish(NOW, "q", BusMessage::new("a").with_property("kept", 1)).unwrap();
    let (_, token) = lock(&mut broker, NOW, queue).unwrap();
    let properties = Properties::from([("why".to_owned(), "busy".into())]);
    broker.abandon_with(NOW, queue, token, properties).unwrap();
    let (again, _) = lock(&mut broker, NOW, queue).unwrap();
    let found = &again.message.application_properties;
    assert_eq!((found.get("kept"), found.get("why")), (Some(&1.into()), Some(&"busy".into())));
    assert!(again.message.is_changed);
}

#[test]
fn deferred_message_is_received_by_its_number_only() {
    let (mut broker, queue) = queue_with(delivery());
    send(&mut broker, NOW, "a");
    let (received, token) = lock(&mut broker, NOW, queue).unwrap();
    broker.defer(NOW, queue, token, Properties::new()).unwrap();
    assert_eq!(lock(&mut broker, NOW, queue), None);
    let number = received.sequence_number;
    let mode = ReceiveMode::PeekLock;
    let missing = broker.receive_deferred(NOW, queue, &[number, 99], None, mode);
    assert_eq!(missing, Err(BrokerError::MessageNotFound { sequence_number: 99 }));
    let deferred = broker.receive_deferred(NOW, queue, &[number], None, mode).unwrap();
    assert_eq!(deferred[0].state, MessageState::Deferred);
    let token = deferred[0].lock.unwrap().token;
    broker.abandon(NOW, queue, token).unwrap();
    assert_eq!(lock(&mut broker, NOW, queue), None, "it is deferred again");
    let mode = ReceiveMode::ReceiveAndDelete;
    assert_eq!(broker.receive_deferred(NOW, queue, &[number], None, mode).unwrap().len(), 1);
    assert_eq!(broker.queue("q").unwrap().counts.active, 0);
}

#[test]
fn messages_nobody_can_handle_are_dead_lettered_with_the_reason() {
    let (mut broker, queue) = queue_with(SubscriptionOptions {
        max_delivery_count: 2,
        dead_letters_expired: true,
        ..delivery()
    });
    send(&mut broker, NOW, "asked");
    let (_, token) = lock(&mut broker, NOW, queue).unwrap();
    let properties = Properties::from([("more".to_owned(), 1.into())]);
    broker.dead_letter(NOW, queue, token, Some("tired"), Some("of it"), properties).unwrap();
    send(&mut broker, NOW, "twice");
    let (_, token) = lock(&mut broker, NOW, queue).unwrap();
    broker.abandon(NOW, queue, token).unwrap();
    // The second time nobody settles it.
    lock(&mut broker, NOW, queue).unwrap();
    broker.expire(at(30));
    let mortal = BusMessage::new("late").with_time_to_live(Duration::from_secs(5));
    broker.publish(at(30), "q", mortal).unwrap();
    broker.expire(at(35));
    let expected = [
        ("asked", "tired"),
        ("twice", "MaxDeliveryCountExceeded"),
        ("late", "TTLExpiredException"),
    ];
    let expected = expected.map(|(body, reason)| (body.to_owned(), reason.to_owned()));
    assert_eq!(dead(&mut broker), expected);
    assert_eq!(broker.queue("q").unwrap().counts.dead_letter, 3);
    let dead = broker.queue_at("Q/$deadletterqueue").unwrap();
    let first = broker.receive(at(36), dead, ReceiveMode::ReceiveAndDelete).unwrap().unwrap();
    assert_eq!(first.dead_letter_source.as_deref(), Some("q"));
    assert_eq!(first.message.application_properties.get("more"), Some(&1.into()));
}

#[test]
fn scheduled_message_waits_and_can_be_cancelled() {
    let (mut broker, queue) = queue_with(delivery());
    let later = |body: &str| BusMessage::new(body.to_owned()).with_scheduled_at(at(60));
    let kept = broker.publish(NOW, "q", later("kept")).unwrap().scheduled[0];
    let gone = broker.publish(NOW, "q", later("gone")).unwrap().scheduled[0];
    assert_ne!(kept, gone);
    broker.cancel_scheduled("q", gone).unwrap();
    let again = broker.cancel_scheduled("q", gone);
    assert_eq!(again, Err(BrokerError::MessageNotFound { sequence_number: gone }));
    assert_eq!(broker.queue("q").unwrap().counts.scheduled, 1);
    let peeked = broker.peek(NOW, queue, 0, 10, None).unwrap();
    assert_eq!(peeked[0].state, MessageState::Scheduled);
    assert_eq!(broker.next_due(), Some(at(60)));
    assert_eq!(broker.expire(at(59)), []);
    assert_eq!(broker.expire(at(60)), [queue]);
    let received = broker.receive(at(60), queue, ReceiveMode::ReceiveAndDelete).unwrap().unwrap();
    assert_eq!((body(&received).as_str(), received.enqueued_time), ("kept", at(60)));
    assert!(received.sequence_number > gone, "it gets a number of its own when it is enqueued");
}

#[test]
fn session_is_one_holders_until_it_is_given_back_or_its_lock_ends() {
    let (mut broker, queue) =
        queue_with(SubscriptionOptions { requires_session: true, ..delivery() });
    for body in ["x1", "y1", "x2"] {
        let message = BusMessage::new(body).with_session_id(&body[..1]);
        broker.publish(NOW, "q", message).unwrap();
    }
    let plain = broker.publish(NOW, "q", BusMessage::new("none"));
    assert_eq!(plain, Err(BrokerError::SessionRequired { path: "q".to_owned() }));
    let refused = broker.receive(NOW, queue, ReceiveMode::PeekLock);
    assert!(matches!(refused, Err(BrokerError::SessionReceiverRequired { .. })));

    let x = broker.accept_session(NOW, queue, None).unwrap().unwrap();
    assert_eq!(x.id, "x", "the one whose message is the oldest");
    let refused = broker.accept_session(NOW, queue, Some("x"));
    assert_eq!(refused, Err(BrokerError::SessionCannotBeLocked { id: "x".to_owned() }));
    let y = broker.accept_session(NOW, queue, None).unwrap().unwrap();
    assert_eq!((y.id.as_str(), broker.accept_session(NOW, queue, None)), ("y", Ok(None)));

    let next = |broker: &mut Broker, now, holder| {
        let mode = ReceiveMode::PeekLock;
        let received = broker.receive_from_session(now, queue, "x", holder, mode)?;
        Ok::<_, BrokerError>(received.map(|received| (body(&received), received.delivery_count)))
    };
    let holder = x.lock.token;
    assert_eq!(next(&mut broker, NOW, holder), Ok(Some(("x1".to_owned(), 0))));
    assert_eq!(next(&mut broker, NOW, holder), Ok(Some(("x2".to_owned(), 0))));
    assert_eq!(broker.renew_session_lock(at(20), queue, "x", holder), Ok(at(50)));
    broker.set_session_state(at(20), queue, "x", holder, Some("half".into())).unwrap();
    assert_eq!(broker.sessions(queue, Some(at(19))), Ok(vec!["x".to_owned()]));

    // Closed: what was not settled returns and is not counted.
    broker.release_session(at(21), queue, "x", holder).unwrap();
    assert_eq!(next(&mut broker, at(21), holder), Err(BrokerError::SessionLockLost));
    let x = broker.accept_session(at(21), queue, Some("x")).unwrap().unwrap();
    let state = broker.session_state(at(21), queue, "x", x.lock.token).unwrap();
    assert_eq!(state.as_deref(), Some(&b"half"[..]));
    assert_eq!(next(&mut broker, at(21), x.lock.token), Ok(Some(("x1".to_owned(), 0))));

    // Ended by time: it is counted.
    let late = at(52);
    let renewed = broker.renew_session_lock(late, queue, "x", x.lock.token);
    assert_eq!(renewed, Err(BrokerError::SessionLockLost));
    let x = broker.accept_session(late, queue, Some("x")).unwrap().unwrap();
    assert_eq!(next(&mut broker, late, x.lock.token), Ok(Some(("x1".to_owned(), 1))));
}

#[test]
fn duplicate_within_the_window_is_taken_and_forgotten() {
    let mut broker = Broker::default();
    let window = Some(Duration::from_secs(60));
    let options = QueueOptions { duplicate_window: window, ..Default::default() };
    let queue = broker.create_queue(NOW, "q", options).unwrap();
    for (now, body) in [(NOW, "first"), (at(59), "again"), (at(60), "later")] {
        let message = BusMessage::new(body).with_message_id("id");
        broker.publish(now, "q", message).unwrap();
    }
    assert_eq!(take(&mut broker, at(60), queue).as_deref(), Some("first"));
    assert_eq!(take(&mut broker, at(60), queue).as_deref(), Some("later"));
    assert_eq!(take(&mut broker, at(60), queue), None);
}

#[test]
fn forwarded_messages_arrive_and_a_loop_ends_in_the_dead_letter_queue() {
    let mut broker = Broker::default();
    let to = |target: &str| QueueOptions {
        delivery: SubscriptionOptions {
            forward_to: Some(target.to_owned()),
            ..SubscriptionOptions::default()
        },
        ..QueueOptions::default()
    };
    let target = broker.create_queue(NOW, "target", QueueOptions::default()).unwrap();
    let q = broker.create_queue(NOW, "q", to("target")).unwrap();
    send(&mut broker, NOW, "a");
    let received = broker.receive(NOW, target, ReceiveMode::ReceiveAndDelete).unwrap().unwrap();
    assert_eq!((body(&received).as_str(), received.enqueued_sequence_number), ("a", 1));
    let refused = broker.receive(NOW, q, ReceiveMode::PeekLock);
    assert_eq!(refused, Err(BrokerError::ForwardingEnabled { path: "q".to_owned() }));

    broker.update_queue(NOW, "target", to("q")).unwrap();
    send(&mut broker, NOW, "round");
    let buried: usize = ["q", "target"]
        .map(|name| broker.queue(name).unwrap().counts.dead_letter as usize)
        .into_iter()
        .sum();
    assert_eq!(buried, 1, "after four hops");

    broker.delete_queue("target").unwrap();
    send(&mut broker, NOW, "lost");
    assert_eq!(broker.queue("q").unwrap().counts.transfer_dead_letter, 1);
}

#[test]
fn rule_with_an_action_makes_a_copy_of_its_own() {
    let mut broker = Broker::default();
    broker.create_topic(NOW, "t", TopicOptions::default()).unwrap();
    let queue = broker.create_subscription(NOW, "t", "s", delivery()).unwrap();
    let action = SqlAction::new("SET sys.Label = 'changed'").unwrap();
    broker.add_rule("t", "s", Rule::new("acts", Filter::True).with_action(action)).unwrap();
    let sql = SqlFilter::new("term > 1").unwrap();
    broker.add_rule("t", "s", Rule::new("sql", sql)).unwrap();
    broker.publish(NOW, "t", BusMessage::new("a").with_property("term", 2)).unwrap();
    let mut subjects = Vec::new();
    while let Some(received) = broker.receive(NOW, queue, ReceiveMode::ReceiveAndDelete).unwrap() {
        subjects.push(received.message.subject.clone());
    }
    assert_eq!(subjects, [Some("changed".to_owned()), None]);
}

#[test]
fn message_a_filter_fails_on_is_dead_lettered_if_that_is_wanted() {
    for is_wanted in [false, true] {
        let mut broker = Broker::default();
        broker.create_topic(NOW, "t", TopicOptions::default()).unwrap();
        let options = SubscriptionOptions { dead_letters_filter_errors: is_wanted, ..delivery() };
        let rule = Rule::new("divides", SqlFilter::new("1 / term = 1").unwrap());
        broker.create_subscription_with_rule(NOW, "t", "s", options, rule).unwrap();
        broker.publish(NOW, "t", BusMessage::new("a").with_property("term", 0)).unwrap();
        let counts = broker.subscription("t", "s").unwrap().counts;
        assert_eq!((counts.active, counts.dead_letter), (0, u64::from(is_wanted)));
    }
}

#[test]
fn switched_off_entity_refuses_what_it_does_not_do() {
    let table = [
        (EntityStatus::Active, true, true),
        (EntityStatus::Disabled, false, false),
        (EntityStatus::SendDisabled, false, true),
        (EntityStatus::ReceiveDisabled, true, false),
    ];
    for (status, may_send, may_receive) in table {
        let (mut broker, queue) = queue_with(SubscriptionOptions { status, ..delivery() });
        let sent = broker.publish(NOW, "q", BusMessage::new("a")).is_ok();
        let received = broker.receive(NOW, queue, ReceiveMode::PeekLock).is_ok();
        assert_eq!((sent, received), (may_send, may_receive), "{status:?}");
    }
}

#[test]
fn idle_entity_is_deleted_and_a_used_one_is_not() {
    let idle = Some(Duration::from_secs(300));
    let (mut broker, queue) =
        queue_with(SubscriptionOptions { auto_delete_on_idle: idle, ..delivery() });
    send(&mut broker, at(200), "a");
    broker.expire(at(400));
    assert_eq!(take(&mut broker, at(450), queue).as_deref(), Some("a"));
    broker.expire(at(749));
    assert!(broker.queue("q").is_ok());
    assert_eq!(broker.next_due(), Some(at(750)));
    broker.expire(at(750));
    assert!(broker.queue("q").is_err());
    let options =
        SubscriptionOptions { auto_delete_on_idle: Some(Duration::from_secs(299)), ..delivery() };
    let short = QueueOptions { delivery: options, ..QueueOptions::default() };
    let refused = broker.create_queue(NOW, "r", short);
    assert!(matches!(refused, Err(BrokerError::InvalidOption { name: "AutoDeleteOnIdle", .. })));
}

#[test]
fn dead_letters_count_towards_the_quota_of_their_queue() {
    let mut broker = Broker::new(BrokerConfig { topic_messages_max: 2, ..BrokerConfig::default() });
    let queue = broker.create_queue(NOW, "q", QueueOptions::default()).unwrap();
    send(&mut broker, NOW, "a");
    let (_, token) = lock(&mut broker, NOW, queue).unwrap();
    broker.dead_letter(NOW, queue, token, None, None, Properties::new()).unwrap();
    send(&mut broker, NOW, "b");
    let refused = broker.publish(NOW, "q", BusMessage::new("c")).unwrap_err();
    let quota = Quota::Messages(2);
    assert_eq!(refused, BrokerError::QuotaExceeded { topic: "q".to_owned(), quota });
}

#[test]
fn peek_sees_every_message_wherever_it_is() {
    let (mut broker, queue) = queue_with(delivery());
    ["locked", "deferred", "ready"].into_iter().for_each(|body| send(&mut broker, NOW, body));
    lock(&mut broker, NOW, queue).unwrap();
    let (_, token) = lock(&mut broker, NOW, queue).unwrap();
    broker.defer(NOW, queue, token, Properties::new()).unwrap();
    let found = broker.peek(NOW, queue, 0, 10, None).unwrap();
    let states: Vec<_> = found.iter().map(|one| (body(one), one.state)).collect();
    let expected = [
        ("locked", MessageState::Active),
        ("deferred", MessageState::Deferred),
        ("ready", MessageState::Active),
    ];
    assert_eq!(states, expected.map(|(body, state)| (body.to_owned(), state)));
    assert_eq!(broker.peek(NOW, queue, 3, 10, None).unwrap().len(), 1);
    assert_eq!(broker.peek(NOW, queue, 0, 2, None).unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn hours_pass_in_no_time() {
    use raft_mocking::bus::Bus;
    let bus = Bus::new();
    bus.create_queue("q", QueueOptions::default()).unwrap();
    let clock = tokio::spawn(bus.clone().keep_time());
    let hour = Duration::from_secs(3_600);
    bus.publish("q", BusMessage::new("a").with_scheduled_at(bus.now() + hour)).unwrap();
    let received = bus.receiver_at("q").unwrap().receive().await.unwrap();
    assert_eq!((body(&received).as_str(), received.enqueued_time >= hour), ("a", true));
    clock.abort();
}
