//! Descriptions of entities as Atom entries, read and written.
//!
//! Guarantees: what a description asks for is done or refused; only settings that cannot change
//! what a client receives within a test (batching, partitioning, auto-delete, the largest delivery
//! count) are taken without effect.

use std::time::Duration;

use super::ApiError;
use super::time;
use super::xml::{Element, XmlWriter};
use crate::broker::{
    CorrelationFilter, Filter, PropertyValue, Rule, SubscriptionInfo, SubscriptionOptions,
    TopicInfo, TopicOptions,
};

const ATOM: &str = "http://www.w3.org/2005/Atom";
const SERVICE_BUS: &str = "http://schemas.microsoft.com/netservices/2010/10/servicebus/connect";
const COUNTS: &str = "http://schemas.microsoft.com/netservices/2011/06/servicebus";
const INSTANCE: &str = "http://www.w3.org/2001/XMLSchema-instance";
const SCHEMA: &str = "http://www.w3.org/2001/XMLSchema";

/// What the response says about one entity.
pub(super) struct Entry {
    /// The path below the namespace.
    pub(super) path: String,
    /// The name that clients read.
    pub(super) title: String,
    pub(super) created_at: Duration,
    pub(super) description: Description,
}

pub(super) enum Description {
    Namespace,
    Topic(TopicInfo),
    Subscription(SubscriptionInfo),
    Rule(Rule),
}

/// One entry as a document.
pub(super) fn entry_document(entry: &Entry) -> String {
    let mut xml = XmlWriter::default();
    put_entry(&mut xml, entry);
    xml.finish()
}

/// A list of entries as a document.
pub(super) fn feed_document(title: &str, now: Duration, entries: &[Entry]) -> String {
    let mut xml = XmlWriter::default();
    xml.element("feed", &[("xmlns", ATOM)], |xml| {
        xml.element("title", &[("type", "text")], |xml| xml.text(title));
        xml.leaf("id", &format!("http://localhost/{title}"));
        xml.leaf("updated", &time::date_time(now));
        entries.iter().for_each(|entry| put_entry(xml, entry));
    });
    xml.finish()
}

fn put_entry(xml: &mut XmlWriter, entry: &Entry) {
    let created_at = time::date_time(entry.created_at);
    xml.element("entry", &[("xmlns", ATOM)], |xml| {
        xml.leaf("id", &format!("http://localhost/{}", entry.path));
        xml.element("title", &[("type", "text")], |xml| xml.text(&entry.title));
        xml.leaf("published", &created_at);
        xml.leaf("updated", &created_at);
        xml.element("author", &[], |xml| xml.leaf("name", "localhost"));
        xml.element("content", &[("type", "application/xml")], |xml| match &entry.description {
            Description::Namespace => put_namespace(xml, &created_at),
            Description::Topic(topic) => put_topic(xml, &created_at, topic),
            Description::Subscription(subscription) => {
                put_subscription(xml, &created_at, subscription);
            }
            Description::Rule(rule) => put_rule(xml, &created_at, rule),
        });
    });
}

/// Python finds nothing unless the description itself declares the namespace.
const DESCRIPTION: [(&str, &str); 2] = [("xmlns", SERVICE_BUS), ("xmlns:i", INSTANCE)];

fn put_namespace(xml: &mut XmlWriter, created_at: &str) {
    xml.element("NamespaceInfo", &DESCRIPTION, |xml| {
        xml.leaf("CreatedTime", created_at);
        xml.leaf("MessagingSKU", "Standard");
        xml.leaf("ModifiedTime", created_at);
        xml.leaf("Name", "localhost");
        xml.leaf("NamespaceType", "Messaging");
    });
}

