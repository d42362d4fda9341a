//! Histories whose verdict is known, as small tables.
//!
//! A line of a script is a process, `(` for an invocation or a word for its end, and the rest:
//! `1( write x 5`, `1 ok`, `2( read x`, `2 ok 5`. Keys are words; values are JSON without spaces.

use raft_nondeterminism::history::{Function, History, Record};
use raft_nondeterminism::linearizability::{Verdict, check};
use raft_nondeterminism::picture;
use serde_json::Value;

use crate::twin;

/// The records of a script whose lines are separated by `;` or by newlines.
pub(crate) fn records(script: &str) -> Vec<Record> {
    let mut under_way = std::collections::BTreeMap::new();
    let lines = script.split([';', '\n']).map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            let value = |at: usize| -> Value {
                serde_json::from_str(words[at]).unwrap_or_else(|_| panic!("a value in {line}"))
            };
            let process: i64 = words[0].trim_end_matches('(').parse().expect("a process");
            if !words[0].ends_with('(') {
                let f: Function = under_way.remove(&process).expect("an operation under way");
                let record = match words[1] {
                    "ok" => Record::ok(process, f),
                    "fail" => Record::fail(process, f),
                    "info" => Record::info(process, f),
                    word => panic!("no ending: {word}"),
                };
                return if words.len() > 2 { record.value(value(2)) } else { record };
            }
            let (f, record) = match words[1] {
                "read" => (Function::Read, Record::invoke(process, Function::Read)),
                "write" => {
                    (Function::Write, Record::invoke(process, Function::Write).value(value(3)))
                }
                "append" => {
                    (Function::Append, Record::invoke(process, Function::Append).value(value(3)))
                }
                "cas" => {
                    let cas = Record::invoke(process, Function::Cas);
                    (Function::Cas, cas.expected(value(3)).value(value(4)))
                }
                word => panic!("no operation: {word}"),
            };
            under_way.insert(process, f);
            record.key(words[2])
        })
        .collect()
}

fn history(script: &str) -> History {
    History::from_records(records(script)).expect("the script makes sense")
}

