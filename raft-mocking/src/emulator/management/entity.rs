//! Queues, topics and subscriptions in Atom, read and written.
//!
//! Guarantees: what a description asks for is done or refused; only settings that cannot change what a
//! client receives within a test (batching, partitioning, express, authorization rules) are taken
//! without effect.

use std::time::Duration;

use super::atom::DESCRIPTION;
use super::xml::{Element, XmlWriter};
use super::{ApiError, time};
use crate::broker::{
    EntityStatus, MessageCounts, QueueInfo, QueueOptions, SubscriptionInfo, SubscriptionOptions,
    TopicInfo, TopicOptions,
};
use crate::emulator::sas;

const COUNTS: &str = "http://schemas.microsoft.com/netservices/2011/06/servicebus";
/// What the service says of an entity without a size of its own.
const BYTES_MAX: u64 = 1 << 30;
/// The window of duplicate detection unless the creator says.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(600);
const MEGABYTES_MAX: u64 = 81_920;

pub(super) fn put_queue(xml: &mut XmlWriter, queue: &QueueInfo) {
    let QueueOptions { bytes_max, duplicate_window, delivery } = &queue.options;
    xml.element("QueueDescription", &DESCRIPTION, |xml| {
        xml.leaf("LockDuration", &time::duration(Some(delivery.lock_duration)));
        xml.leaf("MaxSizeInMegabytes", &(bytes_max.unwrap_or(BYTES_MAX) >> 20).to_string());
        put_duplicates(xml, *duplicate_window);
        put_delivery(xml, delivery);
        xml.leaf("EnableBatchedOperations", "true");
        xml.leaf("SizeInBytes", &queue.bytes.to_string());
        let MessageCounts { active, dead_letter, scheduled, .. } = queue.counts;
        xml.leaf("MessageCount", &(active + dead_letter + scheduled).to_string());
        xml.leaf("IsAnonymousAccessible", "false");
        xml.leaf("Status", status_text(delivery.status));
        put_times(xml, [queue.created_at, queue.updated_at, queue.accessed_at]);
        xml.leaf("SupportOrdering", "true");
        put_counts(xml, queue.counts);
        xml.leaf("AutoDeleteOnIdle", &time::duration(delivery.auto_delete_on_idle));
        xml.leaf("EnablePartitioning", "false");
        xml.leaf("EntityAvailabilityStatus", "Available");
        xml.leaf("EnableExpress", "false");
    });
}

pub(super) fn put_topic(xml: &mut XmlWriter, topic: &TopicInfo) {
    let options = &topic.options;
    xml.element("TopicDescription", &DESCRIPTION, |xml| {
        let time_to_live = time::duration(options.default_message_time_to_live);
        xml.leaf("DefaultMessageTimeToLive", &time_to_live);
        xml.leaf("MaxSizeInMegabytes", &(options.bytes_max.unwrap_or(BYTES_MAX) >> 20).to_string());
        put_duplicates(xml, options.duplicate_window);
        xml.leaf("EnableBatchedOperations", "true");
        xml.leaf("SizeInBytes", &topic.bytes.to_string());
        xml.leaf("Status", status_text(options.status));
        xml.optional_leaf("UserMetadata", options.user_metadata.as_deref());
        put_times(xml, [topic.created_at, topic.updated_at, topic.accessed_at]);
        xml.leaf("SupportOrdering", "true");
        let scheduled = topic.scheduled_count;
        put_counts(xml, MessageCounts { scheduled, ..MessageCounts::default() });
        xml.leaf("SubscriptionCount", &topic.subscription_count.to_string());
        xml.leaf("AutoDeleteOnIdle", &time::duration(options.auto_delete_on_idle));
        xml.leaf("EnablePartitioning", "false");
        xml.leaf("EntityAvailabilityStatus", "Available");
        xml.leaf("EnableExpress", "false");
    });
}

pub(super) fn put_subscription(xml: &mut XmlWriter, subscription: &SubscriptionInfo) {
    let options = &subscription.options;
    xml.element("SubscriptionDescription", &DESCRIPTION, |xml| {
        xml.leaf("LockDuration", &time::duration(Some(options.lock_duration)));
        put_delivery(xml, options);
        let filter_errors = options.dead_letters_filter_errors.to_string();
        xml.leaf("DeadLetteringOnFilterEvaluationExceptions", &filter_errors);
        let counts = subscription.counts;
        xml.leaf("MessageCount", &(counts.active + counts.dead_letter).to_string());
        xml.leaf("EnableBatchedOperations", "true");
        xml.leaf("Status", status_text(options.status));
        let times = [subscription.created_at, subscription.updated_at, subscription.accessed_at];
        put_times(xml, times);
        put_counts(xml, counts);
        xml.leaf("AutoDeleteOnIdle", &time::duration(options.auto_delete_on_idle));
        xml.leaf("EntityAvailabilityStatus", "Available");
    });
}

/// What queues and subscriptions have in common.
fn put_delivery(xml: &mut XmlWriter, options: &SubscriptionOptions) {
    xml.leaf("RequiresSession", &options.requires_session.to_string());
    let time_to_live = time::duration(options.default_message_time_to_live);
    xml.leaf("DefaultMessageTimeToLive", &time_to_live);
    xml.leaf("DeadLetteringOnMessageExpiration", &options.dead_letters_expired.to_string());
    xml.leaf("MaxDeliveryCount", &options.max_delivery_count.to_string());
    for (name, target) in [
        ("ForwardTo", &options.forward_to),
        ("ForwardDeadLetteredMessagesTo", &options.forward_dead_letters_to),
    ] {
        if let Some(target) = target {
            xml.leaf(name, &format!("sb://localhost/{target}"));
        }
    }
    xml.optional_leaf("UserMetadata", options.user_metadata.as_deref());
}

