//! Random histories: the checker against its twin.

use proptest::prelude::*;
use raft_nondeterminism::Rng;
use raft_nondeterminism::history::{Action, Function, History, Outcome, Record};
use raft_nondeterminism::linearizability::{Checker, Verdict, check};
use serde_json::{Value, json};

use crate::twin;

/// What one process does next, as small numbers: who, what, with which values, and how it ends.
type Move = (i64, u8, usize, usize, u8);

fn moves(count: usize) -> impl Strategy<Value = Vec<Move>> {
    proptest::collection::vec((0..4_i64, 0..8_u8, 0..4_usize, 0..4_usize, 0..12_u8), 0..count)
}

/// The values of a history: few, so that they come twice.
fn values(family: u8) -> [Value; 4] {
    match family {
        0 => [json!(0), json!(1), json!(2), json!(null)],
        1 => [json!([]), json!([1]), json!([1, 2]), json!(1)],
        2 => [json!(""), json!("a"), json!("ab"), json!("b")],
        _ => [json!({"a": 1}), json!([1]), json!("a"), json!(null)],
    }
}

/// Plays moves: a process that has nothing under way invokes, one that has completes. What reads see
/// is what a register would hold in which everything takes effect when it is invoked, or any value.
fn play(moves: &[Move], family: u8) -> Vec<Record> {
    let values = values(family);
    let mut state = Value::Null;
    let mut under_way: [Option<(Function, Value)>; 4] = Default::default();
    let mut records = Vec::new();
    for &(process, what, one, other, end) in moves {
        let slot = &mut under_way[process as usize];
        let Some((f, seen)) = slot.take() else {
            let (one, other) = (values[one].clone(), values[other].clone());
            let (record, action) = match what {
                0..3 => (Record::invoke(process, Function::Read), Action::Read(None)),
                3..5 => {
                    let record = Record::invoke(process, Function::Write).value(one.clone());
                    (record, Action::Write(one))
                }
                5 => {
                    let cas = Record::invoke(process, Function::Cas);
                    let record = cas.expected(other.clone()).value(one.clone());
                    (record, Action::Cas { expected: other, value: one })
                }
                _ if family == 0 => {
                    let record = Record::invoke(process, Function::Write).value(one.clone());
                    (record, Action::Write(one))
                }
                _ => {
                    let record = Record::invoke(process, Function::Append).value(one.clone());
                    (record, Action::Append(one))
                }
            };
            let next = twin::apply(&state, &action);
            // Most of the time nothing is asked for that is not possible.
            if next.is_none() && end > 1 {
                continue;
            }
            state = next.unwrap_or(state);
            *slot = Some((record.f.clone(), state.clone()));
            records.push(record);
            continue;
        };
        let is_read = f == Function::Read;
        records.push(match end {
            0 => Record::fail(process, f),
            1 => Record::info(process, f),
            2 if is_read => Record::ok(process, f).value(values[one].clone()),
            3..6 if is_read => Record::ok(process, f).value(state.clone()),
            _ => Record::ok(process, f).value(seen),
        });
    }
    records
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn the_verdict_is_that_of_trying_every_order(moves in moves(16), family in 0..4_u8) {
        let records = play(&moves, family);
        let history = History::from_records(records).expect("what was played makes sense");
        let verdict = check(&history).verdict;
        prop_assert_eq!(verdict.is_linearizable(), twin::is_linearizable(&history), "{}", verdict);
    }

    #[test]
    fn the_core_of_a_violation_cannot_be_explained_either(moves in moves(20), family in 0..4_u8) {
        let records = play(&moves, family);
        let history = History::from_records(records.clone()).expect("what was played makes sense");
        if let Verdict::NotLinearizable(violation) = check(&history).verdict {
            let lines: Vec<_> = violation
                .core
                .iter()
                .flat_map(|operation| [Some(operation.line), operation.completed_line])
                .flatten()
                .collect();
            let core = (1..).zip(records).filter(|(line, _)| lines.contains(line));
            let core = History::from_records(core.map(|(_, record)| record));
            let core = core.expect("whole operations make sense");
            prop_assert!(!check(&core).verdict.is_linearizable(), "{}", violation.core.len());
            prop_assert!(violation.core.contains(&violation.impossible));
        }
    }

    #[test]
    fn hints_change_no_verdict(moves in moves(16), family in 0..4_u8, seed in any::<u64>()) {
        let mut rng = Rng::new(seed);
        let plain = play(&moves, family);
        let hinted = plain.iter().map(|record| record.clone().order(rng.below(8) as u64));
        let hinted = History::from_records(hinted).expect("what was played makes sense");
        let plain = History::from_records(plain).expect("what was played makes sense");
        prop_assert_eq!(
            check(&hinted).verdict.is_linearizable(),
            check(&plain).verdict.is_linearizable()
        );
    }
}

