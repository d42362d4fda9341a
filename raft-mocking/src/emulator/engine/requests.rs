//! `$management`: what clients ask about one entity besides sending and receiving.
//!
//! Guarantees: each request is authorised like the link it stands for, and answered, if only with an
//! error in the service's words.
//! Elsewhere:  rules are in [`super::rules`]; the node itself is in [`super::service`].

use std::time::Duration;

use bytes::Bytes;

use super::error::NOT_IMPLEMENTED;
use super::link::{LISTEN, SEND};
use super::{Context, rules};
use crate::broker::{
    Broker, BrokerError, LockToken, Properties, QueueId, ReceiveMode, ReceivedMessage,
};
use crate::emulator::amqp::message::{self, Request, property_value};
use crate::emulator::amqp::outcome::AmqpError;
use crate::emulator::amqp::value::Value;
use crate::emulator::sas::Rights;

/// The most messages of one answer, and the most bytes.
const MESSAGES_MAX: usize = 1_000;
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// What every operation's name starts with.
const VENDOR: &str = "com.microsoft:";
const MANAGE: Rights = Rights::ALL;

/// What a request comes to: the body of the answer, and whether there was anything to tell.
type Answer = Result<Option<Value>, Refusal>;

/// Why a request is refused.
pub(super) enum Refusal {
    /// By the broker.
    Broker(BrokerError),
    /// For what it is.
    Argument(String),
    Unauthorized(&'static str),
    NotImplemented,
}

impl From<BrokerError> for Refusal {
    fn from(error: BrokerError) -> Self {
        Self::Broker(error)
    }
}

/// Handles a request about an entity; returns the encoded answer.
pub(super) fn answer(cx: &mut Context, entity: &str, request: &Request) -> Bytes {
    let (status, description, condition, body) = match handle(cx, entity, request) {
        Ok(Some(body)) => (200, "OK".to_owned(), None, body),
        Ok(None) => (204, "There is nothing to return.".to_owned(), None, Value::Null),
        Err(refusal) => {
            let (status, error) = explain(cx, entity, request, refusal);
            tracing::debug!(entity, status, error.description, "request refused");
            (status, error.description, Some(error.condition), Value::Null)
        }
    };
    let mut properties =
        vec![("statusCode", Value::Int(status)), ("statusDescription", Value::String(description))];
    if let Some(condition) = condition {
        properties.push(("errorCondition", Value::Symbol(condition)));
    }
    request.answer(properties, &body)
}

fn explain(cx: &Context, entity: &str, request: &Request, refusal: Refusal) -> (i32, AmqpError) {
    match refusal {
        Refusal::Broker(error) => {
            let status = match &error {
                BrokerError::NotFound { .. }
                | BrokerError::Deleted
                | BrokerError::MessageNotFound { .. } => 404,
                BrokerError::LockLost | BrokerError::SessionLockLost => 410,
                BrokerError::AlreadyExists { .. } | BrokerError::SessionCannotBeLocked { .. } => {
                    409
                }
                BrokerError::QuotaExceeded { .. } | BrokerError::TooManyEntities { .. } => 403,
                BrokerError::EntityDisabled { .. } => 403,
                BrokerError::ServerBusy => 503,
                _ => 400,
            };
            (status, cx.broker_error(entity, &error))
        }
        Refusal::Argument(description) => {
            (400, AmqpError::new("com.microsoft:argument-error", description))
        }
        Refusal::Unauthorized(claim) => (401, cx.unauthorized(entity, claim)),
        Refusal::NotImplemented => {
            let operation = request.text("operation").unwrap_or_default();
            let description = format!("The operation '{operation}' is not implemented.");
            (501, AmqpError::new(NOT_IMPLEMENTED, description))
        }
    }
}

fn handle(cx: &mut Context, entity: &str, request: &Request) -> Answer {
    let operation = request.text("operation").unwrap_or_default();
    let operation = operation.strip_prefix(VENDOR).ok_or(Refusal::NotImplemented)?;
    let (rights, claim) = match operation {
        "schedule-message" | "cancel-scheduled-message" => (SEND, "Send"),
        "add-rule" | "remove-rule" => (MANAGE, "Manage"),
        _ => (LISTEN, "Listen"),
    };
    let is_managing = rights == MANAGE;
    let rights = match is_managing {
        true => Rights { send: false, listen: false, manage: true },
        false => rights,
    };
    // A token may be for the entity, or for this node of it.
    let is_allowed = cx.is_authorised(&format!("{entity}/$management"), rights);
    if !is_allowed {
        return Err(Refusal::Unauthorized(claim));
    }
    if matches!(operation, "add-rule" | "remove-rule" | "enumerate-rules") {
        let now = cx.now;
        cx.bus.with_broker(|broker, _| broker.admit_management(now))?;
    }
    let body = Body { value: request.body.as_ref().map_or(&Value::Null, Value::undescribed) };
    let asked = Asked { entity, request, body };
    match operation {
        "schedule-message" => schedule(cx, &asked),
        "cancel-scheduled-message" => cancel(cx, &asked),
        "add-rule" => rules::add(cx, entity, &asked.body),
        "remove-rule" => rules::remove(cx, entity, &asked.body),
        "enumerate-rules" => rules::list(cx, entity, &asked.body),
        "peek-message" => peek(cx, &asked),
        "renew-lock" => renew_locks(cx, &asked),
        "receive-by-sequence-number" => receive_deferred(cx, &asked),
        "update-disposition" => settle(cx, &asked),
        "get-message-sessions" => sessions(cx, &asked),
        "renew-session-lock" => renew_session(cx, &asked),
        "get-session-state" => session_state(cx, &asked),
        "set-session-state" => set_session_state(cx, &asked),
        _ => Err(Refusal::NotImplemented),
    }
}

/// A request about an entity.
struct Asked<'a> {
    entity: &'a str,
    request: &'a Request,
    body: Body<'a>,
}

