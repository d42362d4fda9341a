//! What requests do: entities read, created, changed and deleted.

use std::time::Duration;

use hyper::StatusCode;
use percent_encoding::percent_decode_str;

use super::atom::{self, Description, Entry};
use super::xml::Element;
use super::{ApiError, Resource, entity, not_allowed, rule};
use crate::broker::{Broker, BrokerError, QueueInfo, Rule, SubscriptionInfo, TopicInfo};
use crate::emulator::listener::Host;

/// The largest page of a list, and the default.
const PAGE_MAX: usize = 100;

/// Which part of a list is wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page {
    skip: usize,
    top: usize,
}

impl Page {
    pub(super) fn from_query(query: &str) -> Self {
        let mut page = Self { skip: 0, top: PAGE_MAX };
        for pair in query.split('&') {
            let pair = percent_decode_str(pair).decode_utf8_lossy();
            match pair.split_once('=') {
                Some(("$skip", value)) => page.skip = value.parse().unwrap_or(0),
                Some(("$top", value)) => page.top = value.parse().unwrap_or(PAGE_MAX).min(PAGE_MAX),
                _ => {}
            }
        }
        page
    }

    /// The items of the page, and where the next one is, if there is any.
    fn of<T>(self, path: &str, items: impl IntoIterator<Item = T>) -> (Vec<T>, Option<String>) {
        let mut items = items.into_iter().skip(self.skip);
        let page: Vec<_> = items.by_ref().take(self.top).collect();
        let next = items.next().map(|_| {
            let skip = self.skip + self.top;
            format!("http://localhost/{path}?$skip={skip}&$top={}&api-version=2021-05", self.top)
        });
        (page, next)
    }
}

pub(super) fn get(
    host: &Host,
    resource: &Resource,
    page: Page,
) -> Result<(StatusCode, String), ApiError> {
    let body = host.bus.with_broker(|broker, now| {
        let feed = |title: &str, path: &str, entries: Vec<Entry>| {
            let (entries, next) = page.of(path, entries);
            atom::feed_document(title, now, &entries, next.as_deref())
        };
        let path = resource.entity();
        let body = match resource {
            Resource::Namespace => atom::entry_document(&Entry {
                path: "$namespaceinfo".to_owned(),
                title: "localhost".to_owned(),
                created_at: now,
                description: Description::Namespace,
            }),
            Resource::Topics => {
                feed("Topics", "$Resources/topics", broker.topics().map(topic_entry).collect())
            }
            Resource::Queues => {
                feed("Queues", "$Resources/queues", broker.queues().map(queue_entry).collect())
            }
            Resource::Entity(name) => atom::entry_document(&entity_entry(broker, name)?),
            Resource::Subscriptions(topic) => {
                let all = broker.subscriptions(topic)?.into_iter().map(subscription_entry);
                feed("Subscriptions", &format!("{path}/Subscriptions"), all.collect())
            }
            Resource::Subscription(topic, name) => {
                atom::entry_document(&subscription_entry(broker.subscription(topic, name)?))
            }
            Resource::Rules(topic, name) => {
                let created_at = broker.subscription(topic, name)?.created_at;
                let all = broker.rules(topic, name)?.into_iter();
                let entries = all.map(|rule| rule_entry(&path, created_at, rule)).collect();
                feed("Rules", &format!("{path}/Rules"), entries)
            }
            Resource::Rule(topic, name, rule) => {
                let created_at = broker.subscription(topic, name)?.created_at;
                let all = broker.rules(topic, name)?;
                let found = all.into_iter().find(|known| known.name.eq_ignore_ascii_case(rule));
                let not_found = || BrokerError::NotFound { path: format!("{path}/Rules/{rule}") };
                let found = found.ok_or_else(not_found)?;
                atom::entry_document(&rule_entry(&path, created_at, found))
            }
        };
        broker.record_management_read(&path);
        Ok::<_, ApiError>(body)
    })?;
    Ok((StatusCode::OK, body))
}

