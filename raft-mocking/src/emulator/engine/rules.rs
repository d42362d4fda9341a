//! Rules of a subscription over `$management`: added, removed, listed.

use super::Context;
use super::requests::{Body, Refusal, map, missing};
use crate::broker::{BrokerError, CorrelationFilter, Filter, Rule, SqlAction, SqlFilter};
use crate::emulator::amqp::message::{property_value, wire_value};
use crate::emulator::amqp::value::Value;

/// By which clients know what a description is.
const RULE: u64 = 0x0137_0000_0004;
const EMPTY_ACTION: u64 = 0x0137_0000_0005;
const SQL_ACTION: u64 = 0x0137_0000_0006;
const SQL_FILTER: u64 = 0x0013_7000_0006;
const TRUE_FILTER: u64 = 0x0013_7000_0007;
const FALSE_FILTER: u64 = 0x0013_7000_0008;
const CORRELATION_FILTER: u64 = 0x0013_7000_0009;
/// The dialect of SQL that clients write.
const COMPATIBILITY_LEVEL: i32 = 20;

pub(super) fn add(cx: &Context, entity: &str, body: &Body<'_>) -> Result<Option<Value>, Refusal> {
    let (topic, subscription) = subscription_of(entity)?;
    let name = body.text("rule-name")?;
    let description = body.get("rule-description").ok_or_else(|| missing("rule-description"))?;
    let rule = rule(name, &Body::new(description))?;
    cx.bus.with_broker(|broker, _| broker.add_rule(topic, subscription, rule))?;
    Ok(Some(Value::Map(Vec::new())))
}

pub(super) fn remove(
    cx: &Context,
    entity: &str,
    body: &Body<'_>,
) -> Result<Option<Value>, Refusal> {
    let (topic, subscription) = subscription_of(entity)?;
    let name = body.text("rule-name")?;
    cx.bus.with_broker(|broker, _| broker.remove_rule(topic, subscription, name))?;
    Ok(Some(Value::Map(Vec::new())))
}

pub(super) fn list(cx: &Context, entity: &str, body: &Body<'_>) -> Result<Option<Value>, Refusal> {
    let (topic, subscription) = subscription_of(entity)?;
    let number = |name| {
        body.get(name).and_then(Value::as_u64).map(|n| usize::try_from(n).unwrap_or(usize::MAX))
    };
    let (skip, top) = (number("skip").unwrap_or(0), number("top").unwrap_or(usize::MAX));
    let rules = cx.bus.with_broker(|broker, _| {
        let rules = broker.rules(topic, subscription)?;
        broker.record_management_read(entity);
        Ok::<_, BrokerError>(rules)
    })?;
    let page: Vec<_> = rules
        .iter()
        .skip(skip)
        .take(top)
        .map(|rule| map([("rule-description", describe(rule))]))
        .collect();
    let is_empty = page.is_empty();
    Ok((!is_empty).then(|| map([("rules", Value::List(page))])))
}

/// Topic and subscription in `topic/Subscriptions/name`, in any case.
fn subscription_of(path: &str) -> Result<(&str, &str), Refusal> {
    let found = path.rsplit_once('/').and_then(|(rest, name)| {
        let (topic, word) = rest.rsplit_once('/')?;
        word.eq_ignore_ascii_case("subscriptions").then_some((topic, name))
    });
    found.ok_or_else(|| Refusal::Argument(format!("'{path}' is no subscription.")))
}

fn rule(name: &str, description: &Body<'_>) -> Result<Rule, Refusal> {
    let filter = if let Some(filter) = description.get("sql-filter") {
        sql_filter(Body::new(filter).text("expression")?)?
    } else if let Some(filter) = description.get("correlation-filter") {
        correlation_filter(&Body::new(filter)).into()
    } else if description.get("false-filter").is_some() {
        Filter::False
    } else if description.get("true-filter").is_some() {
        Filter::True
    } else {
        return Err(missing("rule-description"));
    };
    let rule = Rule::new(name, filter);
    let Some(action) = description.get("sql-rule-action") else { return Ok(rule) };
    match Body::new(action).get("expression").and_then(Value::as_text) {
        None | Some("") => Ok(rule),
        Some(text) => {
            let action = SqlAction::new(text);
            let action = action.map_err(|error| Refusal::Argument(format!("{error}.")))?;
            Ok(rule.with_action(action))
        }
    }
}

/// A filter from its text; the constant ones are known by theirs.
fn sql_filter(text: &str) -> Result<Filter, Refusal> {
    match text.replace(' ', "").as_str() {
        "1=1" => Ok(Filter::True),
        "1=0" => Ok(Filter::False),
        _ => {
            let filter = SqlFilter::new(text);
            filter.map(Filter::from).map_err(|error| Refusal::Argument(format!("{error}.")))
        }
    }
}

fn correlation_filter(body: &Body<'_>) -> CorrelationFilter {
    let text = |name| body.get(name).and_then(Value::as_text).map(str::to_owned);
    let properties = match body.get("properties") {
        Some(Value::Map(pairs)) => {
            let named = pairs.iter().filter_map(|(key, value)| Some((key.as_text()?, value)));
            named.map(|(name, value)| (name.to_owned(), property_value(value.clone()))).collect()
        }
        _ => Default::default(),
    };
    CorrelationFilter {
        correlation_id: text("correlation-id"),
        message_id: text("message-id"),
        to: text("to"),
        reply_to: text("reply-to"),
        subject: text("label"),
        session_id: text("session-id"),
        reply_to_session_id: text("reply-to-session-id"),
        content_type: text("content-type"),
        properties,
    }
}

fn describe(rule: &Rule) -> Value {
    let text = |text: &Option<String>| text.clone().map_or(Value::Null, Value::String);
    let filter = match &rule.filter {
        Filter::True => described(TRUE_FILTER, Vec::new()),
        Filter::False => described(FALSE_FILTER, Vec::new()),
        Filter::Sql(filter) => {
            let items = vec![Value::from(filter.text()), Value::Int(COMPATIBILITY_LEVEL)];
            described(SQL_FILTER, items)
        }
        Filter::Correlation(filter) => {
            let pairs = filter.properties.iter();
            let pairs = pairs.map(|(name, value)| (Value::from(name.as_str()), wire_value(value)));
            described(
                CORRELATION_FILTER,
                vec![
                    text(&filter.correlation_id),
                    text(&filter.message_id),
                    text(&filter.to),
                    text(&filter.reply_to),
                    text(&filter.subject),
                    text(&filter.session_id),
                    text(&filter.reply_to_session_id),
                    text(&filter.content_type),
                    Value::Map(pairs.collect()),
                ],
            )
        }
    };
    let action = match &rule.action {
        None => described(EMPTY_ACTION, Vec::new()),
        Some(action) => {
            let items = vec![Value::from(action.text()), Value::Int(COMPATIBILITY_LEVEL)];
            described(SQL_ACTION, items)
        }
    };
    described(RULE, vec![filter, action, Value::from(rule.name.as_str())])
}

fn described(code: u64, items: Vec<Value>) -> Value {
    Value::Described(Box::new((Value::Ulong(code), Value::List(items))))
}
