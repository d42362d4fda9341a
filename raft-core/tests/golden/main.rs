//! Whole conversations as text, through the public API.
//!
//! A script opens with the claim it proves. Commands follow; those in parentheses happen in silence.
//! After a line `---` stands the transcript of the commands before it, up to the next empty line,
//! where the next commands begin. `UPDATE_GOLDENFILES=1` rewrites the transcripts: read the diff.
//! The commands are explained in `script.rs`.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail as it does")]

#[path = "../support/cluster.rs"]
mod cluster;
mod script;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

/// Runs every script of a topic and compares, or rewrites.
fn check_topic(topic: &str) {
    let update = std::env::var_os("UPDATE_GOLDENFILES").is_some_and(|value| value == "1");
    let mut failures = String::new();
    for path in files_in(&folder().join(topic)) {
        let expected = std::fs::read_to_string(&path).unwrap();
        let actual = match script::run(&expected) {
            Ok(actual) => actual,
            Err(error) => {
                writeln!(failures, "{}:{error}", path.display()).unwrap();
                continue;
            }
        };
        if actual == expected {
            continue;
        }
        if update {
            std::fs::write(&path, actual).unwrap();
        } else {
            write!(failures, "{}\n{}", path.display(), diff(&expected, &actual)).unwrap();
        }
    }
    assert!(
        failures.is_empty(),
        "{failures}\nto accept: UPDATE_GOLDENFILES=1 cargo test, then read the diff"
    );
}

/// What differs, line by line: `-` expected and missing, `+` there and not expected.
fn diff(expected: &str, actual: &str) -> String {
    let (left, right): (Vec<_>, Vec<_>) = (expected.lines().collect(), actual.lines().collect());
    // The length of the longest common subsequence of the rests.
    let mut common = vec![vec![0_usize; right.len() + 1]; left.len() + 1];
    for i in (0..left.len()).rev() {
        for j in (0..right.len()).rev() {
            common[i][j] = if left[i] == right[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut text) = (0, 0, String::new());
    while i < left.len() || j < right.len() {
        let is_same = i < left.len() && j < right.len() && left[i] == right[j];
        let is_missing = j == right.len() || i < left.len() && common[i + 1][j] >= common[i][j + 1];
        let (mark, line) = match (is_same, is_missing) {
            (true, _) => (' ', left[i]),
            (false, true) => ('-', left[i]),
            (false, false) => ('+', right[j]),
        };
        writeln!(text, "{mark} {line}").unwrap();
        i += usize::from(mark != '+');
        j += usize::from(mark != '-');
    }
    text
}

#[test]
fn every_topic_has_a_test_and_every_script_opens_with_its_claim() {
    let topics: Vec<_> = files_in(&folder()).into_iter().filter(|path| path.is_dir()).collect();
    let names: Vec<_> = topics.iter().map(|topic| topic.file_name().unwrap()).collect();
    assert_eq!(
        names,
        [
            "backpressure",
            "clients",
            "commit",
            "disk-stall",
            "durability",
            "elections",
            "forwarding",
            "joining",
            "lost-log",
            "membership",
            "priority",
            "reads",
            "replication",
            "restart",
            "sessions",
            "small",
            "snapshots",
            "transfer"
        ]
    );
    for path in topics.iter().flat_map(|topic| files_in(topic)) {
        let script = std::fs::read_to_string(&path).unwrap();
        let claim = script.lines().next().unwrap_or_default();
        assert!(claim.starts_with("# "), "{}", path.display());
    }
}

#[test]
fn a_mismatch_is_shown_line_by_line() {
    assert_eq!(diff("a\nb\nc", "a\nx\nc"), "  a\n- b\n+ x\n  c\n");
    assert_eq!(diff("a", "a\nb"), "  a\n+ b\n");
    assert_eq!(diff("a\nb", "b"), "- a\n  b\n");
}

#[test]
fn a_script_that_cannot_run_names_the_line_and_the_reason() {
    let error = |script| script::run(script).unwrap_err();
    assert_eq!(error("# Claim.\nelapse 1 election\n---\n"), "2: there is no cluster yet");
    assert_eq!(error("(cluster servers=3)\n\nfly 1\n---\n"), "3: no such command: fly");
    assert_eq!(error("(cluster servers=3)\ndeliver 1\n---\n"), "2: no such message");
    assert_eq!(
        error("(cluster servers=3)\nelapse 1 heartbeat\n---\n"),
        "2: s1 is a follower, so this is no heartbeat"
    );
}

#[test]
fn elections_go_as_written() {
    check_topic("elections");
}

#[test]
fn replication_goes_as_written() {
    check_topic("replication");
}

#[test]
fn entries_commit_as_written() {
    check_topic("commit");
}

#[test]
fn promises_wait_for_the_disk_as_written() {
    check_topic("durability");
}

#[test]
fn clients_are_answered_as_written() {
    check_topic("clients");
}

#[test]
fn sessions_open_and_end_as_written() {
    check_topic("sessions");
}

#[test]
fn requests_are_passed_on_as_written() {
    check_topic("forwarding");
}

#[test]
fn a_leader_slows_others_down_as_written() {
    check_topic("backpressure");
}

#[test]
fn reads_are_served_as_written() {
    check_topic("reads");
}

#[test]
fn clusters_of_one_and_two_work_as_written() {
    check_topic("small");
}

#[test]
fn the_cluster_changes_as_written() {
    check_topic("membership");
}

#[test]
fn leadership_is_handed_over_as_written() {
    check_topic("transfer");
}

#[test]
fn preferred_servers_lead_as_written() {
    check_topic("priority");
}

#[test]
fn lost_logs_are_noticed_as_written() {
    check_topic("lost-log");
}

#[test]
fn hung_disks_cost_leadership_as_written() {
    check_topic("disk-stall");
}

#[test]
fn servers_join_as_written() {
    check_topic("joining");
}

#[test]
fn servers_restart_as_written() {
    check_topic("restart");
}

#[test]
fn snapshots_are_taken_and_sent_as_written() {
    check_topic("snapshots");
}