fn put_topic(xml: &mut XmlWriter, created_at: &str, topic: &TopicInfo) {
    let options = &topic.options;
    let megabytes_max = options.bytes_max.unwrap_or(1 << 30) >> 20;
    xml.element("TopicDescription", &DESCRIPTION, |xml| {
        let time_to_live = time::duration(options.default_message_time_to_live);
        xml.leaf("DefaultMessageTimeToLive", &time_to_live);
        xml.leaf("MaxSizeInMegabytes", &megabytes_max.to_string());
        xml.leaf("RequiresDuplicateDetection", "false");
        xml.leaf("DuplicateDetectionHistoryTimeWindow", "PT10M");
        xml.leaf("EnableBatchedOperations", "true");
        xml.leaf("SizeInBytes", &topic.bytes.to_string());
        xml.leaf("Status", "Active");
        xml.leaf("CreatedAt", created_at);
        xml.leaf("UpdatedAt", created_at);
        xml.leaf("AccessedAt", created_at);
        xml.optional_leaf("UserMetadata", options.user_metadata.as_deref());
        xml.leaf("SupportOrdering", "true");
        put_counts(xml, 0);
        xml.leaf("SubscriptionCount", &topic.subscription_count.to_string());
        xml.leaf("AutoDeleteOnIdle", time::UNLIMITED);
        xml.leaf("EnablePartitioning", "false");
        xml.leaf("EntityAvailabilityStatus", "Available");
        xml.leaf("EnableExpress", "false");
    });
}

fn put_subscription(xml: &mut XmlWriter, created_at: &str, subscription: &SubscriptionInfo) {
    let options = &subscription.options;
    xml.element("SubscriptionDescription", &DESCRIPTION, |xml| {
        xml.leaf("LockDuration", &time::duration(Some(options.lock_duration)));
        xml.leaf("RequiresSession", "false");
        let time_to_live = time::duration(options.default_message_time_to_live);
        xml.leaf("DefaultMessageTimeToLive", &time_to_live);
        xml.leaf("DeadLetteringOnMessageExpiration", "false");
        xml.leaf("DeadLetteringOnFilterEvaluationExceptions", "false");
        xml.leaf("MessageCount", &subscription.message_count.to_string());
        xml.leaf("MaxDeliveryCount", "10");
        xml.leaf("EnableBatchedOperations", "true");
        xml.leaf("Status", "Active");
        xml.leaf("CreatedAt", created_at);
        xml.leaf("UpdatedAt", created_at);
        xml.leaf("AccessedAt", created_at);
        put_counts(xml, subscription.message_count);
        xml.optional_leaf("UserMetadata", options.user_metadata.as_deref());
        xml.leaf("AutoDeleteOnIdle", time::UNLIMITED);
        xml.leaf("EntityAvailabilityStatus", "Available");
    });
}

fn put_counts(xml: &mut XmlWriter, active: u64) {
    xml.element("CountDetails", &[("xmlns:d2p1", COUNTS)], |xml| {
        xml.leaf("d2p1:ActiveMessageCount", &active.to_string());
        for name in ["DeadLetter", "Scheduled", "TransferDeadLetter", "Transfer"] {
            xml.leaf(&format!("d2p1:{name}MessageCount"), "0");
        }
    });
}

fn put_rule(xml: &mut XmlWriter, created_at: &str, rule: &Rule) {
    xml.element("RuleDescription", &DESCRIPTION, |xml| {
        match &rule.filter {
            Filter::True => put_constant_filter(xml, "TrueFilter", "1=1"),
            Filter::False => put_constant_filter(xml, "FalseFilter", "1=0"),
            Filter::Correlation(filter) => put_correlation_filter(xml, filter),
        }
        xml.element("Action", &[("i:type", "EmptyRuleAction")], |_| {});
        xml.leaf("CreatedAt", created_at);
        xml.leaf("Name", &rule.name);
    });
}

fn put_constant_filter(xml: &mut XmlWriter, kind: &str, expression: &str) {
    xml.element("Filter", &[("i:type", kind)], |xml| {
        xml.leaf("SqlExpression", expression);
        xml.leaf("CompatibilityLevel", "20");
    });
}

