//! The rows about entities: topics and their rules, forwarding, refusals, administration.

use anyhow::{Result, ensure};
use raft_mocking::broker::{
    BrokerError, BusMessage, CorrelationFilter, EntityStatus, Faults, Filter, MessageCounts,
    Properties, QueueOptions, Rule, SqlAction, SqlFilter, SubscriptionOptions, TopicOptions,
};

use super::{Bench, Case, delivery, equal, message, refused, refused_by_bus};

pub(super) const CASES: &[(&str, Case)] = &[
    ("topic-fan-out", Case::Run(topic_fan_out)),
    ("correlation-filter", Case::Run(correlation_filter)),
    ("sql-filter", Case::Run(sql_filter)),
    ("sql-action", Case::Run(sql_action)),
    ("auto-forward", Case::Run(auto_forward)),
    ("forward-dead-letters", Case::Run(forward_dead_letters)),
    ("unknown-entity", Case::Run(unknown_entity)),
    ("disabled-entity", Case::Run(disabled_entity)),
    ("entity-full", Case::Run(entity_full)),
    ("throttling", Case::Run(throttling)),
    ("admin-queues", Case::Run(admin_queues)),
    ("admin-topics", Case::Run(admin_topics)),
    ("admin-rules", Case::Run(admin_rules)),
    ("admin-counts", Case::Run(admin_counts)),
];

const S: &str = "t/Subscriptions/s";

fn topic_fan_out(bench: &Bench) -> Result<()> {
    bench.topic(&["s", "r"])?;
    bench.send("t", &["a", "b"])?;
    equal(bench.take(S)?, ["a", "b"])?;
    equal(bench.take("t/Subscriptions/r")?, ["a", "b"])
}

/// A topic whose subscription `s` has this rule alone.
fn filtered(bench: &Bench, rule: Rule) -> Result<()> {
    bench.topic(&["s"])?;
    bench.bus.add_rule("t", "s", rule)?;
    Ok(bench.bus.remove_rule("t", "s", Rule::DEFAULT_NAME)?)
}

fn correlation_filter(bench: &Bench) -> Result<()> {
    let filter = CorrelationFilter {
        properties: [("kind".to_owned(), "vote".into())].into(),
        ..CorrelationFilter::to("me")
    };
    filtered(bench, Rule::new("to-me", filter))?;
    let sent = [("yes", "me", "vote"), ("not to me", "you", "vote"), ("no vote", "me", "Vote")];
    for (body, to, kind) in sent {
        bench.send_message("t", message(body).with_to(to).with_property("kind", kind))?;
    }
    equal(bench.take(S)?, ["yes"])
}

fn sql_filter(bench: &Bench) -> Result<()> {
    let text = "sys.Label LIKE 'v%' AND (term > 2 OR urgent = TRUE) AND nothing IS NULL";
    filtered(bench, Rule::new("sql", SqlFilter::new(text)?))?;
    let voted = |body| message(body).with_subject("vote");
    bench.send_message("t", voted("later").with_property("term", 3))?;
    bench.send_message("t", voted("urgent").with_property("urgent", true))?;
    bench.send_message("t", voted("earlier").with_property("term", 2))?;
    bench.send_message("t", message("no label").with_property("term", 3))?;
    equal(bench.take(S)?, ["later", "urgent"])
}

fn sql_action(bench: &Bench) -> Result<()> {
    let action = SqlAction::new("SET sys.Label = 'changed'; SET term = term + 1; REMOVE gone")?;
    filtered(bench, Rule::new("acts", Filter::True).with_action(action))?;
    let sent = message("a").with_property("term", 2).with_property("gone", "x");
    bench.send_message("t", sent)?;
    let got = bench.runtime.block_on(bench.bus.receiver_at(S)?.receive())?;
    equal(got.message.subject.as_deref(), Some("changed"))?;
    equal(&got.message.application_properties, &[("term".to_owned(), 3.into())].into())
}

