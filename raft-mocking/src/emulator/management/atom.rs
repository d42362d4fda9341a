//! Entries and feeds: the documents in which entities are described.
//!
//! Elsewhere:  queues, topics and subscriptions are in [`super::entity`], rules in [`super::rule`].

use std::time::Duration;

use super::xml::{Element, XmlWriter};
use super::{ApiError, entity, rule, time};
use crate::broker::{QueueInfo, Rule, SubscriptionInfo, TopicInfo};

const ATOM: &str = "http://www.w3.org/2005/Atom";
const SERVICE_BUS: &str = "http://schemas.microsoft.com/netservices/2010/10/servicebus/connect";
const INSTANCE: &str = "http://www.w3.org/2001/XMLSchema-instance";
pub(super) const SCHEMA: &str = "http://www.w3.org/2001/XMLSchema";

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
    Queue(QueueInfo),
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

/// A list of entries as a document; `next` is where the next page is.
pub(super) fn feed_document(
    title: &str,
    now: Duration,
    entries: &[Entry],
    next: Option<&str>,
) -> String {
    let mut xml = XmlWriter::default();
    xml.element("feed", &[("xmlns", ATOM)], |xml| {
        xml.element("title", &[("type", "text")], |xml| xml.text(title));
        xml.leaf("id", &format!("http://localhost/{title}"));
        xml.leaf("updated", &time::date_time(now));
        if let Some(next) = next {
            xml.element("link", &[("rel", "next"), ("href", next)], |_| {});
        }
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
            Description::Queue(queue) => entity::put_queue(xml, queue),
            Description::Topic(topic) => entity::put_topic(xml, topic),
            Description::Subscription(subscription) => entity::put_subscription(xml, subscription),
            Description::Rule(rule) => rule::put_rule(xml, &created_at, rule),
        });
    });
}

/// Python finds nothing unless the description itself declares the namespace.
pub(super) const DESCRIPTION: [(&str, &str); 2] = [("xmlns", SERVICE_BUS), ("xmlns:i", INSTANCE)];

fn put_namespace(xml: &mut XmlWriter, created_at: &str) {
    xml.element("NamespaceInfo", &DESCRIPTION, |xml| {
        xml.leaf("CreatedTime", created_at);
        xml.leaf("MessagingSKU", "Standard");
        xml.leaf("ModifiedTime", created_at);
        xml.leaf("Name", "localhost");
        xml.leaf("NamespaceType", "Messaging");
    });
}

/// The description inside an entry, of which the root may be either.
pub(super) fn description<'a>(root: &'a Element, name: &str) -> Result<&'a Element, ApiError> {
    let content = root.child("content").unwrap_or(root);
    let found = if content.name == name { Some(content) } else { content.child(name) };
    found.ok_or_else(|| ApiError::bad_request(format!("The body has no element '{name}'.")))
}
