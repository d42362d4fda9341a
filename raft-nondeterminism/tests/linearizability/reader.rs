//! What is read, and what is refused with its line.

use raft_nondeterminism::history::{Action, Function, History, Outcome, Record, write_record};
use raft_nondeterminism::linearizability::check;
use serde_json::{Value, json};

#[test]
fn what_makes_no_sense_is_refused_with_its_line() {
    let invoke = r#"{"process":0,"type":"invoke","f":"write","value":1}"#;
    let cases = [
        ("{", "history:1: no line of a history: EOF while parsing an object (column 1)"),
        ("\n\n[1,2]", "history:3: no line of a history: invalid type: integer `2`, expected"),
        (
            r#"{"type":"ok","f":"read"}"#,
            "history:1: no line of a history: missing field `process` (column 24)",
        ),
        (
            r#"{"process":[],"type":"ok","f":"read"}"#,
            "history:1: no line of a history: process [] is no number and no name",
        ),
        (
            r#"{"process":0,"type":"done","f":"read"}"#,
            "type `done` is none of `invoke`, `ok`, `fail` or `info`",
        ),
        (
            r#"{"process":0,"type":"invoke","f":"read","time":1.5}"#,
            "no line of a history: invalid type: floating point `1.5`, expected i64",
        ),
        (
            r#"{"process":0,"type":"invoke","f":"pop"}"#,
            "history:1: `pop` is none of `read`, `write`, `cas` and `append`",
        ),
        (
            r#"{"process":0,"type":"invoke","f":"append"}"#,
            "history:1: a `append` is invoked with a `value`",
        ),
        (r#"{"process":0,"type":"invoke","f":"cas","value":[1]}"#, "with `expected` and `value`"),
        (r#"{"process":0,"type":"invoke","f":"cas","value":3}"#, "with `expected` and `value`"),
        (
            r#"{"process":0,"type":"ok","f":"write","value":1}"#,
            "history:1: process 0 completes (ok) an operation, but has none under way",
        ),
        (
            &format!("{invoke}\n{invoke}"),
            "history:2: process 0 invokes an operation while the one of line 1 is under way",
        ),
        (
            &format!(r#"{invoke}{}{{"process":0,"type":"ok","f":"read"}}"#, "\n"),
            "history:2: completes `read`, but what was invoked in line 1 is `write`",
        ),
        (
            &format!(r#"{invoke}{}{{"process":0,"type":"ok","f":"write","key":"y"}}"#, "\n"),
            "history:2: completes an operation on key \"y\", but what was invoked in line 1",
        ),
    ];
    for (text, expected) in cases {
        let error = History::parse(text).expect_err(expected).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let error = History::read(&b"\n\xff\n"[..], "h.jsonl").expect_err("this is no text");
    assert!(error.to_string().starts_with("h.jsonl:2: cannot be read: "), "{error}");
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_history() {
    let line = r#"{"process":0,"type":"invoke","f":"write","value":1}"#;
    let marked = History::parse(&format!("\u{feff}{line}\n")).expect("some editors write one");
    assert_eq!(marked, History::parse(line).unwrap());
    let error = History::parse(&format!("\n\u{feff}{line}\n")).expect_err("it begins no file");
    assert!(error.to_string().starts_with("history:2: "), "{error}");
}

#[test]
fn numbers_that_would_become_others_are_refused() {
    let write = |field: &str| {
        let (invoke, ok) = (r#"{"process":0,"type":"invoke","f":"cas","#, r#""process":0"#);
        format!("{invoke}{field}}}\n{{{ok},\"type\":\"ok\",\"f\":\"cas\"}}")
    };
    let large = "123456789012345678901234567890";
    let refused = [
        format!(r#""expected":1,"value":{large}"#),
        format!(r#""expected":-{large},"value":1"#),
        format!(r#""expected":1,"value":1,"key":{large}"#),
        format!(r#""expected":1,"value":{{"a":[0,{{"b":{large}}}]}}"#),
        format!(r#""value":[1,{large}]"#),
        // One more than what 64 bits hold, and the first whole number that is also its neighbour.
        r#""expected":1,"value":18446744073709551616"#.to_owned(),
        r#""expected":1,"value":-9223372036854775809"#.to_owned(),
        r#""expected":1,"value":9007199254740992.0"#.to_owned(),
    ];
    for field in refused {
        let error = History::parse(&write(&field)).expect_err(&field);
        assert_eq!(error.line(), 1);
        assert!(error.to_string().contains(" cannot be told from its neighbours"), "{error}");
    }
    let accepted = ["18446744073709551615", "-9223372036854775808", "9007199254740991.0", "0.1"];
    for number in accepted {
        let text = write(&format!(r#""expected":1,"value":{number}"#));
        History::parse(&text).expect("this number is itself");
    }
    // What a read found is said at its end, and a nemesis may say what it likes.
    let read = format!(
        r#"{{"process":"nemesis","type":"info","f":"skew","value":{large}}}
           {{"process":0,"type":"invoke","f":"read"}}
           {{"process":0,"type":"ok","f":"read","value":{large}}}"#
    );
    let error = History::parse(&read).expect_err("two large numbers look the same");
    assert_eq!(error.line(), 3);
    let records = [Record::invoke(0, Function::Write).value(1e30)];
    let error = History::from_records(records).expect_err("also if it was never written down");
    assert_eq!(error.line(), 1);
}

#[test]
fn what_others_write_is_read() {
    let text = r#"
        {"index":0,"process":"nemesis","type":"info","f":"start-partition","value":null,"time":3}
        {"index":1,"process":":client-1","type":":invoke","f":":cas","value":[null,2],"time":5}
        {"index":2,"process":":client-1","type":":ok","f":":cas","value":[null,2],"time":6}
        {"process":7,"type":"invoke","f":"read","key":null,"time":8,"node":"n1"}
        {"process":7,"type":"ok","f":"read","value":2,"order":4,"time":9}
        {"process":7,"type":"invoke","f":"write","value":3,"time":10}
        {"process":7,"type":"info","f":"write","value":3,"time":11,"error":["timeout"]}
        {"process":7,"type":"invoke","f":"write","value":4,"time":12}
    "#;
    let history = History::parse(text).expect("this is liberal");
    let operations = history.operations();
    assert_eq!(operations[0].action, Action::Cas { expected: Value::Null, value: json!(2) });
    assert_eq!(operations[0].process.to_string(), "client-1");
    assert_eq!(operations[1].action, Action::Read(Some(json!(2))));
    assert_eq!((operations[1].order, operations[1].completed_time), (Some(4), Some(9)));
    assert_eq!((operations[2].outcome, operations[2].completed), (Outcome::Info, None));
    assert_eq!((operations[3].outcome, operations[3].completed_line), (Outcome::Info, None));
    assert_eq!(history.disturbances().len(), 1);
    assert_eq!(history.disturbances()[0].f, Function::Other("start-partition".to_owned()));
}

#[test]
fn times_put_the_lines_of_several_clients_into_order() {
    let client = |process: i64, begin: i64, end: i64| {
        let (invoke, ok) =
            (Record::invoke(process, Function::Read), Record::ok(process, Function::Read));
        [invoke.time(begin), ok.time(end)]
    };
    let precedes = |records: Vec<Record>| {
        let history = History::from_records(records).expect("reads make sense");
        let [one, other] = history.operations() else { panic!("there are two operations") };
        (one.process.to_string(), one.completed.is_some_and(|end| end < other.invoked))
    };
    let concat = |one: [Record; 2], other: [Record; 2]| [one, other].concat();
    assert_eq!(precedes(concat(client(1, 50, 60), client(2, 10, 20))), ("2".to_owned(), true));
    assert_eq!(precedes(concat(client(1, 50, 60), client(2, 10, 55))), ("2".to_owned(), false));
    // Of equal times of different files nobody knows which came first; in one file the lines say it.
    assert_eq!(precedes(concat(client(1, 20, 60), client(2, 10, 20))), ("2".to_owned(), false));
    assert_eq!(precedes(concat(client(1, 10, 20), client(2, 20, 30))), ("1".to_owned(), true));
    // Where only some lines have a time, lines are in order as they are, unless their times deny it.
    let mut some = concat(client(1, 10, 20), client(2, 30, 40));
    some[1].time = None;
    assert_eq!(precedes(some), ("1".to_owned(), true));
    let mut some = concat(client(1, 50, 60), client(2, 10, 20));
    some[3].time = None;
    let error = History::from_records(some).expect_err("the last line may belong anywhere");
    assert!(error.to_string().starts_with("history:4: has no `time`, but"), "{error}");
    // Neighbours are not enough to see it.
    let mut some = concat(client(1, 50, 60), client(2, 10, 20));
    some[1].time = None;
    assert_eq!(History::from_records(some).expect_err("50 is before 10").line(), 2);
}

#[test]
fn what_a_nemesis_says_changes_no_order() {
    let line = |process: i64, f: Function, begin: i64, end: i64| {
        [Record::invoke(process, f.clone()).value(1).time(begin), Record::ok(process, f).time(end)]
    };
    let nemesis = || Record::info("nemesis", Function::Other("kill".to_owned()));
    let write = line(1, Function::Write, 50, 60);
    let mut read = line(2, Function::Read, 10, 20);
    read[1].value = Some(Value::Null);
    // The read came first, as the times say, whether a nemesis looks at the clock or not.
    for at in 0..=4 {
        let mut records = [write.clone(), read.clone()].concat();
        records.insert(at, nemesis());
        let history = History::from_records(records).expect("a nemesis needs no time");
        assert!(check(&history).verdict.is_linearizable(), "a nemesis in line {}", at + 1);
        let moment = history.disturbances()[0].moment;
        let is_early = history.operations()[0].completed.is_some_and(|end| moment <= end);
        assert_eq!(is_early, at == 3 || at == 4, "the line before it is the read's");
    }
    // Clients whose lines are in order stay so, although a nemesis put in at the end is not: of equal
    // times the lines still say which came first.
    let mut read = line(2, Function::Read, 60, 70);
    read[1].value = Some(Value::Null);
    let mut records = [write, read].concat();
    records.push(nemesis().time(55));
    let history = History::from_records(records).expect("it makes sense");
    assert!(!check(&history).verdict.is_linearizable(), "the read is stale");
    assert_eq!(history.disturbances()[0].moment, 1);
}

#[test]
fn what_is_written_is_read_back() {
    let records = [
        Record::invoke(1, Function::Cas).key("x").expected(Value::Null).value(2).time(5),
        Record::invoke("nemesis", Function::Other("kill".to_owned())).value("s1").time(6),
        Record::ok(1, Function::Cas).key("x").order(9).time(7).error("slow"),
    ];
    let mut file = Vec::new();
    for record in &records {
        write_record(&mut file, record).expect("memory takes it");
    }
    let text = String::from_utf8(file.clone()).expect("JSON is text");
    let first =
        r#"{"process":1,"type":"invoke","f":"cas","key":"x","value":2,"expected":null,"time":5}"#;
    assert_eq!(text.lines().next(), Some(first));
    let back: Vec<Record> =
        text.lines().map(|line| serde_json::from_str(line).expect("our own line")).collect();
    assert_eq!(back, records);
    assert_eq!(
        History::read(file.as_slice(), "history").expect("our own file"),
        History::from_records(records).expect("the same")
    );
}
