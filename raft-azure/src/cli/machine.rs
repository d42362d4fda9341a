//! The state machines that a process can serve, and how each speaks on a line.

use bytes::Bytes;
use clap::ValueEnum;
use raft_azure::event::short;
use raft_azure::kv::{KvAnswer, KvCommand, KvResponse, KvStore};
use raft_core::{CommandList, StateMachine, codec, decode_outcome};
use serde_json::{Value, json};

use super::Failure;
use super::server::Describe;

/// Which state machine the commands are for. All servers and clients of a cluster must agree on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum MachineKind {
    /// A list of whatever it was told
    #[default]
    List,
    /// Keys and their values: read, write, cas and append
    Kv,
}

/// What a client is told, for people and for programs.
#[derive(Debug)]
pub(super) enum Told {
    /// How many commands were applied.
    Applied(u64),
    /// What the command came to.
    Response(Value),
}

impl MachineKind {
    /// A line as an encoded command.
    pub(super) fn encode(self, line: &str) -> Result<Bytes, Failure> {
        Ok(match self {
            Self::List => codec::encode_value(&line).into(),
            Self::Kv => {
                let command: KvCommand = line
                    .parse()
                    .map_err(|error: raft_azure::kv::KvSyntaxError| Failure::Usage(error.into()))?;
                codec::encode_value(&command).into()
            }
        })
    }

    /// How to put its commands into words.
    pub(super) fn describe(self) -> Describe {
        match self {
            Self::List => CommandList::describe,
            Self::Kv => KvStore::describe,
        }
    }

    /// What a server answered.
    pub(super) fn decode(self, response: &[u8]) -> Result<Told, Failure> {
        Ok(match self {
            Self::List => Told::Applied(decode_outcome(response)??),
            Self::Kv => {
                let response: KvResponse = decode_outcome(response)??;
                Told::Response(response.to_json())
            }
        })
    }
}

/// A state machine whose commands, state and questions can be put on a line.
pub(super) trait Spoken: StateMachine + Default {
    /// A command as it stands in the log.
    fn describe(command: &[u8]) -> Option<String>;

    /// The whole state.
    fn lines(&self) -> Vec<String>;

    /// What is asked.
    ///
    /// # Errors
    ///
    /// What is missing.
    fn question(asked: &Value) -> Result<Self::Query, String>;

    /// What the answer is, and which command was the last before it if that is known.
    fn answer(answer: Self::Answer) -> (Value, Option<u64>);
}

impl Spoken for CommandList {
    fn describe(command: &[u8]) -> Option<String> {
        codec::decode_value(command).ok()
    }

    fn lines(&self) -> Vec<String> {
        self.commands().iter().map(|(_, command)| short(command)).collect()
    }

    fn question(_asked: &Value) -> Result<(), String> {
        Ok(())
    }

    fn answer(answer: Vec<String>) -> (Value, Option<u64>) {
        (json!(answer), None)
    }
}

impl Spoken for KvStore {
    fn describe(command: &[u8]) -> Option<String> {
        codec::decode_value::<KvCommand>(command).ok().map(|command| command.to_string())
    }

    /// Whole, unlike a list's: whoever compares two servers must see what differs.
    fn lines(&self) -> Vec<String> {
        self.iter().map(|(key, value)| format!("{key} = {value}")).collect()
    }

    fn question(asked: &Value) -> Result<String, String> {
        let key = asked.get("key").and_then(Value::as_str);
        key.map(str::to_owned).ok_or_else(|| "the query names no \"key\"".to_owned())
    }

    fn answer(answer: KvAnswer) -> (Value, Option<u64>) {
        (answer.value.0, Some(answer.as_of.0))
    }
}
