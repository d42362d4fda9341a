//! SQL filters and actions: the documented subset of SQL-92 that rules are written in.
//!
//! Guarantees: an expression is read once, when its rule is made, and refused there with the place of
//!             the mistake; evaluation never panics; recursion is bounded when the text is read.
//! Elsewhere:  which message a rule is asked about is in [`super::filter`].
//!
//! A whole number is 64 bits wide, as in the service: what `SET` gives a property is a long.
//! A property that a message does not have is *unknown*; so is whatever is computed from it. A message
//! passes if the expression is true, which unknown is not.

mod eval;
mod lexer;
mod parser;

use std::fmt;

use self::parser::{Predicate, Statement};
use super::message::BusMessage;

pub use self::eval::EvaluationError;

/// The longest expression the service takes.
const TEXT_LENGTH_MAX: usize = 1024;

/// A condition on a message, in SQL.
///
/// ```
/// use raft_mocking::broker::{BusMessage, SqlFilter};
///
/// let filter = SqlFilter::new("sys.To = 'server-1' AND term BETWEEN 1 AND 2");
/// assert!(filter.is_err(), "there is no BETWEEN");
/// let filter = SqlFilter::new("sys.To = 'server-1' AND term IN (1, 2)")?;
/// let message = BusMessage::new("").with_to("server-1").with_property("term", 2);
/// assert_eq!(filter.matches(&message), Ok(true));
/// # Ok::<(), raft_mocking::broker::SqlError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SqlFilter {
    text: String,
    predicate: Predicate,
}

impl SqlFilter {
    /// Reads a condition.
    ///
    /// # Errors
    /// It is none; the error says where.
    pub fn new(text: impl Into<String>) -> Result<Self, SqlError> {
        let text = text.into();
        let predicate = parser::predicate(&text)?;
        Ok(Self { text, predicate })
    }

    /// The condition as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the condition is true for `message`.
    ///
    /// # Errors
    /// It cannot be computed: the message then is one that the filter failed on.
    pub fn matches(&self, message: &BusMessage) -> Result<bool, EvaluationError> {
        Ok(eval::truth(&self.predicate, message)? == Some(true))
    }
}

/// What a rule changes in its copy of a message, in SQL.
#[derive(Debug, Clone, PartialEq)]
pub struct SqlAction {
    text: String,
    statements: Vec<Statement>,
}

impl SqlAction {
    /// Reads `SET` and `REMOVE` statements, with `;` between them.
    ///
    /// # Errors
    /// They are none; the error says where.
    pub fn new(text: impl Into<String>) -> Result<Self, SqlError> {
        let text = text.into();
        let statements = parser::statements(&text)?;
        Ok(Self { text, statements })
    }

    /// The statements as they were written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Does what the statements say.
    ///
    /// # Errors
    /// A value cannot be computed. What was said before has been done.
    pub fn apply(&self, message: &mut BusMessage) -> Result<(), EvaluationError> {
        self.statements.iter().try_for_each(|statement| eval::apply(statement, message))
    }
}

/// A text is no expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the SQL expression is wrong at character {place}: {problem}")]
pub struct SqlError {
    /// Characters before the mistake.
    pub place: usize,
    /// What is wrong there.
    pub problem: SqlProblem,
}

/// What is wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SqlProblem {
    /// Longer than the service takes.
    TooLong,
    /// Nested too deeply.
    TooDeep,
    /// A text or a quoted name does not end.
    Unclosed,
    /// No token starts with this character.
    Character(char),
    /// A number that cannot be held.
    Number,
    /// Something else was expected.
    Expected(&'static str),
    /// No message has this system property.
    SystemProperty(String),
    /// A system property that no action may change.
    ReadOnly(String),
}

impl fmt::Display for SqlProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "more than {TEXT_LENGTH_MAX} characters"),
            Self::TooDeep => f.write_str("nested too deeply"),
            Self::Unclosed => f.write_str("a quotation does not end"),
            Self::Character(c) => write!(f, "unexpected character {c:?}"),
            Self::Number => f.write_str("a number that is too large"),
            Self::Expected(what) => write!(f, "expected {what}"),
            Self::SystemProperty(name) => write!(f, "there is no system property '{name}'"),
            Self::ReadOnly(name) => write!(f, "the system property '{name}' cannot be changed"),
        }
    }
}

#[cfg(test)]
mod tests;
