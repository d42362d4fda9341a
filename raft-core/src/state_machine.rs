//! The application: what committed commands do.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{self, DecodeError};
use crate::types::Index;

/// A deterministic state machine that every server keeps a copy of.
///
/// Adding a field to `Command` is all it takes to replicate it. The same commands in the same order
/// must give the same state and the same responses on every server: no clock, no randomness, no
/// order of a hash map may enter.
///
/// ```
/// use raft_core::{Index, StateMachine};
///
/// /// Adds numbers up.
/// #[derive(Default)]
/// struct Sum(i64);
///
/// impl StateMachine for Sum {
///     type Command = i64;
///     type Response = i64;
///     type Query = ();
///     type Answer = i64;
///
///     fn apply(&mut self, _index: Index, command: i64) -> i64 {
///         self.0 += command;
///         self.0
///     }
///
///     fn query(&self, (): ()) -> i64 {
///         self.0
///     }
///
///     fn snapshot(&self) -> Vec<u8> {
///         self.0.to_le_bytes().to_vec()
///     }
///
///     fn restore(&mut self, snapshot: &[u8]) -> Result<(), raft_core::RestoreError> {
///         let bytes = snapshot.try_into().map_err(raft_core::RestoreError::new)?;
///         self.0 = i64::from_le_bytes(bytes);
///         Ok(())
///     }
/// }
///
/// let mut sum = Sum::default();
/// assert_eq!(sum.apply(Index(1), 40) + sum.apply(Index(2), 2), 82);
/// ```
pub trait StateMachine: Send + 'static {
    /// What clients ask for.
    type Command: Serialize + DeserializeOwned + Send;
    /// What they are answered.
    type Response: Serialize + DeserializeOwned + Send + 'static;
    /// What is asked without changing anything.
    type Query: Send + 'static;
    /// What such a question is answered.
    type Answer: Send + 'static;

    /// Applies a committed command: once for each, in log order. `index` is its place in the log.
    fn apply(&mut self, index: Index, command: Self::Command) -> Self::Response;

    /// Answers a question about the present state.
    fn query(&self, query: Self::Query) -> Self::Answer;

    /// The whole state as bytes.
    fn snapshot(&self) -> Vec<u8>;

    /// Begins a snapshot of the state as it is now. What is returned gives its bytes, on another thread
    /// and while commands are applied.
    ///
    /// Without a method of its own, a state machine does all the work here, and its server does nothing
    /// else meanwhile: no heartbeat leaves, so it must be done well within an election timeout. One that
    /// is too large for that keeps its state in parts that are shared and copied when they change, clones
    /// these here, and encodes them later.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// # use raft_core::{Index, RestoreError, StateMachine};
    /// struct Blobs(Vec<Arc<Vec<u8>>>);
    ///
    /// impl StateMachine for Blobs {
    /// #   type Command = Vec<u8>;
    /// #   type Response = ();
    /// #   type Query = ();
    /// #   type Answer = usize;
    /// #   fn apply(&mut self, _index: Index, blob: Vec<u8>) { self.0.push(Arc::new(blob)); }
    /// #   fn query(&self, (): ()) -> usize { self.0.len() }
    /// #   fn restore(&mut self, _snapshot: &[u8]) -> Result<(), RestoreError> { Ok(()) }
    ///     fn snapshot(&self) -> Vec<u8> {
    ///         self.begin_snapshot()()
    ///     }
    ///
    ///     fn begin_snapshot(&self) -> Box<dyn FnOnce() -> Vec<u8> + Send> {
    ///         let blobs = self.0.clone();
    ///         Box::new(move || blobs.iter().flat_map(|blob| blob.iter().copied()).collect())
    ///     }
    ///     // And the rest.
    /// }
    ///
    /// let mut blobs = Blobs(Vec::new());
    /// blobs.apply(Index(1), vec![1, 2]);
    /// let begun = blobs.begin_snapshot();
    /// blobs.apply(Index(2), vec![3]);
    /// assert_eq!(begun(), [1, 2]);
    /// ```
    fn begin_snapshot(&self) -> Box<dyn FnOnce() -> Vec<u8> + Send> {
        let state = self.snapshot();
        Box::new(move || state)
    }

    /// Replaces the whole state by one that [`StateMachine::snapshot`] returned.
    ///
    /// # Errors
    ///
    /// If the bytes are no snapshot. The state must be unchanged then.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError>;
}

/// What a client receives for its command, in the encoding of [`codec`]: the state machine's
/// response, or the reason why the command could not be read.
pub type CommandOutcome<R> = Result<R, UnreadableCommand>;

/// The command's bytes are no command of this state machine. It stands in the log but did nothing,
/// on every server alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize, thiserror::Error)]
#[error("the command cannot be read: {reason}")]
pub struct UnreadableCommand {
    /// What is wrong with it.
    pub reason: String,
}

/// Applies an encoded command and encodes the outcome.
pub fn apply_encoded<S: StateMachine>(machine: &mut S, index: Index, command: &[u8]) -> Vec<u8> {
    let outcome: CommandOutcome<S::Response> =
        decode_command::<S>(command).map(|command| machine.apply(index, command));
    codec::encode_value(&outcome)
}

/// Reads a command as it stands in the log.
pub(crate) fn decode_command<S: StateMachine>(command: &[u8]) -> CommandOutcome<S::Command> {
    codec::decode_value(command).map_err(|error| UnreadableCommand { reason: error.to_string() })
}

/// Reads what [`apply_encoded`] wrote.
///
/// # Errors
///
/// If the bytes are no outcome of a state machine with this response.
pub fn decode_outcome<R: DeserializeOwned>(bytes: &[u8]) -> Result<CommandOutcome<R>, DecodeError> {
    codec::decode_value(bytes)
}

/// The bytes are no snapshot of this state machine.
#[derive(Debug, thiserror::Error)]
#[error("not a snapshot of this state machine")]
pub struct RestoreError {
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl RestoreError {
    /// Wraps what the state machine found wrong.
    pub fn new(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { source: source.into() }
    }
}

/// A state machine that only keeps a list of what it was told, as the sample's servers do.
///
/// Its response is the number of commands applied so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandList {
    commands: Vec<(Index, String)>,
}

impl CommandList {
    /// An empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What was applied, and where it stands in the log.
    #[must_use]
    pub fn commands(&self) -> &[(Index, String)] {
        &self.commands
    }
}

impl StateMachine for CommandList {
    type Command = String;
    type Response = u64;
    type Query = ();
    type Answer = Vec<String>;

    fn apply(&mut self, index: Index, command: String) -> u64 {
        self.commands.push((index, command));
        self.commands.len() as u64
    }

    fn query(&self, (): ()) -> Vec<String> {
        self.commands.iter().map(|(_, command)| command.clone()).collect()
    }

    fn snapshot(&self) -> Vec<u8> {
        codec::encode_value(&self.commands)
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.commands = codec::decode_value(snapshot).map_err(RestoreError::new)?;
        Ok(())
    }
}

impl fmt::Display for CommandList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (_, command)) in self.commands.iter().enumerate() {
            write!(f, "{}{command}", if place == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
