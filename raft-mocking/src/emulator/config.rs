//! `Config.json` of Microsoft's emulator, as it is: which entities there are at the start.
//!
//! Guarantees: a file that is wrong creates nothing, and the error names the line.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer};

use super::management::time::parse_duration;
use super::sas;
use crate::broker::{
    Broker, BrokerError, CorrelationFilter, EntityStatus, Filter, PropertyValue, QueueOptions,
    Rule, SqlAction, SqlFilter, SubscriptionOptions, TopicOptions,
};

/// Entities for an emulator to start with.
///
/// ```
/// use raft_mocking::emulator::Config;
///
/// let text = r#"{"UserConfig": {"Namespaces": [{"Name": "n", "Queues": [{"Name": 7}]}]}}"#;
/// let error = Config::from_json(text).unwrap_err();
/// assert!(error.to_string().contains("line 1"));
/// ```
#[derive(Debug, Clone)]
pub struct Config {
    text: String,
    namespace: Namespace,
}

/// Why a `Config.json` is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The text is not what it should be.
    #[error("line {line}: {reason}")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// An entity is refused.
    #[error("line {line}: '{entity}' cannot be created")]
    Entity {
        /// Where its name is, counted from 1.
        line: usize,
        /// Its name.
        entity: String,
        /// Why.
        #[source]
        source: BrokerError,
    },
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", expecting = "an object with \"UserConfig\"")]
struct Document {
    user_config: UserConfig,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", expecting = "an object with \"Namespaces\"")]
struct UserConfig {
    namespaces: Vec<Namespace>,
    /// Where Microsoft's emulator writes its log; ours goes to standard error.
    #[serde(default, rename = "Logging")]
    _logging: Option<IgnoredAny>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, expecting = "the object of a namespace")]
struct Namespace {
    #[serde(rename = "Name")]
    _name: String,
    #[serde(default)]
    queues: Vec<Queue>,
    #[serde(default)]
    topics: Vec<Topic>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, expecting = "the object of a queue")]
struct Queue {
    name: String,
    #[serde(default)]
    properties: Properties,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, expecting = "the object of a topic")]
struct Topic {
    name: String,
    #[serde(default)]
    properties: Properties,
    #[serde(default)]
    subscriptions: Vec<Subscription>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, expecting = "the object of a subscription")]
struct Subscription {
    name: String,
    #[serde(default)]
    properties: Properties,
    #[serde(default)]
    rules: Vec<ConfigRule>,
}

/// Those of queues, topics and subscriptions alike.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(
    rename_all = "PascalCase",
    deny_unknown_fields,
    default,
    expecting = "an object of properties"
)]
struct Properties {
    #[serde(deserialize_with = "duration")]
    auto_delete_on_idle: Option<Duration>,
    dead_lettering_on_filter_evaluation_exceptions: bool,
    dead_lettering_on_message_expiration: bool,
    #[serde(deserialize_with = "duration")]
    default_message_time_to_live: Option<Duration>,
    #[serde(deserialize_with = "duration")]
    duplicate_detection_history_time_window: Option<Duration>,
    #[serde(rename = "EnableBatchedOperations")]
    _enable_batched_operations: Option<IgnoredFlag>,
    #[serde(rename = "EnablePartitioning")]
    _enable_partitioning: Option<IgnoredFlag>,
    forward_dead_lettered_messages_to: String,
    forward_to: String,
    #[serde(deserialize_with = "duration")]
    lock_duration: Option<Duration>,
    max_delivery_count: Option<u32>,
    max_size_in_megabytes: Option<u64>,
    requires_duplicate_detection: bool,
    requires_session: bool,
    #[serde(deserialize_with = "status")]
    status: EntityStatus,
    user_metadata: Option<String>,
}

