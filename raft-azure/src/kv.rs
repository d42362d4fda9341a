//! A key-value store as a state machine: read, write, compare-and-set and append.
//!
//! Guarantees: the same commands in the same order give the same state and the same responses; what is
//!             no command of it changes nothing and takes the stack of nobody.
//! Elsewhere:  it lives beside the processes that serve it, and not in `raft-core`, which names no data
//!             format; which machine a process serves is chosen in `cli/machine.rs`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use raft_core::{Index, RestoreError, StateMachine, codec};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// Any JSON value, which travels and is stored as its text: the log's encoding describes nothing by
/// itself, and the JSON parser bounds how deep values may be nested.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Json(pub Value);

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        serde_json::from_str(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<V: Into<Value>> From<V> for Json {
    fn from(value: V) -> Self {
        Self(value.into())
    }
}

/// What clients ask for. A key that holds nothing holds `null`.
///
/// ```
/// use raft_azure::kv::KvCommand;
///
/// let command: KvCommand = r#"cas colour null "red""#.parse()?;
/// assert_eq!(command.to_string(), r#"cas colour null "red""#);
/// # Ok::<(), raft_azure::kv::KvSyntaxError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvCommand {
    /// What the key holds; it goes through the log like a write.
    Read {
        /// Which key.
        key: String,
    },
    /// The key holds this from now on.
    Write {
        /// Which key.
        key: String,
        /// What it is to hold; `null` empties it.
        value: Json,
    },
    /// The key holds `new` from now on, if it holds `old`.
    Cas {
        /// Which key.
        key: String,
        /// What it must hold.
        old: Json,
        /// What it is to hold.
        new: Json,
    },
    /// Adds an element to the list that the key holds; one that holds nothing becomes a list.
    Append {
        /// Which key.
        key: String,
        /// What is added.
        value: Json,
    },
}

impl KvCommand {
    /// Which key it is about.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Read { key }
            | Self::Write { key, .. }
            | Self::Cas { key, .. }
            | Self::Append { key, .. } => key,
        }
    }
}

/// What a command came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvResponse {
    /// What the key holds.
    Value(Json),
    /// It is written, or appended.
    Done,
    /// Whether the key held what it had to, and holds the new value now.
    Swapped(bool),
    /// The key holds something else than a list, and nothing was appended.
    NotAList,
}

impl KvResponse {
    /// The same for programs: the value, true, or whether it was done.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Value(Json(value)) => value.clone(),
            Self::Done => true.into(),
            Self::Swapped(is_swapped) => (*is_swapped).into(),
            Self::NotAList => false.into(),
        }
    }
}

/// What a key holds, and as of when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvAnswer {
    /// What it holds.
    pub value: Json,
    /// The last command that was applied before it was asked.
    pub as_of: Index,
}

/// The store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvStore {
    /// Never a key that holds `null`.
    keys: BTreeMap<String, Json>,
    /// The last command that was applied.
    as_of: u64,
}

impl KvStore {
    /// A store in which every key holds nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Every key that holds something.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.keys.iter().map(|(key, Json(value))| (key.as_str(), value))
    }

    fn get(&self, key: &str) -> Json {
        self.keys.get(key).cloned().unwrap_or_default()
    }

    fn put(&mut self, key: String, value: Json) {
        match value {
            Json(Value::Null) => self.keys.remove(&key),
            value => self.keys.insert(key, value),
        };
    }
}

impl StateMachine for KvStore {
    type Command = KvCommand;
    type Response = KvResponse;
    type Query = String;
    type Answer = KvAnswer;

    fn apply(&mut self, index: Index, command: KvCommand) -> KvResponse {
        self.as_of = index.0;
        match command {
            KvCommand::Read { key } => KvResponse::Value(self.get(&key)),
            KvCommand::Write { key, value } => {
                self.put(key, value);
                KvResponse::Done
            }
            KvCommand::Cas { key, old, new } => {
                let is_swapped = self.get(&key) == old;
                if is_swapped {
                    self.put(key, new);
                }
                KvResponse::Swapped(is_swapped)
            }
            KvCommand::Append { key, value } => {
                let list = self.keys.entry(key).or_insert_with(|| Json(Value::Array(Vec::new())));
                match &mut list.0 {
                    Value::Array(list) => {
                        list.push(value.0);
                        KvResponse::Done
                    }
                    _ => KvResponse::NotAList,
                }
            }
        }
    }

    fn query(&self, key: String) -> KvAnswer {
        KvAnswer { value: self.get(&key), as_of: Index(self.as_of) }
    }