impl Asked<'_> {
    fn queue(&self, cx: &Context) -> Result<QueueId, Refusal> {
        Ok(cx.bus.with_broker(|broker, _| broker.queue_at(self.entity))?)
    }

    /// The session that the request is about, and the lock of the link that it belongs to: a receiver
    /// that lost a session must not touch that of the next one.
    fn held_session(&self, cx: &Context, queue: QueueId) -> Result<(String, LockToken), Refusal> {
        let id = self.body.text("session-id")?;
        let is_it = |held: &&super::HeldSession| held.id == id && held.queue == queue;
        let held = match self.request.text("associated-link-name") {
            Some(name) => cx.held_sessions.get(name).filter(is_it),
            None => cx.held_sessions.values().find(is_it),
        };
        let held = held.ok_or(Refusal::Broker(BrokerError::SessionLockLost))?;
        Ok((id.to_owned(), held.token))
    }
}

/// The body of a request: a map.
pub(super) struct Body<'a> {
    value: &'a Value,
}

impl<'a> Body<'a> {
    pub(super) fn new(value: &'a Value) -> Self {
        Self { value: value.undescribed() }
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        let Value::Map(pairs) = self.value else { return None };
        let found = pairs.iter().find(|(key, _)| key.as_text() == Some(name));
        found.map(|(_, value)| value).filter(|value| **value != Value::Null)
    }