/// Plays `count` operations of `processes` on `keys` registers. Each takes effect at some moment
/// between its invocation and its completion, so the history is linearizable. Values are unique, but
/// for those of `cas`, which never is ok on another value than it found.
fn simulate(seed: u64, count: usize, processes: usize, keys: usize, appends: bool) -> Vec<Record> {
    let mut rng = Rng::new(seed);
    let mut states = vec![Value::Null; keys];
    let mut under_way: Vec<Option<(Record, Option<Record>)>> = vec![None; processes];
    let mut records = Vec::new();
    let mut invoked = 0;
    while invoked < count || under_way.iter().any(Option::is_some) {
        let at = rng.below(processes);
        let process = at as i64;
        match under_way[at].take() {
            None if invoked < count => {
                let key = rng.below(keys);
                let value = json!(invoked);
                let record = match rng.below(10) {
                    0..5 => Record::invoke(process, Function::Read),
                    5..9 if appends => Record::invoke(process, Function::Append).value(value),
                    5..8 => Record::invoke(process, Function::Write).value(value),
                    _ if appends => Record::invoke(process, Function::Read),
                    _ => {
                        let cas = Record::invoke(process, Function::Cas).value(value);
                        cas.expected(states[key].clone())
                    }
                };
                let record = record.key(key);
                records.push(record.clone());
                under_way[at] = Some((record, None));
                invoked += 1;
            }
            None => {}
            // It takes effect, or nobody will ever know.
            Some((record, None)) => {
                if rng.below(100) == 0 {
                    let record =
                        Record { kind: raft_nondeterminism::history::Kind::Info, ..record };
                    records.push(record);
                    continue;
                }
                let key = record.key.as_ref().and_then(Value::as_u64).expect("a key") as usize;
                let value = record.value.clone().unwrap_or_default();
                let done = Record::ok(process, record.f.clone()).key(key);
                let (action, done) = match record.f {
                    Function::Read => (Action::Read(None), done.value(states[key].clone())),
                    Function::Append => (Action::Append(value), done),
                    Function::Write => (Action::Write(value), done),
                    _ => {
                        let expected = record.expected.clone().expect("a cas expects something");
                        (Action::Cas { expected, value }, done)
                    }
                };
                let next = twin::apply(&states[key], &action);
                let done = match next {
                    Some(next) => {
                        states[key] = next;
                        done
                    }
                    None => Record::fail(process, record.f.clone()),
                };
                under_way[at] = Some((record, Some(done)));
            }
            Some((_, Some(done))) => records.push(done),
        }
    }
    records
}

#[test]
fn what_a_register_really_did_is_linearizable() {
    for seed in 0..20 {
        let appends = seed % 2 == 1;
        let records = simulate(seed, 2_000, 2 + seed as usize % 10, 3, appends);
        let history = History::from_records(records).expect("the register makes sense");
        let check = check(&history);
        assert!(check.verdict.is_linearizable(), "seed {seed}: {}", check.verdict);
        let per_operation = check.steps / 2_000;
        assert!(per_operation < 2_000, "seed {seed}: {per_operation} steps per operation");
    }
}