    fn snapshot(&self) -> Vec<u8> {
        codec::encode_value(self)
    }

    fn begin_snapshot(&self) -> Box<dyn FnOnce() -> Vec<u8> + Send> {
        let state = self.clone();
        Box::new(move || state.snapshot())
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        *self = codec::decode_value(snapshot).map_err(RestoreError::new)?;
        Ok(())
    }
}

impl fmt::Display for KvCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { key } => write!(f, "read {key}"),
            Self::Write { key, value } => write!(f, "write {key} {value}"),
            Self::Cas { key, old, new } => write!(f, "cas {key} {old} {new}"),
            Self::Append { key, value } => write!(f, "append {key} {value}"),
        }
    }
}

/// Why a line is no command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KvSyntaxError {
    /// It begins with a word that is no command.
    #[error(
        "{word:?} is no command; there are: read KEY, write KEY VALUE, cas KEY OLD NEW, \
         append KEY VALUE"
    )]
    UnknownCommand {
        /// The word.
        word: String,
    },
    /// It names no key.
    #[error("{command} needs a key")]
    NoKey {
        /// Which command.
        command: String,
    },
    /// It has too many values, or too few.
    #[error("{command} takes {expected} values after its key, not {found}")]
    Values {
        /// Which command.
        command: String,
        /// How many it takes.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// A value is no JSON.
    #[error("the values of {command} are JSON, with texts as \"text\": {reason}")]
    NotJson {
        /// Which command.
        command: String,
        /// What the parser says.
        reason: String,
    },
}

/// `read KEY`, `write KEY VALUE`, `cas KEY OLD NEW` or `append KEY VALUE`, with JSON for values.
impl FromStr for KvCommand {
    type Err = KvSyntaxError;

    fn from_str(line: &str) -> Result<Self, KvSyntaxError> {
        let (word, rest) = first_word(line);
        let expected = match word {
            "read" => 0,
            "write" | "append" => 1,
            "cas" => 2,
            _ => return Err(KvSyntaxError::UnknownCommand { word: word.to_owned() }),
        };
        let (key, rest) = first_word(rest);
        let command = word.to_owned();
        if key.is_empty() {
            return Err(KvSyntaxError::NoKey { command });
        }
        let values = serde_json::Deserializer::from_str(rest).into_iter().collect();
        let values: Vec<Value> = match values {
            Ok(values) => values,
            Err(error) => {
                let error: serde_json::Error = error;
                return Err(KvSyntaxError::NotJson { command, reason: error.to_string() });
            }
        };
        let (key, found) = (key.to_owned(), values.len());
        let mut values = values.into_iter().map(Json);
        match (word, values.next(), values.next(), values.next()) {
            ("read", None, ..) => Ok(Self::Read { key }),
            ("write", Some(value), None, _) => Ok(Self::Write { key, value }),
            ("append", Some(value), None, _) => Ok(Self::Append { key, value }),
            ("cas", Some(old), Some(new), None) => Ok(Self::Cas { key, old, new }),
            _ => Err(KvSyntaxError::Values { command, expected, found }),
        }
    }
}