fn put_duplicates(xml: &mut XmlWriter, window: Option<Duration>) {
    xml.leaf("RequiresDuplicateDetection", &window.is_some().to_string());
    let window = window.unwrap_or(DUPLICATE_WINDOW);
    xml.leaf("DuplicateDetectionHistoryTimeWindow", &time::duration(Some(window)));
}

fn put_times(xml: &mut XmlWriter, times: [Duration; 3]) {
    for (name, at) in ["CreatedAt", "UpdatedAt", "AccessedAt"].into_iter().zip(times) {
        xml.leaf(name, &time::date_time(at));
    }
}

fn put_counts(xml: &mut XmlWriter, counts: MessageCounts) {
    xml.element("CountDetails", &[("xmlns:d2p1", COUNTS)], |xml| {
        for (name, count) in [
            ("Active", counts.active),
            ("DeadLetter", counts.dead_letter),
            ("Scheduled", counts.scheduled),
            ("TransferDeadLetter", counts.transfer_dead_letter),
            ("Transfer", 0),
        ] {
            xml.leaf(&format!("d2p1:{name}MessageCount"), &count.to_string());
        }
    });
}

fn status_text(status: EntityStatus) -> &'static str {
    match status {
        EntityStatus::Active => "Active",
        EntityStatus::Disabled => "Disabled",
        EntityStatus::SendDisabled => "SendDisabled",
        EntityStatus::ReceiveDisabled => "ReceiveDisabled",
    }
}

pub(super) fn queue_options(description: &Element) -> Result<QueueOptions, ApiError> {
    Ok(QueueOptions {
        bytes_max: bytes_max(description)?,
        duplicate_window: duplicate_window(description)?,
        delivery: subscription_options(description)?,
    })
}

pub(super) fn topic_options(description: &Element) -> Result<TopicOptions, ApiError> {
    Ok(TopicOptions {
        default_message_time_to_live: duration_child(description, "DefaultMessageTimeToLive")?,
        bytes_max: bytes_max(description)?,
        duplicate_window: duplicate_window(description)?,
        auto_delete_on_idle: duration_child(description, "AutoDeleteOnIdle")?,
        status: status(description)?,
        user_metadata: description.child_text("UserMetadata").map(str::to_owned),
    })
}

pub(super) fn subscription_options(description: &Element) -> Result<SubscriptionOptions, ApiError> {
    let defaults = SubscriptionOptions::default();
    let lock_duration = duration_child(description, "LockDuration")?;
    let max_delivery_count = match description.child_text("MaxDeliveryCount") {
        None => defaults.max_delivery_count,
        Some(text) => text.parse().map_err(|_| ApiError::bad_value("MaxDeliveryCount", text))?,
    };
    let target = |name: &str| {
        description.child_text(name).map(|address| sas::entity_address(address).to_owned())
    };
    Ok(SubscriptionOptions {
        default_message_time_to_live: duration_child(description, "DefaultMessageTimeToLive")?,
        lock_duration: lock_duration.unwrap_or(defaults.lock_duration),
        max_delivery_count,
        requires_session: is_true(description, "RequiresSession")?,
        dead_letters_expired: is_true(description, "DeadLetteringOnMessageExpiration")?,
        dead_letters_filter_errors: is_true(
            description,
            "DeadLetteringOnFilterEvaluationExceptions",
        )?,
        forward_to: target("ForwardTo"),
        forward_dead_letters_to: target("ForwardDeadLetteredMessagesTo"),
        auto_delete_on_idle: duration_child(description, "AutoDeleteOnIdle")?,
        status: status(description)?,
        user_metadata: description.child_text("UserMetadata").map(str::to_owned),
    })
}

fn bytes_max(description: &Element) -> Result<Option<u64>, ApiError> {
    let Some(text) = description.child_text("MaxSizeInMegabytes") else { return Ok(None) };
    let megabytes = text.parse::<u64>().ok().filter(|mb| (1..=MEGABYTES_MAX).contains(mb));
    let megabytes = megabytes.ok_or_else(|| ApiError::bad_value("MaxSizeInMegabytes", text))?;
    Ok(Some(megabytes << 20))
}

fn duplicate_window(description: &Element) -> Result<Option<Duration>, ApiError> {
    let window = duration_child(description, "DuplicateDetectionHistoryTimeWindow")?;
    let is_detecting = is_true(description, "RequiresDuplicateDetection")?;
    Ok(is_detecting.then(|| window.unwrap_or(DUPLICATE_WINDOW)))
}

fn status(description: &Element) -> Result<EntityStatus, ApiError> {
    match description.child_text("Status") {
        None | Some("Active") => Ok(EntityStatus::Active),
        Some("Disabled") => Ok(EntityStatus::Disabled),
        Some("SendDisabled") => Ok(EntityStatus::SendDisabled),
        Some("ReceiveDisabled") => Ok(EntityStatus::ReceiveDisabled),
        Some(other) => Err(ApiError::bad_value("Status", other)),
    }
}

fn duration_child(description: &Element, name: &str) -> Result<Option<Duration>, ApiError> {
    match description.child_text(name) {
        None => Ok(None),
        Some(text) => time::parse_duration(text).ok_or_else(|| ApiError::bad_value(name, text)),
    }
}

fn is_true(description: &Element, name: &str) -> Result<bool, ApiError> {
    match description.child_text(name) {
        Some("true" | "True" | "1") => Ok(true),
        None | Some("false" | "False" | "0") => Ok(false),
        Some(other) => Err(ApiError::bad_value(name, other)),
    }
}
