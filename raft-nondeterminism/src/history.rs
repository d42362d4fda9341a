//! Histories: what clients asked a system for, and what they were told, as lines of JSON.
//!
//! Guarantees: a file that makes no sense is refused with the line that is wrong, and nothing in it is
//!             guessed.
//! Relies on:  lines in real-time order, or a `time` in every line of a client, in which case lines are
//!             sorted by it and the files of several clients may be put together.
//! Elsewhere:  whether a history is linearizable is decided in [`crate::linearizability`].
//!
//! The shape is Jepsen's, so that its checkers read our histories and this one reads theirs:
//!
//! ```text
//! {"process":0,"type":"invoke","f":"write","key":"x","value":1,"time":100}
//! {"process":1,"type":"invoke","f":"read","key":"x","value":null,"time":150}
//! {"process":0,"type":"ok","f":"write","key":"x","value":1,"time":200}
//! {"process":1,"type":"ok","f":"read","key":"x","value":1,"time":250}
//! ```
//!
//! - `process` is a number or a name. A process has one operation under way at a time. The lines of
//!   `nemesis`, and of names that begin so, are kept for the picture and are no operations.
//! - `type` is `invoke`, and then `ok` (it took effect), `fail` (it did not and will not) or `info`
//!   (nobody knows: it may have, it may still, or never). An operation without a completion is like
//!   one that ended in `info`. In Jepsen a process ends with its `info`; here it may go on, and the
//!   operation it left behind stays open.
//! - `f` is `read`, `write`, `cas` or `append`; what each means is in [`crate::linearizability`].
//! - Numbers in `key`, `value` and `expected` are whole and fit into 64 bits, or are doubles; one that
//!   is too large to be told from its neighbours is refused.
//! - `key` is any JSON. Without it there is one register.
//! - `value` is any JSON. Writes and appends say it when they are invoked, reads when they are ok,
//!   where a missing one is `null`. What else a completion says about the value is not looked at.
//! - `cas` has `expected` and `value`, or Jepsen's `"value": [expected, new]`.
//! - `order` is a hint, which a completion may carry: the index in the log at which the operation took
//!   effect, for a read its read index. A wrong hint costs time and changes no verdict.
//! - `time` is in nanoseconds. `error`, `index` and fields of other names may be there.

mod pairing;
mod record;

use std::fmt;
use std::io::{self, BufRead, Write};

use serde_json::Value;

pub use record::{Function, Kind, Process, Record};

/// What was asked for and told, in real-time order.
///
/// ```
/// use raft_nondeterminism::history::History;
///
/// let text = r#"
///     {"process":0,"type":"invoke","f":"write","value":1}
///     {"process":0,"type":"ok","f":"write"}
/// "#;
/// assert_eq!(History::parse(text)?.operations().len(), 1);
/// # Ok::<(), raft_nondeterminism::history::HistoryError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    operations: Vec<Operation>,
    disturbances: Vec<Disturbance>,
}

impl History {
    /// Reads lines of JSON. `file` is what errors call them.
    ///
    /// # Errors
    ///
    /// If they cannot be read, or do not make sense: [`HistoryError`] says which line, and why.
    pub fn read(mut reader: impl BufRead, file: &str) -> Result<Self, HistoryError> {
        let mut lines = Vec::new();
        let mut text = String::new();
        for line in 1.. {
            let refuse = |problem| HistoryError { file: file.to_owned(), line, problem };
            text.clear();
            if reader.read_line(&mut text).map_err(|error| refuse(Problem::Unreadable(error)))? == 0
            {
                break;
            }
            // Some editors begin a file with a byte order mark.
            let text = text.strip_prefix('\u{feff}').filter(|_| line == 1).unwrap_or(&text);
            if !text.trim().is_empty() {
                let record = serde_json::from_str(text)
                    .map_err(|error| refuse(Problem::NotARecord(without_place(&error))))?;
                lines.push((line, record));
            }
        }
        Self::from_lines(file, lines)
    }

    /// Reads lines of JSON from text.
    ///
    /// # Errors
    ///
    /// As for [`History::read`].
    pub fn parse(text: &str) -> Result<Self, HistoryError> {
        Self::read(text.as_bytes(), "history")
    }

    /// Takes lines that were never written down.
    ///
    /// # Errors
    ///
    /// As for [`History::read`]; the lines are numbered from one.
    pub fn from_records(records: impl IntoIterator<Item = Record>) -> Result<Self, HistoryError> {
        Self::from_lines("history", (1..).zip(records).collect())
    }

    fn from_lines(file: &str, lines: Vec<(usize, Record)>) -> Result<Self, HistoryError> {
        let (operations, disturbances) = pairing::pair(file, lines)?;
        Ok(Self { operations, disturbances })
    }

    /// Every operation, in the order of their invocations.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// What the nemesis said meanwhile.
    #[must_use]
    pub fn disturbances(&self) -> &[Disturbance] {
        &self.disturbances
    }
}

/// Writes one line of a history.
///
/// # Errors
///
/// If `writer` fails.
pub fn write_record(mut writer: impl Write, record: &Record) -> io::Result<()> {
    serde_json::to_writer(&mut writer, record)?;
    writer.write_all(b"\n")
}

