//! The door to the application: commands and responses are typed, and bytes that are none do nothing.

use raft_core::codec::encode_value;
use raft_core::{
    CommandList, Index, RestoreError, StateMachine, UnreadableCommand, apply_encoded,
    decode_outcome,
};

#[test]
fn a_command_is_applied_and_its_response_comes_back() {
    let mut list = CommandList::new();
    let command = encode_value(&"x = 1".to_owned());
    let outcome = apply_encoded(&mut list, Index(7), &command);
    assert_eq!(decode_outcome::<u64>(&outcome).unwrap(), Ok(1));
    assert_eq!(list.commands(), [(Index(7), "x = 1".to_owned())]);
    assert_eq!(
        decode_outcome::<u64>(&apply_encoded(&mut list, Index(9), &command)).unwrap(),
        Ok(2)
    );
    assert_eq!(list.query(()), ["x = 1", "x = 1"]);
}

/// Every server skips it alike, and the client learns why.
#[test]
fn a_command_that_cannot_be_read_does_nothing_and_says_so() {
    let mut list = CommandList::new();
    let outcome = apply_encoded(&mut list, Index(7), b"no string");
    let error: UnreadableCommand = decode_outcome::<u64>(&outcome).unwrap().unwrap_err();
    assert!(error.to_string().starts_with("the command cannot be read: malformed"), "{error}");
    assert_eq!(list, CommandList::new());
    assert!(decode_outcome::<u64>(b"garbage").is_err());
}

#[test]
fn a_snapshot_restores_the_state_and_garbage_changes_nothing() {
    let mut list = CommandList::new();
    list.apply(Index(2), "a".to_owned());
    list.apply(Index(5), "b".to_owned());
    assert_eq!(list.to_string(), "a, b");
    let mut other = CommandList::new();
    other.restore(&list.snapshot()).unwrap();
    assert_eq!(other, list);
    let error: RestoreError = other.restore(b"garbage").unwrap_err();
    assert_eq!(error.to_string(), "not a snapshot of this state machine");
    assert!(std::error::Error::source(&error).is_some());
    assert_eq!(other, list);
}
