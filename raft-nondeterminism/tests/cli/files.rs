//! Files that the program reads and writes: what it takes, what it says of others, and how it ends if it
//! cannot write.

use std::fs;

use super::{folder, refusal, said, schedule};

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
