//! From lines to operations: which completion belongs to which invocation.
//!
//! Guarantees: every line of a client is part of exactly one operation, or the history is refused with
//!             the line that is wrong. Nothing is guessed.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    Action, Disturbance, Function, HistoryError, Kind, Operation, Outcome, Problem, Record,
};

/// Puts lines into real-time order and pairs them. Each comes with its number in `file`.
pub(super) fn pair(
    file: &str,
    mut lines: Vec<(usize, Record)>,
) -> Result<(Vec<Operation>, Vec<Disturbance>), HistoryError> {
    let moments = moments(file, &mut lines)?;
    let mut operations: Vec<Operation> = Vec::with_capacity(lines.len() / 2);
    let mut disturbances = Vec::new();
    let mut under_way = BTreeMap::new();
    for ((line, record), moment) in lines.into_iter().zip(moments) {
        let refuse = |problem| HistoryError { file: file.to_owned(), line, problem };
        if record.process.is_nemesis() {
            let Record { process, f, value, .. } = record;
            disturbances.push(Disturbance { process, f, value, moment, line });
            continue;
        }
        if let Some(number) = inexact_number(&record) {
            return Err(refuse(Problem::InexactNumber { number }));
        }
        if record.kind == Kind::Invoke {
            if let Some(&earlier) = under_way.get(&record.process) {
                let operation: &Operation = &operations[earlier];
                let (earlier, process) = (operation.line, record.process);
                return Err(refuse(Problem::InvokedTwice { process, earlier }));
            }
            under_way.insert(record.process.clone(), operations.len());
            operations.push(invoked(line, record, moment).map_err(refuse)?);
        } else {
            let Some(place) = under_way.remove(&record.process) else {
                let Record { process, kind, .. } = record;
                return Err(refuse(Problem::NotInvoked { process, kind }));
            };
            complete(&mut operations[place], line, record, moment).map_err(refuse)?;
        }
    }
    Ok((operations, disturbances))
}

/// Sorts lines by time if all have one, and says when each happened: an operation precedes another if
/// its completion's moment is smaller than the other's invocation.
///
/// What a nemesis says never matters for the verdict, so its lines have no say in this: one without a
/// time happened when the line before it did.
///
/// Lines that come in order of time are in real-time order, also those of equal times: whoever wrote
/// the file saw them so. Lines that do not were put together from several files, and which of two
/// that say the same nanosecond came first is unknown: there, completions come after invocations, so
/// that operations which touch are concurrent. That forgets an order at worst, and invents none. Where
/// some of such lines have no time, nobody can say where they belong.
fn moments(file: &str, lines: &mut [(usize, Record)]) -> Result<Vec<u64>, HistoryError> {
    let of_clients = || lines.iter().filter(|(_, record)| !record.process.is_nemesis());
    let in_time = of_clients().filter_map(|(_, record)| record.time).is_sorted();
    let untimed = of_clients().find(|(_, record)| record.time.is_none());
    match untimed {
        Some(_) if in_time => return Ok((0..lines.len() as u64).collect()),
        Some(&(line, _)) => {
            return Err(HistoryError { file: file.to_owned(), line, problem: Problem::NoTime });
        }
        None => {}
    }
    let mut time = lines.iter().find_map(|(_, record)| record.time);
    for (_, record) in lines.iter_mut() {
        time = record.time.or(time);
        record.time = time;
    }
    lines.sort_by_key(|(_, record)| record.time);
    if in_time {
        return Ok((0..lines.len() as u64).collect());
    }
    let mut rank = 0;
    let mut previous = None;
    let moment = |(_, record): &(usize, Record)| {
        if previous.is_some_and(|time| time != record.time) {
            rank += 2;
        }
        previous = Some(record.time);
        rank + u64::from(record.kind != Kind::Invoke)
    };
    Ok(lines.iter().map(moment).collect())
}

/// The smallest whole number such that it and the next one are the same as a double.
const INEXACT: f64 = 9_007_199_254_740_992.0;

/// A number that others become when they are read: a whole one that neither 64 bits with a sign nor 64
/// bits without one can hold, or one with a fraction or an exponent that is as large.
fn inexact_number(record: &Record) -> Option<String> {
    fn find(value: &Value) -> Option<&serde_json::Number> {
        match value {
            Value::Number(number) => {
                let is_inexact = |number: f64| number.abs() >= INEXACT;
                (number.is_f64() && number.as_f64().is_some_and(is_inexact)).then_some(number)
            }
            Value::Array(elements) => elements.iter().find_map(find),
            Value::Object(fields) => fields.values().find_map(find),
            Value::Null | Value::Bool(_) | Value::String(_) => None,
        }
    }
    let Record { key, value, expected, .. } = record;
    [key, value, expected].into_iter().flatten().find_map(find).map(ToString::to_string)
}

fn invoked(line: usize, record: Record, moment: u64) -> Result<Operation, Problem> {
    let Record { process, f, key, value, expected, order, time, .. } = record;
    let needs_value = |value: Option<Value>| value.ok_or(Problem::NoValue { f: f.clone() });
    let action = match &f {
        Function::Read => Action::Read(None),
        Function::Write => Action::Write(needs_value(value)?),
        Function::Append => Action::Append(needs_value(value)?),
        Function::Cas => match (expected, value) {
            (Some(expected), Some(value)) => Action::Cas { expected, value },
            (None, Some(Value::Array(pair))) => match <[Value; 2]>::try_from(pair) {
                Ok([expected, value]) => Action::Cas { expected, value },
                Err(_) => return Err(Problem::NothingExpected),
            },
            (None, Some(_)) => return Err(Problem::NothingExpected),
            (_, None) => return Err(Problem::NoValue { f }),
        },
        Function::Other(_) => return Err(Problem::UnknownFunction { f }),
    };
    Ok(Operation {
        process,
        key: key.unwrap_or(Value::Null),
        action,
        outcome: Outcome::Info,
        invoked: moment,
        completed: None,
        order,
        invoked_time: time,
        completed_time: None,
        line,
        completed_line: None,
    })
}

fn complete(
    operation: &mut Operation,
    line: usize,
    record: Record,
    moment: u64,
) -> Result<(), Problem> {
    let invoked = operation.action.function();
    if record.f != invoked {
        let (f, earlier) = (record.f, operation.line);
        return Err(Problem::OtherFunction { f, invoked, earlier });
    }
    if let Some(key) = record.key
        && key != operation.key
    {
        let earlier = operation.line;
        return Err(Problem::OtherKey { key, invoked: operation.key.clone(), earlier });
    }
    operation.outcome = match record.kind {
        Kind::Ok => Outcome::Ok,
        Kind::Fail => Outcome::Fail,
        Kind::Info | Kind::Invoke => Outcome::Info,
    };
    if operation.outcome == Outcome::Ok
        && let Action::Read(result) = &mut operation.action
    {
        *result = Some(record.value.unwrap_or(Value::Null));
    }
    // An operation that ended in `info` may take effect at any later time, so it has no end.
    operation.completed = (operation.outcome != Outcome::Info).then_some(moment);
    operation.completed_time = record.time;
    operation.completed_line = Some(line);
    operation.order = record.order.or(operation.order);
    Ok(())
}
