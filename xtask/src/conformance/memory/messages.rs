//! The rows about messages: how they come, wait, and go.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use raft_mocking::broker::{
    AcceptedSession, BrokerError, BusMessage, LockToken, MessageState, Properties, PropertyValue,
    QueueId, QueueOptions, ReceiveMode, SubscriptionOptions,
};

use super::{Bench, Case, bodies, body, delivery, equal, message, refused, refused_by_bus};

pub(super) const CASES: &[(&str, Case)] = &[
    ("receive-and-delete", Case::Run(receive_and_delete)),
    ("peek-lock", Case::Run(peek_lock)),
    ("batches", Case::Run(batches)),
    ("competing-receivers", Case::Run(competing_receivers)),
    ("abandon", Case::Run(abandon)),
    ("abandon-properties", Case::Run(abandon_properties)),
    ("lock-renewal", Case::Run(lock_renewal)),
    ("lock-expiry", Case::Run(lock_expiry)),
    ("defer", Case::Run(defer)),
    ("dead-letter", Case::Run(dead_letter)),
    ("max-delivery-count", Case::Run(max_delivery_count)),
    ("time-to-live", Case::Run(time_to_live)),
    ("expiry-dead-letters", Case::Run(expiry_dead_letters)),
    ("schedule", Case::Run(schedule)),
    ("scheduled-by-property", Case::Run(scheduled_by_property)),
    ("duplicate-detection", Case::Run(duplicate_detection)),
    ("session-named", Case::Run(session_named)),
    ("session-next", Case::Run(session_next)),
    ("session-lock", Case::Run(session_lock)),
    ("session-state", Case::Run(session_state)),
    ("session-list", Case::Run(session_list)),
    ("session-required", Case::Run(session_required)),
    ("session-defer", Case::Run(session_defer)),
    ("peek", Case::Run(peek)),
    ("peek-session", Case::Run(peek_session)),
];

fn receive_and_delete(bench: &Bench) -> Result<()> {
    bench.queue("q")?;
    let some = |text: &str| Some(text.to_owned());
    let sent = BusMessage {
        reply_to: some("client-1"),
        content_type: some("text/plain"),
        ..message("body").with_message_id("m-1").with_to("server-1").with_subject("vote")
    };
    let sent = sent.with_correlation_id("c-1").with_property("term", 7).with_property("ok", true);
    bench.send_message("q", sent.clone())?;
    let mut receiver = bench.bus.receiver_at("q")?;
    let got = bench.runtime.block_on(receiver.receive())?;
    equal(&*got.message, &sent)?;
    equal((got.sequence_number, got.delivery_count), (1, 0))?;
    equal(receiver.try_receive()?, None)
}

fn peek_lock(bench: &Bench) -> Result<()> {
    let queue = bench.queue("q")?;
    bench.send("q", &["a", "b"])?;
    let (one, first) = bench.lock(queue)?;
    let (other, second) = bench.lock(queue)?;
    equal([body(&one), body(&other)], ["a", "b"])?;
    equal(bench.try_lock(queue)?, None)?;
    for token in [first, second] {
        bench.bus.with_broker(|broker, now| broker.complete(now, queue, token))?;
    }
    bench.pass(60);
    equal(bench.try_lock(queue)?, None)
}

fn batches(bench: &Bench) -> Result<()> {
    bench.queue("q")?;
    bench.bus.publish_batch("q", ["a", "b", "c"].map(message).to_vec())?;
    equal(bench.take("q")?, ["a", "b", "c"])?;
    let large = || BusMessage::new(vec![0; 200 * 1024]);
    bench.send_message("q", large())?;
    let both = bench.bus.publish_batch("q", vec![large(), large()]);
    refused_by_bus(both, |error| matches!(error, BrokerError::MessageTooLarge { .. }))?;
    equal(bench.take("q")?.len(), 1)
}

fn competing_receivers(bench: &Bench) -> Result<()> {
    bench.queue("q")?;
    let (mut one, mut other) = (bench.bus.receiver_at("q")?, bench.bus.receiver_at("q")?);
    bench.send("q", &["a", "b"])?;
    let found = [one.try_receive()?, other.try_receive()?, one.try_receive()?];
    equal(
        found.map(|got| got.map(|got| body(&got))),
        [Some("a".to_owned()), Some("b".to_owned()), None],
    )
}

fn abandon(bench: &Bench) -> Result<()> {
    let queue = bench.queue("q")?;
    bench.send("q", &["a"])?;
    for count in 0..3 {
        let (got, token) = bench.lock(queue)?;
        equal(got.delivery_count, count)?;
        bench.bus.with_broker(|broker, now| broker.abandon(now, queue, token))?;
    }
    Ok(())
}