/// A read that saw something else is noticed in long histories too, and the twin agrees about what is
/// left of them.
#[test]
fn a_mutated_read_of_a_long_history_is_found_with_a_small_core() {
    let mut found = 0;
    for seed in 0..40 {
        let appends = seed % 4 == 1;
        let mut records = simulate(seed, 600, 4, 2, appends);
        let mut rng = Rng::new(seed);
        let reads: Vec<_> = (0..records.len())
            .filter(|&at| {
                records[at].f == Function::Read
                    && records[at].kind == raft_nondeterminism::history::Kind::Ok
            })
            .collect();
        let (one, other) = (reads[rng.below(reads.len())], reads[rng.below(reads.len())]);
        // The value of another read: of another time, or of the other key.
        records[one].value = records[other].value.clone();
        let history = History::from_records(records).expect("the register makes sense");
        let Verdict::NotLinearizable(violation) = check(&history).verdict else { continue };
        found += 1;
        assert_eq!(violation.impossible.outcome, Outcome::Ok);
        if !appends {
            assert!(violation.core.len() <= 8, "seed {seed}: {}", violation.core.len());
        }
    }
    assert!(found >= 20, "only {found} of 40 mutations are violations");
}

#[test]
fn a_search_without_means_says_so() {
    let records = simulate(1, 200, 6, 1, false);
    let history = History::from_records(records).expect("the register makes sense");
    let few = Checker::new().steps_max(10).check(&history).verdict;
    assert_eq!(few.to_string(), "undecided: key 0 needs more than 10 steps");
    let narrow = Checker::new().configurations_max(1).check(&history).verdict;
    assert_eq!(narrow.to_string(), "undecided: key 0 needs more than 1 configurations at once");
}

/// So many appends under way at once, of which a read found all that `seen` says.
fn appends_at_once(count: i64, seen: Vec<i64>) -> History {
    let invoke = (0..count).map(|one| Record::invoke(one, Function::Append).value(one));
    let ok = (0..count).map(|one| Record::ok(one, Function::Append));
    let read = [Record::invoke(0, Function::Read), Record::ok(0, Function::Read).value(seen)];
    History::from_records(invoke.chain(ok).chain(read)).expect("appends and a read make sense")
}

#[test]
fn a_step_costs_what_it_looks_at() {
    let count = 400;
    let check = check(&appends_at_once(count, (0..count).rev().collect()));
    assert!(check.verdict.is_linearizable());
    // In each of so many states, so many appends are looked at: more would be what nobody will see.
    let (least, most) = (count as u64 * count as u64, 8 * count as u64 * count as u64);
    assert!((least..most).contains(&check.steps), "{} steps", check.steps);
}

#[test]
fn what_is_given_up_early_is_still_stuck_where_it_cannot_be_explained() {
    let lost = appends_at_once(20, (0..19).collect());
    let Verdict::NotLinearizable(violation) = check(&lost).verdict else {
        panic!("an append was lost");
    };
    assert_eq!(violation.impossible.action.function(), Function::Read);
}

#[test]
fn many_operations_under_way_take_the_room_of_many_configurations() {
    let few = Checker::new().configurations_max(400);
    let is_decided = |count: i64| {
        few.check(&appends_at_once(count, (0..count).rev().collect())).verdict.is_linearizable()
    };
    assert!(is_decided(60), "each configuration counts once");
    assert!(!is_decided(300), "each counts twice");
}

#[test]
fn the_same_history_takes_the_same_work() {
    let history = || History::from_records(simulate(5, 500, 6, 2, false));
    let (one, other) = (history().expect("it makes sense"), history().expect("it makes sense"));
    assert_eq!(check(&one), check(&other));
}