/// One operation of a client: what it asked for, and what it was told.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// Who asked.
    pub process: Process,
    /// For which register; `null` if there is only one.
    pub key: Value,
    /// What for.
    pub action: Action,
    /// How it ended.
    pub outcome: Outcome,
    /// When it was invoked. Moments only order: one operation precedes another if its `completed` is
    /// smaller than the other's `invoked`.
    pub invoked: u64,
    /// When it was completed; never, if nobody knows whether it took effect.
    pub completed: Option<u64>,
    /// The hint: where in the log it took effect.
    pub order: Option<u64>,
    /// When it was invoked, in nanoseconds, if the history says.
    pub invoked_time: Option<i64>,
    /// When it was completed, in nanoseconds, if the history says.
    pub completed_time: Option<i64>,
    /// The line of its invocation.
    pub line: usize,
    /// The line of its completion.
    pub completed_line: Option<usize>,
}

/// As it is drawn: `write 3`, `read → 3`, `cas 1→2`, `append 4`.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.action {
            Action::Read(None) => f.write_str("read"),
            Action::Read(Some(value)) => write!(f, "read → {value}"),
            Action::Write(value) => write!(f, "write {value}"),
            Action::Cas { expected, value } => write!(f, "cas {expected}→{value}"),
            Action::Append(value) => write!(f, "append {value}"),
        }
    }
}

/// What an operation asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// What is there, and what that was, if the read came back.
    Read(Option<Value>),
    /// That this is there.
    Write(Value),
    /// That `value` is there, if `expected` was.
    Cas {
        /// What has to be there before.
        expected: Value,
        /// What is there afterwards.
        value: Value,
    },
    /// That this comes behind what is there.
    Append(Value),
}

impl Action {
    /// Its name in a history.
    #[must_use]
    pub fn function(&self) -> Function {
        match self {
            Self::Read(_) => Function::Read,
            Self::Write(_) => Function::Write,
            Self::Cas { .. } => Function::Cas,
            Self::Append(_) => Function::Append,
        }
    }
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It took effect between its invocation and its completion.
    Ok,
    /// It took no effect.
    Fail,
    /// Nobody knows: it took effect at some time after its invocation, or never.
    Info,
}

/// What somebody did to the system meanwhile.
#[derive(Clone, Debug, PartialEq)]
pub struct Disturbance {
    /// Who did it.
    pub process: Process,
    /// What.
    pub f: Function,
    /// To whom, or how.
    pub value: Option<Value>,
    /// When; comparable with the moments of operations.
    pub moment: u64,
    /// The line that says so.
    pub line: usize,
}

/// Why a history was refused: `FILE:LINE: what is wrong`.
#[derive(Debug, thiserror::Error)]
#[error("{file}:{line}: {problem}")]
pub struct HistoryError {
    /// What was read.
    file: String,
    /// Which of its lines, from one.
    line: usize,
    /// What is wrong with it.
    problem: Problem,
}

impl HistoryError {
    /// The line that is wrong, from one.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// What is wrong with it.
    #[must_use]
    pub fn problem(&self) -> &Problem {
        &self.problem
    }
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The line cannot be read, or is no text.
    #[error("cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// The line is no JSON object with the fields of a [`Record`].
    #[error("no line of a history: {0}")]
    NotARecord(String),
    /// A process has one operation under way at a time.
    #[error(
        "process {process} invokes an operation while the one of line {earlier} is under way; it has \
         to complete first, with `info` if nobody knows how it ended"
    )]
    InvokedTwice {
        /// Who.
        process: Process,
        /// Where the other one was invoked.
        earlier: usize,
    },
    /// Only what was invoked can complete, and only once.
    #[error("process {process} completes ({kind}) an operation, but has none under way")]
    NotInvoked {
        /// Who.
        process: Process,
        /// How it is said to have ended.
        kind: Kind,
    },
    /// A completion says again what was invoked.
    #[error("completes `{f}`, but what was invoked in line {earlier} is `{invoked}`")]
    OtherFunction {
        /// What the completion says.
        f: Function,
        /// What the invocation says.
        invoked: Function,
        /// Where that is.
        earlier: usize,
    },
    /// A completion is about the register of its invocation.
    #[error(
        "completes an operation on key {key}, but what was invoked in line {earlier} is on key {invoked}"
    )]
    OtherKey {
        /// What the completion says.
        key: Value,
        /// What the invocation says.
        invoked: Value,
        /// Where that is.
        earlier: usize,
    },
    /// There is no operation of this name.
    #[error(
        "`{f}` is none of `read`, `write`, `cas` and `append`, and only a nemesis does anything else"
    )]
    UnknownFunction {
        /// The name.
        f: Function,
    },
    /// Whoever changes a register says to what.
    #[error("a `{f}` is invoked with a `value`")]
    NoValue {
        /// The operation.
        f: Function,
    },
    /// A `cas` says what it expects.
    #[error("a `cas` is invoked with `expected` and `value`, or with `\"value\": [expected, new]`")]
    NothingExpected,
    /// Where lines are not in order of time, one without a time has no place.
    #[error(
        "has no `time`, but other lines have one and are not in its order; either every line of a \
         client has a `time`, or lines are in real-time order"
    )]
    NoTime,
    /// Two numbers that differ would be the same value.
    #[error(
        "number {number} cannot be told from its neighbours, as it is read with 53 bits; a whole \
         number has to fit into 64 bits, and a larger one can be written as a string"
    )]
    InexactNumber {
        /// The number, as it was read.
        number: String,
    },
}

/// What serde says, without the place: the line is always the first of one, and ours is said already.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line 1 column ") {
        Some((what, column)) => format!("{what} (column {column})"),
        None => text,
    }
}
