//! Managing topics, subscriptions and rules over the Atom/XML API.
//!
//! Guarantees: every request is bounded in time and retried while the service says it is busy; no
//!             error shows a token.
//! Relies on:  a key with the Manage right.
//! Elsewhere:  what Raft needs to exist is in [`mod@crate::provision`].

mod atom;
mod http;
mod xml;

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::{Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use self::http::{Answer, Http};
use self::xml::Element;
use crate::backoff::Backoff;
use crate::connection_string::ConnectionString;
use crate::sas::without_signatures;
use crate::tls::TrustedRoots;
use crate::transport::TransportError;

const API_VERSION: &str = "api-version=2021-05";
/// Entries asked for at once.
const PAGE: usize = 100;
/// Attempts while the service is busy.
const ATTEMPTS_MAX: u32 = 6;
/// Longest time we follow a `Retry-After`.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);
/// What stays as it is in a path segment.
const PATH_ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// How to reach the management API.
#[derive(Debug, Clone)]
pub struct AdminOptions {
    /// Whose certificates to trust.
    pub trusted_roots: TrustedRoots,
    /// Limit for one request.
    pub request_timeout: Duration,
}

impl Default for AdminOptions {
    fn default() -> Self {
        Self { trusted_roots: TrustedRoots::default(), request_timeout: Duration::from_secs(30) }
    }
}

/// Properties of a topic to create. What is not given is up to the service.
#[derive(Debug, Clone, Default)]
pub struct TopicOptions {
    /// Longest life of a message.
    pub default_message_time_to_live: Option<Duration>,
    /// Quota in megabytes.
    pub size_megabytes_max: Option<u32>,
}

/// Properties of a subscription to create. What is not given is up to the service.
#[derive(Debug, Clone, Default)]
pub struct SubscriptionOptions {
    /// How long a receiver may hold a message (peek-lock only).
    pub lock_duration: Option<Duration>,
    /// Longest life of a message in this subscription.
    pub default_message_time_to_live: Option<Duration>,
    /// Delete the subscription after nobody used it for so long (at least 5 minutes).
    pub auto_delete_on_idle: Option<Duration>,
    /// The rule to start with, instead of `$Default`, which lets everything pass.
    pub first_rule: Option<Rule>,
}

/// Which messages a subscription gets a copy of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Name, unique in the subscription.
    pub name: String,
    /// The condition.
    pub filter: Filter,
}

/// The condition of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Filter {
    /// Everything passes.
    True,
    /// Fields must be equal.
    Correlation(CorrelationFilter),
    /// Something we read but never write (the name of its kind).
    Other(String),
}

/// Passes messages whose fields equal all that are given here, case-sensitively.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CorrelationFilter {
    /// Compared with `to`.
    pub to: Option<String>,
    /// Compared with `reply_to`.
    pub reply_to: Option<String>,
    /// Compared with `subject`, which the service also calls label.
    pub subject: Option<String>,
    /// Compared with `message_id`.
    pub message_id: Option<String>,
    /// Compared with `correlation_id`.
    pub correlation_id: Option<String>,
    /// Compared with `content_type`.
    pub content_type: Option<String>,
    /// Compared with application properties, as text.
    pub properties: BTreeMap<String, String>,
}

impl CorrelationFilter {
    /// Passes messages for one address.
    pub fn to(address: impl Into<String>) -> Self {
        Self { to: Some(address.into()), ..Self::default() }
    }

