//! Rules: which messages a subscription gets a copy of.
//!
//! Guarantees: a correlation filter compares for equality only and with regard to case; all its
//! conditions must hold; the rules of one subscription that have no action are OR-ed into a single
//! copy, and each rule with an action makes one of its own.

use std::collections::BTreeMap;

use super::message::{BusMessage, PropertyValue};
use super::sql::{EvaluationError, SqlAction, SqlFilter};

/// A named filter of a subscription.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Unique within the subscription, whatever its case.
    pub name: String,
    /// What it lets through.
    pub filter: Filter,
    /// What it changes in a copy of its own of what it lets through.
    pub action: Option<SqlAction>,
}

impl Rule {
    /// The name of the rule that a new subscription starts with.
    pub const DEFAULT_NAME: &'static str = "$Default";

    /// A rule with this name and filter.
    pub fn new(name: impl Into<String>, filter: impl Into<Filter>) -> Self {
        Self { name: name.into(), filter: filter.into(), action: None }
    }

    /// The same rule with an action: its copy is another one than that of the rules without.
    #[must_use]
    pub fn with_action(mut self, action: SqlAction) -> Self {
        self.action = Some(action);
        self
    }
}

/// What a rule lets through.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Filter {
    /// Every message.
    True,
    /// No message.
    False,
    /// Messages with given properties.
    Correlation(Box<CorrelationFilter>),
    /// Messages for which a condition holds.
    Sql(Box<SqlFilter>),
}

impl Filter {
    /// Whether a subscription with this filter gets a copy of `message`.
    ///
    /// # Errors
    /// A condition in SQL cannot be computed for the message.
    pub fn matches(&self, message: &BusMessage) -> Result<bool, EvaluationError> {
        match self {
            Self::True => Ok(true),
            Self::False => Ok(false),
            Self::Correlation(filter) => Ok(filter.matches(message)),
            Self::Sql(filter) => filter.matches(message),
        }
    }
}

impl From<SqlFilter> for Filter {
    fn from(filter: SqlFilter) -> Self {
        Self::Sql(Box::new(filter))
    }
}

impl From<CorrelationFilter> for Filter {
    fn from(filter: CorrelationFilter) -> Self {
        Self::Correlation(Box::new(filter))
    }
}

/// Equality on the documented fields and on application properties; all that are set must match.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CorrelationFilter {
    /// Must equal the message's correlation id.
    pub correlation_id: Option<String>,
    /// Must equal the message id.
    pub message_id: Option<String>,
    /// Must equal the address.
    pub to: Option<String>,
    /// Must equal the reply address.
    pub reply_to: Option<String>,
    /// Must equal the subject (`Label`).
    pub subject: Option<String>,
    /// Must equal the session id.
    pub session_id: Option<String>,
    /// Must equal the reply session id.
    pub reply_to_session_id: Option<String>,
    /// Must equal the content type.
    pub content_type: Option<String>,
    /// Each must be present in the message with an equal value.
    pub properties: BTreeMap<String, PropertyValue>,
}

impl CorrelationFilter {
    /// Messages addressed to `to`.
    pub fn to(to: impl Into<String>) -> Self {
        Self { to: Some(to.into()), ..Self::default() }
    }

    /// Whether all conditions hold for `message`.
    pub fn matches(&self, message: &BusMessage) -> bool {
        let pairs = [
            (&self.to, &message.to),
            (&self.correlation_id, &message.correlation_id),
            (&self.message_id, &message.message_id),
            (&self.reply_to, &message.reply_to),
            (&self.subject, &message.subject),
            (&self.session_id, &message.session_id),
            (&self.reply_to_session_id, &message.reply_to_session_id),
            (&self.content_type, &message.content_type),
        ];
        let is_equal = |(wanted, found): (&Option<String>, &Option<String>)| {
            wanted.is_none() || wanted == found
        };
        pairs.into_iter().all(is_equal)
            && self.properties.iter().all(|(name, value)| {
                message.application_properties.get(name).is_some_and(|found| is_same(value, found))
            })
    }
}

/// Equal, as far as the kinds of numbers go that clients write the same number as.
fn is_same(left: &PropertyValue, right: &PropertyValue) -> bool {
    let number = |value: &PropertyValue| match *value {
        PropertyValue::Int(value) => Some(value as f64),
        PropertyValue::Double(value) => Some(value),
        _ => None,
    };
    left == right || (number(left).is_some() && number(left) == number(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlation_filter_compares_every_documented_field() {
        let some = || Some("x".to_owned());
        let message = BusMessage {
            message_id: some(),
            correlation_id: some(),
            to: some(),
            reply_to: some(),
            subject: some(),
            session_id: some(),
            reply_to_session_id: some(),
            content_type: some(),
            ..BusMessage::default()
        };
        let fields: [fn(&mut CorrelationFilter) -> &mut Option<String>; 8] = [
            |f| &mut f.correlation_id,
            |f| &mut f.message_id,
            |f| &mut f.to,
            |f| &mut f.reply_to,
            |f| &mut f.subject,
            |f| &mut f.session_id,
            |f| &mut f.reply_to_session_id,
            |f| &mut f.content_type,
        ];
        for (index, field) in fields.into_iter().enumerate() {
            let mut filter = CorrelationFilter::default();
            *field(&mut filter) = some();
            assert!(filter.matches(&message), "field {index} matches an equal value");
            assert!(!filter.matches(&BusMessage::default()), "field {index} needs a value");
            *field(&mut filter) = Some("X".to_owned());
            assert!(!filter.matches(&message), "field {index} regards case");
        }
    }

    #[test]
    fn correlation_filter_needs_every_property_with_its_type() {
        let message = BusMessage::new("").with_property("term", 7).with_property("kind", "vote");
        let filter = |name: &str, value: PropertyValue| CorrelationFilter {
            properties: [("kind".to_owned(), "vote".into()), (name.to_owned(), value)].into(),
            ..CorrelationFilter::default()
        };
        assert!(filter("term", 7_i64.into()).matches(&message));
        assert!(filter("term", 7.0.into()).matches(&message));
        assert!(!filter("term", 7.5.into()).matches(&message));
        assert!(!filter("term", "7".into()).matches(&message));
        assert!(!filter("Term", 7.into()).matches(&message));
        assert!(!filter("absent", PropertyValue::Null).matches(&message));
    }
}