#[test]
fn known_histories_have_their_verdicts() {
    const IS: bool = true;
    const IS_NOT: bool = false;
    let cases = [
        ("nothing happened", "", IS),
        ("at first there is null", "1( read x; 1 ok null", IS),
        ("at first there is nothing else", "1( read x; 1 ok 0", IS_NOT),
        ("a write is seen", "1( write x 5; 1 ok; 2( read x; 2 ok 5", IS),
        (
            "stale read: the last write was over",
            "1( write x 1; 1 ok; 1( write x 2; 1 ok; 2( read x; 2 ok 1",
            IS_NOT,
        ),
        (
            "a read during a write may see the old value or the new",
            "1( write x 1; 1 ok; 1( write x 2; 2( read x; 2 ok 1; 2( read x; 2 ok 2; 1 ok",
            IS,
        ),
        (
            "new, then old: reads that follow on each other agree on the order",
            "1( write x 1; 1 ok; 1( write x 2; 2( read x; 2 ok 2; 3( read x; 3 ok 1; 1 ok",
            IS_NOT,
        ),
        (
            "concurrent reads need not agree on when the write happened",
            "1( write x 1; 1 ok; 1( write x 2; 2( read x; 3( read x; 2 ok 2; 3 ok 1; 1 ok",
            IS,
        ),
        (
            "Herlihy and Wing: a write that overlaps others takes effect in between",
            "1( write x 0; 2( write x 1; 2 ok; 3( read x; 3 ok 1; 1 ok; 3( read x; 3 ok 0",
            IS,
        ),
        (
            "Herlihy and Wing: once the overlapping write is over, its value does not come back",
            "1( write x 0; 2( write x 1; 2 ok; 1 ok; 3( read x; 3 ok 1; 3( read x; 3 ok 0",
            IS_NOT,
        ),
        (
            "across processes the order in time counts",
            "1( write x 1; 1 ok; 2( write x 2; 2 ok; 3( read x; 3 ok 1",
            IS_NOT,
        ),
        (
            "lost update: two increments from one value",
            "1( write x 0; 1 ok; 1( cas x 0 1; 2( cas x 0 2; 1 ok; 2 ok",
            IS_NOT,
        ),
        ("one cas after the other", "1( cas x null 1; 2( cas x 1 2; 2 ok; 1 ok", IS),
        ("a cas that cannot have found what it expects", "1( cas x 3 1; 1 ok", IS_NOT),
        (
            "a cas that failed says nothing, whatever was there",
            "1( write x 0; 1 ok; 1( cas x 0 1; 1 fail; 2( read x; 2 ok 0",
            IS,
        ),
        ("what failed is not seen", "1( write x 1; 1 fail; 2( read x; 2 ok 1", IS_NOT),
        ("a cas that failed did not happen", "1( cas x null 1; 1 fail; 2( read x; 2 ok 1", IS_NOT),
        ("an unknown write may be seen later", "1( write x 1; 1 info; 2( read x; 2 ok 1", IS),
        ("an unknown write may never be seen", "1( write x 1; 1 info; 2( read x; 2 ok null", IS),
        (
            "an unknown write may take effect late",
            "1( write x 1; 1 info; 2( read x; 2 ok null; 2( read x; 2 ok 1",
            IS,
        ),
        (
            "an unknown write takes effect once",
            "1( write x 1; 1 info; 2( read x; 2 ok 1; 2( write x 2; 2 ok; 2( read x; 2 ok 1",
            IS_NOT,
        ),
        (
            "two unknown writes of one value take effect twice",
            "1( write x 1; 1 info; 1( write x 1; 1 info; 2( read x; 2 ok 1; 2( write x 2; 2 ok; \
             2( read x; 2 ok 1",
            IS,
        ),
        (
            "an unknown write is not seen before it is invoked",
            "2( read x; 2 ok 1; 1( write x 1; 1 info",
            IS_NOT,
        ),
        ("a write that never completes is unknown", "1( write x 1; 2( read x; 2 ok 1", IS),
        ("a read that never completes saw anything", "1( read x; 2( read x; 2 info", IS),
        (
            "an unknown cas happens only where it finds what it expects",
            "1( cas x 7 1; 1 info; 2( read x; 2 ok 1",
            IS_NOT,
        ),
        (
            "unknown operations may depend on each other",
            "1( write x 7; 1 info; 1( cas x 7 1; 1 info; 2( read x; 2 ok 1",
            IS,
        ),
        (
            "appends make a list",
            "1( append x 1; 1 ok; 2( append x 2; 2 ok; 1( read x; 1 ok [1,2]",
            IS,
        ),
        (
            "appends are in the order of time",
            "1( append x 1; 1 ok; 2( append x 2; 2 ok; 1( read x; 1 ok [2,1]",
            IS_NOT,
        ),
        ("an append took effect twice", "1( append x 1; 1 ok; 1( read x; 1 ok [1,1]", IS_NOT),
        (
            "an append was lost",
            "1( append x 1; 1 ok; 1( append x 2; 1 ok; 1( read x; 1 ok [2]",
            IS_NOT,
        ),
        (
            "reads of concurrent appends agree on their order",
            "1( append x 1; 2( append x 2; 3( read x; 3 ok [1]; 4( read x; 4 ok [2,1]; 1 ok; 2 ok",
            IS_NOT,
        ),
        (
            "strings are put together",
            r#"1( write x "a"; 1 ok; 1( append x "b"; 1 ok; 1( read x; 1 ok "ab""#,
            IS,
        ),
        (
            "nothing becomes a list of one, also of a string",
            r#"1( append x "b"; 1 ok; 1( read x; 1 ok ["b"]"#,
            IS,
        ),
        ("nothing is appended to a number", "1( write x 1; 1 ok; 1( append x 2; 1 ok", IS_NOT),
        (
            "a list is appended to a list that was written",
            "1( write x [1]; 1 ok; 1( append x 2; 1 ok; 1( read x; 1 ok [1,2]",
            IS,
        ),
        (
            "one key says nothing of another",
            "1( write x 1; 1 ok; 2( read y; 2 ok null; 2( write y 2; 2 ok; 1( read x; 1 ok 1",
            IS,
        ),
        (
            "the second of two keys is looked at too",
            "1( write x 1; 1 ok; 2( write y 2; 2 ok; 2( read y; 2 ok 1",
            IS_NOT,
        ),
    ];
    for (what, script, expected) in cases {
        let history = history(script);
        let verdict = check(&history).verdict;
        assert_eq!(verdict.is_linearizable(), expected, "{what}: {verdict}");
        let is_one_key = !script.contains(" y");
        assert!(!is_one_key || twin::is_linearizable(&history) == expected, "the twin: {what}");
    }
}