fn properties(name: &str, text: &str) -> Properties {
    [(name.to_owned(), text.into())].into()
}

fn property(received: &BusMessage, name: &str) -> Option<PropertyValue> {
    received.application_properties.get(name).cloned()
}

fn abandon_properties(bench: &Bench) -> Result<()> {
    let queue = bench.queue("q")?;
    bench.send_message("q", message("a").with_property("kept", 1))?;
    let (_, token) = bench.lock(queue)?;
    let why = properties("why", "busy");
    bench.bus.with_broker(|broker, now| broker.abandon_with(now, queue, token, why))?;
    let (got, _) = bench.lock(queue)?;
    equal(property(&got.message, "why"), Some("busy".into()))?;
    equal(property(&got.message, "kept"), Some(1.into()))
}

fn lock_renewal(bench: &Bench) -> Result<()> {
    let queue = bench.queue("q")?;
    bench.send("q", &["a"])?;
    let (_, token) = bench.lock(queue)?;
    for _ in 0..3 {
        bench.pass(20);
        bench.bus.with_broker(|broker, now| broker.renew_lock(now, queue, token))?;
        equal(bench.try_lock(queue)?, None)?;
    }
    Ok(bench.bus.with_broker(|broker, now| broker.complete(now, queue, token))?)
}

fn lock_expiry(bench: &Bench) -> Result<()> {
    let queue = bench.queue("q")?;
    bench.send("q", &["a"])?;
    let (_, token) = bench.lock(queue)?;
    bench.pass(31);
    let late = bench.bus.with_broker(|broker, now| broker.complete(now, queue, token));
    refused(late, |error| *error == BrokerError::LockLost)?;
    let (again, _) = bench.lock(queue)?;
    equal(again.delivery_count, 1)
}

fn defer(bench: &Bench) -> Result<()> {
    let queue = bench.queue("q")?;
    bench.send("q", &["a", "b"])?;
    let (got, token) = bench.lock(queue)?;
    bench.bus.with_broker(|broker, now| broker.defer(now, queue, token, Properties::new()))?;
    equal(bench.take("q")?, ["b"])?;
    let ask = |number: u64| {
        bench.bus.with_broker(|broker, now| {
            broker.receive_deferred(now, queue, &[number], None, ReceiveMode::ReceiveAndDelete)
        })
    };
    equal(bodies(&ask(got.sequence_number)?), ["a"])?;
    let again = ask(got.sequence_number);
    refused(again, |error| matches!(error, BrokerError::MessageNotFound { .. }))
}

fn dead_letter(bench: &Bench) -> Result<()> {
    let queue = bench.queue("q")?;
    bench.send("q", &["a"])?;
    let (_, token) = bench.lock(queue)?;
    bench.bus.with_broker(|broker, now| {
        let (reason, description) = (Some("poison"), Some("it cannot be read"));
        broker.dead_letter(now, queue, token, reason, description, Properties::new())
    })?;
    let dead = bench.dead_letters("q")?;
    let reasons = ["DeadLetterReason", "DeadLetterErrorDescription"];
    let found = reasons.map(|name| property(&dead[0].message, name));
    equal(found, [Some("poison".into()), Some("it cannot be read".into())])?;
    equal(dead[0].dead_letter_source.as_deref(), Some("q"))?;
    equal(bench.take("q/$DeadLetterQueue")?, ["a"])
}

fn max_delivery_count(bench: &Bench) -> Result<()> {
    let options = SubscriptionOptions { max_delivery_count: 2, ..delivery() };
    let queue = bench.queue_with("q", options)?;
    bench.send("q", &["a"])?;
    for _ in 0..2 {
        let (_, token) = bench.lock(queue)?;
        bench.bus.with_broker(|broker, now| broker.abandon(now, queue, token))?;
    }
    equal(bench.try_lock(queue)?, None)?;
    let dead = bench.dead_letters("q")?;
    let reason = property(&dead[0].message, "DeadLetterReason");
    equal(reason, Some("MaxDeliveryCountExceeded".into()))
}

fn time_to_live(bench: &Bench) -> Result<()> {
    bench.queue("q")?;
    let short = |body| message(body).with_time_to_live(Duration::from_secs(2));
    bench.send_message("q", short("in time"))?;
    equal(bench.take("q")?, ["in time"])?;
    bench.send_message("q", short("late"))?;
    bench.send("q", &["for ever"])?;
    bench.pass(3);
    equal(bench.take("q")?, ["for ever"])?;
    equal(bench.dead_letters("q")?.len(), 0)
}

