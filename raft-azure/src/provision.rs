//! What Raft needs to exist on the bus: a topic, and for each server and client a subscription
//! that lets pass only what is meant for it.
//!
//! Guarantees: idempotent, and safe to run from several processes at once; what is already right
//!             is left untouched; afterwards no subscription of ours has a rule beyond ours.
//! Relies on:  rules of one subscription being alternatives: a message that matches two is
//!             delivered once.

use std::time::Duration;

use raft_core::{Address, ServerId};

use crate::admin::{
    Admin, AdminError, CorrelationFilter, Filter, Rule, SubscriptionOptions, TopicOptions,
};

/// Address that reaches every server.
pub const ALL_SERVERS: &str = Address::ALL_SERVERS_NAME;
/// The rule for messages to one server or client.
const TO_ME: &str = "to-me";
/// The rule for messages to all servers.
const TO_ALL: &str = "to-all";

/// Name of a server's subscription, which is also its address.
pub fn server_address(server: u64) -> String {
    Address::Server(ServerId(server)).routing_name()
}

/// Properties of what is created. What exists keeps its own.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ProvisionOptions {
    /// For the topic.
    pub topic: TopicOptions,
    /// For a server's subscription; its `first_rule` is ours.
    pub server: SubscriptionOptions,
    /// For a client's subscription; its `first_rule` is ours.
    pub client: SubscriptionOptions,
}

impl ProvisionOptions {
    /// Messages die after `time_to_live` at the latest, and a client's subscription an hour after
    /// it was last used.
    pub fn with_time_to_live(time_to_live: Duration) -> Self {
        let subscription = SubscriptionOptions {
            default_message_time_to_live: Some(time_to_live),
            ..SubscriptionOptions::default()
        };
        Self {
            topic: TopicOptions {
                default_message_time_to_live: Some(time_to_live),
                ..TopicOptions::default()
            },
            server: subscription.clone(),
            client: SubscriptionOptions {
                auto_delete_on_idle: Some(Duration::from_secs(3600)),
                ..subscription
            },
        }
    }
}

/// What [`provision`] had to change; nothing, the second time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Provisioned {
    /// The topic was created.
    pub topic_created: bool,
    /// Subscriptions that were created.
    pub subscriptions_created: Vec<String>,
    /// Rules that were created, as `subscription/rule`.
    pub rules_created: Vec<String>,
    /// Rules that were deleted, as `subscription/rule`.
    pub rules_deleted: Vec<String>,
}

/// Why provisioning stopped. What was done until then stays, and the next run goes on from there.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ProvisionError {
    /// The key lacks the Manage right.
    #[error("topic {topic} does not exist and this key may not create it")]
    MayNotCreate {
        /// The topic.
        topic: String,
        /// What the service said.
        source: AdminError,
    },
    /// Any other failure.
    #[error(transparent)]
    Admin(#[from] AdminError),
}

/// Makes sure that the topic exists with a subscription for each server (addresses `server` and
/// [`ALL_SERVERS`]) and for each client (its own address only).
///
/// # Errors
/// [`ProvisionError::MayNotCreate`] if the topic is missing and the key cannot create it; else the
/// first [`AdminError`].
pub async fn provision(
    admin: &Admin,
    topic: &str,
    servers: &[String],
    clients: &[String],
    options: &ProvisionOptions,
) -> Result<Provisioned, ProvisionError> {
    let mut done = Provisioned::default();
    ensure_topic(admin, topic, &options.topic, &mut done).await?;
    let existing = admin.subscriptions(topic).await?;
    for server in servers {
        let rules = [rule(TO_ME, server), rule(TO_ALL, ALL_SERVERS)];
        let new = (!existing.contains(server)).then_some(&options.server);
        ensure_subscription(admin, topic, server, new, &rules, &mut done).await?;
    }
    for client in clients {
        let rules = [rule(TO_ME, client)];
        let new = (!existing.contains(client)).then_some(&options.client);
        ensure_subscription(admin, topic, client, new, &rules, &mut done).await?;
    }
    Ok(done)
}

fn rule(name: &str, address: &str) -> Rule {
    Rule { name: name.to_owned(), filter: Filter::Correlation(CorrelationFilter::to(address)) }
}

async fn ensure_topic(
    admin: &Admin,
    topic: &str,
    options: &TopicOptions,
    done: &mut Provisioned,
) -> Result<(), ProvisionError> {
    if admin.topic_exists(topic).await? {
        return Ok(());
    }
    match admin.create_topic(topic, options).await {
        Ok(()) => {
            done.topic_created = true;
            Ok(())
        }
        // Somebody else was faster.
        Err(AdminError::Conflict { .. }) => Ok(()),
        Err(source @ AdminError::Unauthorized { .. }) => {
            Err(ProvisionError::MayNotCreate { topic: topic.to_owned(), source })
        }
        Err(error) => Err(error.into()),
    }
}

/// Creates the subscription if `new` says how, and gives it exactly these rules.
async fn ensure_subscription(
    admin: &Admin,
    topic: &str,
    subscription: &str,
    new: Option<&SubscriptionOptions>,
    rules: &[Rule],
    done: &mut Provisioned,
) -> Result<(), ProvisionError> {
    if let Some(options) = new {
        // With a first rule of ours it never has `$Default`, which would let everything pass.
        let options = SubscriptionOptions { first_rule: rules.first().cloned(), ..options.clone() };
        match admin.create_subscription(topic, subscription, &options).await {
            Ok(()) => done.subscriptions_created.push(subscription.to_owned()),
            // Somebody else was faster, and may be busy with its rules.
            Err(AdminError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let existing = admin.rules(topic, subscription).await?;
    // A rule of our name that says something else must go before the right one can come.
    for wrong in existing.iter().filter(|old| is_wrong(old, rules)) {
        delete_rule(admin, topic, subscription, &wrong.name, done).await?;
    }
    // What is missing comes before what is too much goes, so that nothing of ours is missed.
    for missing in rules.iter().filter(|rule| !existing.contains(rule)) {
        match admin.create_rule(topic, subscription, missing).await {
            Ok(()) => done.rules_created.push(format!("{subscription}/{}", missing.name)),
            // Somebody else was faster.
            Err(AdminError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    for extra in existing.iter().filter(|old| rules.iter().all(|rule| rule.name != old.name)) {
        delete_rule(admin, topic, subscription, &extra.name, done).await?;
    }
    Ok(())
}

/// Whether a rule has the name of one of ours and another condition.
fn is_wrong(old: &Rule, rules: &[Rule]) -> bool {
    rules.iter().any(|rule| rule.name == old.name && rule.filter != old.filter)
}

async fn delete_rule(
    admin: &Admin,
    topic: &str,
    subscription: &str,
    rule: &str,
    done: &mut Provisioned,
) -> Result<(), ProvisionError> {
    match admin.delete_rule(topic, subscription, rule).await {
        Ok(()) => {
            done.rules_deleted.push(format!("{subscription}/{rule}"));
            Ok(())
        }
        // Somebody else was faster.
        Err(AdminError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