#[test]
fn hints_that_are_right_spare_the_search() {
    let script = "1( write x 1; 2( write x 2; 1 ok; 2 ok; 3( read x; 3 ok 1";
    let ordered = |orders: [u64; 3]| {
        let mut orders = orders.into_iter();
        let mut records = records(script);
        for record in &mut records[2..] {
            if record.kind == raft_nondeterminism::history::Kind::Ok {
                record.order = orders.next();
            }
        }
        check(&History::from_records(records).expect("the script makes sense"))
    };
    // A read at the index of a write sees it.
    let (right, wrong) = (ordered([5, 4, 5]), ordered([4, 5, 5]));
    assert!(right.verdict.is_linearizable() && wrong.verdict.is_linearizable());
    assert_eq!((right.keys_by_order, right.steps), (1, 0));
    assert_eq!(wrong.keys_by_order, 0);
}

#[test]
fn hints_against_time_explain_nothing() {
    let mut records = records("1( write x 1; 1 ok; 2( write x 2; 2 ok; 3( read x; 3 ok 1");
    for (record, order) in [(1, 2), (3, 1), (5, 2)] {
        records[record].order = Some(order);
    }
    let check = check(&History::from_records(records).expect("the script makes sense"));
    assert_eq!(check.keys_by_order, 0);
    assert!(!check.verdict.is_linearizable());
}

#[test]
fn a_violation_names_the_few_operations_that_matter() {
    let mut script = String::new();
    for value in 1..200 {
        script += &format!("1( write x {value}; 2( read x; 1 ok; 2 ok {value}\n");
    }
    script += "3( write x 500; 3 info; 2( read x; 2 ok 150";
    let history = history(&script);
    let Verdict::NotLinearizable(violation) = check(&history).verdict else {
        panic!("the last read is stale");
    };
    let core: Vec<_> = violation.core.iter().map(ToString::to_string).collect();
    assert_eq!(violation.impossible.to_string(), "read → 150");
    assert_eq!(core.len(), 3, "{core:?}");
    assert!(core.contains(&"write 150".to_owned()), "{core:?}");
    assert_eq!(violation.left_out, 397);
}

#[test]
fn the_picture_shows_who_did_what_when() {
    let script = "
        1( write x 1; 1 ok; 2( write x 2; 4( write x 3; 2 ok; 4 info
        3( read x; 4( read x; 3 ok 3; 5( read x; 4 ok 3; 5 ok 1";
    let verdict = check(&history(script)).verdict;
    let expected = "\
not linearizable: key \"x\", `read → 1` of process 5 (lines 10 and 12) cannot be explained
It found 1, which no order of these operations allows:

process 1  [write 1]
process 3            [read → 3]
process 4           [write 3┄┄┄┄┄┄┄┄┄┄┄┄┄┄
                      [read → 3─]
process 5                      [read → 1]✗

just before, it may have held 3 (`write 3` of process 4, lines 4 and 6)
    needed: write 1, process 1, lines 1 and 2
    needed: write 3, process 4, lines 4 and 6
    needed: read → 3, process 3, lines 7 and 9
 meanwhile: read → 3, process 4, lines 8 and 11
impossible: read → 1, process 5, lines 10 and 12
1 other operation of this key is not drawn
";
    assert_eq!(verdict.to_string(), expected);
}

#[test]
fn pictures_are_no_wider_than_a_terminal_and_well_formed() {
    let long = "a".repeat(200);
    let mut script = String::new();
    for value in 0..40 {
        script += &format!("{value}( append x \"{long}{value}\"\n");
    }
    for value in 0..40 {
        script += &format!("{value} ok\n");
    }
    script += "0( read x; 0 ok [\"<&>\"]";
    let Verdict::NotLinearizable(violation) = check(&history(&script)).verdict else {
        panic!("nobody appended that");
    };
    let text = picture::text(&violation);
    let lanes = text.lines().skip(3).take_while(|line| !line.is_empty());
    let widest = lanes.map(|line| line.chars().count()).max();
    assert!(widest.is_some_and(|widest| widest <= picture::COLUMNS + 1), "{text}");
    let svg = picture::svg(&violation);
    assert!(svg.contains("&lt;&amp;&gt;") && !svg.contains("<&>"), "{svg}");
    assert_eq!(svg.matches("<g ").count(), svg.matches("</g>").count());
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert_eq!(svg.matches("class=\"impossible\"").count(), 2, "one bar, and the legend");
}