pub(super) fn put(
    host: &Host,
    resource: &Resource,
    root: &Element,
    is_update: bool,
) -> Result<(StatusCode, String), ApiError> {
    let body = host.bus.with_broker(|broker, now| {
        Ok::<_, ApiError>(match resource {
            Resource::Entity(name) => {
                if let Ok(description) = atom::description(root, "QueueDescription") {
                    let options = entity::queue_options(description)?;
                    if is_update {
                        broker.update_queue(now, name, options)?;
                    } else {
                        broker.create_queue(now, name, options)?;
                    }
                } else {
                    let description = atom::description(root, "TopicDescription")?;
                    let options = entity::topic_options(description)?;
                    if is_update {
                        broker.update_topic(now, name, options)?;
                    } else {
                        broker.create_topic(now, name, options)?;
                    }
                }
                atom::entry_document(&entity_entry(broker, name)?)
            }
            Resource::Subscription(topic, name) => {
                let description = atom::description(root, "SubscriptionDescription")?;
                let options = entity::subscription_options(description)?;
                let first_rule = description.child("DefaultRuleDescription");
                let first_rule = first_rule.map(|first| rule::rule(first, None)).transpose()?;
                match first_rule {
                    _ if is_update => broker.update_subscription(now, topic, name, options)?,
                    None => broker.create_subscription(now, topic, name, options).map(drop)?,
                    Some(rule) => broker
                        .create_subscription_with_rule(now, topic, name, options, rule)
                        .map(drop)?,
                }
                atom::entry_document(&subscription_entry(broker.subscription(topic, name)?))
            }
            Resource::Rule(topic, name, rule) => {
                let description = atom::description(root, "RuleDescription")?;
                let rule = rule::rule(description, Some(rule))?;
                if is_update {
                    broker.update_rule(topic, name, rule.clone())?;
                } else {
                    broker.add_rule(topic, name, rule.clone())?;
                }
                atom::entry_document(&rule_entry(&resource.entity(), now, rule))
            }
            Resource::Namespace
            | Resource::Topics
            | Resource::Queues
            | Resource::Subscriptions(_)
            | Resource::Rules(..) => return Err(not_allowed()),
        })
    })?;
    Ok((if is_update { StatusCode::OK } else { StatusCode::CREATED }, body))
}

pub(super) fn delete(host: &Host, resource: &Resource) -> Result<(StatusCode, String), ApiError> {
    host.bus.with_broker(|broker, _| match resource {
        Resource::Entity(name) if broker.queue(name).is_ok() => Ok(broker.delete_queue(name)?),
        Resource::Entity(name) => Ok(broker.delete_topic(name)?),
        Resource::Subscription(topic, name) => Ok(broker.delete_subscription(topic, name)?),
        Resource::Rule(topic, name, rule) => Ok(broker.remove_rule(topic, name, rule)?),
        Resource::Namespace
        | Resource::Topics
        | Resource::Queues
        | Resource::Subscriptions(_)
        | Resource::Rules(..) => Err(not_allowed()),
    })?;
    Ok((StatusCode::OK, String::new()))
}

/// A queue or topic, whichever has the name.
fn entity_entry(broker: &Broker, name: &str) -> Result<Entry, BrokerError> {
    broker.queue(name).map(queue_entry).or_else(|_| broker.topic(name).map(topic_entry))
}

fn queue_entry(queue: QueueInfo) -> Entry {
    Entry {
        path: queue.name.clone(),
        title: queue.name.clone(),
        created_at: queue.created_at,
        description: Description::Queue(queue),
    }
}

fn topic_entry(topic: TopicInfo) -> Entry {
    Entry {
        path: topic.name.clone(),
        title: topic.name.clone(),
        created_at: topic.created_at,
        description: Description::Topic(topic),
    }
}

fn subscription_entry(subscription: SubscriptionInfo) -> Entry {
    Entry {
        path: format!("{}/Subscriptions/{}", subscription.topic, subscription.name),
        title: subscription.name.clone(),
        created_at: subscription.created_at,
        description: Description::Subscription(subscription),
    }
}

fn rule_entry(subscription: &str, created_at: Duration, rule: Rule) -> Entry {
    Entry {
        path: format!("{subscription}/Rules/{}", rule.name),
        title: rule.name.clone(),
        created_at,
        description: Description::Rule(rule),
    }
}
