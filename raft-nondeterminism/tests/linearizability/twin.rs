//! The naive twin: tries every order, with values as they are.

use raft_nondeterminism::history::{Action, History, Operation, Outcome};
use serde_json::Value;

/// Whether some order of the operations explains what the clients were told.
pub(crate) fn is_linearizable(history: &History) -> bool {
    let happened = |operation: &&Operation| operation.outcome != Outcome::Fail;
    let operations: Vec<_> = history.operations().iter().filter(happened).collect();
    let mut keys: Vec<&Value> = operations.iter().map(|operation| &operation.key).collect();
    keys.dedup();
    keys.into_iter().all(|key| {
        let of_key = operations.iter().filter(|operation| operation.key == *key);
        can_go_on(&of_key.copied().collect::<Vec<_>>(), &Value::Null)
    })
}

/// Tries each operation that none of the others precedes, as the next one.
fn can_go_on(left: &[&Operation], state: &Value) -> bool {
    // What never completed need not take effect.
    if left.iter().all(|operation| operation.outcome == Outcome::Info) {
        return true;
    }
    (0..left.len()).any(|next| {
        let others: Vec<_> =
            left.iter().enumerate().filter(|(at, _)| *at != next).map(|(_, one)| *one).collect();
        let is_preceded =
            others.iter().any(|one| one.completed.is_some_and(|end| end < left[next].invoked));
        !is_preceded
            && apply(state, &left[next].action).is_some_and(|state| can_go_on(&others, &state))
    })
}

/// What an action makes of a state, if it is possible there.
pub(crate) fn apply(state: &Value, action: &Action) -> Option<Value> {
    match action {
        Action::Read(None) => Some(state.clone()),
        Action::Read(Some(value)) => (state == value).then(|| state.clone()),
        Action::Write(value) => Some(value.clone()),
        Action::Cas { expected, value } => (state == expected).then(|| value.clone()),
        Action::Append(value) => match (state, value) {
            (Value::Null, value) => Some(Value::Array(vec![value.clone()])),
            (Value::Array(list), value) => Some(list.iter().chain([value]).cloned().collect()),
            (Value::String(text), Value::String(end)) => Some(Value::String(text.clone() + end)),
            _ => None,
        },
    }
}
