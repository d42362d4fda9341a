//! One register of a history: its operations, with numbers in place of values.
//!
//! Guarantees: two values have the same number exactly if they are the same JSON.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::history::{self, History, Outcome};

/// The number of a value.
pub(super) type ValueId = u32;

/// What every register holds at first.
pub(super) const NULL: ValueId = 0;

/// What happened to one register.
#[derive(Debug)]
pub(super) struct Register<'h> {
    pub(super) key: &'h Value,
    pub(super) values: Values<'h>,
    /// What has to be explained, in the order of invocations: operations that took effect, and those
    /// that may have.
    pub(super) steps: Vec<Step>,
}

/// An operation that took effect, or may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) action: Action,
    pub(super) invoked: u64,
    /// Never, if nobody knows whether it took effect.
    pub(super) completed: Option<u64>,
    pub(super) order: Option<u64>,
    /// Where it is among the operations of the history.
    pub(super) place: usize,
}

/// What an operation does to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Action {
    Read(ValueId),
    Write(ValueId),
    Cas { expected: ValueId, value: ValueId },
    Append(ValueId),
}

/// The registers of a history, in the order in which they were first used.
pub(super) fn registers(history: &History) -> Vec<Register<'_>> {
    let mut registers: Vec<Register<'_>> = Vec::new();
    let mut places = BTreeMap::new();
    for (place, operation) in history.operations().iter().enumerate() {
        let at = *places.entry(Token::of(&operation.key)).or_insert_with(|| {
            let (values, steps) = (Values::new(), Vec::new());
            registers.push(Register { key: &operation.key, values, steps });
            registers.len() - 1
        });
        let register = &mut registers[at];
        // What failed had no effect, and whether a read that never came back took place is all the same.
        if operation.outcome == Outcome::Fail {
            continue;
        }
        let mut id = |value| register.values.id(value);
        let action = match &operation.action {
            history::Action::Read(None) => continue,
            history::Action::Read(Some(value)) => Action::Read(id(value)),
            history::Action::Write(value) => Action::Write(id(value)),
            history::Action::Cas { expected, value } => {
                Action::Cas { expected: id(expected), value: id(value) }
            }
            history::Action::Append(value) => Action::Append(id(value)),
        };
        let &history::Operation { invoked, completed, order, .. } = operation;
        register.steps.push(Step { action, invoked, completed, order, place });
    }
    registers
}

/// The numbers of values.
#[derive(Debug)]
pub(super) struct Values<'h> {
    ids: BTreeMap<Token<'h>, ValueId>,
    values: Vec<&'h Value>,
    /// What is in each value that is an array.
    elements: Vec<Option<Vec<ValueId>>>,
}

impl<'h> Values<'h> {
    fn new() -> Self {
        let mut values = Self { ids: BTreeMap::new(), values: Vec::new(), elements: Vec::new() };
        let null = values.id(&Value::Null);
        assert!(null == NULL, "the first number is that of null");
        values
    }

    fn id(&mut self, value: &'h Value) -> ValueId {
        let token = Token::of(value);
        if let Some(&id) = self.ids.get(&token) {
            return id;
        }
        let elements = match value {
            Value::Array(elements) => Some(elements.iter().map(|value| self.id(value)).collect()),
            _ => None,
        };
        let id = self.values.len() as ValueId;
        self.ids.insert(token, id);
        self.values.push(value);
        self.elements.push(elements);
        id
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn value(&self, id: ValueId) -> &'h Value {
        self.values[id as usize]
    }

    pub(super) fn elements(&self, id: ValueId) -> Option<&[ValueId]> {
        self.elements[id as usize].as_deref()
    }
}

/// A value as something that can be compared: the frequent kinds without a copy.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Token<'h> {
    Null,
    Bool(bool),
    Int(i64),
    Text(&'h str),
    /// Anything else, as it is printed: objects are printed with their fields in one order.
    Json(String),
}

impl<'h> Token<'h> {
    fn of(value: &'h Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(is) => Self::Bool(*is),
            Value::String(text) => Self::Text(text),
            Value::Number(number) => match number.as_i64() {
                Some(number) => Self::Int(number),
                None => Self::Json(number.to_string()),
            },
            Value::Array(_) | Value::Object(_) => Self::Json(value.to_string()),
        }
    }
}