/// A setting without effect here.
#[derive(Debug, Clone, Deserialize)]
struct IgnoredFlag(#[expect(dead_code, reason = "it is only to be a truth value")] bool);

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct ConfigRule {
    name: String,
    #[serde(deserialize_with = "rule_filter")]
    properties: (Filter, Option<SqlAction>),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct RuleProperties {
    filter_type: String,
    #[serde(default)]
    correlation_filter: Option<Correlation>,
    #[serde(default)]
    sql_filter: Option<Sql>,
    #[serde(default)]
    action: Option<Sql>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
struct Correlation {
    content_type: Option<String>,
    correlation_id: Option<String>,
    label: Option<String>,
    message_id: Option<String>,
    reply_to: Option<String>,
    reply_to_session_id: Option<String>,
    session_id: Option<String>,
    to: Option<String>,
    properties: BTreeMap<String, serde_json::Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Sql {
    sql_expression: String,
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    parse_duration(&text)
        .ok_or_else(|| D::Error::custom(format!("'{text}' is no duration such as PT1M")))
}

fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EntityStatus, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.as_str() {
        "Active" => Ok(EntityStatus::Active),
        "Disabled" => Ok(EntityStatus::Disabled),
        "SendDisabled" => Ok(EntityStatus::SendDisabled),
        "ReceiveDisabled" => Ok(EntityStatus::ReceiveDisabled),
        _ => Err(D::Error::custom(format!("'{text}' is no status of an entity"))),
    }
}

fn rule_filter<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<(Filter, Option<SqlAction>), D::Error> {
    let properties = RuleProperties::deserialize(deserializer)?;
    let action = match properties.action {
        Some(Sql { sql_expression }) if !sql_expression.is_empty() => {
            Some(SqlAction::new(sql_expression).map_err(D::Error::custom)?)
        }
        _ => None,
    };
    let filter = match properties.filter_type.as_str() {
        "Correlation" => {
            let filter = properties.correlation_filter;
            let filter = filter.ok_or_else(|| D::Error::missing_field("CorrelationFilter"))?;
            correlation(filter).map_err(D::Error::custom)?.into()
        }
        "Sql" => {
            let filter = properties.sql_filter;
            let filter = filter.ok_or_else(|| D::Error::missing_field("SqlFilter"))?;
            SqlFilter::new(filter.sql_expression).map_err(D::Error::custom)?.into()
        }
        other => {
            let error = format!("the FilterType '{other}' is neither 'Correlation' nor 'Sql'");
            return Err(D::Error::custom(error));
        }
    };
    Ok((filter, action))
}

fn correlation(filter: Correlation) -> Result<CorrelationFilter, String> {
    let property = |(name, value): (String, serde_json::Value)| {
        let value = match &value {
            serde_json::Value::String(text) => PropertyValue::from(text.as_str()),
            serde_json::Value::Bool(truth) => PropertyValue::Bool(*truth),
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => PropertyValue::Int(whole),
                (None, Some(number)) => PropertyValue::Double(number),
                (None, None) => return Err(format!("the property '{name}' is too large")),
            },
            _ => return Err(format!("the property '{name}' is no text, number or truth value")),
        };
        Ok((name, value))
    };
    Ok(CorrelationFilter {
        correlation_id: filter.correlation_id,
        message_id: filter.message_id,
        to: filter.to,
        reply_to: filter.reply_to,
        subject: filter.label,
        session_id: filter.session_id,
        reply_to_session_id: filter.reply_to_session_id,
        content_type: filter.content_type,
        properties: filter.properties.into_iter().map(property).collect::<Result<_, _>>()?,
    })
}

impl Properties {
    fn duplicate_window(&self) -> Option<Duration> {
        let window = self.duplicate_detection_history_time_window;
        let default = Duration::from_secs(600);
        self.requires_duplicate_detection.then_some(window.unwrap_or(default))
    }

    fn bytes_max(&self) -> Option<u64> {
        self.max_size_in_megabytes.map(|megabytes| megabytes.saturating_mul(1 << 20))
    }

    fn topic(&self) -> TopicOptions {
        TopicOptions {
            default_message_time_to_live: self.default_message_time_to_live,
            bytes_max: self.bytes_max(),
            duplicate_window: self.duplicate_window(),
            auto_delete_on_idle: self.auto_delete_on_idle,
            status: self.status,
            user_metadata: self.user_metadata.clone(),
        }
    }

    fn delivery(&self) -> SubscriptionOptions {
        let defaults = SubscriptionOptions::default();
        let target =
            |name: &String| (!name.is_empty()).then(|| sas::entity_address(name).to_owned());
        SubscriptionOptions {
            default_message_time_to_live: self.default_message_time_to_live,
            lock_duration: self.lock_duration.unwrap_or(defaults.lock_duration),
            max_delivery_count: self.max_delivery_count.unwrap_or(defaults.max_delivery_count),
            requires_session: self.requires_session,
            dead_letters_expired: self.dead_lettering_on_message_expiration,
            dead_letters_filter_errors: self.dead_lettering_on_filter_evaluation_exceptions,
            forward_to: target(&self.forward_to),
            forward_dead_letters_to: target(&self.forward_dead_lettered_messages_to),
            auto_delete_on_idle: self.auto_delete_on_idle,
            status: self.status,
            user_metadata: self.user_metadata.clone(),
        }
    }

    fn queue(&self) -> QueueOptions {
        QueueOptions {
            bytes_max: self.bytes_max(),
            duplicate_window: self.duplicate_window(),
            delivery: self.delivery(),
        }
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or is not what it should be.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let failed = |source| ConfigError::Read { path: path.display().to_string(), source };
        Self::from_json(&std::fs::read_to_string(path).map_err(failed)?)
    }

    /// Reads the text of such a file.
    ///
    /// # Errors
    /// It is not what it should be.
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        // Editors of some systems begin a file with a mark.
        let text = text.trim_start_matches('\u{feff}');
        let document: Document = serde_json::from_str(text).map_err(|error| {
            let reason = error.to_string();
            let place = format!(" at line {} column {}", error.line(), error.column());
            ConfigError::Malformed {
                line: error.line().max(1),
                reason: reason.strip_suffix(&place).unwrap_or(&reason).to_owned(),
            }
        })?;
        let mut namespaces = document.user_config.namespaces.into_iter();
        let namespace = namespaces.next().unwrap_or_default();
        if namespaces.next().is_some() {
            let reason = "there is more than one namespace; the emulator is one".to_owned();
            let line = text.lines().position(|line| line.contains("\"Namespaces\"")).unwrap_or(0);
            return Err(ConfigError::Malformed { line: line + 1, reason });
        }
        Ok(Self { text: text.to_owned(), namespace })
    }

    /// Creates the entities: all of them, or none.
    ///
    /// # Errors
    /// One of them is refused.
    pub(super) fn create(&self, broker: &mut Broker, now: Duration) -> Result<(), ConfigError> {
        let mut draft = broker.clone();
        let Namespace { queues, topics, .. } = &self.namespace;
        for queue in queues {
            // What they forward to may come later.
            let mut options = queue.properties.queue();
            options.delivery.forward_to = None;
            options.delivery.forward_dead_letters_to = None;
            let created = draft.create_queue(now, &queue.name, options);
            created.map_err(|error| self.refused(&queue.name, error))?;
        }
        for topic in topics {
            let created = draft.create_topic(now, &topic.name, topic.properties.topic());
            created.map_err(|error| self.refused(&topic.name, error))?;
        }
        for queue in queues {
            let updated = draft.update_queue(now, &queue.name, queue.properties.queue());
            updated.map_err(|error| self.refused(&queue.name, error))?;
        }
        for topic in topics {
            for subscription in &topic.subscriptions {
                let created = create_subscription(&mut draft, now, &topic.name, subscription);
                created.map_err(|error| self.refused(&subscription.name, error))?;
            }
        }
        *broker = draft;
        Ok(())
    }

    fn refused(&self, entity: &str, source: BrokerError) -> ConfigError {
        let quoted = format!("\"{entity}\"");
        let line = self.text.lines().position(|line| line.contains(&quoted)).unwrap_or(0) + 1;
        ConfigError::Entity { line, entity: entity.to_owned(), source }
    }
}

fn create_subscription(
    broker: &mut Broker,
    now: Duration,
    topic: &str,
    subscription: &Subscription,
) -> Result<(), BrokerError> {
    let Subscription { name, properties, rules } = subscription;
    broker.create_subscription(now, topic, name, properties.delivery())?;
    if !rules.is_empty() {
        broker.remove_rule(topic, name, Rule::DEFAULT_NAME)?;
    }
    for rule in rules {
        let (filter, action) = rule.properties.clone();
        let rule = Rule { name: rule.name.clone(), filter, action };
        broker.add_rule(topic, name, rule)?;
    }
    Ok(())
}