    pub(super) fn text(&self, name: &'static str) -> Result<&'a str, Refusal> {
        self.get(name).and_then(Value::as_text).ok_or_else(|| missing(name))
    }

    pub(super) fn number(&self, name: &'static str) -> Result<u64, Refusal> {
        self.get(name).and_then(Value::as_u64).ok_or_else(|| missing(name))
    }

    fn items(&self, name: &'static str) -> Result<&'a [Value], Refusal> {
        match self.get(name) {
            Some(Value::List(items) | Value::Array(items)) => Ok(items),
            // A peer that has one item may send it alone.
            Some(item) => Ok(std::slice::from_ref(item)),
            None => Err(missing(name)),
        }
    }

    fn sequence_numbers(&self) -> Result<Vec<u64>, Refusal> {
        let items = self.items("sequence-numbers")?.iter();
        items.map(|item| item.as_u64().ok_or_else(|| missing("sequence-numbers"))).collect()
    }

    fn lock_tokens(&self) -> Result<Vec<LockToken>, Refusal> {
        let items = self.items("lock-tokens")?.iter();
        let token = |item: &Value| match item {
            Value::Uuid(token) => Ok(LockToken(*token)),
            _ => Err(missing("lock-tokens")),
        };
        items.map(token).collect()
    }

    fn properties(&self, name: &str) -> Properties {
        let Some(Value::Map(pairs)) = self.get(name) else { return Properties::new() };
        let named = pairs.iter().filter_map(|(key, value)| Some((key.as_text()?, value)));
        named.map(|(name, value)| (name.to_owned(), property_value(value.clone()))).collect()
    }
}

pub(super) fn missing(name: &str) -> Refusal {
    Refusal::Argument(format!("The request has no valid '{name}'."))
}

pub(super) fn map<const N: usize>(pairs: [(&str, Value); N]) -> Value {
    Value::Map(pairs.into_iter().map(|(name, value)| (Value::from(name), value)).collect())
}

fn schedule(cx: &Context, asked: &Asked<'_>) -> Answer {
    let mut messages = Vec::new();
    for item in asked.body.items("messages")? {
        let Some(Value::Binary(encoded)) = Body::new(item).get("message") else {
            return Err(missing("message"));
        };
        let fresh_id = || format!("{:032x}", cx.settings.next_number());
        let mut message = message::decode(encoded.clone(), fresh_id)
            .map_err(|error| Refusal::Argument(format!("The message cannot be read: {error}.")))?;
        // What is due already is enqueued at once, and gets its number then.
        message.scheduled_at = Some(message.scheduled_at.ok_or_else(|| missing("message"))?);
        messages.push(message);
    }
    let count = messages.len();
    let published =
        cx.bus.with_broker(|broker, now| broker.publish_batch(now, asked.entity, messages))?;
    let mut numbers: Vec<_> =
        published.scheduled.iter().map(|number| Value::Long(number.cast_signed())).collect();
    numbers.resize(count, Value::Long(0));
    Ok(Some(map([("sequence-numbers", Value::Array(numbers))])))
}

fn cancel(cx: &Context, asked: &Asked<'_>) -> Answer {
    let numbers = asked.body.sequence_numbers()?;
    cx.bus.with_broker(|broker, _| {
        // All of them, or none.
        let missing = numbers.iter().find(|number| !broker.is_scheduled(asked.entity, **number));
        if let Some(&sequence_number) = missing {
            return Err(BrokerError::MessageNotFound { sequence_number });
        }
        numbers.iter().try_for_each(|&number| broker.cancel_scheduled(asked.entity, number))
    })?;
    Ok(Some(Value::Map(Vec::new())))
}

fn peek(cx: &Context, asked: &Asked<'_>) -> Answer {
    let queue = asked.queue(cx)?;
    let from = match asked.body.get("from-sequence-number") {
        // Clients start below the first number.
        Some(Value::Long(from)) => u64::try_from(*from).unwrap_or(0),
        _ => asked.body.number("from-sequence-number")?,
    };
    let count = asked.body.number("message-count")?;
    let count = usize::try_from(count).unwrap_or(MESSAGES_MAX).min(MESSAGES_MAX);
    let session = asked.body.get("session-id").and_then(Value::as_text);
    let found = cx.bus.with_broker(|broker, now| broker.peek(now, queue, from, count, session))?;
    let mut bytes = 0;
    let mut messages = Vec::new();
    for received in &found {
        let encoded = message::encode_received(received);
        bytes += encoded.len();
        if bytes > ANSWER_BYTES_MAX && !messages.is_empty() {
            break;
        }
        messages.push(map([("message", Value::Binary(encoded))]));
    }
    let is_empty = messages.is_empty();
    Ok((!is_empty).then(|| map([("messages", Value::List(messages))])))
}

fn renew_locks(cx: &Context, asked: &Asked<'_>) -> Answer {
    let queue = asked.queue(cx)?;
    let tokens = asked.body.lock_tokens()?;
    let renewed = cx.bus.with_broker(|broker, now| {
        let renew = |token| broker.renew_lock(now, queue, token);
        tokens.into_iter().map(renew).collect::<Result<Vec<_>, _>>()
    })?;
    let expirations = renewed.into_iter().map(message::timestamp).collect();
    Ok(Some(map([("expirations", Value::Array(expirations))])))
}

fn receive_deferred(cx: &Context, asked: &Asked<'_>) -> Answer {
    let queue = asked.queue(cx)?;
    let numbers = asked.body.sequence_numbers()?;
    let mode = match asked.body.number("receiver-settle-mode")? {
        0 => ReceiveMode::ReceiveAndDelete,
        _ => ReceiveMode::PeekLock,
    };
    let session = match asked.body.get("session-id") {
        None => None,
        Some(_) => Some(asked.held_session(cx, queue)?),
    };
    let session = session.as_ref().map(|(id, token)| (id.as_str(), *token));
    let received = cx
        .bus
        .with_broker(|broker, now| broker.receive_deferred(now, queue, &numbers, session, mode))?;
    let entry = |received: &ReceivedMessage| {
        let encoded = Value::Binary(message::encode_received(received));
        match received.lock {
            None => map([("message", encoded)]),
            Some(lock) => map([("lock-token", Value::Uuid(lock.token.0)), ("message", encoded)]),
        }
    };
    Ok(Some(map([("messages", Value::List(received.iter().map(entry).collect()))])))
}

fn settle(cx: &Context, asked: &Asked<'_>) -> Answer {
    let queue = asked.queue(cx)?;
    let tokens = asked.body.lock_tokens()?;
    let status = asked.body.text("disposition-status")?;
    let settle = |broker: &mut Broker, now: Duration, token| {
        let properties = asked.body.properties("properties-to-modify");
        let text = |name| asked.body.get(name).and_then(Value::as_text);
        match status {
            "completed" => broker.complete(now, queue, token)?,
            "abandoned" => broker.abandon_with(now, queue, token, properties)?,
            "defered" | "deferred" => broker.defer(now, queue, token, properties)?,
            "suspended" => {
                let (reason, description) =
                    (text("deadletter-reason"), text("deadletter-description"));
                broker.dead_letter(now, queue, token, reason, description, properties)?;
            }
            "renewed" => broker.renew_lock(now, queue, token).map(drop)?,
            _ => return Err(missing("disposition-status")),
        }
        Ok(())
    };
    cx.bus.with_broker(|broker, now| {
        tokens.into_iter().try_for_each(|token| settle(broker, now, token))
    })?;
    Ok(Some(Value::Map(Vec::new())))
}

fn sessions(cx: &Context, asked: &Asked<'_>) -> Answer {
    let queue = asked.queue(cx)?;
    let since = match asked.body.get("last-updated-time") {
        // The largest time of some client: it asks for the sessions that have messages.
        Some(Value::Timestamp(ms)) if *ms > 200_000_000_000_000 => None,
        Some(Value::Timestamp(ms)) => Some(Duration::from_millis(u64::try_from(*ms).unwrap_or(0))),
        _ => None,
    };
    let number = |name| asked.body.number(name).map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    let (skip, top) = (number("skip")?, number("top")?);
    let all = cx.bus.with_broker(|broker, _| broker.sessions(queue, since))?;
    let page: Vec<_> =
        all.into_iter().skip(skip).take(top.min(MESSAGES_MAX)).map(Value::String).collect();
    if page.is_empty() {
        return Ok(None);
    }
    let next = i32::try_from(skip + page.len()).unwrap_or(i32::MAX);
    Ok(Some(map([("skip", Value::Int(next)), ("sessions-ids", Value::Array(page))])))
}

fn renew_session(cx: &Context, asked: &Asked<'_>) -> Answer {
    let queue = asked.queue(cx)?;
    let (id, token) = asked.held_session(cx, queue)?;
    let until =
        cx.bus.with_broker(|broker, now| broker.renew_session_lock(now, queue, &id, token))?;
    Ok(Some(map([("expiration", message::timestamp(until))])))
}

fn session_state(cx: &Context, asked: &Asked<'_>) -> Answer {
    let queue = asked.queue(cx)?;
    let (id, token) = asked.held_session(cx, queue)?;
    let state = cx.bus.with_broker(|broker, now| broker.session_state(now, queue, &id, token))?;
    Ok(Some(map([("session-state", state.map_or(Value::Null, Value::Binary))])))
}

fn set_session_state(cx: &Context, asked: &Asked<'_>) -> Answer {
    let queue = asked.queue(cx)?;
    let (id, token) = asked.held_session(cx, queue)?;
    let state = match asked.body.get("session-state") {
        None => None,
        // Copied, so that it does not keep the whole request alive.
        Some(Value::Binary(state)) => Some(Bytes::copy_from_slice(state)),
        Some(_) => return Err(missing("session-state")),
    };
    cx.bus.with_broker(|broker, now| broker.set_session_state(now, queue, &id, token, state))?;
    Ok(Some(Value::Map(Vec::new())))
}