fn put_correlation_filter(xml: &mut XmlWriter, filter: &CorrelationFilter) {
    xml.element("Filter", &[("i:type", "CorrelationFilter")], |xml| {
        xml.optional_leaf("CorrelationId", filter.correlation_id.as_deref());
        xml.optional_leaf("MessageId", filter.message_id.as_deref());
        xml.optional_leaf("To", filter.to.as_deref());
        xml.optional_leaf("ReplyTo", filter.reply_to.as_deref());
        xml.optional_leaf("Label", filter.subject.as_deref());
        xml.optional_leaf("SessionId", filter.session_id.as_deref());
        xml.optional_leaf("ReplyToSessionId", filter.reply_to_session_id.as_deref());
        xml.optional_leaf("ContentType", filter.content_type.as_deref());
        if filter.properties.is_empty() {
            return;
        }
        xml.element("Properties", &[], |xml| {
            for (name, value) in &filter.properties {
                xml.element("KeyValueOfstringanyType", &[], |xml| {
                    xml.leaf("Key", name);
                    let (kind, text) = property_text(value);
                    let kind = format!("d6p1:{kind}");
                    let attributes = [("i:type", kind.as_str()), ("xmlns:d6p1", SCHEMA)];
                    xml.element("Value", &attributes, |xml| xml.text(&text));
                });
            }
        });
    });
}

fn property_text(value: &PropertyValue) -> (&'static str, String) {
    match value {
        PropertyValue::Bool(value) => ("boolean", value.to_string()),
        PropertyValue::Int(value) => match i32::try_from(*value) {
            Ok(value) => ("int", value.to_string()),
            Err(_) => ("long", value.to_string()),
        },
        PropertyValue::UInt(value) => ("unsignedLong", value.to_string()),
        PropertyValue::Double(value) => ("double", value.to_string()),
        PropertyValue::String(value) => ("string", value.clone()),
        // Filters with these values can only be made in this process.
        other => ("string", format!("{other:?}")),
    }
}

/// The description inside an entry, of which the root may be either.
pub(super) fn description<'a>(root: &'a Element, name: &str) -> Result<&'a Element, ApiError> {
    let content = root.child("content").unwrap_or(root);
    let found = if content.name == name { Some(content) } else { content.child(name) };
    found.ok_or_else(|| ApiError::bad_request(format!("The body has no element '{name}'.")))
}

pub(super) fn topic_options(description: &Element) -> Result<TopicOptions, ApiError> {
    refuse_true(description, "RequiresDuplicateDetection")?;
    let megabytes = description.child_text("MaxSizeInMegabytes").map(|text| {
        let megabytes = text.parse::<u64>().ok().filter(|mb| (1..=81_920).contains(mb));
        megabytes.ok_or_else(|| ApiError::bad_value("MaxSizeInMegabytes", text))
    });
    Ok(TopicOptions {
        default_message_time_to_live: duration_child(description, "DefaultMessageTimeToLive")?,
        bytes_max: megabytes.transpose()?.map(|megabytes| megabytes << 20),
        user_metadata: description.child_text("UserMetadata").map(str::to_owned),
    })
}

pub(super) fn subscription_options(description: &Element) -> Result<SubscriptionOptions, ApiError> {
    refuse_true(description, "RequiresSession")?;
    refuse_true(description, "DeadLetteringOnMessageExpiration")?;
    for name in ["ForwardTo", "ForwardDeadLetteredMessagesTo"] {
        if description.child_text(name).is_some() {
            return Err(ApiError::not_implemented(name));
        }
    }
    let defaults = SubscriptionOptions::default();
    let lock_duration = duration_child(description, "LockDuration")?;
    if lock_duration.is_some_and(|lock| lock.is_zero() || lock > Duration::from_secs(300)) {
        return Err(ApiError::bad_request(
            "LockDuration must be above zero and at most PT5M.".into(),
        ));
    }
    Ok(SubscriptionOptions {
        default_message_time_to_live: duration_child(description, "DefaultMessageTimeToLive")?,
        lock_duration: lock_duration.unwrap_or(defaults.lock_duration),
        user_metadata: description.child_text("UserMetadata").map(str::to_owned),
    })
}