fn auto_forward(bench: &Bench) -> Result<()> {
    bench.queue("target")?;
    let to_target = || SubscriptionOptions { forward_to: Some("target".into()), ..delivery() };
    let queue = bench.queue_with("q", to_target())?;
    bench.bus.create_topic("t", TopicOptions::default())?;
    bench.bus.create_subscription("t", "s", to_target())?;
    bench.send("q", &["by queue"])?;
    bench.send("t", &["by topic"])?;
    equal(bench.take("target")?, ["by queue", "by topic"])?;
    let direct = bench.bus.with_broker(|broker, now| broker.check_receivable(now, queue));
    refused(direct, |error| matches!(error, BrokerError::ForwardingEnabled { .. }))
}

fn forward_dead_letters(bench: &Bench) -> Result<()> {
    bench.queue("dead")?;
    let forward_dead_letters_to = Some("dead".to_owned());
    let options = SubscriptionOptions { forward_dead_letters_to, ..delivery() };
    let queue = bench.queue_with("q", options)?;
    bench.send("q", &["a"])?;
    let (_, token) = bench.lock(queue)?;
    bench.bus.with_broker(|broker, now| {
        broker.dead_letter(now, queue, token, Some("why"), None, Properties::new())
    })?;
    equal(bench.take("dead")?, ["a"])?;
    equal(bench.dead_letters("q")?.len(), 0)
}

fn is_not_found(error: &BrokerError) -> bool {
    matches!(error, BrokerError::NotFound { .. })
}

fn unknown_entity(bench: &Bench) -> Result<()> {
    bench.topic(&[])?;
    refused_by_bus(bench.bus.publish("nothing", message("a")), is_not_found)?;
    refused_by_bus(bench.bus.receiver_at("nothing"), is_not_found)?;
    refused_by_bus(bench.bus.receiver("t", "nothing"), is_not_found)
}

fn disabled_entity(bench: &Bench) -> Result<()> {
    bench.queue("q")?;
    bench.send("q", &["a"])?;
    let delivery = SubscriptionOptions { status: EntityStatus::SendDisabled, ..delivery() };
    let options = QueueOptions { delivery, ..QueueOptions::default() };
    bench.bus.with_broker(|broker, now| broker.update_queue(now, "q", options))?;
    let late = bench.bus.publish("q", message("b"));
    refused_by_bus(late, |error| matches!(error, BrokerError::EntityDisabled { .. }))?;
    equal(bench.take("q")?, ["a"])
}

fn entity_full(bench: &Bench) -> Result<()> {
    let options = QueueOptions { bytes_max: Some(1_000), ..QueueOptions::default() };
    bench.bus.create_queue("q", options)?;
    let half = || BusMessage::new(vec![b'x'; 600]);
    bench.send_message("q", half())?;
    let more = bench.bus.publish("q", half());
    refused_by_bus(more, |error| matches!(error, BrokerError::QuotaExceeded { .. }))?;
    equal(bench.take("q")?.len(), 1)?;
    bench.send_message("q", half())
}

fn throttling(bench: &Bench) -> Result<()> {
    bench.queue("q")?;
    let is_busy = |error: &BrokerError| *error == BrokerError::ServerBusy;
    let credits = |credits| Faults { credits_per_second: credits, ..Faults::default() };
    bench.bus.with_broker(|broker, _| broker.set_faults(credits(Some(2))));
    bench.send("q", &["a", "b"])?;
    refused_by_bus(bench.bus.publish("q", message("c")), is_busy)?;
    // A delivery waits for its credit instead, and whoever waits for it is woken.
    let mut receiver = bench.bus.receiver_at("q")?;
    let before = bench.bus.now();
    bench.runtime.block_on(receiver.receive())?;
    ensure!(bench.bus.now() > before, "it cost nothing");
    bench.bus.with_broker(|broker, _| {
        broker.set_faults(Faults { is_busy: true, ..Faults::default() });
    });
    refused_by_bus(bench.bus.publish("q", message("d")), is_busy)
}