fn expiry_dead_letters(bench: &Bench) -> Result<()> {
    let time_to_live = Some(Duration::from_secs(2));
    bench.queue_with(
        "q",
        SubscriptionOptions {
            default_message_time_to_live: time_to_live,
            dead_letters_expired: true,
            ..delivery()
        },
    )?;
    bench.send("q", &["a"])?;
    // Nobody receives: it is moved all the same.
    bench.pass(5);
    let dead = bench.dead_letters("q")?;
    let reason = property(&dead.first().context("nothing is dead")?.message, "DeadLetterReason");
    equal(reason, Some("TTLExpiredException".into()))
}

fn schedule(bench: &Bench) -> Result<()> {
    bench.queue("q")?;
    let at = bench.bus.now() + Duration::from_secs(3_600);
    let later = |body| message(body).with_scheduled_at(at);
    let kept = bench.bus.publish("q", later("kept"))?.scheduled;
    let gone = bench.bus.publish("q", later("gone"))?.scheduled;
    equal((kept.len(), gone.len()), (1, 1))?;
    bench.bus.with_broker(|broker, _| broker.cancel_scheduled("q", gone[0]))?;
    equal(bench.take("q")?, [""; 0])?;
    // Whoever waits gets it in time.
    let got = bench.runtime.block_on(bench.bus.receiver_at("q")?.receive())?;
    equal(body(&got), "kept")?;
    ensure!(bench.bus.now() >= at && got.enqueued_time >= at, "it came too soon");
    Ok(())
}

fn scheduled_by_property(bench: &Bench) -> Result<()> {
    bench.topic(&["s"])?;
    let at = bench.bus.now() + Duration::from_secs(60);
    bench.send_message("t", message("a").with_scheduled_at(at))?;
    equal(bench.take("t/Subscriptions/s")?, [""; 0])?;
    bench.pass(61);
    equal(bench.take("t/Subscriptions/s")?, ["a"])
}

fn duplicate_detection(bench: &Bench) -> Result<()> {
    let duplicate_window = Some(Duration::from_secs(60));
    let options = QueueOptions { duplicate_window, ..QueueOptions::default() };
    bench.bus.create_queue("q", options)?;
    for (body, seconds) in [("first", 30), ("again", 40), ("later", 0)] {
        bench.send_message("q", message(body).with_message_id("id"))?;
        bench.pass(seconds);
    }
    equal(bench.take("q")?, ["first", "later"])
}

fn session_queue(bench: &Bench) -> Result<QueueId> {
    let queue =
        bench.queue_with("q", SubscriptionOptions { requires_session: true, ..delivery() })?;
    for body in ["x1", "y1", "x2"] {
        bench.send_message("q", message(body).with_session_id(&body[..1]))?;
    }
    Ok(queue)
}

fn try_accept(
    bench: &Bench,
    queue: QueueId,
    id: Option<&str>,
) -> Result<Option<AcceptedSession>, BrokerError> {
    bench.bus.with_broker(|broker, now| broker.accept_session(now, queue, id))
}

fn accept(bench: &Bench, queue: QueueId, id: Option<&str>) -> Result<(String, LockToken)> {
    let accepted = try_accept(bench, queue, id)?.context("no session is free")?;
    Ok((accepted.id, accepted.lock.token))
}

fn next_of(bench: &Bench, queue: QueueId, id: &str, token: LockToken) -> Result<Option<String>> {
    let received = bench.bus.with_broker(|broker, now| {
        broker.receive_from_session(now, queue, id, token, ReceiveMode::ReceiveAndDelete)
    })?;
    Ok(received.as_ref().map(body))
}

fn session_named(bench: &Bench) -> Result<()> {
    let queue = session_queue(bench)?;
    let (id, token) = accept(bench, queue, Some("x"))?;
    let again = try_accept(bench, queue, Some("x"));
    refused(again, |error| matches!(error, BrokerError::SessionCannotBeLocked { .. }))?;
    for expected in [Some("x1"), Some("x2"), None] {
        equal(next_of(bench, queue, &id, token)?.as_deref(), expected)?;
    }
    bench.bus.with_broker(|broker, now| broker.release_session(now, queue, &id, token))?;
    accept(bench, queue, Some("x")).map(drop)
}

fn session_next(bench: &Bench) -> Result<()> {
    let queue = session_queue(bench)?;
    equal(accept(bench, queue, None)?.0, "x")?;
    equal(accept(bench, queue, None)?.0, "y")?;
    equal(try_accept(bench, queue, None)?, None)
}

