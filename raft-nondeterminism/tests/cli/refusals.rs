//! What the program says of words that it does not know, and of numbers that it cannot use.

use serde_json::Value;

use super::{folder, refusal, said};

#[test]
fn an_unknown_strategy_is_answered_with_every_name_it_could_be() {
    let folder = folder("strategies");
    let said = refusal(&folder, "test sample --strategy dfss");
    assert!(said.contains("no strategy is called \"dfss\", did you mean dfs?"), "{said}");
    let (_, known) = said.trim_end().split_once("There is: ").unwrap();
    let known: Vec<_> = known.split(", ").collect();
    for name in ["portfolio", "prioritization", "pct", "fair-pct", "bfs", "dfs", "dpor"] {
        assert!(known.contains(&name), "{name}: {said}");
    }
    let said = refusal(&folder, "test sample --strategy pcd:3");
    assert!(said.contains("no strategy is called \"pcd\", did you mean pct?"), "{said}");
}

#[test]
fn a_time_that_is_too_long_is_told_how_long_it_may_be() {
    let folder = folder("too_long");
    for time in ["1e30", "inf"] {
        let said = refusal(&folder, &format!("test sample --time {time}"));
        assert_eq!(said, "error: --time must be at most 18446744073709551615 seconds\n");
    }
    let said = refusal(&folder, "test sample --time=-1");
    assert!(said.contains("--time must be more than zero seconds, not -1"), "{said}");
}

#[test]
fn whoever_reads_objects_is_told_what_is_wrong() {
    let folder = folder("error-objects");
    for (words, wrong) in [
        ("test nope", "nope"),
        ("test sample --defect nope", "nope"),
        ("test sample --iterations 0", "--iterations must be more than zero"),
        ("test sample --iteration 18446744073709551615", "--iteration must be less than"),
        ("test sample --colour", "--colour"),
        ("replay nothing.schedule.txt", "nothing.schedule.txt"),
    ] {
        assert_eq!(said(&folder, words, 1), "", "{words}");
        let said = said(&folder, &format!("{words} --json"), 1);
        let error: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(error["event"], "error", "{words}");
        assert!(error["message"].as_str().unwrap().contains(wrong), "{words}: {said}");
    }
}
