//! Files that the program reads and writes: what it takes, what it says of others, and how it ends if it
//! cannot write.

use super::*;

#[test]
fn a_byte_order_mark_is_no_part_of_a_trace() {
    let folder = folder("marked_trace");
    let (path, _) = schedule(&folder);
    let trace = path.to_str().unwrap().replace(".schedule.txt", ".trace.json");
    let text = fs::read_to_string(&trace).unwrap();
    fs::write(folder.join("marked.json"), format!("\u{feff}{text}")).unwrap();
    assert!(said(&folder, "replay marked.json", 2).contains("... The bug shows after "));
    let plain = said(&folder, &format!("report {trace} --format text"), 0);
    assert_eq!(said(&folder, "report marked.json --format text", 0), plain);
}

#[test]
fn what_is_wrong_with_a_file_is_said_once() {
    let folder = folder("once");
    fs::write(folder.join("other.json"), r#"{"version":1,"mine":2}"#).unwrap();
    for command in ["report", "replay"] {
        let said = refusal(&folder, &format!("{command} other.json"));
        assert!(said.contains("not a trace: unknown field `mine`"), "{said}");
        assert_eq!(said.matches("unknown field").count(), 1, "{said}");
    }
}

/// The program with its standard output on a disk that is full.
#[cfg(target_os = "linux")]
fn run_full(folder: &Path, words: &str) -> Output {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    command(folder, words).stdout(full).output().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_fails_is_named_and_counts_less_than_a_broken_property() {
    let folder = folder("full_files");
    let (path, _) = schedule(&folder);
    let path = path.display();
    let history = r#"{"process":0,"type":"invoke","f":"read"}
{"process":0,"type":"ok","f":"read","value":7}"#;
    fs::write(folder.join("history"), history).unwrap();
    for (words, code) in [
        ("list".to_owned(), 1),
        (format!("report {path} --format text"), 1),
        (format!("report {path}"), 1),
        (format!("replay {path} --defect none"), 1),
        (format!("replay {path}"), 2),
        ("check-history history".to_owned(), 2),
    ] {
        let output = run_full(&folder, &words);
        assert_eq!(output.status.code(), Some(code), "{words}");
        let said = stderr(&output);
        assert!(said.starts_with("error: cannot write to standard output: "), "{words}: {said}");
    }
    for (words, file, code) in [
        (format!("replay {path} --output"), "/dev/full", 2),
        (format!("replay {path} --minimize --output"), "/", 2),
        (format!("replay {path} --defect none --output"), "no/such/file", 1),
        ("check-history history --picture".to_owned(), "/dev/full", 2),
    ] {
        let output = run(&folder, &format!("{words} {file}"));
        assert_eq!(output.status.code(), Some(code), "{words}");
        let said = stderr(&output);
        assert!(said.starts_with(&format!("error: cannot write {file}: ")), "{words}: {said}");
        assert!(!stdout(&output).contains("... Wrote "), "{words}");
        assert!(!stdout(&output).is_empty(), "what was found is told all the same");
    }
    let kept = summary(&folder, &format!("replay {path} -o /dev/full"), 2);
    assert_eq!((&kept["verdict"], &kept["trace"]), (&"reproduced".into(), &Value::Null));
    let refused = refusal(&folder, &format!("report {path} --out {path}"));
    assert!(refused.starts_with(&format!("error: cannot write to {path}: ")), "{refused}");
}

#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_written_is_noticed_before_anything_is_explored() {
    let folder = folder("noticed_before");
    fs::write(folder.join("raft-explore.out"), "in the way").unwrap();
    for (options, named) in [
        ("--junit /dev/full", "cannot write /dev/full: "),
        ("--out raft-explore.out/below", "cannot write to raft-explore.out/below: "),
        ("--coverage", "cannot write to raft-explore.out: "),
    ] {
        let output = run(&folder, &format!("{FINDS} {options}"));
        assert_eq!(output.status.code(), Some(1), "{options}");
        assert_eq!(stdout(&output), "", "{options}: nothing has been explored");
        assert!(stderr(&output).starts_with(&format!("error: {named}")), "{}", stderr(&output));
    }
    // A bug whose files cannot be written is one all the same.
    assert_eq!(run(&folder, FINDS).status.code(), Some(2));
}

#[test]
fn what_is_left_of_a_schedule_is_followed_if_that_is_asked() {
    let folder = folder("tolerant");
    let (path, text) = schedule(&folder);
    let whole = summary(&folder, &format!("replay {}", path.display()), 2);
    let events = whole["events"].as_u64().unwrap();
    let tolerant = |name: &str, code| {
        let words = format!("replay {name} --tolerant");
        let told = summary(&folder, &words, code);
        let number = |field: &str| told[field].as_u64().unwrap();
        let numbers = ["events", "skipped", "missing", "unreadable"].map(number);
        (numbers, said(&folder, &words, code))
    };
    // The last event is cut off, but for the first byte of the arrow in it.
    let arrow = text.rfind('→').unwrap();
    fs::write(folder.join("cut"), &text.as_bytes()[..=arrow]).unwrap();
    assert!(refusal(&folder, "replay cut").contains("not a schedule: no text"));
    let (numbers, told) = tolerant("cut", 0);
    assert_eq!(numbers, [events - 1, 1, 0, 0]);
    assert!(told.contains("\n... 1 event of the schedule left out\n"), "{told}");
    // Two lines are gone, and one is something else.
    let line = text.trim_end().rfind('\n').unwrap();
    let line = text[..line].rfind('\n').unwrap();
    fs::write(folder.join("short"), format!("{}\nHere it was cut.\n", &text[..line])).unwrap();
    let refused = refusal(&folder, "replay short");
    let hint = "is neither an event nor a choice; replay --tolerant follows it as far as it can";
    assert!(refused.contains(hint), "{refused}");
    let (numbers, told) = tolerant("short", 0);
    assert_eq!(numbers, [events - 2, 2, 2, 1]);
    for part in [
        "\n... 2 events of the schedule left out, 2 of them because the file was cut or edited\n",
        "\n... 1 line of the file left out: neither an event nor a choice\n",
    ] {
        assert!(told.contains(part), "{told}");
    }
    // A bug that shows all the same is one.
    fs::write(folder.join("longer"), format!("{text}timeout s1\n")).unwrap();
    assert_eq!(tolerant("longer", 2).0, [events, 1, 0, 0]);
    // Without the whole header nobody knows what should run.
    let header = text.find("\nfingerprint ").unwrap();
    fs::write(folder.join("headless"), &text[..header]).unwrap();
    let refused = refusal(&folder, "replay headless --tolerant");
    assert!(refused.contains("the schedule is cut off before `fingerprint`"), "{refused}");
}