fn session_lock(bench: &Bench) -> Result<()> {
    let queue = session_queue(bench)?;
    let (id, token) = accept(bench, queue, Some("x"))?;
    bench.pass(20);
    bench.bus.with_broker(|broker, now| broker.renew_session_lock(now, queue, &id, token))?;
    bench.pass(20);
    equal(next_of(bench, queue, &id, token)?.as_deref(), Some("x1"))?;
    bench.pass(31);
    let late = bench.bus.with_broker(|broker, now| {
        broker.receive_from_session(now, queue, &id, token, ReceiveMode::PeekLock)
    });
    refused(late, |error| *error == BrokerError::SessionLockLost)?;
    accept(bench, queue, Some("x")).map(drop)
}

fn session_state(bench: &Bench) -> Result<()> {
    let queue = session_queue(bench)?;
    let (id, token) = accept(bench, queue, Some("x"))?;
    let read =
        |token| bench.bus.with_broker(|broker, now| broker.session_state(now, queue, &id, token));
    equal(read(token)?, None)?;
    bench.bus.with_broker(|broker, now| {
        broker.set_session_state(now, queue, &id, token, Some("half".into()))?;
        broker.release_session(now, queue, &id, token)
    })?;
    let (_, token) = accept(bench, queue, Some("x"))?;
    equal(read(token)?.as_deref(), Some(&b"half"[..]))
}

fn session_list(bench: &Bench) -> Result<()> {
    let queue = session_queue(bench)?;
    equal(bench.bus.with_broker(|broker, _| broker.sessions(queue, None))?, ["x", "y"])
}

fn session_required(bench: &Bench) -> Result<()> {
    let queue = session_queue(bench)?;
    let plain = bench.bus.publish("q", message("none"));
    refused_by_bus(plain, |error| matches!(error, BrokerError::SessionRequired { .. }))?;
    let mode = ReceiveMode::PeekLock;
    let plain = bench.bus.with_broker(|broker, now| broker.receive(now, queue, mode));
    refused(plain, |error| matches!(error, BrokerError::SessionReceiverRequired { .. }))?;
    let without = bench.queue("without")?;
    let none = try_accept(bench, without, Some("x"));
    refused(none, |error| matches!(error, BrokerError::SessionsNotSupported { .. }))
}

fn session_defer(bench: &Bench) -> Result<()> {
    let queue = session_queue(bench)?;
    let (id, token) = accept(bench, queue, Some("x"))?;
    let got = bench.bus.with_broker(|broker, now| {
        broker.receive_from_session(now, queue, &id, token, ReceiveMode::PeekLock)
    })?;
    let got = got.context("there is no message")?;
    let lock = got.lock.context("it has no lock")?.token;
    bench.bus.with_broker(|broker, now| broker.defer(now, queue, lock, Properties::new()))?;
    let ask = |session| {
        bench.bus.with_broker(|broker, now| {
            let numbers = [got.sequence_number];
            let mode = ReceiveMode::ReceiveAndDelete;
            broker.receive_deferred(now, queue, &numbers, session, mode)
        })
    };
    let (other, other_token) = accept(bench, queue, Some("y"))?;
    let foreign = ask(Some((&other, other_token)));
    refused(foreign, |error| matches!(error, BrokerError::MessageNotFound { .. }))?;
    equal(bodies(&ask(Some((&id, token)))?), ["x1"])
}

fn peek(bench: &Bench) -> Result<()> {
    let queue = bench.queue("q")?;
    bench.send("q", &["deferred", "active"])?;
    let (_, token) = bench.lock(queue)?;
    bench.bus.with_broker(|broker, now| broker.defer(now, queue, token, Properties::new()))?;
    let at = bench.bus.now() + Duration::from_secs(60);
    bench.send_message("q", message("scheduled").with_scheduled_at(at))?;
    let found = bench.bus.with_broker(|broker, now| broker.peek(now, queue, 0, 10, None))?;
    equal(bodies(&found), ["deferred", "active", "scheduled"])?;
    let states = [MessageState::Deferred, MessageState::Active, MessageState::Scheduled];
    equal(found.iter().map(|one| one.state).collect::<Vec<_>>(), states)?;
    let from = found[1].sequence_number;
    let one = bench.bus.with_broker(|broker, now| broker.peek(now, queue, from, 1, None))?;
    equal(bodies(&one), ["active"])?;
    equal(bench.take("q")?, ["active"])
}

fn peek_session(bench: &Bench) -> Result<()> {
    let queue = session_queue(bench)?;
    let found = bench.bus.with_broker(|broker, now| broker.peek(now, queue, 0, 10, Some("x")))?;
    equal(bodies(&found), ["x1", "x2"])
}