    /// The fields under the names and in the order of the service.
    fn fields(&self) -> [(&'static str, Option<&str>); 6] {
        [
            ("CorrelationId", self.correlation_id.as_deref()),
            ("MessageId", self.message_id.as_deref()),
            ("To", self.to.as_deref()),
            ("ReplyTo", self.reply_to.as_deref()),
            ("Label", self.subject.as_deref()),
            ("ContentType", self.content_type.as_deref()),
        ]
    }
}

/// Why a management request failed. `path` is what it was about.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The management API cannot be reached or does not answer.
    #[error("the management API cannot be used")]
    Transport {
        /// Why.
        #[from]
        source: TransportError,
    },
    /// The name breaks the service's rules.
    #[error("`{name}` is not a valid name: {problem}")]
    InvalidName {
        /// The name.
        name: String,
        /// What is wrong, as a sentence.
        problem: &'static str,
    },
    /// It does not exist.
    #[error("{path} does not exist")]
    NotFound {
        /// Path of the entity.
        path: String,
    },
    /// The key is wrong or lacks the Manage right.
    #[error("the key of the connection string may not manage {path}: {detail}")]
    Unauthorized {
        /// Path of the entity.
        path: String,
        /// What the service said.
        detail: String,
    },
    /// It exists already.
    #[error("{path} exists already")]
    Conflict {
        /// Path of the entity.
        path: String,
    },
    /// The service was busy at every attempt.
    #[error("the management API is too busy for {path}")]
    Throttled {
        /// Path of the entity.
        path: String,
    },
    /// Any other answer.
    #[error("unexpected answer {status} about {path}: {detail}")]
    Unexpected {
        /// Path of the entity.
        path: String,
        /// HTTP status code.
        status: u16,
        /// The start of what the service said.
        detail: String,
    },
}

/// Manages one namespace; cheap to clone.
#[derive(Debug, Clone)]
pub struct Admin {
    http: Http,
}

impl Admin {
    /// Prepares; nothing is sent yet.
    ///
    /// # Errors
    /// [`AdminError::Transport`] if a trusted certificate cannot be read.
    pub fn new(
        connection_string: ConnectionString,
        options: AdminOptions,
    ) -> Result<Self, AdminError> {
        Ok(Self { http: Http::new(connection_string, &options)? })
    }

