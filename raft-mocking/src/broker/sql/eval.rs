//! What conditions and statements come to for one message.

use std::cmp::Ordering;

use super::super::message::{BusMessage, PropertyValue};
use super::parser::{Arithmetic, Comparison, Expression, Predicate, Property, Statement, System};

/// An expression has no value for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluationError {
    /// A division, or a remainder, by zero.
    #[error("an attempt was made to divide by zero")]
    DivisionByZero,
    /// An integer beyond 64 bits.
    #[error("a number is too large")]
    Overflow,
    /// An operator that the kinds of its operands do not have.
    #[error("the operands do not fit the operator")]
    Operands,
    /// ESCAPE takes one character.
    #[error("the escape must be one character")]
    Escape,
}

/// A value; `None` is unknown, which NULL is, too.
type Value = Option<PropertyValue>;

/// True, false, or unknown.
pub(super) fn truth(
    predicate: &Predicate,
    message: &BusMessage,
) -> Result<Option<bool>, EvaluationError> {
    Ok(match predicate {
        Predicate::Not(inner) => truth(inner, message)?.map(|truth| !truth),
        Predicate::And(left, right) => match truth(left, message)? {
            Some(false) => Some(false),
            left => match (left, truth(right, message)?) {
                (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
        },
        Predicate::Or(left, right) => match truth(left, message)? {
            Some(true) => Some(true),
            left => match (left, truth(right, message)?) {
                (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
        },
        Predicate::Compare(left, comparison, right) => {
            compare(&value(left, message)?, *comparison, &value(right, message)?)
        }
        Predicate::IsNull(property) => Some(property_value(property, message).is_none()),
        Predicate::In(needle, items) => {
            let needle = value(needle, message)?;
            let mut found = Some(false);
            for item in items {
                match compare(&needle, Comparison::Equal, &value(item, message)?) {
                    Some(true) => return Ok(Some(true)),
                    Some(false) => {}
                    None => found = None,
                }
            }
            found
        }
        Predicate::Like { value: text, pattern, escape } => {
            let (text, pattern) = (value(text, message)?, value(pattern, message)?);
            let escape = match escape {
                None => None,
                Some(escape) => Some(one_character(value(escape, message)?)?),
            };
            match (text, pattern) {
                (Some(PropertyValue::String(text)), Some(PropertyValue::String(pattern))) => {
                    Some(is_like(&text, &pattern, escape))
                }
                (None, _) | (_, None) => None,
                _ => return Err(EvaluationError::Operands),
            }
        }
        Predicate::Exists(property) => Some(match property {
            Property::User(name) => message.application_properties.contains_key(name),
            Property::System(_) => property_value(property, message).is_some(),
        }),
        Predicate::Is(expression) => match value(expression, message)? {
            Some(PropertyValue::Bool(truth)) => Some(truth),
            None => None,
            Some(_) => return Err(EvaluationError::Operands),
        },
    })
}

/// Does what one statement says.
pub(super) fn apply(
    statement: &Statement,
    message: &mut BusMessage,
) -> Result<(), EvaluationError> {
    match statement {
        Statement::Set(Property::User(name), expression) => {
            let value = value(expression, message)?.unwrap_or(PropertyValue::Null);
            message.application_properties.insert(name.clone(), value);
        }
        Statement::Remove(Property::User(name)) => {
            message.application_properties.remove(name);
        }
        Statement::Set(Property::System(system), expression) => {
            let value = value(expression, message)?.map(|value| text_of(&value));
            set_system(*system, message, value);
        }
        Statement::Remove(Property::System(system)) => set_system(*system, message, None),
    }
    message.is_changed = true;
    Ok(())
}

fn value(expression: &Expression, message: &BusMessage) -> Result<Value, EvaluationError> {
    Ok(match expression {
        Expression::Null => None,
        Expression::Bool(value) => Some(PropertyValue::Bool(*value)),
        Expression::Int(value) => Some(PropertyValue::Int(*value)),
        Expression::Double(value) => Some(PropertyValue::Double(*value)),
        Expression::Text(text) => Some(PropertyValue::String(text.clone())),
        Expression::Property(property) => property_value(property, message),
        Expression::NewId => Some(PropertyValue::Uuid(new_id(message))),
        Expression::Negative(inner) => match value(inner, message)? {
            None => None,
            Some(PropertyValue::Int(value)) => {
                Some(PropertyValue::Int(value.checked_neg().ok_or(EvaluationError::Overflow)?))
            }
            Some(PropertyValue::Double(value)) => Some(PropertyValue::Double(-value)),
            Some(_) => return Err(EvaluationError::Operands),
        },
        Expression::Arithmetic(left, operator, right) => {
            match (value(left, message)?, value(right, message)?) {
                (Some(left), Some(right)) => Some(compute(left, *operator, right)?),
                _ => None,
            }
        }
    })
}

/// An id that differs for each message and repeats with it: the model throws no dice of its own.
fn new_id(message: &BusMessage) -> [u8; 16] {
    let id = message.message_id.as_deref().unwrap_or_default().as_bytes();
    let mut hash = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128;
    for &byte in id.iter().chain(&message.body) {
        hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    let mut bytes = hash.to_be_bytes();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

fn property_value(property: &Property, message: &BusMessage) -> Value {
    let text = |text: &Option<String>| text.clone().map(PropertyValue::String);
    match property {
        Property::User(name) => {
            let found = message.application_properties.get(name);
            found.filter(|value| **value != PropertyValue::Null).cloned()
        }
        Property::System(system) => match system {
            System::ContentType => text(&message.content_type),
            System::CorrelationId => text(&message.correlation_id),
            System::Label => text(&message.subject),
            System::MessageId => text(&message.message_id),
            System::ReplyTo => text(&message.reply_to),
            System::ReplyToSessionId => text(&message.reply_to_session_id),
            System::SessionId => text(&message.session_id),
            System::To => text(&message.to),
            System::TimeToLive => {
                message.time_to_live.map(|ttl| PropertyValue::Double(ttl.as_secs_f64()))
            }
            System::Size => Some(PropertyValue::from(message.size_bytes())),
        },
    }
}

fn set_system(system: System, message: &mut BusMessage, text: Option<String>) {
    let field = match system {
        System::ContentType => &mut message.content_type,
        System::CorrelationId => &mut message.correlation_id,
        System::Label => &mut message.subject,
        System::MessageId => &mut message.message_id,
        System::ReplyTo => &mut message.reply_to,
        System::ReplyToSessionId => &mut message.reply_to_session_id,
        System::SessionId => &mut message.session_id,
        System::To => &mut message.to,
        // Refused when the statement was read.
        System::TimeToLive | System::Size => return,
    };
    *field = text;
}

fn text_of(value: &PropertyValue) -> String {
    match value {
        PropertyValue::Null => String::new(),
        PropertyValue::Bool(value) => value.to_string(),
        PropertyValue::Int(value) | PropertyValue::Timestamp(value) => value.to_string(),
        PropertyValue::UInt(value) => value.to_string(),
        PropertyValue::Double(value) => value.to_string(),
        PropertyValue::String(text) => text.clone(),
        PropertyValue::Binary(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        PropertyValue::Uuid(uuid) => {
            let hex = format!("{:032x}", u128::from_be_bytes(*uuid));
            [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
        }
    }
}

fn compare(left: &Value, comparison: Comparison, right: &Value) -> Option<bool> {
    let (left, right) = (left.as_ref()?, right.as_ref()?);
    let order = order(left, right);
    Some(match comparison {
        // Values of kinds that cannot be compared are different.
        Comparison::Equal => order == Some(Ordering::Equal),
        Comparison::NotEqual => order != Some(Ordering::Equal),
        Comparison::Greater => order? == Ordering::Greater,
        Comparison::GreaterOrEqual => order? != Ordering::Less,
        Comparison::Less => order? == Ordering::Less,
        Comparison::LessOrEqual => order? != Ordering::Greater,
    })
}

fn order(left: &PropertyValue, right: &PropertyValue) -> Option<Ordering> {
    match (left, right) {
        (PropertyValue::String(left), PropertyValue::String(right)) => Some(left.cmp(right)),
        (PropertyValue::Bool(left), PropertyValue::Bool(right)) => Some(left.cmp(right)),
        (PropertyValue::Int(left), PropertyValue::Int(right))
        | (PropertyValue::Timestamp(left), PropertyValue::Timestamp(right)) => {
            Some(left.cmp(right))
        }
        (PropertyValue::Uuid(left), PropertyValue::Uuid(right)) => Some(left.cmp(right)),
        (PropertyValue::Binary(left), PropertyValue::Binary(right)) => Some(left.cmp(right)),
        // A UUID is written as text in a filter: there is no other way to write one.
        (uuid @ PropertyValue::Uuid(_), PropertyValue::String(text)) => {
            Some(text_of(uuid).as_str().cmp(text.to_ascii_lowercase().as_str()))
        }
        (PropertyValue::String(_), PropertyValue::Uuid(_)) => {
            order(right, left).map(Ordering::reverse)
        }
        _ => match (whole(left), whole(right)) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            _ => number(left)?.partial_cmp(&number(right)?),
        },
    }
}

fn whole(value: &PropertyValue) -> Option<i128> {
    match value {
        PropertyValue::Int(value) => Some((*value).into()),
        PropertyValue::UInt(value) => Some((*value).into()),
        _ => None,
    }
}

fn number(value: &PropertyValue) -> Option<f64> {
    match value {
        PropertyValue::Double(value) => Some(*value),
        other => whole(other).map(|value| value as f64),
    }
}

fn compute(
    left: PropertyValue,
    operator: Arithmetic,
    right: PropertyValue,
) -> Result<PropertyValue, EvaluationError> {
    if let (PropertyValue::String(left), Arithmetic::Add, PropertyValue::String(right)) =
        (&left, operator, &right)
    {
        return Ok(PropertyValue::String(format!("{left}{right}")));
    }
    if let (Some(left), Some(right)) = (whole(&left), whole(&right)) {
        let is_division = matches!(operator, Arithmetic::Divide | Arithmetic::Remainder);
        if is_division && right == 0 {
            return Err(EvaluationError::DivisionByZero);
        }
        // Two 64-bit numbers never exceed 128 bits.
        let result = match operator {
            Arithmetic::Add => left + right,
            Arithmetic::Subtract => left - right,
            Arithmetic::Multiply => left * right,
            Arithmetic::Divide => left / right,
            Arithmetic::Remainder => left % right,
        };
        let signed = i64::try_from(result).map(PropertyValue::Int);
        return signed
            .or_else(|_| u64::try_from(result).map(PropertyValue::UInt))
            .map_err(|_| EvaluationError::Overflow);
    }
    let (Some(left), Some(right)) = (number(&left), number(&right)) else {
        return Err(EvaluationError::Operands);
    };
    Ok(PropertyValue::Double(match operator {
        Arithmetic::Add => left + right,
        Arithmetic::Subtract => left - right,
        Arithmetic::Multiply => left * right,
        Arithmetic::Divide => left / right,
        Arithmetic::Remainder => left % right,
    }))
}

fn one_character(value: Value) -> Result<char, EvaluationError> {
    let Some(PropertyValue::String(text)) = value else { return Err(EvaluationError::Escape) };
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(character), None) => Ok(character),
        _ => Err(EvaluationError::Escape),
    }
}

/// Whether `text` has the form of `pattern`: `%` is any text, `_` any character.
fn is_like(text: &str, pattern: &str, escape: Option<char>) -> bool {
    enum Part {
        Any,
        One,
        Just(char),
    }
    let mut parts = Vec::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        parts.push(match character {
            _ if Some(character) == escape => Part::Just(characters.next().unwrap_or(character)),
            '%' => Part::Any,
            '_' => Part::One,
            other => Part::Just(other),
        });
    }
    // With one place to come back to the work is at most text times pattern.
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut part) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while at < text.len() {
        match parts.get(part) {
            Some(Part::Any) => {
                part += 1;
                back = Some((at, part));
            }
            Some(Part::One) => (at, part) = (at + 1, part + 1),
            Some(Part::Just(c)) if *c == text[at] => (at, part) = (at + 1, part + 1),
            _ => match &mut back {
                None => return false,
                Some((start, next)) => {
                    *start += 1;
                    (at, part) = (*start, *next);
                }
            },
        }
    }
    parts[part..].iter().all(|part| matches!(part, Part::Any))
}
