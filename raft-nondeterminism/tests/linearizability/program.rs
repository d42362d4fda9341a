//! The program from outside: exit codes, JSON, pictures.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

const STALE: &str = r#"{"process":0,"type":"invoke","f":"write","key":"k","value":1}
{"process":0,"type":"ok","f":"write","key":"k","value":1}
{"process":1,"type":"invoke","f":"read","key":"k","value":null}
{"process":1,"type":"ok","f":"read","key":"k","value":null}
"#;

/// What the program said and how it ended, given text on its standard input.
fn run(arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_raft-explore"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // A program that refuses its arguments does not read, and then nobody has to.
    let _ = child.stdin.take().expect("it is piped").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("the program ends");
    let text = |bytes| String::from_utf8(bytes).expect("it prints text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn summary(stdout: &str) -> Value {
    let last = stdout.lines().last().expect("it prints something");
    serde_json::from_str(last).expect("the last line is JSON")
}

/// A file for this test alone, as others may run at the same time.
fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

#[test]
fn a_linearizable_history_ends_with_zero() {
    let fresh =
        STALE.replace(r#""f":"read","key":"k","value":null"#, r#""f":"read","key":"k","value":1"#);
    let (code, stdout, stderr) = run(&["check-history", "-", "--json"], &fresh);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let summary = summary(&stdout);
    assert_eq!(summary["event"], json!("summary"));
    assert_eq!(summary["linearizable"], json!(true));
    assert_eq!(summary["operations"], json!(2));
    assert!(summary["elapsed_ms"].is_u64());
    assert!(stdout.starts_with("linearizable: 2 operations on 1 key, 0 incomplete\n"), "{stdout}");
}

#[test]
fn an_empty_history_is_linearizable() {
    let (code, stdout, _) = run(&["check-history", "-", "--json"], "");
    assert_eq!(code, Some(0));
    assert_eq!(summary(&stdout)["operations"], json!(0));
}

#[test]
fn a_violation_ends_with_two_and_is_drawn() {
    let (history, picture) = (file("stale.jsonl"), file("stale.svg"));
    std::fs::write(&history, STALE).expect("the folder is writable");
    let arguments = ["check-history", "--json", "--picture"].map(str::to_owned);
    let paths = [&picture, &history].map(|path| path.display().to_string());
    let arguments = [arguments.as_slice(), paths.as_slice()].concat();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let (code, stdout, stderr) = run(&arguments, "");
    assert_eq!((code, stderr.as_str()), (Some(2), ""));
    assert!(stdout.contains("[read → null]✗"), "{stdout}");
    let summary = summary(&stdout);
    assert_eq!((&summary["linearizable"], &summary["key"]), (&json!(false), &json!("k")));
    let drawn = std::fs::read_to_string(&picture).expect("the picture was written");
    assert!(drawn.contains("read → null"), "{drawn}");
}

#[test]
fn a_violation_is_one_although_nobody_reads_it() {
    let (history, picture) = (file("unread.jsonl"), file("unread.svg"));
    std::fs::write(&history, STALE).expect("the folder is writable");
    let _ = std::fs::remove_file(&picture);
    let (reader, writer) = std::io::pipe().expect("the system has pipes");
    drop(reader);
    let status = Command::new(env!("CARGO_BIN_EXE_raft-explore"))
        .args(["check-history", "--json", "--picture"])
        .args([&picture, &history])
        .stdout(writer)
        .status()
        .expect("the program starts");
    assert_eq!(status.code(), Some(2));
    assert!(picture.exists(), "the picture was written");
}

#[test]
fn what_cannot_be_used_ends_with_one() {
    let unreadable = r#"{"process":0,"type":"ok","f":"read"}"#;
    let cases: [(&[&str], &str, &str); 5] = [
        (&["check-history", "-"], unreadable, "error: stdin:1: process 0 completes (ok)"),
        (&["check-history", "no-such-file"], "", "error: cannot open no-such-file: "),
        (&["check-history"], "", "required arguments were not provided"),
        (&["check-history", "-", "--jsn"], "", "unexpected argument '--jsn'"),
        (&["fly"], "", "unrecognized subcommand 'fly'"),
    ];
    for (arguments, input, expected) in cases {
        let (code, stdout, stderr) = run(arguments, input);
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{arguments:?}: {stderr}");
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
        assert!(!stderr.contains('\u{1b}'), "no colours: {stderr}");
    }
}

#[test]
fn a_search_that_gives_up_says_so_and_ends_with_one() {
    let fresh =
        STALE.replace(r#""f":"read","key":"k","value":null"#, r#""f":"read","key":"k","value":1"#);
    let (code, stdout, stderr) = run(&["check-history", "-", "--json", "--steps-max", "0"], &fresh);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("error: undecided: key \"k\" needs more than 0 steps"), "{stderr}");
    assert!(stderr.ends_with("; --steps-max allows more\n"), "{stderr}");
    let (code, _, stderr) = run(&["check-history", "-", "--configurations-max", "0"], &fresh);
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains("needs more than 0 configurations at once; --configurations-max allows")
    );
    assert_eq!(summary(&stdout)["verdict"], json!("undecided"));
    assert_eq!(summary(&stdout)["linearizable"], Value::Null);
}

#[test]
fn help_is_no_mistake() {
    for arguments in [&["--help"][..], &["check-history", "--help"], &["--version"]] {
        let (code, stdout, stderr) = run(arguments, "");
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(!stdout.is_empty());
    }
    assert!(
        run(&["check-history", "--help"], "")
            .1
            .contains("raft-explore check-history history.jsonl")
    );
}