/// The rule in a description; `name` is what the path says, if it does.
pub(super) fn rule(description: &Element, name: Option<&str>) -> Result<Rule, ApiError> {
    let action = description.child("Action").map_or("EmptyRuleAction", Element::type_name);
    if !matches!(action, "EmptyRuleAction" | "") {
        return Err(ApiError::not_implemented(action));
    }
    let name = name.or_else(|| description.child_text("Name")).unwrap_or(Rule::DEFAULT_NAME);
    let filter = match description.child("Filter") {
        None => Filter::True,
        Some(filter) => self::filter(filter)?,
    };
    Ok(Rule::new(name, filter))
}

fn filter(filter: &Element) -> Result<Filter, ApiError> {
    match filter.type_name() {
        "TrueFilter" => Ok(Filter::True),
        "FalseFilter" => Ok(Filter::False),
        "CorrelationFilter" => correlation_filter(filter).map(Filter::from),
        "SqlFilter" => {
            // Some clients write the constant filters as SQL.
            let expression = filter.child_text("SqlExpression").unwrap_or_default();
            match expression.replace(' ', "").as_str() {
                "1=1" => Ok(Filter::True),
                "1=0" => Ok(Filter::False),
                _ => Err(ApiError::not_implemented("SqlFilter")),
            }
        }
        other => Err(ApiError::bad_value("Filter", other)),
    }
}

fn correlation_filter(filter: &Element) -> Result<CorrelationFilter, ApiError> {
    let text =
        |name: &str| filter.child(name).map(|child| child.text.clone()).filter(|t| !t.is_empty());
    let mut properties = std::collections::BTreeMap::new();
    for pair in filter.child("Properties").map_or(&[][..], |properties| &properties.children) {
        let (Some(key), Some(value)) = (pair.child("Key"), pair.child("Value")) else {
            return Err(ApiError::bad_value("Properties", &pair.name));
        };
        properties.insert(key.text.clone(), property_value(value)?);
    }
    Ok(CorrelationFilter {
        correlation_id: text("CorrelationId"),
        message_id: text("MessageId"),
        to: text("To"),
        reply_to: text("ReplyTo"),
        subject: text("Label"),
        session_id: text("SessionId"),
        reply_to_session_id: text("ReplyToSessionId"),
        content_type: text("ContentType"),
        properties,
    })
}

fn property_value(value: &Element) -> Result<PropertyValue, ApiError> {
    let text = value.text.as_str();
    let bad = || ApiError::bad_value("Value", text);
    Ok(match value.type_name() {
        "string" | "" => PropertyValue::from(text),
        "boolean" => PropertyValue::Bool(matches!(text.trim(), "true" | "True" | "1")),
        "byte" | "short" | "int" | "long" | "unsignedByte" | "unsignedShort" | "unsignedInt" => {
            PropertyValue::Int(text.trim().parse().map_err(|_| bad())?)
        }
        "unsignedLong" => PropertyValue::from(text.trim().parse::<u64>().map_err(|_| bad())?),
        "double" | "float" => PropertyValue::Double(text.trim().parse().map_err(|_| bad())?),
        other => return Err(ApiError::not_implemented(other)),
    })
}

fn duration_child(description: &Element, name: &str) -> Result<Option<Duration>, ApiError> {
    match description.child_text(name) {
        None => Ok(None),
        Some(text) => time::parse_duration(text).ok_or_else(|| ApiError::bad_value(name, text)),
    }
}

fn refuse_true(description: &Element, name: &str) -> Result<(), ApiError> {
    match description.child_text(name) {
        Some("true" | "True" | "1") => Err(ApiError::not_implemented(name)),
        _ => Ok(()),
    }
}