    /// Whether a topic exists.
    ///
    /// # Errors
    /// See [`AdminError`]; a missing topic is not an error.
    pub async fn topic_exists(&self, topic: &str) -> Result<bool, AdminError> {
        match self.read(&Path::topic(topic)?, "enrich=false").await {
            Ok(answer) => Ok(!atom::entries(&answer).is_empty()),
            Err(AdminError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// [`AdminError::Conflict`] if it exists; see [`AdminError`].
    pub async fn create_topic(
        &self,
        topic: &str,
        options: &TopicOptions,
    ) -> Result<(), AdminError> {
        self.create(&Path::topic(topic)?, atom::topic_entry(options)).await
    }

    /// Deletes a topic with its subscriptions.
    ///
    /// # Errors
    /// [`AdminError::NotFound`] if there is none; see [`AdminError`].
    pub async fn delete_topic(&self, topic: &str) -> Result<(), AdminError> {
        self.delete(&Path::topic(topic)?).await
    }

    /// Names of a topic's subscriptions.
    ///
    /// # Errors
    /// See [`AdminError`]. Whether a missing topic is [`AdminError::NotFound`] or an empty list is
    /// up to the service.
    pub async fn subscriptions(&self, topic: &str) -> Result<Vec<String>, AdminError> {
        let path = Path::topic(topic)?.collection("subscriptions");
        self.list(&path, |entry| atom::title(entry).map(str::to_owned)).await
    }

    /// Creates a subscription.
    ///
    /// # Errors
    /// [`AdminError::Conflict`] if it exists; see [`AdminError`].
    pub async fn create_subscription(
        &self,
        topic: &str,
        subscription: &str,
        options: &SubscriptionOptions,
    ) -> Result<(), AdminError> {
        let path = Path::subscription(topic, subscription)?;
        self.create(&path, atom::subscription_entry(options)).await
    }

    /// Deletes a subscription with its rules and messages.
    ///
    /// # Errors
    /// [`AdminError::NotFound`] if there is none; see [`AdminError`].
    pub async fn delete_subscription(
        &self,
        topic: &str,
        subscription: &str,
    ) -> Result<(), AdminError> {
        self.delete(&Path::subscription(topic, subscription)?).await
    }

    /// The rules of a subscription.
    ///
    /// # Errors
    /// [`AdminError::NotFound`] if there is no such subscription; see [`AdminError`].
    pub async fn rules(&self, topic: &str, subscription: &str) -> Result<Vec<Rule>, AdminError> {
        let path = Path::subscription(topic, subscription)?.collection("rules");
        self.list(&path, atom::rule).await
    }

    /// Adds a rule to a subscription.
    ///
    /// # Errors
    /// [`AdminError::Conflict`] if there is one of that name; see [`AdminError`].
    pub async fn create_rule(
        &self,
        topic: &str,
        subscription: &str,
        rule: &Rule,
    ) -> Result<(), AdminError> {
        let path = Path::rule(topic, subscription, &rule.name)?;
        self.create(&path, atom::rule_entry(rule)).await
    }

    /// Removes a rule from a subscription.
    ///
    /// # Errors
    /// [`AdminError::NotFound`] if there is none; see [`AdminError`].
    pub async fn delete_rule(
        &self,
        topic: &str,
        subscription: &str,
        rule: &str,
    ) -> Result<(), AdminError> {
        self.delete(&Path::rule(topic, subscription, rule)?).await
    }

    async fn read(&self, path: &Path, query: &str) -> Result<Element, AdminError> {
        let answer = self.request(Method::GET, path, query, "").await?;
        Element::parse(&answer.body).ok_or_else(|| AdminError::Unexpected {
            path: path.shown.clone(),
            status: answer.status.as_u16(),
            detail: "the answer is not XML".to_owned(),
        })
    }

    async fn list<T>(
        &self,
        path: &Path,
        read: impl Fn(&Element) -> Option<T>,
    ) -> Result<Vec<T>, AdminError> {
        let mut items = Vec::new();
        let mut skip = 0;
        loop {
            let feed = self.read(path, &format!("$skip={skip}&$top={PAGE}")).await?;
            let entries = atom::entries(&feed);
            items.extend(entries.iter().copied().filter_map(&read));
            if entries.len() < PAGE {
                return Ok(items);
            }
            skip += PAGE;
        }
    }

    async fn create(&self, path: &Path, body: String) -> Result<(), AdminError> {
        tracing::debug!(path = path.shown, "creating");
        self.request(Method::PUT, path, "", &body).await.map(drop)
    }

    async fn delete(&self, path: &Path) -> Result<(), AdminError> {
        tracing::debug!(path = path.shown, "deleting");
        self.request(Method::DELETE, path, "", "").await.map(drop)
    }

    /// Sends a request, again while the service is busy, and sorts its answer.
    async fn request(
        &self,
        method: Method,
        path: &Path,
        query: &str,
        body: &str,
    ) -> Result<Answer, AdminError> {
        let query = match query {
            "" => API_VERSION.to_owned(),
            query => format!("{query}&{API_VERSION}"),
        };
        let seed = u64::from(std::process::id());
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(8), seed);
        for _ in 0..ATTEMPTS_MAX {
            // A token for the topic covers all below it, and a key may be limited to the topic.
            let target = format!("{}?{query}", path.encoded);
            let body = body.to_owned();
            let answer = self.http.request(method.clone(), &path.topic, &target, body).await?;
            if !is_busy(&answer) {
                return sort(answer, path);
            }
            let wait = backoff.next_wait().max(answer.retry_after.unwrap_or_default());
            tracing::debug!(path = path.shown, ?wait, "the management API is busy");
            tokio::time::sleep(wait.min(RETRY_AFTER_MAX)).await;
        }
        Err(AdminError::Throttled { path: path.shown.clone() })
    }
}

/// Whether the service wants to be asked again: it is busy, or busy with this very entity.
fn is_busy(answer: &Answer) -> bool {
    matches!(answer.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
        || (answer.status == StatusCode::CONFLICT && answer.body.contains("SubCode=40901"))
}

fn sort(answer: Answer, path: &Path) -> Result<Answer, AdminError> {
    let path = path.shown.clone();
    match answer.status {
        status if status.is_success() => Ok(answer),
        StatusCode::NOT_FOUND | StatusCode::GONE => Err(AdminError::NotFound { path }),
        StatusCode::CONFLICT => Err(AdminError::Conflict { path }),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Err(AdminError::Unauthorized { path, detail: detail(&answer.body) })
        }
        status => Err(AdminError::Unexpected {
            path,
            status: status.as_u16(),
            detail: detail(&answer.body),
        }),
    }
}

/// The service's own words, or the start of whatever came.
fn detail(body: &str) -> String {
    let error = Element::parse(body);
    let text = error.as_ref().and_then(|error| error.child_text("Detail")).unwrap_or(body);
    let line = without_signatures(text).split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Path of an entity, as shown to people and as sent, and the topic it belongs to.
#[derive(Debug, Clone)]
struct Path {
    shown: String,
    encoded: String,
    topic: String,
}

impl Path {
    fn topic(topic: &str) -> Result<Self, AdminError> {
        check_name(topic, 260, true)?;
        let segments = topic.split('/').map(|part| utf8_percent_encode(part, PATH_ENCODED));
        let encoded = segments.fold(String::new(), |path, segment| format!("{path}/{segment}"));
        Ok(Self { shown: topic.to_owned(), encoded, topic: topic.to_owned() })
    }

    fn subscription(topic: &str, subscription: &str) -> Result<Self, AdminError> {
        check_name(subscription, 50, false)?;
        Ok(Self::topic(topic)?.collection("subscriptions").collection(subscription))
    }

    fn rule(topic: &str, subscription: &str, rule: &str) -> Result<Self, AdminError> {
        if rule != "$Default" {
            check_name(rule, 50, false)?;
        }
        Ok(Self::subscription(topic, subscription)?.collection("rules").collection(rule))
    }

    fn collection(self, name: &str) -> Self {
        let encoded = utf8_percent_encode(name, PATH_ENCODED);
        let encoded = format!("{}/{encoded}", self.encoded);
        Self { shown: format!("{}/{name}", self.shown), encoded, topic: self.topic }
    }
}

fn check_name(name: &str, length_max: usize, is_path: bool) -> Result<(), AdminError> {
    let is_allowed =
        |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c) || (is_path && c == '/');
    let problem = if name.is_empty() {
        "it is empty"
    } else if name.len() > length_max {
        "it is too long"
    } else if !name.chars().all(is_allowed) {
        "only letters, digits, `.`, `-` and `_` are allowed"
    } else if name.split('/').any(|part| part.is_empty() || part.chars().all(|c| c == '.')) {
        "each part needs a letter or digit"
    } else {
        return Ok(());
    };
    Err(AdminError::InvalidName { name: name.to_owned(), problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_before_anything_is_sent() {
        for good in ["rafttopic", "a/b-c_d.e", "X"] {
            assert!(Path::topic(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a//b", "../x", "/a", "a?b", "t#", &"x".repeat(261)] {
            assert!(matches!(Path::topic(bad), Err(AdminError::InvalidName { .. })), "{bad}");
        }
        assert!(Path::subscription("t", &"x".repeat(51)).is_err());
        let path = Path::rule("t", "server-1", "$Default").expect("the service's own name");
        assert_eq!(path.encoded, "/t/subscriptions/server-1/rules/%24Default");
    }

    #[test]
    fn details_are_the_services_words_short_and_clean() {
        let body = "<Error><Code>401</Code><Detail>Bad token\n sig=abc&amp;se=1</Detail></Error>";
        assert_eq!(detail(body), "Bad token sig=<redacted>&se=1");
        assert_eq!(detail("not xml"), "not xml");
        assert!(detail(&"é".repeat(500)).chars().count() == 201);
    }
}
