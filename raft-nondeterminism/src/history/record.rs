//! One line of a history: what was said, before anybody asks whether it makes sense.
//!
//! Guarantees: what is written is read back as it was, but for fields that are not ours, which are
//!             skipped.
//! Elsewhere:  which lines belong together is decided in `pairing.rs`.

use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

/// One line of a history, in Jepsen's shape.
///
/// ```
/// use raft_nondeterminism::history::{Function, Record};
///
/// let line = Record::invoke(3, Function::Write).key("x").value(7).time(12);
/// assert_eq!(
///     serde_json::to_string(&line)?,
///     r#"{"process":3,"type":"invoke","f":"write","key":"x","value":7,"time":12}"#
/// );
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Who.
    pub process: Process,
    /// Whether something began, or how it ended.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// What was asked for.
    pub f: Function,
    /// Of which register. Without one there is a single register.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Value>,
    /// What to write or to append, or what was read. A `null` that is there is a value.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// What a `cas` expects to find. Jepsen says it as `"value": [expected, new]` instead.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub expected: Option<Value>,
    /// When, in nanoseconds since whatever moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<i64>,
    /// A hint: where in the log the operation took effect; for a read, its read index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<u64>,
    /// Why it failed, or why nobody knows. For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
}

impl Record {
    /// An operation begins.
    #[must_use]
    pub fn invoke(process: impl Into<Process>, f: Function) -> Self {
        Self {
            process: process.into(),
            kind: Kind::Invoke,
            f,
            key: None,
            value: None,
            expected: None,
            time: None,
            order: None,
            error: None,
        }
    }

    /// An operation took effect, and its client knows.
    #[must_use]
    pub fn ok(process: impl Into<Process>, f: Function) -> Self {
        Self { kind: Kind::Ok, ..Self::invoke(process, f) }
    }

    /// An operation took no effect and never will.
    #[must_use]
    pub fn fail(process: impl Into<Process>, f: Function) -> Self {
        Self { kind: Kind::Fail, ..Self::invoke(process, f) }
    }

    /// An operation may have taken effect, or may still do so.
    #[must_use]
    pub fn info(process: impl Into<Process>, f: Function) -> Self {
        Self { kind: Kind::Info, ..Self::invoke(process, f) }
    }

    /// Of this register.
    #[must_use]
    pub fn key(mut self, key: impl Into<Value>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// With this value.
    #[must_use]
    pub fn value(mut self, value: impl Into<Value>) -> Self {
        self.value = Some(value.into());
        self
    }

    /// Only if this is what is found.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<Value>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    /// At this time, in nanoseconds.
    #[must_use]
    pub fn time(mut self, nanoseconds: i64) -> Self {
        self.time = Some(nanoseconds);
        self
    }

    /// At this place of the log.
    #[must_use]
    pub fn order(mut self, order: u64) -> Self {
        self.order = Some(order);
        self
    }

    /// For this reason.
    #[must_use]
    pub fn error(mut self, error: impl Into<Value>) -> Self {
        self.error = Some(error.into());
        self
    }
}

/// Who invokes operations, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
pub enum Process {
    /// A client, as Jepsen numbers them.
    Number(i64),
    /// A client with a name, or the `nemesis`, which is none.
    Name(String),
}

impl Process {
    /// Whether this is who breaks things, so that its lines are no operations: `nemesis`, and names
    /// that begin so.
    #[must_use]
    pub fn is_nemesis(&self) -> bool {
        match self {
            Self::Number(_) => false,
            Self::Name(name) => without_colon(name).starts_with("nemesis"),
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => f.write_str(without_colon(name)),
        }
    }
}

impl<'de> Deserialize<'de> for Process {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(name) => Ok(Self::Name(name)),
            other => match other.as_i64() {
                Some(number) => Ok(Self::Number(number)),
                None => Err(de::Error::custom(format!("process {other} is no number and no name"))),
            },
        }
    }
}

impl From<i64> for Process {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Process {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

/// Whether an operation begins, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It begins.
    Invoke,
    /// It took effect.
    Ok,
    /// It took no effect.
    Fail,
    /// Nobody knows, perhaps for ever.
    Info,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invoke => "invoke",
            Self::Ok => "ok",
            Self::Fail => "fail",
            Self::Info => "info",
        })
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = deserializer.deserialize_str(Word)?;
        Ok(match word.as_str() {
            "invoke" => Self::Invoke,
            "ok" => Self::Ok,
            "fail" => Self::Fail,
            "info" => Self::Info,
            _ => {
                let known = "`invoke`, `ok`, `fail` or `info`";
                return Err(de::Error::custom(format!("type `{word}` is none of {known}")));
            }
        })
    }
}

/// What an operation asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Function {
    /// The value of a register.
    Read,
    /// That a register holds a value.
    Write,
    /// That a register holds a value, if it holds an expected one.
    Cas,
    /// That a value comes behind what is there.
    Append,
    /// Anything else; a nemesis may say it, a client may not.
    Other(String),
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Cas => "cas",
            Self::Append => "append",
            Self::Other(name) => name,
        })
    }
}

impl Serialize for Function {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Function {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = deserializer.deserialize_str(Word)?;
        Ok(match word.as_str() {
            "read" => Self::Read,
            "write" => Self::Write,
            "cas" => Self::Cas,
            "append" => Self::Append,
            _ => Self::Other(word),
        })
    }
}

/// A word, perhaps written as the keyword it was in Clojure: `:ok`.
struct Word;

impl Visitor<'_> for Word {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a word")
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<String, E> {
        Ok(without_colon(word).to_owned())
    }
}

fn without_colon(word: &str) -> &str {
    word.strip_prefix(':').unwrap_or(word)
}

/// A field that is there, also if it is `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}