fn first_word(text: &str) -> (&str, &str) {
    let text = text.trim();
    text.split_once(char::is_whitespace).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Keys as plain lists of numbers: what the commands below can make of them.
    #[derive(Clone, Debug, PartialEq)]
    enum Held {
        Nothing,
        Number(i64),
        List(Vec<i64>),
    }

    impl Held {
        fn json(&self) -> Json {
            match self {
                Self::Nothing => Json(Value::Null),
                Self::Number(number) => Json::from(*number),
                Self::List(list) => Json(json!(list)),
            }
        }
    }

    fn number() -> impl Strategy<Value = i64> {
        0..4_i64
    }

    fn command() -> impl Strategy<Value = KvCommand> {
        let key = || prop::sample::select(vec!["a", "b"]).prop_map(str::to_owned);
        prop_oneof![
            key().prop_map(|key| KvCommand::Read { key }),
            (key(), prop::option::of(number()))
                .prop_map(|(key, value)| KvCommand::Write { key, value: Json(json!(value)) }),
            (key(), prop::option::of(number()), number()).prop_map(|(key, old, new)| {
                KvCommand::Cas { key, old: Json(json!(old)), new: new.into() }
            }),
            (key(), number())
                .prop_map(|(key, value)| KvCommand::Append { key, value: value.into() }),
        ]
    }

    /// The naive twin: says what a command comes to, and does it.
    fn twin(state: &mut BTreeMap<String, Held>, command: &KvCommand) -> KvResponse {
        let held = |value: &Json| match value.0.as_i64() {
            Some(number) => Held::Number(number),
            None => Held::Nothing,
        };
        match command {
            KvCommand::Read { key } => {
                KvResponse::Value(state.get(key).unwrap_or(&Held::Nothing).json())
            }
            KvCommand::Write { key, value } => {
                state.insert(key.clone(), held(value));
                KvResponse::Done
            }
            KvCommand::Cas { key, old, new } => {
                let is_swapped = state.get(key).unwrap_or(&Held::Nothing) == &held(old);
                if is_swapped {
                    state.insert(key.clone(), held(new));
                }
                KvResponse::Swapped(is_swapped)
            }
            KvCommand::Append { key, value } => {
                let element = value.0.as_i64().expect("elements are numbers");
                match state.entry(key.clone()).or_insert(Held::Nothing) {
                    Held::Number(_) => KvResponse::NotAList,
                    Held::List(list) => {
                        list.push(element);
                        KvResponse::Done
                    }
                    nothing @ Held::Nothing => {
                        *nothing = Held::List(vec![element]);
                        KvResponse::Done
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn the_store_does_what_its_naive_twin_does(
            commands in prop::collection::vec(command(), 0..60),
            restart_at in 0..60_usize,
        ) {
            let (mut store, mut state) = (KvStore::new(), BTreeMap::new());
            for (place, command) in commands.into_iter().enumerate() {
                if place == restart_at {
                    let snapshot = store.begin_snapshot();
                    store = KvStore::new();
                    store.restore(&snapshot()).unwrap();
                }
                let expected = twin(&mut state, &command);
                // By way of the log's encoding, as a server does it.
                let encoded = codec::encode_value(&command);
                let index = Index(place as u64 + 1);
                let outcome = raft_core::apply_encoded(&mut store, index, &encoded);
                prop_assert_eq!(raft_core::decode_outcome(&outcome).unwrap(), Ok(expected));
                for key in ["a", "b"] {
                    let held = state.get(key).unwrap_or(&Held::Nothing).json();
                    prop_assert_eq!(store.query(key.to_owned()), KvAnswer { value: held, as_of: index });
                }
            }
        }

        #[test]
        fn a_command_is_what_it_prints(command in command()) {
            prop_assert_eq!(command.to_string().parse(), Ok(command));
        }
    }

    #[test]
    fn values_are_any_json() {
        let command: KvCommand = r#" write  k {"b": [1, 2.5, "x y"], "a": null} "#.parse().unwrap();
        assert_eq!(command.to_string(), r#"write k {"a":null,"b":[1,2.5,"x y"]}"#);
        let mut store = KvStore::new();
        store.apply(Index(3), command);
        let value = json!({"a": null, "b": [1, 2.5, "x y"]});
        assert_eq!(store.query("k".to_owned()), KvAnswer { value: Json(value), as_of: Index(3) });
    }

    #[test]
    fn what_is_no_command_is_refused_in_words() {
        let table = [
            ("", "\"\" is no command; there are: read KEY,"),
            ("delete k", "\"delete\" is no command"),
            ("read", "read needs a key"),
            ("read k 1", "read takes 0 values after its key, not 1"),
            ("write k", "write takes 1 values after its key, not 0"),
            ("cas k 1", "cas takes 2 values after its key, not 1"),
            ("cas k 1 2 3", "cas takes 2 values after its key, not 3"),
            ("write k red", "the values of write are JSON, with texts as \"text\""),
        ];
        for (line, expected) in table {
            let error = line.parse::<KvCommand>().unwrap_err().to_string();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }

    #[test]
    fn a_deeply_nested_value_is_refused_and_nothing_overflows() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert!(format!("write k {deep}").parse::<KvCommand>().is_err());
        let encoded = codec::encode_value(&(1_u32, "k", deep));
        let outcome = raft_core::apply_encoded(&mut KvStore::new(), Index(1), &encoded);
        let outcome = raft_core::decode_outcome::<KvResponse>(&outcome).unwrap();
        assert!(outcome.unwrap_err().to_string().contains("cannot be read"));
    }

    #[test]
    fn what_is_no_snapshot_changes_nothing() {
        let mut store = KvStore::new();
        store.apply(Index(1), "write k 1".parse().unwrap());
        let before = store.clone();
        assert!(store.restore(b"no snapshot").is_err());
        assert_eq!(store, before);
    }
}