fn admin_queues(bench: &Bench) -> Result<()> {
    bench.queue("q")?;
    let again = bench.bus.create_queue("Q", QueueOptions::default());
    refused_by_bus(again, |error| matches!(error, BrokerError::AlreadyExists { .. }))?;
    bench.bus.with_broker(|broker, now| {
        let mut options = broker.queue("q")?.options;
        options.delivery.max_delivery_count = 3;
        broker.update_queue(now, "q", options)
    })?;
    let info = bench.bus.with_broker(|broker, _| broker.queue("q"))?;
    equal((info.name.as_str(), info.options.delivery.max_delivery_count), ("q", 3))?;
    let names = bench.bus.with_broker(|broker, _| broker.queues().map(|q| q.name).collect());
    equal::<Vec<String>, _>(names, ["q"])?;
    bench.bus.with_broker(|broker, _| broker.delete_queue("q"))?;
    refused(bench.bus.with_broker(|broker, _| broker.queue("q")), is_not_found)
}

fn admin_topics(bench: &Bench) -> Result<()> {
    bench.topic(&["s", "r"])?;
    bench.bus.with_broker(|broker, now| {
        let mut options = broker.subscription("t", "s")?.options;
        options.user_metadata = Some("mine".to_owned());
        broker.update_subscription(now, "t", "s", options)
    })?;
    let found = bench.bus.with_broker(|broker, _| broker.subscriptions("t"))?;
    let found: Vec<_> =
        found.into_iter().map(|info| (info.name, info.options.user_metadata)).collect();
    equal(found, [("r".to_owned(), None), ("s".to_owned(), Some("mine".to_owned()))])?;
    bench.bus.delete_subscription("t", "s")?;
    refused(bench.bus.with_broker(|broker, _| broker.subscription("t", "s")), is_not_found)?;
    bench.bus.delete_topic("t")?;
    refused(bench.bus.with_broker(|broker, _| broker.topic("t")), is_not_found)
}

fn admin_rules(bench: &Bench) -> Result<()> {
    bench.topic(&["s"])?;
    let sql = |text: &str| Ok::<_, anyhow::Error>(Rule::new("sql", SqlFilter::new(text)?));
    bench.bus.add_rule("t", "s", sql("term = 1")?)?;
    let again = bench.bus.add_rule("t", "s", sql("term = 2")?);
    refused_by_bus(again, |error| matches!(error, BrokerError::AlreadyExists { .. }))?;
    let changed = sql("term = 2")?;
    bench.bus.with_broker(|broker, _| broker.update_rule("t", "s", changed.clone()))?;
    bench.bus.remove_rule("t", "s", Rule::DEFAULT_NAME)?;
    equal(bench.bus.with_broker(|broker, _| broker.rules("t", "s"))?, [changed])?;
    refused_by_bus(bench.bus.remove_rule("t", "s", "nothing"), is_not_found)?;
    ensure!(SqlFilter::new("term =").is_err(), "half a condition is none");
    Ok(())
}

fn admin_counts(bench: &Bench) -> Result<()> {
    let queue = bench.queue("q")?;
    bench.send("q", &["dead", "deferred", "active"])?;
    let (_, token) = bench.lock(queue)?;
    bench.bus.with_broker(|broker, now| {
        broker.dead_letter(now, queue, token, None, None, Properties::new())
    })?;
    let (_, token) = bench.lock(queue)?;
    bench.bus.with_broker(|broker, now| broker.defer(now, queue, token, Properties::new()))?;
    let at = bench.bus.now() + super::LOCK;
    bench.send_message("q", message("scheduled").with_scheduled_at(at))?;
    let counts = bench.bus.with_broker(|broker, _| broker.queue("q"))?.counts;
    // A deferred message counts as an active one, too.
    let expected = MessageCounts {
        active: 2,
        dead_letter: 1,
        deferred: 1,
        scheduled: 1,
        transfer_dead_letter: 0,
    };
    equal(counts, expected)
}
