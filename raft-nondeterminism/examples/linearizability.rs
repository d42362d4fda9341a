//! What checking a history costs, with hints and without. Run it in release:
//!
//! ```text
//! cargo run --release -p raft-nondeterminism --example linearizability
//! ```
#![expect(clippy::print_stdout, reason = "an example is a program")]

use std::error::Error;
use std::time::Instant;

use raft_nondeterminism::Rng;
use raft_nondeterminism::history::{Function, History, Record};
use raft_nondeterminism::linearizability::{Verdict, check};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    println!("{:<44} {:>10} {:>12} {:>10}", "history", "hints: ms", "without: ms", "steps");
    for operations in [100, 10_000, 100_000] {
        let keys = (operations / 5_000).max(1);
        let registers = Load { operations, keys, ..Load::registers() };
        measure("unique values", registers)?;
        measure("lists", Load { what: What::Lists, ..registers })?;
        measure(
            "few values, as Jepsen's cas-register",
            Load { what: What::FewValues, ..registers },
        )?;
    }
    let load = Load { operations: 100_000, keys: 20, ..Load::registers() };
    measure("unique values, 5 % unknown", Load { unknown_per_mille: 50, ..load })?;
    measure("unique values, 30 processes", Load { processes: 30, ..load })?;
    measure("unique values, 1 key", Load { keys: 1, ..load })?;
    measure(
        "few values, 1 % unknown",
        Load { what: What::FewValues, unknown_per_mille: 10, ..load },
    )?;
    Ok(())
}

/// What clients do.
#[derive(Clone, Copy)]
struct Load {
    operations: usize,
    keys: usize,
    processes: usize,
    what: What,
    unknown_per_mille: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Registers,
    Lists,
    FewValues,
}

impl Load {
    /// Ten processes; of one operation in two hundred nobody knows how it ended.
    fn registers() -> Self {
        let (operations, keys) = (0, 1);
        Self { operations, keys, processes: 10, what: What::Registers, unknown_per_mille: 5 }
    }
}

fn measure(name: &str, load: Load) -> Result<(), Box<dyn Error>> {
    let (with, without) = (record(load, true), record(load, false));
    let (with, without) = (History::from_records(with)?, History::from_records(without)?);
    let timed = |history: &History| {
        let start = Instant::now();
        let check = check(history);
        (start.elapsed().as_secs_f64() * 1_000.0, check)
    };
    let ((hinted, _), (plain, check)) = (timed(&with), timed(&without));
    let Load { operations, keys, .. } = load;
    let what = format!("{operations} on {keys}: {name}");
    let ended = match &check.verdict {
        Verdict::Linearizable => String::new(),
        Verdict::Undecided(undecided) => format!("  {undecided}"),
        Verdict::NotLinearizable(_) => return Err("what really happened is linearizable".into()),
    };
    println!("{what:<44} {hinted:>10.3} {plain:>12.3} {:>10}{ended}", check.steps);
    Ok(())
}

/// The history of a register that is one: everything takes effect between invocation and completion.
fn record(load: Load, hints: bool) -> Vec<Record> {
    let mut rng = Rng::new(1);
    let mut states = vec![Value::Null; load.keys];
    let mut under_way = vec![None; load.processes];
    let mut records = Vec::new();
    let (mut invoked, mut index) = (0, 0);
    while invoked < load.operations || under_way.iter().any(Option::is_some) {
        let at = rng.below(load.processes);
        let process = at as i64;
        match under_way[at].take() {
            None if invoked < load.operations => {
                let (key, what) = (rng.below(load.keys), rng.below(10));
                let value = match load.what {
                    What::FewValues => json!(rng.below(5)),
                    What::Registers | What::Lists => json!(invoked),
                };
                let record = match (what, load.what) {
                    (0..5, _) => Record::invoke(process, Function::Read),
                    (_, What::Lists) => Record::invoke(process, Function::Append).value(value),
                    (5..8, _) => Record::invoke(process, Function::Write).value(value),
                    _ => {
                        let expected = states[key].clone();
                        Record::invoke(process, Function::Cas).value(value).expected(expected)
                    }
                };
                let record = record.key(key);
                records.push(record.clone());
                under_way[at] = Some((record, None));
                invoked += 1;
            }
            None => {}
            Some((record, None)) => {
                let key = record.key.as_ref().and_then(Value::as_u64).unwrap_or_default() as usize;
                index += 1;
                let happens = rng.below(2) == 0;
                let is_unknown = rng.below(1_000) < load.unknown_per_mille;
                let done = match is_unknown && !happens {
                    true => None,
                    false => take_effect(&mut states[key], &record),
                };
                let done = match (is_unknown, done) {
                    (true, _) => Record::info(process, record.f.clone()),
                    (false, Some(seen)) => Record::ok(process, record.f.clone()).value(seen),
                    (false, None) => Record::fail(process, record.f.clone()),
                };
                let done = if hints && !is_unknown { done.order(index) } else { done };
                under_way[at] = Some((record, Some(done)));
            }
            Some((_, Some(done))) => records.push(done),
        }
    }
    records
}

/// What the operation says when it comes back, if it is possible.
fn take_effect(state: &mut Value, record: &Record) -> Option<Value> {
    let value = record.value.clone().unwrap_or_default();
    match record.f {
        Function::Read => return Some(state.clone()),
        Function::Append => match state {
            Value::Array(list) => list.push(value.clone()),
            _ => *state = json!([value]),
        },
        Function::Cas if record.expected.as_ref() != Some(state) => return None,
        _ => *state = value.clone(),
    }
    Some(value)
}
