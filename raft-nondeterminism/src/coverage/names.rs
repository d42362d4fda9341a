//! Which names can stand in coverage, and how those that cannot are shown all the same.
//!
//! Guarantees: no name takes more than a line of a text, and none is shown as nothing.
//! Elsewhere:  who checks them is the simulation, for what was declared, and its world, for what is
//!             learned.

use std::fmt::Write as _;

use super::{CRASH, DOWN, NodeKind, RESTART};
use crate::written::OneLine;

/// What a timer's event is called, before the name of the timer.
pub(crate) const TIMEOUT: &str = "timeout ";
/// What a request's event is called, before the name of the message.
pub(crate) const REQUEST: &str = "request ";

/// Why a name cannot stand in coverage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Names stand in lines of text, between others.
    #[error("{name:?} is not one line, and cannot be the name of {of} in coverage")]
    NotALine {
        /// What it is the name of: `a state`.
        of: &'static str,
        /// The name.
        name: String,
    },
    /// The two would be counted as one.
    #[error(
        "a message cannot be called {name:?} in coverage, where that is no message: Node::message_name \
         may call it something else"
    )]
    NoMessage {
        /// The name.
        name: String,
    },
    /// The two would be taken for one.
    #[error(
        "the state of a node that is up cannot be called {name:?} in coverage: Node::state_name may call \
         it something else"
    )]
    NotUp {
        /// The name.
        name: String,
    },
}

/// True if a name takes one line, and something of it.
pub(crate) fn is_line(name: &str) -> bool {
    let ends_line = |letter: char| letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}');
    !name.is_empty() && name.trim() == name && !name.contains(ends_line)
}

/// Says whether a name takes one line, and something of it.
pub(crate) fn check_line(of: &'static str, name: &str) -> Result<(), NameError> {
    if is_line(name) { Ok(()) } else { Err(NameError::NotALine { of, name: name.to_owned() }) }
}

/// Says whether a message can be called this.
pub(crate) fn check_message(name: &str) -> Result<(), NameError> {
    check_line("a message", name)?;
    let is_other = [CRASH, RESTART].contains(&name)
        || [TIMEOUT, REQUEST].iter().any(|it| name.starts_with(it));
    if is_other { Err(NameError::NoMessage { name: name.to_owned() }) } else { Ok(()) }
}

/// Says whether the state of a node that is up can be called this.
pub(crate) fn check_state(name: &str) -> Result<(), NameError> {
    check_line("a state", name)?;
    if name == DOWN { Err(NameError::NotUp { name: name.to_owned() }) } else { Ok(()) }
}

/// Says whether all names that somebody has declared can be that.
pub(crate) fn check_kind(kind: &NodeKind) -> Result<(), NameError> {
    check_line("a kind of node", &kind.name)?;
    kind.states.iter().try_for_each(|name| check_line("a state", name))?;
    kind.events.iter().try_for_each(|name| check_line("an event", name))
}

/// A name on one line of a text, whatever it is.
pub(super) fn shown(name: &str) -> String {
    if name.is_empty() {
        return "\"\"".to_owned();
    }
    let mut line = OneLine::new(String::with_capacity(name.len()));
    let written = line.write_str(name).and_then(|()| line.finish());
    written.expect("a string takes every name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_line_and_mean_one_thing() {
        for name in ["", " ", "a\nb", "a ", "\tb", "a\u{2028}b"] {
            let error = check_message(name).unwrap_err();
            assert_eq!(error, NameError::NotALine { of: "a message", name: name.to_owned() });
            assert!(check_state(name).is_err() && check_line("a timer", name).is_err());
        }
        for name in ["crash", "restart", "timeout t", "request Press"] {
            let error = check_message(name).unwrap_err();
            assert_eq!(error, NameError::NoMessage { name: name.to_owned() });
            assert_eq!(check_state(name), Ok(()));
        }
        for name in ["Crash", "timeout", "requested", "down", "Vote {}"] {
            assert_eq!(check_message(name), Ok(()));
        }
        assert!(check_state("down").is_err());
    }

    #[test]
    fn a_name_that_is_shown_is_one_line() {
        for (name, expected) in [("a b", "a b"), ("", "\"\""), ("a\nb ", "a\\nb\\u{20}")] {
            assert_eq!(shown(name), expected);
        }
    }
}
